"""What a run tells: the numbers add up, no terminal is broken, a lost reader stops nothing."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pickle
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from typing import Any, TextIO

import pytest

from _uploader.config import Settings
from _uploader.display.base import Display
from _uploader.display.choose import choose
from _uploader.display.json_lines import JsonLines, dropped_event
from _uploader.display.lines import Lines, Quiet
from _uploader.display.outlet import Outlet
from _uploader.display.rates import Pace, Rate
from _uploader.display.terminal import Terminal
from _uploader.display.text import (
    bytes_text,
    printable,
    seconds_text,
    status,
    summary_lines,
)
from _uploader.files.model import Outage
from _uploader.records.counters import OTHER, REASONS, Counters, Findings, Reasons, Summary

MB = 1_000_000


class FakeTerminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


class ClosedPipe(io.StringIO):
    """Nobody reads: ``writes`` counts the attempts."""

    writes = 0

    def write(self, text: str) -> int:
        self.writes += 1
        raise BrokenPipeError


def counted(files: int = 10, uploaded: int = 0, size: int = MB, scanned: bool = True) -> Counters:
    counters = Counters(scanned=scanned)
    for _ in range(files):
        counters.add_found(size)
    for _ in range(uploaded):
        counters.add_uploaded(size)
    return counters


def made_summary(**changes: Any) -> Summary:
    counters = Counters()
    values = counters.summary(12.34, 98 * MB, True, None, None)._asdict()
    return Summary(**{**values, **changes})


def text(summary: Summary) -> str:
    return "\n".join(summary_lines(summary))


FAILED = made_summary(
    files=1239,
    uploaded=1234,
    skipped=2,
    failed=3,
    bytes=5_612_345_678,
    retries=17,
    skipped_reasons={"links to a directory": 2},
    failed_reasons={"cannot be read: Permission denied": 2, "vanished after the scan": 1},
    failed_list="/home/u/failed.jsonl",
)


# Counters


def test_the_summary_adds_up() -> None:
    counters = counted(files=4, uploaded=2)
    counters.add_skipped("is a FIFO")
    counters.add_failed("vanished", MB)
    counters.retries += 3
    summary = counters.summary(1.5, 7, False, None, "/list")
    assert summary == Summary(
        files=4,
        uploaded=2,
        skipped=1,
        failed=1,
        bytes=2 * MB,
        seconds=1.5,
        retries=3,
        peak_memory=7,
        skipped_reasons={"is a FIFO": 1},
        failed_reasons={"vanished": 1},
        complete=False,
        error=None,
        failed_list="/list",
    )


def test_reasons_are_ranked_by_number_of_files() -> None:
    reasons = Reasons()
    for reason in ("rare", "often", "often"):
        reasons.add(reason)
    assert list(reasons.ranked().items()) == [("often", 2), ("rare", 1)]


def test_distinct_reasons_are_bounded_and_no_file_is_lost() -> None:
    reasons = Reasons()
    for number in range(1000):
        reasons.add(f"request {number}")
    ranked = reasons.ranked()
    assert len(ranked) == REASONS + 1
    assert list(ranked.items())[-1] == (OTHER, 1000 - REASONS)


def test_bytes_of_files_left_out_are_not_waited_for() -> None:
    counters = counted(files=4, uploaded=1)
    counters.add_skipped("already uploaded", MB)
    counters.add_failed("vanished", MB)
    assert counters.bytes_to_move == MB


def test_bytes_sent_of_unfinished_files_count_as_moved() -> None:
    counters = counted(files=1, size=10 * MB)
    counters.sent_bytes = 4 * MB
    assert counters.bytes_to_move == 6 * MB


def test_bytes_sent_twice_never_make_less_than_nothing_to_move() -> None:
    counters = counted(files=1)
    counters.sent_bytes = 5 * MB
    assert counters.bytes_to_move == 0


@pytest.mark.parametrize(("uploaded", "sent", "fraction"), [(5, 10, 0.5), (5, 2, 0.5), (0, 8, 0)])
def test_the_bar_follows_files_or_bytes_whichever_is_behind(
    uploaded: int, sent: int, fraction: float
) -> None:
    counters = counted(files=10, uploaded=uploaded)
    counters.sent_bytes = sent * MB
    assert counters.fraction == fraction


@pytest.mark.parametrize("counters", [Counters(), counted(files=3, uploaded=3, size=0)])
def test_with_nothing_left_the_bar_is_full(counters: Counters) -> None:
    assert counters.fraction == 1


# Rate


def test_a_rate_is_growth_over_time() -> None:
    rate = Rate()
    for second in range(6):
        rate.add(second, 100 * second)
    assert rate.per_second() == 100


@pytest.mark.parametrize("samples", [[], [(5, 100)], [(5, 100), (5, 200)]])
def test_a_rate_without_a_span_of_time_is_zero(samples: list[tuple[float, float]]) -> None:
    rate = Rate()
    for now, value in samples:
        rate.add(now, value)
    assert rate.per_second() == 0


def test_a_rate_forgets_what_is_older_than_its_window() -> None:
    rate = Rate(window=10)
    for tenth in range(1000):
        now = tenth / 10
        rate.add(now, 1000 * min(now, 50.0) + 10 * max(0.0, now - 50))
    assert rate.per_second() == pytest.approx(10)


def test_a_rate_falls_to_zero_when_nothing_moves() -> None:
    rate = Rate(window=10)
    for now in (0, 1, 2, 3, 14, 25):
        rate.add(now, min(now, 3))
    assert rate.per_second() == 0


def test_a_rate_holds_few_samples_however_often_it_is_fed() -> None:
    rate = Rate()
    for step in range(100_000):
        rate.add(step / 1000, step)
    assert len(pickle.dumps(rate)) < 50 * Rate.STEPS
    assert rate.per_second() == pytest.approx(1000)


def test_time_left_is_what_remains_by_the_rate() -> None:
    rate = Rate()
    rate.add(0, 0)
    rate.add(2, 10)
    assert rate.eta(50) == 10


def test_time_left_is_unknown_when_nothing_moves_and_zero_when_nothing_remains() -> None:
    assert Rate().eta(1) is None
    assert Rate().eta(0) == 0


def paced(counters: Counters, seconds: float) -> Pace:
    """From nothing to ``counters`` in so many seconds."""
    pace = Pace()
    pace.add(0, Counters())
    pace.add(seconds, counters)
    return pace


def test_time_left_is_unknown_while_the_scan_goes_on() -> None:
    counters = counted(files=4, uploaded=2, scanned=False)
    assert paced(counters, 2).seconds_left(counters) is None
    counters.scanned = True
    assert paced(counters, 2).seconds_left(counters) == 2


def test_time_left_is_the_later_of_files_and_bytes() -> None:
    counters = counted(files=10, uploaded=9)
    counters.add_found(90 * MB)
    assert paced(counters, 9).seconds_left(counters) == 91


# Texts


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (99_949, "99.9 kB"),
        (99_950, "100 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (5_612_345_678, "5.6 GB"),
        (455 * MB, "455 MB"),
        (12 * 10**18, "12,000 PB"),
    ],
)
def test_bytes_are_told_in_decimal_units(count: int, expected: str) -> None:
    assert bytes_text(count) == expected


@pytest.mark.parametrize(
    ("seconds", "digits", "expected"),
    [
        (0.04, 1, "0.0 s"),
        (12.34, 1, "12.3 s"),
        (12.34, 0, "12 s"),
        (59.96, 1, "1 min 00 s"),
        (59.6, 0, "1 min 00 s"),
        (200, 1, "3 min 20 s"),
        (3599.7, 1, "1 h 00 min"),
        (3725, 1, "1 h 02 min"),
        (5_000_000, 1, "1,388 h 53 min"),
    ],
)
def test_durations_read_well(seconds: float, digits: int, expected: str) -> None:
    assert seconds_text(seconds, digits) == expected


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain é 漢 ~", "plain é 漢 ~"),
        ("a\nb\r\t", "a\\nb\\r\\t"),
        ("\x1b[2J\x9b31m\x07", "\\x1b[2J\\x9b31m\\x07"),
        ("right\u202eleft", "right\\u202eleft"),
        ("\udcff", "\\udcff"),
    ],
)
def test_nothing_printed_controls_the_terminal(raw: str, shown: str) -> None:
    assert printable(raw) == shown


def test_the_status_says_scanning_until_the_scan_has_ended() -> None:
    counters = counted(files=1000, uploaded=500, scanned=False)
    line = status(counters, paced(counters, 2))
    assert line == "scanning  500 of 1,000 files so far  250 MB/s  250 files/s  500 MB"


def test_the_status_then_tells_failures_and_time_left() -> None:
    counters = counted(files=1001, uploaded=500)
    counters.add_failed("vanished", MB)
    line = status(counters, paced(counters, 2))
    assert line == "501 of 1,001 files  1 failed  2 s left  250 MB/s  250 files/s  500 MB"


@pytest.mark.parametrize(
    ("outage", "told"),
    [
        (Outage(12.4, 3.6), "service unreachable for 12 s, trying again in 4 s"),
        (Outage(75.0, 0.2), "service unreachable for 1 min 15 s, trying again now"),
    ],
)
def test_an_outage_is_told_in_place_of_rates(outage: Outage, told: str) -> None:
    counters = counted(files=1001, uploaded=500)
    counters.outage = outage
    assert status(counters, paced(counters, 2)) == f"500 of 1,001 files  {told}"


# The final summary


def test_the_summary_is_aligned() -> None:
    assert text(FAILED) == (
        "uploaded  1,234 files   5.6 GB   in 12.3 s   (100 files/s, 455 MB/s)\n"
        "skipped       2         2 links to a directory\n"
        "failed        3         2 cannot be read: Permission denied\n"
        "                        1 vanished after the scan\n"
        "          listed in /home/u/failed.jsonl\n"
        "retries 17, peak memory 98.0 MB"
    )


def test_counts_wider_than_the_uploads_stay_aligned() -> None:
    summary = made_summary(
        uploaded=1, bytes=5, seconds=1.0, failed=12_345, failed_reasons={"a": 12_000, "b": 345}
    )
    assert text(summary) == (
        "uploaded       1 file    5 B   in 1.0 s   (1 files/s, 5 B/s)\n"
        "failed    12,345         12,000 a\n"
        "                            345 b\n"
        "retries 0, peak memory 98.0 MB"
    )


def test_nothing_uploaded_has_no_rate() -> None:
    assert text(made_summary(seconds=0.0)).startswith("uploaded  0 files   0 B   in 0.0 s\n")


def test_a_run_that_was_stopped_says_so() -> None:
    assert "stopped before the end of the scan" in text(made_summary(complete=False))
    assert "stopped" not in text(FAILED)


def test_what_options_leave_out_is_told() -> None:
    line = "\nleft out  1,234 files, or directories that were not entered\n"
    assert line in text(made_summary(left_out=1234))
    assert "left out" not in text(FAILED)


def test_many_reasons_are_cut_without_losing_files() -> None:
    reasons = {f"reason {number:02}": 100 - number for number in range(50)}
    lines = text(made_summary(failed=sum(reasons.values()), failed_reasons=reasons)).splitlines()
    assert len(lines) == 12
    assert lines[-3].split() == ["92", "reason", "08"]
    assert lines[-2].split() == [f"{sum(range(51, 92)):,}", "other", "reasons"]


def test_reasons_and_the_list_are_escaped() -> None:
    summary = made_summary(failed=1, failed_reasons={"\x1b[2J": 1}, failed_list="/tmp/\n")
    assert "\x1b" not in text(summary)
    assert "listed in /tmp/\\n\n" in text(summary)


# Displays


def shown(display: Display, counters: Counters, seconds: float, step: float = 0.05) -> None:
    for tick in range(round(seconds / step) + 1):
        display.update(counters, 1000 + tick * step)


def last_frame(output: str) -> str:
    """What stands in the terminal's last line."""
    return re.split(r"[\r\n]", output.rstrip("\r "))[-1]


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def err() -> FakeTerminal:
    return FakeTerminal()


@pytest.fixture
def terminal(out: io.StringIO, err: FakeTerminal) -> Iterator[Terminal]:
    display = Terminal(Outlet(out), Outlet(err), verbose=True)
    display.start()
    yield display
    display.finish(made_summary())


def test_the_bar_shows_the_status_only_while_scanning(
    terminal: Terminal, err: FakeTerminal
) -> None:
    shown(terminal, counted(files=1000, uploaded=500, scanned=False), 1)
    assert last_frame(err.getvalue()).startswith("scanning  500 of 1,000 files so far  0 B/s")


def test_the_bar_shows_percent_once_the_scan_has_ended(
    terminal: Terminal, err: FakeTerminal
) -> None:
    shown(terminal, counted(files=1000, uploaded=500), 1)
    assert re.match(r" 50% \S+ *500 of 1,000 files", last_frame(err.getvalue()))


def test_the_bar_is_redrawn_ten_times_a_second_at_most(
    terminal: Terminal, err: FakeTerminal
) -> None:
    shown(terminal, counted(), 1, step=0.001)
    assert 5 <= err.getvalue().count("0 of 10 files") <= 10


def test_the_bar_never_wraps(terminal: Terminal, err: FakeTerminal) -> None:
    counters = counted(files=2_000_000, size=10**9)
    for _ in range(123_456):
        counters.add_failed("x")
    shown(terminal, counters, 1)
    assert max(map(len, re.split(r"[\r\n]", err.getvalue()))) <= 79


def test_lines_above_the_bar_do_not_tear_it(terminal: Terminal, err: FakeTerminal) -> None:
    shown(terminal, counted(), 1)
    terminal.note("created bucket b")
    lines = err.getvalue().split("\n")
    *_, bar, wiped, note = re.split(r"\r+", lines[-2])
    assert bar.strip() and not wiped.strip() and note == "created bucket b"
    assert len(wiped) >= len(bar)


def test_the_bar_is_gone_before_the_summary(out: io.StringIO, err: FakeTerminal) -> None:
    display = Terminal(Outlet(out), Outlet(err), verbose=False)
    display.start()
    shown(display, counted(), 1)
    display.finish(FAILED)
    *_, bar, wiped, rest = err.getvalue().split("\r")
    assert bar.strip() and not (wiped + rest).strip()
    assert len(wiped) >= len(bar)
    assert out.getvalue() == text(FAILED) + "\n"


def test_the_bar_starts_no_thread(terminal: Terminal) -> None:
    shown(terminal, counted(), 1)
    assert not [thread for thread in threading.enumerate() if "tqdm" in type(thread).__module__]


def test_the_bar_uses_plain_characters_where_the_terminal_has_no_others(
    out: io.StringIO,
) -> None:
    class Ascii(FakeTerminal):
        encoding = "ascii"

    err = Ascii()
    display = Terminal(Outlet(out), Outlet(err), verbose=False)
    display.start()
    shown(display, counted(uploaded=5), 1)
    display.note("bucket é")
    display.finish(FAILED)
    assert err.getvalue().isascii()
    assert "bucket \\xe9" in err.getvalue()


def test_a_real_terminal_is_used_to_its_width() -> None:
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w") as err:
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("4H", 0, 120, 0, 0))
        outlet = Outlet(err)
        display = Terminal(Outlet(io.StringIO()), outlet, verbose=False)
        display.start()
        outlet.close()
        shown(display, counted(uploaded=5), 0.2)
        outlet.close()
        frames = ""
        while not last_frame(frames) and select.select([leader], [], [], 10)[0]:
            frames += os.read(leader, 10_000).decode()
        display.finish(FAILED)
    os.close(leader)
    assert len(last_frame(frames)) == 119


@pytest.mark.parametrize("kind", [Terminal, Lines])
def test_file_lines_are_escaped_and_only_for_the_verbose(
    kind: type[Terminal | Lines], out: io.StringIO, err: FakeTerminal
) -> None:
    for verbose in (False, True):
        display = kind(Outlet(out), Outlet(err), verbose=verbose)
        display.start()
        display.file_event("failed", f"\x1b[2J{verbose}", "bad\nthing")
        display.file_event("uploaded", "a/b")
    assert out.getvalue() == "failed    \\x1b[2JTrue: bad\\nthing\nuploaded  a/b\n"


@pytest.mark.parametrize("kind", [Terminal, Lines])
def test_changes_of_the_concurrency_are_told_to_the_verbose_on_stderr(
    kind: type[Terminal | Lines], out: io.StringIO, err: FakeTerminal
) -> None:
    for verbose in (False, True):
        display = kind(Outlet(out), Outlet(err), verbose=verbose)
        display.start()
        display.concurrency(1, 64, 384 + verbose, "a trial: \x1b[2J")
    assert err.getvalue().count("->") == 1
    assert "worker 1: 64 -> 385 requests in flight: a trial: \\x1b[2J\n" in err.getvalue()
    assert out.getvalue() == ""


def test_plain_lines_come_every_five_seconds(out: io.StringIO, err: FakeTerminal) -> None:
    display = Lines(Outlet(out), Outlet(err), verbose=False)
    display.start()
    shown(display, counted(files=10, uploaded=5), 16)
    lines = err.getvalue().splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("5 of 10 files")


def test_plain_lines_end_with_the_summary_on_stdout(out: io.StringIO, err: FakeTerminal) -> None:
    Lines(Outlet(out), Outlet(err), verbose=False).finish(FAILED)
    assert (out.getvalue(), err.getvalue()) == (text(FAILED) + "\n", "")


def run_through(display: Display, summary: Summary) -> None:
    display.start()
    display.note("created bucket b")
    shown(display, counted(), 20)
    display.file_event("failed", "a", "b")
    display.concurrency(1, 64, 32, "the service asked for fewer")
    display.finish(summary)


def test_quiet_says_nothing_when_nothing_failed(err: FakeTerminal) -> None:
    run_through(Quiet(Outlet(err)), made_summary(uploaded=5, skipped=1, skipped_reasons={"x": 1}))
    assert err.getvalue() == ""


def test_quiet_tells_the_end_when_files_failed(err: FakeTerminal) -> None:
    run_through(Quiet(Outlet(err)), FAILED)
    assert err.getvalue() == text(FAILED) + "\n"


def json_lines(out: TextIO) -> JsonLines:
    return JsonLines(Outlet(out, gap=dropped_event), Outlet(io.StringIO()))


def events(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_json_tells_each_file_and_note(out: io.StringIO) -> None:
    display = json_lines(out)
    display.note("created bucket b")
    display.file_event("uploaded", "a\né")
    display.file_event("failed", "b", "vanished")
    assert events(out) == [
        {"event": "note", "text": "created bucket b"},
        {"event": "uploaded", "path": "a\né"},
        {"event": "failed", "path": "b", "reason": "vanished"},
    ]
    assert out.getvalue().isascii()


def test_json_tells_changes_of_the_concurrency(out: io.StringIO) -> None:
    json_lines(out).concurrency(1, 64, 384, "a trial")
    assert events(out) == [
        {"event": "concurrency", "worker": 1, "from": 64, "to": 384, "reason": "a trial"}
    ]


def test_json_tells_progress_once_a_second(out: io.StringIO) -> None:
    display = json_lines(out)
    shown(display, counted(files=10, uploaded=5), 3.5)
    assert len(events(out)) == 3
    assert events(out)[-1] == {
        "event": "progress",
        "files": 10,
        "bytes": 10 * MB,
        "scanned": True,
        "uploaded": 5,
        "updated": 0,
        "skipped": 0,
        "failed": 0,
        "deleted": 0,
        "sent_bytes": 0,
        "done_bytes": 5 * MB,
        "retries": 0,
        "files_per_second": 0,
        "bytes_per_second": 0,
        "seconds_left": None,
        "unreachable_seconds": None,
    }


def test_json_tells_an_outage(out: io.StringIO) -> None:
    counters = counted(files=10, uploaded=5)
    counters.outage = Outage(12.5, 3.5)
    shown(json_lines(out), counters, 1.5)
    assert events(out)[-1]["unreachable_seconds"] == 12.5


def test_json_tells_what_was_dropped() -> None:
    assert json.loads(dropped_event(3)) == {"event": "dropped", "lines": 3}


def test_what_workers_write_controls_no_terminal(out: io.StringIO, err: FakeTerminal) -> None:
    """It is told by all, on stderr."""
    terminal = Terminal(Outlet(out), Outlet(err), verbose=False)
    terminal.start()
    displays = [
        Lines(Outlet(out), Outlet(err), verbose=False),
        Quiet(Outlet(err)),
        JsonLines(Outlet(out), Outlet(err)),
        terminal,
    ]
    for display in displays:
        display.echo("one\ntwo \x9b2J\u202e")
        display.echo("...\n")
    assert out.getvalue() == ""
    assert err.getvalue().replace("\r", "").count("one\ntwo \\x9b2J\\u202e...\n") == 4


def test_json_ends_with_all_of_the_summary(out: io.StringIO) -> None:
    json_lines(out).finish(FAILED)
    rates = {"files_per_second": 1234 / 12.34, "bytes_per_second": 5_612_345_678 / 12.34}
    told = {name: value for name, value in FAILED._asdict().items() if name != "findings"}
    assert events(out) == [{"event": "summary", **told, **rates}]


def test_a_verification_speaks_of_what_it_has_found(out: io.StringIO) -> None:
    found = FAILED._replace(findings=Findings(differs=2, missing=1, extra=4))
    json_lines(out).finish(found)
    (told,) = events(out)
    assert "uploaded" not in told
    assert [told[name] for name in ("same", "differs", "missing", "extra")] == [1234, 2, 1, 4]
    text = "\n".join(summary_lines(found))
    assert "same      1,234 files" in text
    assert "extra     4 objects without a file" in text


def test_json_of_a_run_without_duration_has_no_rates(out: io.StringIO) -> None:
    json_lines(out).finish(made_summary(seconds=0.0))
    assert events(out)[0]["files_per_second"] == 0


def test_json_lines_are_flushed_one_by_one() -> None:
    raw = io.BytesIO()
    display = json_lines(io.TextIOWrapper(io.BufferedWriter(raw)))
    display.note("now")
    assert raw.getvalue() == b'{"event": "note", "text": "now"}\n'


@pytest.mark.parametrize("kind", ["terminal", "lines", "quiet", "json"])
def test_a_reader_that_went_away_is_written_to_once(kind: str) -> None:
    out, err = ClosedPipe(), ClosedPipe()
    displays = {
        "terminal": Terminal(Outlet(out), Outlet(err), verbose=True),
        "lines": Lines(Outlet(out), Outlet(err), verbose=True),
        "quiet": Quiet(Outlet(err)),
        "json": json_lines(out),
    }
    run_through(displays[kind], FAILED)
    assert max(out.writes, err.writes) == 1


def test_a_closed_pipe_leaves_no_trace_when_python_exits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # nothing would be left to flush
    code = (
        "import sys; from _uploader.display.choose import choose\n"
        "from _uploader.config import Settings\n"
        "display = choose(Settings(json=True), sys.stdout, sys.stderr)\n"
        "for _ in range(9): display.note('x')\n"
        "display.close()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_names_that_the_stream_cannot_encode_are_escaped() -> None:
    raw = io.BytesIO()
    out = Outlet(io.TextIOWrapper(raw, "latin-1"))
    display = Lines(out, Outlet(io.StringIO()), verbose=True)
    display.file_event("uploaded", "é漢")
    assert raw.getvalue() == b"uploaded  \xe9\\u6f22\n"


# Choice


@pytest.mark.parametrize(
    ("settings", "tty", "term", "kind"),
    [
        (Settings(), True, "xterm", Terminal),
        (Settings(), True, "dumb", Lines),
        (Settings(), False, "xterm", Lines),
        (Settings(quiet=True), True, "xterm", Quiet),
        (Settings(json=True), True, "xterm", JsonLines),
        (Settings(json=True, quiet=True), False, "xterm", JsonLines),
    ],
)
def test_settings_and_streams_choose_the_display(
    settings: Settings, tty: bool, term: str, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", term)
    err = FakeTerminal() if tty else io.StringIO()
    assert type(choose(settings, io.StringIO(), err)) is kind


@pytest.mark.parametrize("settings", [Settings(verbose=True), Settings(dry_run=True)])
def test_verbose_and_dry_runs_tell_each_file(settings: Settings, out: io.StringIO) -> None:
    choose(settings, out, io.StringIO()).file_event("uploaded", "a")
    assert out.getvalue() == "uploaded  a\n"


def test_tqdm_is_loaded_for_a_terminal_only() -> None:
    code = (
        "import sys; from _uploader.display.choose import *\n"
        "from _uploader.config import Settings\n"
        "display = choose(Settings(), sys.stdout, sys.stderr); display.start()\n"
        "sys.exit('tqdm' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stderr=subprocess.PIPE)
