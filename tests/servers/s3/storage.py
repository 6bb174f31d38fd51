"""Objects and uploads as a service keeps them, and what proves their content."""

from __future__ import annotations

import base64
import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from awscrt.checksums import combine_crc64nvme


class Piece(NamedTuple):
    """The content of an object that came in one request, or of a part."""

    size: int
    sha256: bytes
    crc: int
    etag: str


class Signer(NamedTuple):
    """Who signed a request."""

    access_key: str
    signature: str


@dataclass
class Object:
    """What is stored under a key."""

    pieces: Sequence[Piece]
    etag: str
    headers: Mapping[str, str]
    """Of the request that began it: content-type and x-amz-meta-*."""
    signer: Signer
    content: bytes | None
    """None when it is large, or came in parts."""

    @property
    def size(self) -> int:
        return sum(piece.size for piece in self.pieces)

    @property
    def crc(self) -> int:
        whole = 0
        for piece in self.pieces:
            whole = combine_crc64nvme(whole, piece.crc, piece.size)
        return whole


@dataclass
class Upload:
    """A multipart upload that is open."""

    key: str
    headers: Mapping[str, str]
    parts: dict[int, Piece] = field(default_factory=dict)
    begun: float = field(default_factory=time.time)


@dataclass
class Bucket:
    objects: dict[str, Object] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)
    blocks_public_access: bool = False


def difference(stored: Object, path: str | Path) -> str:
    """How an object differs from the file; empty when it does not.

    Each piece is compared by SHA-256, so that parts in a wrong order are found; of the user
    metadata size and mtime are.
    """
    with open(path, "rb") as file:
        status = os.fstat(file.fileno())
        if stored.size != status.st_size:
            return f"{stored.size} bytes, not {status.st_size}"
        for number, piece in enumerate(stored.pieces, 1):
            if hashlib.sha256(file.read(piece.size)).digest() != piece.sha256:
                return f"other bytes in piece {number}"
    seconds, nanoseconds = divmod(status.st_mtime_ns, 10**9)
    expected = {"size": str(status.st_size), "mtime": f"{seconds}.{nanoseconds:09}"}
    for name, value in expected.items():
        if stored.headers.get(f"x-amz-meta-{name}") != value:
            return f"the metadata {name} is not {value}"
    return ""


def md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def base64_text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def crc_text(crc: int) -> str:
    return base64_text(crc.to_bytes(8, "big"))
