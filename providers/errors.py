"""How an operation on a cloud fails, and what may follow.

The retry policy asks a failure and never looks at foreign exception types: ``retry`` (is another
attempt worth it?), ``after`` (how long did the service ask us to wait?), ``restart`` (or one at the
whole file?), ``throttle`` (should fewer be in flight?) and ``fatal`` (can no other file succeed
either?).  Clouds raise these classes and nothing else.
"""

from __future__ import annotations

from typing import ClassVar


class Failure(Exception):
    """One operation did not succeed; ``str()`` is one line fit for the report, free of secrets."""

    retry: ClassVar[bool] = False
    """Another attempt of the same request may succeed."""
    fatal: ClassVar[bool] = False
    """Every other file would fail for the same reason: the run should stop."""
    restart: ClassVar[bool] = False
    """The same request is in vain, but the whole file may be sent again from its start."""
    throttle: ClassVar[bool] = False
    """The service asked for fewer requests: fewer should be in flight from now on."""

    def __init__(self, reason: str, *, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = after
        """Seconds the service asked to wait before the next attempt, if it said so."""


class Transient(Failure):
    """The network or the service stumbled: resets, timeouts, 5xx, a checksum that did not match."""

    retry = True


class Unreachable(Transient):
    """No connection to the service could be made: the request was never sent."""


class Unchecked(Transient):
    """The bucket can be used, but the service stumbles whenever it is asked whether it is public;
    ``str()`` says what is not known."""


class Busy(Failure):
    """This machine lacks descriptors or memory for the moment; the service has no part in it."""

    retry = True


class StaleConnection(Transient):
    """A kept connection ended before the first byte of the response.

    Most often the service had closed it before the request came.  But it may have processed the
    request, too, and lost the answer: only an idempotent one may be sent again just like that.
    """


class Throttled(Transient):
    """The service asked for fewer requests (429, 503 SlowDown)."""

    throttle = True


class SourceChanged(Failure):
    """The file grew, shrank or was replaced while it was read."""

    restart = True


class Corrupted(Failure):
    """The service put other bytes together than the parts that it was sent."""

    restart = True


class Rejected(Failure):
    """This object cannot be stored (or this file not be read), whatever is tried; others can."""


REPLACED = "another object took its place meanwhile"
"""Why one that was found is neither read nor described."""


class Denied(Rejected):
    """The service refused permission.

    Before anything was stored, this says that the credentials or the bucket are wrong; after a
    success it concerns one object only.
    """


class NotFound(Rejected):
    """The bucket, object or multipart upload asked for does not exist."""

    restart = True


class Exists(Rejected):
    """An object of this name is there, and was not to be replaced."""


class Fatal(Failure):
    """No file can succeed: bad credentials, no such bucket, wrong region, unknown host."""

    fatal = True


class NoBucket(Fatal):
    """The bucket does not exist."""


class Interrupted(Failure):
    """The run was told to stop before this was done."""


def one_line(error: object) -> str:
    """What an error says, in one line; its type where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__
