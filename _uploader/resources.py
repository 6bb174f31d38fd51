"""Decides what of the machine a run may take."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .amounts import cpu_limit, memory_limit
from .config import DEFAULT_MEMORY, Settings
from .errors import UsageError
from .limit_rate import LEAST_RATE
from .processes.dispatch import LOOKAHEAD
from .processes.machine import cpu_total, memory_total, usable_cpus
from .transfer.memory import FLOOR, body_budget, processes_within

if TYPE_CHECKING:
    from .processes.cpu_cap import CpuCap

MEMORY_FOR_A_JOB = 32 * 2**10
"""Bytes of the limit for each job scanned ahead, which takes 300: with little memory they would be
a tenth of it."""


LEAST_CPUS = 0.05
"""With less, pauses would outlast the time limits of connections: the start takes half a second of
CPU, which is paid back first."""


class Resources:
    """Memory, CPUs and processes of a run, by its settings and this machine."""

    def __init__(self, settings: Settings, rate: float = 0.0) -> None:
        """``rate``: bytes a second that the run may send; 0: no limit.  Raises ``UsageError`` for a
        limit that the user gave and that cannot be kept."""
        self.memory = memory_total()
        """Bytes of memory that the machine, or a cgroup around this process, has."""
        self.notes: list[str] = []
        """What the user should know of these limits."""
        self.limit = self._memory_limit(settings.max_memory)
        """Bytes that all processes together may take."""
        cpus = cpu_total()
        most_cpus = cpu_limit(settings.max_cpu, cpus)
        if most_cpus < LEAST_CPUS:
            raise UsageError(
                f"--max-cpu {settings.max_cpu} is too little: the program needs {LEAST_CPUS} of a "
                f"CPU (try --max-cpu {2 * LEAST_CPUS})"
            )
        self.cpus = most_cpus if most_cpus < cpus else None
        """CPUs that all processes together may take; None: all that can be used."""
        # One more than whole CPUs: it computes while another waits.
        wanted = settings.processes or min(usable_cpus(), math.floor(most_cpus) + 1)
        processes = processes_within(self.limit, wanted)
        if processes < (settings.processes or 0):
            self.notes.append(f"memory is enough for {processes} of {wanted} processes")
        if rate:
            # Each needs what a part needs.
            processes = min(processes, max(1, int(rate // LEAST_RATE)))
        self.processes = min(processes, settings.concurrency or processes)
        """Most worker processes."""
        self.body_budget = body_budget(self.limit, self.processes)
        """Bytes of memory for what is in flight in one of them."""
        self.lookahead = min(LOOKAHEAD, self.limit // MEMORY_FOR_A_JOB)
        """Most files that are scanned ahead."""

    def cpu_cap(self) -> CpuCap | None:
        """What holds all processes to ``cpus``, from now on; None where nothing has to."""
        if self.cpus is None:
            return None
        from .processes.cpu_cap import CpuCap  # few runs need it

        return CpuCap(self.cpus)

    def _memory_limit(self, given: str | None) -> int:
        """A default is never refused: where it is too little the run takes the least it can do
        with."""
        limit = min(self.memory, memory_limit(given or DEFAULT_MEMORY, self.memory))
        if limit >= FLOOR:
            return limit
        floor = f"{FLOOR // 2**20}M"
        if given:
            raise UsageError(
                f"--max-memory {given} is too little: the program itself needs {floor} "
                f"(try --max-memory {floor})"
            )
        self.notes.append(
            f"{DEFAULT_MEMORY} of the {self.memory // 2**20}M of memory here is less than the "
            f"program needs: it takes up to {floor}"
        )
        return FLOOR


def shares(total: int | None, processes: int) -> list[int | None]:
    """How ``total`` requests in flight are spread over so many processes; None: each finds its own
    number."""
    if total is None:
        return [None] * processes
    each, more = divmod(total, processes)
    return [each + (place < more) for place in range(processes)]
