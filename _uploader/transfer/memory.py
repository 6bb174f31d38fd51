"""How much of the workers' concurrency memory allows.  Pure: samples are arguments.

The limit is kept by construction: ``body_budget`` bounds what is in flight before the run
begins.  The feedback of ``MemoryThrottle`` is the safety net for what construction cannot know.
"""

from __future__ import annotations

BASE_MEMORY = 48 * 2**20
"""Bytes that one process takes with nothing in flight; measured 20 to 45 MB."""
HIGH = 0.9
"""Share of the limit above which the pools shrink."""
LOW = 0.75
"""Share of the limit below which they grow back."""
LEAST_SHARE = 1 / 64
SHRINK = 0.5
GROW = 0.125


def processes_within(limit: int, wanted: int) -> int:
    """How many of the ``wanted`` workers fit into ``limit`` bytes beside the supervisor; 0 when
    not even one does."""
    return min(wanted, max(0, limit // BASE_MEMORY - 1))


def body_budget(limit: int, processes: int) -> int:
    """Bytes that the bodies in flight in one of the workers may take together.

    Half of what is left of the limit after the processes themselves: allocators and TLS take
    their part too.
    """
    return max(0, limit - (processes + 1) * BASE_MEMORY) // 2 // processes


class MemoryThrottle:
    """Turns samples of the memory in use into the share of concurrency that is allowed."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.share = 1.0

    def sample(self, used: int) -> bool:
        """Takes the bytes that all processes use now; returns whether ``share`` has changed."""
        before = self.share
        if used > HIGH * self._limit:
            self.share = max(LEAST_SHARE, self.share * SHRINK)
        elif used < LOW * self._limit:
            self.share = min(1.0, self.share + GROW)
        return self.share != before
