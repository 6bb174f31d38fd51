"""The page that the processes of a run share."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Callable, Iterator

import pytest

from _uploader.processes.shared_rate import SharedRate
from _uploader.transfer.pacing import BURST

RATE = 1000.0
NOW = 100.0


@pytest.fixture
def shared() -> Iterator[SharedRate]:
    created = SharedRate.create(RATE, 3)
    yield created
    created.close()


def in_child(work: Callable[[], object]) -> int:
    """Forks a process that does the work; returns its pid."""
    pid = os.fork()
    if not pid:
        work()
        os._exit(0)
    return pid


def test_it_tells_what_it_was_made_with(shared: SharedRate) -> None:
    assert (shared.rate, shared.processes) == (RATE, 3)


def test_moments_follow_each_other(shared: SharedRate) -> None:
    moments = [shared.reserve(NOW, 100) for _ in range(3)]
    assert moments == pytest.approx([NOW - BURST + number * 0.1 for number in range(3)])


def test_without_a_rate_every_moment_is_now(shared: SharedRate) -> None:
    shared.set_rate(0.0)
    assert [shared.reserve(NOW, 10**9) for _ in range(2)] == [NOW, NOW]


def test_whoever_has_the_descriptor_shares_it(shared: SharedRate) -> None:
    other = SharedRate(os.dup(shared.descriptor))
    other.reserve(NOW, 100)
    other.set_rate(2 * RATE)
    assert shared.rate == 2 * RATE
    assert shared.reserve(NOW, 1) == pytest.approx(NOW - BURST + 0.1)
    other.close()


def test_no_turn_of_many_processes_is_lost(shared: SharedRate) -> None:
    count, size = 1000, 10

    def work() -> None:
        for _ in range(count):
            while shared.reserve(NOW, size) is None:
                pass

    for pid in [in_child(work) for _ in range(4)]:
        os.waitpid(pid, 0)
    assert shared.reserve(NOW, 1) == pytest.approx(NOW - BURST + 4 * count * size / RATE)


def test_nobody_waits_for_a_process_that_was_stopped_and_its_death_is_enough(
    shared: SharedRate,
) -> None:
    reading, writing = os.pipe()

    def work() -> None:
        fcntl.lockf(shared.descriptor, fcntl.LOCK_EX)  # amid a look
        os.write(writing, b".")
        signal.pause()

    pid = in_child(work)
    os.read(reading, 1)
    assert shared.reserve(NOW, 1) is None
    shared.set_rate(2 * RATE)
    assert shared.rate == 2 * RATE
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert shared.reserve(NOW, 1) == NOW - BURST
    os.close(reading)
    os.close(writing)
