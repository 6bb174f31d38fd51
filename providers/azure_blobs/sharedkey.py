"""Azure's Shared Key signature in the Authorization header.  Pure.

https://learn.microsoft.com/en-us/rest/api/storageservices/authorize-with-shared-key
"""

from __future__ import annotations

import binascii
import hmac
import re
from collections.abc import Iterable, Sequence
from email.utils import formatdate
from functools import lru_cache
from urllib.parse import quote

Pairs = Sequence[tuple[str, str]]

PREFIX = "x-ms-"
"""Headers with such names are all signed; of the others, those below."""
_SIGNED = (
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
)
_PLAIN = re.compile("[A-Za-z0-9._~/-]*")
_BEFORE_DIGITS = str.maketrans("_", " ")
_last_date = (-1, "")
"""The latest second and its text."""


def ms_date(epoch_seconds: float) -> str:
    """The x-ms-date of a moment given in seconds since 1970, as HTTP writes dates."""
    global _last_date
    second = int(epoch_seconds)
    known, text = _last_date
    if second != known:
        text = formatdate(second, usegmt=True)
        _last_date = (second, text)
    return text


def quote_path(key: str) -> str:
    """``key`` as it stands in a request path, and as it is signed.

    A key with lone surrogates has no UTF-8 form and raises UnicodeEncodeError.
    """
    # Most keys have nothing to encode, and quote() takes 2 us to find that.
    return key if _PLAIN.fullmatch(key) else quote(key, safe="/~")


def encoded_query(pairs: Iterable[tuple[str, str]]) -> str:
    """The query string of ``pairs``."""
    return "&".join([f"{quote(name, safe='~')}={quote(value, safe='~')}" for name, value in pairs])


def string_to_sign(account: str, method: str, path: str, query: Pairs, headers: Pairs) -> str:
    """What the signature of a request covers.

    ``path`` is the whole path of the request, percent-encoded; ``query`` the parameters, plain and
    with names in lower case.  ``headers`` have names in lower case, and values without spaces at
    their ends; x-ms-date is among them, and content-length unless it is 0.
    """
    names, values = zip(*headers, strict=True)
    covered = _template(names).format(*values)
    parameters = "".join([f"\n{name}:{value}" for name, value in sorted(query)])
    return f"{method}\n{covered}/{account}{path}{parameters}"


class SharedKey:
    """The key of a storage account.  The representation shows the account's name only."""

    def __init__(self, account: str, key: bytes) -> None:
        self.account = account
        # Looking up the algorithm is most of the work: it is done once.
        self._hmac = hmac.new(key, digestmod="sha256")

    def __repr__(self) -> str:
        return f"SharedKey({self.account!r}, ...)"

    def authorization(self, method: str, path: str, query: Pairs, headers: Pairs) -> str:
        """The value of the Authorization header; the arguments are those of ``string_to_sign``."""
        signature = self._hmac.copy()
        signature.update(string_to_sign(self.account, method, path, query, headers).encode())
        text = binascii.b2a_base64(signature.digest(), newline=False).decode()
        return f"SharedKey {self.account}:{text}"


@lru_cache(maxsize=256)
def _template(names: tuple[str, ...]) -> str:
    """The part of a string to sign that headers with these names make; their values, in this
    order, are to be filled in.  All objects of a run share it."""
    places = {name: f"{{{place}}}" for place, name in enumerate(names)}
    standard = "".join([places.get(name, "") + "\n" for name in _SIGNED])
    own = sorted((name for name in names if name.startswith(PREFIX)), key=_as_the_service_sorts)
    return standard + "".join([f"{name}:{places[name]}\n" for name in own])


def _as_the_service_sorts(name: str) -> str:
    """The underscore, which names of metadata may have, comes before digits and letters: the
    service sorts like a dictionary, not by code points (see ``_storage_header_sort`` in
    azure-storage-blob for Python)."""
    return name.translate(_BEFORE_DIGITS)
