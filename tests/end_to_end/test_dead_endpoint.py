"""An endpoint that is gone for good ends the run."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bench.process import free_port
from tests.command import (
    Finished,
    arguments,
    run,
    write,
)
from tests.end_to_end.world import (
    BUCKET,
    World,
)


def without_hope(world: World, kill_endpoint: Callable[[], None]) -> Finished:
    world.fill(files=300, large=0)
    with world.start("--give-up-after", 2, "--retries", 50, "--timeout", 1) as running:
        world.uploaded_until(running, 5)
        kill_endpoint()
        return running.finish()


@pytest.mark.parametrize("word", ["reset", "500", "stall"])
def test_a_dead_endpoint_ends_the_run(world: World, word: str) -> None:
    finished = without_hope(world, lambda: world.server.script("put", "*", f"{word}..."))
    assert finished.code == 3
    (line,) = finished.complaints
    assert line.startswith("uploader: nothing has succeeded for 2 s: ")


def test_an_endpoint_that_is_gone_ends_the_run(world: World) -> None:
    finished = without_hope(world, world.server.stop)
    assert finished.code == 3
    (line,) = finished.complaints
    assert line.startswith("uploader: nothing has succeeded for 2 s: ")


def test_a_run_without_hope_is_finished_by_the_next(world: World) -> None:
    finished = without_hope(world, lambda: world.server.script("put", "*", "500..."))
    summary = finished.summary
    assert summary["files"] == summary["uploaded"] + summary["failed"]
    done = set(finished.paths("uploaded"))
    assert done == world.recorded()
    world.server.script("put", "*", "ok...")
    assert world.run().summary["skipped"] == len(done)
    assert set(world.server.stored.values()) <= {1, 2}


def test_an_endpoint_that_never_was_ends_the_run(world: World) -> None:
    write(world.data, "a")
    nowhere = f"http://127.0.0.1:{free_port()}"
    options = arguments(world.data, nowhere, BUCKET, "--retries", 1, "--no-journal")
    finished = run(*options, env=world.environment())
    assert finished.code == 3
    assert len(finished.complaints) == 1
