"""Disk operations that do not block the loop.

In the page cache an operation takes some 10 us, a third of what handing it to a thread costs.  On a
cold disk or a network volume it takes milliseconds, and many overlap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from time import monotonic, thread_time
from typing import TYPE_CHECKING, Generic, TypeVar, cast

import gevent

from . import page_cache
from .source import Leased, Source, loaded

if TYPE_CHECKING:
    from gevent.threadpool import ThreadPool

T = TypeVar("T")

SLOW = 0.0003
"""Mean seconds of an operation above which threads pay: several times their cost, and ten times
what a small file in the page cache takes."""
MEMORY = 64
"""Operations in the mean, about.  So many that one of 16 ms makes no slow disk: a busy machine may
take the CPU away for that long."""
WARY = 0.9 * SLOW
"""The mean at the start of a trial: the first slow operation ends it."""
PAUSE = 1.0
"""Seconds between two trials of a slow disk."""
CPU_SHARE = 3
"""An operation may wait for the CPU twice as long as it computes: not the disk's time."""

THREADS = 64
"""Most operations at once.  Each thread takes some 30 KiB."""
THREAD_IDLE = 10.0
"""Seconds after which an idle thread ends."""

LEASE_BREAK = 60.0
"""Seconds to wait for the end of a lease: the kernel's default is 45 (fcntl(2), under Leases)."""
LEASE_PAUSE = 0.1
"""Seconds between two attempts to open a leased file."""


class DiskPace:
    """Decides whether disk operations run on the loop or in threads."""

    def __init__(self, direct: bool = True) -> None:
        self.direct = direct
        """Operations run on the loop."""
        self._mean = 0.0
        self._resting_until = 0.0

    def took(self, seconds: float, now: float) -> None:
        """An operation on the loop waited for so many seconds and ended ``now``."""
        self._mean += (seconds - self._mean) / MEMORY
        if self._mean > SLOW:
            self.direct = False
            self._resting_until = now + PAUSE

    def took_in_thread(self, seconds: float, now: float) -> None:
        """An operation in a thread did.  Only a quick one gives the loop a trial: so the loop never
        waits for a disk that hangs."""
        if seconds < SLOW and now >= self._resting_until:
            self.direct = True
            self._mean = WARY


class Disk:
    """Runs disk operations for the greenlets of one thread."""

    def __init__(self, hangs: bool = False) -> None:
        """``hangs``: the disk has held up a process for long; begins in threads."""
        self._pace = DiskPace(direct=not hangs)
        self._threads: ThreadPool | None = None
        self.drops_pages = False
        """Files that are read leave the page cache as it was."""

    def open(self, path: str) -> Source:
        """The file, open for reading; one of at most ``BLOCK_SIZE`` bytes is loaded.

        Raises what ``Source`` and ``Source.load`` raise.  Waits for the end of a lease.
        """
        pace = self._pace
        try:
            if pace.direct:
                # ``run`` without asking for the CPU's time, which takes 2 us.
                started = monotonic()
                try:
                    source = loaded(path, self.drops_pages)
                finally:
                    now = monotonic()
                    pace.took(now - started, now)
            else:
                source = self.run(partial(loaded, path, self.drops_pages))
        except Leased:
            source = self._open_leased(path)
        source.run = self.run
        return source

    def look(self, path: str) -> Source:
        """The file, open but not read.  Raises what ``Source`` raises."""
        source = self.run(partial(Source, path))
        source.run = self.run
        return source

    @contextmanager
    def reading(self, source: Source, offset: int, length: int) -> Iterator[None]:
        """Around all that reads these bytes of an open file: they leave the page cache at the end,
        unless they were in it before.  A file that was opened without ``drops_pages`` stays."""
        if source.cached is None:
            yield
            return
        try:
            yield
        finally:
            if not source.cached[offset + length // 2]:
                self.run(partial(page_cache.drop, source.fd, offset, length))

    def run(self, operation: Callable[[], T], /) -> T:
        """The result of an operation, run on the loop or in a thread, whichever is faster."""
        pace = self._pace
        if pace.direct:
            outcome = _outcome(operation)
            pace.took(outcome.waited, outcome.ended)
        else:
            outcome = self._in_thread(operation)
            pace.took_in_thread(outcome.waited, outcome.ended)
        return outcome.result()

    def wait(self, operation: Callable[[], T], /) -> T:
        """The result of an operation that always waits for the disk, such as fsync."""
        return self._in_thread(operation).result()

    def _in_thread(self, operation: Callable[[], T]) -> _Outcome[T]:
        from gevent.threadpool import ThreadPool  # takes 2 ms; few disks need it

        threads = self._threads
        if threads is None or threads.hub is not gevent.get_hub():
            threads = self._threads = ThreadPool(THREADS, idle_task_timeout=THREAD_IDLE)
        outcome: _Outcome[T] = threads.spawn(_outcome, operation).get()
        return outcome

    def _open_leased(self, path: str) -> Source:
        deadline = monotonic() + LEASE_BREAK
        while True:
            gevent.sleep(LEASE_PAUSE)
            try:
                return self.run(partial(loaded, path, self.drops_pages))
            except Leased:
                if monotonic() > deadline:
                    raise


class _Outcome(Generic[T]):
    """How an operation ended."""

    __slots__ = ("_error", "_value", "ended", "waited")

    def __init__(
        self, value: T | None, error: BaseException | None, waited: float, ended: float
    ) -> None:
        self._value = value
        self._error = error
        self.waited = waited
        """Seconds, about, without computing and waiting for the CPU."""
        self.ended = ended

    def result(self) -> T:
        """Its value, or its exception."""
        if self._error:
            raise self._error
        return cast(T, self._value)


def _outcome(operation: Callable[[], T]) -> _Outcome[T]:
    value, error = None, None
    started, cpu = monotonic(), thread_time()
    try:
        value = operation()
    except BaseException as raised:  # gevent's thread would print it
        error = raised
    ended = monotonic()
    waited = ended - started - CPU_SHARE * (thread_time() - cpu)
    return _Outcome(value, error, max(0.0, waited), ended)
