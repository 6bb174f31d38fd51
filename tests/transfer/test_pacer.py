"""Greenlets of a process take turns."""

from __future__ import annotations

import math
from collections import Counter

import gevent
import pytest

from _uploader.transfer.pacer import Pacer
from _uploader.transfer.pacing import QUANTUM

RATE = 1_000_000
PROCESSES = 2
MOST = int(RATE * QUANTUM / PROCESSES)
PATIENCE = 20.0


class Now:
    """A schedule in which every moment has come, or none."""

    def __init__(self, rate: float = RATE) -> None:
        self.rate = rate
        self.processes = PROCESSES
        self.pause = 0.0
        self.busy = 0
        """How often another process has the schedule in its hands."""
        self.reserved: list[int] = []

    def reserve(self, now: float, size: int) -> float | None:
        if self.busy:
            self.busy -= 1
            return None
        self.reserved.append(size)
        return now + self.pause


@pytest.fixture
def schedule() -> Now:
    return Now()


def test_without_a_limit_all_goes_at_once() -> None:
    schedule = Now(rate=0.0)
    pacer = Pacer(schedule)
    assert pacer.take(10**9) == 10**9
    assert (schedule.reserved, pacer.share) == ([], math.inf)


def test_a_long_body_goes_by_quanta(schedule: Now) -> None:
    assert Pacer(schedule).take(10**9) == MOST


def test_many_small_requests_look_at_the_schedule_once(schedule: Now) -> None:
    pacer = Pacer(schedule)
    for _ in range(4):
        assert pacer.take(MOST // 4) == MOST // 4
    assert schedule.reserved == [MOST]


def test_all_that_goes_is_reserved(schedule: Now) -> None:
    pacer = Pacer(schedule)
    sent = sum(pacer.take(1234) for _ in range(1000))
    assert sent == 1234 * 1000
    assert abs(sum(schedule.reserved) - sent) <= MOST


def test_a_busy_schedule_is_asked_again(schedule: Now) -> None:
    schedule.busy = 3
    assert Pacer(schedule).take(10) == 10
    assert schedule.reserved == [MOST]


def test_what_the_socket_did_not_take_is_not_lost(schedule: Now) -> None:
    pacer = Pacer(schedule)
    assert pacer.take(MOST) == MOST
    pacer.give_back(MOST)
    assert pacer.take(MOST) == MOST
    assert schedule.reserved == [MOST]


def test_greenlets_take_turns(schedule: Now) -> None:
    """One that asks again at once goes behind those who wait."""
    schedule.pause = 0.001
    pacer = Pacer(schedule)
    turns: list[str] = []

    def send(name: str) -> None:
        for _ in range(5):
            pacer.take(10**9)
            turns.append(name)

    gevent.joinall([gevent.spawn(send, name) for name in "abc"], timeout=PATIENCE)
    assert [sorted(turns[i : i + 3]) for i in range(0, 15, 3)] == [["a", "b", "c"]] * 5


def test_one_that_is_killed_holds_up_nobody(schedule: Now, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("_uploader.transfer.pacer.RECENT", 0.0)
    schedule.pause = 3600.0
    pacer = Pacer(schedule)
    ended: Counter[str] = Counter()

    def send(name: str) -> None:
        pacer.take(10)
        ended[name] += 1

    first, second, third = (gevent.spawn(send, name) for name in "abc")
    gevent.sleep(0)
    assert pacer.waiting
    schedule.pause = 0.0
    gevent.killall([first, second], timeout=PATIENCE)
    third.join(PATIENCE)
    assert ended == {"c": 1}
    assert not pacer.waiting


def test_for_a_moment_it_is_known_that_somebody_had_to_wait(schedule: Now) -> None:
    pacer = Pacer(schedule)
    pacer.take(MOST)
    assert not pacer.waiting
    schedule.pause = 0.001
    pacer.take(MOST)
    assert pacer.waiting


def test_those_who_wait_go_when_the_limit_ends(schedule: Now) -> None:
    schedule.pause = 0.001
    pacer = Pacer(schedule)
    waiting = [gevent.spawn(pacer.take, 10**9) for _ in range(10)]
    gevent.sleep(0)
    schedule.rate = 0.0
    gevent.joinall(waiting, timeout=PATIENCE)
    assert [each.value for each in waiting[1:]] == [10**9] * 9


def test_a_process_has_its_share(schedule: Now) -> None:
    assert Pacer(schedule).share == RATE / PROCESSES
