"""Finds how many requests should be in flight.  Pure: clocks are arguments.

More requests in flight hide more latency until the network, the service or the processor is full;
past that knee they only cost.  The limit rises as long as that pays, then rests between trials.  It
falls at once when the service asks for fewer requests, and a little when many fail.  (``window``
decides by bytes what a slow link can bear.)
"""

from __future__ import annotations

from collections.abc import Callable

FIRST = 64
"""The first limit of a process: enough for a near service, one long step below what a distant one
needs."""
MOST = 1024
"""The highest limit."""
STEP = 2
LONG_STEP = 6
"""Highest factor by which the limit rises, and highest where requests are prompt."""
PROMPT = 0.25
SLOW = 2.0
"""Seconds that a request takes, or each MiB of a longer one.  Requests slower than PROMPT wait for
each other, too: no long step.  Those slower than SLOW hardly do anything else: no step, more would
time out."""
WORTH_TRYING = 1.25
"""Lowest factor worth a step: a new connection costs as much as a request or two."""
PAYS = 1.2
"""Growth of throughput that earns the next step."""
WORTH_KEEPING = 1.05
"""Growth below which a step is undone."""
REST = 10.0
"""Seconds between two trials at the knee."""
SHORTEST_ROUND = 0.05
"""Seconds below which a throughput is noise."""
AFTER_REFUSAL = 0.5
AFTER_FAILURES = 0.8
"""Shares of the limit that are left; failures need not be a sign of load."""
LEAST_AFTER_FAILURES = 0.25
"""Share of the limit that is left however long failures go on: when each takes long, a lower limit
leaves no room for the files that can succeed."""
SPORADIC = 0.2
"""Highest share of failures that is ignored.  Every service has some, and over so few requests a
share of 5 % sometimes looks like 10 %."""
MEMORY = 64
"""Requests that this share is taken over, about; the latest count most."""
BACKOFF_INTERVAL = 1.0
"""Seconds in which refusals count as one: requests in flight were sent before the first of them."""
MIB = 2**20
REQUEST_WORTH = 32 * 1024
"""Bytes that count as much as one request: small and large files make one throughput."""


class ConcurrencyLimiter:
    """Watches how requests end and sets how many should be in flight."""

    def __init__(
        self, ceiling: int, first: int | None = None, demand: Callable[[], float] = lambda: 0.0
    ) -> None:
        """``ceiling``: what memory and descriptors allow.  ``first``: a limit to begin with.
        ``demand()``: seconds so far that the process has run or waited for a processor."""
        self._ceiling = max(1, min(ceiling, MOST))
        self.limit = min(first or FIRST, self._ceiling)
        """Requests that should be in flight."""
        self._demand = demand
        self._best = 0.0
        self._before = self.limit
        self._settling = self.limit
        self._doubted = False
        """One round says that the step does not pay: the next decides."""
        self._round = 0
        self._requests = 0
        self._work = 0
        self._began = 0.0
        self._demand_began = 0.0
        self._rest_until = 0.0
        self._failing = 0.0
        self._backed_off = float("-inf")
        self._recovers_to = 0
        """After a series of back-offs the limit recovers by one per round up to this.  Without it
        a few failures that never cease would bring the limit down to one."""

    def completed(self, now: float, size: int, saturated: bool, weight: int = 1) -> bool:
        """A request of ``size`` bytes, which counts for ``weight``, succeeded; returns whether
        ``limit`` has changed.

        ``saturated``: more requests wait, so the limit holds them back.  After a change as many
        completions pass unmeasured as were in flight before it.
        """
        self._failing -= self._failing / MEMORY
        if self._settling:
            self._settling = max(0, self._settling - weight)
            if not self._settling:
                self._measure_from(now)
            return False
        self._work += size + REQUEST_WORTH
        self._round += weight
        self._requests += 1
        if self._round < self.limit or now - self._began < SHORTEST_ROUND:
            return False
        before = self.limit
        if saturated and self.limit < self._recovers_to and now < self._rest_until:
            self.limit = self._before = self.limit + 1
            self._next_round(now, settling=0)
        else:
            if saturated and now >= self._rest_until:
                self._judge(now)
            self._next_round(now, settling=before if self.limit != before else 0)
        return self.limit != before

    def refused(self, now: float) -> bool:
        """The service asked for fewer requests; returns whether ``limit`` has changed."""
        return self._back_off(now, int(self.limit * AFTER_REFUSAL), recovers=AFTER_REFUSAL)

    def failed(self, now: float) -> bool:
        """A request failed in a way that may be a sign of load (5xx, a lost connection, no answer
        in time); returns whether ``limit`` has changed."""
        self._failing += (1 - self._failing) / MEMORY
        if self._failing <= SPORADIC:
            return False
        least = int(self._recovers_to * LEAST_AFTER_FAILURES) if self._in_series(now) else 1
        left = max(int(self.limit * AFTER_FAILURES), min(least, self.limit))
        return self._back_off(now, left, recovers=1.0)

    def _in_series(self, now: float) -> bool:
        """The latest back-off is not long ago."""
        return now - self._backed_off < REST

    def _back_off(self, now: float, left: int, recovers: float) -> bool:
        if now - self._backed_off < BACKOFF_INTERVAL:
            return False
        if not self._in_series(now):
            self._recovers_to = max(1, int(self.limit * recovers))
        self._backed_off = now
        self._rest_until = now + REST
        self._best = 0.0
        before = self.limit
        self.limit = self._before = max(1, left)
        self._next_round(now, settling=before)
        return self.limit != before

    def _judge(self, now: float) -> None:
        """Compares the throughput with that before the last step and sets the next limit."""
        seconds = now - self._began
        throughput = self._work / seconds
        gain = throughput / self._best if self._best else PAYS
        step = self._step(seconds)
        if gain >= PAYS and step > 1:
            self._best = throughput
            self._before = self.limit
            # Room for at least one more request of the usual weight.
            least = self.limit + self._round // self._requests
            self.limit = min(self._ceiling, max(least, int(self.limit * step)))
        elif gain < WORTH_KEEPING and not self._doubted:
            # The first round after a step begins with a burst and measures low.
            self._doubted = True
            return
        else:
            if gain < WORTH_KEEPING:
                self.limit = self._before
            self._before = self.limit
            self._best = 0.0
            self._rest_until = now + REST
        self._doubted = False

    def _step(self, seconds: float) -> float:
        """The factor by which the limit may rise after a round of so many seconds: no further than
        to where the process is always busy."""
        # Little's law: requests in flight = rate x latency.
        size = self._work / self._requests - REQUEST_WORTH
        latency = self.limit * seconds / self._round / max(1, size / MIB)
        most = LONG_STEP if latency < PROMPT else STEP if latency < SLOW else 1
        busy = (self._demand() - self._demand_began) / seconds
        step = min(most, 1 / max(busy, 1 / LONG_STEP))
        return step if step >= WORTH_TRYING else 1

    def _next_round(self, now: float, settling: int) -> None:
        self._settling = settling
        self._round = self._requests = 0
        self._work = 0
        self._measure_from(now)

    def _measure_from(self, now: float) -> None:
        self._began = now
        self._demand_began = self._demand()
