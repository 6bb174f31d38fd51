"""Finds how many requests should be in flight.  Pure: clocks are arguments.

More requests in flight hide more latency until the network, the service or the processor is full;
past that knee they only cost.  The number rises as long as that pays, then rests between trials.
It falls at once when the service asks for fewer requests, and a little when many fail.  Of the
number so found only a share may be used while the machine is short of something.  (``window``
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
"""Seconds that a request takes, or each MiB of a longer one.  Above PROMPT requests queue behind
each other: no long step.  Above SLOW they mostly queue: no step, as more would time out."""
WORTH_TRYING = 1.25
"""Lowest factor worth a step: a new connection costs as much as a request or two."""
PAYS = 1.2
"""Growth of throughput that earns the next step."""
WORTH_KEEPING = 1.05
"""Growth below which a step is undone."""
REST = 10.0
"""Seconds between two trials at the knee."""
HELD_REST = 2.0
"""Seconds until the next trial after a change of the share, or a step, while only a share may be
used: the machine is looked at meanwhile."""
HELD_LEAST = 0.5
"""Lowest share at which there are trials: what they find must not make up for a smaller one."""
SHORTEST_ROUND = 0.05
"""Seconds below which a throughput is noise."""
AFTER_REFUSAL = 0.5
AFTER_FAILURES = 0.8
"""Shares of the number that are left; failures need not be a sign of load."""
BELOW_REFUSED = 0.9
ABOVE_REFUSED = 1.25
"""Times a number that was refused: the number grows back to there soon, and a trial goes no
further."""
RECOVERY = 8
"""Rounds in which it would be there at its first pace; it slows down on the way."""
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
        self._found = min(first or FIRST, self._ceiling)
        """What is best for throughput and service."""
        self._share = 1.0
        self.limit = self._found
        """Requests that should be in flight: the allowed share of what was found."""
        self.reason = ""
        """Why ``limit`` last changed, in a few words with the numbers."""
        self._demand = demand
        self._best = 0.0
        self._before = self._found
        """The number before the latest step, or before what has grown back."""
        self._settling = self._found
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
        """After a series of back-offs the number recovers round by round up to this.  Without it a
        few failures that never cease would bring it down to one."""
        self._refused_at = float("-inf")
        """When the service last asked for fewer."""
        self._refused = MOST
        """The lowest number that it found too high, until a higher one proves right."""

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
        if saturated and self._recovers(now):
            step = max(1, (self._recovers_to - self._found) // RECOVERY)
            self._set(self._found + step, f"growing back to {self._recovers_to}")
            self._next_round(now, settling=0)
        else:
            if saturated and now >= self._rest_until:
                self._judge(now)
            self._next_round(now, settling=before if self.limit != before else 0)
        return self.limit != before

    def refused(self, now: float, why: object = "") -> bool:
        """The service asked for fewer requests, in the words ``why``; returns whether ``limit`` has
        changed."""
        self._refused_at = now
        left = int(self._found * AFTER_REFUSAL)
        if self._before < self._found:
            left = max(left, self._before)  # it was not refused
        to = int(self._found * BELOW_REFUSED)
        if self._in_series(now):
            to = min(to, self._recovers_to)
        refused = min(self._refused, self._found)
        if not self._back_off(now, left, to, f"the service asked for fewer{_because(why)}"):
            return False
        self._refused = refused
        return True

    def failed(self, now: float, why: object = "") -> bool:
        """A request failed in a way that may be a sign of load (5xx, a lost connection, no answer
        in time), ``why`` says how; returns whether ``limit`` has changed."""
        self._failing += (1 - self._failing) / MEMORY
        if self._failing <= SPORADIC:
            return False
        to = self._recovers_to if self._in_series(now) else self._found
        least = min(int(to * LEAST_AFTER_FAILURES), self._found)
        left = max(int(self._found * AFTER_FAILURES), least)
        reason = f"{self._failing:.0%} of the latest requests failed{_because(why)}"
        return self._back_off(now, left, to, reason)

    def allow(self, now: float, share: float, reason: str) -> bool:
        """From now on only a ``share`` of what is best may be in flight, 0 to 1, but at least one
        request; returns whether ``limit`` has changed."""
        before, self._share = self.limit, share
        self._set(self._found, reason)
        if self.limit == before:
            return False
        # Throughput with another number tells nothing about the latest step.
        self._forget_step()
        if share < 1:
            self._rest_until = max(self._rest_until, now + HELD_REST)
        self._next_round(now, settling=before)
        return True

    def _in_series(self, now: float) -> bool:
        """The latest back-off is not long ago."""
        return now - self._backed_off < REST

    def _recovers(self, now: float) -> bool:
        """The number grows back after back-offs: once nothing is refused any more."""
        quiet = now - self._refused_at >= BACKOFF_INTERVAL
        return quiet and self._found < self._recovers_to and now < self._rest_until

    def _back_off(self, now: float, left: int, to: int, reason: str) -> bool:
        """Leaves so many, which recover to ``to``."""
        if now - self._backed_off < BACKOFF_INTERVAL:
            return False
        self._recovers_to = max(1, to)
        self._backed_off = now
        self._rest_until = now + REST
        before = self.limit
        self._set(max(1, left), reason)
        self._forget_step()
        self._next_round(now, settling=before)
        return self.limit != before

    def _set(self, found: int, reason: str) -> None:
        """Keeps the reason if this changes ``limit``."""
        self._found = found
        before, self.limit = self.limit, max(1, int(found * self._share))
        if self.limit != before:
            self.reason = reason

    def _judge(self, now: float) -> None:
        """Compares the throughput with that before the last step and sets the next number."""
        seconds = now - self._began
        throughput = self._work / seconds
        gain = throughput / self._best if self._best else PAYS
        busy = (self._demand() - self._demand_began) / seconds
        step = self._step(seconds, busy)
        if gain >= PAYS and step > 1:
            reason = f"{gain:.2g} times the throughput" if self._best else "a trial"
            rate = self._requests / seconds
            self._best = throughput
            self._keep()
            # Room for at least one more request of the usual weight.
            least = self._found + self._round // self._requests
            most = min(int(self._found * step), int(self._refused * ABOVE_REFUSED))
            found = min(self._ceiling, max(least, most))
            self._set(found, f"{reason}, {rate:,.0f} requests/s, processor {busy:.0%} busy")
            if self._share < 1:
                self._rest_until = now + HELD_REST
        elif gain < WORTH_KEEPING and not self._doubted:
            # The first round after a step begins with a burst and measures low.
            self._doubted = True
            return
        else:
            if gain < WORTH_KEEPING:
                self._set(self._before, f"brought {gain:.2f} times the throughput")
            self._keep()
            self._forget_step()
            self._rest_until = now + REST
        self._doubted = False

    def _keep(self) -> None:
        """The number has proved right."""
        self._before = self._found
        if self._found > self._refused:
            self._refused = MOST

    def _forget_step(self) -> None:
        self._before = self._found
        self._best = 0.0
        self._doubted = False

    def _step(self, seconds: float, busy: float) -> float:
        """The factor by which the number may rise after a round of so many seconds, in which the
        process was so ``busy``: no further than to where it would use all of its CPU."""
        # Little's law: requests in flight = rate x latency.
        size = self._work / self._requests - REQUEST_WORTH
        latency = self.limit * seconds / self._round / max(1, size / MIB)
        most = LONG_STEP if latency < PROMPT else STEP if latency < SLOW else 1
        if self._share < 1:
            most = min(most, STEP) if self._share >= HELD_LEAST else 1
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


def _because(why: object) -> str:
    return f": {why}" if why else ""
