"""Starts, feeds, watches and stops the worker processes.  Knows no cloud and no journal.

Workers are started by a fork server, each on one end of a socket pair: the other end is here.
"""

from __future__ import annotations

import os
import selectors
import socket
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from ..errors import RunError
from ..files.model import INTERRUPTED, Job, Result
from . import wire
from .dispatch import Dispatcher
from .fork_server import End, ForkServer

SILENCE_ALLOWED = 120.0
"""Seconds without a heartbeat after which a worker is taken for dead; well above the longest time
that a slow disk holds up a read."""
MOST_DEATHS = 20
"""Workers that may die before the run is given up."""
STDERR_KEPT = 4096
RECEIVE_SIZE = 256 * 1024


class Ended(NamedTuple):
    """A job has ended; ``result.failure`` says how."""

    job: Job
    result: Result


class Begun(NamedTuple):
    """The multipart upload that the job names was begun."""

    job: Job


class Note(NamedTuple):
    """Something that the user should see."""

    text: str


class Destined(NamedTuple):
    """It is known where the objects go; comes before ``Prepared``."""

    text: str


class Missing(NamedTuple):
    """There is no bucket: it is made as soon as this has been dealt with."""


class Prepared(NamedTuple):
    """The bucket is there: jobs can be handed out."""


Event = Ended | Begun | Note | Destined | Missing | Prepared


class _Worker:
    """One process and the conversation with it."""

    def __init__(self, fork_server: ForkServer) -> None:
        """Has the process started; raises OSError when that is impossible."""
        self.connection, theirs = socket.socketpair()
        self.error_stream, their_errors = os.pipe()
        try:
            self.end = fork_server.fork(theirs, their_errors)
        except OSError:
            self.close()
            raise
        finally:
            theirs.close()
            os.close(their_errors)
        self.connection.setblocking(False)
        os.set_blocking(self.error_stream, False)
        self.prepares = False
        self.decoder = wire.Decoder()
        self.outbox = bytearray()
        self.pid = 0
        """0 until it is ready."""
        self.heard = time.monotonic()
        self.sent = 0
        self.progress = 0
        self.retries = 0
        self.outage: tuple[float, float] | None = None
        self.errors = b""

    def __str__(self) -> str:
        return f"worker {self.pid}" if self.pid else "a new worker"

    def last_error(self, end: End) -> str:
        """Why it died: the last line it wrote, or how the system ended it."""
        lines = (self.errors or end.stderr_tail).decode(errors="replace").strip().splitlines()
        if lines:
            return lines[-1]
        return f"killed by signal {-end.code}" if end.code < 0 else f"exit code {end.code}"

    def close(self) -> None:
        """Closes this side of the conversation."""
        self.connection.close()
        os.close(self.error_stream)


class Supervisor:
    """``count`` worker processes at work on the dispatcher's jobs."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        *,
        count: int,
        start: wire.Start,
        fork_server: ForkServer,
        echo: Callable[[str], None] | None = None,
    ) -> None:
        """``start`` is what each worker is told; the first one to prepare the bucket as well.
        ``fork_server`` is where the workers come from.  ``echo`` gets what they write to stderr."""
        self._dispatcher = dispatcher
        self._count = count
        self._start = start
        self._resume: wire.Resume | None = None
        self._nursery = fork_server
        self._echo = echo
        self._selector = selectors.DefaultSelector()
        self._workers: list[_Worker] = []
        self._prepared = False
        self._draining = False
        self._deaths = 0
        self._notices: set[str] = set()
        """What the user was told of the service."""
        self._gone_sent = 0
        self._gone_progress = 0
        self._gone_retries = 0
        self.trouble = ""
        """What last went wrong with a request."""

    def start(self) -> None:
        """Starts the first worker, which looks at the bucket, and the others beside it."""
        for _ in range(self._count):
            self._start_worker()

    def step(self, timeout: float) -> Iterator[Event]:
        """One round: hands out jobs, waits up to ``timeout`` seconds for news, passes it on.

        Raises ``RunError`` when a worker says that no file can succeed, or workers keep dying.
        """
        self._feed()
        self._pass_on(self._nursery.listen())
        for key, mask in self._selector.select(timeout):
            worker, is_error_stream = key.data
            if worker not in self._workers:
                continue  # buried meanwhile; its descriptors may be another's by now
            if is_error_stream:
                self._read_errors(worker)
            else:
                if mask & selectors.EVENT_WRITE:
                    self._write(worker)
                if mask & selectors.EVENT_READ:
                    yield from self._read(worker)
        yield from self._replace_silent()

    @property
    def finished(self) -> bool:
        """Every job has ended, and the bucket was looked at unless the run was stopped before."""
        return (self._prepared or self._draining) and self._dispatcher.finished

    @property
    def sent(self) -> int:
        """Bytes of bodies given to the network so far."""
        return self._gone_sent + sum(worker.sent for worker in self._workers)

    @property
    def progress(self) -> int:
        """A number that grows as long as requests succeed, or long ones move."""
        return self._gone_progress + sum(worker.progress for worker in self._workers)

    @property
    def outage(self) -> tuple[float, float] | None:
        """Seconds for which the service has answered no worker that asked it, and until the next
        try; None while it works."""
        busy = [worker for worker in self._workers if self._dispatcher.is_busy(worker)]
        outages = [worker.outage for worker in busy if worker.outage]
        if not outages or len(outages) < len(busy):
            return None
        return min(seconds for seconds, _ in outages), min(left for _, left in outages)

    @property
    def retries(self) -> int:
        """Attempts beyond the first so far."""
        return self._gone_retries + sum(worker.retries for worker in self._workers)

    def pids(self) -> list[int]:
        """The processes of the workers, and the one that they come from."""
        return [*self._nursery.pids(), *(worker.pid for worker in self._workers if worker.pid)]

    def set_share(self, share: float) -> None:
        """Tells the workers how much of their concurrency they may use."""
        for worker in self._workers:
            self._send(worker, wire.Share(share))

    def resume(self, since: float) -> None:
        """Tells the workers that this run goes on with earlier ones, the first of which began at
        ``since``, in seconds since the epoch.  To be called before ``Prepared``."""
        self._resume = wire.Resume(since)
        for worker in self._workers:
            self._send(worker, self._resume)

    def drain(self) -> list[Job]:
        """Hands out nothing more and asks the workers to give back what they have not begun.

        Returns the jobs that no worker had; what is in flight still ends in ``step``.
        """
        self._draining = True
        for worker in self._workers:
            self._send(worker, wire.Drain())
        return self._dispatcher.stop()

    def stop(self) -> list[Job]:
        """Kills every worker; returns the jobs that they had not ended."""
        unfinished = []
        for worker in self._workers:
            unfinished += self._dispatcher.held_by(worker)
            worker.close()  # without it a worker ends, whatever becomes of the fork server
        self._selector.close()
        self._nursery.close()
        return unfinished

    def _start_worker(self) -> None:
        try:
            worker = _Worker(self._nursery)
        except OSError as error:
            raise RunError(f"cannot start a worker process: {error.strerror}") from None
        worker.prepares = not self._prepared and not any(other.prepares for other in self._workers)
        self._workers.append(worker)
        self._selector.register(worker.connection, selectors.EVENT_READ, (worker, False))
        self._selector.register(worker.error_stream, selectors.EVENT_READ, (worker, True))
        self._send(worker, self._start._replace(prepare=worker.prepares))
        if self._resume:
            self._send(worker, self._resume)

    def _feed(self) -> None:
        if not self._prepared or self._draining:
            return
        for worker, jobs in self._dispatcher.next_batches():
            assert isinstance(worker, _Worker)
            self._send(worker, wire.Jobs([tuple(job) for job in jobs]))

    def _send(self, worker: _Worker, message: wire.Message) -> None:
        worker.outbox += wire.encode(message)
        self._write(worker)

    def _write(self, worker: _Worker) -> None:
        try:
            while worker.outbox:
                del worker.outbox[: worker.connection.send(worker.outbox)]
        except BlockingIOError:
            pass
        except ConnectionError:
            worker.outbox.clear()
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if worker.outbox else 0)
        self._selector.modify(worker.connection, events, (worker, False))

    def _read(self, worker: _Worker) -> Iterator[Event]:
        try:
            data = worker.connection.recv(RECEIVE_SIZE)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            yield from self._replace(worker)
            return
        worker.heard = time.monotonic()
        for message in worker.decoder.feed(data):
            yield from self._handle(worker, message)

    def _handle(self, worker: _Worker, message: wire.Message) -> Iterator[Event]:
        if isinstance(message, wire.Results):
            yield from self._take(worker, message)
        elif isinstance(message, wire.Begun):
            if job := self._dispatcher.begun(worker, *message):
                yield Begun(job)
        elif isinstance(message, wire.Destination):
            yield Destined(message.text)
        elif isinstance(message, wire.Missing):
            yield Missing()
            self._send(worker, wire.Create())
        elif isinstance(message, wire.Ready):
            worker.pid = message.pid
            self._dispatcher.add_worker(worker, message.least)
            if worker.prepares and not self._prepared:
                self._prepared = True
                yield Prepared()
        elif isinstance(message, wire.Returned):
            for number in message.numbers:
                if job := self._dispatcher.done(worker, number):
                    yield Ended(job, interrupted(job))
        elif isinstance(message, wire.Note):
            yield Note(message.text)
        elif isinstance(message, wire.Notice):
            if message.text not in self._notices:
                self._notices.add(message.text)
                yield Note(message.text)
        elif isinstance(message, wire.Fatal):
            raise RunError(message.reason)

    def _take(self, worker: _Worker, news: wire.Results) -> Iterator[Event]:
        worker.sent, worker.progress = news.sent, news.progress
        worker.retries, worker.outage = news.retries, news.outage
        self.trouble = news.trouble or self.trouble
        self._dispatcher.widen(worker, news.limit)
        for result in map(Result._make, news.results):
            if job := self._dispatcher.done(worker, result.number):
                yield Ended(job, result)

    def _read_errors(self, worker: _Worker) -> None:
        try:
            data = os.read(worker.error_stream, STDERR_KEPT)
        except BlockingIOError:
            return
        if not data:
            self._forget_errors(worker)
            return
        worker.errors = (worker.errors + data)[-STDERR_KEPT:]
        self._pass_on(data)

    def _forget_errors(self, worker: _Worker) -> None:
        """Its end may come before that of the connection, and is then met again."""
        if worker.error_stream in self._selector.get_map():
            self._selector.unregister(worker.error_stream)

    def _pass_on(self, data: bytes) -> None:
        if self._echo and data:
            self._echo(data.decode(errors="replace"))

    def _replace_silent(self) -> Iterator[Event]:
        now = time.monotonic()
        for worker in list(self._workers):
            if now - worker.heard > SILENCE_ALLOWED:
                yield Note(f"{worker} has been silent for too long: replaced")
                yield from self._replace(worker)

    def _replace(self, worker: _Worker) -> Iterator[Event]:
        """Gives the files of a dead worker to others, and starts another worker."""
        end = self._remove(worker)
        self._gone_sent += worker.sent
        self._gone_progress += worker.progress
        self._gone_retries += worker.retries
        cause = worker.last_error(end)
        if not worker.pid and end.code >= 0:
            raise RunError(f"a worker process could not start: {cause}")
        held = self._dispatcher.held_by(worker)
        given_up = self._dispatcher.lost(worker)
        for job in given_up:
            reason = f"worker processes died of it: {cause}"
            yield Ended(job, Result(job.number, 0, job.mtime_ns, job.ctime_ns, reason))
        if self._draining:
            for job in self._dispatcher.stop():
                yield Ended(job, interrupted(job))
            return
        self._deaths += 1
        if self._deaths > MOST_DEATHS:
            raise RunError(f"{self._deaths} worker processes have died, the last one: {cause}")
        yield Note(f"{worker} died ({cause}): replaced, {len(held)} files sent again")
        self._start_worker()

    def _remove(self, worker: _Worker) -> End:
        """Kills the process, if it is not dead yet, and forgets it."""
        end = worker.end()
        self._selector.unregister(worker.connection)
        self._read_errors(worker)
        self._forget_errors(worker)
        worker.close()
        self._workers.remove(worker)
        return end


def interrupted(job: Job) -> Result:
    """The result of a job that was unfinished when the run stopped."""
    return Result(job.number, 0, job.mtime_ns, job.ctime_ns, INTERRUPTED)
