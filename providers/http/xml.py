"""Reads XML answers; raw characters that XML forbids are no obstacle.  Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

_UNREADABLE = (ElementTree.ParseError, LookupError, ValueError)
"""LookupError and ValueError: encodings that Python does not know or expat refuses."""
_FIRST_BYTES = 1024
"""Any answer's root element begins within these."""
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]|&#(?:0*(\d{1,2})|x0*([0-9A-Fa-f]{1,2}));")
"""Characters that XML 1.0 cannot hold, raw or by number, and other small numbers."""


def parsed(body: bytes) -> ElementTree.Element | None:
    """The root of an XML answer, None when it is no XML.

    Services put keys into answers raw: characters that XML forbids become U+FFFD here.
    """
    try:
        return ElementTree.fromstring(body)
    except _UNREADABLE:
        pass
    try:
        return ElementTree.fromstring(_CONTROL.sub(_replaced, body))
    except _UNREADABLE:
        return None


def root_of(body: bytes) -> str | None:
    """The name of an XML answer's root element, None without one.  Reads no further than that."""
    parser: Any = ElementTree.XMLPullParser(["start"])
    try:
        for start in range(0, len(body), _FIRST_BYTES):
            parser.feed(body[start : start + _FIRST_BYTES])
            for _, node in parser.read_events():
                return local_name(node)
    except _UNREADABLE:
        pass
    return None


def fields(node: ElementTree.Element) -> dict[str, str]:
    """The texts of an element's children, by name."""
    return {local_name(child): child.text or "" for child in node}


def rows(page: ElementTree.Element, name: str) -> Iterator[dict[str, str]]:
    """The fields of each child that is called ``name``."""
    return (fields(node) for node in page if local_name(node) == name)


def found(body: bytes, name: str) -> str | None:
    """The text of the first element called ``name``; None without one."""
    page = parsed(body)
    nodes = [] if page is None else page.iter()
    return next((node.text for node in nodes if local_name(node) == name), None)


def local_name(node: ElementTree.Element) -> str:
    """An element's name without the namespace, which some services leave out."""
    return node.tag.rpartition("}")[2]


def _replaced(match: re.Match[bytes]) -> bytes:
    decimal, hexadecimal = match.groups()
    number = int(decimal) if decimal else int(hexadecimal, 16) if hexadecimal else 0
    return match[0] if number >= 32 or number in (9, 10, 13) else "\ufffd".encode()
