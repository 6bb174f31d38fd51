"""Multipart uploads that nobody goes on with: each costs its owner money until it is aborted."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial

from providers.base import Session, UploadInfo
from providers.errors import Rejected, Transient

from .attempts import Attempts

CLOCKS_DIFFER = 15 * 60
"""Seconds by which the service's clock may be behind ours; more, and it refuses our signatures."""


def abort_uploads(
    attempts: Attempts, session: Session, prefix: str, stale: Callable[[UploadInfo], bool]
) -> list[str]:
    """Aborts those multipart uploads below ``prefix`` that are ``stale``; returns their keys.
    Credentials without the permission to list or abort them leave them alone."""
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
    """Clears away what was begun for this very key after ``since``, in seconds since the epoch,
    and is not ``upload_id``.  A file is not failed for what cannot be cleared away."""
    since -= CLOCKS_DIFFER

    def stale(info: UploadInfo) -> bool:
        return info.key == key and info.upload_id != upload_id and info.begun >= since

    with suppress(Transient):
        abort_uploads(attempts, session, key, stale)
