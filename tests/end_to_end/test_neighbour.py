"""The command leaves to others what it was told to leave."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

from bench.sink import Sink
from tests.command import KEYS, Finished, arguments, environment, run, small_files


class TestCpu:
    """A busy machine can only make it less."""

    def rate(self, *told: object) -> tuple[Finished, float]:
        """How a command ended, and the CPUs that it took all the time."""
        began, before = time.monotonic(), cpu_of_children()
        finished = run(*told, env=environment(**KEYS))
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


TOLERANCE = 1.1


def cpu_of_children() -> float:
    """Seconds of CPU of all commands that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
