"""Listings of objects, and deletions of many, as XML.  Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import unquote_plus
from xml.etree.ElementTree import Element, SubElement, tostring

from ..base import MOST_DIGITS, Deletion, Listed, Page
from ..errors import Transient
from ..http.xml import local_name, parsed, rows
from .answers import key_of

_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|\r")
"""https://www.w3.org/TR/xml/#charsets; a carriage return would be read as a line feed."""


def read_page(body: bytes, prefix: str, after: str) -> Page:
    """The page in an answer to a ListObjectsV2 for keys with ``prefix``, after the key ``after``.

    Raises ``Transient`` when it is none, or does not say whether and where the listing goes on: a
    listing that ends early must not look complete.
    """
    root = parsed(body)
    if root is None or local_name(root) != "ListBucketResult":
        raise Transient("the service answered with a listing that cannot be read")
    about: dict[str, str] = {}
    contents = []
    for node in root:
        name = local_name(node)
        if name == "Contents":
            contents.append(node)
        else:
            about[name] = node.text or ""
    following = about.get("NextContinuationToken", "")
    truncated = about.get("IsTruncated")
    if truncated not in ("true", "false") or (truncated == "true" and not following):
        raise Transient("the service answered with a listing that does not say where it ends")
    is_encoded = about.get("EncodingType") == "url"
    objects = []
    for node in contents:
        row = {local_name(child): child.text or "" for child in node}
        key, size = row.get("Key", ""), row.get("Size", "")
        if not key or not size.isdecimal() or len(size) > MOST_DIGITS:
            raise Transient("the service answered with a listing that cannot be read")
        if "%" in key or "+" in key:
            key = unquote_plus(key) if is_encoded else key_of(root, row, prefix)
        # A service that overlooks ``start-after`` lists what comes before, too.
        if key > after and key.startswith(prefix):
            objects.append(Listed(key, int(size), row.get("ETag", "").strip('"')))
    return Page(objects, following if truncated == "true" else "")


def fits_xml(key: str) -> bool:
    """Whether an XML document can hold the key as it is."""
    return not _NOT_IN_XML.search(key)


def deletion(keys: Sequence[str], namespace: str) -> bytes:
    """The body of a DeleteObjects."""
    root = Element("Delete", xmlns=namespace)
    for key in keys:
        SubElement(SubElement(root, "Object"), "Key").text = key
    return bytes(tostring(root, encoding="utf-8"))


def read_deletion(body: bytes, keys: Sequence[str]) -> Deletion:
    """What an answer to a DeleteObjects says of these keys; one of which it says nothing has not
    been deleted.  Raises ``Transient`` when it is no such answer."""
    root = parsed(body)
    if root is None or local_name(root) != "DeleteResult":
        raise Transient("the service answered to a deletion with what cannot be read")
    deleted = {row.get("Key"): row for row in rows(root, "Deleted")}
    reasons = {}
    for row in rows(root, "Error"):
        told = ": ".join(filter(None, (row.get("Code"), row.get("Message"))))
        reasons[row.get("Key")] = " ".join(told.split()) or "the service does not say why"
    silence = "the service does not say whether it is deleted"
    failed = [(key, reasons.get(key, silence)) for key in keys if key not in deleted]
    hidden = sum(row.get("DeleteMarker") == "true" for row in deleted.values())
    return Deletion(failed, hidden)
