"""Where the program keeps its records."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path


def state_directory(environment: Mapping[str, str] = os.environ) -> Path:
    """The directory of files that outlive a run (XDG Base Directory Specification).

    Raises ``RuntimeError`` when the user has no home directory.
    """
    base = Path(environment.get("XDG_STATE_HOME", ""))
    if not base.is_absolute():  # the specification says to ignore relative ones
        base = Path.home() / ".local" / "state"
    return base / "uploader"


def journal_path(directory: Path, source: str, destination: str) -> Path:
    """The journal of this source and destination, below the state directory."""
    name = hashlib.sha256(os.fsencode(f"{source}\n{destination}")).hexdigest()[:20]
    return directory / "journals" / f"{name}.sqlite"


def journal_files(path: Path) -> tuple[Path, ...]:
    """All files that a journal at ``path`` may consist of."""
    sqlite = (Path(f"{path}{suffix}") for suffix in ("-wal", "-shm", "-journal"))
    return (path, *sqlite, lock_path(path))


def lock_path(path: Path) -> Path:
    """The lock file of the journal at ``path``.

    It is a file of its own: closing another descriptor of the database would drop the locks that
    SQLite itself holds on it (fcntl(2)).
    """
    return Path(f"{path}.lock")
