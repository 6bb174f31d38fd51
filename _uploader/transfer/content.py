"""Whether an object has a file's bytes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import gevent

from providers.base import Inspected, ObjectInfo, Session
from providers.errors import Interrupted, Transient
from providers.proof import Proof
from providers.source import BLOCK_SIZE, Source

from ..files.model import INTERRUPTED
from .upload import Context

STEP = 4 * 1024 * 1024
"""Bytes that are read and summed up before others get their turn: some milliseconds of a hash."""


class Contents:
    """Compares files with objects of the same size, for all tasks of a process."""

    def __init__(self, context: Context, moved: Callable[[int], None], *, downloads: bool) -> None:
        """``moved`` counts bytes that were compared.  ``downloads``: objects of which the service
        tells no checksum are read back."""
        self._context = context
        self._moved = moved
        self._downloads = downloads

    def same(self, session: Session, source: Source, key: str, inspected: Inspected) -> bool | None:
        """Whether the object has the file's bytes; None: nothing proves it."""
        if source.is_loaded:
            return self._same(session, source, key, inspected)
        with self._context.reading(source, 0, source.size):
            return self._same(session, source, key, inspected)

    def _same(
        self, session: Session, source: Source, key: str, inspected: Inspected
    ) -> bool | None:
        found, proof = inspected
        holds = self._holds(source, proof) if proof else None
        if holds is None and self._downloads:
            compare = partial(self._is_read_back, session, source, key, found)
            holds = self._context.attempts.run(compare)
        return holds

    def _holds(self, source: Source, proof: Proof) -> bool | None:
        """Whether the proof is one of the file's bytes."""
        if source.is_loaded:
            proof.update(source.read(0, source.size))
            self._moved(source.size)
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
        self._moved(length)
        if self._context.attempts.draining:
            raise Interrupted(INTERRUPTED)
        gevent.sleep(0)


class _OtherBytes(Exception):
    """The object has other bytes than the file."""


def _update(proof: Proof, source: Source, start: int, length: int) -> None:
    for block in source.blocks(start, length):
        proof.update(block)
