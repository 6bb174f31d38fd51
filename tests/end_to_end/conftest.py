"""Fixtures of the tests that end runs early."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.command import small_files
from tests.end_to_end.world import BUCKET, LATENCY, World
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
def full(data: Path) -> Path:
    """Enough files that failing one by one would show."""
    small_files(data, 500)
    return data
