"""Lets other programs have processor and disk first."""

from __future__ import annotations

import contextlib
import os

AUTOGROUP = "/proc/self/autogroup"
"""The priority of the session: "The autogroup feature" in sched(7).  Linux may weigh sessions
against each other, and then the priority of a process counts within its session only.  The file is
missing where that is not so."""
FURTHER = 5
"""Steps by which a session goes below its process, down to the last one, 19: the supervisor and
each worker are sessions of their own, which are weighed one by one."""
LAST = 19


def compute_after_others(niceness: int) -> None:
    """Lowers this process's priority; while a processor is idle this costs nothing.

    Batch scheduling: a process that wakes up interrupts nobody (sched(7)).
    """
    os.nice(niceness)
    if not niceness:
        return
    if hasattr(os, "SCHED_BATCH"):
        with contextlib.suppress(OSError):  # some sandboxes forbid it
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def lower_session(niceness: int) -> bool:
    """Lowers the priority of this process's session, unless others share it or the system knows no
    such; False when it has to be tried again."""
    if not niceness or os.getsid(0) != os.getpid():
        return True
    try:
        with open(AUTOGROUP, "w") as file:
            file.write(str(min(niceness + FURTHER, LAST)))
    except BlockingIOError:  # for all users but root together the system changes one in 0.1 s
        return False
    except OSError:
        pass
    return True


def read_after_others(pid: int) -> None:
    """Gives a process the lowest best-effort I/O priority, where the system has I/O priorities
    (ioprio_set(2): the scheduler BFQ heeds it)."""
    import psutil  # takes 6 ms, and workers do without

    if not hasattr(psutil, "IOPRIO_CLASS_BE"):
        return
    with contextlib.suppress(psutil.Error, OSError):
        psutil.Process(pid).ionice(psutil.IOPRIO_CLASS_BE, 7)
