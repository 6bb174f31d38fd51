"""What a user sees."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import pytest

from bench.sink import Sink
from tests.command import (
    KEYS,
    MIB,
    Finished,
    OnTerminal,
    arguments,
    environment,
    run,
    small_files,
    write,
)
from tests.servers.s3 import FakeS3


def test_command_dry_run_lists_the_files(data: Path) -> None:
    write(data, "a", b"12345"), write(data, "d/b c", b"")
    finished = run("--src", data, "--bucket", "b", "--dry-run", "--json", env=environment())
    assert finished.code == 0
    assert finished.reasons("would upload") == {"a": "5 bytes", "d/b c": "0 bytes"}
    assert (finished.summary["files"], finished.summary["uploaded"]) == (2, 0)


def test_command_dry_run_ends_with_the_plan(data: Path) -> None:
    write(data, "a", b"12345")
    (data / "large").touch()
    os.truncate(data / "large", 17 * MIB)
    told = ["--src", data, "--bucket", "b", "--dry-run", "--json", "--plan-rate", "1M"]
    plan = run(*told, "--price", "put=1000", env=environment()).events[-2]
    assert (plan["event"], plan["files"], plan["bytes"]) == ("plan", 2, 17 * MIB + 5)
    parts = {"CreateMultipartUpload": 1, "UploadPart": 3, "CompleteMultipartUpload": 1}
    assert plan["requests"] == {"PutObject": 1, **parts}
    assert (plan["seconds"], plan["request_dollars"]) == (17 + 5 / MIB, 6.0)


def test_command_dry_run_connects_to_nothing(data: Path) -> None:
    write(data, "a")
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        assert run(*arguments(data, endpoint, "b", "--dry-run"), env=environment(**KEYS)).code == 0
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_command_dry_run_tells_failures_as_the_run_would(data: Path) -> None:
    write(data, b"bad \xff")
    assert run("--src", data, "--bucket", "b", "--dry-run", env=environment()).code == 1


def test_command_quiet_prints_nothing_on_success(sink: Sink, data: Path) -> None:
    small_files(data, 20)
    finished = run(*arguments(data, sink.http, "bucket", "--quiet"), env=environment(**KEYS))
    assert finished == Finished(0, "", "")


def test_command_quiet_prints_the_summary_when_files_failed(sink: Sink, data: Path) -> None:
    (data / "dangling").symlink_to("nowhere")
    finished = run(*arguments(data, sink.http, "bucket", "--quiet"), env=environment(**KEYS))
    assert (finished.code, finished.stdout) == (1, "")
    assert "links to nothing" in finished.stderr


def test_command_verbose_prints_a_line_for_each_file(sink: Sink, data: Path) -> None:
    names = small_files(data, 20)
    finished = run(*arguments(data, sink.http, "bucket", "--verbose"), env=environment(**KEYS))
    assert sorted(re.findall(r"^uploaded  (folder.*)", finished.stdout, re.MULTILINE)) == sorted(
        names
    )


@pytest.mark.parametrize("option", ["--verbose", "--json", "--quiet"])
def test_command_tells_why_fewer_requests_are_in_flight(data: Path, option: str) -> None:
    write(data, "file")
    with FakeS3(buckets=["bucket"]) as server:
        server.script("put", "file", "slowdown")
        options = arguments(data, server.endpoint, "bucket", option, "--concurrency", 8)
        finished = run(*options, env=environment(server))
    assert finished.code == 0
    told = "the service asked for fewer: SlowDown: scripted or deserved"
    if option == "--verbose":
        assert finished.complaints == [f"worker 1: 8 -> 4 requests in flight: {told}"]
    elif option == "--json":
        (change,) = [e for e in finished.events if e["event"] == "concurrency"]
        assert change == {
            "event": "concurrency",
            "worker": 1,
            "from": 8,
            "to": 4,
            "reason": told,
        }
    else:
        assert finished.stderr == ""


def test_command_without_a_terminal_prints_plain_lines(slow_sink: Sink, data: Path) -> None:
    small_files(data, 50)
    finished = run(
        *arguments(data, slow_sink.http, "bucket", "--concurrency", 4), env=environment(**KEYS)
    )
    assert all(line.isprintable() for line in finished.stdout.splitlines())
    assert re.match(r"uploaded +50 files", finished.stdout)
    assert finished.stderr == ""


def test_command_without_a_terminal_tells_how_far_it_is(slow_sink: Sink, data: Path) -> None:
    small_files(data, 60)
    options = arguments(data, slow_sink.http, "b", "--concurrency", 1, "--processes", 1)
    finished = run(*options, env=environment(**KEYS))
    (line,) = finished.complaints
    assert re.match(r"\d+ of 60 files .* left\b", line)


def test_command_on_a_terminal_redraws_a_bar(slow_sink: Sink, data: Path) -> None:
    small_files(data, 100)
    options = arguments(data, slow_sink.http, "bucket", "--concurrency", 8, "--processes", 2)
    with OnTerminal(*options, env=environment(**KEYS)) as running:
        finished = running.finish()
    frames = [frame for frame in finished.stdout.split("\r") if re.match(r" *\d+% ", frame)]
    assert finished.code == 0
    assert 3 <= len(frames) < 100
    assert "\n" not in "".join(frames[:-1])


def test_command_on_a_terminal_ends_with_the_summary(sink: Sink, data: Path) -> None:
    small_files(data, 10)
    with OnTerminal(*arguments(data, sink.http, "b"), env=environment(**KEYS)) as running:
        last = running.finish().stdout.split("\r")
    assert any(line.startswith("uploaded  10 files") for line in last)


def test_command_on_a_terminal_shows_no_control_characters_of_names(sink: Sink, data: Path) -> None:
    evil = "\x1b[2J\x1b]0;title\x07\x9b31m\nuploaded  forged\u202etxt"
    write(data, evil)
    write(data, b"bad \xff" + evil.encode())
    with OnTerminal(
        *arguments(data, sink.http, "bucket", "--verbose"), env=environment(**KEYS)
    ) as running:
        text = running.finish().stdout
    assert "\\x1b[2J" in text
    assert not re.search("[\x1b\x07\x9b\u202e]", text)
    assert not re.search(r"^uploaded  forged", text, re.MULTILINE)


def test_command_json_prints_nothing_but_json_and_the_summary_last(
    slow_sink: Sink, data: Path
) -> None:
    small_files(data, 60)
    os.mkfifo(data / "fifo")
    write(data, b"bad \xff\n")
    options = arguments(data, slow_sink.http, "b", "--json", "--concurrency", 4)
    finished = run(*options, env=environment(**KEYS))
    summary = finished.summary
    counts = [summary[name] for name in ("files", "uploaded", "skipped", "failed")]
    assert (counts, finished.stderr) == ([62, 60, 1, 1], "")
    assert any(event["event"] == "progress" for event in finished.events)
