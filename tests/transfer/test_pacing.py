"""A limit of the rate holds over any two seconds, whoever sends: processes as functions of time."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterable
from itertools import accumulate
from typing import NamedTuple

import pytest

from _uploader.transfer.pacing import BURST, LEAST_QUANTUM, Allowance, quantum, reserve

KIB, MIB = 2**10, 2**20
FIRST = 1.0
WINDOW = 2.0
TOLERANCE = 0.05


class Sent(NamedTuple):
    at: float
    size: int
    by: int


def simulate(
    rate: Callable[[float], float],
    processes: int,
    sizes: Callable[[random.Random], int],
    *,
    seconds: float = 6.0,
    late: float = 0.003,
    busy: Callable[[int, float], bool] = lambda process, now: True,
) -> list[Sent]:
    """What goes when: each process sends pieces of these ``sizes`` one after the other, wakes up to
    ``late`` seconds after its moment, and rests while it is not ``busy``."""
    chance = random.Random(1)
    allowances = [Allowance() for _ in range(processes)]
    granted = [0] * processes
    left = [0] * processes
    end = 0.0
    sent: list[Sent] = []
    wakes = [(chance.random() * late, process) for process in range(processes)]
    heapq.heapify(wakes)
    while wakes:
        now, process = heapq.heappop(wakes)
        if now > seconds:
            continue
        if not busy(process, now):
            heapq.heappush(wakes, (now + 0.01, process))
            continue
        allowance = allowances[process]
        if granted[process]:
            allowance.add(now, granted[process])
            granted[process] = 0
        left[process] = left[process] or sizes(chance)
        most = quantum(rate(now), processes)
        taken = allowance.take(now, left[process], most)
        if taken:
            left[process] -= taken
            sent.append(Sent(now, taken, process))
            heapq.heappush(wakes, (now, process))
        else:
            granted[process] = allowance.missing(most)
            moment, end = reserve(end, now, granted[process], rate(now))
            wake = max(now, moment + chance.random() * late if moment > now else now)
            heapq.heappush(wakes, (wake, process))
    return sent


def shares(sent: Iterable[Sent], rate: float, first: float = FIRST) -> list[float]:
    """Of each window that begins with a piece: the bytes in it, as a share of what was asked."""
    pieces = [piece for piece in sent if piece.at >= first]
    sums = [0, *accumulate(piece.size for piece in pieces)]
    found, last = [], 0
    for index, piece in enumerate(pieces):
        if pieces[-1].at < piece.at + WINDOW:
            break
        while pieces[last].at < piece.at + WINDOW:
            last += 1
        found.append((sums[last] - sums[index]) / (rate * WINDOW))
    return found


def small(chance: random.Random) -> int:
    """A PUT of 4 KiB with its head."""
    return 4 * KIB + chance.randrange(400, 900)


def large(_: random.Random) -> int:
    return 8 * MIB


def mixed(chance: random.Random) -> int:
    return chance.choice([500, 5_000, 60_000, 8 * MIB])


@pytest.mark.parametrize("sizes", [small, large, mixed])
@pytest.mark.parametrize("processes", [1, 2, 16])
@pytest.mark.parametrize("rate", [MIB, 20 * MIB])
def test_any_two_seconds_have_what_was_asked(
    rate: int, processes: int, sizes: Callable[[random.Random], int]
) -> None:
    found = shares(simulate(lambda now: rate, processes, sizes), rate)
    assert min(found) >= 1 - TOLERANCE
    assert max(found) <= 1 + TOLERANCE


def test_a_high_rate_is_kept_too() -> None:
    found = shares(simulate(lambda now: 1000 * MIB, 4, large), 1000 * MIB)
    assert min(found) >= 1 - TOLERANCE
    assert max(found) <= 1 + TOLERANCE


@pytest.mark.parametrize("processes", [1, 2, 8])
def test_the_least_rate_is_kept_too(processes: int) -> None:
    found = shares(simulate(lambda now: 64 * KIB, processes, large, seconds=12), 64 * KIB)
    assert min(found) >= 1 - TOLERANCE
    assert max(found) <= 1 + TOLERANCE


def test_all_processes_get_as_much() -> None:
    sent = simulate(lambda now: MIB, 8, mixed)
    by = [sum(piece.size for piece in sent if piece.by == number) for number in range(8)]
    assert max(by) <= 1.1 * min(by)


def test_what_idle_processes_leave_the_others_have() -> None:
    sent = simulate(lambda now: MIB, 8, small, busy=lambda process, now: process == 3)
    assert min(shares(sent, MIB)) >= 1 - TOLERANCE


def test_a_process_that_rests_now_and_then_makes_no_burst() -> None:
    busy = lambda process, now: int(now / 0.3) % 3 != process % 3  # noqa: E731
    sent = simulate(lambda now: MIB, 6, large, busy=busy, seconds=12)
    assert max(shares(sent, MIB)) <= 1 + TOLERANCE


def test_processes_that_wake_late_still_send_it_all() -> None:
    sent = simulate(lambda now: 20 * MIB, 2, large, late=BURST * 0.8)
    found = shares(sent, 20 * MIB)
    assert min(found) >= 1 - TOLERANCE
    assert max(found) <= 1 + TOLERANCE


@pytest.mark.parametrize(("before", "after"), [(MIB, 20 * MIB), (20 * MIB, MIB)])
def test_a_new_rate_holds_at_once(before: int, after: int) -> None:
    sent = simulate(lambda now: before if now < 3 else after, 4, mixed)
    found = shares([piece for piece in sent if piece.at < 3], before, first=0.5)
    assert max(found) <= 1 + TOLERANCE
    found = shares(sent, after, first=3.1)
    assert min(found) >= 1 - TOLERANCE
    assert max(found) <= 1 + TOLERANCE


def test_after_a_rest_only_a_burst_goes_at_once() -> None:
    moment, end = reserve(0.0, 100.0, 1000, 1000.0)
    assert (moment, end) == (100 - BURST, 101 - BURST)


def test_moments_follow_each_other_at_the_rate() -> None:
    first, end = reserve(10.0, 10.0, 500, 1000.0)
    second, end = reserve(end, 10.0, 250, 1000.0)
    assert (first, second, end) == (10.0, 10.5, 10.75)


def test_a_quantum_is_no_trickle() -> None:
    assert quantum(64 * KIB, 64) == LEAST_QUANTUM


class TestAllowance:
    def test_nothing_may_go_before_its_moment(self) -> None:
        assert Allowance().take(0.0, 10, 100) == 0

    def test_a_request_is_not_cut_where_the_quantum_ends(self) -> None:
        allowance = Allowance()
        allowance.add(0.0, 100)
        assert [allowance.take(0.0, 70, 100) for _ in range(3)] == [70, 70, 0]
        assert allowance.missing(100) == 140

    def test_a_long_request_goes_by_quanta(self) -> None:
        allowance = Allowance()
        allowance.add(0.0, 100)
        assert allowance.take(0.0, 1000, 100) == 100
        assert allowance.take(0.0, 900, 100) == 0

    def test_an_old_allowance_is_none(self) -> None:
        allowance = Allowance()
        allowance.add(0.0, 100)
        assert allowance.take(BURST * 1.1, 10, 100) == 0
        assert allowance.missing(100) == 100

    def test_what_is_given_back_may_go(self) -> None:
        allowance = Allowance()
        allowance.add(0.0, 100)
        assert allowance.take(0.0, 100, 100) == 100
        allowance.add(0.0, 40)
        assert allowance.take(0.0, 100, 100) == 100
