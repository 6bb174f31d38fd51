"""How many requests are in flight, found against modelled services in virtual time."""

from __future__ import annotations

import heapq
from itertools import count

import pytest

from _uploader.transfer.concurrency import (
    ABOVE_REFUSED,
    AFTER_FAILURES,
    BACKOFF_INTERVAL,
    BELOW_REFUSED,
    FIRST,
    HELD_LEAST,
    HELD_REST,
    LONG_STEP,
    MOST,
    PROMPT,
    REST,
    SLOW,
    STEP,
    ConcurrencyLimiter,
)

SMALL = 1000
"""Bytes of a request."""


class Service:
    """Answers each request after ``latency``, but no more than ``capacity`` of them a second.

    A client that always has more to send keeps as many in flight as the limiter says.
    """

    def __init__(
        self,
        limiter: ConcurrencyLimiter,
        latency: float,
        capacity: float,
        *,
        size: int = SMALL,
        saturated: bool = True,
        most: int | None = None,
    ) -> None:
        """``most``: more in flight than that, and the service refuses."""
        self.limiter = limiter
        self.now = 0.0
        self.limits: list[tuple[float, int]] = [(0.0, limiter.limit)]
        """(when, limit), one for each change."""
        self.completed = 0
        self._latency = latency
        self.capacity = capacity
        self._size = size
        self._saturated = saturated
        self.most = most
        self._free_at = 0.0
        self._order = count()
        self._in_flight: list[tuple[float, int, bool]] = []

    def run(self, seconds: float) -> int:
        """Lets the time pass; returns how many requests were answered well."""
        before, end = self.completed, self.now + seconds
        while True:
            while len(self._in_flight) < self.limiter.limit:
                self._send()
            if self._in_flight[0][0] > end:
                self.now = end
                return self.completed - before
            self.now, _, good = heapq.heappop(self._in_flight)
            self._answer(good)

    def lowest(self, since: float = 0.0) -> int:
        return min(limit for when, limit in self.limits if when >= since)

    def highest(self, since: float = 0.0) -> int:
        return max(limit for when, limit in self.limits if when >= since)

    def _send(self) -> None:
        good = self.most is None or len(self._in_flight) < self.most
        if good:
            self._free_at = max(self._free_at, self.now) + 1 / self.capacity
        at = max(self.now + self._latency, self._free_at if good else 0.0)
        heapq.heappush(self._in_flight, (at, next(self._order), good))

    def _answer(self, good: bool) -> None:
        before = self.limiter.limit
        if good:
            self.completed += 1
            changed = self.limiter.completed(self.now, self._size, self._saturated)
        else:
            changed = self.limiter.refused(self.now)
        assert changed == (self.limiter.limit != before) or not good
        if self.limiter.limit != before:
            self.limits.append((self.now, self.limiter.limit))


# What is found


def test_a_distant_service_gets_as_many_as_hide_its_latency() -> None:
    limiter = ConcurrencyLimiter(MOST)
    service = Service(limiter, latency=0.030, capacity=20_000)
    service.run(5)
    assert limiter.limit >= 256


def test_a_distant_service_is_used_to_the_full() -> None:
    service = Service(ConcurrencyLimiter(MOST), latency=0.030, capacity=20_000)
    service.run(5)
    assert service.run(1) > 0.8 * 20_000


def test_the_knee_is_found_within_seconds() -> None:
    limiter = ConcurrencyLimiter(MOST)
    Service(limiter, latency=0.030, capacity=20_000).run(2)
    assert limiter.limit >= 256


@pytest.mark.parametrize("capacity", [500, 5_000])
@pytest.mark.parametrize("latency", [0.0005, 0.002])
def test_where_a_step_brings_nothing_it_is_taken_back(latency: float, capacity: float) -> None:
    limiter = ConcurrencyLimiter(MOST)
    service = Service(limiter, latency, capacity)
    service.run(3.5 * REST)
    assert service.lowest(since=REST) == FIRST
    assert service.highest() <= LONG_STEP * FIRST


def test_near_the_knee_trials_are_rare() -> None:
    service = Service(ConcurrencyLimiter(MOST), latency=0.001, capacity=1_000)
    service.run(10 * REST)
    assert sum(when >= REST for when, _ in service.limits) <= 2 * 9 + 1


def test_a_service_that_gets_faster_is_tried_again() -> None:
    limiter = ConcurrencyLimiter(MOST)
    service = Service(limiter, latency=0.030, capacity=1_000)
    service.run(15)
    assert limiter.limit == FIRST
    service.capacity = 20_000
    service.run(3 * REST)
    assert limiter.limit >= 256


def test_large_requests_find_it_too() -> None:
    """100 ms for each part, 800 parts a second."""
    limiter = ConcurrencyLimiter(MOST, first=8)
    Service(limiter, latency=0.1, capacity=800, size=8 * 2**20).run(25)
    assert 48 <= limiter.limit <= 48 * LONG_STEP


def test_without_more_work_waiting_nothing_is_learned() -> None:
    limiter = ConcurrencyLimiter(MOST, first=FIRST)
    Service(limiter, latency=0.030, capacity=20_000, saturated=False).run(20)
    assert limiter.limit == FIRST


# How far a step goes


def first_step(*, busy: float, latency: float) -> float:
    """By how much a limiter raises the number when the process is so busy and the service answers
    after so long, but as many requests as it is asked."""
    limiter = ConcurrencyLimiter(MOST, first=FIRST, demand=lambda: busy * service.now)
    service = Service(limiter, latency, capacity=1e6)
    while len(service.limits) < 2 and service.now < 0.9 * REST:
        service.run(0.01)
    return service.limits[-1][1] / FIRST


@pytest.mark.parametrize(
    ("busy", "latency", "step"),
    [
        (0.0, 0.03, LONG_STEP),
        (0.1, PROMPT - 0.01, LONG_STEP),
        (0.25, 0.03, 4),
        (0.25, PROMPT + 0.01, STEP),
        (0.5, 0.03, 2),
        (0.75, 0.03, 4 / 3),
        (0.75, SLOW - 0.1, 4 / 3),
        (0.85, 0.03, 1),
        (1.0, 0.03, 1),
        (0.0, SLOW + 0.1, 1),
    ],
)
def test_a_step_leads_to_where_the_process_is_busy_but_not_far_where_answers_are_slow(
    busy: float, latency: float, step: float
) -> None:
    assert first_step(busy=busy, latency=latency) == pytest.approx(step, abs=0.02)


def test_a_processor_that_gets_free_is_used() -> None:
    limiter = ConcurrencyLimiter(MOST, demand=lambda: min(service.now, 12.0))
    service = Service(limiter, latency=0.030, capacity=20_000)
    service.run(11)
    assert limiter.limit == FIRST
    service.run(2 * REST)
    assert limiter.limit >= 256


def test_parts_that_take_long_because_they_are_long_find_it_too() -> None:
    """An ocean away: 3 s for 8 MiB on each connection."""
    limiter = ConcurrencyLimiter(MOST)
    now = 0.0
    while now < 120:
        now += 3.0
        for _ in range(max(1, limiter.limit // 8)):
            limiter.completed(now, 8 * 2**20, True, weight=8)
    assert limiter.limit >= 256


def test_a_step_is_one_part_at_least() -> None:
    limiter = ConcurrencyLimiter(MOST, first=2, demand=lambda: 0.7 * now)
    now = 0.0
    while limiter.limit == 2:
        now += 1.0
        limiter.completed(now, 8 * 2**20, True, weight=8)
    assert limiter.limit == 10


def round_of(limiter: ConcurrencyLimiter, now: float, seconds: float) -> float:
    """As many answers as are in flight, evenly spread; returns when the last one came."""
    began, count = now, limiter.limit
    for number in range(count):
        now = began + seconds * (number + 1) / count
        limiter.completed(now, SMALL, True)
    return now


def test_a_step_is_not_judged_by_the_burst_that_it_begins_with() -> None:
    """All that a step adds is sent at once, and its answers wait for each other on a slow link."""
    limiter = ConcurrencyLimiter(MOST, first=FIRST)
    now = 0.0
    while limiter.limit == FIRST:
        now = round_of(limiter, now, 0.17)
    raised = limiter.limit
    for _ in range(FIRST):  # sent before the step
        limiter.completed(now, SMALL, True)
    now = round_of(limiter, now, 0.17 * raised / FIRST)
    assert limiter.limit == raised
    round_of(limiter, now, 0.17 * raised / FIRST / 1.25)
    assert limiter.limit > raised


def test_a_step_that_brings_nothing_in_two_rounds_is_taken_back() -> None:
    limiter = ConcurrencyLimiter(MOST, first=FIRST)
    now = 0.0
    while limiter.limit == FIRST:
        now = round_of(limiter, now, 0.17)
    raised = limiter.limit
    for _ in range(FIRST):
        limiter.completed(now, SMALL, True)
    for _ in range(2):
        assert limiter.limit == raised
        now = round_of(limiter, now, 0.17 * raised / FIRST)
    assert limiter.limit == FIRST


# What is never exceeded


@pytest.mark.parametrize("ceiling", [1, 2, 63, 64, 65, 100, 300, 5000])
def test_the_ceiling_is_never_exceeded(ceiling: int) -> None:
    service = Service(ConcurrencyLimiter(ceiling), latency=0.050, capacity=1e6)
    service.run(10)
    assert service.highest() <= min(ceiling, MOST)


@pytest.mark.parametrize("ceiling", [100, 300, 1000])
def test_the_ceiling_is_reached_where_it_pays(ceiling: int) -> None:
    limiter = ConcurrencyLimiter(ceiling)
    Service(limiter, latency=0.050, capacity=1e6).run(30)
    assert limiter.limit == ceiling


@pytest.mark.parametrize("ceiling", [0, -5])
def test_one_request_is_always_allowed(ceiling: int) -> None:
    assert ConcurrencyLimiter(ceiling).limit == 1


# Refusals


def test_a_refusal_halves_the_number() -> None:
    limiter = ConcurrencyLimiter(MOST, first=FIRST)
    assert limiter.refused(100.0)
    assert limiter.limit == FIRST // 2


def test_refusals_of_one_moment_count_once() -> None:
    limiter = ConcurrencyLimiter(MOST, first=FIRST)
    changes = [limiter.refused(100 + n * BACKOFF_INTERVAL / 101) for n in range(100)]
    assert changes == [True] + [False] * 99
    assert limiter.limit == FIRST // 2


def test_refusals_that_go_on_halve_it_once_in_an_interval() -> None:
    limiter = ConcurrencyLimiter(MOST, first=FIRST)
    for tenth in range(30):
        limiter.refused(100 + tenth * BACKOFF_INTERVAL / 10 + 0.001)
    assert limiter.limit == FIRST // 2**3


def test_refusals_without_end_leave_one() -> None:
    limiter = ConcurrencyLimiter(MOST, first=FIRST)
    for second in range(100):
        limiter.refused(second * 2 * BACKOFF_INTERVAL)
    assert limiter.limit == 1


def test_failures_that_are_rare_change_nothing() -> None:
    limiter = ConcurrencyLimiter(MOST)
    service = Service(limiter, latency=0.050, capacity=1e6)
    service.run(30)
    full = limiter.limit
    for _ in range(20):
        service.run(0.1)
        assert not limiter.failed(service.now)
    assert limiter.limit == full


def many_failures(limiter: ConcurrencyLimiter, now: float) -> list[bool]:
    return [limiter.failed(now) for _ in range(40)]


def test_many_failures_lower_the_number_a_little_once_in_an_interval() -> None:
    limiter = ConcurrencyLimiter(MOST, first=FIRST)
    assert many_failures(limiter, 100.0).count(True) == 1
    assert not any(many_failures(limiter, 100 + 0.9 * BACKOFF_INTERVAL))
    assert limiter.limit == int(FIRST * AFTER_FAILURES)
    assert any(many_failures(limiter, 100 + 1.1 * BACKOFF_INTERVAL))
    assert limiter.limit == int(int(FIRST * AFTER_FAILURES) * AFTER_FAILURES)


def test_failures_without_end_leave_a_quarter() -> None:
    limiter = ConcurrencyLimiter(MOST, first=FIRST)
    for second in range(100):
        many_failures(limiter, 100 + second * 1.1 * BACKOFF_INTERVAL)
    assert limiter.limit == FIRST // 4


def test_failures_after_refusals_raise_nothing() -> None:
    limiter = ConcurrencyLimiter(MOST, first=FIRST)
    for second in range(5):
        limiter.refused(100 + second * 1.1 * BACKOFF_INTERVAL)
    before = limiter.limit
    many_failures(limiter, 106.0)
    assert limiter.limit <= before


def test_after_failures_it_grows_back_to_what_it_was() -> None:
    limiter = ConcurrencyLimiter(MOST)
    service = Service(limiter, latency=0.030, capacity=1e6)
    service.run(5)
    full = limiter.limit
    many_failures(limiter, service.now)
    assert limiter.limit == int(full * AFTER_FAILURES)
    service.run(0.2)
    assert int(full * AFTER_FAILURES) < limiter.limit < full
    service.run(2 * REST)
    assert limiter.limit == full


def test_a_service_where_a_third_always_fails_is_still_used() -> None:
    limiter = ConcurrencyLimiter(MOST)
    service = Service(limiter, latency=0.030, capacity=1e6)
    for _ in range(2000):
        service.run(0.05)
        for _ in range(int(limiter.limit * 0.5)):
            limiter.failed(service.now)
    assert limiter.limit >= 4


def test_after_a_refusal_it_grows_back_slowly_to_just_below() -> None:
    """Once nothing is refused any more."""
    limiter = ConcurrencyLimiter(MOST)
    service = Service(limiter, latency=0.030, capacity=20_000)
    service.run(5)
    full = limiter.limit
    limiter.refused(service.now)
    service.run(0.9 * BACKOFF_INTERVAL)
    assert limiter.limit == full // 2
    limiter.refused(service.now)
    service.run(0.9 * BACKOFF_INTERVAL)
    assert limiter.limit == full // 2
    service.run(0.8 * REST)
    assert limiter.limit == int(BELOW_REFUSED * full)


def test_a_refused_step_is_halved_but_no_further_than_to_where_it_began() -> None:
    """There nothing was refused."""
    limiter = ConcurrencyLimiter(MOST)
    service = Service(limiter, latency=0.030, capacity=1e6)
    while limiter.limit == FIRST:
        service.run(0.01)
    assert limiter.limit > 2 * FIRST
    limiter.refused(service.now)
    assert limiter.limit == LONG_STEP * FIRST // 2
    limiter = ConcurrencyLimiter(MOST)
    service = Service(limiter, latency=PROMPT + 0.01, capacity=1e6)
    while limiter.limit == FIRST:
        service.run(0.01)
    limiter.refused(service.now)
    assert limiter.limit == FIRST
    limiter.refused(service.now + 1.1 * BACKOFF_INTERVAL)
    assert limiter.limit == FIRST // 2


def test_what_was_refused_is_exceeded_by_little_the_next_time() -> None:
    limiter = ConcurrencyLimiter(MOST)
    service = Service(limiter, latency=0.030, capacity=1e6, most=200)
    service.run(1.5 * REST)
    first = service.highest()
    assert first > 300
    service.run(5 * REST)
    assert service.highest(since=1.5 * REST) <= 200 * ABOVE_REFUSED * 1.1


def test_once_more_is_taken_the_refusal_is_forgotten() -> None:
    limiter = ConcurrencyLimiter(MOST)
    service = Service(limiter, latency=0.1, capacity=4_000, most=100)
    service.run(1.5 * REST)
    assert limiter.limit <= 100
    service.most = None
    service.run(2 * REST)
    assert limiter.limit > 100 * ABOVE_REFUSED


def test_a_service_that_refuses_above_a_number_is_kept_below_it_most_of_the_time() -> None:
    limiter = ConcurrencyLimiter(MOST)
    service = Service(limiter, latency=0.030, capacity=1e6, most=200)
    service.run(100)
    changes = [*service.limits[1:], (service.now, 0)]
    above = sum(
        end - start
        for (start, limit), (end, _) in zip(service.limits, changes, strict=True)
        if limit > 200
    )
    assert above < 0.1 * service.now
    assert limiter.limit >= 64


# The share


@pytest.mark.parametrize("share", [0.8, 0.25])
def test_a_share_lowers_the_number_and_gives_it_back(share: float) -> None:
    limiter = ConcurrencyLimiter(MOST)
    Service(limiter, latency=0.030, capacity=20_000).run(5)
    full = limiter.limit
    assert limiter.allow(5.0, share, "memory: 251 of 256 MiB")
    assert limiter.limit == int(share * full)
    assert limiter.reason == "memory: 251 of 256 MiB"
    assert limiter.allow(6.0, 1.0, "memory: 200 of 256 MiB")
    assert limiter.limit == full
    assert limiter.reason == "memory: 200 of 256 MiB"


@pytest.mark.parametrize("share", [0.0, 0.001])
def test_one_request_is_left_by_any_share(share: float) -> None:
    limiter = ConcurrencyLimiter(MOST)
    assert limiter.allow(0.0, share, "memory")
    assert limiter.limit == 1


def test_the_same_share_again_changes_nothing() -> None:
    limiter = ConcurrencyLimiter(MOST)
    assert not limiter.allow(0.0, 1.0, "memory")
    limiter.allow(0.0, 0.5, "memory")
    assert not limiter.allow(0.0, 0.5, "again")
    assert limiter.reason == "memory"


def test_a_small_share_is_not_made_up_for_by_trials() -> None:
    limiter = ConcurrencyLimiter(MOST)
    limiter.allow(0.0, HELD_LEAST - 0.01, "memory")
    service = Service(limiter, latency=0.030, capacity=20_000)
    service.run(3 * REST)
    assert service.highest() < FIRST / 2


def test_under_a_large_share_a_trial_waits_until_the_machine_was_looked_at() -> None:
    limiter = ConcurrencyLimiter(MOST)
    limiter.allow(0.0, 0.75, "memory")
    service = Service(limiter, latency=0.030, capacity=20_000)
    service.run(0.9 * HELD_REST)
    assert service.highest() == FIRST * 3 // 4
    service.run(2 * HELD_REST)
    assert service.limits[1][1] == FIRST * 3 // 4 * STEP
    assert service.limits[2][0] - service.limits[1][0] >= HELD_REST


def test_a_refusal_under_a_share_halves_what_is_in_flight() -> None:
    limiter = ConcurrencyLimiter(MOST)
    limiter.allow(0.0, 0.5, "memory")
    limiter.refused(1.0)
    assert limiter.limit == FIRST // 4


# Reasons


def test_each_change_says_what_it_was_decided_by() -> None:
    now = 0.0
    limiter = ConcurrencyLimiter(MOST, first=FIRST)
    for _ in range(FIRST):  # unmeasured
        limiter.completed(now, SMALL, True)
    now = round_of(limiter, now, 0.2)
    assert limiter.reason == "a trial, 320 requests/s, processor 0% busy"
    for _ in range(FIRST):
        limiter.completed(now, SMALL, True)
    now = round_of(limiter, now, 0.6)
    assert limiter.reason == "2 times the throughput, 640 requests/s, processor 0% busy"
    limiter.refused(now, "SlowDown (503)")
    assert limiter.reason == "the service asked for fewer: SlowDown (503)"
    now += 2 * BACKOFF_INTERVAL
    for _ in range(2 * MOST):
        limiter.completed(now, SMALL, True)
        now += 0.001
    assert limiter.reason == "growing back to 691"
    for _ in range(20):
        limiter.failed(now, "reset")
    assert limiter.reason == "21% of the latest requests failed: reset"


def test_a_trial_says_how_busy_the_process_is() -> None:
    limiter = ConcurrencyLimiter(MOST, demand=lambda: 0.4 * service.now)
    service = Service(limiter, latency=0.030, capacity=20_000)
    service.run(0.2)
    assert limiter.reason.endswith("processor 40% busy")


def test_a_step_that_is_taken_back_says_what_it_brought() -> None:
    limiter = ConcurrencyLimiter(MOST)
    Service(limiter, latency=0.030, capacity=1_000).run(5)
    assert limiter.limit == FIRST
    assert limiter.reason == "brought 1.00 times the throughput"


# A number that was given


@pytest.fixture
def fixed() -> ConcurrencyLimiter:
    return ConcurrencyLimiter(100, first=100)


@pytest.mark.parametrize(("latency", "capacity"), [(0.001, 1000), (0.1, 1e6), (0.03, 3000)])
def test_a_given_number_stays(fixed: ConcurrencyLimiter, latency: float, capacity: float) -> None:
    service = Service(fixed, latency, capacity)
    service.run(60)
    assert service.limits == [(0.0, 100)]


def test_a_given_number_yields_to_a_refusal(fixed: ConcurrencyLimiter) -> None:
    fixed.refused(0.0)
    assert fixed.limit == 50


@pytest.mark.parametrize("refusals", [1, 3])
def test_a_given_number_comes_back_where_it_pays(fixed: ConcurrencyLimiter, refusals: int) -> None:
    """But for a last step that brings less than can be told from noise."""
    service = Service(fixed, latency=0.050, capacity=1e6)
    service.run(1)
    for _ in range(refusals):
        fixed.refused(service.now)
        service.run(1.5 * BACKOFF_INTERVAL)
    assert fixed.limit <= 90
    service.run(2 * REST)
    assert 95 <= fixed.limit <= 100
