"""Aborts multipart uploads that nobody will complete: their parts cost money."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial

from providers.base import Session, UploadInfo
from providers.errors import Rejected, Transient

from .attempts import Attempts

CLOCKS_DIFFER = 15 * 60
"""Seconds by which the service's clock may be behind ours: beyond, it refuses our signatures."""


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
