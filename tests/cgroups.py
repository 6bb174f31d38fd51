"""Control groups of the tests' own, version 1 or 2, to limit a command's memory."""

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
        return ["sh", "-c", f'echo $$ > {self._directory}/cgroup.procs && exec "$@"', "sh"]

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
    if os.geteuid():
        pytest.skip("control groups can be made by root only")
    unified = "memory" in _words(ROOT / "cgroup.subtree_control")
    parent = ROOT if unified else ROOT / "memory"
    if not unified and not (parent / "memory.limit_in_bytes").exists():
        pytest.skip("no control group for memory is mounted")
    directory = parent / f"uploader-{uuid.uuid4().hex[:12]}"
    try:
        directory.mkdir()
        name = "memory.max" if unified else "memory.limit_in_bytes"
        (directory / name).write_text(str(limit))
    except OSError as error:
        pytest.skip(f"no control group can be made: {error.strerror}")
    group = MemoryGroup(directory, limit, unified=unified)
    thread = threading.Thread(target=group.watch)
    thread.start()
    try:
        yield group
    finally:
        group.end()
        thread.join()
        directory.rmdir()


def _words(file: Path) -> list[str]:
    return file.read_text().split() if file.exists() else []
