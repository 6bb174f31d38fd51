"""How fast a run goes, and how long it still takes."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from ..records.counters import Counters


class Rate:
    """How fast a number grows, over the last ``window`` seconds.  Pure."""

    STEPS = 50
    """Samples kept for one window."""

    def __init__(self, window: float = 10.0) -> None:
        self._window = window
        self._samples: deque[tuple[float, float]] = deque()

    def add(self, now: float, value: float) -> None:
        """Takes the number at ``now``; times never go back."""
        samples = self._samples
        if len(samples) > 1 and now - samples[-2][0] < self._window / self.STEPS:
            samples.pop()
        samples.append((now, value))
        while len(samples) > 2 and samples[1][0] <= now - self._window:
            samples.popleft()

    def per_second(self) -> float:
        """0 before the second sample."""
        if len(self._samples) < 2:
            return 0.0
        (start, before), (end, after) = self._samples[0], self._samples[-1]
        return (after - before) / (end - start) if end > start else 0.0

    def eta(self, remaining: float) -> float | None:
        """Seconds until ``remaining`` is done; None when nothing moves."""
        if remaining <= 0:
            return 0.0
        rate = self.per_second()
        return remaining / rate if rate > 0 else None


@dataclass
class Pace:
    """The rates of a run."""

    files: Rate = field(default_factory=Rate)
    bytes: Rate = field(default_factory=Rate)

    def add(self, now: float, counters: Counters) -> None:
        self.files.add(now, counters.settled)
        self.bytes.add(now, counters.moved_bytes)

    def seconds_left(self, counters: Counters) -> float | None:
        """The longer of what files and bytes need; None while the scan runs or nothing moves."""
        if not counters.scanned:
            return None
        files = self.files.eta(counters.files - counters.settled)
        size = self.bytes.eta(counters.bytes_to_move)
        return None if files is None or size is None else max(files, size)
