"""Connections of a server that runs in a thread of the test's process."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Awaitable, Callable

from tests.servers.faults import MIB, reset_on_close

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


class Transport:
    """Accepts connections and has ``exchange`` answer one request after the other.

    ``exchange`` returns false when nothing more can follow on the connection.
    """

    def __init__(self, exchange: Callable[[Peer], Awaitable[bool]]) -> None:
        self._exchange = exchange
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._peers: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self.errors: list[BaseException] = []
        """What went wrong in the server itself."""
        listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run, args=(listener,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Aborts all connections and ends the thread."""
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(PATIENCE)

    def _run(self, listener: socket.socket) -> None:
        try:
            self._loop.run_until_complete(self._serve(listener))
        finally:
            self._loop.close()

    async def _serve(self, listener: socket.socket) -> None:
        server = await asyncio.start_server(self._talk, sock=listener, limit=MIB)
        await self._stopping.wait()
        server.close()
        tasks = list(self._peers)
        for writer in self._peers.values():
            writer.transport.abort()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._peers[task] = writer
        peer = Peer(reader, writer)
        try:
            while await self._exchange(peer):
                pass
        except asyncio.CancelledError:
            return  # the server stops
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client left, which is its right
        except Reset:
            peer.reset()
        except Exception as error:
            self.errors.append(error)
        finally:
            del self._peers[task]
            # close() sends what is still to be sent.
            writer.close()
