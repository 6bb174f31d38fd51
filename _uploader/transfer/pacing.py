"""When how many bytes may go, with a limit of the rate.

Pure: the clock is an argument.

All processes share one schedule, which is a single moment: the one at which all that has been
granted will have gone, at the rate.  Whoever wants to send moves it on by what its bytes take, and
sends when the moment comes at which it found it (a token bucket that nobody has to fill: the
"virtual scheduling" of ITU-T I.371).  A process that is idle takes nothing, so the others have all.
"""

from __future__ import annotations

import math

BURST = 0.05
"""Seconds by which the schedule may lag behind the clock: what was not sent while nobody was awake
may be sent at once.  In any 2 s this makes 2.5 % more than the rate."""
QUANTUM = 0.01
"""Seconds of the rate that all processes together take at a time: less than BURST, and long enough
that a fast link needs few looks at the schedule."""
LEAST_QUANTUM = 1024


def reserve(end: float, now: float, size: int, rate: float) -> tuple[float, float]:
    """When ``size`` more bytes may go by a schedule that ends at ``end``, and its new end."""
    moment = max(end, now - BURST)
    return moment, moment + size / rate


def quantum(rate: float, processes: int) -> int:
    """Bytes that each of the processes takes from the schedule at a time."""
    return max(LEAST_QUANTUM, math.ceil(rate * QUANTUM / processes))


class Allowance:
    """The bytes of one process whose moment has come."""

    def __init__(self) -> None:
        self._left = 0
        """Negative: a request was not cut, and the next quantum pays for it."""
        self._until = 0.0

    def take(self, now: float, wanted: int, most: int) -> int:
        """How many of ``wanted`` bytes may go at once, ``most`` at the most; 0: none is left.

        A request that goes as a whole is not cut in two where the quantum ends.
        """
        if self._left <= 0:
            return 0
        if now > self._until:
            self._left = 0  # an old allowance would be a burst
            return 0
        taken = min(wanted, most)
        self._left -= taken
        return taken

    def missing(self, most: int) -> int:
        """The bytes that make the allowance ``most`` again."""
        self._left = max(self._left, -most)  # a debt of a higher rate would take long to pay
        return most - self._left

    def add(self, now: float, size: int) -> None:
        """The moment of so many bytes has come, or they were taken and not sent."""
        self._left += size
        self._until = now + BURST
