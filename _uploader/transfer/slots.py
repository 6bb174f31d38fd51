"""Runs tasks in greenlets with a session each: how many at once.

A task sends one or a few requests; which, the slots do not know.  It begins when the limit
of requests, the window of bytes and (for a part of a large file) the limit of parts have room.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from heapq import heappop, heappush
from itertools import count
from typing import Protocol

from gevent.event import AsyncResult
from gevent.pool import Group

from providers.base import Session
from providers.errors import Failure

from .concurrency import ConcurrencyLimiter
from .window import SendWindow

MOST_PARTS = 16
"""Most parts in flight where a part counts for several requests.  16 in each of two processes fill
1 Gbit/s at a round trip of 100 ms.  With 48 several files have all their parts in flight: they end
together, and the link idles while the checksums of as many new parts are computed."""


class Task(Protocol):
    """Work for a session."""

    @property
    def size(self) -> int:
        """Bytes to send."""

    @property
    def is_part(self) -> bool:
        """A part of a large file goes before other tasks and counts for several requests."""

    @property
    def rank(self) -> int:
        """Of the queued parts the one with the lowest rank goes first."""

    def run(self, session: Session) -> int | None:
        """Does the work; returns the bytes that the service accepted, None for nothing."""


class Slots:
    """Runs tasks in greenlets; each keeps one session for its life."""

    def __init__(
        self,
        open_session: Callable[[], Session],
        limiter: ConcurrencyLimiter,
        window: SendWindow,
        *,
        part_weight: int,
        cannot_open: Callable[[Exception], None],
        connects_ahead: bool = False,
    ) -> None:
        """``part_weight``: requests that a part counts for.  ``cannot_open`` is called when no
        session can be made; the task stays queued.  ``connects_ahead``: see ``Cloud``."""
        self._open_session = open_session
        self._limiter = limiter
        self._window = window
        self._part_weight = part_weight
        self._cannot_open = cannot_open
        self._connects_ahead = connects_ahead
        self.limit = limiter.limit
        """Tasks that may run now."""
        self._most_parts = self._parts_within(self.limit)
        self._tasks: deque[Task] = deque()
        self._parts: list[tuple[int, int, Task]] = []
        """A heap: by rank, then in the order in which they were added."""
        self._added = count()
        self._parts_running = 0
        self.running = 0
        """Tasks that run now."""
        self.paced = False
        """A limit of the rate holds the requests back: more of them would not pay."""
        self.accepted = 0
        """Tasks so far of which the service accepted something."""
        self._idle: list[AsyncResult[Task | None]] = []
        self._closing = False
        self._greenlets = Group()
        self._alive = 0
        """Greenlets, whether they work, wait or connect."""

    def add(self, task: Task) -> None:
        """Queues a task; returns at once."""
        if task.is_part:
            heappush(self._parts, (task.rank, next(self._added), task))
        else:
            self._tasks.append(task)
        self.fill()

    def add_all(self, tasks: Iterable[Task]) -> None:
        """Queues tasks that are no parts; returns at once."""
        self._tasks.extend(tasks)
        self.fill()

    def take_back(self) -> list[Task]:
        """Drops the queued tasks that are no parts, and returns them."""
        tasks = list(self._tasks)
        self._tasks.clear()
        return tasks

    def fill(self) -> None:
        """Begins as many queued tasks as there is room for."""
        while self.running < self.limit and (task := self._next()):
            self.running += 1
            (self._idle.pop() if self._idle else self._spawn()).set(task)
        if self._alive < self.limit and self._tasks and not self._closing:
            self.connect(2 * self.running)

    def connect(self, sessions: int) -> None:
        """Connects so many sessions ahead of their tasks, within the limit: to a distant service
        connecting takes one or two round trips."""
        if not self._connects_ahead:
            return
        for _ in range(min(sessions, self.limit) - self._alive):
            # ``fill`` takes from the other end: sessions that have connected go first.
            self._idle.insert(0, self._spawn())

    def resize(self) -> None:
        """Follows a change of the limiter.  Greenlets above the limit end after their task."""
        self.limit = self._limiter.limit
        self._most_parts = self._parts_within(self.limit)
        self.fill()

    def close(self) -> None:
        """Waits for all tasks; the greenlets end and close their sessions."""
        self._closing = True
        for waiting in self._idle:
            waiting.set(None)
        self._idle.clear()
        self._greenlets.join()

    def _parts_within(self, limit: int) -> int:
        most = max(1, limit // self._part_weight)
        return most if self._part_weight == 1 else min(most, MOST_PARTS)

    def _next(self) -> Task | None:
        """Takes the next task from its queue; None when there is none, or no room."""
        is_part = bool(self._parts) and self._parts_running < self._most_parts
        if is_part:
            task = self._parts[0][-1]
        elif self._tasks:
            task = self._tasks[0]
        else:
            return None
        if not self._window.begin(task.size):
            return None
        if is_part:
            heappop(self._parts)
            self._parts_running += 1
        else:
            self._tasks.popleft()
        return task

    def _spawn(self) -> AsyncResult[Task | None]:
        """A new greenlet; returns where it waits for its first task."""
        waiting: AsyncResult[Task | None] = AsyncResult()
        self._alive += 1
        self._greenlets.spawn(self._live, waiting)
        return waiting

    def _live(self, waiting: AsyncResult[Task | None]) -> None:
        """A greenlet's life."""
        try:
            self._work(waiting)
        finally:
            self._alive -= 1

    def _work(self, waiting: AsyncResult[Task | None]) -> None:
        try:
            session = self._open_session()
        except Exception as error:
            if waiting in self._idle:
                self._idle.remove(waiting)
            elif task := waiting.get():
                self._put_back(task)
            self._cannot_open(error)
            return
        try:
            if not waiting.ready():
                with suppress(Failure):  # the first request will tell
                    session.connect()
            task = waiting.get()
            while task is not None:
                self._run(task, session)
                task = self._next_or_wait()
        finally:
            session.close()

    def _run(self, task: Task, session: Session) -> None:
        began = time.monotonic()
        seconds = accepted = None
        try:
            accepted = task.run(session)
            now = time.monotonic()
            if accepted is not None:
                seconds = now - began
        except BaseException:
            self.running -= 1  # the greenlet ends, and its room is another's
            raise
        finally:
            self._parts_running -= task.is_part
            self._window.end(task.size, seconds)
        if accepted is None or seconds is None:
            return
        self.accepted += 1
        weight = self._part_weight if task.is_part else 1
        saturated = bool(self._tasks or self._parts) and not self.paced
        if self._limiter.completed(now, accepted, saturated, weight):
            self.resize()

    def _next_or_wait(self) -> Task | None:
        """The greenlet's next task; None: it ends."""
        if self.running > self.limit:
            self.running -= 1
            return None
        task = self._next()
        if task is None:
            self.running -= 1
            if self._closing:
                return None
            waiting: AsyncResult[Task | None] = AsyncResult()
            self._idle.append(waiting)
            task = waiting.get()
        elif self.running < self.limit and (self._tasks or self._parts):
            self.fill()  # one long task leaves room for several short ones
        return task

    def _put_back(self, task: Task) -> None:
        self.running -= 1
        self._parts_running -= task.is_part
        self._window.end(task.size, None)
        if task.is_part:
            heappush(self._parts, (task.rank, next(self._added), task))
        else:
            self._tasks.appendleft(task)
