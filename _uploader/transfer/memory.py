"""How much concurrency memory allows.  Pure: samples are arguments.

``body_budget`` bounds the bodies in flight before the run begins, which keeps the limit.
``MemoryThrottle`` catches what nobody can know before.
"""

from __future__ import annotations

BASE_MEMORY = 48 * 2**20
"""Bytes of a process with nothing in flight; measured: 20 to 45 MB."""
HIGH = 0.9
"""Share of the limit above which concurrency shrinks."""
LOW = 0.75
"""Share of the limit below which it grows back."""
LEAST_SHARE = 1 / 64
SHRINK = 0.5
GROW = 0.125


def processes_within(limit: int, wanted: int) -> int:
    """How many of the ``wanted`` workers fit into ``limit`` bytes beside the supervisor, if any."""
    return min(wanted, max(0, limit // BASE_MEMORY - 1))


def body_budget(limit: int, processes: int) -> int:
    """Bytes that the bodies in flight in one worker may take together.

    Half of what the processes themselves leave of the limit: allocators and TLS take some, too.
    """
    return max(0, limit - (processes + 1) * BASE_MEMORY) // 2 // processes


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
