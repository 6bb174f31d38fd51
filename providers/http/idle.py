"""When a connection has gone too long without progress.  Pure."""

from __future__ import annotations

import math

LOOKS = 4
"""Looks at least before a connection is given up."""
LONGEST_INTERVAL = 1.0


class IdleLimit:
    """Decides, from looks at a connection's counters, when nothing has moved for ``seconds``.

    It counts looks, not seconds: a process that was stopped for an hour has lost a look or two.
    The limit is reached no earlier than ``seconds`` after the last progress, and no later than two
    intervals after that.
    """

    def __init__(self, seconds: float) -> None:
        self.interval = min(seconds / LOOKS, LONGEST_INTERVAL)
        """Seconds from one look to the next."""
        self._most = math.ceil(seconds / self.interval)
        self._silent = 0
        self._seen = (0, 0)

    def look(self, acknowledged: int, received: int, waiting: bool) -> bool:
        """Takes the bytes that the peer has acknowledged and sent so far; true when they moved.

        ``waiting``: the greenlet waits for the connection, not for a slow disk, whose time does not
        count.
        """
        seen = (acknowledged, received)
        moved = seen != self._seen
        self._seen = seen
        self._silent = 0 if moved or not waiting else self._silent + 1
        return moved

    @property
    def reached(self) -> bool:
        """The connection should be given up."""
        return self._silent >= self._most
