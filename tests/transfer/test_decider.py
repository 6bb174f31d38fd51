"""What the decider finds, against the best that any fixed number of requests gets, in virtual time;
and that it gives way to others, within the memory it may take.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import inf, sin
from typing import NamedTuple

import pytest

from _uploader.run import MEMORY_INTERVAL
from _uploader.transfer.concurrency import MOST, REST, ConcurrencyLimiter
from _uploader.transfer.memory import (
    FIXED_MEMORY,
    FLOOR,
    WORKER_MEMORY,
    MemoryThrottle,
    Room,
    body_budget,
)
from _uploader.transfer.slots import MOST_PARTS
from providers.base import Cloud

from .world import PART_SIZE, Disk, File, Link, Run, Service, World

KIB, MIB, GIB = 2**10, 2**20, 2**30
MACHINE = 16 * GIB
LOOK = 0.05
"""Seconds between two looks at the memory in use; the program looks less often."""
NEAR = 0.15
"""Share of the best throughput that may be missed."""


class Case(NamedTuple):
    """A service, the way to it, and this machine."""

    latency: float
    """Seconds of a round trip."""
    size: int
    rate: float = 1e9
    """Bytes a second of the link."""
    serves: int = 0
    """Requests that the service works on at a time; 0: any number."""
    serving: float = 0.0
    """Seconds that it works on each."""
    most: float = inf
    """With more under way it answers 503."""
    cpu: float = 0.0
    """Seconds of processor that a request takes here."""
    workers: int = 1
    settle: float = 4.0
    """Seconds until it should be found."""
    seconds: float = 12.0
    """Seconds measured."""

    @property
    def best(self) -> float:
        """Requests a second that no number in flight can surpass."""
        least = self.latency + self.serving + self.cpu + self.size / self.rate
        in_flight = self.workers * (MOST_PARTS if self.size >= PART_SIZE else MOST)
        return min(
            min(in_flight, self.most) / least,
            self.rate / self.size,
            self.serves / self.serving if self.serves else inf,
            self.workers / self.cpu if self.cpu else inf,
        )

    def start(self, fixed: int | None = None, ceiling: int = MOST) -> Run:
        world = World()
        link = Link(world, self.rate)
        service = Service(
            world, link, self.latency, serves=self.serves, serving=self.serving, most=self.most
        )
        count = int(self.best * (self.settle + self.seconds) * 1.1) + 1000
        files = [File(self.size) for _ in range(count)]
        run = Run(world, service, Disk(world), files, cpu=self.cpu)
        return run.start(self.workers, ceiling=ceiling, fixed=fixed)


CASES = {
    "near, tiny": Case(0.0002, KIB, serves=1, serving=0.002),
    "near, small": Case(0.002, 4 * KIB, serves=16, serving=0.02),
    "far, small": Case(0.03, 4 * KIB, serves=240, serving=0.03, settle=1.0, seconds=2.0),
    "further, small": Case(0.1, 4 * KIB, serves=100, serving=0.1, settle=3.0),
    "other side of the world": Case(0.3, KIB, serves=90, serving=0.15),
    "slow uplink": Case(0.05, 64 * KIB, rate=1e6, settle=8.0),
    "100 Mbit/s": Case(0.03, 64 * KIB, rate=12.5e6),
    "1 Gbit/s": Case(0.1, MIB, rate=125e6),
    "parts, near": Case(0.001, PART_SIZE, rate=1e9),
    "parts, far": Case(0.3, PART_SIZE, rate=125e6, settle=10.0, seconds=20.0),
    "few at a time": Case(0.001, 16 * KIB, serves=4, serving=0.01),
    "many at a time": Case(0.03, 4 * KIB, serves=400, serving=0.2, settle=3.0, seconds=6.0),
    "503 above 16": Case(0.05, 4 * KIB, most=16, settle=8.0, seconds=30.0),
    "503 above 100": Case(0.2, 4 * KIB, most=100, settle=8.0, seconds=30.0),
    "503 above 150, two workers": Case(0.3, 4 * KIB, most=150, workers=2, settle=8.0, seconds=30.0),
    "slow processor": Case(0.03, 4 * KIB, cpu=0.002),
    "slow processor, far": Case(0.3, 64 * KIB, cpu=0.003, workers=2),
}


def rate_of(run: Run, seconds: float) -> float:
    """Requests a second that end well in the next ``seconds``."""
    before = run.stored
    run.world.run(seconds=seconds)
    assert run.left
    return (run.stored - before) / seconds


def turns(limits: list[tuple[float, int]], since: float) -> int:
    """How often a limit that rose falls, or the other way round."""
    steps = [after[1] - before[1] for before, after in pairwise(limits) if after[0] >= since]
    return sum(one * other < 0 for one, other in pairwise(steps))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_it_finds_the_best_number_and_stays_there(case: Case) -> None:
    """A trial goes up and down, and where more is refused up and down again."""
    run = case.start()
    run.world.run(seconds=case.settle)
    assert rate_of(run, case.seconds) > (1 - NEAR) * case.best
    for worker in run.workers:
        assert turns(worker.limits, case.settle) <= 4 * (case.seconds // REST + 1)


@pytest.mark.parametrize("name", ["few at a time", "100 Mbit/s", "1 Gbit/s"])
def test_the_best_is_what_the_best_fixed_number_gets(name: str) -> None:
    """So the comparison is fair: no number gets more, and one gets as much."""
    case = CASES[name]._replace(settle=3.0, seconds=10.0)
    rates = []
    for fixed in (16, 64, 256):
        run = case.start(fixed)
        run.world.run(seconds=case.settle)
        rates.append(rate_of(run, case.seconds))
    assert max(rates) == pytest.approx(case.best, rel=0.1)


RECORDED = """
147 332 292 333 145 0 205 269 196 216 267 181 85 127 231 228 75 310 519 117 0 13 41 61 208 318 572
494 573 519 436 445 215 295 401 178 5 56 148 83 8 62 72 357 496 359 392 336 6 114 58 2 59 69 553 451
503 492 454 341 147 130 147 98 328 0 44 70 211 210 190 115 369 214 3 5 0 56 0 57 1 1 59 200 40 62 0
0 25 41 71 0 8 9 21 7 146 90 391 384 135 59 0 44 13 1 1 1 126 0 84 0 108 487 477 621 520 445 541 63
4 61 0 54 2 51 153 42 53 47 48 6 11 1 3 10 4 93 0 40 63 131 229 508 472 449 291 601 360 625 547 597
345 106 260 209 88 120 522 640
"""
"""Answers in each tenth of a second: a worker on a machine of two processors with a load of 20."""


def test_a_rate_that_changes_for_other_reasons_does_not_make_it_swing() -> None:
    """Whatever is in flight, the answers come as they were recorded, three times over."""
    limiter = ConcurrencyLimiter(MOST)
    limits = [(0.0, limiter.limit)]
    for tenth, answers in enumerate(3 * list(map(int, RECORDED.split()))):
        for number in range(answers):
            now = tenth / 10 + number / answers / 10
            if limiter.completed(now, 4 * KIB, True):
                limits.append((now, limiter.limit))
    assert turns(limits, 0.0) <= 2 * (now / REST + 1)


# Memory


class Memory:
    """What a run takes of a machine's memory, which is watched as in a real one."""

    def __init__(
        self,
        run: Run,
        limit: int,
        *,
        others: Callable[[float], float] = lambda now: 0.0,
        creep: Callable[[float], float] = lambda now: 0.0,
    ) -> None:
        """Bytes by the time: ``others`` have taken, and the run takes beyond what is foreseen."""
        self._run = run
        self._throttle = MemoryThrottle(limit)
        self._others = others
        self._creep = creep
        self.peak = 0
        self.shares = [1.0]
        run.world.after(LOOK, self._look)
        run.world.after(MEMORY_INTERVAL, self._sample)

    def _used(self) -> int:
        processes = FIXED_MEMORY + WORKER_MEMORY * len(self._run.workers)
        in_flight = sum(worker.running for worker in self._run.workers)
        creep = self._creep(self._run.world.now)
        return int(processes + creep + in_flight * (Cloud.session_memory + 4 * KIB))

    def _look(self) -> None:
        self.peak = max(self.peak, self._used())
        self._run.world.after(LOOK, self._look)

    def _sample(self) -> None:
        used, throttle = self._used(), self._throttle
        left = MACHINE - used - self._others(self._run.world.now)
        if throttle.sample(used, [Room("machine", int(left), MACHINE)]):
            self.shares.append(throttle.share)
            for worker in self._run.workers:
                worker.allow(throttle.share, throttle.reason)
        self._run.world.after(MEMORY_INTERVAL, self._sample)


def within(limit: int, case: Case) -> tuple[Run, int]:
    """A run whose workers keep to the limit by construction, and how many that are in flight."""
    ceiling = body_budget(limit, case.workers) // 2 // Cloud.session_memory
    return case.start(ceiling=ceiling), ceiling * case.workers


@pytest.mark.parametrize("limit", [FLOOR, 96 * MIB, 256 * MIB])
def test_memory_stays_below_its_limit_and_is_used_well(limit: int) -> None:
    case = Case(0.1, 4 * KIB, serves=160, serving=0.1, seconds=3.0)
    run, most = within(limit, case)
    memory = Memory(run, limit)
    run.world.run(seconds=case.settle)
    best = min(case.best, most / (case.latency + case.serving))
    assert rate_of(run, case.seconds) > (1 - NEAR) * best
    assert memory.peak < limit
    assert memory.shares == [1.0]


def test_memory_that_nobody_foresaw_is_made_up_for() -> None:
    """It grows by 1 MiB a second for half a minute, stays, and is given back."""
    case = Case(0.03, 4 * KIB, serves=60, serving=0.2, seconds=50.0)
    limit = 96 * MIB
    run, _ = within(limit, case)
    memory = Memory(run, limit, creep=lambda now: MIB * min(now, 30) if now < 40 else 0)
    run.world.run(seconds=20)
    full = rate_of(run, 2)
    run.world.run(seconds=32)
    assert memory.peak < limit
    assert rate_of(run, 2) > (1 - NEAR) * full
    assert min(memory.shares) < memory.shares[-1] == 1.0
    assert_one_turn(memory.shares)


def assert_one_turn(shares: list[float]) -> None:
    lowest = shares.index(min(shares))
    assert shares == [*sorted(shares[: lowest + 1], reverse=True), *sorted(shares[lowest + 1 :])]


def test_it_gives_way_to_others_and_comes_back() -> None:
    """They leave almost nothing for 20 seconds: it goes on, one request at a time at the least."""
    case = Case(0.1, 4 * KIB, serves=30, serving=0.1, workers=2, seconds=60.0)
    run = case.start()
    taken = MACHINE - GIB // 4
    memory = Memory(run, GIB, others=lambda now: taken if 10 <= now < 30 else 0)
    run.world.run(seconds=5)
    full = rate_of(run, 4)
    run.world.run(seconds=16)
    assert 0 < rate_of(run, 4) < 0.1 * full
    assert [worker.running for worker in run.workers] == [1, 1]
    run.world.run(seconds=20)
    assert rate_of(run, 4) > (1 - NEAR) * full
    assert_one_turn(memory.shares)


def test_others_whose_memory_goes_up_and_down_do_not_make_it_swing() -> None:
    case = CASES["further, small"]._replace(serves=30, seconds=50.0)
    run = case.start()
    taken = MACHINE - GIB * 5 // 8
    memory = Memory(run, GIB, others=lambda now: taken + 0.15 * GIB * sin(now))
    run.world.run(seconds=40)
    assert rate_of(run, 4) > 0
    assert memory.shares == sorted(memory.shares, reverse=True)
