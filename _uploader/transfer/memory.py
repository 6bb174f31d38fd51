"""How much concurrency memory allows.  Pure: samples are arguments.

``body_budget`` bounds the bodies in flight before the run begins, which keeps the limit.
``MemoryThrottle`` catches what nobody can know before: what the program takes all the same, and
what others take.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

MIB = 2**20
FIXED_MEMORY = 42 * MIB
"""Bytes of the supervisor and of the fork server; measured: 20 MB each."""
WORKER_MEMORY = 18 * MIB
"""Bytes of a worker with nothing in flight; measured: 15 to 17 MB beside the fork server, 22 MB
where it is the only one."""
LEAST_BODIES = 8 * MIB
"""Bytes of a worker for what is in flight, at least."""
FLOOR = FIXED_MEMORY + WORKER_MEMORY + LEAST_BODIES
"""The least that a run can do with."""
HIGH = 0.95
"""Share of the limit above which concurrency shrinks."""
LOW = 0.85
"""Share of the limit below which it grows back."""
RESERVE = 0.05
MOST_RESERVE = 512 * MIB
"""Share of all memory, and most bytes, that others should always find free."""
ENOUGH = 1.5
"""Times the reserve that have to be free before concurrency grows back.  What one step of growth
takes is less than the half between."""
LEAST_SHARE = 1 / 64
SHRINK = 0.8
GROW = 1.1
"""Factors of one step.  That of growth is smaller than HIGH / LOW: a step never leads from below
the low mark to above the high one."""


class Room(NamedTuple):
    """What is free of a memory that others use, too."""

    where: str
    """Whose memory: ``machine`` or ``cgroup``."""
    left: int
    total: int

    @property
    def reserve(self) -> float:
        """Bytes that should stay free."""
        return min(RESERVE * self.total, MOST_RESERVE)


def processes_within(limit: int, wanted: int) -> int:
    """How many of the ``wanted`` workers fit into ``limit`` bytes beside what they need, if any."""
    return min(wanted, max(0, limit - FIXED_MEMORY) // (WORKER_MEMORY + LEAST_BODIES))


def body_budget(limit: int, processes: int) -> int:
    """Bytes that what is in flight in one worker may take: what the processes themselves leave of
    the limit."""
    return max(0, limit - FIXED_MEMORY - processes * WORKER_MEMORY) // processes


class MemoryThrottle:
    """Turns samples of memory into the allowed share of concurrency."""

    def __init__(self, limit: int, bodies: int | None = None) -> None:
        """``bodies``: bytes of the limit that what is in flight in all processes may take."""
        self._limit = limit
        self._low = LOW * limit
        if bodies is not None:
            # Where the processes themselves take most of the limit, they never fall below LOW.
            self._low = max(self._low, HIGH * limit - 2 * (GROW - 1) * bodies)
        self.share = 1.0
        self.reason = ""
        """Why ``share`` last changed, in a few words with the numbers."""
        self._for_others = False
        """It last shrank because others need memory."""

    def sample(self, used: int, rooms: Iterable[Room] = ()) -> bool:
        """Takes the bytes in use by all processes, and what is free of all memory that they use
        with others; returns whether ``share`` has changed."""
        before = self.share
        tightest = min(rooms, key=lambda room: room.left / room.reserve, default=None)
        scarce = tightest is not None and tightest.left < tightest.reserve
        plenty = tightest is None or tightest.left > ENOUGH * tightest.reserve
        if used > HIGH * self._limit or scarce:
            self._for_others = used <= HIGH * self._limit
            self.share = max(LEAST_SHARE, self.share * SHRINK)
        elif used < self._low and plenty:
            self.share = min(1.0, self.share * GROW)
        if self.share == before:
            return False
        if tightest and self._for_others:
            self.reason = f"memory of the {tightest.where}: {tightest.left // MIB} MiB left"
        else:
            self.reason = f"memory: {used // MIB} of {self._limit // MIB} MiB"
        return True
