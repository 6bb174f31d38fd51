"""Where a run keeps what it records."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from .config import Settings
from .errors import RunError
from .records.journal import Journal
from .records.paths import journal_files, journal_path, state_directory


def own_files(settings: Settings) -> list[Path]:
    """Files that runs write: no part of what is uploaded."""
    own = list(journal_files(Path(settings.journal))) if settings.journal else []
    with contextlib.suppress(RuntimeError):  # no home
        own.append(state_directory())
    return own


def open_journal(settings: Settings, destination: str) -> Journal:
    """The journal of these sources, in whatever order, and this destination.

    Raises ``RunError`` when it cannot be used.
    """
    source = "\n".join(sorted(map(os.path.realpath, settings.src)))
    destination = f"{destination}/{settings.prefix}"
    if settings.journal:
        path = Path(settings.journal).absolute()
    else:
        try:
            path = journal_path(state_directory(), source, destination)
        except RuntimeError:
            raise RunError(
                "no place for the journal, as this user has no home: use --journal or --no-journal"
            ) from None
    vouching = settings.skip != "none"
    return Journal(path, source, destination, restart=settings.restart, vouching=vouching)
