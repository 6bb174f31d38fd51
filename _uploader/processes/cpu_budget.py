"""Keeps the processes of a run below a rate of CPU.  Pure: clocks and samples are arguments.

``CpuBudget`` says what each process may take; ``DutyCycle`` says when a process has to pause so
that it takes no more.  All rates are in seconds of CPU a second.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

LONGEST_PAUSE = 0.5
"""Seconds of one pause: no request's limit.  After each the process goes on for a moment, whatever
its debt, and fills the sockets again: after pauses of 0.25 s large files took 30 % of a processor
where 25 % were granted."""
SHORT_CREDIT = 0.05
"""Seconds for which a process that has idled may catch up what it was granted meanwhile."""
CREDIT = 1.0
"""Seconds for which the whole run may catch up.  Debts have no limit: the CPU of the start, which
nobody can hold back, is paid, too."""
HORIZON = 2.0
"""Seconds in which a debt is paid and a credit is used, about: quick enough to even out a run of
10 s, slow enough that the rate does not jump with each sample."""
LEAST = 0.1
"""Share of the limit that is granted in spite of any debt: connections stay alive."""
MEMORY = 1.0
"""Seconds over which the rate of a process is a mean: several of its pauses."""
HELD_BACK = 0.75
"""A process that takes such a share of what it may take would take more: the mean is that exact."""


class DutyCycle:
    """Tells one process when to pause, and for how long."""

    def __init__(self, rate: float, now: float, used: float) -> None:
        """``used``: seconds of CPU that the process has used so far."""
        self.rate = rate
        """Seconds of CPU a second that the process may use."""
        self._now = now
        self._used = used
        self._balance = 0.0

    def pause(self, now: float, used: float) -> float:
        """Seconds to pause at once; 0 while the process is within its rate."""
        self._balance += self.rate * (now - self._now) - (used - self._used)
        self._balance = min(self._balance, self.rate * SHORT_CREDIT)
        self._now, self._used = now, used
        return min(max(0.0, -self._balance / self.rate), LONGEST_PAUSE)


@dataclass
class _Process:
    """What one process takes."""

    mean: float
    """Seconds of CPU a second, of late."""
    used: float = 0.0

    def take(self, used: float, seconds: float) -> float:
        """It has used so much in all; returns what of that is new since ``seconds`` ago."""
        spent = max(0.0, used - self.used)
        self.mean += (spent / seconds - self.mean) * seconds / (seconds + MEMORY)
        self.used = used
        return spent


class CpuBudget:
    """Divides a limit among processes: what some leave others get.

    One rate for all does it.  Whoever needs less than it is not held back, so it lies higher than
    an equal share by what those leave.
    """

    def __init__(self, limit: float, now: float) -> None:
        """``limit``: of all processes together; it counts from ``now`` on."""
        self._limit = limit
        self._now = now
        self._balance = 0.0
        self._processes: dict[int, _Process] = {}
        self.rate = limit
        """What each process may take."""

    def sample(self, now: float, used: Mapping[int, float]) -> float:
        """Takes the seconds of CPU that each process, named by a number, has used so far; returns
        ``rate``."""
        seconds = max(now - self._now, 1e-3)
        self._now = now
        # A new one counts as busy until it turns out to be idle.
        known = self._processes
        self._processes = {name: known.get(name) or _Process(self._limit) for name in used}
        spent = sum(self._processes[name].take(cpu, seconds) for name, cpu in used.items())
        earned = self._limit * seconds
        self._balance = min(self._balance + earned - spent, self._limit * CREDIT)
        granted = max(self._limit * LEAST, self._limit + self._balance / HORIZON)
        self.rate = _level(granted, map(self._demand, self._processes.values()))
        return self.rate

    def _demand(self, process: _Process) -> float:
        """What a process may want next."""
        held_back = process.mean >= HELD_BACK * self.rate
        return math.inf if held_back else process.mean / HELD_BACK


def _level(total: float, demands: Iterable[float]) -> float:
    """The rate at which these processes take ``total`` when none takes more than it demands."""
    ascending = sorted(demands)
    level = total
    for number, demand in enumerate(ascending):
        level = total / (len(ascending) - number)
        if demand > level:
            return level
        total -= demand
    # Nobody is held back: each may grow by all that is left.
    return total + ascending[-1] if ascending else level
