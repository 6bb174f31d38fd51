"""A worker that has used too much CPU stops, but not so that nobody can speak to it."""

from __future__ import annotations

import time

import gevent

from _uploader.processes.cpu_budget import LONGEST_PAUSE
from _uploader.processes.cpu_pause import TICK, CpuPause


def test_timers_fire_between_the_pauses_of_a_large_debt() -> None:
    """Heartbeats and time limits are such."""
    fired = []

    def beat() -> None:
        while True:
            gevent.sleep(TICK)
            fired.append(time.monotonic())

    beats = gevent.spawn(beat)
    pause = CpuPause()
    pause.set_rate(1e-9)
    gevent.sleep(2 * TICK)
    busy = time.process_time()
    while time.process_time() == busy:  # a debt that is never paid
        pass
    gevent.sleep(6 * LONGEST_PAUSE)
    beats.kill()
    pause.set_rate(1e9)
    assert len(fired) >= 3
    assert 3 * LONGEST_PAUSE <= pause.paused <= 12 * LONGEST_PAUSE
