"""Fixtures of the tests of the whole command: runs that end early, and wrong ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from _uploader import cli
from tests.command import KEYS, small_files
from tests.end_to_end.world import BUCKET, LATENCY, UsageError, World
from tests.servers.faults import MIB
from tests.servers.s3 import FakeS3


@pytest.fixture
def slow_server() -> Iterator[FakeS3]:
    with FakeS3(buckets=[BUCKET], least_part=MIB) as server:
        server.script("*", "*", f"delay:{LATENCY}...")
        yield server


@pytest.fixture
def world(tmp_path: Path, slow_server: FakeS3) -> World:
    return World(tmp_path, slow_server, part=MIB)


@pytest.fixture
def usage_error(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> UsageError:
    """Gives the one line on stderr of a command that is wrong; in this process, as it ends soon."""

    def line(*options: object, **variables: str) -> str:
        for name, value in {**KEYS, **variables}.items():
            monkeypatch.setenv(name, value)
        code, told = cli.main([str(option) for option in options]), capfd.readouterr()
        assert (code, told.out) == (2, "")
        (complaint,) = told.err.splitlines()
        return complaint

    return line


@pytest.fixture
def full(data: Path) -> Path:
    """Enough files that failing one by one would show."""
    small_files(data, 500)
    return data
