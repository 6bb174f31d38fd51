"""Processes of a simulated machine take together what they may, and each what the others leave."""

from __future__ import annotations

import pytest

from _uploader.processes.cpu_budget import HORIZON, LEAST, LONGEST_PAUSE, CpuBudget, DutyCycle

STEP = 0.005
SAMPLING = 0.25
TICK = 0.02


class Process:
    """Wants ``demand`` seconds of CPU a second and heeds its duty cycle, as a worker does."""

    def __init__(self, demand: float, used: float = 0.0) -> None:
        self.demand = demand
        self.used = used
        self.duty = DutyCycle(1.0, 0.0, used)
        self._next_look = 0.0
        self._asleep_until = 0.0

    def live(self, now: float) -> None:
        """One step of time."""
        if now < self._asleep_until:
            return
        self.used += self.demand * STEP
        if now >= self._next_look:
            pause = self.duty.pause(now, self.used)
            self._asleep_until = now + pause
            self._next_look = now + pause + (0 if pause == LONGEST_PAUSE else TICK)


def simulate(limit: float, processes: list[Process], seconds: float, began: float = 0.0) -> float:
    """The rate of all processes together since the begin."""
    budget = CpuBudget(limit, began)
    next_sample, now = 0.0, 0.0
    while now < seconds:
        if now >= next_sample:
            next_sample = now + SAMPLING
            rate = budget.sample(now, {n: process.used for n, process in enumerate(processes)})
            for process in processes:
                process.duty.rate = rate
        for process in processes:
            process.live(now)
        now += STEP
    return sum(process.used for process in processes) / (seconds - began)


@pytest.mark.parametrize("limit", [0.25, 0.5, 1.0, 1.5])
@pytest.mark.parametrize(
    "demands",
    [(1.0, 1.0), (0.05, 1.0, 1.0), (0.0, 0.2, 1.0, 1.0), (1.0,) * 8],
    ids=["busy", "quiet supervisor", "an idle one", "many"],
)
def test_together_they_take_what_they_may(limit: float, demands: tuple[float, ...]) -> None:
    taken = simulate(limit, [Process(demand) for demand in demands], 10.0)
    assert taken == pytest.approx(limit, rel=0.05)


def test_who_wants_less_than_the_limit_is_not_held_back() -> None:
    assert simulate(1.5, [Process(0.3), Process(0.8)], 10.0) == pytest.approx(1.1, rel=0.01)


def test_a_busy_process_gets_what_idle_ones_leave() -> None:
    busy, *others = processes = [Process(1.0), Process(0.05), Process(0.05), Process(0.0)]
    simulate(0.6, processes, 10.0)
    assert busy.used == pytest.approx(5.0, rel=0.05)
    assert sum(process.used for process in others) == pytest.approx(1.0, rel=0.02)


def test_busy_processes_get_the_same() -> None:
    first, second = processes = [Process(1.0), Process(1.0)]
    simulate(0.5, processes, 10.0)
    assert first.used == pytest.approx(second.used, rel=0.02)


def test_the_cpu_of_the_start_is_paid_back() -> None:
    processes = [Process(1.0, used=0.2), Process(1.0, used=0.3)]
    assert simulate(0.5, processes, 10.0, began=-0.2) == pytest.approx(0.5, rel=0.05)


def test_a_new_process_is_paid_for_by_all() -> None:
    budget = CpuBudget(1.0, 0.0)
    before = budget.sample(1.0, {1: 1.0})
    assert budget.sample(2.0, {1: 1.5, 2: 0.9}) < before / 2


def test_a_process_that_is_gone_gives_nothing_back() -> None:
    budget = CpuBudget(1.0, 0.0)
    budget.sample(1.0, {1: 0.5, 2: 0.5})
    assert budget.sample(2.0, {1: 1.5}) == pytest.approx(1.0)


def test_connections_stay_alive_in_the_deepest_debt() -> None:
    budget = CpuBudget(1.0, 0.0)
    assert budget.sample(1.0, {1: 1000.0}) == LEAST


def test_what_was_left_long_ago_is_not_used_at_once() -> None:
    budget = CpuBudget(1.0, 0.0)
    budget.sample(1000.0, {1: 0.0})
    assert budget.sample(1001.0, {1: 1.0}) <= 1.0 + 1.0 / HORIZON


class TestDutyCycle:
    def test_no_pause_within_the_rate(self) -> None:
        duty = DutyCycle(0.5, 0.0, 3.0)
        assert [duty.pause(second, 3.0 + 0.5 * second) for second in range(5)] == [0.0] * 5

    def test_a_debt_is_paid_by_as_long_a_pause(self) -> None:
        assert DutyCycle(0.5, 0.0, 0.0).pause(0.1, 0.1) == pytest.approx(0.1)

    def test_a_pause_is_so_long_at_most_and_the_rest_comes_later(self) -> None:
        duty = DutyCycle(0.5, 0.0, 0.0)
        assert duty.pause(1.0, 1.0) == LONGEST_PAUSE
        assert duty.pause(1.0 + LONGEST_PAUSE, 1.0) == LONGEST_PAUSE

    def test_an_idle_hour_earns_no_busy_one(self) -> None:
        duty = DutyCycle(0.5, 0.0, 0.0)
        assert duty.pause(3600.0, 0.0) == 0.0
        assert duty.pause(3601.0, 1.0) > 0.0
