"""Headers out of callers' values: fit to sign, or refused.  Pure.

A signature covers the values as the service reads them, so they go without spaces at their ends and
without runs of spaces, which services fold in different ways.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from email.header import Header
from functools import lru_cache

from ..attributes import MOST_METADATA
from ..errors import Rejected

Pairs = Sequence[tuple[str, str]]

META = "x-amz-meta-"
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
"""https://www.rfc-editor.org/rfc/rfc9110#section-5.6.2"""
_CONTROL = "[\x00-\x1f\x7f-\x9f\ud800-\udfff]"
"""Control characters, and what has no UTF-8 form."""


def metadata_headers(metadata: Pairs) -> Iterable[tuple[str, str]]:
    """User metadata as headers, names in lower case.

    A value that is not plain ASCII goes in UTF-8 as RFC 2047 encodes it: AWS stores the decoded
    text; others keep the encoded form.  Spaces at its ends are cut off, as HTTP does.  Raises
    ``Rejected`` for names that are no tokens or not unique, for control characters, and for more
    than ``MOST_METADATA`` bytes.
    """
    if not metadata:
        return []
    given, values = zip(*metadata, strict=True)
    names, room = _meta_names(given)
    text = "".join(values)
    # A file's own attributes always end here.
    if len(text) <= room and " " not in text and text.isascii() and text.isprintable():
        return zip(names, values)  # noqa: B905 - ``strict`` doubles the time
    cleaned = [
        (name, metadata_value(name.removeprefix(META), value))
        for name, value in zip(names, values, strict=True)
    ]
    size = sum(len(name) - len(META) + len(value) for name, value in cleaned)
    if size > MOST_METADATA:
        raise Rejected(f"has {size:,} bytes of user metadata: {MOST_METADATA:,} are the most")
    return cleaned


def metadata_value(name: str, value: str) -> str:
    """The value of user metadata as ``metadata_headers`` sends it."""
    trimmed = value.strip(" ")
    if _is_plain(trimmed):
        return trimmed
    if re.search(_CONTROL, trimmed):
        raise Rejected(f"the metadata {name!r} has a character that cannot be sent in its value")
    return Header(trimmed, "utf-8").encode(linesep="")


def header(name: str, value: str) -> tuple[str, str]:
    """One header, its name in lower case and each run of spaces folded to one; raises ``Rejected``
    when it cannot be sent."""
    if not re.fullmatch(_TOKEN, name):
        raise Rejected(f"{name!r} is no name for a header")
    folded = re.sub(" +", " ", value).strip(" ")
    if not _is_plain(folded):
        raise Rejected(f"the header {name} has a character that cannot be sent in its value")
    return name.lower(), folded


def given_header(name: str, value: object) -> tuple[str, str]:
    """A header as a caller of libcloud's API gives it, user metadata or not, fit to be sent."""
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    if name.lower().startswith(META):
        text = metadata_value(name, text)
    return header(name, text)


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and "  " not in text


@lru_cache(maxsize=256)
def _meta_names(names: tuple[str, ...]) -> tuple[tuple[str, ...], int]:
    """The headers' names and the bytes that they leave for the values.  All files of a run share
    them."""
    for name in names:
        if not re.fullmatch(_TOKEN, name):
            raise Rejected(f"{name!r} is no name for metadata")
    headers = tuple([META + name.lower() for name in names])
    if len(set(headers)) < len(headers):
        twice = next(name for name in headers if headers.count(name) > 1)
        raise Rejected(f"the metadata {twice.removeprefix(META)!r} is given twice")
    return headers, MOST_METADATA - sum(map(len, names))
