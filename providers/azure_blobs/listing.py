"""Listings of blobs as XML.  Pure.

https://learn.microsoft.com/en-us/rest/api/storageservices/list-blobs
"""

from __future__ import annotations

from urllib.parse import unquote
from xml.etree.ElementTree import Element

from ..base import MOST_DIGITS, Listed, Page
from ..errors import Transient
from ..http.xml import fields, local_name, parsed

_UNREADABLE = "the service answered with a listing that cannot be read"


def read_page(body: bytes, after: str) -> Page:
    """The page in an answer to a List Blobs, without what does not come after the key ``after``.

    Raises ``Transient`` when it is none, or does not say whether and where the listing goes on: a
    listing that ends early must not look complete.
    """
    root = parsed(body)
    if root is None or local_name(root) != "EnumerationResults":
        raise Transient(_UNREADABLE)
    following: str | None = None
    objects = []
    for node in root:
        name = local_name(node)
        if name == "NextMarker":
            following = node.text or ""
        elif name == "Blobs":
            found = [_listed({local_name(part): part for part in blob}) for blob in node]
            objects += [blob for blob in found if blob and blob.key > after]
    if following is None:
        raise Transient("the service answered with a listing that does not say where it ends")
    return Page(objects, following)


def _listed(parts: dict[str, Element]) -> Listed | None:
    """One blob; None for a directory, which an account with a hierarchical namespace lists."""
    try:
        name, about = parts["Name"], fields(parts["Properties"])
        size = about["Content-Length"]
    except KeyError:
        raise Transient(_UNREADABLE) from None
    if about.get("ResourceType") == "directory":
        return None
    key = name.text or ""
    if not key or not size.isdecimal() or len(size) > MOST_DIGITS:
        raise Transient(_UNREADABLE)
    if name.get("Encoded") == "true":
        key = unquote(key)
    return Listed(key, int(size), about.get("Etag", "").strip('"'))
