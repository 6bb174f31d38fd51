"""Compares one file with its object, and sends nothing that writes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import count

import gevent

from providers.attributes import differences
from providers.base import Cloud, Inspected, ObjectInfo, Session
from providers.errors import Busy, Interrupted, NotFound, SourceChanged, Transient
from providers.proof import Proof
from providers.source import BLOCK_SIZE, Source

from ..files.model import DIFFERS, INTERRUPTED, MISSING, Job, Result
from .upload import Context, describe, end_of

STEP = 4 * 1024 * 1024
"""Bytes that are read and summed up before others get their turn: some milliseconds of a hash."""
CONTENT = "content"
UNPROVEN = "content cannot be proven without --download"


class Checker:
    """What all checks of a process share."""

    def __init__(
        self, context: Context, cloud: Cloud, moved: Callable[[int], None], *, downloads: bool
    ) -> None:
        """``moved`` counts bytes that were compared.  ``downloads``: objects of which the service
        tells no checksum are read back."""
        self.context = context
        self.kept = cloud.kept
        self.moved = moved
        self.downloads = downloads or cloud.is_near


class Check:
    """One file that is compared with its object; reports one Result.  A ``Task``."""

    __slots__ = ("_checker", "job")
    is_part = False
    rank = 0
    size = 0

    def __init__(self, job: Job, checker: Checker) -> None:
        self.job = job
        self._checker = checker

    def run(self, session: Session) -> int | None:
        """Compares; returns the bytes that are the same, None where it cannot be told."""
        context, job = self._checker.context, self.job
        try:
            end = self._until_unchanged(session)
        except Exception as error:
            context.report(end_of(job, error, context.stop_run))
            return None
        context.report(end)
        return end.size

    def _until_unchanged(self, session: Session) -> Result:
        """A file that changes while it is compared is compared anew."""
        attempts = self._checker.context.attempts
        for restarts in count():
            try:
                with self._open() as source:
                    finding, how = self._compare(session, source)
                    source.run(source.check_unchanged)
                    times = source.mtime_ns, source.ctime_ns
                    return Result(self.job.number, source.size, *times, how, finding=finding)
            except SourceChanged:
                if restarts >= attempts.policy.retries or attempts.draining:
                    raise
                attempts.retries += 1
        raise AssertionError("unreachable")

    def _open(self) -> Source:
        context = self._checker.context
        path = context.path_of(self.job)
        try:
            return context.open(path)
        except Busy:
            return context.attempts.bounded(partial(context.open, path))

    def _compare(self, session: Session, source: Source) -> tuple[str, str]:
        """What is found, and how; both are empty when the object is as the file is."""
        checker, run = self._checker, self._checker.context.attempts.run
        key, metadata, _ = describe(self.job, source, checker.context)
        try:
            found, proof = run(session.inspect, key)
            differing = differences(checker.kept(metadata), found.metadata)
            if found.size != source.size:
                differing.insert(0, "size")
            else:
                differing += self._content(session, source, key, Inspected(found, proof))
        except NotFound:
            return MISSING, "missing in the bucket"
        return (DIFFERS, ", ".join(differing)) if differing else ("", "")

    def _content(
        self, session: Session, source: Source, key: str, inspected: Inspected
    ) -> list[str]:
        """How the content differs, of files and objects of the same size; empty: in nothing."""
        found, proof = inspected
        with self._checker.context.reading(source, 0, source.size):
            holds = self._holds(source, proof) if proof else None
            if holds is None and self._checker.downloads:
                compare = partial(self._is_read_back, session, source, key, found)
                holds = self._checker.context.attempts.run(compare)
        if holds is None:
            return [UNPROVEN]
        return [] if holds else [CONTENT]

    def _holds(self, source: Source, proof: Proof) -> bool | None:
        """Whether the proof is one of the file's bytes."""
        if source.is_loaded:
            proof.update(source.read(0, source.size))
            self._checker.moved(source.size)
            return proof.holds()
        for start in range(0, source.size, STEP):
            length = min(STEP, source.size - start)
            source.run(partial(_update, proof, source, start, length))
            self._passed(length)
        return proof.holds()

    def _is_read_back(self, session: Session, source: Source, key: str, found: ObjectInfo) -> bool:
        """Whether the object has the file's bytes; reads no further than to the first other one."""
        position = 0

        def take(block: bytes | memoryview) -> None:
            nonlocal position
            view = memoryview(block)
            for start in range(0, len(view), BLOCK_SIZE):
                some = view[start : start + BLOCK_SIZE]
                if position + len(some) > source.size:
                    raise _OtherBytes
                if source.run(partial(source.read, position, len(some))) != some:
                    raise _OtherBytes
                position += len(some)
                self._passed(len(some))

        try:
            session.read(key, found, take)
        except _OtherBytes:
            return False
        if position < source.size:
            raise Transient("the service sent less of the object than it has")
        return True

    def _passed(self, length: int) -> None:
        self._checker.moved(length)
        if self._checker.context.attempts.draining:
            raise Interrupted(INTERRUPTED)
        gevent.sleep(0)


class _OtherBytes(Exception):
    """The object has other bytes than the file."""


def _update(proof: Proof, source: Source, start: int, length: int) -> None:
    for block in source.blocks(start, length):
        proof.update(block)
