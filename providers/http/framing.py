"""Frames request bodies of any kind: by their length, or in chunks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from ..errors import SourceChanged
from .response import KIB
from .sender import Body, Sender

READ_BLOCK = 256 * KIB
_FRAMING = ("content-length", "transfer-encoding")


def framed_body(method: str, body: Any, fields: dict[str, Any]) -> Body:
    """The body as ``Connection`` takes it; ``fields`` get the header that says where it ends."""
    given = {name.lower(): fields.pop(name) for name in list(fields) if name.lower() in _FRAMING}
    if body is None or isinstance(body, str | bytes | bytearray | memoryview):
        content = body.encode() if isinstance(body, str) else bytes(body or b"")
        if content or method not in ("GET", "HEAD"):
            fields["Content-Length"] = len(content)
        return content
    length = given.get("content-length")
    declared = _remaining(body) if length is None else int(length)
    if declared is None:
        fields["Transfer-Encoding"] = "chunked"
        return _chunked(_blocks(body))
    fields["Content-Length"] = declared
    return _counted(_blocks(body), declared)


def _remaining(body: Any) -> int | None:
    """The bytes of a file behind its position; None when ``body`` cannot tell."""
    try:
        position = body.tell()
        end = body.seek(0, os.SEEK_END)
        body.seek(position)
    except (AttributeError, OSError):
        return None
    return max(int(end) - int(position), 0)


def _blocks(body: Any) -> Iterable[bytes]:
    if hasattr(body, "read"):
        return iter(lambda: body.read(READ_BLOCK), b"")
    blocks: Iterable[bytes] = body
    return blocks


def _counted(blocks: Iterable[bytes], size: int) -> Callable[[Sender], None]:
    def send(sender: Sender) -> None:
        left = size
        for block in blocks:
            left -= len(block)
            if left < 0:
                raise SourceChanged(f"the body has more than the declared {size} bytes")
            sender.write(block)
        if left:
            raise SourceChanged(f"the body has {left} of the declared {size} bytes too few")

    return send


def _chunked(blocks: Iterable[bytes]) -> Callable[[Sender], None]:
    def send(sender: Sender) -> None:
        for block in blocks:
            if block:
                sender.write(b"%x\r\n%b\r\n" % (len(block), block))
        sender.write(b"0\r\n\r\n")

    return send
