"""Reads, checksums and sends the bytes of a file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import NamedTuple

from ..base import Part
from ..http.sender import Sender
from ..http.streamed import Streamed
from ..source import BLOCK_SIZE, Source
from .checksums import Crc
from .sigv4 import UNSIGNED_PAYLOAD


class Body(NamedTuple):
    """Bytes of a file, ready to be sent."""

    content: bytes | Callable[[Sender], None]
    size: int
    checksum: int
    payload_hash: str
    md5: bytes | None
    """None unless it was asked for."""

    @classmethod
    def describe(
        cls, source: Source, span: range, crc: Crc | None, *, with_sha256: bool, with_md5: bool
    ) -> Body:
        """Reads the bytes ``span`` and takes their checksums.

        Up to a block is read once and kept.  More is read again while it is sent, from the page
        cache: no part, however large, takes more memory than a block.
        """
        # A file of up to a block was loaded when it was opened: no disk to wait for.
        if source.size <= BLOCK_SIZE:
            return cls._read(source, span, crc, with_sha256, with_md5)
        return source.run(partial(cls._read, source, span, crc, with_sha256, with_md5))

    @classmethod
    def _read(
        cls, source: Source, span: range, crc: Crc | None, with_sha256: bool, with_md5: bool
    ) -> Body:
        checksum, size = 0, len(span)
        sha256 = hashlib.sha256() if with_sha256 else None
        md5 = hashlib.md5(usedforsecurity=False) if with_md5 else None
        content: bytes | Callable[[Sender], None]
        blocks: Iterable[bytes | memoryview]
        if size <= BLOCK_SIZE:
            content = source.read(span.start, size)
            blocks = (content,)
        else:
            content = Streamed(source, span).send_to
            blocks = source.blocks(span.start, size)
        for block in blocks:
            if crc:
                checksum = crc.update(block, checksum)
            if sha256:
                sha256.update(block)
            if md5:
                md5.update(block)
        source.check_unchanged()
        payload_hash = sha256.hexdigest() if sha256 else UNSIGNED_PAYLOAD
        return cls(content, size, checksum, payload_hash, md5.digest() if md5 else None)


def md5_of(source: Source, span: range) -> bytes:
    """The MD5 of the bytes ``span``."""

    def work() -> bytes:
        digest = hashlib.md5(usedforsecurity=False)
        for block in source.blocks(span.start, len(span)):
            digest.update(block)
        return digest.digest()

    return source.run(work)


def proven_part(
    row: Mapping[str, str], source: Source, part_size: int, crc: Crc | None
) -> Part | None:
    """The stored part in a row of a listing; None unless its bytes are proven to be the file's,
    cut in parts of ``part_size``."""
    try:
        number, size, etag = int(row["PartNumber"]), int(row["Size"]), row["ETag"].strip('"')
    except (KeyError, ValueError):
        return None
    if number < 1:
        return None
    span = range(source.size)[(number - 1) * part_size : number * part_size]
    if size != len(span) or not span:
        return None
    listed = row.get(crc.tag) if crc else None

    def work() -> Part | None:
        checksum, md5 = 0, hashlib.md5(usedforsecurity=False)
        for block in source.blocks(span.start, len(span)):
            if crc:
                checksum = crc.update(block, checksum)
            if not listed:
                md5.update(block)
        proven = listed == crc.text(checksum) if crc and listed else etag == md5.hexdigest()
        return Part(number, size, etag, checksum) if proven else None

    return source.run(work)
