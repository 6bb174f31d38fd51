"""The service account, from the variables that Google's own tools know.

https://cloud.google.com/docs/authentication/application-default-credentials
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..errors import Fatal, one_line
from ..http.endpoint import Endpoint

FILE = "GOOGLE_APPLICATION_CREDENTIALS"
_DOMAIN = ".gserviceaccount.com"
_TOKEN_URI = "https://oauth2.googleapis.com/token"
"""For a key that comes without it."""
_WANTED = (
    "google_storage needs an HMAC key (GOOG...) in GS_ACCESS_KEY_ID and GS_SECRET_ACCESS_KEY, or "
    f"in {FILE} the path of a service account's JSON key"
)


class Account(NamedTuple):
    """Who uploads.  The representation shows no secret."""

    email: str
    private_key: str
    """RSA, as PEM."""
    token_endpoint: Endpoint
    """Who gives access tokens to it."""
    key_id: str = ""
    project: str = ""
    """Where buckets are created; empty when it is not known."""

    def __repr__(self) -> str:
        return f"Account({self.email!r}, ...)"


def resolve(environment: Mapping[str, str] = os.environ) -> Account:
    """The service account that the environment names.

    UPLOADER_KEY (its address) and UPLOADER_SECRET (its key, or the path of that) win: they speak to
    this program only.  Raises ``Fatal`` with one line when the account is missing or unreadable.
    """
    email, secret = environment.get("UPLOADER_KEY"), environment.get("UPLOADER_SECRET")
    path = environment.get(FILE)
    if email or not path:
        if not email or not secret or not email.endswith(_DOMAIN):
            raise Fatal(_WANTED)
        name, is_text = "UPLOADER_SECRET", "PRIVATE KEY" in secret
        text = secret if is_text else _content(name, secret)
        found = _fields(text, name) if text.lstrip().startswith("{") else {"private_key": text}
        found = {**found, "client_email": email}
    else:
        name, found = FILE, _fields(_content(FILE, path), FILE)
    try:
        return Account(
            str(found["client_email"]),
            str(found["private_key"]),
            Endpoint.parse(str(found.get("token_uri") or _TOKEN_URI)),
            str(found.get("private_key_id") or ""),
            environment.get("GOOGLE_CLOUD_PROJECT") or str(found.get("project_id") or ""),
        )
    except (KeyError, ValueError):
        raise Fatal(_not_a_key(name)) from None


def _content(variable: str, path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError as error:
        # Not its own text: where a path belongs there may be a secret.
        raise Fatal(f"{variable}: the key's file cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise Fatal(f"{variable}: the key's file cannot be read: {one_line(error)}") from None


def _fields(text: str, variable: str) -> dict[str, Any]:
    """What a JSON key says, as Google's console gives it."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Fatal(_not_a_key(variable))
    return found


def _not_a_key(variable: str) -> str:
    return f"{variable}: what it names is no service account's JSON key"
