"""Whether the service or a single request is at fault.  Pure: the clock is an argument.

A request that fails while others are answered has failed by itself, and its retries count.  A
request that fails after nothing was answered since it began says nothing about its file: the
service, or the way to it, is gone.  Then everything waits and one probe after the other is sent.
"""

from __future__ import annotations

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 1.5
"""Seconds between two probes: the first, and the longest in an outage of up to a minute."""
PAUSE_SHARE = 1 / 40
"""Part of an outage that a pause may take: a service gone for an hour is asked every 90 seconds."""
SILENCE = 5.0
"""Seconds without a byte moved, with requests under way, after which the service is probed."""
LONGEST_AFTER = 60.0
"""Seconds that the service may ask to be left alone."""


class ServiceHealth:
    """What the requests of one process tell about the service.  Times in seconds."""

    def __init__(self) -> None:
        self.answered_at = float("-inf")
        """When a request was last answered."""
        self.began: float | None = None
        """When the outage began that is not over yet; None while the service works."""
        self.false_alarm = True
        """No probe was in vain in the latest outage: it was the request that had failed."""
        self.next_probe = 0.0
        """When the service should be asked again."""
        self._pause = FIRST_PAUSE

    def answered(self, now: float) -> None:
        """A request was answered in a way that says the service works: an outage is over."""
        self.answered_at = now
        self.began = None

    def failed(self, since: float, now: float, after: float | None = None) -> bool:
        """A request that began, or last failed, at ``since`` has failed in a way that may pass.

        Returns whether that counts for the request.  Otherwise an outage has begun, or goes on;
        ``after``: seconds that the service asked to be left alone.
        """
        if self.began is None and self.answered_at >= since:
            return True
        self._begin(now, now)
        if after:
            self.next_probe = max(self.next_probe, now + min(after, LONGEST_AFTER))
        return False

    def silent(self, since: float, now: float) -> None:
        """No byte has moved since ``since`` although requests are under way."""
        self._begin(since, now)

    def probed(self, now: float) -> None:
        """A probe was in vain: the next one comes later."""
        self.false_alarm = False
        if self.began is not None:
            longest = max(LONGEST_PAUSE, (now - self.began) * PAUSE_SHARE)
            self._pause = min(longest, self._pause * 2)
            self.next_probe = now + self._pause

    def _begin(self, since: float, now: float) -> None:
        if self.began is None:
            self.began = since
            self.false_alarm = True
            self._pause = FIRST_PAUSE
            self.next_probe = now + FIRST_PAUSE
