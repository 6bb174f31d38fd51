"""Time limits of requests and other operations on a gevent loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import gevent

from ..errors import Transient

T = TypeVar("T")


class Timeouts(NamedTuple):
    """The limits of a connection, in seconds."""

    connect: float = 10.0
    """From the lookup of the name to the end of the TLS handshake."""
    idle: float = 60.0
    """A request fails when no byte moves for so long: the peer acknowledges none and sends none.
    ``IdleLimit`` notices a second or two later."""

    @classmethod
    def of(cls, idle: float) -> Timeouts:
        """``idle`` as given; connecting takes no longer either, and more than 10 seconds only for a
        higher ``idle``."""
        usual = cls()
        return cls(max(min(usual.connect, idle), idle * usual.connect / usual.idle), idle)


def within(seconds: float, operation: Callable[[], T]) -> T:
    """The operation's result; raises ``Transient`` when it takes longer."""
    limit = gevent.Timeout(seconds)
    try:
        with limit:
            return operation()
    except gevent.Timeout as expired:
        if expired is not limit:
            raise
        raise Transient(f"no answer within {seconds:g} s") from None
