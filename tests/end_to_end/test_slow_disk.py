"""The program keeps a slow disk busy."""

from __future__ import annotations

from bench.sink import Sink
from bench.slowdisk import SlowDisk
from tests.command import KEYS, arguments, environment, run
from tests.conftest import SLOW_FILES


def test_the_operations_of_one_process_overlap(slow_disk: SlowDisk, sink: Sink) -> None:
    sink.reset()
    told = arguments(slow_disk.path, sink.http, "bucket", "--json", "--processes", 1)
    finished = run(*told, env=environment(**KEYS))
    assert finished.code == 0
    assert sink.counts()["puts"] == SLOW_FILES
    assert slow_disk.requests().most_at_once >= 4
