"""Credentials, region and endpoint, found as AWS's own tools find them."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, NoReturn
from urllib.parse import urlsplit

from ..base import CloudSettings
from ..errors import Failure, Fatal, Unreachable, one_line
from .endpoints import DEFAULT_REGION, Variant, is_true
from .sigv4 import Credentials

RENEWAL_PAUSE = 1.0
"""Seconds after a renewal that brought nothing lasting before it is tried again."""
_CONNECT_TIMEOUT = 1.0
"""Seconds in which an instance's metadata service, which is on the same machine, takes a call."""
_PATIENCE = {"metadata_service_timeout": 5, "metadata_service_num_attempts": 3}
"""In place of botocore's one second and one attempt, once it is known that there is such a service:
all workers ask it at once.  Without one everybody who has no credentials would wait in vain."""


class Account(NamedTuple):
    """What a profile or the environment says."""

    credentials: Callable[[], Credentials]
    """The credentials to sign with now; temporary ones are renewed before they expire."""
    owner: str
    """Whose credentials they are: of temporary ones the account, else the role that was assumed;
    else the access key.  Keys of a role differ from run to run; what they stand for does not."""
    region: str
    endpoint_url: str | None
    """None: AWS."""
    variant: Variant = Variant()
    addressing: str | None = None
    """The profile's addressing style: see ``addressing.locate``."""
    ca_bundle: str | None = None
    refused: Callable[[str | None], None] | None = None
    """Called with the session token that the service refuses as expired; None where the credentials
    cannot be renewed."""


def resolve(settings: CloudSettings, profile: str | None = None) -> Account:
    """The account for these settings and this profile of ``~/.aws`` (None: the usual one).

    Raises ``Fatal`` when there are no credentials, and ``Unreachable`` when somebody who should
    give some does not: another attempt may succeed.

    Everything is botocore's resolver, but for one case that needs none: keys in the environment
    and no profile or file that could say more.  That case is the usual one in containers and
    tests, and saves each worker 0.15 s and 15 MB.
    """
    if not (profile or _has_profiles()):
        credentials = _from_environment()
        if credentials is not None:
            return Account(
                lambda: credentials,
                _owner(credentials, os.environ.get("AWS_ACCOUNT_ID")),
                settings.region or DEFAULT_REGION,
                settings.endpoint_url or environment_endpoint(),
                Variant.of_environment(),
                ca_bundle=settings.ca_bundle,
            )
    return from_botocore(settings, profile)


def environment_endpoint() -> str | None:
    """What AWS_ENDPOINT_URL_S3, or else AWS_ENDPOINT_URL, says.

    https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html
    """
    if is_true("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"):
        return None
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


class _Temporary:
    """Credentials that expire, and are renewed in time where that is possible.

    One greenlet asks for the next ones while the others go on with those that are still valid; a
    renewal that fails is no trouble as long as these are.
    """

    def __init__(self, source: Any, clock: Callable[[], float] = time.monotonic) -> None:
        """``source`` are botocore's refreshable credentials.  Raises ``Fatal`` or ``Unreachable``
        when they cannot be had even for the first time."""
        self._source = source
        self._clock = clock
        self._lock = threading.Lock()
        self._next_try = 0.0
        self._trouble = ""
        self._may_pass = False
        self._latest: Credentials | None = None
        self.account_id: str | None = None
        """The account, where botocore learns it."""
        self._refused: Credentials | None = None
        self._renew()
        if not (self._is_valid and self._latest):
            kind = Unreachable if self._may_pass else Fatal
            raise kind(f"the credentials cannot be renewed: {self._trouble}")

    def __call__(self) -> Credentials:
        """Raises ``Unreachable`` when the last ones have expired and nobody gives others."""
        if self._is_old and not (self._is_valid and self._is_busy):
            with self._lock:
                if self._clock() >= self._next_try:
                    self._renew()
            if not self._is_valid:
                raise Unreachable(f"the credentials cannot be renewed: {self._trouble}")
        assert self._latest
        return self._latest

    def refused(self, token: str | None) -> None:
        """The service calls the credentials with this token expired: they are, whatever their time
        says."""
        if self._latest != self._refused and self._latest and self._latest.token == token:
            self._refused = self._latest
            self._trouble = "the service refuses them as expired"
            self._next_try = 0.0

    @property
    def _is_old(self) -> bool:
        return self._source.refresh_needed() or self._latest == self._refused

    @property
    def _is_valid(self) -> bool:
        return not self._source.refresh_needed(refresh_in=0) and self._latest != self._refused

    @property
    def _is_busy(self) -> bool:
        return self._lock.locked() or self._clock() < self._next_try

    def _renew(self) -> None:
        source = self._source
        try:
            if self._latest and self._latest == self._refused:
                # botocore takes what an instance's role has for valid longer than its time says.
                source._protected_refresh(is_mandatory=True)
                frozen = source._frozen_credentials
            else:
                frozen = source.get_frozen_credentials()
        except Failure:
            raise
        except Exception as error:  # whatever a program or service answers comes out in its own way
            self._trouble, self._may_pass = _line(error), _may_pass(error)
            # botocore has no other way to ask for those that it has.
            frozen = getattr(source, "_frozen_credentials", None)
        if frozen is not None:
            self._latest = Credentials(frozen.access_key, frozen.secret_key, frozen.token)
            self.account_id = frozen.account_id
        # botocore tells of no failure while the old ones have more than 10 minutes left.
        if self._is_old:
            self._next_try = self._clock() + RENEWAL_PAUSE


def _has_profiles() -> bool:
    """Whether the environment names a profile, or there is a file that could hold one."""
    environment = os.environ
    files = (
        environment.get("AWS_CONFIG_FILE") or "~/.aws/config",
        environment.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials",
    )
    # Unlike Path.expanduser, this does not fail for a user who has no home.
    return bool(
        environment.get("AWS_PROFILE")
        or environment.get("AWS_DEFAULT_PROFILE")
        or any(os.path.exists(os.path.expanduser(file)) for file in files)
    )


def _from_environment() -> Credentials | None:
    access_key = os.environ.get("AWS_ACCESS_KEY_ID")
    secret_key = os.environ.get("AWS_SECRET_ACCESS_KEY")
    if not access_key or not secret_key:
        return None
    return Credentials(access_key, secret_key, session_token(os.environ))


def session_token(environment: Mapping[str, str]) -> str | None:
    """What goes with AWS_ACCESS_KEY_ID where that is a temporary one."""
    token = environment.get("AWS_SESSION_TOKEN") or environment.get("AWS_SECURITY_TOKEN")
    return token or None


def from_botocore(
    settings: CloudSettings, profile: str | None, *, patiently: bool = False
) -> Account:
    """What botocore finds where AWS's own tools look; ``patiently`` it asks the metadata services
    for longer."""
    from botocore.session import Session

    try:
        session = Session(profile=profile)
        told = session.get_config_variable
        region = settings.region or told("region") or DEFAULT_REGION
        # The services that give credentials are asked there, too.
        session.set_config_variable("region", region)
        if patiently:
            _be_patient(session)
        _ask_for_no_code(session)
        found = session.get_credentials()
        own: Mapping[str, Any] = told("s3") or {}
        endpoint = settings.endpoint_url or _configured_endpoint(session)
        variant = _variant(session, own)
        ca_bundle = settings.ca_bundle or told("ca_bundle")
        addressing = own.get("addressing_style")
    except Failure:
        raise
    except Exception as error:  # whatever a credential_process answers comes out in its own way
        if _may_pass(error):
            raise Unreachable(f"no credentials: {_line(error)}") from None
        raise Fatal(f"cannot read the AWS configuration: {_line(error)}") from None
    if found is None and _is_instance(session):
        if not patiently:
            return from_botocore(settings, profile, patiently=True)
        raise Unreachable("no credentials: the instance's metadata service gives none")
    if found is None:
        raise Fatal(
            "no credentials found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "or name a profile of ~/.aws with --profile"
        )
    current: Callable[[], Credentials]
    if hasattr(found, "refresh_needed"):
        current = temporary = _Temporary(found)
        account_id, refused = temporary.account_id, temporary.refused
    else:
        credentials = Credentials(found.access_key, found.secret_key, found.token)
        account_id, refused = found.account_id, None

        def current() -> Credentials:
            return credentials

    owner = _owner(current(), account_id or _role(session, found.method))
    style = addressing if addressing in ("auto", "path", "virtual") else None
    return Account(current, owner, region, endpoint, variant, style, ca_bundle, refused)


def _owner(credentials: Credentials, stable: str | None) -> str:
    """Whose credentials they are; ``stable`` names the account or role of temporary ones.

    Permanent keys are an account by themselves: an account id of AWS in the environment says
    nothing of the keys for a compatible server."""
    return stable if stable and credentials.token else credentials.access_key


def _be_patient(session: Any) -> None:
    """Gives an instance's metadata service more time, unless the user says how much."""
    for name, value in _PATIENCE.items():
        if name not in session.get_scoped_config() and f"AWS_{name.upper()}" not in os.environ:
            session.set_config_variable(name, value)


def _ask_for_no_code(session: Any) -> None:
    """Refuses a profile that wants an MFA code: every worker would ask for one, and again at each
    renewal."""
    profile = session.profile or "default"

    def refuse(prompt: str) -> NoReturn:
        raise Fatal(
            f"profile {profile} wants an MFA code: put the keys of a session into the environment, "
            f'as with eval "$(aws configure export-credentials --profile {profile} --format env)"'
        )

    # botocore has no other way to choose who is asked.
    session.get_component("credential_provider").get_provider("assume-role")._prompter = refuse


def _is_instance(session: Any) -> bool:
    """Whether somebody listens where an instance has its metadata service."""
    from botocore.utils import IMDSFetcher, resolve_imds_endpoint_mode

    if is_true("AWS_EC2_METADATA_DISABLED"):
        return False
    names = ("ec2_metadata_service_endpoint", "ec2_metadata_service_endpoint_mode")
    values = (session.get_config_variable(names[0]), resolve_imds_endpoint_mode(session))
    url = urlsplit(IMDSFetcher(config=dict(zip(names, values, strict=True))).get_base_url())
    try:
        socket.create_connection((url.hostname or "", url.port or 80), _CONNECT_TIMEOUT).close()
    except OSError:
        return False
    return True


def _may_pass(error: Exception) -> bool:
    """Whether whoever gives credentials has only stumbled: configuration that is wrong and a
    refusal stay what they are."""
    from botocore import exceptions

    if isinstance(error, exceptions.ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return status >= 500 or status == 429 or "Throttl" in str(error)
    stumbled = (
        exceptions.ConnectionError,
        exceptions.HTTPClientError,
        exceptions.CredentialRetrievalError,
        exceptions.MetadataRetrievalError,
    )
    return isinstance(error, stumbled)


def _role(session: Any, method: str) -> str | None:
    """The role that botocore has assumed."""
    if not method.startswith("assume-role"):
        return None
    profile: str | None = session.get_scoped_config().get("role_arn")
    by_token = method == "assume-role-with-web-identity"
    return (os.environ.get("AWS_ROLE_ARN") if by_token else None) or profile


def _configured_endpoint(session: Any) -> str | None:
    """The endpoint that the environment or the profile names."""
    from botocore.configprovider import ConfiguredEndpointProvider

    if session.get_config_variable("ignore_configured_endpoint_urls"):
        return None
    full, scoped = session.full_config, session.get_scoped_config()
    found: str | None = ConfiguredEndpointProvider(full, scoped, "s3").provide()
    return found


def _variant(session: Any, own: Mapping[str, Any]) -> Variant:
    """``own`` are S3's settings, which may ask for a dual-stack endpoint as well."""
    fips = session.get_config_variable("use_fips_endpoint")
    dualstack = session.get_config_variable("use_dualstack_endpoint")
    return Variant(
        bool(fips),
        bool(dualstack or own.get("use_dualstack_endpoint")),
        bool(own.get("use_accelerate_endpoint")),
    )


def _line(error: Exception) -> str:
    """One line of what botocore says.  Not what a ``credential_process`` has said: nobody knows
    what a program that handles secrets writes to its stderr."""
    if getattr(error, "kwargs", {}).get("provider") == "custom-process":
        return "its credential_process failed: run it by hand to see why"
    return one_line(error)
