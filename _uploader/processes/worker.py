"""A worker process: takes jobs from the supervisor, uploads files, sends results.

Each side learns of the other's death by the end of the connection.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import socket
import time
import traceback
from collections.abc import Callable
from functools import partial
from typing import NoReturn, TypeVar

import gevent
from gevent.event import Event
from gevent.lock import Semaphore

import providers
from providers.attributes import FORMS
from providers.base import Cloud, Listed, Prepared
from providers.errors import Failure, NoBucket, Rejected, Unchecked

from ..config import Settings
from ..files.model import Result
from ..transfer.attempts import Attempts
from ..transfer.changes import Changes
from ..transfer.concurrency import ConcurrencyLimiter
from ..transfer.engine import Engine
from ..transfer.pacer import Pacer
from ..transfer.retry import RetryPolicy
from ..transfer.strays import abort_uploads
from ..transfer.upload import reason_of
from ..transfer.window import SOCKET_BYTES
from . import wire
from .cpu_clock import demand_clock
from .cpu_pause import CpuPause
from .priority import compute_after_others, lower_session
from .shared_rate import SharedRate

T = TypeVar("T")

FLUSH_INTERVAL = 0.01
"""Seconds of results that travel in one message, unless nothing more is under way."""
HEARTBEAT = 0.5
"""Seconds after which a worker without results reports all the same."""
RECEIVE_SIZE = 256 * 1024
DESCRIPTORS_RESERVED = 32
"""For libraries, the resolver and the connection to the supervisor."""
PART_WEIGHT = 8
"""Requests that one part counts for where the worker finds their number: few parts keep network and
service busy.  8 in flight in each of two workers took 0.8 of the time that 64 took, mostly because
the service needs memory for each."""


class Worker:
    """Answers the supervisor's messages with an engine that uploads."""

    def __init__(self, connection: socket.socket, pacer: Pacer | None = None) -> None:
        """``pacer`` limits the rate at which it sends."""
        self._connection = connection
        self._pacer = pacer
        self._results: list[Result] = []
        self._wake = Event()
        self._sending = Semaphore()
        self._engine: Engine | None = None
        self._cloud: Cloud | None = None
        self._resume_since: float | None = None
        self._share = wire.Share(1.0, "")
        self._may_create = Event()
        self._may_store = Event()
        self._cpu_pause = CpuPause()
        self._drops_pages = False
        self._stdin_memory: int | None = None
        """Bytes that may be held of standard input; None: files are uploaded."""

    def run(self) -> NoReturn:
        """Serves the supervisor until it is gone, then exits the process at once.

        Unreported files are uploaded again, so there is nothing to save.
        """
        decoder = wire.Decoder()
        try:
            while data := self._connection.recv(RECEIVE_SIZE):
                for message in decoder.feed(data):
                    self._handle(message)
        except ConnectionError:
            pass
        os._exit(0)

    def _handle(self, message: wire.Message) -> None:
        if isinstance(message, wire.Start):
            gevent.spawn(self._start, message)
        elif isinstance(message, wire.Resume):
            self._resume_since = message.since
        elif isinstance(message, wire.Create):
            self._may_create.set()
        elif isinstance(message, wire.StoreInput):
            self._may_store.set()
        elif isinstance(message, wire.Share):
            self._share = message
            if self._engine:
                self._engine.allow(*message)
        elif isinstance(message, wire.CpuRate):
            self._cpu_pause.set_rate(message.rate)
        elif isinstance(message, wire.DropPages):
            self._drops_pages = True
            if self._engine:
                self._engine.drop_pages()
        elif self._engine is None:
            return
        elif isinstance(message, wire.List):
            gevent.spawn(self._do, self._list, message.prefix)
        elif isinstance(message, wire.Delete):
            gevent.spawn(self._do, self._delete, message.keys)
        elif isinstance(message, wire.Jobs):
            if self._stdin_memory is None:
                self._engine.submit(message.jobs)
            else:
                (job,) = message.jobs
                self._engine.submit_stdin(job, self._stdin_memory, self._stdin_ended)
        elif isinstance(message, wire.Drain):
            self._send(wire.Returned(self._engine.drain()))

    def _start(self, start: wire.Start) -> None:
        """Opens the cloud; sends ``Ready``, or ``Fatal`` when no file can succeed."""
        settings = Settings(**start.settings)
        if settings.reads_stdin:
            self._stdin_memory = start.body_budget
        compute_after_others(settings.nice)
        gevent.spawn(_lower_session, settings.nice)
        try:
            cloud = _load(settings)
            cloud.traffic.limit = self._pacer
            self._cloud = cloud
            self._engine = engine = self._make_engine(settings, cloud, start)
            engine.allow(*self._share)
            gevent.spawn(self._send_results, engine, cloud.notices)
            if self._drops_pages:
                engine.drop_pages()
            engine.connect(start.sessions)
            if start.prepare:
                self._send(wire.Destination(cloud.destination()))
                self._prepare(settings, cloud, engine)
        except Failure as failure:
            self._stop_run(str(failure))
            return
        except Exception as error:
            traceback.print_exc()
            self._stop_run(f"unexpected {type(error).__name__}: {error} (--debug shows where)")
            return
        least = 2 if cloud.parts else engine.limit
        self._send(wire.Ready(os.getpid(), least))

    def _make_engine(self, settings: Settings, cloud: Cloud, start: wire.Start) -> Engine:
        resumable = not settings.no_journal
        return Engine(
            cloud,
            source_roots=start.roots,
            key_prefix=settings.prefix,
            form=FORMS[settings.posix_metadata],
            extra_metadata=settings.metadata,
            policy=RetryPolicy(settings.retries),
            limiter=_limiter(start, cloud, self._cpu_pause),
            most_bytes=start.body_budget / 2 / cloud.body_memory * SOCKET_BYTES,
            part_weight=PART_WEIGHT if settings.concurrency is None else 1,
            report=self._report,
            stop_run=self._stop_run,
            begun=self._begun if resumable else None,
            disk_hangs=start.disk_hangs,
            skip=settings.skip,
            dry_run=settings.dry_run,
            verifies=settings.verifies,
            downloads=settings.download,
            resume_since=lambda: self._resume_since,
        )

    def _prepare(self, settings: Settings, cloud: Cloud, engine: Engine) -> None:
        attempts = engine.attempts
        try:
            prepared = self._find_or_create(settings, cloud, attempts)
        except Unchecked as unchecked:
            prepared = Prepared(False, str(unchecked))
        if prepared.note:
            self._send(wire.Note(prepared.note))
        if settings.abort_stale and cloud.parts:
            session = cloud.open()
            for key in abort_uploads(attempts, session, settings.prefix, lambda info: True):
                self._send(wire.Note(f"aborted an unfinished upload of {key}"))
            session.close()

    def _find_or_create(self, settings: Settings, cloud: Cloud, attempts: Attempts) -> Prepared:
        try:
            return attempts.bounded(partial(cloud.prepare, False))
        except NoBucket:
            if settings.no_create:
                raise
            # The supervisor first voids records of an earlier bucket of this name.
            self._send(wire.Missing())
            self._may_create.wait()
            return attempts.bounded(partial(cloud.prepare, True))

    def _do(self, chore: Callable[[Engine, Cloud, T], None], about: T) -> None:
        """Does what else the supervisor asks for; a failure ends the run, as the rest of it rests
        on the answer."""
        assert self._engine
        assert self._cloud
        try:
            chore(self._engine, self._cloud, about)
        except Exception as error:
            if not self._engine.attempts.draining:
                self._stop_run(reason_of(error))

    def _list(self, engine: Engine, cloud: Cloud, prefix: str) -> None:
        from ..transfer.listing import Listing  # few runs need it

        def tell(objects: list[Listed]) -> None:
            self._send(wire.Listed([(key, size, etag) for key, size, etag in objects]))

        refusal = ""
        try:
            cuts = cloud.lists_from_anywhere
            Listing(engine.attempts, cloud.open, prefix, tell, cuts=cuts).run()
        except Rejected as failure:
            refusal = str(failure)
        self._send(wire.ListingEnded(refusal))

    def _delete(self, engine: Engine, cloud: Cloud, keys: list[str]) -> None:
        from ..transfer.deletion import delete_all  # few runs need it

        failed, hidden = delete_all(engine.attempts, cloud, keys)
        self._send(wire.Deleted(failed, hidden))

    def _stdin_ended(self) -> Event:
        self._send(wire.InputEnded())
        return self._may_store

    def _begun(self, number: int, upload_id: str, ctime_ns: int) -> None:
        self._send(wire.Begun(number, upload_id, ctime_ns))

    def _report(self, result: Result) -> None:
        self._results.append(result)
        self._wake.set()

    def _stop_run(self, reason: str) -> None:
        if self._engine:
            self._send_report(self._engine)  # what is stored is not to be sent again
        self._send(wire.Fatal(reason))

    def _send_results(self, engine: Engine, notices: list[str]) -> None:
        changes = Changes(engine.limit)
        while True:
            if self._wake.wait(HEARTBEAT) and engine.busy:
                gevent.sleep(FLUSH_INTERVAL)
            self._wake.clear()
            while notices:
                self._send(wire.Notice(notices.pop(0)))
            if change := changes.news(time.monotonic(), engine.limit, engine.reason):
                self._send(wire.Concurrency(*change))
            self._send_report(engine)

    def _send_report(self, engine: Engine) -> None:
        attempts = engine.attempts
        results, self._results = self._results, []
        self._send(
            wire.Results(
                results,
                engine.sent,
                engine.progress,
                attempts.retries,
                engine.limit,
                attempts.trouble,
                attempts.outage(),
            )
        )

    def _send(self, message: wire.Message) -> None:
        try:
            # Two greenlets in sendall could mix their bytes.
            with self._sending:
                self._connection.sendall(wire.encode(message))
        except ConnectionError:
            os._exit(0)


def _load(settings: Settings) -> Cloud:
    """The cloud, once whoever gives the credentials does: many workers ask at once."""
    attempts = Attempts(RetryPolicy(settings.retries), probe=lambda: None)
    return attempts.bounded(partial(providers.load, settings.cloud()))


def _limiter(start: wire.Start, cloud: Cloud, cpu_pause: CpuPause) -> ConcurrencyLimiter:
    """Limits requests in flight to the given number, or finds one; bounded by memory and
    descriptors.  Half of the memory is for the sessions, half for what they send.

    A process that is stopped would run if it might: more requests would not help it.
    """
    ceiling = min(start.body_budget // 2 // cloud.session_memory, _descriptors() // 2)
    if start.concurrency is None:
        clock = demand_clock()
        ceiling = min(start.most_in_flight, ceiling)
        return ConcurrencyLimiter(ceiling, demand=lambda: clock() + cpu_pause.paused)
    return ConcurrencyLimiter(min(start.concurrency, ceiling), first=start.concurrency)


def _lower_session(niceness: int) -> None:
    while not lower_session(niceness):
        gevent.sleep(random.uniform(0.1, 1.0))  # not together with the other workers


def _descriptors() -> int:
    """Sockets and files that this process may open for requests; raises the soft limit to the hard
    one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    if soft == resource.RLIM_INFINITY:
        soft = 2**20
    return max(2, soft - DESCRIPTORS_RESERVED)


def main(descriptor: int, rate: int | None = None) -> NoReturn:
    """Serves the supervisor at the other end of the socket ``descriptor``; never returns.
    ``rate``: the descriptor of the run's ``SharedRate``, if its rate is limited."""
    pacer = None if rate is None else Pacer(SharedRate(rate))
    Worker(socket.socket(fileno=descriptor), pacer).run()
