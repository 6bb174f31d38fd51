"""A worker process: takes jobs from the supervisor, uploads them in a pool, sends back results.

The connection is the only tie between the two: its end is noticed whatever killed the other side.
"""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import traceback
from functools import partial
from typing import Any, NoReturn

import gevent
from gevent.event import Event
from gevent.lock import Semaphore

import providers
from providers.base import Cloud
from providers.errors import Failure

from . import wire
from .config import Settings
from .demand import demand_clock
from .model import Job, Result
from .pool import PART_WEIGHT, UploadPool
from .transfer.concurrency import ConcurrencyLimiter
from .transfer.retry import RetryPolicy

FLUSH_INTERVAL = 0.01
"""Seconds over which results are gathered into one message."""
HEARTBEAT = 1.0
"""Seconds after which a worker with nothing to report says so."""
RECEIVE_SIZE = 256 * 1024
DESCRIPTORS_RESERVED = 32
"""For libraries, the resolver and the conversation with the supervisor."""
NICENESS = 10
"""Others on the machine come first; where nobody else wants the CPU this costs nothing."""


class Worker:
    """The process's side of the conversation in ``wire``."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._results: list[Result] = []
        self._wake = Event()
        self._sending = Semaphore()
        self._pool: UploadPool | None = None

    def run(self) -> NoReturn:
        """Serves the supervisor until it is gone, then exits the process at once: what it has not
        been told about is sent again, and nobody is left to hear of it."""
        decoder = wire.Decoder()
        try:
            while data := self._connection.recv(RECEIVE_SIZE):
                for message in decoder.feed(data):
                    self._handle(message)
        except ConnectionError:
            pass
        os._exit(0)

    def _handle(self, message: wire.Message) -> None:
        kind = message[0]
        if kind == wire.START:
            gevent.spawn(self._start, *message[1:])
        elif self._pool is None:
            return
        elif kind == wire.JOBS:
            self._pool.submit(map(Job._make, message[1]))
        elif kind == wire.SHARE:
            self._pool.set_share(message[1])
        elif kind == wire.DRAIN:
            self._send((wire.RETURNED, self._pool.drain()))

    def _start(
        self,
        settings: dict[str, Any],
        concurrency: int | None,
        most: int,
        body_budget: int,
        resume_since: float | None,
        prepare: bool,
    ) -> None:
        """Opens the cloud and says READY, or FATAL with the reason."""
        told = Settings(**settings)
        try:
            cloud = providers.load(told.cloud())
            ceiling = min(body_budget // cloud.body_memory, _descriptors() // 2)
            knee = _knee(concurrency, most, ceiling)
            self._pool = UploadPool(
                cloud,
                source_root=os.path.join(told.src, ""),
                key_prefix=told.prefix,
                extra_metadata=told.extra_metadata,
                policy=RetryPolicy(told.retries),
                knee=knee,
                part_weight=PART_WEIGHT if concurrency is None else 1,
                report=self._report,
                stop_run=self._stop_run,
                begun=self._begun,
                resume_since=resume_since,
            )
            gevent.spawn(self._send_results, self._pool)
            if prepare:
                self._prepare(told, cloud, self._pool)
        except Failure as failure:
            self._stop_run(str(failure))
            return
        except Exception as error:
            traceback.print_exc()
            self._stop_run(f"unexpected {type(error).__name__}: {error} (--debug shows where)")
            return
        self._send((wire.READY, os.getpid(), 2 if cloud.parts else knee.limit))

    def _prepare(self, told: Settings, cloud: Cloud, pool: UploadPool) -> None:
        prepared = pool.persist(partial(cloud.prepare, not told.no_create))
        if prepared.note:
            self._send((wire.NOTE, prepared.note))
        if told.abort_stale and cloud.parts:
            session = cloud.open()
            for key in pool.abort_uploads(told.prefix, session, lambda info: True):
                self._send((wire.NOTE, f"aborted an unfinished upload of {key}"))
            session.close()

    def _begun(self, number: int, upload_id: str, ctime_ns: int) -> None:
        self._send((wire.BEGUN, number, upload_id, ctime_ns))

    def _report(self, result: Result) -> None:
        self._results.append(result)
        self._wake.set()

    def _stop_run(self, reason: str) -> None:
        self._send((wire.FATAL, reason))

    def _send_results(self, pool: UploadPool) -> None:
        while True:
            if self._wake.wait(HEARTBEAT):
                gevent.sleep(FLUSH_INTERVAL)
            self._wake.clear()
            results, self._results = self._results, []
            rows = [tuple(result) for result in results]
            self._send((wire.RESULTS, rows, pool.sent, pool.retries, pool.limit, pool.trouble))

    def _send(self, message: wire.Message) -> None:
        try:
            # One message after the other: sendall of two greenlets could mix their bytes.
            with self._sending:
                self._connection.sendall(wire.encode(message))
        except ConnectionError:
            os._exit(0)


def _descriptors() -> int:
    """How many sockets and files this process may open: the system's hard limit, which it may
    raise its own to, less what it has open anyway."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    if soft == resource.RLIM_INFINITY:
        soft = 2**20
    return max(2, soft - DESCRIPTORS_RESERVED)


def _knee(concurrency: int | None, most: int, ceiling: int) -> ConcurrencyLimiter:
    """The number in flight: as told, or found; never more than memory allows."""
    if concurrency is None:
        return ConcurrencyLimiter(min(most, ceiling), demand=demand_clock())
    return ConcurrencyLimiter(min(concurrency, ceiling), first=concurrency)


def main(descriptor: int) -> NoReturn:
    """Serves the supervisor at the other end of the socket ``descriptor``; never returns."""
    os.nice(NICENESS)
    Worker(socket.socket(fileno=descriptor)).run()
