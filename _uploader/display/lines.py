"""Plain lines, for logs: progress every few seconds, or failures only."""

from __future__ import annotations

from ..records.counters import Counters, Summary
from .base import Display, PeopleDisplay
from .outlet import Outlet
from .text import printable_lines, status, summary_lines


class Lines(PeopleDisplay):
    """Shows the progress as a line every few seconds."""

    interval = 5.0

    def _show(self, counters: Counters) -> None:
        self._err.line(status(counters, self._pace))


class Quiet(Display):
    """Shows nothing but the summary of a run with failed files."""

    def __init__(self, err: Outlet) -> None:
        super().__init__()
        self._err = err

    def update(self, counters: Counters, now: float) -> None:
        pass

    def _show(self, counters: Counters) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def echo(self, text: str) -> None:
        self._err.write(printable_lines(text))

    def file_event(self, kind: str, path: str, detail: str = "") -> None:
        pass

    def finish(self, summary: Summary) -> None:
        if summary.incomplete:
            for line in summary_lines(summary):
                self._err.line(line, keep=True)

    def close(self) -> None:
        self._err.close()
