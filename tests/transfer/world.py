"""A link, a disk and a service as functions of time, and workers that use them as the engine does.

Discrete events in virtual time: nothing sleeps, no socket is opened, and a seed gives the same run.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from math import inf

from _uploader.transfer.concurrency import MOST, ConcurrencyLimiter
from _uploader.transfer.engine import PROBE_LIMIT, SAMPLING
from _uploader.transfer.outage import SILENCE, ServiceHealth
from _uploader.transfer.retry import RetryPolicy
from _uploader.transfer.slots import MOST_PARTS
from _uploader.transfer.window import SendWindow
from providers.errors import Failure, Throttled, Transient, Unreachable

REFUSED, SILENT, BUSY = "refused", "silent", "busy"
"""How a service can be gone: connections are refused, nothing moves, all is answered with 503."""
RETRY_AFTER = 1.0
"""Seconds that a busy service asks for."""
TIMEOUT = 60.0
"""Seconds without progress after which a request fails."""
PART_WEIGHT = 8
PART_SIZE = 8 * 2**20
SOCKET = 2**20
"""Bytes that a socket takes at most before they have left."""

Action = Callable[[], None]


class World:
    """The clock and what is to happen."""

    def __init__(self, seed: int = 0) -> None:
        self.now = 0.0
        self.random = random.Random(seed)
        self._events: list[tuple[float, int, Action]] = []
        self._order = count()

    def after(self, seconds: float, action: Action) -> None:
        heapq.heappush(self._events, (self.now + seconds, next(self._order), action))

    def run(self, until: Callable[[], bool] = lambda: False, seconds: float = inf) -> None:
        """Goes on until a condition holds, or for so long."""
        end = self.now + seconds
        while not until():
            if not self._events or self._events[0][0] > end:
                self.now = max(self.now, end) if end < inf else self.now
                return
            self.now, _, action = heapq.heappop(self._events)
            action()


@dataclass(order=True)
class Body:
    """A request's body on the link."""

    ends: float
    """The service that each body has had from the link when this one has left, in bytes."""
    order: int
    owner: object = field(compare=False)
    size: int = field(compare=False)
    left: Action = field(compare=False)
    gone: bool = field(compare=False, default=False)


class Link:
    """Shares ``rate`` bytes a second evenly among the bodies under way."""

    def __init__(self, world: World, rate: float) -> None:
        self.world = world
        self._rate = rate
        self._paused = False
        self._bodies: list[Body] = []
        self._order = count()
        self._served = 0.0
        """Bytes that each body could have sent so far."""
        self._active = 0
        self._since = 0.0
        self._alarm = 0
        self._ended: dict[object, float] = {}
        self.idle = 0.0
        """Seconds without a body under way."""

    def send(self, owner: object, size: int, left: Action) -> Body:
        """``left`` is called when the last byte is on the other side."""
        self._advance()
        body = Body(self._served + size, next(self._order), owner, size, left)
        heapq.heappush(self._bodies, body)
        self._active += 1
        self._wait()
        return body

    def cut(self, body: Body) -> None:
        if not body.gone:
            self._advance()
            self._end(body)
            self._wait()

    def set_rate(self, rate: float) -> None:
        self._advance()
        self._rate = rate
        self._wait()

    def pause(self) -> None:
        """Nothing passes until ``go_on``."""
        self._advance()
        self._paused = True

    def go_on(self) -> None:
        self._advance()
        self._paused = False
        self._wait()

    def traffic(self, owner: object) -> tuple[int, int]:
        """Bytes of one owner that have left, and those that wait in the sockets."""
        self._advance()
        left, queued = self._ended.get(owner, 0.0), 0.0
        for body in self._bodies:
            if not body.gone and body.owner is owner:
                rest = body.ends - self._served
                left += body.size - rest
                queued += min(rest, SOCKET)
        return int(left), int(queued)

    def _advance(self) -> None:
        passed = self.world.now - self._since
        self._since = self.world.now
        if self._paused:
            return
        if self._active:
            self._served += passed * self._rate / self._active
        else:
            self.idle += passed

    def _end(self, body: Body) -> None:
        body.gone = True
        self._active -= 1
        sent = body.size - max(0.0, body.ends - self._served)
        self._ended[body.owner] = self._ended.get(body.owner, 0.0) + sent

    def _wait(self) -> None:
        while self._bodies and self._bodies[0].gone:
            heapq.heappop(self._bodies)
        self._alarm += 1
        if self._bodies and not self._paused:
            alarm = self._alarm
            seconds = (self._bodies[0].ends - self._served) * self._active / self._rate
            self.world.after(max(0.0, seconds), lambda: self._ring(alarm))

    def _ring(self, alarm: int) -> None:
        if alarm == self._alarm and not self._paused:
            self._advance()
            body = heapq.heappop(self._bodies)
            self._served = max(self._served, body.ends)
            self._end(body)
            self._wait()
            body.left()


class Disk:
    """Takes ``seconds`` to open and read a file, ``AT_ONCE`` at a time."""

    AT_ONCE = 64

    def __init__(self, world: World, seconds: float = 0.0) -> None:
        self._world = world
        self._seconds = seconds
        self._free = [0.0] * self.AT_ONCE

    def open(self, then: Action) -> None:
        if not self._seconds:
            then()
            return
        ready = max(self._world.now, heapq.heappop(self._free)) + self._seconds
        heapq.heappush(self._free, ready)
        self._world.after(ready - self._world.now, then)


class Request:
    """One request on its way."""

    body: Body | None = None
    ended = False

    def __init__(self, answered: Action, failed: Callable[[Failure], None]) -> None:
        self.answered = answered
        self.failed = failed


class Service:
    """Answers about ``latency`` after a body has come, ``capacity`` requests a second at most."""

    def __init__(
        self,
        world: World,
        link: Link,
        latency: float,
        capacity: float = inf,
        *,
        errors: float = 0.0,
        resets: float = 0.0,
        serves: int = 0,
        serving: float = 0.0,
        most: float = inf,
    ) -> None:
        """``errors`` and ``resets``: share of the requests that meet them.  ``serves``: requests
        that are served at a time, each for ``serving`` seconds; the others wait for their turn.
        ``most``: with more under way it answers 503."""
        self._world = world
        self.link = link
        self._latency = latency
        self._capacity = capacity
        self._errors = errors
        self._resets = resets
        self._serving = serving
        self._servers = [0.0] * serves
        """When each has nothing left to do."""
        self._most = most
        self._free_at = 0.0
        self._under_way: set[Request] = set()
        self._held: list[Request] = []
        self._trouble = ""
        self.returned = -inf
        """When the latest outage ended."""
        self.requests = 0
        self.most_under_way = 0

    def ask(
        self,
        owner: object,
        size: int,
        answered: Action,
        failed: Callable[[Failure], None],
        limit: float = inf,
        poison: bool = False,
    ) -> None:
        """Sends a request that fails after ``limit`` seconds at the latest."""
        self.requests += 1
        request = Request(answered, failed)
        if self._trouble == REFUSED:
            self._world.after(self._latency, lambda: failed(Unreachable("refused")))
            return
        if self._trouble == BUSY:
            busy = Throttled("503", after=RETRY_AFTER)
            self._world.after(self._latency, lambda: failed(busy))
            return
        if len(self._under_way) >= self._most:
            self._world.after(self._latency, lambda: failed(Throttled("503")))
            return
        self._under_way.add(request)
        self.most_under_way = max(self.most_under_way, len(self._under_way))
        request.body = self.link.send(owner, size, lambda: self._arrived(request, poison))
        if limit < inf:
            self._world.after(limit, lambda: self._fail(request, "no answer"))
        elif self._trouble == SILENT:
            self._world.after(TIMEOUT, partial(self._time_out, request))

    def go_down(self, at: float, seconds: float, kind: str) -> None:
        """The service is gone for a while: ``REFUSED``, ``SILENT`` or ``BUSY``."""
        self._world.after(at - self._world.now, lambda: self._down(kind))
        self._world.after(at + seconds - self._world.now, self._up)

    def _down(self, kind: str) -> None:
        self._trouble = kind
        if kind == SILENT:
            self.link.pause()
            for request in self._under_way:
                self._world.after(TIMEOUT, partial(self._time_out, request))
        elif kind == REFUSED:
            for request in list(self._under_way):
                self._fail(request, "reset")

    def _up(self) -> None:
        self._trouble = ""
        self.returned = self._world.now
        self.link.go_on()
        held, self._held = self._held, []
        for request in held:
            self._world.after(self._latency, partial(self._answer, request))

    def _arrived(self, request: Request, poison: bool) -> None:
        chance = self._world.random.random()
        if chance < self._resets:
            self._fail(request, "reset")
            return
        if poison or chance < self._resets + self._errors:
            self._world.after(self._latency, lambda: self._fail(request, "500"))
            return
        now = self._world.now
        self._free_at = max(self._free_at, now) + 1 / self._capacity
        if self._servers:
            self._free_at = max(now, heapq.heappop(self._servers)) + self._serving
            heapq.heappush(self._servers, self._free_at)
            self._free_at += self._latency
        self._world.after(
            max(self._one_latency(), self._free_at - now), partial(self._answer, request)
        )

    def _answer(self, request: Request) -> None:
        if self._trouble == SILENT:
            self._held.append(request)
        elif not request.ended:
            self._end(request)
            request.answered()

    def _one_latency(self) -> float:
        return self._latency * self._world.random.uniform(0.8, 1.2)

    def _time_out(self, request: Request) -> None:
        if self._trouble == SILENT:
            self._fail(request, "no progress")

    def _fail(self, request: Request, reason: str) -> None:
        if not request.ended:
            self._end(request)
            request.failed(Transient(reason))

    def _end(self, request: Request) -> None:
        request.ended = True
        self._under_way.discard(request)
        if request.body:
            self.link.cut(request.body)


@dataclass
class File:
    """A file, or a part of one, to upload."""

    size: int
    poison: bool = False
    began: float = 0.0
    since: float = 0.0
    attempt: int = 0

    @property
    def is_part(self) -> bool:
        return self.size >= PART_SIZE


class Run:
    """What all workers have in common: the files, and what became of them."""

    def __init__(
        self,
        world: World,
        service: Service,
        disk: Disk,
        files: list[File],
        retries: int = 5,
        cpu: float = 0.0,
    ) -> None:
        """``cpu``: seconds of a worker's processor that each request takes."""
        self.world = world
        self.cpu = cpu
        self.service = service
        self.disk = disk
        self.todo = deque(files)
        self.policy = RetryPolicy(retries)
        self.left = len(files)
        self.stored = 0
        self.stored_by: Counter[Worker] = Counter()
        self.failed: list[File] = []
        self.ends: list[float] = []
        """When each file was stored."""
        self.workers: list[Worker] = []
        self.queues: list[tuple[float, int]] = []
        """(time, bytes in all sockets), by each sample."""
        self.outages: list[tuple[float, float]] = []
        """(began, ended) as a worker saw them."""

    def start(self, workers: int, ceiling: int = MOST, fixed: int | None = None) -> Run:
        self.workers += [Worker(self, ceiling, fixed) for _ in range(workers)]
        return self

    def finish(self, most_seconds: float = 10_000) -> Run:
        """Lets time pass until all files have ended."""
        self.world.run(lambda: not self.left, most_seconds)
        return self

    def file_stored(self, worker: Worker) -> None:
        self.left -= 1
        self.stored += 1
        self.stored_by[worker] += 1
        self.ends.append(self.world.now)

    def file_failed(self, file: File) -> None:
        self.left -= 1
        self.failed.append(file)


class Worker:
    """The deciders of one process, asked and told as ``Slots``, ``Attempts`` and ``Engine`` do."""

    def __init__(self, run: Run, ceiling: int = MOST, fixed: int | None = None) -> None:
        self.limiter = ConcurrencyLimiter(ceiling, fixed, self._demand)
        self.window = SendWindow()
        self.health = ServiceHealth()
        self._run = run
        self._world = run.world
        self.limits: list[tuple[float, int]] = []
        """(when, limit), one for each change."""
        self.running = 0
        self._parts_running = 0
        self._cpu_busy = 0.0
        """Seconds for which the processor is to work, those to come included."""
        self._cpu_free_at = 0.0
        self._parked: list[Action] = []
        self._probing = False
        self._active_since = 0.0
        self._moved_at = 0.0
        self._traffic = (0, 0)
        self._world.after(0, self._fill)
        self._world.after(SAMPLING, self._sample)

    def allow(self, share: float, reason: str) -> None:
        if self.limiter.allow(self._world.now, share, reason):
            self._fill()

    def _demand(self) -> float:
        return self._cpu_busy - max(0.0, self._cpu_free_at - self._world.now)

    def _fill(self) -> None:
        if not self.limits or self.limits[-1][1] != self.limiter.limit:
            self.limits.append((self._world.now, self.limiter.limit))
        todo = self._run.todo
        while todo and self.running < self.limiter.limit:
            file = todo[0]
            parts = min(MOST_PARTS, max(1, self.limiter.limit // PART_WEIGHT))
            if file.is_part and self._parts_running >= parts:
                return
            if not self.window.begin(file.size):
                return
            todo.popleft()
            self.running += 1
            self._parts_running += file.is_part
            file.began = self._world.now
            self._run.disk.open(partial(self._begin, file))

    def _begin(self, file: File) -> None:
        file.since = self._world.now
        self._attempt(file)

    def _attempt(self, file: File) -> None:
        if self.health.began is not None:
            self._parked.append(partial(self._attempt, file))
        elif cpu := self._run.cpu:
            now = self._world.now
            self._cpu_busy += cpu
            self._cpu_free_at = max(self._cpu_free_at, now) + cpu
            self._world.after(self._cpu_free_at - now, partial(self._ask, file))
        else:
            self._ask(file)

    def _ask(self, file: File) -> None:
        self._run.service.ask(
            self,
            file.size,
            partial(self._stored, file),
            partial(self._failed, file),
            poison=file.poison,
        )

    def _stored(self, file: File) -> None:
        self._answered()
        now = self._world.now
        self._end(file, now - file.began)
        weight = PART_WEIGHT if file.is_part else 1
        saturated = bool(self._run.todo)
        self.limiter.completed(now, file.size, saturated, weight)
        self._run.file_stored(self)
        self._fill()

    def _failed(self, file: File, failure: Failure) -> None:
        if self.health.failed(file.since, self._world.now, failure.after):
            self._retry(file, failure, counts=True)
        else:
            self._parked.append(lambda: self._retry(file, failure, self.health.false_alarm))
            self._begin_probing()

    def _retry(self, file: File, failure: Failure, counts: bool) -> None:
        now = self._world.now
        file.since = now
        if failure.throttle:
            self.limiter.refused(now)
        elif counts:
            self.limiter.failed(now)
        if not counts:
            self._attempt(file)
            return
        pause = self._run.policy.delay(failure, file.attempt, self._world.random.random())
        file.attempt += 1
        if pause is None:
            self._end(file)
            self._run.file_failed(file)
            self._fill()
        else:
            self._world.after(pause, partial(self._attempt, file))

    def _end(self, file: File, seconds: float | None = None) -> None:
        self.running -= 1
        self._parts_running -= file.is_part
        self.window.end(file.size, seconds)

    def _answered(self) -> None:
        began = self.health.began
        self.health.answered(self._world.now)
        if began is not None:
            self._run.outages.append((began, self._world.now))
            parked, self._parked = self._parked, []
            for resume in parked:
                resume()

    def _begin_probing(self) -> None:
        if not self._probing:
            self._probing = True
            self._probe_later()

    def _probe_later(self) -> None:
        self._world.after(max(0.0, self.health.next_probe - self._world.now), self._probe)

    def _probe(self) -> None:
        if self.health.began is None:
            self._probing = False
        elif self.health.next_probe > self._world.now:
            self._probe_later()
        else:
            self._run.service.ask(self, 0, self._found, self._in_vain, PROBE_LIMIT)

    def _found(self) -> None:
        self._probing = False
        self._answered()

    def _in_vain(self, failure: Failure) -> None:
        self.health.probed(self._world.now)
        self._probe()

    def _sample(self) -> None:
        now, run = self._world.now, self._run
        left, queued = run.service.link.traffic(self)
        if (left, queued) != self._traffic:
            self._moved_at = now
        self._traffic = left, queued
        self.window.sample(now, left, queued)
        run.queues.append((now, sum(run.service.link.traffic(w)[1] for w in run.workers)))
        self._fill()
        if not self.running:
            self._active_since = now
        quiet_since = max(self._moved_at, self._active_since, self.health.answered_at)
        if self.health.began is None and now - quiet_since > SILENCE:
            self.health.silent(quiet_since, now)
            self._begin_probing()
        self._world.after(SAMPLING, self._sample)
