"""Killed at a named point of the program, a run loses nothing and repeats nothing."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.command import TIMEOUT
from tests.end_to_end.world import (
    Before,
    World,
    assert_the_next_run_finishes,
    end,
)
from tests.hooks import around_calls

DIE = """
import os

def act(when, nth):
    if when != {when!r} or nth < {nth}:
        return
    try:
        os.close(os.open({marker!r}, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return  # once is enough
    for pid in {victims}:
        os.kill(pid, 9)
"""
SESSION, JOURNAL = ("providers.s3.session", "S3Session"), ("_uploader.records.journal", "Journal")
SUPERVISOR = "int(open(f'/proc/{os.getppid()}/stat').read().split()[3])"
"""A worker's parent's parent."""
VICTIMS = {
    "itself": "[os.getpid()]",
    "supervisor": f"[{SUPERVISOR}]",
    "both": f"[{SUPERVISOR}, os.getpid()]",
}


class Point(NamedTuple):
    """A moment in the program, and who dies then."""

    when: str
    where: tuple[str, str]
    name: str
    victim: str
    nth: int = 1

    def __str__(self) -> str:
        nth = f" {self.nth}" if self.nth > 1 else ""
        return f"{self.when} {self.name}{nth} dies {self.victim}"

    def hook(self, base: Path) -> dict[str, str]:
        """The command's environment; the victims die once, which leaves ``died`` below ``base``."""
        marker, victims = str(base / "died"), VICTIMS[self.victim]
        code = DIE.format(when=self.when, nth=self.nth, marker=marker, victims=victims)
        return around_calls(base / "hooks", *self.where, self.name, code)


IN_THE_WORKER = [
    *(Point("before", SESSION, "put", victim, 3) for victim in ("itself", "both")),
    *(Point("after", SESSION, "put", victim, 3) for victim in ("itself", "both")),
    Point("before", SESSION, "begin", "both"),
    *(Point("after", SESSION, "begin", victim) for victim in VICTIMS),
    *(Point("after", SESSION, "put_part", victim) for victim in ("itself", "both")),
    *(Point("before", SESSION, "put_part", victim, 3) for victim in ("itself", "supervisor")),
    *(Point("before", SESSION, "complete", victim) for victim in ("itself", "both")),
    *(Point("after", SESSION, "complete", victim) for victim in ("itself", "both")),
]
IN_THE_SUPERVISOR = [
    Point("before", JOURNAL, "add_upload", "itself"),
    Point("after", JOURNAL, "add_upload", "itself"),
    *(Point("before", JOURNAL, "commit", "itself", nth) for nth in (1, 3)),
    *(Point("after", JOURNAL, "commit", "itself", nth) for nth in (1, 3)),
    Point("before", JOURNAL, "close", "itself"),
]


@pytest.mark.parametrize("point", [p for p in IN_THE_WORKER if p.victim == "itself"], ids=str)
def test_a_worker_that_is_killed_costs_no_file(world: World, tmp_path: Path, point: Point) -> None:
    names = world.fill(files=12, large=1)
    finished = world.run(hook=point.hook(tmp_path))
    assert (tmp_path / "died").exists()
    assert (finished.code, finished.stderr) == (0, "")
    assert sorted(finished.paths("uploaded")) == sorted(names)
    world.assert_all_there(names)
    assert max(world.server.stored.values()) <= 2


@pytest.mark.parametrize(
    "point", [p for p in IN_THE_WORKER if p.victim != "itself"] + IN_THE_SUPERVISOR, ids=str
)
def test_a_run_that_is_killed_is_finished_by_the_next(
    world: World, tmp_path: Path, point: Point
) -> None:
    names = world.fill(files=12, large=1)
    with world.start(hook=point.hook(tmp_path)) as running:
        # Once seen, the worker is waited for: it is the only one that a victim leaves behind.
        while running.process.poll() is None and not running.workers():
            time.sleep(0.005)
        running.process.wait(TIMEOUT)
        assert (tmp_path / "died").exists()
        assert running.process.returncode == -signal.SIGKILL
        end(running)
        before = Before.of(world, running)
    assert_the_next_run_finishes(world, names, before)
