"""Whenever a run is killed, the next one finishes what is left, nothing twice."""

from __future__ import annotations

import os
import random
import time

import pytest

from tests.end_to_end.world import (
    FILES,
    LATENCY,
    PARTS,
    Before,
    World,
    assert_the_next_run_finishes,
    end,
    kill,
)

SEEDS = int(os.environ.get("KILL_SEEDS", "9"))
"""Moments to be killed at, a third of them for each victim; KILL_SEEDS=30 looks at more."""


@pytest.mark.parametrize("seed", range(SEEDS))
def test_kill_at_a_random_moment(world: World, seed: int) -> None:
    chance = random.Random(seed)
    names = world.fill()
    requests = FILES + PARTS + 2
    victim = ("supervisor", "worker", "all")[seed % 3]
    with world.start("--processes", 2) as running:
        after = chance.randrange(1, requests)
        running.wait_until(lambda: len(world.server.seen) >= after)
        time.sleep(chance.random() * 2 * LATENCY)  # the moment is not that of an answer
        workers = running.workers()
        if victim == "worker":
            kill(chance.choice(workers))
            finished = running.finish()
            assert (finished.code, finished.stderr) == (0, "")
            world.assert_all_there(names)
            assert max(world.server.stored.values()) <= 2
            assert sorted(finished.paths("uploaded")) == sorted(names)
            return
        kill(running.pid)
        for pid in workers if victim == "all" else ():
            kill(pid)
        end(running)
        before = Before.of(world, running)
    assert_the_next_run_finishes(world, names, before)


def killed_after(world: World, requests: int) -> Before:
    """Kills a run once it has sent so many requests."""
    enough = len(world.server.seen) + requests
    with world.start() as running:
        running.wait_until(lambda: len(world.server.seen) >= enough)
        running.workers()
        kill(running.pid)
        end(running)
        return Before.of(world, running)


def test_kill_again_and_again(world: World) -> None:
    """Each run goes on where the one before was killed."""
    names = world.fill()
    killed_after(world, 15)
    killed_after(world, 15)
    assert_the_next_run_finishes(world, names, killed_after(world, 15))
