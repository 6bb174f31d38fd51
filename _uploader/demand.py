"""How much of a processor this process wants."""

from __future__ import annotations

import time

_SCHEDSTAT = "/proc/thread-self/schedstat"


def demand() -> float:
    """Seconds for which this thread has run, or has waited for a processor to run on.

    Linux tells both (https://docs.kernel.org/scheduler/sched-stats.html); where it does not, the
    waiting counts as nothing.
    """
    try:
        with open(_SCHEDSTAT) as file:
            ran, waited, _ = file.read().split()
    except OSError:
        return time.process_time()
    return (int(ran) + int(waited)) / 1e9
