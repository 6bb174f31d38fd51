"""Holds the supervisor and all its workers to ``--max-cpu``."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable

from .cpu_budget import CpuBudget, DutyCycle
from .machine import cpu_used

SAMPLING = 0.25
"""Seconds between two looks at what each process has used; each costs some 50 us a process."""


class CpuCap:
    """Shares a number of CPUs among the processes of a run; this one, the supervisor, pauses like
    any other."""

    def __init__(self, cpus: float) -> None:
        now, used = time.monotonic(), time.process_time()
        # This process runs for at least as long as it has used the CPU.
        self._budget = CpuBudget(cpus, now - used)
        self._duty = DutyCycle(cpus, now, used)
        self._next_sample = now

    def keep(self, pids: Callable[[], Iterable[int]], tell: Callable[[float], None]) -> None:
        """Call it often: pauses this process where it has used too much.  ``tell`` gets the rate
        that each of the other processes, ``pids()``, may take from now on."""
        now = time.monotonic()
        if now >= self._next_sample:
            self._next_sample = now + SAMPLING
            used = {pid: cpu_used(pid) for pid in pids()}
            used[os.getpid()] = time.process_time()
            self._duty.rate = self._budget.sample(now, used)
            tell(self._duty.rate)
        if pause := self._duty.pause(now, time.process_time()):
            time.sleep(pause)
