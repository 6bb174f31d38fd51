"""Lists the failed files of a run in a file."""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import TextIO

from .paths import state_directory

LISTS_KEPT = 10
"""Lists in one directory, those of earlier runs included: the oldest are removed."""


class FailureList:
    """Appends each failed file to a file of JSON lines, created with the first.

    A list that cannot be written stops no run: ``problem`` says why in one line, and nothing more
    is written.
    """

    def __init__(self, started: float, directory: Path | None = None) -> None:
        """``started``, in seconds since the epoch, names the file."""
        self.path: str | None = None
        """The file; None before the first failure, and when it could not be created."""
        self.problem = ""
        """Why the list is missing or incomplete, if so."""
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
        """Writes the rest.  ``problem`` is final afterwards; a second call does nothing."""
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
            except FileExistsError:  # of an earlier run, by the same process in the same second
                attempt += 1
                continue
            self.path = str(path)
            _remove_oldest(directory)
            return os.fdopen(descriptor, "w", encoding="ascii")


def _remove_oldest(directory: Path) -> None:
    """Leaves the newest ``LISTS_KEPT``, and any that cannot be removed."""
    with contextlib.suppress(OSError):
        lists = sorted(directory.glob("failed-*.jsonl"), key=os.path.getmtime)
        for path in lists[:-LISTS_KEPT]:
            path.unlink()
