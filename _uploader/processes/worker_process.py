"""The supervisor's ends of its worker processes: sockets, stderr, start and kill."""

from __future__ import annotations

import os
import selectors
import socket
from collections.abc import Callable, Iterator

from ..files.model import Outage
from . import wire
from .fork_server import End, ForkServer

STDERR_KEPT = 4096
RECEIVE_SIZE = 256 * 1024
LONGEST_ROUND = 10.0
"""Seconds from one look at the workers to the next, above which this process has been paused."""


class WorkerProcess:
    """One worker process: its connection, its stderr, and its last report.

    Nothing here blocks.  The selector watches both streams, with the worker as their data.
    """

    def __init__(
        self,
        number: int,
        fork_server: ForkServer,
        selector: selectors.BaseSelector,
        echo: Callable[[bytes], None],
    ) -> None:
        """Starts the process; ``echo`` gets what it writes to stderr.  Raises OSError when no
        process can be started."""
        self.number = number
        self._connection, theirs = socket.socketpair()
        self._error_stream, their_errors = os.pipe()
        try:
            self._end = fork_server.fork(theirs, their_errors)
        except OSError:
            self.close()
            raise
        finally:
            theirs.close()
            os.close(their_errors)
        self._connection.setblocking(False)
        os.set_blocking(self._error_stream, False)
        self._selector = selector
        self._echo = echo
        for stream in (self._connection, self._error_stream):
            selector.register(stream, selectors.EVENT_READ, self)
        self._decoder = wire.Decoder()
        self._outbox = bytearray()
        self._errors = b""
        self.prepares = False
        """Looks at the bucket before the first jobs."""
        self.concurrency: int | None = None
        """Requests that it keeps in flight; None: it finds the number."""
        self.pid = 0
        """0 until it is ready."""
        self.heard = 0.0
        """When it last sent something, by the supervisor's clock."""
        self.sent = 0
        self.progress = 0
        self.retries = 0
        self.outage: Outage | None = None

    def __str__(self) -> str:
        return f"worker {self.pid}" if self.pid else "a new worker"

    def send(self, message: wire.Message) -> None:
        """Sends the message, or keeps what the socket does not take yet for ``flush``."""
        self._outbox += wire.encode(message)
        self.flush()

    def flush(self) -> None:
        """Sends what is kept.  A dead worker's is dropped: ``receive`` tells the death."""
        try:
            while self._outbox:
                del self._outbox[: self._connection.send(self._outbox)]
        except BlockingIOError:
            pass
        except ConnectionError:
            self._outbox.clear()
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._outbox else 0)
        self._selector.modify(self._connection, events, self)

    def is_stderr(self, descriptor: int) -> bool:
        """The descriptor is that of the process's stderr, not of its connection."""
        return descriptor == self._error_stream

    def receive(self) -> list[wire.Message] | None:
        """The messages that have arrived as a whole; None when the process is gone."""
        try:
            data = self._connection.recv(RECEIVE_SIZE)
        except BlockingIOError:
            return []
        except ConnectionError:
            data = b""
        return self._decoder.feed(data) if data else None

    def read_errors(self) -> None:
        """Reads some of what the process wrote to stderr."""
        try:
            data = os.read(self._error_stream, STDERR_KEPT)
        except BlockingIOError:
            return
        if not data:
            self._forget_errors()
            return
        self._errors = (self._errors + data)[-STDERR_KEPT:]
        self._echo(data)

    def kill(self) -> End:
        """Kills the process unless it is dead, reads its last words and closes this end."""
        end = self._end()
        self._selector.unregister(self._connection)
        self.read_errors()
        self._forget_errors()
        self.close()
        return end

    def cause_of(self, end: End) -> str:
        """Why it died: the last line it wrote, or how the system ended it."""
        lines = (self._errors or end.stderr_tail).decode(errors="replace").strip().splitlines()
        if lines:
            return lines[-1]
        return f"killed by signal {-end.code}" if end.code < 0 else f"exit code {end.code}"

    def close(self) -> None:
        """Closes this end: the process notices and exits."""
        self._connection.close()
        os.close(self._error_stream)

    def _forget_errors(self) -> None:
        """The stream may end before the connection: then ``kill`` meets its end again."""
        if self._error_stream in self._selector.get_map():
            self._selector.unregister(self._error_stream)


class WorkerProcesses:
    """The worker processes of a run, watched by one selector."""

    def __init__(
        self,
        fork_server: ForkServer,
        echo: Callable[[str], None] | None,
        clock: Callable[[], float],
    ) -> None:
        """``echo`` gets what the workers and the fork server write to stderr."""
        self._fork_server = fork_server
        self._echo = echo
        self._clock = clock
        self._looked = clock()
        self._selector = selectors.DefaultSelector()
        self._workers: list[WorkerProcess] = []
        self._started = 0

    def __iter__(self) -> Iterator[WorkerProcess]:
        """In the order in which they started; they may die meanwhile."""
        return iter(list(self._workers))

    def __len__(self) -> int:
        return len(self._workers)

    def start(self) -> WorkerProcess:
        """Starts one more, numbered from 1; raises OSError when that is impossible."""
        number = self._started + 1
        worker = WorkerProcess(number, self._fork_server, self._selector, self._pass_on)
        self._started = number
        worker.heard = self._clock()
        self._workers.append(worker)
        return worker

    def receive(self, timeout: float) -> Iterator[tuple[WorkerProcess, list[wire.Message] | None]]:
        """Waits up to ``timeout`` seconds; yields messages as they arrive, None for a death.

        Sends what the sockets now take, and reads stderr.
        """
        self._pass_on(self._fork_server.listen())
        ready = self._selector.select(timeout)
        self._excuse_pause()
        for key, mask in ready:
            worker: WorkerProcess = key.data
            if worker not in self._workers:
                continue  # killed in this round; its descriptors may be another's by now
            if worker.is_stderr(key.fd):
                worker.read_errors()
                continue
            if mask & selectors.EVENT_WRITE:
                worker.flush()
            if mask & selectors.EVENT_READ:
                messages = worker.receive()
                if messages is not None:
                    worker.heard = self._clock()
                yield worker, messages

    def _excuse_pause(self) -> None:
        """What this process has slept, by a stop signal or a suspended machine, was silence of
        nobody: most of it is no worker's."""
        now = self._clock()
        excess = now - self._looked - LONGEST_ROUND
        self._looked = now
        if excess > 0:
            for worker in self._workers:
                worker.heard += excess

    def broadcast(self, message: wire.Message) -> None:
        """Sends the message to every worker."""
        for worker in self._workers:
            worker.send(message)

    def silent_for(self, seconds: float) -> list[WorkerProcess]:
        """Those that have sent nothing for more than so long."""
        now = self._clock()
        return [worker for worker in self._workers if now - worker.heard > seconds]

    def pids(self) -> list[int]:
        """Of the fork server and of all workers that are ready."""
        return [*self._fork_server.pids(), *(worker.pid for worker in self._workers if worker.pid)]

    def kill(self, worker: WorkerProcess) -> End:
        """Kills one, unless it is dead, and forgets it."""
        end = worker.kill()
        self._workers.remove(worker)
        return end

    def stop(self) -> None:
        """Kills all, and the fork server."""
        for worker in self._workers:
            worker.close()  # a worker exits then, even if the fork server is dead
        self._selector.close()
        self._fork_server.close()

    def _pass_on(self, data: bytes) -> None:
        if self._echo and data:
            self._echo(data.decode(errors="replace"))
