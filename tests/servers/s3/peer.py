"""One connection of the fake S3, as its exchanges see it."""

from __future__ import annotations

import asyncio
import contextlib

from tests.servers.faults import reset_on_close

PATIENCE = 30.0
"""Seconds after which a silent server gives up too."""
LINGER = 0.3
"""Seconds that the end of an early answer waits, so that the answer is not lost by it."""


class Reset(Exception):
    """Raised by an exchange: the connection is to be reset."""


class Peer:
    """The two directions of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def head(self) -> bytes:
        """The next request's head, with the empty line at its end."""
        return await self._reader.readuntil(b"\r\n\r\n")

    async def read(self, size: int) -> bytes:
        return await self._reader.readexactly(size)

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def wait_for_end(self) -> None:
        """Says nothing until the client goes."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._reader.read(1), PATIENCE)

    async def linger(self) -> None:
        """Ends our side, and lets the client read what it was told."""
        with contextlib.suppress(OSError):
            self._writer.write_eof()
        await asyncio.sleep(LINGER)

    def reset(self) -> None:
        reset_on_close(self._writer.get_extra_info("socket"))
        self._writer.transport.abort()
