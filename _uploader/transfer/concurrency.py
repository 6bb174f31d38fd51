"""How many requests should be in flight: found while they are.  Pure: the clocks are arguments.

More in flight hide more latency, until the network, the service or the processor is full; past
that knee more only cost.  The number is raised as long as that pays, then left alone and tried
again from time to time.  A service that asks for less gets less at once, and one that often fails
gets a little less.  (What a slow link can bear is decided by bytes: see ``window``.)
"""

from __future__ import annotations

from collections.abc import Callable

FIRST = 64
"""In flight in one process at the start: enough where the service is near, and a long step from
what a distant one needs."""
MOST = 1024
STEP = 2
LONG_STEP = 6
"""By how much the number is raised at most, and by how much where requests are prompt."""
PROMPT = 0.25
SLOW = 2.0
"""Seconds that a request takes, or each MiB of a longer one.  Slower ones than the first wait for
each other too, and get no long step; slower ones than the second do hardly anything else, and more
of them would time out."""
WORTH_TRYING = 1.25
"""Step below which none is made: a new connection costs as much as a request or two."""
PAYS = 1.2
"""Growth of throughput that a step must bring to be followed by another."""
WORTH_KEEPING = 1.05
"""Growth below which a step is taken back."""
REST = 10.0
"""Seconds between two trials once the knee is found."""
SHORTEST_ROUND = 0.05
"""Seconds below which a throughput is noise."""
AFTER_REFUSAL = 0.5
AFTER_FAILURES = 0.8
"""What is left of the number; failures need not be a sign of load."""
LEAST_AFTER_FAILURES = 0.25
"""What is left of the number in the end, however long failures go on: where each takes long, fewer
would leave the files that could succeed no room."""
SPORADIC = 0.2
"""Share of failures up to which they are borne.  No service is without, and over so few requests a
share of 5 % looks like one of 10 % now and then."""
MEMORY = 64
"""Requests over which that share is taken, the latest counting most."""
BACKOFF_INTERVAL = 1.0
"""Seconds in which refusals count as one: those in flight were sent before the first was heard."""
MIB = 2**20
REQUEST_WORTH = 32 * 1024
"""Bytes that count as much as one request, so that small and large files make one throughput."""


class ConcurrencyLimiter:
    """Watches completions and says how many requests should be in flight."""

    def __init__(
        self, ceiling: int, first: int | None = None, demand: Callable[[], float] = lambda: 0.0
    ) -> None:
        """``ceiling`` is what memory and descriptors allow, at least 1; ``first`` a number to begin
        with at once; ``demand`` says for how many seconds so far the process has run or waited for
        a processor."""
        self._ceiling = max(1, min(ceiling, MOST))
        self.limit = min(first or FIRST, self._ceiling)
        """Requests that should be in flight."""
        self._demand = demand
        self._best = 0.0
        self._before = self.limit
        self._settling = self.limit
        self._doubted = False
        """A step did not pay in one round: the next one decides."""
        self._round = 0
        self._requests = 0
        self._work = 0
        self._began = 0.0
        self._demand_began = 0.0
        self._rest_until = 0.0
        self._failing = 0.0
        self._backed_off = float("-inf")
        self._recovers_to = 0
        """What a series of refusals or failures leaves of the number in the end: up to here one is
        added for each round that passes.  Without that a few that never cease would leave one."""

    def completed(self, now: float, size: int, saturated: bool, weight: int = 1) -> bool:
        """One request of ``size`` bytes, that counts for ``weight``, has ended well; returns
        whether ``limit`` has changed.

        ``saturated``: more requests were waiting, so the limit was what held them back.  After a
        change as many completions pass unmeasured as were in flight before it.
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
        """A request failed in a way that may be a sign of load (an error of the service, a lost
        connection, no answer in time); returns whether ``limit`` has changed."""
        self._failing += (1 - self._failing) / MEMORY
        if self._failing <= SPORADIC:
            return False
        least = int(self._recovers_to * LEAST_AFTER_FAILURES) if self._in_series(now) else 1
        left = max(int(self.limit * AFTER_FAILURES), min(least, self.limit))
        return self._back_off(now, left, recovers=1.0)

    def _in_series(self, now: float) -> bool:
        """What is lowered now was lowered not long ago."""
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
        """Compares with the throughput before the last step, and decides the next limit."""
        seconds = now - self._began
        throughput = self._work / seconds
        gain = throughput / self._best if self._best else PAYS
        step = self._step(seconds)
        if gain >= PAYS and step > 1:
            self._best = throughput
            self._before = self.limit
            # At least one more of the requests that there are, whatever they count for.
            least = self.limit + self._round // self._requests
            self.limit = min(self._ceiling, max(least, int(self.limit * step)))
        elif gain < WORTH_KEEPING and not self._doubted:
            # The first round after a step begins with a burst and looks slower than the next.
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
        """By how much the number may be raised after a round that took so long: no further than
        to where the process would be busy all the time."""
        # Little's law: what is in flight is the rate times the time that each takes.
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
