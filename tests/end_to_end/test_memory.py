"""The command in containers: little memory makes it slower, never larger, and never refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from _uploader.transfer.memory import FLOOR
from bench.sink import Sink
from tests.cgroups import memory_group
from tests.command import KEYS, Running, arguments, environment, small_files, write
from tests.servers import require

MIB = 2**20
PATIENCE = 120.0
"""Seconds that an upload may take on a slow machine."""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("source")
    small_files(root, 4096, folders=10)
    for number in range(4):
        write(root, f"large/{number}", bytes(64 * MIB))
    return root


@pytest.mark.parametrize("limit", [96, 128, 256, 384, 1024], ids=lambda limit: f"{limit}M")
def test_any_container_is_enough(source: Path, limit: int) -> None:
    require(Sink)
    with Sink() as sink, memory_group(limit * MIB) as group:
        told = arguments(source, sink.http, "b", "--json")
        with Running(*told, env=environment(**KEYS), wrapper=group.wrapper) as running:
            finished = running.finish(PATIENCE)
        assert (finished.code, finished.stderr) == (0, "")
        assert finished.summary["uploaded"] == 4100
        assert group.killed == 0
        assert group.peak <= max(FLOOR, limit * MIB // 4)
        notes = [event["text"] for event in finished.events if event["event"] == "note"]
        assert any("less than the program needs" in note for note in notes) == (limit < 272)


def test_another_process_that_needs_the_memory_gets_it(slow_sink: Sink, data: Path) -> None:
    """The run gives way, goes on, and comes back when there is room again."""
    small_files(data, 2000)
    options = ("--json", "--processes", 1, "--concurrency", 32)
    with memory_group(400 * MIB) as group:
        told = arguments(data, slow_sink.http, "b", *options)
        with Running(*told, env=environment(**KEYS), wrapper=group.wrapper) as running:
            running.wait_for("uploaded", 100)
            with group.filled(leaving=12 * MIB):
                running.wait_for("concurrency", 2)
            finished = running.finish(PATIENCE)
        assert (finished.code, finished.summary["uploaded"], group.killed) == (0, 2000, 0)
    changes = [event for event in finished.events if event["event"] == "concurrency"]
    limits = [change["to"] for change in changes]
    assert (changes[0]["worker"], changes[0]["from"]) == (1, 32)
    assert all(change["reason"].startswith("memory of the cgroup: ") for change in changes)
    assert limits[1] < limits[0] < 32
    assert limits[-1] > min(limits)
