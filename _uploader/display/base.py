"""The contract of displays, and the base of those for people."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import ClassVar

from ..files.model import DIFFERS, EXTRA, MISSING
from ..records.counters import Counters, Summary
from .outlet import Outlet
from .rates import Pace
from .text import printable, printable_lines, summary_lines

_FINDINGS = {DIFFERS, MISSING, EXTRA}


class Display(ABC):
    """Shows a run.  No method raises because of its stream, and only ``close`` waits for it, for a
    bounded time: a run goes on when nobody reads."""

    interval: ClassVar[float] = 0.1
    """Least seconds from one showing of the progress to the next."""
    _SAMPLING: ClassVar[float] = 0.1

    def __init__(self) -> None:
        self._pace = Pace()
        self._sample_due = float("-inf")
        self._show_due: float | None = None

    def start(self) -> None:  # noqa: B027  (not every display has something to open)
        """The run begins; comes before everything else."""

    def echo(self, text: str) -> None:  # noqa: B027  (not every display has a place for it)
        """Shows output of the workers, in lines or parts of them (``--debug``)."""

    def update(self, counters: Counters, now: float) -> None:
        """Takes the numbers as often as they come; the clock never goes back."""
        if now >= self._sample_due:
            self._sample_due = now + self._SAMPLING
            self._pace.add(now, counters)
        if self._show_due is None:
            self._show_due = now + self.interval
        elif now >= self._show_due:
            self._show_due = now + self.interval
            self._show(counters)

    @abstractmethod
    def _show(self, counters: Counters) -> None:
        """Shows how far the run is."""

    @abstractmethod
    def note(self, text: str) -> None:
        """Shows one line of information."""

    def concurrency(self, worker: int, before: int, after: int, reason: str) -> None:  # noqa: B027
        """A worker keeps more or fewer requests in flight, for this reason."""

    def plan(self, fields: Mapping[str, object], lines: Iterable[str]) -> None:
        """Shows what an upload would take: ``fields`` for programs, ``lines`` for people."""
        for line in lines:
            self.note(line)

    @abstractmethod
    def file_event(self, kind: str, path: str, detail: str = "") -> None:
        """One file was ``uploaded``, ``skipped`` or ``failed``, or what else became of it or its
        object; ``detail`` says why."""

    @abstractmethod
    def finish(self, summary: Summary) -> None:
        """The run is over; only ``close`` comes after it."""

    def close(self) -> None:  # noqa: B027  (not every display has something to close)
        """Waits until all is written, unless nobody reads."""


class PeopleDisplay(Display):
    """Shows progress and notes on stderr, files and the summary on stdout."""

    def __init__(self, out: Outlet, err: Outlet, *, verbose: bool) -> None:
        super().__init__()
        self._out = out
        self._err = err
        self._verbose = verbose

    def note(self, text: str) -> None:
        self._print(self._err, printable(text))

    def echo(self, text: str) -> None:
        self._err.write(printable_lines(text))

    def concurrency(self, worker: int, before: int, after: int, reason: str) -> None:
        """Shows the change only when ``verbose``."""
        if self._verbose:
            self.note(f"worker {worker}: {before} -> {after} requests in flight: {reason}")

    def file_event(self, kind: str, path: str, detail: str = "") -> None:
        """Shows the file only when ``verbose``, but what a verification has found always."""
        if kind in _FINDINGS:
            line = ": ".join(filter(None, (kind, printable(path), printable(detail))))
            self._print(self._out, line)
        elif self._verbose:
            reason = f": {printable(detail)}" if detail else ""
            self._print(self._out, f"{kind:<8}  {printable(path)}{reason}")

    def finish(self, summary: Summary) -> None:
        for line in summary_lines(summary):
            self._out.line(line, keep=True)

    def close(self) -> None:
        self._out.close()
        self._err.close()

    def _print(self, outlet: Outlet, line: str) -> None:
        outlet.line(line)
