"""The deciders together, on links, disks and services of all kinds, in virtual time.

``SIMULATIONS`` is the number of random runs of each rule, ``SIMULATION_SEED`` that of the first.
"""

from __future__ import annotations

import os
from math import inf

import pytest

from _uploader.transfer.concurrency import MOST
from _uploader.transfer.outage import SILENCE
from _uploader.transfer.window import DELAY

from .world import (
    BUSY,
    PART_SIZE,
    REFUSED,
    RETRY_AFTER,
    SILENT,
    SOCKET,
    TIMEOUT,
    Disk,
    File,
    Link,
    Run,
    Service,
    World,
)

RUNS = int(os.environ.get("SIMULATIONS", "4"))
SEED = int(os.environ.get("SIMULATION_SEED", "0"))
MIB = 2**20
FAST = 1e9
"""Bytes a second of a link that holds nothing up."""
BLINK = 1.0
"""Seconds of an outage that nobody would call one."""
PROBES_A_MINUTE = 60
"""More of them would be no probing."""

seeds = pytest.mark.parametrize("seed", range(SEED, SEED + RUNS))


def files(count: int, size: int = 4096) -> list[File]:
    return [File(size) for _ in range(count)]


def run_on(link: Link, latency: float, todo: list[File], workers: int = 2) -> Run:
    """A run to its end on a service without faults."""
    world = link.world
    run = Run(world, Service(world, link, latency), Disk(world), todo).start(workers)
    return run.finish()


# Throughput


@seeds
def test_the_rate_comes_near_the_best_that_any_number_of_requests_gets(seed: int) -> None:
    """Whatever holds a run up: latency, the service, the link or the disk."""
    world = World(seed)
    random = world.random
    latency, size = 10 ** random.uniform(-3, -0.8), int(10 ** random.uniform(2, 5.5))
    capacity, rate = 10 ** random.uniform(2.5, 3.5), 10 ** random.uniform(6, 9)
    disk, workers = random.choice([0.0, 0.002, 0.01]), random.choice([1, 2, 4])
    most = [capacity, rate / size, workers * MOST / (latency + disk)]
    best = min(most if not disk else [*most, Disk.AT_ONCE / disk])
    todo = files(int(4 * best) + 100, size)
    service = Service(world, Link(world, rate), latency, capacity)
    run = Run(world, service, Disk(world, disk), todo).start(workers).finish()
    assert run.stored == len(todo)
    assert world.now < 0.5 + len(todo) / best / 0.85


@pytest.mark.parametrize(
    ("rate", "latency", "todo", "share"),
    [
        (1e9, 0.001, files(256, PART_SIZE), 0.98),
        (125e6, 0.1, files(256, PART_SIZE), 0.95),
        (125e6, 0.1, files(20_000, 64 * 1024), 0.95),
    ],
    ids=["near, parts", "far, parts", "far, small files"],
)
def test_a_fast_link_is_used_to_the_full(
    rate: float, latency: float, todo: list[File], share: float
) -> None:
    """The start included."""
    world = World()
    run_on(Link(world, rate), latency, todo)
    assert world.now < sum(file.size for file in todo) / rate / share


def test_near_and_small_files_are_not_held_up() -> None:
    """No longer than by a few ms at the start."""
    world = World()
    run_on(Link(world, FAST), 0.001, files(20_000))
    assert world.now < 20_000 * 4096 / FAST / 0.95 + 0.030


def test_the_window_does_not_hold_up_a_service_that_takes_seconds() -> None:
    """Its requests have left the machine and only wait for their answers."""
    world = World()
    todo = files(1000, 256 * 1024)
    run = Run(world, Service(world, Link(world, FAST), 3.0), Disk(world), todo)
    run.start(1, fixed=100).finish()
    assert world.now < 1000 / 100 * 3.0 * 1.25


# Slow links


def longest_wait(run: Run, rate: float, since: float, until: float = inf) -> float:
    """Seconds that the link needs for what waits in the sockets at most."""
    return max((queued for now, queued in run.queues if since <= now < until), default=0) / rate


@pytest.mark.parametrize("size", [4096, 20_000, 250_000])
@pytest.mark.parametrize("rate", [0.25e6, 1e6, 5e6])
def test_a_slow_link_is_never_idle_and_its_queue_is_short(rate: float, size: int) -> None:
    world = World()
    link = Link(world, rate)
    run = run_on(link, 0.05, files(int(40 * rate / size), size))
    assert world.now < 1.03 * 40
    assert link.idle < 0.5
    assert longest_wait(run, rate, since=6.0) < DELAY + 1


@seeds
def test_a_slow_link_of_any_kind_is_used_well(seed: int) -> None:
    world = World(seed)
    random = world.random
    rate, latency = 10 ** random.uniform(5.4, 7), random.uniform(0.005, 0.3)
    largest = 10 ** random.uniform(4, 5.4)
    todo = [File(int(random.uniform(1, largest))) for _ in range(int(80 * rate / largest))]
    link = Link(world, rate)
    run = run_on(link, latency, todo, random.choice([1, 2]))
    assert run.service.requests == len(todo)
    assert world.now < sum(file.size for file in todo) / rate / 0.85
    assert longest_wait(run, rate, since=10.0) < DELAY + 1.5


def test_long_files_leave_a_slow_link_for_small_ones() -> None:
    """At most two parts of each process wait in the sockets, and small files end all the time."""
    world = World()
    rate = 1e6
    todo = [*files(2, PART_SIZE), *files(40, 250_000), *files(2, PART_SIZE)]
    run = run_on(Link(world, rate), 0.05, todo)
    assert longest_wait(run, rate, since=0) < (2 * 2 * SOCKET + MIB) / rate
    assert world.now < 1.03 * sum(file.size for file in todo) / rate


def test_a_rate_that_changes_is_followed() -> None:
    world = World()
    fast, slow = 5e6, 0.25e6
    link = Link(world, fast)
    world.after(20, lambda: link.set_rate(slow))
    world.after(80, lambda: link.set_rate(fast))
    run = run_on(link, 0.05, files(int((20 * fast + 60 * slow + 20 * fast) / 250_000), 250_000))
    assert world.now < 103
    assert link.idle < 1
    # What waited at the old rate takes DELAY * fast / slow seconds to leave.
    assert longest_wait(run, slow, 70, 80) < DELAY + 1
    assert longest_wait(run, fast, 81) < DELAY + 1


@seeds
def test_workers_that_share_a_slow_link_all_get_on(seed: int) -> None:
    world = World(seed)
    rate = 10 ** world.random.uniform(5.4, 6.7)
    run = run_on(Link(world, rate), 0.05, files(int(60 * rate / 100_000), 100_000))
    shares = [run.stored_by[worker] / run.stored for worker in run.workers]
    assert min(shares) > 0.1


# Outages


@seeds
@pytest.mark.parametrize("kind", [REFUSED, SILENT, BUSY])
def test_an_outage_costs_no_file_and_the_run_goes_on_at_once(kind: str, seed: int) -> None:
    world = World(seed)
    random = world.random
    seconds = random.choice([0.2, 1.0, 5.0, 15.0, 40.0, TIMEOUT]) * random.uniform(0.8, 1.0)
    service = Service(world, Link(world, FAST), random.uniform(0.002, 0.1), 1500)
    service.go_down(random.uniform(0.05, 1.0), seconds, kind)
    todo = files(2500)
    run = Run(world, service, Disk(world), todo).start(2).finish()
    assert run.stored == len(todo)
    asked = RETRY_AFTER if kind == BUSY else 0.0
    assert min(end for end in run.ends if end >= service.returned) < service.returned + 2 + asked
    if seconds > 2 * SILENCE:
        assert len(run.outages) == len(run.workers)
    probes = len(run.workers) * (10 + seconds * PROBES_A_MINUTE / 60)
    # What was under way may fail twice before it is seen that nothing is answered any more.
    assert service.requests < len(todo) + 3 * service.most_under_way + probes


@seeds
def test_a_service_that_comes_and_goes_costs_no_file(seed: int) -> None:
    world = World(seed)
    random = world.random
    service = Service(world, Link(world, FAST), 0.02, 1500)
    at = 0.5
    for _ in range(20):
        seconds = random.uniform(0.1, 8)
        service.go_down(at, seconds, random.choice([REFUSED, SILENT]))
        at += seconds + random.uniform(0.1, 2)
    run = Run(world, service, Disk(world), files(2500)).start(2).finish()
    assert not run.failed


def test_an_outage_at_the_start_is_one_too() -> None:
    world = World()
    service = Service(world, Link(world, FAST), 0.02)
    service.go_down(0.0, 30, REFUSED)
    run = Run(world, service, Disk(world), files(1000)).start(2).finish()
    assert not run.failed
    assert min(run.ends) < 32


# Failures of single requests


@seeds
def test_errors_of_single_requests_are_no_outage_and_cost_no_file(seed: int) -> None:
    world = World(seed)
    random = world.random
    latency, workers = random.uniform(0.002, 0.1), random.choice([1, 2, 4])
    service = Service(world, Link(world, FAST), latency, 1500, errors=0.02, resets=0.01)
    run = Run(world, service, Disk(world), files(3000)).start(workers).finish()
    assert not run.failed
    assert all(ended - began < BLINK for began, ended in run.outages)
    assert service.requests < 1.1 * 3000


@seeds
def test_errors_cost_little_time(seed: int) -> None:
    """Against the same run without."""

    def seconds(**faults: float) -> float:
        world = World(seed)
        service = Service(world, Link(world, FAST), 0.02, 1500, **faults)
        Run(world, service, Disk(world), files(3000)).start(2).finish()
        return world.now

    assert seconds(errors=0.02, resets=0.01) < seconds() / 0.9 + BLINK


@seeds
@pytest.mark.parametrize("retries", [0, 1, 5])
def test_a_file_that_always_fails_fails_after_its_retries(retries: int, seed: int) -> None:
    world = World(seed)
    poison = File(4096, poison=True)
    todo = files(3000)
    todo.insert(world.random.randrange(3000), poison)
    service = Service(world, Link(world, FAST), 0.01, 400)
    run = Run(world, service, Disk(world), todo, retries).start(2).finish()
    assert run.failed == [poison]
    assert poison.attempt == retries + 1
    assert all(ended - began < BLINK for began, ended in run.outages)


def test_the_last_file_fails_too_when_nothing_else_is_under_way() -> None:
    """Its probes are answered, so it is no outage."""
    world = World()
    service = Service(world, Link(world, FAST), 0.01)
    run = Run(world, service, Disk(world), [File(4096, poison=True)]).start(1).finish(300)
    assert len(run.failed) == 1


@seeds
def test_whatever_happens_each_file_ends_once_and_requests_are_bounded(seed: int) -> None:
    """All that can go wrong, in one run."""
    world = World(seed)
    random = world.random
    link = Link(world, 10 ** random.uniform(5.5, 8))
    service = Service(
        world,
        link,
        10 ** random.uniform(-3, 0),
        10 ** random.uniform(1.5, 3),
        errors=random.uniform(0, 0.1),
        resets=random.uniform(0, 0.1),
    )
    at = random.uniform(0, 2)
    for _ in range(random.randrange(4)):
        seconds = 10 ** random.uniform(-1, 2.1)
        service.go_down(at, seconds, random.choice([REFUSED, SILENT, BUSY]))
        at += seconds + random.uniform(0.1, 20)
    sizes = [0, 1, 4096, 100_000, 2 * MIB, PART_SIZE]
    todo = [
        File(random.choice(sizes), poison=random.random() < 0.02)
        for _ in range(random.randrange(1, 300))
    ]
    retries, workers = random.randrange(6), random.randrange(1, 4)
    disk = Disk(world, random.choice([0.0, 0.01]))
    run = Run(world, service, disk, todo, retries).start(workers).finish(100_000)
    assert run.stored + len(run.failed) == len(todo)
    assert all(file.attempt == retries + 1 for file in run.failed)
    assert all(worker.window.in_flight == 0 for worker in run.workers)
    assert {id(file) for file in todo if file.poison} <= {id(file) for file in run.failed}
