"""Counts the bytes that the connections of a process move."""

from __future__ import annotations

import time
from typing import Protocol
from weakref import WeakSet


class Queue(Protocol):
    """A socket's send queue."""

    def queued(self) -> int:
        """Bytes that the kernel took and the peer has not acknowledged."""
        ...


class RateLimit(Protocol):
    """Says when bytes may go; for any number of greenlets."""

    @property
    def share(self) -> float:
        """Bytes a second that this process may send if all others send, too; infinity: any."""

    @property
    def waiting(self) -> bool:
        """A greenlet waits in ``take``, or has waited a moment ago."""

    def take(self, wanted: int) -> int:
        """Waits until bytes may go; returns how many of ``wanted``, at least one of them."""

    def give_back(self, unsent: int) -> None:
        """Of the bytes taken so many were not sent."""


class Traffic:
    """Counters of one process: its connections write, anyone reads."""

    __slots__ = ("sent", "moved_at", "progress", "queues", "lost_before", "limit")

    def __init__(self) -> None:
        self.sent = 0
        """Bytes of request bodies that the kernel took.  A repeated body counts again."""
        self.moved_at = time.monotonic()
        """When a byte last moved, in either direction (``time.monotonic``).  Bytes that only leave
        the kernel's queue show within a second."""
        self.progress = 0
        """Grows while requests that last for seconds move, and while stored parts are proven.
        Bytes alone are no progress: requests that fail at once move some, too."""
        self.lost_before = 0.0
        """Requests that have not moved since this moment (``time.monotonic``) are given up: the
        service was away since then and has forgotten them."""
        self.limit: RateLimit | None = None
        """Whoever sends asks it first: heads and bodies, with what TLS adds, but no handshakes."""
        self.queues: WeakSet[Queue] = WeakSet()
        """The open connections."""

    def queued(self) -> int:
        """Bytes in the send queues of all connections, heads and TLS overhead included; costs one
        system call for each."""
        return sum(queue.queued() for queue in self.queues)
