"""Counters become what one sees: a bar, plain lines, JSON lines, or nothing.

``Counters``, ``Rate`` and the texts are pure: the clock is an argument.  A display never stops a
run or holds it up: when nobody reads it, it goes quiet.
"""

from __future__ import annotations

import json
import os
import threading
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TextIO

from ..config import Settings
from ..files.model import Summary
from .outlet import Outlet, dropped_text, printable

REASONS = 50
"""Distinct reasons counted by name; a service may put something unique into each."""
REASONS_SHOWN = 10
OTHER = "other reasons"

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


class Reasons:
    """Counts files by reason, for a bounded number of reasons."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, reason: str) -> None:
        if reason not in self._counts and len(self._counts) >= REASONS:
            reason = OTHER
        self._counts[reason] += 1

    def ranked(self) -> dict[str, int]:
        """Reason -> files, most frequent first, ``OTHER`` last."""
        ranked = dict(self._counts.most_common())
        if OTHER in ranked:
            ranked[OTHER] = ranked.pop(OTHER)
        return ranked


@dataclass
class Counters:
    """What is known of a run at one moment."""

    files: int = 0
    """What the scan found so far, jobs and others."""
    bytes: int = 0
    """Bytes of the files found so far."""
    scanned: bool = False
    """The scan has ended: ``files`` and ``bytes`` are final."""
    uploaded: int = 0
    skipped: int = 0
    failed: int = 0
    sent_bytes: int = 0
    """Bytes given to the network so far, those of unfinished files included."""
    done_bytes: int = 0
    """Bytes of the objects that were uploaded."""
    left_out_bytes: int = 0
    """Bytes of the files found that were skipped or failed."""
    retries: int = 0
    outage: tuple[float, float] | None = None
    """The service is unreachable: for how many seconds, and how many until the next attempt."""
    skipped_reasons: Reasons = field(default_factory=Reasons)
    failed_reasons: Reasons = field(default_factory=Reasons)

    def add_found(self, size: int = 0) -> None:
        """The scan gave an entry; one that is no job has no size."""
        self.files += 1
        self.bytes += size

    def add_uploaded(self, size: int) -> None:
        self.uploaded += 1
        self.done_bytes += size

    def add_skipped(self, reason: str, size: int = 0) -> None:
        """``size`` is what ``add_found`` was told."""
        self.skipped += 1
        self.left_out_bytes += size
        self.skipped_reasons.add(reason)

    def add_failed(self, reason: str, size: int = 0) -> None:
        """``size`` is what ``add_found`` was told."""
        self.failed += 1
        self.left_out_bytes += size
        self.failed_reasons.add(reason)

    @property
    def settled(self) -> int:
        """Files whose end is known."""
        return self.uploaded + self.skipped + self.failed

    @property
    def moved_bytes(self) -> int:
        return max(self.sent_bytes, self.done_bytes)

    @property
    def bytes_to_move(self) -> int:
        """Bytes that still have to be sent; a guess, as attempts that failed were sent too."""
        return max(0, self.bytes - self.left_out_bytes - self.moved_bytes)

    @property
    def fraction(self) -> float:
        """How much of what was found is settled, in files or bytes, whichever is less."""
        files = self.settled / self.files if self.files else 1.0
        size = 1 - self.bytes_to_move / self.bytes if self.bytes else 1.0
        return min(files, size)

    def summary(
        self,
        seconds: float,
        peak_memory: int,
        complete: bool,
        error: str | None,
        failed_list: str | None,
    ) -> Summary:
        """The end of the run."""
        return Summary(
            files=self.files,
            uploaded=self.uploaded,
            skipped=self.skipped,
            failed=self.failed,
            bytes=self.done_bytes,
            seconds=seconds,
            retries=self.retries,
            peak_memory=peak_memory,
            skipped_reasons=self.skipped_reasons.ranked(),
            failed_reasons=self.failed_reasons.ranked(),
            complete=complete,
            error=error,
            failed_list=failed_list,
        )


class Rate:
    """How fast a number grows, over the last ``window`` seconds."""

    STEPS = 50
    """Samples kept for one window."""

    def __init__(self, window: float = 10.0) -> None:
        self._window = window
        self._samples: deque[tuple[float, float]] = deque()

    def add(self, now: float, value: float) -> None:
        """The number at ``now``; times never go back."""
        samples = self._samples
        if len(samples) > 1 and now - samples[-2][0] < self._window / self.STEPS:
            samples.pop()
        samples.append((now, value))
        while len(samples) > 2 and samples[1][0] <= now - self._window:
            samples.popleft()

    def per_second(self) -> float:
        """0 as long as there is nothing to compare."""
        if len(self._samples) < 2:
            return 0.0
        (start, before), (end, after) = self._samples[0], self._samples[-1]
        return (after - before) / (end - start) if end > start else 0.0

    def eta(self, remaining: float) -> float | None:
        """Seconds until ``remaining`` is done; None when nothing moves."""
        if remaining <= 0:
            return 0.0
        rate = self.per_second()
        return remaining / rate if rate > 0 else None


@dataclass
class Pace:
    """The rates of a run."""

    files: Rate = field(default_factory=Rate)
    bytes: Rate = field(default_factory=Rate)

    def add(self, now: float, counters: Counters) -> None:
        self.files.add(now, counters.settled)
        self.bytes.add(now, counters.moved_bytes)

    def seconds_left(self, counters: Counters) -> float | None:
        """Of files and bytes the later one; None while the scan goes on or nothing moves."""
        if not counters.scanned:
            return None
        files = self.files.eta(counters.files - counters.settled)
        size = self.bytes.eta(counters.bytes_to_move)
        return None if files is None or size is None else max(files, size)


def bytes_text(count: float) -> str:
    """Decimal units, three digits or less before the point: ``999 B``, ``5.6 GB``, ``455 MB``."""
    step = 0
    while count >= 999.5 and step < len(_UNITS) - 1:
        count /= 1000
        step += 1
    number = f"{count:.1f}" if step and count < 99.95 else f"{count:,.0f}"
    return f"{number} {_UNITS[step]}"


def seconds_text(seconds: float, digits: int = 1) -> str:
    """``12.3 s``, ``3 min 20 s``, ``1 h 02 min``; ``digits`` only below a minute."""
    if round(seconds, digits) < 60:
        return f"{seconds:.{digits}f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60:,} h {minutes % 60:02} min"


def files_text(count: int) -> str:
    return f"{count:,} file" if count == 1 else f"{count:,} files"


def outage_text(seconds: float, until_next: float) -> str:
    again = f"in {seconds_text(until_next, 0)}" if until_next >= 0.5 else "now"
    return f"service unreachable for {seconds_text(seconds, 0)}, trying again {again}"


def status(counters: Counters, pace: Pace) -> str:
    """The run in one line; what matters most comes first, as narrow terminals cut the end."""
    if counters.scanned:
        parts = [f"{counters.settled:,} of {files_text(counters.files)}"]
    else:
        parts = [f"scanning  {counters.settled:,} of {files_text(counters.files)} so far"]
    if counters.failed:
        parts.append(f"{counters.failed:,} failed")
    if counters.outage:
        return "  ".join([*parts, outage_text(*counters.outage)])
    left = pace.seconds_left(counters)
    if left is not None:
        parts.append(f"{seconds_text(left, 0)} left")
    parts.append(f"{bytes_text(pace.bytes.per_second())}/s")
    parts.append(f"{pace.files.per_second():,.0f} files/s")
    parts.append(bytes_text(counters.moved_bytes))
    return "  ".join(parts)


def summary_lines(summary: Summary) -> Iterator[str]:
    """The end of a run for people: how many files went where, and why.  Nothing when nothing could
    be uploaded: the error alone says it all."""
    if summary.error and not summary.uploaded:
        return
    counts = [f"{count:,}" for count in (summary.uploaded, summary.skipped, summary.failed)]
    width = max(map(len, counts))
    uploaded, skipped, failed = (count.rjust(width) for count in counts)
    margin = " " * 10
    word = "file " if summary.uploaded == 1 else "files"
    yield f"uploaded  {uploaded} {word}   {_speed(summary)}"
    for label, count, reasons in (
        ("skipped", skipped, summary.skipped_reasons),
        ("failed", failed, summary.failed_reasons),
    ):
        head = f"{label:<10}{count}{'':9}"
        for line in _reason_lines(reasons):
            yield head + line
            head = " " * len(head)
    if summary.failed_list is not None:
        yield f"{margin}listed in {printable(summary.failed_list)}"
    if not summary.complete:
        yield "stopped before the end of the scan: there may be more files"
    yield f"retries {summary.retries:,}, peak memory {bytes_text(summary.peak_memory)}"


def _speed(summary: Summary) -> str:
    files, size = _rates(summary)
    text = f"{bytes_text(summary.bytes)}   in {seconds_text(summary.seconds)}"
    if summary.uploaded:
        text += f"   ({files:,.0f} files/s, {bytes_text(size)}/s)"
    return text


def _rates(summary: Summary) -> tuple[float, float]:
    """Files and bytes per second."""
    if summary.seconds <= 0:
        return 0.0, 0.0
    return summary.uploaded / summary.seconds, summary.bytes / summary.seconds


def _reason_lines(reasons: dict[str, int]) -> Iterator[str]:
    rows = [(f"{count:,}", printable(reason)) for reason, count in reasons.items()]
    if len(rows) > REASONS_SHOWN:
        rest = sum(list(reasons.values())[REASONS_SHOWN - 1 :])
        rows[REASONS_SHOWN - 1 :] = [(f"{rest:,}", OTHER)]
    width = max((len(count) for count, _ in rows), default=0)
    for count, reason in rows:
        yield f"{count:>{width}} {reason}"


class Display(ABC):
    """What a run tells.  No method raises because of the stream it writes to, and none waits for
    it but ``close``, for a bounded time."""

    interval: ClassVar[float] = 0.1
    """Seconds from one showing of the progress to the next, at least."""
    _SAMPLING: ClassVar[float] = 0.1

    def __init__(self) -> None:
        self._pace = Pace()
        self._sample_due = float("-inf")
        self._show_due: float | None = None

    def start(self) -> None:  # noqa: B027  (not every display has something to open)
        """The run begins; comes before everything else."""

    def echo(self, text: str) -> None:  # noqa: B027  (not every display has a place for it)
        """A piece of what the workers write, lines or parts of them (``--debug``)."""

    def update(self, counters: Counters, now: float) -> None:
        """To be called as often as one likes, by a clock that never goes back."""
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
        """Tells how far the run is."""

    @abstractmethod
    def note(self, text: str) -> None:
        """One line of information."""

    @abstractmethod
    def file_event(self, kind: str, path: str, detail: str = "") -> None:
        """One file was ``uploaded``, ``skipped`` or ``failed`` (``detail``: why)."""

    @abstractmethod
    def finish(self, summary: Summary) -> None:
        """The run is over; only ``close`` comes after it."""

    def close(self) -> None:  # noqa: B027  (not every display has something to close)
        """Waits until all is told, unless nobody takes it."""


class _People(Display):
    """What displays for people share: progress on one stream, files and summary on the other."""

    def __init__(self, out: Outlet, err: Outlet, *, verbose: bool) -> None:
        super().__init__()
        self._out = out
        self._err = err
        self._verbose = verbose

    def note(self, text: str) -> None:
        self._print(self._err, printable(text))

    def echo(self, text: str) -> None:
        self._err.write(_printable_lines(text))

    def file_event(self, kind: str, path: str, detail: str = "") -> None:
        """Told only when ``verbose``."""
        if self._verbose:
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


class Terminal(_People):
    """A bar that stays at the bottom of the terminal."""

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
        """Whole lines: the bar would wipe out the beginning of one."""
        *lines, self._unended = (self._unended + text).split("\n")
        for line in lines:
            self._print(self._err, printable(line))

    def _show(self, counters: Counters) -> None:
        """Nothing while an older bar still waits: only the last one is worth seeing."""
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


class Lines(_People):
    """For logs: a line now and then."""

    interval = 5.0

    def _show(self, counters: Counters) -> None:
        self._err.line(status(counters, self._pace))


class Quiet(Display):
    """Nothing, unless files failed."""

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
        self._err.write(_printable_lines(text))

    def file_event(self, kind: str, path: str, detail: str = "") -> None:
        pass

    def finish(self, summary: Summary) -> None:
        if summary.failed:
            for line in summary_lines(summary):
                self._err.line(line, keep=True)

    def close(self) -> None:
        self._err.close()


class JsonLines(Display):
    """For programs: one JSON object a line, ``event`` says what it is; ASCII only."""

    interval = 1.0

    def __init__(self, out: Outlet, err: Outlet) -> None:
        """``out`` should have ``dropped_event`` for its gaps."""
        super().__init__()
        self._out = out
        self._err = err

    def note(self, text: str) -> None:
        self._event("note", text=text)

    def echo(self, text: str) -> None:
        """No event: it goes to stderr."""
        self._err.write(_printable_lines(text))

    def file_event(self, kind: str, path: str, detail: str = "") -> None:
        """``reason`` is there for files that have one."""
        if detail:
            self._event(kind, path=path, reason=detail)
        else:
            self._event(kind, path=path)

    def finish(self, summary: Summary) -> None:
        files, size = _rates(summary)
        fields = {**summary._asdict(), "files_per_second": files, "bytes_per_second": size}
        self._out.line(_event_text("summary", fields), keep=True)

    def close(self) -> None:
        self._out.close()
        self._err.close()

    def _show(self, counters: Counters) -> None:
        self._event(
            "progress",
            files=counters.files,
            bytes=counters.bytes,
            scanned=counters.scanned,
            uploaded=counters.uploaded,
            skipped=counters.skipped,
            failed=counters.failed,
            sent_bytes=counters.sent_bytes,
            done_bytes=counters.done_bytes,
            retries=counters.retries,
            files_per_second=self._pace.files.per_second(),
            bytes_per_second=self._pace.bytes.per_second(),
            seconds_left=self._pace.seconds_left(counters),
            unreachable_seconds=counters.outage[0] if counters.outage else None,
        )

    def _event(self, kind: str, **fields: object) -> None:
        self._out.line(_event_text(kind, fields))


def dropped_event(lines: int) -> str:
    """Stands for so many events that nobody took in time."""
    return _event_text("dropped", {"lines": lines})


def choose(
    settings: Settings,
    stdout: TextIO,
    stderr: TextIO,
    *,
    hurried: Callable[[], bool] = lambda: False,
) -> Display:
    """The display that the settings and the streams ask for; ``json`` wins over ``quiet``.

    ``hurried`` says that no stream may be waited for any more.  A dry run has nothing to do but to
    tell: it waits for who reads it.
    """
    lossless = settings.dry_run
    gap = dropped_event if settings.json else dropped_text
    out = Outlet(stdout, gap=gap, lossless=lossless, hurried=hurried)
    err = Outlet(stderr, lossless=lossless, hurried=hurried, beside=out)
    if settings.json:
        return JsonLines(out, err)
    if settings.quiet:
        return Quiet(err)
    verbose = settings.verbose or settings.dry_run
    if stderr.isatty() and os.environ.get("TERM") != "dumb":
        return Terminal(out, err, verbose=verbose)
    return Lines(out, err, verbose=verbose)


def _event_text(kind: str, fields: Mapping[str, object]) -> str:
    return json.dumps({"event": kind, **fields})


def _printable_lines(text: str) -> str:
    return "\n".join(map(printable, text.split("\n")))
