"""Address, region and keys of a service that goes by its name."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from ..base import CloudSettings
from ..errors import Fatal
from .credentials import Account, resolve, session_token
from .endpoints import Variant
from .names import AWS_KEYS, OWN_KEYS, Named
from .sigv4 import Credentials


def account_of(
    settings: CloudSettings,
    service: Named,
    profile: str | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Account:
    """The account for these settings, which ``usage.check`` has passed, at this service.

    Raises ``Fatal`` that names what is missing: a key, a secret, a region, an address.
    """
    name = settings.provider
    credentials = _credentials(name, service, environment)
    if service.is_aws:
        if credentials is None:
            return resolve(settings._replace(region=service.region), profile)
        return Account(
            lambda: credentials,
            credentials.access_key,
            service.region,
            settings.endpoint_url,
            Variant.of_environment(),
            ca_bundle=settings.ca_bundle,
        )
    if credentials is None:
        ways = ", or ".join(" and ".join(pair) for pair in dict.fromkeys([*service.keys, OWN_KEYS]))
        raise Fatal(f"no credentials found for {name}: set {ways}")
    region = settings.region or _first(service.region_variables, environment) or service.region
    endpoint = settings.endpoint_url or _endpoint(name, service, region, environment)
    return Account(
        lambda: credentials,
        credentials.access_key,
        region or "us-east-1",
        endpoint,
        ca_bundle=settings.ca_bundle,
    )


def _credentials(name: str, service: Named, environment: Mapping[str, str]) -> Credentials | None:
    """The first pair that is set; None when there is none."""
    for key_name, secret_name in (OWN_KEYS, *service.keys):
        key, secret = environment.get(key_name), environment.get(secret_name)
        if key and secret:
            is_aws = (key_name, secret_name) == AWS_KEYS
            return Credentials(key, secret, session_token(environment) if is_aws else None)
        if key or secret:
            raise Fatal(f"{name}: set {secret_name if key else key_name}, too")
    return None


def _endpoint(name: str, service: Named, region: str, environment: Mapping[str, str]) -> str:
    if not service.endpoint:
        raise Fatal(f"{name} has no address of its own: give --endpoint-url")
    if "{region}" in service.endpoint and not region:
        raise Fatal(f"{name} needs --region, such as {service.region_example}")
    account = _first(service.account_variables, environment)
    if "{account}" in service.endpoint and not account:
        ways = " or ".join(service.account_variables)
        raise Fatal(f"{name} needs an account: set {ways}, or give --endpoint-url")
    return service.endpoint.format(region=region, account=account)


def _first(names: Sequence[str], environment: Mapping[str, str]) -> str:
    """The first of the variables that is set; empty when none is."""
    return next(filter(None, (environment.get(name) for name in names)), "")
