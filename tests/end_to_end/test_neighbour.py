"""The command leaves to others what it was told to leave."""

from __future__ import annotations

import os
import resource
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.page_cache import cached_share, forget
from bench.sink import Sink
from tests.cgroups import cpu_group, memory_group
from tests.command import (
    KEYS,
    MIB,
    Finished,
    Running,
    arguments,
    environment,
    run,
    small_files,
)


class TestCpu:
    """A busy machine can only make it less."""

    def rate(self, *told: object, wrapper: Sequence[str] = ()) -> tuple[Finished, float]:
        """How a command ended, and the CPUs that it took all the time."""
        began, before = time.monotonic(), cpu_of_children()
        finished = run(*told, env=environment(**KEYS), wrapper=wrapper)
        return finished, (cpu_of_children() - before) / (time.monotonic() - began)

    def test_all_processes_together_take_what_they_may(self, sink: Sink, data: Path) -> None:
        small_files(data, 3000)
        told = arguments(data, sink.http, "b", "--max-cpu", 0.25, "--processes", 2, "--json")
        finished, rate = self.rate(*told)
        assert (finished.code, finished.summary["uploaded"]) == (0, 3000)
        assert rate < 0.25 * TOLERANCE

    def test_a_run_that_only_skips_takes_what_it_may_too(self, sink: Sink, data: Path) -> None:
        for number in range(20_000):
            os.mkfifo(data / str(number))
        finished, rate = self.rate(*arguments(data, sink.http, "b", "--max-cpu", 0.25, "--json"))
        assert (finished.code, finished.summary["skipped"]) == (0, 20_000)
        assert rate < 0.25 * TOLERANCE

    def test_half_a_cpu_in_a_container_is_one_process_and_half_the_rate(
        self, sink: Sink, data: Path
    ) -> None:
        small_files(data, 1000)
        told = arguments(data, sink.http, "b", "--json", "--no-journal")
        with cpu_group(0.5) as wrapper:
            with Running(*told, env=environment(**KEYS), wrapper=wrapper) as running:
                running.wait_for("uploaded")
                assert len(running.workers()) == 1
            finished, rate = self.rate(*told, wrapper=wrapper)
        assert (finished.code, finished.summary["uploaded"]) == (0, 1000)
        assert rate < 0.5 * TOLERANCE


TOLERANCE = 1.1


def cpu_of_children() -> float:
    """Seconds of CPU of all commands that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_a_run_that_is_large_for_the_memory_leaves_the_page_cache_as_it_was(
    sink: Sink, data: Path, tmp_path: Path
) -> None:
    """Of a container, here: 192 MiB of files in 256 MiB of memory."""
    files = [data / f"{number}" for number in range(3)]
    other = tmp_path / "other"
    for path in (*files, other):
        path.write_bytes(bytes(64 * MIB if path.parent == data else 32 * MIB))
        forget(path)
    if cached_share(other):
        pytest.skip("the files of this test are in memory: set TMPDIR to a disk")
    with memory_group(256 * MIB) as group:
        for _ in range(2):  # a working set is read more than once
            subprocess.run([*group.wrapper, "cat", other], stdout=subprocess.DEVNULL, check=True)
        told = arguments(data, sink.http, "b")
        finished = run(*told, env=environment(**KEYS), wrapper=group.wrapper)
        assert finished.code == 0
        # The kernel may take some pages all the same, and keep some that it reads ahead.
        assert cached_share(other) > 0.9
        assert sum(map(cached_share, files)) / len(files) < 0.25
