"""The parts of one file: to send, stored, and the end.  Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple

from providers.base import Part
from providers.errors import Corrupted, Failure, Interrupted, NotFound, SourceChanged


class Span(NamedTuple):
    """One part to send."""

    number: int
    """From 1."""
    offset: int
    length: int


class End(Enum):
    """What becomes of a multipart upload when no part is in flight any more."""

    COMPLETE = "complete"
    KEEP = "keep"
    """The stored parts wait for the next attempt."""
    ABORT = "abort"


class Parts:
    """A file of ``size`` bytes in parts; each is sent once, and is stored or fails."""

    def __init__(self, size: int, part_size: int) -> None:
        self._size = size
        self._part_size = part_size
        self._todo = deque(range(1, -(-size // part_size) + 1))
        self._stored: list[Part] = []
        self._running = 0
        self.error: Exception | None = None
        """The first failure of a part; no part begins after it."""

    def have(self, parts: Iterable[Part]) -> int:
        """Takes over parts that an earlier attempt stored; returns their bytes."""
        self._stored = list(parts)
        stored = {part.number for part in self._stored}
        self._todo = deque(number for number in self._todo if number not in stored)
        return sum(part.size for part in self._stored)

    def next(self) -> Span | None:
        """The next part, in flight from now on; None when there is none."""
        if self.error or not self._todo:
            return None
        number = self._todo.popleft()
        self._running += 1
        offset = (number - 1) * self._part_size
        return Span(number, offset, min(self._part_size, self._size - offset))

    def stored(self, part: Part) -> None:
        """A part in flight is stored."""
        self._stored.append(part)
        self._running -= 1

    def failed(self, error: Exception) -> None:
        """A part in flight has failed for good."""
        self.error = self.error or error
        self._running -= 1

    @property
    def ended(self) -> bool:
        """No part is in flight and none will be sent."""
        return not self._running and (self.error is not None or not self._todo)

    def in_order(self) -> list[Part]:
        """The stored parts, by number."""
        return sorted(self._stored)


def end_after(error: Exception | None, *, resumable: bool) -> End:
    """How an upload ends.  A ``resumable`` one is kept after a passing failure; it is aborted when
    the file changed or the service refuses its parts, since no later attempt can complete it."""
    if error is None:
        return End.COMPLETE
    if not resumable or not isinstance(error, Failure):
        return End.ABORT
    if isinstance(error, SourceChanged | Corrupted | NotFound):
        return End.ABORT
    return End.KEEP if error.retry or error.fatal or isinstance(error, Interrupted) else End.ABORT
