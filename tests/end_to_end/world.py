"""A directory, a bucket, and runs that end early."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tests.command import (
    TIMEOUT,
    Finished,
    Running,
    arguments,
    environment,
    random_bytes,
    run,
    small_files,
    wait_for,
    write,
)
from tests.hooks import small_parts
from tests.servers.faults import KIB, MIB
from tests.servers.s3 import FakeS3

UsageError = Callable[..., str]
"""Gives the line of a command that is wrong."""
BUCKET = "bucket"
FILES = 60
LATENCY = 0.02
"""Seconds that each answer takes: a run lasts long enough to be killed in its middle."""
PARTS = 3
"""Of a large file: two whole ones and a byte."""
WITH_GRACE = 9.0
"""Seconds for a stop that lets uploads in flight end: 5, and more on a busy machine."""


class World:
    """A directory, a bucket, and the command that uploads the one to the other."""

    def __init__(self, base: Path, server: FakeS3, part: int = 8 * MIB) -> None:
        """``part``: bytes of each part; MIB, if the server takes so little, saves much time."""
        self.server = server
        self._part = part
        self._hook = small_parts(base / "hooks") if part == MIB else {}
        self.data = base / "data"
        self.data.mkdir()
        self.journal = base / "journal" / "j.sqlite"

    def options(self, *more: object) -> list[object]:
        """Few requests at a time: with many, a run has no middle to be killed in."""
        common = ["--journal", self.journal, "--json", "--processes", 1, "--concurrency", 8]
        return [*arguments(self.data, self.server.endpoint, BUCKET), *common, *more]

    def environment(self, **more: str) -> dict[str, str]:
        return environment(self.server, AWS_REGION="us-east-1", **{**self._hook, **more})

    def start(self, *more: object, hook: Mapping[str, str] = {}, **settings: Any) -> Running:
        """``hook`` is more of the environment, as tests.hooks makes it."""
        return Running(*self.options(*more), env=self.environment(**hook), **settings)

    def run(self, *more: object, hook: Mapping[str, str] = {}, **settings: Any) -> Finished:
        return run(*self.options(*more), env=self.environment(**hook), **settings)

    def fill(self, files: int = FILES, large: int = 1) -> list[str]:
        names = small_files(self.data, files)
        for number in range(large):
            names.append(f"large{number}")
            path = write(self.data, names[-1], random_bytes(KIB, number))
            with open(path, "r+b") as file:  # full of holes, but no two parts are alike
                for part in range(1, PARTS):
                    file.seek(part * self._part)
                    file.write(random_bytes(KIB, f"{number}/{part}"))
                file.truncate((PARTS - 1) * self._part + 1)
        return names

    def recorded(self) -> set[str]:
        """The files that the journal calls done."""
        if not self.journal.exists():
            return set()
        database = sqlite3.connect(self.journal)
        try:
            if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'done'").fetchone():
                return set()  # it is being made
            return {path for (path,) in database.execute("SELECT path FROM done")}
        finally:
            database.close()

    def settle(self) -> None:
        """Waits for the requests of a run that is gone: they arrive all the same."""
        host, port = self.server.endpoint.removeprefix("http://").rsplit(":", 1)
        with socket.create_connection((host, int(port))) as last:
            # Those that the run opened wait before this one.
            wait_for(lambda: last.getsockname() in self.server.peers())
        wait_for(lambda: not self.server.peers())

    def assert_all_there(self, names: list[str]) -> None:
        """The bucket is the directory, and nothing is half there."""
        assert sorted(self.server.objects(BUCKET)) == sorted(names)
        assert self.server.wrong(BUCKET, self.data) == {}
        assert self.server.open_uploads(BUCKET) == []

    def uploaded_until(self, running: Running, count: int) -> None:
        running.wait_until(lambda: running.count("uploaded") >= count)


class Before(NamedTuple):
    """What was there when a run had been cut short."""

    recorded: set[str]
    told: set[str]
    stored: Counter[str]

    @classmethod
    def of(cls, world: World, running: Running) -> Before:
        world.settle()
        told = re.findall(r'"event": "uploaded", "path": "([^"]*)"', running.stdout())
        return cls(world.recorded(), set(told), Counter(world.server.stored))


def assert_the_next_run_finishes(world: World, names: list[str], before: Before) -> None:
    """What was told was recorded, what was recorded is not sent again, the rest is sent once."""
    assert before.told <= before.recorded <= set(before.stored)
    finished = world.run()
    assert (finished.code, finished.stderr) == (0, "")
    world.assert_all_there(names)
    for name in names:
        again = world.server.stored[name] - before.stored[name]
        assert again == (0 if name in before.recorded else 1), name
    assert not world.journal.exists()


def end(running: Running) -> None:
    """Waits until the run and its workers are gone: what they sent has arrived, or never will."""
    running.process.wait(TIMEOUT)
    wait_for(lambda: not running.survivors())


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def cut_short(world: World, count: int = 10) -> list[str]:
    """A run that was killed in its middle; returns the names of all files."""
    names = world.fill()
    with world.start() as running:
        running.wait_until(lambda: running.count("uploaded") >= count)
        running.workers()
        kill(running.pid)
        end(running)
    return names
