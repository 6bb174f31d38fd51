"""How much concurrency memory allows.  Pure: samples are arguments.

``body_budget`` bounds the bodies in flight before the run begins, which keeps the limit.
``MemoryThrottle`` catches what nobody can know before.
"""

from __future__ import annotations

FIXED_MEMORY = 42 * 2**20
"""Bytes of the supervisor and of the fork server; measured: 20 MB each."""
WORKER_MEMORY = 18 * 2**20
"""Bytes of a worker with nothing in flight; measured: 15 to 17 MB beside the fork server, 22 MB
where it is the only one."""
LEAST_BODIES = 8 * 2**20
"""Bytes of a worker for what is in flight, at least."""
FLOOR = FIXED_MEMORY + WORKER_MEMORY + LEAST_BODIES
"""The least that a run can do with."""
HIGH = 0.95
"""Share of the limit above which concurrency shrinks."""
LOW = 0.85
"""Share of the limit below which it grows back."""
LEAST_SHARE = 1 / 64
SHRINK = 0.8
GROW = 1 / 16


def processes_within(limit: int, wanted: int) -> int:
    """How many of the ``wanted`` workers fit into ``limit`` bytes beside what they need, if any."""
    return min(wanted, max(0, limit - FIXED_MEMORY) // (WORKER_MEMORY + LEAST_BODIES))


def body_budget(limit: int, processes: int) -> int:
    """Bytes that what is in flight in one worker may take: what the processes themselves leave of
    the limit."""
    return max(0, limit - FIXED_MEMORY - processes * WORKER_MEMORY) // processes


class MemoryThrottle:
    """Turns samples of the memory in use into the allowed share of concurrency."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.share = 1.0

    def sample(self, used: int) -> bool:
        """Takes the bytes in use by all processes; returns whether ``share`` has changed."""
        before = self.share
        if used > HIGH * self._limit:
            self.share = max(LEAST_SHARE, self.share * SHRINK)
        elif used < LOW * self._limit:
            self.share = min(1.0, self.share + GROW)
        return self.share != before
