"""A run sends no faster than it may, and its limit can be changed while it goes on.

That it is no slower either is measured by bench: a busy machine would fail such a test.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.command import Finished, Running, arguments, environment, random_bytes, run, write
from tests.end_to_end.world import BUCKET, kill
from tests.servers.s3 import FakeS3

KIB, MIB = 2**10, 2**20
LOWEST = "64K"
BURST = 0.1
"""Seconds of the rate that may be ahead of it."""
OFF = "limit of the rate: off"


class Arrivals:
    """When a server had each body, by its own clock."""

    def __init__(self, server: FakeS3) -> None:
        self._server = server
        self._lock = threading.Lock()
        self._bodies: list[tuple[float, int]] = []
        self._sizes: dict[str, int] = {}
        server.hook = self._note

    def expect(self, key: str, size: int) -> None:
        self._sizes[key] = size

    def _note(self, moment: str, seen: Any) -> None:
        if moment == "before" and seen.kind == "put":
            with self._lock:
                self._bodies.append((time.monotonic(), self._sizes[seen.key]))

    def assert_within(self, rate: float) -> None:
        """At no moment more had come than the rate brings since the first request of the run.

        That bounds each window as well, and no machine is too busy for it: whoever is late sees
        less.
        """
        began = self._server.seen[0].at
        arrived = 0
        for at, size in self._bodies:
            arrived += size
            assert arrived <= rate * (at - began + BURST)
        assert len(self._bodies) == len(self._sizes)


@pytest.fixture
def server() -> Iterator[FakeS3]:
    with FakeS3(buckets=[BUCKET]) as server:
        yield server


def options(data: Path, server: FakeS3, *more: object) -> list[object]:
    return arguments(data, server.endpoint, BUCKET, "--json", "--no-journal", *more)


def notes(finished: Finished) -> list[str]:
    return [event["text"] for event in finished.events if event["event"] == "note"]


def check(finished: Finished, server: FakeS3, data: Path, files: int) -> None:
    assert (finished.code, finished.stderr) == (0, "")
    assert len(server.objects(BUCKET)) == files
    assert server.wrong(BUCKET, data) == {}


def test_it_sends_no_faster(server: FakeS3, data: Path) -> None:
    arrivals = Arrivals(server)
    for number, size in enumerate([16 * KIB] * 40 + [300 * KIB] * 2):
        write(data, f"{number:02}", random_bytes(size, number))
        arrivals.expect(f"{number:02}", size)
    limited = options(data, server, "--processes", 2, "--limit-rate", "512K")
    check(run(*limited, env=environment(server)), server, data, 42)
    arrivals.assert_within(512 * KIB)


def test_requests_that_wait_for_their_turn_are_not_given_up(server: FakeS3, data: Path) -> None:
    """However short the time without progress may be."""
    for number in range(10):
        write(data, f"{number}", random_bytes(16 * KIB, number))
    limited = options(data, server, "--timeout", 0.5, "--limit-rate", LOWEST)
    finished = run(*limited, env=environment(server))
    check(finished, server, data, 10)
    assert finished.summary["retries"] == 0
    assert all(server.requests["put", f"{number}"] == 1 for number in range(10))


def test_a_copy_to_a_directory_is_no_faster_either(data: Path, tmp_path: Path) -> None:
    write(data, "file", random_bytes(300 * KIB, 0))
    places = ["--src", data, "--bucket", BUCKET, "--provider", "local", "--endpoint-url", tmp_path]
    limited = [*places, "--json", "--no-journal", "--limit-rate", "256K"]
    finished = run(*limited, env=environment())
    assert finished.code == 0
    assert (tmp_path / BUCKET / "file").read_bytes() == random_bytes(300 * KIB, 0)
    assert finished.summary["seconds"] >= 300 / 256 - BURST


class TestChanges:
    """With the lowest limit these files would take minutes."""

    FILES = 12

    @pytest.fixture(autouse=True)
    def files(self, data: Path) -> None:
        for number in range(self.FILES):
            write(data, f"{number}", random_bytes(MIB, number))

    def test_sigusr2_turns_it_off(self, server: FakeS3, data: Path) -> None:
        limited = options(data, server, "--limit-rate", LOWEST)
        with Running(*limited, env=environment(server)) as running:
            running.wait_until(lambda: running.sent_bytes() > 0)
            running.signal(signal.SIGUSR2)
            finished = running.finish()
        check(finished, server, data, self.FILES)
        assert OFF in notes(finished)

    def test_sigusr2_turns_it_on_again(self, server: FakeS3, data: Path) -> None:
        server.script("put", "*", "delay:20...")  # the run goes on without the limit, too
        limited = options(data, server, "--limit-rate", LOWEST)
        with Running(*limited, env=environment(server)) as running:
            running.wait_until(lambda: running.sent_bytes() > 0)
            running.signal(signal.SIGUSR2)
            running.wait_until(lambda: OFF in running.stdout())
            running.signal(signal.SIGUSR2)
            running.wait_until(lambda: "limit of the rate: 65.5 kB/s" in running.stdout())

    def test_a_file_changes_it(self, server: FakeS3, data: Path, tmp_path: Path) -> None:
        file = tmp_path / "rate"
        file.write_text(LOWEST)
        limited = options(data, server, "--limit-rate", f"@{file}")
        with Running(*limited, env=environment(server)) as running:
            running.wait_until(lambda: running.sent_bytes() > 0)
            file.write_text("1X")
            running.wait_until(lambda: "'1X' is no rate" in running.stdout())
            file.write_text("100M")
            finished = running.finish()
        check(finished, server, data, self.FILES)
        assert "limit of the rate: 105 MB/s" in notes(finished)

    def test_a_killed_worker_holds_up_nobody(self, server: FakeS3, data: Path) -> None:
        limited = options(data, server, "--processes", 2, "--limit-rate", "3M")
        with Running(*limited, env=environment(server)) as running:
            running.wait_until(lambda: running.sent_bytes() > 0)
            kill(running.workers()[0])
            finished = running.finish()
        check(finished, server, data, self.FILES)
        assert any("died" in note for note in notes(finished))

    def test_sigusr2_without_a_limit_kills_nobody(self, server: FakeS3, data: Path) -> None:
        server.script("put", "*", "delay:0.3...")
        with Running(*options(data, server), env=environment(server)) as running:
            running.wait_until(lambda: bool(server.seen))
            for pid in [running.pid, *running.workers()]:
                os.kill(pid, signal.SIGUSR2)
            finished = running.finish()
        check(finished, server, data, self.FILES)
        assert any("--limit-rate" in note for note in notes(finished))
