"""Whether service or request is at fault.

Pure: the clock is an argument.

A request that fails while the service answers others is at fault itself: its retries count.  When
the service has answered nothing since the request began, the service or the way to it is gone, and
the failure says nothing about the file.  Then all requests wait while probes are sent.
"""

from __future__ import annotations

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 1.5
"""Seconds before the first probe, and at most between two in an outage of up to a minute."""
PAUSE_SHARE = 1 / 40
"""Share of a longer outage that a pause may take: after an hour, one probe every 90 seconds."""
SILENCE = 5.0
"""Seconds without a byte, with requests in flight, after which the service is probed."""
LONGEST_AFTER = 60.0
"""Longest Retry-After that is honoured in an outage, in seconds."""


class ServiceHealth:
    """What one process's requests tell about the service.  Times in seconds."""

    def __init__(self) -> None:
        self.answered_at = float("-inf")
        """When the service last answered."""
        self.began: float | None = None
        """When the present outage began; None while the service works."""
        self.false_alarm = True
        """The first probe of the latest outage was answered: the request was at fault."""
        self.next_probe = 0.0
        """When the next probe is due."""
        self._pause = FIRST_PAUSE

    def answered(self, now: float) -> None:
        """The answer to a request shows that the service works: an outage is over."""
        self.answered_at = now
        self.began = None

    def failed(self, since: float, now: float, after: float | None = None) -> bool:
        """A request that began, or last failed, at ``since`` has failed in a way that may pass.

        Returns whether the request is at fault; if not, an outage begins or goes on.  ``after``:
        seconds that the service asks to be left alone.
        """
        if self.began is None and self.answered_at >= since:
            return True
        self._begin(now, now)
        if after:
            self.next_probe = max(self.next_probe, now + min(after, LONGEST_AFTER))
        return False

    def silent(self, since: float, now: float) -> None:
        """No byte has moved since ``since``, with requests in flight."""
        self._begin(since, now)

    def probed(self, now: float) -> None:
        """A probe failed: the next one comes later."""
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
