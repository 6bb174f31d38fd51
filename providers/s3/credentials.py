"""Credentials, region and endpoint, found as AWS's own tools find them."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ..base import CloudSettings
from ..errors import Fatal, Unreachable, one_line
from .sigv4 import Credentials

DEFAULT_REGION = "us-east-1"
RENEWAL_PAUSE = 1.0
"""Seconds after a renewal that brought nothing lasting before it is tried again."""
_COMMERCIAL = re.compile(r"(us|eu|ap|sa|ca|me|af|il|mx)-[a-z]+-\d+")
"""The regions of the partition "aws", as botocore's data has it."""


class Variant(NamedTuple):
    """Which of a region's endpoints.

    https://docs.aws.amazon.com/sdkref/latest/guide/feature-endpoints.html
    """

    fips: bool = False
    dualstack: bool = False

    @classmethod
    def of_environment(cls) -> Variant:
        """What AWS_USE_FIPS_ENDPOINT and AWS_USE_DUALSTACK_ENDPOINT say."""
        return cls(_is_true("AWS_USE_FIPS_ENDPOINT"), _is_true("AWS_USE_DUALSTACK_ENDPOINT"))


class Account(NamedTuple):
    """What a profile or the environment says."""

    credentials: Callable[[], Credentials]
    """The credentials to sign with now; temporary ones are renewed before they expire."""
    region: str
    endpoint_url: str | None
    """None: AWS."""
    variant: Variant = Variant()
    refused: Callable[[str | None], None] | None = None
    """To be told the session token that the service refuses as expired, where there is somebody to
    ask for another one."""


def resolve(settings: CloudSettings, profile: str | None = None) -> Account:
    """The account for these settings and this profile of ``~/.aws`` (None: the usual one).

    Raises ``Fatal`` when there are no credentials.

    Everything is botocore's resolver, but for one case that needs none: keys in the environment
    and no profile or configuration file that could say more.  That case is the usual one in
    containers and tests, and saves each worker 0.15 s and 15 MB.
    """
    if profile is None and not _has_config_file():
        credentials = _from_environment()
        if credentials is not None:
            region = settings.region or DEFAULT_REGION
            variant = Variant.of_environment()
            return Account(lambda: credentials, region, settings.endpoint_url, variant)
    return _from_botocore(settings, profile)


def endpoint_of(region: str, variant: Variant) -> tuple[str, str]:
    """The URL of S3 in a region of AWS, and the region that signatures are for.

    By botocore's endpoint rules, which take 0.4 s to load: the usual case goes without.  Raises
    ``Fatal`` when there is no such endpoint.
    """
    if _COMMERCIAL.fullmatch(region) and not any(variant):
        return f"https://s3.{region}.amazonaws.com", region
    from botocore.endpoint_provider import EndpointProvider
    from botocore.exceptions import BotoCoreError
    from botocore.loaders import create_loader

    loader = create_loader()
    rules = loader.load_service_model("s3", "endpoint-rule-set-1")
    provider = EndpointProvider(rules, loader.load_data("partitions"))
    try:
        found = provider.resolve_endpoint(
            Region=region, UseFIPS=variant.fips, UseDualStack=variant.dualstack
        )
    except BotoCoreError as error:
        raise Fatal(f"S3 has no such endpoint in region {region!r}: {_line(error)}") from None
    schemes = found.properties.get("authSchemes", ())
    signing = [scheme["signingRegion"] for scheme in schemes if "signingRegion" in scheme]
    return found.url, signing[0] if signing else region


class _Temporary:
    """Credentials that expire, and are renewed in time where that is possible.

    One greenlet asks for the next ones while the others go on with those that are still valid; a
    renewal that fails is no trouble as long as these are.
    """

    def __init__(self, source: Any, clock: Callable[[], float] = time.monotonic) -> None:
        """``source`` are botocore's refreshable credentials.  Raises ``Fatal`` when they cannot be
        had even for the first time."""
        self._source = source
        self._clock = clock
        self._lock = threading.Lock()
        self._next_try = 0.0
        self._trouble = ""
        self._latest: Credentials | None = None
        self._refused: Credentials | None = None
        self._renew()
        if not (self._is_valid and self._latest):
            raise Fatal(f"the credentials cannot be renewed: {self._trouble}")

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
        try:
            frozen = self._source.get_frozen_credentials()
        except Exception as error:  # whatever a program or service answers comes out in its own way
            self._trouble = _line(error)
            # botocore has no other way to ask for those that it has.
            frozen = getattr(self._source, "_frozen_credentials", None)
        if frozen is not None:
            self._latest = Credentials(frozen.access_key, frozen.secret_key, frozen.token)
        # botocore tells of no failure while the old ones have more than 10 minutes left.
        if self._is_old:
            self._next_try = self._clock() + RENEWAL_PAUSE


def _has_config_file() -> bool:
    named = os.environ.get("AWS_CONFIG_FILE")
    # Unlike Path.expanduser, this does not fail for a user who has no home.
    return os.path.exists(os.path.expanduser(named or "~/.aws/config"))


def _from_environment() -> Credentials | None:
    access_key = os.environ.get("AWS_ACCESS_KEY_ID")
    secret_key = os.environ.get("AWS_SECRET_ACCESS_KEY")
    if not access_key or not secret_key:
        return None
    token = os.environ.get("AWS_SESSION_TOKEN") or os.environ.get("AWS_SECURITY_TOKEN")
    return Credentials(access_key, secret_key, token or None)


def _from_botocore(settings: CloudSettings, profile: str | None) -> Account:
    from botocore.configprovider import ConfiguredEndpointProvider
    from botocore.session import Session

    try:
        session = Session(profile=profile)
        found = session.get_credentials()
        scoped, full = session.get_scoped_config(), session.full_config
        region = settings.region or session.get_config_variable("region") or DEFAULT_REGION
        endpoint = settings.endpoint_url or ConfiguredEndpointProvider(full, scoped, "s3").provide()
        variant = _variant(session)
    except Exception as error:  # whatever a credential_process answers comes out in its own way
        raise Fatal(f"cannot read the AWS configuration: {_line(error)}") from None
    if found is None:
        raise Fatal(
            "no credentials found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "or name a profile of ~/.aws with --profile"
        )
    if hasattr(found, "refresh_needed"):
        temporary = _Temporary(found)
        return Account(temporary, region, endpoint, variant, temporary.refused)
    credentials = Credentials(found.access_key, found.secret_key, found.token)
    return Account(lambda: credentials, region, endpoint, variant)


def _variant(session: Any) -> Variant:
    """S3 may have a setting of its own for dual-stack endpoints."""
    own: Mapping[str, Any] = session.get_config_variable("s3") or {}
    fips = session.get_config_variable("use_fips_endpoint")
    dualstack = session.get_config_variable("use_dualstack_endpoint")
    return Variant(bool(fips), bool(dualstack or own.get("use_dualstack_endpoint")))


def _is_true(variable: str) -> bool:
    return os.environ.get(variable, "").lower() == "true"


def _line(error: Exception) -> str:
    """One line of what botocore says.  Not what a ``credential_process`` has said: nobody knows
    what a program that handles secrets writes to its stderr."""
    if getattr(error, "kwargs", {}).get("provider") == "custom-process":
        return "its credential_process failed: run it by hand to see why"
    return one_line(error)
