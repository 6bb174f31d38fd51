"""How many bytes may be on their way at once.  Pure: the clock is an argument.

A fast link needs many requests in flight; on a slow one each of them only waits for the others,
in a queue that grows until requests take minutes.  So the bytes in flight begin low, double as
long as requests are answered promptly, and go back to what the link carries in ``DELAY``.
"""

from __future__ import annotations

from collections import deque

FIRST_BYTES = 2 * 2**20
LEAST_BYTES = 64 * 1024
MOST_BYTES = 2**30
DELAY = 2.0
"""Seconds for which bytes may wait in the sockets; requests answered sooner let more begin."""
RATE_SECONDS = 3.0
"""Seconds over which the link's rate is measured."""
SOCKET_BYTES = 4 * 2**20
"""Most that one request counts for: the rest of a longer body is not in its socket yet."""


class SendWindow:
    """Says whether one more request may begin, by the bytes of those under way."""

    def __init__(self) -> None:
        self.bytes = FIRST_BYTES
        """Bytes that may be under way."""
        self.in_flight = 0
        self._samples: deque[tuple[float, int]] = deque()

    def has_room(self, size: int) -> bool:
        """A request of ``size`` bytes may begin; a single one always may."""
        return not self.in_flight or self.in_flight + min(size, SOCKET_BYTES) <= self.bytes

    def begin(self, size: int) -> None:
        """A request of ``size`` bytes begins."""
        self.in_flight += min(size, SOCKET_BYTES)

    def end(self, size: int) -> None:
        """A request that began with ``size`` bytes has ended, well or badly."""
        self.in_flight -= min(size, SOCKET_BYTES)

    def accepted(self, size: int, seconds: float) -> None:
        """A request was answered ``seconds`` after it began."""
        if seconds < DELAY:
            self.bytes = min(MOST_BYTES, self.bytes + min(size, SOCKET_BYTES))

    def sample(self, now: float, moved: int, queued: int) -> None:
        """Takes the bytes that have left so far and those that wait in the sockets now."""
        samples = self._samples
        samples.append((now, moved))
        while len(samples) > 2 and samples[1][0] <= now - RATE_SECONDS:
            samples.popleft()
        then, moved_then = samples[0]
        if now - then < RATE_SECONDS / 2 or moved == moved_then:
            return
        carried = int((moved - moved_then) / (now - then) * DELAY)
        if queued > carried:
            self.bytes = max(LEAST_BYTES, min(self.bytes, carried))
