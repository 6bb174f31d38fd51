"""Somebody else on the machine while a client runs: a program that computes, or a file in the page
cache that a container shares with the client.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil

from .errors import BenchError
from .page_cache import cached_share
from .results import Neighbour

WORK = """
import time
began = time.perf_counter()
for _ in range(250_000_000): pass
print(time.perf_counter() - began)
"""
"""Some seconds of one processor: always the same."""
POLL = 0.02
WINDOW = 2.0
GROUPS = Path("/sys/fs/cgroup")
GROUP_MEMORY = 512 * 2**20
FILE_SIZE = 128 * 2**20


def first_processor() -> list[str]:
    """A command that runs its arguments on one processor."""
    return ["taskset", "--cpu-list", str(min(os.sched_getaffinity(0)))]


def leave_to_clients(pids: Sequence[int], *, first_processor: bool) -> None:
    """Has a server stand for a machine elsewhere: it runs when nobody else wants to, or on
    processors of its own."""
    others = sorted(os.sched_getaffinity(0))[1:]
    for pid in pids:
        if first_processor:
            os.sched_setaffinity(pid, others)
        else:
            psutil.Process(pid).nice(19)
            os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))
            # Linux may weigh sessions, not processes: sched(7), "The autogroup feature".
            with contextlib.suppress(OSError):
                Path(f"/proc/{pid}/autogroup").write_text("19")


def compute() -> float:
    """Does fixed work on each processor; returns the seconds that the slowest took."""
    command = [sys.executable, "-S", "-c", WORK]
    with contextlib.ExitStack() as cleanup:
        started = []
        for _ in os.sched_getaffinity(0):
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            cleanup.callback(process.wait)
            cleanup.callback(process.kill)
            started.append(process)
        return max(float(process.communicate()[0]) for process in started)


@contextlib.contextmanager
def computing(seen: Neighbour, has_begun: Callable[[], bool]) -> Iterator[None]:
    """The work is done once alone, and again while the client uploads, from its first object on."""
    alone = compute()
    over = threading.Event()

    def beside() -> None:
        while not has_begun():
            if over.wait(POLL):
                return
        seconds = compute()
        if not over.is_set():  # else it was alone for a while
            seen.slower = seconds / alone - 1

    thread = threading.Thread(target=beside)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextlib.contextmanager
def measuring(seen: Neighbour, asked: float, sent: Callable[[], int]) -> Iterator[None]:
    """What the client has sent is looked at all the time; ``asked`` is its limit in bytes a
    second."""
    looks: list[tuple[float, int]] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(POLL):
            looks.append((time.perf_counter(), sent()))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    rates = rates_of(looks)
    if rates:
        seen.rate, seen.rate_least, seen.rate_most = (rate / asked for rate in rates)


def rates_of(looks: Sequence[tuple[float, int]]) -> tuple[float, float, float] | None:
    """Bytes a second from the second second on: of all the time, and of the two seconds with the
    fewest and the most.  ``looks``: moments, and the bytes until then.  None for less than three
    seconds of sending."""
    moving = [(moment, sent) for moment, sent in looks if 0 < sent < looks[-1][1]]
    steady = [look for look in moving if look[0] >= moving[0][0] + 1]
    if not steady or steady[-1][0] - steady[0][0] < WINDOW:
        return None
    windows = []
    end = 0
    for moment, sent in steady:
        while end < len(steady) and steady[end][0] < moment + WINDOW:
            end += 1
        if end == len(steady):
            break
        windows.append((steady[end][1] - sent) / (steady[end][0] - moment))
    whole = (steady[-1][1] - steady[0][1]) / (steady[-1][0] - steady[0][0])
    return whole, min(windows, default=whole), max(windows, default=whole)


@contextlib.contextmanager
def caching(seen: Neighbour) -> Iterator[list[str]]:
    """A container whose page cache holds a file; gives the command that enters it."""
    with _memory_group() as enter, tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        file = Path(directory) / "file"
        write = f"dd if=/dev/urandom of={file} bs={FILE_SIZE} count=1 iflag=fullblock conv=fsync"
        subprocess.run([*enter, *write.split(), "status=none"], check=True)
        for _ in range(2):  # a working set is read more than once
            subprocess.run([*enter, "cat", str(file)], stdout=subprocess.DEVNULL, check=True)
        seen.cached_before = cached_share(file)
        yield enter
        seen.cached_after = cached_share(file)


def no_groups() -> str | None:
    """Why there can be no container here; None when there can."""
    if os.geteuid():
        return "only root can make a control group"
    if _parent() is None:
        return "no control group for memory is mounted"
    return None


def _parent() -> Path | None:
    control = GROUPS / "cgroup.subtree_control"
    if control.exists() and "memory" in control.read_text().split():
        return GROUPS
    version_1 = GROUPS / "memory"
    return version_1 if (version_1 / "memory.limit_in_bytes").exists() else None


@contextlib.contextmanager
def _memory_group() -> Iterator[list[str]]:
    parent = _parent()
    if parent is None:
        raise BenchError("no control group for memory is mounted")
    group = parent / f"bench-{os.getpid()}-{time.monotonic_ns()}"
    group.mkdir()
    try:
        limit = "memory.max" if parent == GROUPS else "memory.limit_in_bytes"
        (group / limit).write_text(str(GROUP_MEMORY))
        yield ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh"]
    finally:
        group.rmdir()
