"""Processors and memory that the machine or a cgroup grants this process."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath

import psutil

from ..transfer.memory import Room

_ROOT = Path("/")
_UNRECLAIMABLE = {
    *("inactive_anon", "active_anon", "unevictable"),
    *("kernel_stack", "pagetables", "sock", "slab_unreclaimable"),
}
"""What a cgroup's ``memory.stat`` calls memory that the kernel cannot take back; version 1 knows
the first three.  Caches it takes back by itself: those of files that were read, of directories."""


def usable_cpus(root: Path = _ROOT) -> int:
    """Processors that this process may use, a part of one counted as a whole.

    ``root`` holds ``proc`` and the cgroup mounts.
    """
    return math.ceil(cpu_total(root))


def cpu_total(root: Path = _ROOT) -> float:
    """Seconds of CPU a second that this process may use: its affinity or, if smaller, a cgroup's
    quota."""
    quotas = (quota / period for quota, period in _cpu_quotas(root) if period > 0)
    return min([float(_affinity()), *quotas])


def cpu_used(pid: int) -> float:
    """Seconds of CPU that a process has used so far; 0 when it is gone."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def memory_total(root: Path = _ROOT) -> int:
    """Bytes of physical memory, or the smallest limit of this process's cgroups."""
    limits = [limit for group, file in _memory_groups(root) for limit in _numbers(group / file)]
    return min([psutil.virtual_memory().total, *limits])


class MemoryWatch:
    """Samples the memory of this process and others, shared pages counted once (PSS)."""

    def __init__(self, pids: Callable[[], Iterable[int]]) -> None:
        self._pids = pids
        self.peak = 0
        """Largest sample so far, in bytes."""

    def sample(self) -> int:
        """Bytes that this process and those of ``pids()`` hold now."""
        total = sum(_memory(pid) for pid in {os.getpid(), *self._pids()})
        self.peak = max(self.peak, total)
        return total


class SpareMemory:
    """Samples what the machine and the limited cgroups of this process have free.

    Swap counts as nothing: who needs it has no memory left.
    """

    def __init__(self, root: Path = _ROOT) -> None:
        self._groups = list(_memory_groups(root))

    def sample(self) -> list[Room]:
        """One for the machine, one for each cgroup with a limit below it."""
        machine = psutil.virtual_memory()
        rooms = [Room("machine", machine.available, machine.total)]
        for group, limit_file in self._groups:
            for limit in _numbers(group / limit_file):
                if limit < machine.total:
                    rooms.append(Room("cgroup", max(0, limit - _unreclaimable(group)), limit))
        return rooms


def _memory(pid: int) -> int:
    try:
        process = psutil.Process(pid)
        try:
            full = process.memory_full_info()
        except psutil.AccessDenied:
            return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0
    return int(getattr(full, "pss", 0) or full.rss)  # only Linux has PSS


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu_quotas(root: Path) -> Iterator[tuple[int, int]]:
    """Quotas as (microseconds of processor time, microseconds of the period)."""
    for directory in _groups(root, ""):
        quota = _numbers(directory / "cpu.max")
        if len(quota) == 2:
            yield quota[0], quota[1]
    for directory in _groups(root, "cpu"):
        quota = _numbers(directory / "cpu.cfs_quota_us")
        period = _numbers(directory / "cpu.cfs_period_us")
        if quota and period:
            yield quota[0], period[0]


def _memory_groups(root: Path) -> Iterator[tuple[Path, str]]:
    """Groups, and the names of the files with their limits in bytes."""
    for controller, name in (
        ("", "memory.max"),
        ("", "memory.high"),  # above it the kernel slows the whole group down
        ("memory", "memory.limit_in_bytes"),
    ):
        for directory in _groups(root, controller):
            yield directory, name


def _unreclaimable(group: Path) -> int:
    """Bytes that the group and those below it hold for good."""
    stat = dict(line.split() for line in _read(group / "memory.stat").splitlines())
    # Version 1 says ``total_`` where groups below count, too.
    return sum(int(stat.get(f"total_{name}", stat.get(name, 0))) for name in _UNRECLAIMABLE)


def _numbers(file: Path) -> list[int]:
    """The positive numbers in a cgroup's file; none without a limit or without the file.

    ``max`` (version 2), -1 or a huge number (version 1) mean no limit.
    """
    return [int(word) for word in _read(file).split() if word.isdecimal() and int(word) > 0]


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Directories of this process's cgroup and of its ancestors, as far as visible.

    ``controller`` is one of version 1, or empty for version 2.  In a container the kernel may name
    a group outside of the mount: then the mount's root is the nearest one visible.
    """
    group = _own_group(root, controller)
    mount = _mount(root, controller)
    if group is None or mount is None:
        return
    mounted, top = mount
    try:
        inside = PurePosixPath(group).relative_to(mounted)
    except ValueError:
        inside = PurePosixPath()
    directory = top / inside
    if ".." in inside.parts or not directory.is_dir():
        directory = top
    yield directory
    while directory != top:
        directory = directory.parent
        yield directory


def _own_group(root: Path, controller: str) -> str | None:
    """Path of this process's group within its hierarchy (``id:controllers:path``)."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return path
    return None


def _mount(root: Path, controller: str) -> tuple[str, Path] | None:
    """The mounted group of the hierarchy, and its mount point (proc(5), ``mountinfo``)."""
    for line in _read(root / "proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        mounted, where = (_unescape(field) for field in before.split(" ")[3:5])
        kind, _, options = after.split(" ")[:3]  # not split(): a source may be empty
        version_2 = kind == "cgroup2" and not controller
        if version_2 or (kind == "cgroup" and controller in options.split(",")):
            return mounted, root / where.lstrip("/")
    return None


def _unescape(field: str) -> str:
    """mountinfo writes blanks and backslashes as three octal digits."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def _read(file: Path) -> str:
    try:
        return file.read_text(errors="surrogateescape")
    except OSError:
        return ""
