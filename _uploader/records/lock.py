"""Keeps two runs from using one journal."""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import suppress
from pathlib import Path

from ..errors import RunError
from .paths import lock_path


class JournalLock:
    """Held from the start until ``release``, or until the process ends."""

    def __init__(self, journal: Path) -> None:
        """Raises ``RunError`` when another run holds the lock, or when nothing can be locked."""
        self._journal = journal
        self._path = lock_path(journal)
        while True:
            self._descriptor = self._open()
            if self._acquire():
                return
            os.close(self._descriptor)

    def release(self) -> None:
        """Removes the lock file before another run can lock it."""
        with suppress(OSError):
            os.unlink(self._path)
        os.close(self._descriptor)

    def _open(self) -> int:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._no_place("opened", error) from None

    def _acquire(self) -> bool:
        """False when a run that has just ended removed the file: then it locks nothing."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return os.path.samestat(os.fstat(self._descriptor), os.stat(self._path))
        except FileNotFoundError:
            return False
        except OSError as error:
            os.close(self._descriptor)
            if error.errno == errno.EWOULDBLOCK:
                raise RunError(f"another run is using the journal {self._journal}") from None
            raise self._no_place("locked", error) from None

    def _no_place(self, action: str, error: OSError) -> RunError:
        return RunError(
            f"the journal {self._journal} cannot be {action}: {error.strerror} "
            "(--no-journal does without)"
        )
