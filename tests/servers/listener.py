"""Connections of a server that runs in a thread of the test's process."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable

BLOCK = 1 << 20
"""Most bytes that a reader holds."""
END = 30.0
"""Seconds that the end of the thread may take."""

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Listener:
    """Accepts connections at ``endpoint`` until it is stopped; ``talk`` serves one of them."""

    def __init__(self, talk: Talk, host: str = "127.0.0.1", port: int = 0) -> None:
        self._talk = talk
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._peers: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self.errors: list[BaseException] = []
        """What went wrong in the server itself."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=1024)
        authority = f"[{host}]" if ":" in host else host
        self.endpoint = f"http://{authority}:{listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run, args=(listener,), daemon=True)
        self._thread.start()

    def peers(self) -> set[object]:
        """The addresses of those who are connected."""
        return {writer.get_extra_info("peername") for writer in list(self._peers.values())}

    def stop(self) -> None:
        """Aborts all connections and ends the thread."""
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(END)
        assert not self._thread.is_alive()

    def _run(self, listener: socket.socket) -> None:
        try:
            self._loop.run_until_complete(self._serve(listener))
        finally:
            self._loop.close()

    async def _serve(self, listener: socket.socket) -> None:
        server = await asyncio.start_server(self._hold, sock=listener, limit=BLOCK)
        await self._stopping.wait()
        server.close()
        tasks = list(self._peers)
        for writer in self._peers.values():
            writer.transport.abort()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _hold(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._peers[task] = writer
        try:
            await self._talk(reader, writer)
        except asyncio.CancelledError:
            return  # the server stops
        except (OSError, EOFError):
            pass  # the client left, which is its right
        except Exception as error:
            self.errors.append(error)
        finally:
            del self._peers[task]
            # close() sends what is still to be sent.
            writer.close()
