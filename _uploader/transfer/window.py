"""How many bytes may be on their way at once.  Pure: the clock is an argument.

A fast link needs many requests in flight.  On a slow one each of them only waits for the others,
in a queue that grows until a request takes minutes.  So the bytes in flight begin low, grow as long
as they leave the sockets promptly, and shrink to what the link carries in ``DELAY`` seconds.

The processes of a run do not know of each other: where they share a link, each sees its part of the
rate and its part of the queue, whose quotient is the same.
"""

from __future__ import annotations

from collections import deque

FIRST_BYTES = 2**20
"""What 0.25 MB/s carry in 4 seconds, and what 16 requests of 64 KiB need."""
LEAST_BYTES = 64 * 1024
DELAY = 2.0
"""Seconds for which bytes may wait in the sockets."""
PROMPT = DELAY / 2
"""Seconds in which a request, or each ``SOCKET_BYTES`` of a longer one, is answered where there is
room for more."""
RATE_SECONDS = 3.0
"""Seconds over which the link's rate is measured."""
SOCKET_BYTES = 256 * 1024
"""Most that one request counts for: the rest of a longer body is not in its socket yet."""
RUNS_DRY = 0.25
"""Share of ``DELAY`` for which the rest in the sockets keeps the link busy till the next sample."""
GROWTH = 2


class SendWindow:
    """Says whether one more request may begin, by the bytes of those under way."""

    def __init__(self) -> None:
        self.bytes = FIRST_BYTES
        """Bytes that may be under way."""
        self.in_flight = 0
        """Bytes of the requests under way."""
        self._runs_dry = False
        """The link has nothing to do soon: one more request may begin whatever its size."""
        self._samples: deque[tuple[float, int, int]] = deque()

    def begin(self, size: int) -> bool:
        """Begins a request of ``size`` bytes if there is room for it; a single one always may."""
        counted = size if size < SOCKET_BYTES else SOCKET_BYTES
        in_flight = self.in_flight
        if in_flight and in_flight + counted > self.bytes and not self._runs_dry:
            return False
        self._runs_dry = False
        self.in_flight = in_flight + counted
        return True

    def end(self, size: int, seconds: float | None) -> None:
        """A request that began with ``size`` bytes has ended: well, after so many ``seconds``, or
        (None) badly."""
        counted = size if size < SOCKET_BYTES else SOCKET_BYTES
        prompt = seconds is not None and seconds * SOCKET_BYTES < PROMPT * max(SOCKET_BYTES, size)
        if prompt and self._is_used():
            self.bytes += counted
        self.in_flight -= counted

    def sample(self, now: float, left: int, queued: int) -> None:
        """Takes the bytes that have left the machine so far and those that wait in the sockets;
        to be called about twice a second."""
        samples = self._samples
        while len(samples) > 1 and samples[1][0] <= now - RATE_SECONDS:
            samples.popleft()
        samples.append((now, left, queued))
        then, left_then, _ = samples[0]
        # Requests that began together empty their sockets together, before the next fill them.
        longest = max(queued for _, _, queued in samples)
        carried = (left - left_then) / (now - then) * DELAY if now > then else 0.0
        self._runs_dry = queued < carried * RUNS_DRY
        if longest <= carried / GROWTH:
            if self._is_used():
                self.bytes *= GROWTH
        elif queued > carried > 0 and now - then >= RATE_SECONDS / 2:
            # The sockets may hold more or less than what was counted for them.
            self.bytes = max(LEAST_BYTES, min(self.bytes, int(self.in_flight * carried / queued)))

    def _is_used(self) -> bool:
        """The window holds requests back, or would soon.  Unused room tells nothing about the
        link."""
        return GROWTH * self.in_flight >= self.bytes
