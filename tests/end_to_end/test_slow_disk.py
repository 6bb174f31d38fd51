"""The program keeps a slow disk busy."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.sink import Sink
from bench.slowdisk import SlowDisk
from tests.command import KEYS, arguments, environment, run, small_files

FILES = 200


@pytest.fixture
def disk(data: Path) -> Iterator[SlowDisk]:
    if reason := SlowDisk.missing():
        # In CI, too: not every container is given the device.
        pytest.skip(reason)
    small_files(data, FILES)
    os.symlink("folder0", data / "link")
    with SlowDisk(data, delay=0.005) as disk:
        yield disk


def test_the_operations_of_one_process_overlap(disk: SlowDisk, sink: Sink) -> None:
    sink.reset()
    told = arguments(disk.path, sink.http, "bucket", "--json", "--processes", 1)
    finished = run(*told, env=environment(**KEYS))
    assert finished.code == 0
    assert sink.counts()["puts"] == FILES
    assert disk.requests().most_at_once >= 4
