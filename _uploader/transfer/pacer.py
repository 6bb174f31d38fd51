"""Makes the greenlets of a process keep a limit of the rate."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Protocol

import gevent
from gevent.event import Event

from .pacing import Allowance, quantum

AGAIN = 0.001
"""Seconds after which a schedule that another process has in its hands is asked again."""
LONGEST_SLEEP = 0.1
"""Seconds until a change of the rate is noticed."""
RECENT = 1.0
"""Seconds for which a wait shows that the limit of the rate holds the requests back."""


class Schedule(Protocol):
    """What all processes share."""

    @property
    def rate(self) -> float:
        """Bytes a second; 0: no limit.  May change at any time."""

    @property
    def processes(self) -> int:
        """How many share it."""

    def reserve(self, now: float, size: int) -> float | None:
        """When so many bytes may go (``time.monotonic``); None: ask again soon."""


class Pacer:
    """The ``RateLimit`` of a process's connections.

    Its greenlets stand in line, and only the first one asks the schedule: so each connection moves
    a little at a time, and a new rate holds at once.
    """

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._allowance = Allowance()
        self._line: deque[Event] = deque()
        self._waited_at = -math.inf

    @property
    def share(self) -> float:
        """Bytes a second of this process if all are busy."""
        rate = self._schedule.rate
        return rate / self._schedule.processes if rate else math.inf

    @property
    def waiting(self) -> bool:
        """A greenlet waits for its turn, or has waited a moment ago."""
        return bool(self._line) or monotonic() - self._waited_at < RECENT

    def take(self, wanted: int) -> int:
        """Waits until bytes may go; returns how many of ``wanted``, at least one."""
        if not self._line and (taken := self._taken(wanted)):
            return taken
        with self._turn():
            while not (taken := self._taken(wanted)):
                self._wait()
        return taken

    def give_back(self, unsent: int) -> None:
        """Of what was taken so many bytes have not gone: the socket was full."""
        if unsent and self._schedule.rate:
            self._allowance.add(monotonic(), unsent)

    def _taken(self, wanted: int) -> int:
        rate = self._schedule.rate
        if not rate:
            return wanted
        return self._allowance.take(monotonic(), wanted, quantum(rate, self._schedule.processes))

    def _wait(self) -> None:
        """Waits for the moment of the next bytes."""
        schedule = self._schedule
        rate = schedule.rate
        size = self._allowance.missing(quantum(rate, schedule.processes))
        while (moment := schedule.reserve(monotonic(), size)) is None:
            gevent.sleep(AGAIN)
        while (pause := moment - monotonic()) > 0 and schedule.rate == rate:
            gevent.sleep(min(pause, LONGEST_SLEEP))
            self._waited_at = monotonic()
        self._allowance.add(monotonic(), size)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Stands in line until all have gone who came before.  gevent's locks do not: whoever asks
        again at once gets them."""
        mine = Event()
        line = self._line
        line.append(mine)
        try:
            if line[0] is not mine:
                mine.wait()
            yield
        finally:
            is_first = line[0] is mine
            line.remove(mine)
            if is_first and line:
                line[0].set()
