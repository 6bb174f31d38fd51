"""Holds a worker to the CPU that the supervisor grants it."""

from __future__ import annotations

import time

import gevent
from gevent import monkey

from .cpu_budget import DutyCycle

TICK = 0.02
"""Seconds between two looks at the CPU used."""
BREATH = 0.001
"""Seconds for the loop between two pauses.  A sleep of 0 would not let it look at sockets and
timers: gevent runs up to 50 such callbacks before."""

_sleep = monkey.get_original("time", "sleep")


class CpuPause:
    """Stops the whole process for as long as it has used too much.

    Whatever is in flight stops with it, be it TLS, a checksum or a copy, so this needs no say in
    how many requests there are.  The kernel goes on sending what the sockets hold.
    """

    def __init__(self) -> None:
        self._duty: DutyCycle | None = None
        self.paused = 0.0
        """Seconds for which the process was stopped so far."""

    def set_rate(self, rate: float) -> None:
        """From now on the process takes so many seconds of CPU a second at most."""
        if self._duty:
            self._duty.rate = rate
            return
        self._duty = DutyCycle(rate, time.monotonic(), time.process_time())
        gevent.spawn(self._pace, self._duty)

    def _pace(self, duty: DutyCycle) -> None:
        while True:
            gevent.sleep(TICK)
            while pause := duty.pause(time.monotonic(), time.process_time()):
                _sleep(pause)
                self.paused += pause
                gevent.sleep(BREATH)  # heartbeats and time limits, however large the debt
