"""The storage account, from the variables that Azure's own tools know.

https://learn.microsoft.com/en-us/azure/storage/common/storage-configure-connection-string
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import parse_qsl

from ..errors import Fatal
from ..http.endpoint import Endpoint, chosen_endpoint

_SUFFIX = "core.windows.net"
_ACCOUNT = re.compile("[a-z0-9]{3,24}")
"""https://learn.microsoft.com/en-us/azure/storage/common/storage-account-overview"""
_QUERY = re.compile(r"[\x21-\x7e]+")
_EMULATOR = {
    "accountname": "devstoreaccount1",
    "accountkey": (
        "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
    ),
    "blobendpoint": "http://127.0.0.1:10000/devstoreaccount1",
}
"""What UseDevelopmentStorage=true stands for; every emulator has this key.
https://learn.microsoft.com/en-us/azure/storage/common/storage-connect-azurite
"""


class Account(NamedTuple):
    """Where to store, and with which right.  The representation shows no secret."""

    name: str
    """Empty where only the address knows it, and no key is there to sign with."""
    endpoint: Endpoint
    key: bytes | None
    """None: ``sas`` is there."""
    sas: str = ""
    """A shared access signature: a query string, encoded."""

    def __repr__(self) -> str:
        return f"Account({self.name!r}, {self.endpoint.address!r}, ...)"

    def is_quoted_in(self, text: str) -> bool:
        """Whether a text has the secret part of the SAS, encoded or not."""
        secrets = [value for name, value in parse_qsl(self.sas) if name.lower() == "sig"]
        secrets += [pair[4:] for pair in self.sas.split("&") if pair.lower().startswith("sig=")]
        return any(secret in text for secret in secrets)


class _Found(NamedTuple):
    """What one variable, or pair of them, gives."""

    variables: str
    values: Mapping[str, str]
    """By the names that connection strings have, in lower case."""


def resolve(endpoint_url: str | None, environment: Mapping[str, str] = os.environ) -> Account:
    """The account that the environment names.

    UPLOADER_KEY and UPLOADER_SECRET win: they speak to this program only.  ``endpoint_url`` is the
    address of the blob service; None takes the connection string's or Microsoft's.  Raises
    ``Fatal`` with one line when credentials are missing, wrong, or contradict each other.
    """
    found = _chosen(environment)
    values = found.values
    name, sas = values.get("accountname", ""), values.get("sharedaccesssignature", "").lstrip("?")
    if name and not _ACCOUNT.fullmatch(name):
        # Not quoted: somebody may have taken the key for the name.
        raise Fatal(
            f"the account's name beside {found.variables} is none: 3 to 24 lower-case letters and "
            "digits make one"
        )
    key = _decoded_key(found) if values.get("accountkey") else None
    if key and not name:
        raise Fatal(f"{found.variables} has a key and no account: AccountName is missing")
    if not key and not sas:
        raise Fatal(f"{found.variables} has neither AccountKey nor SharedAccessSignature")
    if sas and not _is_sas(sas):
        raise Fatal(f"{found.variables} has no SAS token: one is a query string with sig= in it")
    return Account(name, _endpoint(endpoint_url, found, name), key, "" if key else sas)


def _chosen(environment: Mapping[str, str]) -> _Found:
    given = {name: value for name, value in environment.items() if value}
    name, key = given.get("UPLOADER_KEY"), given.get("UPLOADER_SECRET")
    if name and key:
        values = {"accountname": name, "accountkey": key}
        return _Found("UPLOADER_KEY and UPLOADER_SECRET", values)
    if name or key:
        raise Fatal("UPLOADER_KEY and UPLOADER_SECRET go together: one of them is missing")
    account = given.get("AZURE_STORAGE_ACCOUNT", "")
    choices = []
    if text := given.get("AZURE_STORAGE_CONNECTION_STRING"):
        choices.append(_Found("AZURE_STORAGE_CONNECTION_STRING", _connection_string(text)))
    if key := given.get("AZURE_STORAGE_KEY"):
        choices.append(_Found("AZURE_STORAGE_KEY", {"accountname": account, "accountkey": key}))
    if sas := given.get("AZURE_STORAGE_SAS_TOKEN"):
        values = {"accountname": account, "sharedaccesssignature": sas}
        choices.append(_Found("AZURE_STORAGE_SAS_TOKEN", values))
    if not choices:
        raise Fatal(
            "no credentials found for azure_blobs: set AZURE_STORAGE_ACCOUNT with "
            "AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN, or AZURE_STORAGE_CONNECTION_STRING"
        )
    first, *others = choices
    for other in others:
        if _secrets(other) != _secrets(first):
            raise Fatal(
                f"{first.variables} and {other.variables} give different credentials: unset one"
            )
    named = first.values.get("accountname")
    if account and named and named != account:
        raise Fatal(
            f"AZURE_STORAGE_ACCOUNT and {first.variables} name different accounts: unset one"
        )
    return first


def _secrets(found: _Found) -> tuple[str, ...]:
    sas = found.values.get("sharedaccesssignature", "").lstrip("?")
    return found.values.get("accountkey", ""), sas


def _connection_string(text: str) -> dict[str, str]:
    """The values in a connection string, by their names in lower case."""
    values = {}
    for pair in filter(None, (pair.strip() for pair in text.split(";"))):
        name, equals, value = pair.partition("=")
        if not equals:
            raise Fatal(
                "AZURE_STORAGE_CONNECTION_STRING is no connection string: it has a part without "
                "an equals sign"
            )
        values[name.strip().lower()] = value.strip()
    if values.get("usedevelopmentstorage", "").lower() == "true":
        return dict(_EMULATOR)
    return values


def _decoded_key(found: _Found) -> bytes:
    try:
        return base64.b64decode(found.values["accountkey"], validate=True)
    except ValueError:
        raise Fatal(f"the account key in {found.variables} is no base64: copy it anew") from None


def _is_sas(text: str) -> bool:
    names = {name.lower() for name, _ in parse_qsl(text)}
    return bool(_QUERY.fullmatch(text)) and "sig" in names and "#" not in text


def _endpoint(endpoint_url: str | None, found: _Found, account: str) -> Endpoint:
    if endpoint_url:
        endpoint = chosen_endpoint(endpoint_url)
        # As Microsoft's tools have it: where the host cannot name the account, the path does.
        if account and not endpoint.path and _names_no_account(endpoint.host):
            return endpoint._replace(path=f"/{account}")
        return endpoint
    url = found.values.get("blobendpoint")
    if not url:
        if not account:
            raise Fatal(f"{found.variables} needs AZURE_STORAGE_ACCOUNT, or --endpoint-url")
        scheme = found.values.get("defaultendpointsprotocol") or "https"
        suffix = found.values.get("endpointsuffix") or _SUFFIX
        url = f"{scheme}://{account}.blob.{suffix}"
    try:
        return Endpoint.parse(url)
    except ValueError as error:
        raise Fatal(f"the address in {found.variables}: {error}") from None


def _names_no_account(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return host == "localhost"
    return True
