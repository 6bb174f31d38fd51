"""The program is right on a bad network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.network import Network
from tests.command import (
    Finished,
    Running,
    arguments,
    environment,
    random_bytes,
    run,
    small_files,
    write,
)
from tests.servers import require
from tests.servers.s3 import FakeS3

BUCKET = "bucket"


@pytest.fixture
def server() -> Iterator[FakeS3]:
    with FakeS3(buckets=[BUCKET]) as server:
        yield server


def through(network: Network, data: Path, *more: object) -> list[object]:
    return arguments(data, network.url, BUCKET, "--json", *more)


def check(finished: Finished, server: FakeS3, data: Path, count: int) -> None:
    """No file failed, and every one is there as it is on the disk."""
    assert finished.reasons() == {}
    assert finished.code == 0
    assert len(server.objects(BUCKET)) == count
    assert server.wrong(BUCKET, data) == {}


def test_on_a_slow_link_nothing_is_cut_off_and_sent_again(server: FakeS3, data: Path) -> None:
    """The time limit is about progress: each file takes longer, the large one three seconds."""
    require(Network)
    for number in range(12):
        write(data, f"{number:02}", random_bytes(60_000, number))
    write(data, "large", random_bytes(1_000_000, "large"))
    with Network(server.endpoint, rate=300_000, latency=0.02) as network:
        finished = run(*through(network, data, "--timeout", 2), env=environment(server))
        sent = network.traffic().sent
    check(finished, server, data, 13)
    assert sent <= 1.02 * (12 * 60_000 + 1_000_000)


@pytest.mark.parametrize(("kind", "seconds"), [("refuse", 3), ("silence", 2)])
def test_no_file_fails_for_an_outage(server: FakeS3, data: Path, kind: str, seconds: float) -> None:
    require(Network)
    names = small_files(data, 600)
    with Network(server.endpoint, rate=300_000, latency=0.02) as network:
        with Running(*through(network, data), env=environment(server)) as running:
            running.wait_until(lambda: network.traffic().sent > 60_000)
            getattr(network, kind)(seconds)
            finished = running.finish()
        assert network.traffic().resumed is not None, "it had ended before"
    check(finished, server, data, len(names))


def test_no_file_fails_for_connections_that_are_reset(server: FakeS3, data: Path) -> None:
    require(Network)
    names = small_files(data, 200)
    for number in range(8):
        names.append(f"large{number}")
        write(data, names[-1], random_bytes(1_000_000, number))
    with Network(server.endpoint, reset_share=0.9) as network:
        finished = run(*through(network, data, "--concurrency", 16), env=environment(server))
        assert network.traffic().resets > 0
    check(finished, server, data, len(names))
