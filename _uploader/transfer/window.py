"""How many bytes may be in flight.

Pure: the clock is an argument.

A fast link needs many requests in flight.  On a slow one they wait for each other, in a queue that
grows until a request takes minutes.  So the bytes in flight begin low, grow as long as they leave
the sockets promptly, and shrink to what the link carries in ``DELAY`` seconds.

Processes that share a link need not know of each other: each sees its share of the rate and its
share of the queue, and their quotient is the same.
"""

from __future__ import annotations

import math
from collections import deque

FIRST_BYTES = 2**20
"""A link of 0.25 MB/s carries this in 4 seconds; 16 requests of 64 KiB need it."""
LEAST_BYTES = 64 * 1024
DELAY = 2.0
"""Seconds that bytes may wait in the sockets."""
PROMPT = DELAY / 2
"""A request, or each ``SOCKET_BYTES`` of a longer one, that is answered within so many seconds
leaves room for more."""
RATE_SECONDS = 3.0
"""Seconds that the link's rate is measured over."""
SOCKET_BYTES = 256 * 1024
"""Most bytes that a request counts for: the rest of its body is not in the socket yet."""
RUNS_DRY = 0.25
"""Share of ``DELAY``: with less in the sockets the link may idle before the next sample, so one
more request may begin."""
GROWTH = 2


class SendWindow:
    """Decides by the bytes in flight whether one more request may begin."""

    def __init__(self, most: float = math.inf) -> None:
        """``most``: bytes in flight that memory allows."""
        self._memory = self._most = most
        self._paced = math.inf
        self.bytes = min(FIRST_BYTES, most)
        """Bytes that may be in flight."""
        self.in_flight = 0
        """Bytes of the requests in flight."""
        self._runs_dry = False
        """The link will soon idle: one more request may begin, whatever its size."""
        self._samples: deque[tuple[float, int, int]] = deque()

    def begin(self, size: int) -> bool:
        """Begins a request of ``size`` bytes if there is room; a single one always has."""
        counted = size if size < SOCKET_BYTES else SOCKET_BYTES
        in_flight = self.in_flight
        if in_flight and in_flight + counted > self.bytes and not self._runs_dry:
            return False
        self._runs_dry = False
        self.in_flight = in_flight + counted
        return True

    def end(self, size: int, seconds: float | None) -> None:
        """A request that began with ``size`` bytes has succeeded after so many ``seconds``, or
        (None) failed."""
        if size < SOCKET_BYTES:
            counted, allowed = size, PROMPT
        else:
            counted, allowed = SOCKET_BYTES, PROMPT * size / SOCKET_BYTES
        if seconds is not None and seconds < allowed and self._is_used():
            self.bytes = min(self.bytes + counted, self._most)
        self.in_flight -= counted

    def pace(self, rate: float) -> None:
        """The requests may send ``rate`` bytes a second, infinity without a limit: more than that
        carries in ``DELAY`` would wait for their turn, not for the link."""
        self._paced = max(LEAST_BYTES, rate * DELAY)
        self._most = min(self._memory, self._paced)
        self.bytes = min(self.bytes, self._most)

    def sample(self, now: float, left: int, queued: int) -> None:
        """Takes the bytes that have left the machine so far and those that wait in the sockets;
        call it about twice a second."""
        samples = self._samples
        if not self.in_flight:
            samples.clear()  # idle time tells nothing of the link
        while len(samples) > 1 and samples[1][0] <= now - RATE_SECONDS:
            samples.popleft()
        samples.append((now, left, queued))
        then, left_then, _ = samples[0]
        # The longest queue: requests that began together empty their sockets together.
        longest = max(queued for _, _, queued in samples)
        carried = (left - left_then) / (now - then) * DELAY if now > then else 0.0
        # At a limit of the rate the sockets are always empty: only beside a single long request.
        full = self.bytes <= self.in_flight <= SOCKET_BYTES
        alone = full or self.in_flight == SOCKET_BYTES
        self._runs_dry = queued < carried * RUNS_DRY and (alone or self.bytes < self._paced)
        if longest <= carried / GROWTH:
            if self._is_used():
                self.bytes = min(self.bytes * GROWTH, self._most)
        elif queued > carried > 0 and now - then >= RATE_SECONDS / 2:
            # Scaled from what is in flight: the sockets may hold more or less than counted.
            self.bytes = max(LEAST_BYTES, min(self.bytes, int(self.in_flight * carried / queued)))

    def _is_used(self) -> bool:
        """The window holds requests back, or soon will: unused room says nothing of the link."""
        return GROWTH * self.in_flight >= self.bytes
