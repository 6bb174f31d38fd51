"""Runs one command and says what it took: time, CPU and memory of its whole process tree."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from .process import descendants

SAMPLE_INTERVAL = 0.02
"""Seconds between two looks at the memory."""
STOP_TIMEOUT = 5.0


@dataclass(frozen=True)
class Usage:
    """What a command took."""

    code: int
    began: float
    """Seconds of the epoch."""
    wall: float
    user: float
    system: float
    """CPU seconds of the process and of all below it that were waited for, as all of ours are."""
    peak_pss: int
    """Bytes, shared pages divided among their users; 0 when not sampled."""
    timed_out: bool


def run(
    argv: Sequence[str],
    *,
    environment: Mapping[str, str],
    directory: Path,
    output: Path,
    timeout: float,
    sample: bool = False,
) -> Usage:
    """Runs a command to its end, its output in a file.

    It is killed with all its children when it takes longer than ``timeout`` seconds, and whenever
    this function ends by an exception.  Sampling costs CPU: do not compare the time of such a run.
    """
    with output.open("wb") as file:
        began, start = time.time(), time.perf_counter()
        process = subprocess.Popen(
            argv,
            env=dict(environment),
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            # Ctrl-C is the bench's to handle.
            start_new_session=True,
        )
    try:
        ended, peak = _wait(process.pid, start + timeout, sample)
        if not ended:
            kill_tree(process.pid)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
    except BaseException:
        kill_tree(process.pid)
        process.wait()
        raise
    code = process.returncode
    return Usage(code, began, wall, usage.ru_utime, usage.ru_stime, peak, not ended)


def kill_tree(pid: int) -> None:
    """Kills a child and all below it; the child itself is left to be waited for."""
    try:
        parent = psutil.Process(pid)
        parent.suspend()  # so that it starts nobody meanwhile
        below = descendants(pid)
    except psutil.NoSuchProcess:
        return
    for process in (*below, parent):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(below, STOP_TIMEOUT)


def cpu_seconds(pids: Sequence[int]) -> float:
    """CPU that these processes have used so far."""
    total = 0.0
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = psutil.Process(pid).cpu_times()
            total += times.user + times.system
    return total


def _wait(pid: int, deadline: float, sample: bool) -> tuple[bool, int]:
    """Waits for the end of a child, without reaping it: whether it has ended, and its peak PSS."""
    peak = 0
    descriptor = os.pidfd_open(pid)
    try:
        while (left := deadline - time.perf_counter()) > 0:
            if select.select([descriptor], [], [], SAMPLE_INTERVAL if sample else left)[0]:
                return True, peak
            if sample:
                peak = max(peak, _tree_pss(pid))
        return False, peak
    finally:
        os.close(descriptor)


def _tree_pss(pid: int) -> int:
    return sum(map(_pss, (pid, *(process.pid for process in descendants(pid)))))


def _pss(pid: int) -> int:
    """Of one process, in bytes; 0 when it has ended."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            for line in file:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0
