"""Runs that a signal stops, and processes that stand still."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.command import (
    OnTerminal,
)
from tests.end_to_end.world import (
    WITH_GRACE,
    Before,
    World,
    assert_the_next_run_finishes,
    end,
)
from tests.hooks import on_import


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_run_that_is_stopped_is_finished_by_the_next(world: World, number: int) -> None:
    names = world.fill()
    with world.start() as running:
        world.uploaded_until(running, 5)
        running.signal(number)
        finished = running.finish(WITH_GRACE)
        before = Before.of(world, running)
    assert finished.code == 128 + number
    assert before.told == before.recorded
    assert_the_next_run_finishes(world, names, before)


def test_a_run_whose_terminal_is_closed_is_finished_by_the_next(world: World) -> None:
    names = world.fill()
    options = [option for option in world.options() if option != "--json"]
    with OnTerminal(*options, env=world.environment()) as running:
        running.wait_until(lambda: len(world.recorded()) >= 5)
        running.workers()
        running.hang_up()
        code = running.process.wait(WITH_GRACE)
        end(running)
    assert code == 128 + signal.SIGHUP
    world.settle()
    before = Before(world.recorded(), set(), Counter(world.server.stored))
    assert_the_next_run_finishes(world, names, before)


def test_a_worker_that_stands_still_for_longer_than_the_timeout_costs_no_file(
    world: World,
) -> None:
    names = world.fill(files=200)
    with world.start("--timeout", 1, "--processes", 2) as running:
        world.uploaded_until(running, 5)
        worker = running.workers()[0]
        os.kill(worker, signal.SIGSTOP)
        time.sleep(2.5)  # what is tested is that time passes
        os.kill(worker, signal.SIGCONT)
        finished = running.finish()
    assert (finished.code, finished.stderr) == (0, "")
    world.assert_all_there(names)


def test_a_run_that_stands_still_for_longer_than_the_timeout_goes_on(world: World) -> None:
    names = world.fill(files=200)
    with world.start("--timeout", 1) as running:
        world.uploaded_until(running, 5)
        everyone = [running.pid, *running.workers()]
        for pid in everyone:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(2.5)  # what is tested is that time passes
        for pid in everyone:
            os.kill(pid, signal.SIGCONT)
        finished = running.finish()
    assert (finished.code, finished.stderr) == (0, "")
    world.assert_all_there(names)


def test_a_worker_that_never_moves_again_is_replaced(world: World, tmp_path: Path) -> None:
    names = world.fill(files=200)
    code = "def change(module): module.SILENCE_ALLOWED = 3.0"
    hook = on_import(tmp_path / "hooks", "_uploader.processes.supervisor", code)
    with world.start("--processes", 2, hook=hook) as running:
        world.uploaded_until(running, 5)
        worker = running.workers()[0]
        os.kill(worker, signal.SIGSTOP)
        finished = running.finish()
        assert worker not in running.survivors()
    assert (finished.code, finished.stderr) == (0, "")
    notes = [event["text"] for event in finished.events if event["event"] == "note"]
    assert f"worker {worker} has been silent for too long: replaced" in notes
    world.assert_all_there(names)
