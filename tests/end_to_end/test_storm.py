"""Storms: many things go wrong at once, and in the end everything is there."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.command import (
    Finished,
    Running,
    arguments,
    environment,
    random_bytes,
    small_files,
    write,
)
from tests.servers.faults import MIB, REFUSALS, SILENCES, STORM, Storm
from tests.servers.s3 import FakeS3

BUCKET = "bucket"
FILES = int(os.environ.get("STORM_FILES", "1500"))
"""STORM_FILES=5000 takes half a minute."""
LARGE = {"large/exact": 32 * MIB, "large/odd": 16 * MIB + 1, "large/long": 40 * MIB - 1}
PATIENCE = 150.0
"""Seconds that the large storm may take on a slow machine; 12 here."""
SEED = int(os.environ.get("STORM_SEED", "20260101"))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("storm")
    small_files(root, FILES, folders=50)
    for name, size in LARGE.items():
        write(root, name, random_bytes(size, name))
    write(root, "empty", b"")
    return root


@pytest.fixture(scope="module")
def storm(root: Path) -> Iterator[tuple[FakeS3, Finished]]:
    # Silences cost the whole time limit: one in 30 faults is enough.
    words = (*STORM * 3, *REFUSALS, *SILENCES)
    with FakeS3() as server:
        server.blow(Storm(0.3, SEED, words))
        told = arguments(root, server.endpoint, BUCKET, "--json", "--retries", 20)
        more = ["--timeout", 4, "--concurrency", 128]
        with Running(*told, *more, env=environment(server)) as running:
            finished = running.finish(PATIENCE)
    yield server, finished


def test_a_storm_ends_well(storm: tuple[FakeS3, Finished]) -> None:
    _, finished = storm
    assert (finished.code, finished.complaints, finished.reasons()) == (0, [], {})


def test_a_storm_was_one(storm: tuple[FakeS3, Finished]) -> None:
    server, finished = storm
    failed = sum(seen.word != "ok" for seen in server.seen)
    assert 0.27 < failed / len(server.seen) < 0.33
    assert finished.summary["retries"] > 0.2 * FILES


def test_a_storm_leaves_every_file_in_the_bucket(storm: tuple[FakeS3, Finished]) -> None:
    server, finished = storm
    assert len(server.objects(BUCKET)) == finished.summary["uploaded"] == FILES + 4


def test_a_storm_leaves_no_wrong_object(storm: tuple[FakeS3, Finished], root: Path) -> None:
    server, _ = storm
    assert server.wrong(BUCKET, root) == {}


def test_a_storm_leaves_no_parts_behind(storm: tuple[FakeS3, Finished]) -> None:
    server, _ = storm
    # An upload whose id never arrived cannot be aborted, but it has no parts.
    assert [upload for upload in server.open_uploads(BUCKET) if upload.parts] == []


def test_a_storm_sends_nothing_again_that_was_accepted(storm: tuple[FakeS3, Finished]) -> None:
    server, _ = storm
    # Those are stored again whose answer never came, was cut or told of something else.
    excuses = {"lost", "mute", "truncated", "wrong-checksum", "rot", "extra"}
    doubtful = Counter(seen.key for seen in server.seen if seen.word in excuses)
    more = {key: count for key, count in server.stored.items() if count > 1 + doubtful[key]}
    assert more == {}
