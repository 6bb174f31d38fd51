"""The command in containers: little memory makes it slower, never larger, and never refuses."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from _uploader.transfer.memory import FLOOR
from bench.sink import Sink
from tests.cgroups import memory_group
from tests.command import KEYS, Running, arguments, environment, small_files, write
from tests.servers import require

MIB = 2**20
LARGE = int(os.environ.get("CONTAINER_LARGE_FILES", "4"))
LARGE_MIB = int(os.environ.get("CONTAINER_LARGE_MIB", "64"))
"""Large files, and the size of each: 16 of 256 take minutes."""
SMALL = 2048
"""Enough for many requests in flight for as long as a run looks at the memory."""
PATIENCE = 120.0
"""Seconds that an upload may take on a slow machine."""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("source")
    small_files(root, SMALL, folders=10)
    for number in range(LARGE):
        write(root, f"large/{number}", b"")
        os.truncate(root / "large" / str(number), LARGE_MIB * MIB)
    return root


@pytest.mark.parametrize("limit", [96, 128, 256, 384, 1024], ids=lambda limit: f"{limit}M")
def test_any_container_is_enough(source: Path, limit: int) -> None:
    require(Sink)
    with Sink() as sink, memory_group(limit * MIB) as group:
        told = arguments(source, sink.http, "b", "--json")
        with Running(*told, env=environment(**KEYS), wrapper=group.wrapper) as running:
            finished = running.finish(PATIENCE)
        assert (finished.code, finished.stderr) == (0, "")
        assert finished.summary["uploaded"] == SMALL + LARGE
        assert group.killed == 0
        assert group.peak <= max(FLOOR, limit * MIB // 4)
        notes = [event["text"] for event in finished.events if event["event"] == "note"]
        assert any("less than the program needs" in note for note in notes) == (limit < 272)


@pytest.mark.parametrize("tls", [False, True], ids=["HTTP", "TLS"])
def test_supervisor_and_one_worker_are_small(data: Path, tls: bool) -> None:
    """Below 64 MiB together, with the fork server."""
    require(Sink)
    small_files(data, 40)
    with Sink(latency=0.5) as sink:
        told = arguments(data, sink.https if tls else sink.http, "b", "--json", "--processes", 1)
        told += ["--concurrency", 4, *(["--ca-bundle", sink.ca_file] if tls else [])]
        with Running(*told, env=environment(**KEYS)) as running:
            running.wait_for("uploaded", 20)
            pids = [running.pid, *running.fork_server(), *running.workers()]
            memory = [psutil.Process(pid).memory_full_info().pss for pid in pids]
            assert running.finish(PATIENCE).code == 0
    assert len(pids) == 3
    assert sum(memory) < 64 * MIB


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
