"""Control groups of the tests' own, version 1 or 2, to limit a command's memory or CPU."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path("/sys/fs/cgroup")
SAMPLING = 0.02
"""Seconds between two looks at the memory in use."""
INTERPRETER = 8 * 2**20
"""Bytes of a Python process that does nothing."""


class MemoryGroup:
    """A group whose processes may take so many bytes together."""

    def __init__(self, directory: Path, limit: int, *, unified: bool) -> None:
        self._directory = directory
        self._limit = limit
        self._unified = unified
        self.peak = 0
        """Most anonymous memory seen, in bytes: the page cache is no part of it."""
        self._ended = threading.Event()

    @property
    def wrapper(self) -> list[str]:
        """A command that moves itself into the group and becomes its arguments."""
        return _entering(self._directory)

    @property
    def killed(self) -> int:
        """Processes that the kernel has killed for lack of memory."""
        name = "memory.events" if self._unified else "memory.oom_control"
        return self._number(name, "oom_kill")

    @contextlib.contextmanager
    def filled(self, leaving: int) -> Iterator[None]:
        """Another process in the group takes what is free now but for so many bytes."""
        size = self._limit - self._anonymous() - leaving - INTERPRETER
        code = f"import sys; held = bytearray({size}); print(flush=True); sys.stdin.read()"
        command = [*self.wrapper, sys.executable, "-c", code]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdin and process.stdout
            assert process.stdout.readline()
            yield
            process.stdin.close()

    def watch(self) -> None:
        """Notes the peak until ``end``."""
        while not self._ended.wait(SAMPLING):
            self.peak = max(self.peak, self._anonymous())

    def end(self) -> None:
        """Ends ``watch``."""
        self._ended.set()

    def _anonymous(self) -> int:
        return self._number("memory.stat", "anon" if self._unified else "total_rss")

    def _number(self, file: str, name: str) -> int:
        text = (self._directory / file).read_text()
        found = re.search(rf"^{name} (\d+)$", text, re.MULTILINE)
        assert found, text
        return int(found[1])


@contextlib.contextmanager
def memory_group(limit: int) -> Iterator[MemoryGroup]:
    """A new group of ``limit`` bytes; skips the test where none can be made."""
    with _new_group("memory") as (directory, unified):
        _write(directory / ("memory.max" if unified else "memory.limit_in_bytes"), str(limit))
        group = MemoryGroup(directory, limit, unified=unified)
        thread = threading.Thread(target=group.watch)
        thread.start()
        try:
            yield group
        finally:
            group.end()
            thread.join()


@contextlib.contextmanager
def cpu_group(cpus: float) -> Iterator[list[str]]:
    """A new group that may take so many CPUs: a command that moves itself into it and becomes its
    arguments.  Skips the test where none can be made."""
    period = 100_000
    with _new_group("cpu") as (directory, unified):
        if unified:
            _write(directory / "cpu.max", f"{int(cpus * period)} {period}")
        else:
            _write(directory / "cpu.cfs_period_us", str(period))
            _write(directory / "cpu.cfs_quota_us", str(int(cpus * period)))
        yield _entering(directory)


@contextlib.contextmanager
def _new_group(controller: str) -> Iterator[tuple[Path, bool]]:
    """A new group and whether it is of version 2."""
    if os.geteuid():
        pytest.skip("control groups can be made by root only")
    unified = controller in _words(ROOT / "cgroup.subtree_control")
    parent = ROOT if unified else ROOT / controller
    if not unified and not (parent / "cgroup.procs").exists():
        pytest.skip(f"no control group for {controller} is mounted")
    directory = parent / f"uploader-{uuid.uuid4().hex[:12]}"
    try:
        directory.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made: {error.strerror}")
    try:
        yield directory, unified
    finally:
        directory.rmdir()


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text)
    except OSError as error:
        pytest.skip(f"the control group has no {file.name}: {error.strerror}")


def _entering(directory: Path) -> list[str]:
    return ["sh", "-c", f'echo $$ > {directory}/cgroup.procs && exec "$@"', "sh"]


def _words(file: Path) -> list[str]:
    return file.read_text().split() if file.exists() else []
