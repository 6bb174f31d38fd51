"""An operation on a gevent loop, limited in time as a whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import gevent

from ..errors import Transient

T = TypeVar("T")


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
