"""Names failed files on stderr."""

from __future__ import annotations

import sys

from providers.errors import Failure

from ..display.base import Display
from ..display.text import printable
from ..records.counters import Counters, Summary

FAILURES_SHOWN = 20


class Failures(Display):
    """Prints the first ``FAILURES_SHOWN`` failed files, and how many more there are."""

    def __init__(self) -> None:
        super().__init__()
        self._count = 0
        self._listed: str | None = None

    def add(self, path: str, reason: str) -> None:
        """Takes a file that is not in the bucket."""
        self._count += 1
        if self._count <= FAILURES_SHOWN:
            complain(f"{path}: {reason}")

    def end(self) -> None:
        """Ends the list."""
        if self._count > FAILURES_SHOWN:
            complain(f"... and {self._count - FAILURES_SHOWN:,} more")
        if self._listed:
            complain(f"listed in {self._listed}")

    def file_event(self, kind: str, path: str, detail: str = "") -> None:
        if kind == "failed":
            self.add(path, detail)

    def finish(self, summary: Summary) -> None:
        """Keeps the name of the file that lists every failed one."""
        self._listed = summary.failed_list

    def update(self, counters: Counters, now: float) -> None:
        pass

    def _show(self, counters: Counters) -> None:
        pass

    def note(self, text: str) -> None:
        pass


def reason_of(error: Exception) -> str:
    """Why an upload failed, in one line."""
    return str(error) if isinstance(error, Failure) else f"{type(error).__name__}: {error}"


def complain(text: str) -> None:
    """Prints one line on stderr."""
    print(printable(text), file=sys.stderr)
