"""What describes a blob, as headers fit to sign, or refused.  Pure."""

from __future__ import annotations

from functools import lru_cache

from ..base import Metadata
from ..errors import Fatal, Rejected
from .metadata import check_names

META = "x-ms-meta-"
MOST_METADATA = 8 * 1024
"""Bytes of all user metadata of a blob, names and values.
https://learn.microsoft.com/en-us/rest/api/storageservices/setting-and-retrieving-properties-and-metadata-for-blob-resources
"""


def blob_headers(metadata: Metadata, content_type: str) -> list[tuple[str, str]]:
    """The headers that describe a blob, names in lower case.

    Spaces at the ends of values are cut off, as HTTP does.  Raises ``Fatal`` for names that no
    blob can have, ``Rejected`` for values that cannot be sent and for more than ``MOST_METADATA``
    bytes.
    """
    return [_content_type(content_type), *metadata_headers(metadata)]


def metadata_headers(metadata: Metadata) -> list[tuple[str, str]]:
    """The user metadata among ``blob_headers``."""
    if not metadata:
        return []
    given, values = zip(*metadata, strict=True)
    names, room = _meta_names(given)
    text = "".join(values)
    # A file's own attributes always end here.
    if len(text) <= room and " " not in text and text.isascii() and text.isprintable():
        return list(zip(names, values, strict=True))
    trimmed = [value.strip(" ") for value in values]
    for name, value in zip(names, trimmed, strict=True):
        # Two spaces in a row are signed in different ways by different versions of the service.
        if not (value.isascii() and value.isprintable()) or "  " in value:
            raise Rejected(
                f"the metadata {name.removeprefix(META)!r} cannot be sent to Azure: its value is "
                "not plain ASCII, or has two spaces in a row"
            )
    size = sum(map(len, trimmed)) + MOST_METADATA - room
    if size > MOST_METADATA:
        raise Rejected(f"has {size:,} bytes of user metadata: {MOST_METADATA:,} are the most")
    return list(zip(names, trimmed, strict=True))


@lru_cache(maxsize=256)
def _content_type(value: str) -> tuple[str, str]:
    value = value.strip(" ")
    if not (value.isascii() and value.isprintable()):
        raise Rejected("the Content-Type has a character that cannot be sent")
    return "x-ms-blob-content-type", value


@lru_cache(maxsize=256)
def _meta_names(names: tuple[str, ...]) -> tuple[tuple[str, ...], int]:
    """The headers' names and the bytes that they leave for the values.  All files of a run share
    them, so that a wrong one is the run's failure."""
    try:
        check_names(names)
    except ValueError as error:
        raise Fatal(str(error)) from None
    headers = tuple([META + name.lower() for name in names])
    if len(set(headers)) < len(headers):
        twice = next(name for name in headers if headers.count(name) > 1)
        raise Fatal(f"the metadata {twice.removeprefix(META)!r} is given twice")
    return headers, MOST_METADATA - sum(map(len, names))
