"""Numbers, names and counters as text for people.  Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ..amounts import counted
from ..files.model import Outage
from ..records.counters import OTHER, Counters, Summary
from .rates import Pace

REASONS_SHOWN = 10
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def printable(text: str) -> str:
    """``text`` safe for a terminal: control characters and the like as backslash escapes."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def printable_lines(text: str) -> str:
    """``printable`` for several lines: line feeds stay."""
    return "\n".join(map(printable, text.split("\n")))


def bytes_text(count: float) -> str:
    """Decimal units, at most three digits before the point: ``999 B``, ``5.6 GB``, ``455 MB``."""
    step = 0
    while count >= 999.5 and step < len(_UNITS) - 1:
        count /= 1000
        step += 1
    number = f"{count:.1f}" if step and count < 99.95 else f"{count:,.0f}"
    return f"{number} {_UNITS[step]}"


def seconds_text(seconds: float, digits: int = 1) -> str:
    """``12.3 s``, ``3 min 20 s``, ``1 h 02 min``; ``digits`` count below a minute only."""
    if round(seconds, digits) < 60:
        return f"{seconds:.{digits}f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60:,} h {minutes % 60:02} min"


def files_text(count: int) -> str:
    return counted(count, "file")


def status(counters: Counters, pace: Pace) -> str:
    """The run in one line; the most important comes first, as narrow terminals cut the end."""
    if counters.scanned:
        parts = [f"{counters.settled:,} of {files_text(counters.files)}"]
    else:
        parts = [f"scanning  {counters.settled:,} of {files_text(counters.files)} so far"]
    if counters.failed:
        parts.append(f"{counters.failed:,} failed")
    if counters.outage:
        return "  ".join([*parts, _outage_text(counters.outage)])
    left = pace.seconds_left(counters)
    if left is not None:
        parts.append(f"{seconds_text(left, 0)} left")
    parts.append(f"{bytes_text(pace.bytes.per_second())}/s")
    parts.append(f"{pace.files.per_second():,.0f} files/s")
    parts.append(bytes_text(counters.moved_bytes))
    return "  ".join(parts)


def _outage_text(outage: Outage) -> str:
    again = f"in {seconds_text(outage.next_try, 0)}" if outage.next_try >= 0.5 else "now"
    return f"service unreachable for {seconds_text(outage.seconds, 0)}, trying again {again}"


def summary_lines(summary: Summary) -> Iterator[str]:
    """The end of a run: how many files went where, and why.

    No line when an error kept every file from the bucket: the error alone says it all.
    """
    if summary.error and not (summary.uploaded or any(summary.findings or ())):
        return
    counts = [f"{count:,}" for count in (summary.uploaded, summary.skipped, summary.failed)]
    width = max(map(len, counts))
    uploaded, skipped, failed = (count.rjust(width) for count in counts)
    margin = " " * 10
    word = "file " if summary.uploaded == 1 else "files"
    findings = summary.findings
    done, failed_label = ("same", "not same") if findings else ("uploaded", "failed")
    yield f"{done:<10}{uploaded} {word}   {_speed(summary)}"
    if summary.updated:
        yield f"updated   {files_text(summary.updated):10} attributes only"
    for label, count, reasons in (
        ("skipped", skipped, summary.skipped_reasons),
        (failed_label, failed, summary.failed_reasons),
    ):
        head = f"{label:<10}{count}{'':9}"
        for line in _reason_lines(reasons):
            yield head + line
            head = " " * len(head)
    if summary.left_out:
        yield f"left out  {summary.left_out:,} files, or directories that were not entered"
    if summary.failed_list is not None:
        yield f"{margin}listed in {printable(summary.failed_list)}"
    if findings and findings.extra:
        yield f"extra     {counted(findings.extra, 'object')} without a file"
    if summary.deleted:
        yield f"deleted   {counted(summary.deleted, 'object')} without a file"
    if summary.not_deleted:
        yield f"not deleted  {counted(summary.not_deleted, 'object')} without a file"
    if not summary.complete:
        yield "stopped before the end of the scan: there may be more files"
    yield f"retries {summary.retries:,}, peak memory {bytes_text(summary.peak_memory)}"


def _speed(summary: Summary) -> str:
    text = f"{bytes_text(summary.bytes)}   in {seconds_text(summary.seconds)}"
    if summary.uploaded:
        size = f"{bytes_text(summary.bytes_per_second)}/s"
        text += f"   ({summary.files_per_second:,.0f} files/s, {size})"
    return text


def _reason_lines(reasons: dict[str, int]) -> Iterator[str]:
    rows = [(f"{count:,}", printable(reason)) for reason, count in reasons.items()]
    if len(rows) > REASONS_SHOWN:
        rest = sum(list(reasons.values())[REASONS_SHOWN - 1 :])
        rows[REASONS_SHOWN - 1 :] = [(f"{rest:,}", OTHER)]
    width = max((len(count) for count, _ in rows), default=0)
    for count, reason in rows:
        yield f"{count:>{width}} {reason}"
