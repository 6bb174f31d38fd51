"""Uploads standard input as one object, whose size nobody knows before its end.

What was read is held until the service has proven it, so that a request can be sent again; what was
not stored is lost, so that no later run can go on with it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, NamedTuple, NoReturn, TypeVar

import gevent
from gevent.event import AsyncResult, Event
from gevent.threadpool import ThreadPool

from providers.base import MIB, Part, Session
from providers.errors import Denied, Failure, Interrupted, Rejected
from providers.source import Source

from ..files.model import INTERRUPTED, Job, Result
from ..files.stream import Piece, Stream
from .strays import abort_others, begin_alone
from .upload import Context, describe, reason_of

T = TypeVar("T")

AHEAD = 2
"""Parts that wait for a session: enough to keep all of them busy while the next part is read."""
LOST = "its worker died, and what that had read of standard input is lost"


class _Request(Generic[T]):
    """One request; its result is waited for elsewhere.  A ``Task``."""

    rank = 0

    def __init__(self, work: Callable[[Session], T], size: int, is_part: bool) -> None:
        self._work = work
        self.size = size
        self.is_part = is_part
        self.answer: AsyncResult[T] = AsyncResult()

    def run(self, session: Session) -> int | None:
        """Sends it; returns the bytes accepted."""
        try:
            self.answer.set(self._work(session))
        except Exception as error:
            self.answer.set_exception(error)
            return None
        return self.size or None


class StdinUpload:
    """Standard input on its way; reports one Result."""

    def __init__(
        self,
        job: Job,
        context: Context,
        stream: Stream,
        memory: int,
        ended: Callable[[], Event],
    ) -> None:
        """``memory``: bytes that may be held; one part at least, whatever its size.  ``ended`` is
        called at the end of the stream; the object is made once the event that it returns is set.
        """
        self._ended = ended
        self._job = job
        self._context = context
        self._stream = stream
        self._memory = memory
        self._key = context.key_prefix + job.path
        self._reader = ThreadPool(1)
        self._computers = ThreadPool(len(os.sched_getaffinity(0)))
        self._stop: AsyncResult[NoReturn] = AsyncResult()
        """Has the first failure, once there is one."""
        self._changed = Event()
        self._pieces: set[Piece] = set()
        self._waiting = 0
        """Parts that no session has begun to send."""
        self._stored: list[Part] = []

    def run(self) -> None:
        """Stores all of it, or nothing; returns once that is reported."""
        job = self._job
        try:
            size = self._upload()
        except Exception as error:
            reason = reason_of(error)
            if isinstance(error, Failure) and error.fatal:
                self._context.stop_run(reason)
            # Never a passing one, nor skipped: what was read does not come again.
            end = Result(job.number, 0, job.mtime_ns, 0, reason, denied=isinstance(error, Denied))
        else:
            end = Result(job.number, size, job.mtime_ns, 0)
        self._context.report(end)

    def interrupt(self) -> None:
        """Ends the upload, unless its last request is under way: then that decides."""
        self._fail(Interrupted(INTERRUPTED))

    def _upload(self) -> int:
        """Returns the size."""
        if self._job.orphaned:
            self._abort_orphan()
            raise Rejected(LOST)
        rules = self._context.rules
        # One part, also below the threshold for files: all parts are to be of one size, and short.
        room = rules.part_size if rules else self._memory
        first = self._read(partial(self._stream.take, room))
        self._pieces.add(first)
        try:
            if not self._has_more():
                return self._put(first)
            if not rules:
                raise Rejected(
                    f"is larger than the {room // MIB} MiB of memory for it, and this provider "
                    "takes no parts: give more --max-memory, or store it in a file first"
                )
            return self._send_in_parts(first)
        finally:
            for piece in self._pieces:
                piece.drop()

    def _put(self, piece: Piece) -> int:
        with self._open(piece) as source:
            key, metadata, content_type = describe(self._job, source, self._context)

            def put(session: Session) -> None:
                self._context.attempts.run(session.put, key, source, metadata, content_type)

            self._ask(put, piece.size).get()
        return piece.size

    def _send_in_parts(self, first: Piece) -> int:
        attempts = self._context.attempts
        with self._open(first) as source:
            key, attributes, content_type = describe(self._job, source, self._context)
        # Of the first piece; the size of the whole is not known yet.
        metadata = [pair for pair in attributes if pair[0] != "size"]
        described = (key, metadata, content_type)
        upload_id = self._ask(lambda session: begin_alone(attempts, session, *described)).get()
        if self._context.begun:
            self._context.begun(self._job.number, upload_id, 0)

        def complete(session: Session) -> None:
            parts = sorted(self._stored)
            attempts.run(session.complete, key, upload_id, parts, metadata, content_type)

        try:
            self._send_parts(first, upload_id)
            self._ask(complete).get()
        except Exception:
            self._give_up(upload_id)
            raise
        return sum(part.size for part in self._stored)

    def _send_parts(self, piece: Piece, upload_id: str) -> None:
        """Returns when all parts are stored."""
        rules = self._context.rules
        assert rules
        first, number = piece.size, 1
        self._send_part(piece, number, upload_id)
        while self._has_more():
            number += 1
            if number > rules.max_parts:
                raise Rejected(
                    f"is larger than {rules.max_parts:,} parts can hold with this memory: give "
                    "more --max-memory"
                )
            most = max(first, self._memory // 2)
            size = min(rules.size_at(number, first), most, rules.max_part_size)
            self._until(partial(self._has_room, size))
            piece = self._read(partial(self._stream.take, size))
            self._pieces.add(piece)
            self._send_part(piece, number, upload_id)
        self._until(lambda: not self._pieces)

    def _has_more(self) -> bool:
        more = self._read(self._stream.has_more)
        if not more:
            self._wait(self._ended())
        return more

    def _has_room(self, size: int) -> bool:
        held = sum(piece.size for piece in self._pieces)
        return not held or (self._waiting < AHEAD and held + size <= self._memory)

    def _send_part(self, piece: Piece, number: int, upload_id: str) -> None:
        """Returns at once; the piece is dropped when it is stored."""

        def put(session: Session) -> Part:
            self._waiting -= 1
            self._changed.set()
            if self._stop.ready():
                self._stop.get()
            with self._open(piece) as source:
                send = partial(session.put_part, self._key, upload_id, number, source, 0, size)
                return self._context.attempts.run(send)

        def ended(answer: AsyncResult[Part]) -> None:
            self._pieces.discard(piece)
            if answer.successful():
                self._stored.append(answer.get())
                self._stream.give_back(piece)
            else:
                piece.drop()
                self._fail(answer.exception)
            self._changed.set()

        size = piece.size
        self._waiting += 1
        self._ask(put, size, is_part=True).rawlink(ended)

    def _give_up(self, upload_id: str) -> None:
        """Aborts the upload once nothing of it is under way any more."""
        for piece in self._pieces:
            piece.drop()  # its request ends at once
        while self._pieces:
            self._changed.clear()
            self._changed.wait()
        self._abort(upload_id)

    def _abort_orphan(self) -> None:
        """Aborts what a worker that died has begun."""
        if self._job.upload_id:
            self._abort(self._job.upload_id)
        elif self._context.rules:
            attempts, since = self._context.attempts, time.time()
            self._ask(lambda session: abort_others(attempts, session, self._key, "", since)).get()

    def _abort(self, upload_id: str) -> None:
        """Frees the space of the parts.  An error is not reported: the upload's own is."""

        def abort(session: Session) -> None:
            self._context.attempts.run(session.abort, self._key, upload_id)

        try:
            self._ask(abort).get()
        except Exception as error:
            reason_of(error)

    def _ask(
        self, work: Callable[[Session], T], size: int = 0, *, is_part: bool = False
    ) -> AsyncResult[T]:
        """Queues a request; returns at once."""
        request = _Request(work, size, is_part)
        self._context.add(request)
        return request.answer

    def _open(self, piece: Piece) -> Source:
        source = self._context.open(piece.path)
        source.run = self._compute
        return source

    def _read(self, read: Callable[[], T]) -> T:
        """What a method of the stream returns, in a thread: it may block for ever."""
        answer = self._reader.spawn(_outcome, read)
        self._wait(answer)
        outcome: T | _Raised = answer.get()
        try:
            return _result(outcome)
        except OSError as error:
            raise Rejected(f"standard input cannot be read: {error.strerror}") from None

    def _compute(self, operation: Callable[[], T], /) -> T:
        """The result of an operation, in a thread: one process takes all of standard input, and its
        checksums alone would keep one processor busy."""
        outcome: T | _Raised = self._computers.spawn(_outcome, operation).get()
        return _result(outcome)

    def _wait(self, event: Event | AsyncResult[Any]) -> None:
        """Waits for the event; raises the first failure."""
        gevent.wait([event, self._stop], count=1)
        if self._stop.ready():
            self._stop.get()

    def _until(self, condition: Callable[[], bool]) -> None:
        """Returns when the condition holds; raises the first failure."""
        while not condition():
            self._changed.clear()
            self._wait(self._changed)
        if self._stop.ready():
            self._stop.get()

    def _fail(self, error: Any) -> None:
        if not self._stop.ready():
            self._stop.set_exception(error)
        self._changed.set()


class _Raised(NamedTuple):
    """What an operation in a thread has raised: gevent would print it there."""

    error: Exception


def _outcome(operation: Callable[[], T]) -> T | _Raised:
    try:
        return operation()
    except Exception as error:
        return _Raised(error)


def _result(outcome: T | _Raised) -> T:
    if isinstance(outcome, _Raised):
        raise outcome.error
    return outcome
