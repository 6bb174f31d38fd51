"""What a bucket holds that got a tree of files from the uploader: for the sink to tell."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from awscrt.checksums import crc64nvme

from .data import MIB

PART = 8 * MIB
WHOLE = 16 * MIB
"""The uploader's parts, and the largest file that it sends as a whole."""


def table(root: Path) -> str:
    """A Lua program that makes `keys`, sorted, and `objects`: of each key its size, ETag, mtime,
    mode, uid, gid, CRC-64/NVME and MD5."""
    rows = sorted(_rows(root))
    keys = ",\n".join(f'"{key}"' for key, _ in rows)
    objects = ",\n".join(f'["{key}"] = {{{about}}}' for key, about in rows)
    return f"keys = {{{keys}}}\nobjects = {{{objects}}}\n"


def _rows(root: Path) -> Iterator[tuple[str, str]]:
    for directory, _, names in os.walk(root):
        for name in names:
            path = Path(directory, name)
            status = path.stat()
            seconds, nanoseconds = divmod(status.st_mtime_ns, 1_000_000_000)
            etag, crc, md5 = _checksums(path)
            texts = [
                etag,
                f"{seconds}.{nanoseconds:09d}",
                f"0{status.st_mode:o}",
                str(status.st_uid),
                str(status.st_gid),
                crc,
                md5,
            ]
            quoted = (f'"{text}"' for text in texts)
            yield path.relative_to(root).as_posix(), ", ".join([str(status.st_size), *quoted])


def _checksums(path: Path) -> tuple[str, str, str]:
    """ETag, CRC-64/NVME and MD5."""
    whole, parts, crc = hashlib.md5(usedforsecurity=False), [], 0
    with path.open("rb") as file:
        while block := file.read(PART):
            whole.update(block)
            parts.append(hashlib.md5(block, usedforsecurity=False).digest())
            crc = crc64nvme(block, crc)
    etag = whole.hexdigest()
    if path.stat().st_size > WHOLE:
        together = hashlib.md5(b"".join(parts), usedforsecurity=False)
        etag = f"{together.hexdigest()}-{len(parts)}"
    return etag, _base64(crc.to_bytes(8, "big")), _base64(whole.digest())


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
