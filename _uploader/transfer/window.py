"""How many bytes may be on their way at once.  Pure: the clock is an argument.

A fast link needs many requests in flight.  On a slow one each of them only waits for the others,
in a queue that grows until a request takes minutes.  So the bytes in flight begin low, grow as long
as they leave the sockets promptly, and shrink to what the link carries in ``DELAY`` seconds.
"""

from __future__ import annotations

from collections import deque

FIRST_BYTES = 4 * 2**20
LEAST_BYTES = 64 * 1024
MOST_BYTES = 2**30
DELAY = 2.0
"""Seconds for which bytes may wait in the sockets; requests answered sooner let more begin."""
RATE_SECONDS = 3.0
"""Seconds over which the link's rate is measured."""
SOCKET_BYTES = 2**20
"""Most that one request counts for: the rest of a longer body is not in its socket yet."""
SHORT_QUEUE = 0.25
"""Share of the bytes in flight up to which the sockets count as empty: the requests wait for the
service and not for the link, and more of them do no harm."""
GROWTH = 2


class SendWindow:
    """Says whether one more request may begin, by the bytes of those under way."""

    def __init__(self) -> None:
        self.bytes = FIRST_BYTES
        """Bytes that may be under way."""
        self.in_flight = 0
        """Bytes of the requests under way."""
        self._full = False
        """A request had to wait since the last sample."""
        self._samples: deque[tuple[float, int]] = deque()

    def has_room(self, size: int) -> bool:
        """A request of ``size`` bytes may begin; a single one always may."""
        room = not self.in_flight or self.in_flight + min(size, SOCKET_BYTES) <= self.bytes
        self._full = self._full or not room
        return room

    def begin(self, size: int) -> None:
        """A request of ``size`` bytes begins."""
        self.in_flight += min(size, SOCKET_BYTES)

    def end(self, size: int) -> None:
        """A request that began with ``size`` bytes has ended, well or badly."""
        self.in_flight -= min(size, SOCKET_BYTES)

    def accepted(self, size: int, seconds: float) -> None:
        """A request was answered ``seconds`` after it began."""
        if seconds < DELAY and self._full:
            self.bytes = min(MOST_BYTES, self.bytes + min(size, SOCKET_BYTES))

    def sample(self, now: float, left: int, queued: int) -> None:
        """Takes the bytes that have left the machine so far and those that wait in the sockets;
        to be called about twice a second."""
        samples = self._samples
        samples.append((now, left))
        while len(samples) > 2 and samples[1][0] <= now - RATE_SECONDS:
            samples.popleft()
        then, left_then = samples[0]
        if self._full and queued <= SHORT_QUEUE * self.in_flight:
            self.bytes = min(MOST_BYTES, self.bytes * GROWTH)
        elif now - then >= RATE_SECONDS / 2 and left > left_then:
            carried = int((left - left_then) / (now - then) * DELAY)
            if queued > carried:
                self.bytes = max(LEAST_BYTES, min(self.bytes, carried))
        self._full = False
