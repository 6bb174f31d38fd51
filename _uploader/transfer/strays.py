"""Aborts multipart uploads that nobody will complete: their parts cost money."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import count

from providers.base import Metadata, Session, UploadInfo
from providers.errors import Rejected, Transient

from .attempts import Attempts

CLOCKS_DIFFER = 15 * 60
"""Seconds by which the service's clock may be behind ours: beyond, it refuses our signatures."""


def begin_alone(
    attempts: Attempts, session: Session, key: str, metadata: Metadata, content_type: str
) -> str:
    """Begins a multipart upload and returns its id; aborts others that attempts without an answer
    may have begun."""
    tries = count()
    since = time.time()

    def begin() -> str:
        next(tries)
        return session.begin(key, metadata, content_type)

    upload_id = attempts.run(begin)
    if next(tries) > 1:
        abort_others(attempts, session, key, upload_id, since)
    return upload_id


def abort_uploads(
    attempts: Attempts, session: Session, prefix: str, stale: Callable[[UploadInfo], bool]
) -> list[str]:
    """Aborts the multipart uploads below ``prefix`` that are ``stale``; returns their keys.

    Does nothing where the credentials do not permit to list or abort them.
    """
    try:
        found = attempts.run(lambda: list(session.uploads(prefix)))
    except Rejected:
        return []
    aborted = []
    for info in filter(stale, found):
        with suppress(Rejected):
            attempts.run(partial(session.abort, info.key, info.upload_id))
            aborted.append(info.key)
    return aborted


def abort_others(
    attempts: Attempts, session: Session, key: str, upload_id: str, since: float
) -> None:
    """Aborts the uploads of this very key that began after ``since``, in seconds since the epoch,
    except ``upload_id``.  An abort that fails does not fail the file."""
    since -= CLOCKS_DIFFER

    def stale(info: UploadInfo) -> bool:
        return info.key == key and info.upload_id != upload_id and info.begun >= since

    with suppress(Transient):
        abort_uploads(attempts, session, key, stale)
