"""How many requests should be in flight: found while they are.  Pure: the clock is an argument.

More in flight hide more latency, until the network, the service or the processor is full; past
that knee more only cost.  The number is doubled as long as doubling pays, then left alone and
tried again from time to time.  A service that asks for less gets less at once.
"""

from __future__ import annotations

FIRST = 64
"""In flight in one process at the start: enough where the service is near, and two doublings from
what a distant one needs."""
MOST = 1024
PAYS = 1.2
"""Growth of throughput that a doubling must bring to be followed by another."""
WORTH_KEEPING = 1.05
"""Growth below which a doubling is taken back."""
REST = 10.0
"""Seconds between two trials once the knee is found."""
SHORTEST_ROUND = 0.05
"""Seconds below which a throughput is noise."""
BACKOFF = 0.5
BACKOFF_INTERVAL = 1.0
"""Seconds in which refusals count as one: those in flight were sent before the first was heard."""
REQUEST_WORTH = 32 * 1024
"""Bytes that count as much as one request, so that small and large files make one throughput."""


class Knee:
    """Watches completions and says how many requests should be in flight."""

    def __init__(self, ceiling: int, first: int = FIRST) -> None:
        """``ceiling`` is what memory and descriptors allow, at least 1."""
        self._ceiling = max(1, min(ceiling, MOST))
        self.limit = min(first, self._ceiling)
        """Requests that should be in flight."""
        self._best = 0.0
        self._before = self.limit
        self._settling = self.limit
        self._measuring = self.limit
        self._work = 0
        self._began = 0.0
        self._rest_until = 0.0
        self._backed_off = float("-inf")
        self._recovers_to = 0
        """Half of what it was before a series of refusals.  Halving alone would end at one where a
        few never cease; up to here one is added for each round that passes."""

    def completed(self, now: float, size: int, saturated: bool) -> bool:
        """One request of ``size`` bytes has ended; returns whether ``limit`` has changed.

        ``saturated``: more requests were waiting, so the limit was what held them back.  After a
        change one round of completions passes unmeasured, since it began before the change.
        """
        if self._settling:
            self._settling -= 1
            self._began = now
            return False
        self._work += size + REQUEST_WORTH
        self._measuring -= 1
        if self._measuring > 0 or now - self._began < SHORTEST_ROUND:
            return False
        if saturated and self.limit < self._recovers_to and now < self._rest_until:
            self.limit = self._before = self.limit + 1
            self._next_round(now, settle=False)
            return True
        throughput = self._work / (now - self._began)
        changed = saturated and now >= self._rest_until and self._judge(now, throughput)
        self._next_round(now, settle=changed)
        return changed

    def refused(self, now: float) -> bool:
        """The service asked for fewer requests; returns whether ``limit`` has changed."""
        if now - self._backed_off < BACKOFF_INTERVAL:
            return False
        if now - self._backed_off >= REST:
            self._recovers_to = max(1, int(self.limit * BACKOFF))
        self._backed_off = now
        self._rest_until = now + REST
        self._best = 0.0
        self.limit = self._before = max(1, int(self.limit * BACKOFF))
        self._next_round(now, settle=True)
        return True

    def _judge(self, now: float, throughput: float) -> bool:
        """Compares with the throughput before the last doubling, and decides the next limit."""
        tried = self.limit
        gain = throughput / self._best if self._best else PAYS
        if gain >= PAYS:
            self._best = throughput
            self._before = self.limit
            self.limit = min(self._ceiling, self.limit * 2)
        else:
            if gain < WORTH_KEEPING:
                self.limit = self._before
            self._before = self.limit
            self._best = 0.0
            self._rest_until = now + REST
        return self.limit != tried

    def _next_round(self, now: float, *, settle: bool) -> None:
        self._settling = self.limit if settle else 0
        self._measuring = self.limit
        self._work = 0
        self._began = now
