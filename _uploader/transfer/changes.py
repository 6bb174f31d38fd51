"""Which changes of a number are worth telling.

Pure: the clock is an argument.
"""

from __future__ import annotations

from typing import NamedTuple

PAUSE = 1.0
"""Seconds in which changes for one reason are told as one: a number that grows back one by one
would flood a log."""


class Change(NamedTuple):
    """A number has changed."""

    before: int
    after: int
    reason: str


class Changes:
    """Compares a number with what was told of it."""

    def __init__(self, number: int) -> None:
        self._told = number
        self._kind = ""
        """What the latest reason says before its numbers."""
        self._quiet_until = float("-inf")

    def news(self, now: float, number: int, reason: str) -> Change | None:
        """The change to tell now, if any; several since the last one are one, with the latest
        reason."""
        kind = reason.partition(":")[0]
        if number == self._told or (kind == self._kind and now < self._quiet_until):
            return None
        change = Change(self._told, number, reason)
        self._told, self._kind = number, kind
        self._quiet_until = now + PAUSE
        return change
