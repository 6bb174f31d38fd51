"""How much processor time a thread wants."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

_SCHEDSTAT = "/proc/thread-self/schedstat"


def demand_clock() -> Callable[[], float]:
    """A clock of the seconds for which the calling thread has run or waited for a processor.

    Without Linux's schedstat (https://docs.kernel.org/scheduler/sched-stats.html) the clock counts
    the process's CPU time only.
    """
    try:
        file = os.open(_SCHEDSTAT, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return time.process_time

    def clock() -> float:
        ran, waited, _ = os.pread(file, 100, 0).split()
        return (int(ran) + int(waited)) / 1e9

    return clock if clock() else time.process_time
