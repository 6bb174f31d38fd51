"""Whether a failed request is sent again, and when.

Pure: randomness is an argument.
"""

from __future__ import annotations

from typing import NamedTuple

from providers.errors import Failure

FIRST_DELAY = 0.05
"""Upper bound of the first delay, in seconds; doubles with each attempt.  A request that waits
occupies a slot: where 3 % fail, four times this costs a tenth of the rate."""
FIRST_DELAY_THROTTLED = 0.2
"""The same after the service asked for fewer requests."""
LONGEST_DELAY = 20.0
"""Upper bound of any delay, as in the AWS SDKs."""
LONGEST_RETRY_AFTER = 60.0
"""Longest Retry-After that is honoured, in seconds."""


class RetryPolicy(NamedTuple):
    """Exponential backoff with full jitter, which spreads contenders best.

    https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/
    """

    retries: int
    """Attempts after the first."""

    def delay(self, failure: Failure, attempt: int, random: float) -> float | None:
        """Seconds to wait before attempt ``attempt + 1``, or None to give up.

        ``attempt`` counts from 0; ``random`` is uniform in [0, 1).  The jitter comes on top of a
        delay that the service asked for: clients that were told the same do not return together.
        """
        if not failure.retry or attempt >= self.retries:
            return None
        first = FIRST_DELAY_THROTTLED if failure.throttle else FIRST_DELAY
        jitter = random * min(LONGEST_DELAY, first * 2.0 ** min(attempt, 30))
        return min(failure.after or 0.0, LONGEST_RETRY_AFTER) + jitter
