"""Readers that leave or do not read, streams that are closed, signals."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.sink import Sink
from tests.command import (
    KEYS,
    TIMEOUT,
    Finished,
    OnTerminal,
    Running,
    arguments,
    environment,
    parse_events,
    run,
    shell,
    small_files,
)
from tests.conftest import REPO


def strange_lines(finished: Finished) -> list[str]:
    """What is on stderr but for the requests in flight, which ``--verbose`` tells there."""
    return [line for line in finished.complaints if " requests in flight: " not in line]


def test_command_whose_reader_leaves_goes_on_to_its_end(slow_sink: Sink, data: Path) -> None:
    small_files(data, 400)
    slow_sink.reset()
    read_end, write_end = os.pipe()
    options = arguments(data, slow_sink.http, "bucket", "--verbose", "--concurrency", 40)
    with Running(*options, env=environment(**KEYS), stdout=write_end) as running:
        os.close(write_end)
        os.read(read_end, 1)
        os.close(read_end)
        finished = running.finish()
    assert (finished.code, strange_lines(finished)) == (0, [])
    assert slow_sink.counts()["puts"] == 400


@contextlib.contextmanager
def narrow_pipe() -> Iterator[tuple[int, int]]:
    """Both ends of a pipe that holds no more than a page."""
    read_end, write_end = os.pipe()
    fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, 4096)
    try:
        yield read_end, write_end
    finally:
        os.close(read_end)
        os.close(write_end)


@pytest.mark.parametrize("option", ["--verbose", "--json"])
def test_command_whose_reader_does_not_read_goes_on_to_its_end(
    sink: Sink, data: Path, option: str
) -> None:
    small_files(data, 1000)
    sink.reset()
    options = arguments(data, sink.http, "bucket", option)
    with (
        narrow_pipe() as (_, write_end),
        Running(*options, env=environment(**KEYS), stdout=write_end) as running,
    ):
        finished = running.finish()
    assert (finished.code, strange_lines(finished)) == (0, [])
    assert sink.counts()["puts"] == 1000


def test_command_whose_reader_does_not_read_obeys_signals(slow_sink: Sink, data: Path) -> None:
    small_files(data, 2000)
    slow_sink.reset()
    options = arguments(data, slow_sink.http, "bucket", "--verbose", "--concurrency", 20)
    with (
        narrow_pipe() as (_, write_end),
        Running(*options, env=environment(**KEYS), stdout=write_end) as running,
    ):
        running.wait_until(lambda: slow_sink.counts()["puts"] >= 300)
        running.signal(signal.SIGTERM)
        running.signal(signal.SIGTERM)
        assert running.finish().code == 128 + signal.SIGTERM


def test_command_whose_processes_all_get_a_signal_ends_what_is_in_flight(
    slow_sink: Sink, data: Path
) -> None:
    """As systemd sends it when it stops a service."""
    small_files(data, 2000)
    slow_sink.reset()
    options = arguments(data, slow_sink.http, "bucket", "--json", "--concurrency", 20)
    with Running(*options, env=environment(**KEYS)) as running:
        running.wait_until(lambda: slow_sink.counts()["puts"] >= 300)
        for pid in [*running.workers(), *running.fork_server(), running.pid]:
            os.kill(pid, signal.SIGTERM)
        finished = running.finish()
    assert finished.code == 128 + signal.SIGTERM
    assert 300 <= finished.summary["uploaded"] == slow_sink.counts()["puts"] < 2000


def test_command_on_a_terminal_that_was_stopped_goes_on_to_its_end(
    slow_sink: Sink, data: Path
) -> None:
    """With Ctrl-S."""
    small_files(data, 300)
    slow_sink.reset()
    options = arguments(data, slow_sink.http, "bucket", "--verbose", "--concurrency", 20)
    with OnTerminal(*options, env=environment(**KEYS)) as running:
        running.wait_until(lambda: slow_sink.counts()["puts"] >= 20)
        running.type(b"\x13")
        assert running.finish().code == 0
    assert slow_sink.counts()["puts"] == 300


def test_command_json_gives_its_summary_to_a_reader_that_begins_late(
    sink: Sink, data: Path
) -> None:
    small_files(data, 1000)
    with narrow_pipe() as (read_end, write_end):
        os.set_blocking(write_end, False)
        options = arguments(data, sink.http, "bucket", "--json")
        with Running(*options, env=environment(**KEYS), stdout=write_end) as running:
            running.wait_until(lambda: select.select([read_end], [], [], 0)[0] != [])
            text = b""
            while running.process.poll() is None:
                if select.select([read_end], [], [], 0.1)[0]:
                    text += os.read(read_end, 65536)
            finished = running.finish()
        os.set_blocking(read_end, False)
        with contextlib.suppress(BlockingIOError):
            text += os.read(read_end, 65536)
    events = parse_events(text.decode())
    assert (finished.code, events[-1]["event"], events[-1]["uploaded"]) == (0, "summary", 1000)
    assert sum(event["event"] == "uploaded" for event in events) == 1000


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_command_that_is_stopped_while_it_starts_prints_nothing(number: int) -> None:
    code = (
        "import os, runpy, sys\n"
        "class Signals:\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name == '_uploader.cli': os.kill(os.getpid(), {int(number)})\n"
        "sys.meta_path.insert(0, Signals())\n"
        f"runpy.run_path({str(REPO / 'uploader.py')!r}, run_name='__main__')\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=REPO, capture_output=True, timeout=TIMEOUT
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (128 + number, b"", b"")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_command_runs_with_standard_streams_closed(sink: Sink, data: Path, closed: str) -> None:
    names = small_files(data, 30)
    sink.reset()
    options = arguments(data, sink.http, "bucket")
    finished = run(*options, env=environment(**KEYS), wrapper=shell(f'exec "$@" {closed}'))
    assert (finished.code, finished.stderr) == (0, "")
    assert sink.counts()["puts"] == len(names)
