"""Reads and checksums the bytes of a request."""

from __future__ import annotations

import binascii
import hashlib
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

from awscrt.checksums import crc64nvme

from ..http.sender import Sender
from ..http.streamed import Streamed
from ..source import BLOCK_SIZE, Source


class Body(NamedTuple):
    """Bytes of a file, ready to be sent."""

    content: bytes | Callable[[Sender], None]
    size: int
    crc: int
    """CRC-64/NVME; 0 unless it was asked for.  Azure's CRC-64 is the same: polynomial
    0x9A6C9329AC4BC9B5 (reflected), as in ``StorageCrc64Calculator`` of Microsoft's .NET library."""
    md5: bytes
    """Empty unless it was asked for."""

    @classmethod
    def describe(cls, source: Source, span: range, *, with_crc: bool, with_md5: bool) -> Body:
        """Reads the bytes ``span`` and takes their checksums.

        Up to a block is read once and kept.  More is read again while it is sent, from the page
        cache: no part, however large, takes more memory than a block.
        """
        read = partial(cls._read, source, span, with_crc, with_md5)
        # A file of up to a block was loaded when it was opened: no disk to wait for.
        return read() if source.size <= BLOCK_SIZE else source.run(read)

    @classmethod
    def _read(cls, source: Source, span: range, with_crc: bool, with_md5: bool) -> Body:
        crc, size = 0, len(span)
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
            if with_crc:
                crc = crc64nvme(block, crc)
            if md5:
                md5.update(block)
        source.check_unchanged()
        return cls(content, size, crc, md5.digest() if md5 else b"")


def crc_of(source: Source, span: range) -> int:
    """The CRC of the bytes ``span``."""

    def work() -> int:
        crc = 0
        for block in source.blocks(span.start, len(span)):
            crc = crc64nvme(block, crc)
        return crc

    return source.run(work)


def md5_header(md5: bytes) -> tuple[str, str]:
    """The header that has the service check an MD5."""
    return "content-md5", _base64(md5)


def crc_header(crc: int) -> tuple[str, str]:
    """The header that has the service check a CRC: eight bytes, the lowest first."""
    return "x-ms-content-crc64", _base64(crc.to_bytes(8, "little"))


def _base64(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode()
