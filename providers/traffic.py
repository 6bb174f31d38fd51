"""What the connections of a process move, counted as it leaves."""

from __future__ import annotations

import time
from typing import Protocol
from weakref import WeakSet


class Queue(Protocol):
    """A socket, as far as its unacknowledged bytes go."""

    def queued(self) -> int:
        """Bytes that the kernel took and the peer has not acknowledged."""
        ...


class Traffic:
    """Counters of one process, written by its connections and read by anyone."""

    __slots__ = ("sent", "moved_at", "progress", "queues", "lost_before")

    def __init__(self) -> None:
        self.sent = 0
        """Bytes of request bodies that the kernel took.  A repeated body counts again."""
        self.moved_at = time.monotonic()
        """When a byte last moved, in either direction (``time.monotonic``).  Bytes that only leave
        the kernel's queue are noticed within a second."""
        self.progress = 0
        """How often a request that had lasted for seconds was seen to move.  Bytes alone are no
        progress: those of requests that fail at once move, too."""
        self.lost_before = 0.0
        """The service was away until now and has forgotten what it was sent: requests that have not
        moved since this moment (``time.monotonic``) are given up."""
        self.queues: WeakSet[Queue] = WeakSet()
        """The open connections."""

    def queued(self) -> int:
        """Bytes in the send queues of all connections, heads and TLS overhead included.

        One system call for each connection.
        """
        return sum(queue.queued() for queue in self.queues)
