"""Access tokens of a service account, kept and renewed.

https://developers.google.com/identity/protocols/oauth2/service-account#httprest
"""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlencode

from gevent.lock import Semaphore

from ..errors import Failure, Fatal, Throttled, Transient, one_line
from ..http.conn_class import LibcloudConnection, Response
from .account import Account

SCOPE = "https://www.googleapis.com/auth/devstorage.full_control"
"""The least that may ask for ACLs and policies; what the account may do is up to its roles."""
LIFE = 3600
"""Seconds that a token is asked for: the most that Google gives."""
MARGIN = 300.0
"""Seconds before its end in which a token is replaced."""
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


class Tokens:
    """The tokens of one account, for all sessions of a process; no file has them."""

    def __init__(self, account: Account, connect: Callable[..., LibcloudConnection]) -> None:
        """``connect`` makes a connection out of host, port and whether TLS is spoken.  Raises
        ``Fatal`` when the key is none, or cannot be used for the lack of a package."""
        self._account = account
        self._connect = connect
        self._sign = signer(account.private_key)
        self._lock = Semaphore()
        self._token, self._renewal = "", 0.0
        self._clock_offset = 0.0

    def current(self) -> str:
        """A token that is good for some minutes.

        One greenlet asks for the next one; the others wait for it.  Raises ``Fatal`` when Google
        refuses the account, ``Transient`` when it does not answer.
        """
        with self._lock:
            if time.monotonic() >= self._renewal:
                self._renew()
            return self._token

    def _renew(self) -> None:
        asked = time.monotonic()
        answer = self._ask()
        if answer.status_code == 400 and self._adopt_clock(answer.headers.get("date")):
            answer = self._ask()
        found = _object(answer.content)
        if answer.status_code != 200:
            raise _refusal(answer.status_code, found)
        token, life = found.get("access_token"), found.get("expires_in")
        if not isinstance(token, str) or not isinstance(life, int):
            raise Transient("the token service answered without a token")
        self._token, self._renewal = token, asked + life - min(MARGIN, life / 2)

    def _ask(self) -> Response:
        endpoint = self._account.token_endpoint
        assertion = self._assertion(int(time.time() + self._clock_offset))
        form = urlencode({"grant_type": _GRANT, "assertion": assertion})
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        connection = self._connect(endpoint.host, endpoint.port, endpoint.secure)
        try:
            connection.request("POST", endpoint.path or "/", form, kind)
            return connection.getresponse()
        finally:
            connection.close()

    def _assertion(self, now: int) -> str:
        """A JWT that says who asks for what, signed: RFC 7523."""
        account = self._account
        endpoint = account.token_endpoint
        scheme = "https" if endpoint.secure else "http"
        header = {"alg": "RS256", "typ": "JWT", "kid": account.key_id}
        claims = {
            "iss": account.email,
            "scope": SCOPE,
            "aud": f"{scheme}://{endpoint.authority}{endpoint.path}",
            "iat": now,
            "exp": now + LIFE,
        }
        parts = [json.dumps(part).encode() for part in (header, claims)]
        text = b".".join(map(_encoded, parts))
        return b".".join([text, _encoded(self._sign(text))]).decode()

    def _adopt_clock(self, http_date: str | None) -> bool:
        """Takes over the service's time; false when ours was about right."""
        try:
            theirs = parsedate_to_datetime(http_date or "").timestamp()
        except (TypeError, ValueError):
            return False
        before, self._clock_offset = self._clock_offset, theirs - time.time()
        return abs(self._clock_offset - before) > 60


def signer(private_key: str) -> Callable[[bytes], bytes]:
    """Makes RS256 signatures with a key given as PEM.  Raises ``Fatal`` when that is none."""
    try:
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    except ImportError:
        raise Fatal(
            "a service account needs the package cryptography: pip install cryptography, or this "
            "program with '.[google]'"
        ) from None
    try:
        key = serialization.load_pem_private_key(private_key.encode(), password=None)
    except Exception:  # whose text may quote the key
        key = None
    if not isinstance(key, RSAPrivateKey):
        raise Fatal("the service account's private key is no RSA key as PEM: download it anew")
    rsa = key
    return lambda data: rsa.sign(data, PKCS1v15(), hashes.SHA256())


def _encoded(data: bytes) -> bytes:
    """Base64 as JWTs have it: RFC 7515 section 2."""
    return urlsafe_b64encode(data).rstrip(b"=")


def _object(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _refusal(status: int, found: dict[str, Any]) -> Failure:
    """What an answer without a token means: RFC 6749 section 5.2."""
    told = (found.get("error"), found.get("error_description"))
    reason = one_line(": ".join(str(part) for part in told if part) or f"it answered {status}")
    if status == 429:
        return Throttled(f"the token service asks to wait: {reason}")
    if status >= 500 or status == 408:
        return Transient(f"the token service failed: {reason}")
    return Fatal(f"Google refuses the service account: {reason}")
