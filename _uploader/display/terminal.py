"""A progress bar that stays at the bottom of the terminal."""

from __future__ import annotations

import threading
from typing import Any

from ..records.counters import Counters, Summary
from .base import PeopleDisplay
from .outlet import Outlet
from .text import printable, status


class Terminal(PeopleDisplay):
    """Draws the bar with tqdm, and moves it out of the way of lines."""

    _unended = ""

    def start(self) -> None:
        from tqdm import tqdm  # type: ignore[import-untyped, unused-ignore]

        tqdm.monitor_interval = 0  # no thread of its own
        tqdm.set_lock(threading.RLock())  # its default makes a semaphore, and may start a process
        self._bar: Any = tqdm(
            total=1.0,
            file=self._err,
            bar_format="{desc}",
            ncols=self._err.columns() - 1,
            leave=False,
        )

    def echo(self, text: str) -> None:
        """Prints whole lines only: the bar would wipe out the beginning of one."""
        *lines, self._unended = (self._unended + text).split("\n")
        for line in lines:
            self._print(self._err, printable(line))

    def _show(self, counters: Counters) -> None:
        """Draws nothing while an older bar still waits: only the last one is worth seeing."""
        if self._err.behind:
            return
        if counters.scanned:
            self._bar.bar_format = "{percentage:3.0f}% {bar} {desc}"
        self._bar.ncols = self._err.columns() - 1  # a full line would wrap
        self._bar.n = counters.fraction
        self._bar.set_description_str(status(counters, self._pace), refresh=False)
        self._bar.refresh()

    def _print(self, outlet: Outlet, line: str) -> None:
        self._bar.clear()  # the next update draws it again
        super()._print(outlet, line)

    def finish(self, summary: Summary) -> None:
        self._bar.close()
        super().finish(summary)
