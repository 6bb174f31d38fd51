"""The list of files that are not in the bucket, for whoever has to see to them."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

LISTS_KEPT = 10
"""Lists in one directory, those of earlier runs included: the oldest go."""


def state_directory(environment: Mapping[str, str] = os.environ) -> Path:
    """Where this program keeps what outlives a run (XDG Base Directory Specification).

    Raises ``RuntimeError`` when the user has no home directory.
    """
    base = Path(environment.get("XDG_STATE_HOME", ""))
    if not base.is_absolute():  # the specification wants relative ones ignored
        base = Path.home() / ".local" / "state"
    return base / "uploader"


class FailureList:
    """Appends each failed file to a file of JSON lines, made when the first one fails.  Of the
    lists that earlier runs have left only the newest stay.

    A list that cannot be written is no reason to stop a run: ``problem`` then says why in one line,
    and what follows is not written.
    """

    def __init__(self, started: float, directory: Path | None = None) -> None:
        """``started``, seconds since the epoch, names the file; nothing is created yet."""
        self.path: str | None = None
        """The file; None as long as nothing failed or when it could not be created."""
        self.problem = ""
        """Why the list is missing or incomplete; empty when it is not."""
        self._directory = directory
        self._name = f"failed-{time.strftime('%Y%m%d-%H%M%S', time.localtime(started))}"
        self._file: TextIO | None = None

    def add(self, path: str, reason: str) -> None:
        """Appends one file; buffered until ``close``."""
        if self.problem:
            return
        try:
            if self._file is None:
                self._file = self._create()
            self._file.write(json.dumps({"path": path, "reason": reason}) + "\n")
        except (OSError, RuntimeError) as error:
            self._give_up(error)

    def close(self) -> None:
        """Writes what is buffered; may be called twice, and ``problem`` is final after it."""
        file, self._file = self._file, None
        try:
            if file is not None:
                file.close()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        state = "is incomplete" if self.path else "could not be created"
        text = getattr(error, "strerror", None) or str(error)
        self.problem = self.problem or f"the list of failed files {state}: {text}"

    def _create(self) -> TextIO:
        directory = self._directory or state_directory()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        attempt = 0
        while True:
            suffix = f"-{attempt}" if attempt else ""
            path = directory / f"{self._name}-{os.getpid()}{suffix}.jsonl"
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            except FileExistsError:  # an earlier run of the same process in the same second
                attempt += 1
                continue
            self.path = str(path)
            _remove_oldest(directory)
            return os.fdopen(descriptor, "w", encoding="ascii")


def _remove_oldest(directory: Path) -> None:
    """One that cannot be removed stays."""
    with contextlib.suppress(OSError):
        lists = sorted(directory.glob("failed-*.jsonl"), key=os.path.getmtime)
        for path in lists[:-LISTS_KEPT]:
            path.unlink()
