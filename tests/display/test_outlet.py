"""Nobody waits for a stream that is stuck, and what was dropped is told."""

from __future__ import annotations

import fcntl
import io
import itertools
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import TextIO

import pytest

from _uploader.display import outlet as module
from _uploader.display.outlet import BURST, PENDING_BYTES, Outlet
from tests.conftest import REPO

LINE = "x" * 99
PIPE_SIZE = 8192
BEYOND = 3 * PENDING_BYTES // (len(LINE) + 1)
"""More lines than may be pending."""
TIMEOUT = 30.0


class Pipe:
    """A pipe that is read only when the test wants it.  Its other end stays open: a thread that is
    stuck there would write to whatever gets its number."""

    def __init__(self) -> None:
        self.reading, writing = os.pipe()
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        self.stream: TextIO = os.fdopen(writing, "w", closefd=False)
        self._read = b""

    def read_until(self, end: str) -> list[str]:
        """The lines up to one that ends like this."""
        while not self._read.endswith(f"{end}\n".encode()):
            data = os.read(self.reading, 65536)
            assert data, "closed"
            self._read += data
        return self._read.decode().splitlines()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    os.close(pipe.reading)


def filled(outlet: Outlet) -> None:
    for _ in range(BEYOND):
        outlet.line(LINE)


def test_a_pipe_that_nobody_reads_holds_nobody_up(pipe: Pipe) -> None:
    filled(Outlet(pipe.stream))


def test_what_was_dropped_is_counted_and_told_in_its_place(pipe: Pipe) -> None:
    outlet = Outlet(pipe.stream)
    filled(outlet)
    outlet.line("end", keep=True)
    lines = pipe.read_until("end")
    assert set(lines[:-2]) == {LINE} and lines[-1] == "end"
    told = re.fullmatch(r"\(lines not shown, as nobody took them: ([\d,]+)\)", lines[-2])
    assert told
    assert len(lines) - 2 + int(told[1].replace(",", "")) == BEYOND
    assert len(LINE) * len(lines) <= PENDING_BYTES + PIPE_SIZE + BURST + len(LINE)


def test_what_was_dropped_is_told_when_the_stream_takes_data_again(pipe: Pipe) -> None:
    """Whether or not there is more to say."""
    outlet = Outlet(pipe.stream, gap="{} dropped".format)
    filled(outlet)
    assert pipe.read_until("dropped")[-1].endswith(" dropped")


def test_after_a_gap_lines_come_again(pipe: Pipe) -> None:
    outlet = Outlet(pipe.stream)
    filled(outlet)
    pipe.read_until(")")
    outlet.line("end")
    assert pipe.read_until("end")[-1] == "end"


def test_a_stream_that_is_read_loses_nothing(pipe: Pipe) -> None:
    outlet = Outlet(pipe.stream)
    for number in range(5000):
        outlet.line(f"{number}")
    assert pipe.read_until("4999") == [str(number) for number in range(5000)]


def test_a_non_blocking_stream_loses_nothing(pipe: Pipe) -> None:
    """It refuses what it has no room for."""
    os.set_blocking(pipe.stream.fileno(), False)
    outlet = Outlet(pipe.stream)
    for number in range(5000):
        outlet.line(f"{number}")
    assert pipe.read_until("4999") == [str(number) for number in range(5000)]


def test_the_end_is_waited_for_while_it_is_read(pipe: Pipe) -> None:
    outlet = Outlet(pipe.stream)
    filled(outlet)
    reader = threading.Thread(target=pipe.read_until, args=["end"])
    reader.start()
    outlet.line("end", keep=True)
    outlet.close()
    assert not outlet.behind
    reader.join(TIMEOUT)


def test_the_end_of_a_stuck_stream_is_not_waited_for_for_ever(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.1)
    outlet = Outlet(pipe.stream)
    filled(outlet)
    outlet.close()
    assert outlet.behind


def test_a_stuck_file_is_waited_for_once(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not once for each stream that leads to it."""
    out = Outlet(pipe.stream)
    filled(out)
    monkeypatch.setattr(module, "PATIENCE", 0.1)
    out.close()
    monkeypatch.setattr(module, "PATIENCE", 1e9)
    Outlet(pipe.stream, beside=out).close()
    assert out.behind


def test_a_stuck_stream_is_not_waited_for_in_a_hurry(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 1e9)
    monkeypatch.setattr(module, "HURRY", 0.1)
    answers = itertools.chain([False, False], itertools.repeat(True))
    outlet = Outlet(pipe.stream, hurried=lambda: next(answers))
    filled(outlet)
    outlet.close()
    assert outlet.behind


def test_a_stream_that_is_read_loses_nothing_in_a_hurry(pipe: Pipe) -> None:
    outlet = Outlet(pipe.stream, hurried=lambda: True)
    for number in range(5000):
        outlet.line(f"{number}")
    reader = threading.Thread(target=pipe.read_until, args=["4999"])
    reader.start()
    outlet.close()
    assert not outlet.behind
    reader.join(TIMEOUT)


def test_where_nothing_may_be_lost_a_line_waits_for_its_room(pipe: Pipe) -> None:
    outlet = Outlet(pipe.stream, lossless=True)
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(pipe.read_until("end")))
    reader.start()
    filled(outlet)
    outlet.line("end")
    reader.join(TIMEOUT)
    assert lines == [LINE] * BEYOND + ["end"]


def test_where_nothing_may_be_lost_a_hurry_ends_the_waiting(pipe: Pipe) -> None:
    filled(Outlet(pipe.stream, lossless=True, hurried=lambda: True))


def test_a_closed_pipe_is_written_to_no_more(pipe: Pipe) -> None:
    os.dup2(os.open(os.devnull, os.O_RDONLY), pipe.reading)
    outlet = Outlet(pipe.stream)
    filled(outlet)
    outlet.close()
    filled(outlet)
    assert not outlet.behind


def test_two_streams_of_one_file_keep_their_order(pipe: Pipe) -> None:
    with os.fdopen(os.dup(pipe.stream.fileno()), "w") as other:
        out = Outlet(pipe.stream)
        err = Outlet(other, beside=out)
        for number in range(500):
            (out if number % 2 else err).line(f"{number}")
        assert pipe.read_until("499") == [str(number) for number in range(500)]


def test_a_stuck_stream_does_not_hold_up_another(pipe: Pipe) -> None:
    other = Pipe()
    out = Outlet(pipe.stream)
    err = Outlet(other.stream, beside=out)
    filled(out)
    err.line("end")
    assert other.read_until("end") == ["end"]
    err.close()
    os.close(other.reading)


def test_a_stuck_stream_keeps_no_process_from_its_end() -> None:
    code = (
        "import sys; from _uploader.display import outlet; outlet.PATIENCE = 0.1\n"
        "out = outlet.Outlet(sys.stdout)\n"
        "for _ in range(100_000): out.line('x' * 99)\n"
        "out.close(); sys.exit(7)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=REPO,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.wait(TIMEOUT) == 7
        assert process.stderr and process.stderr.read() == b""


def test_a_stream_in_memory_needs_no_thread() -> None:
    before = threading.active_count()
    stream = io.StringIO()
    Outlet(stream).line("a")
    assert (stream.getvalue(), threading.active_count()) == ("a\n", before)
