"""A directory seen through a slow disk: each open and each read takes some milliseconds.

As on a network volume or a cold disk with many heads, requests wait side by side.  The filesystem
itself is `slowdisk.c`, on libfuse.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
from pathlib import Path
from typing import NamedTuple

from .process import Daemon, Server, run

_SOURCE = Path(__file__).with_name("slowdisk.c")
_LIBRARY = "fuse3 >= 3.12"
"""The first one whose number of threads can be set."""


class Requests(NamedTuple):
    """What the disk was asked for since it was mounted."""

    opens: int
    reads: int
    most_at_once: int
    """Opens and reads in progress at the same time."""


class SlowDisk(Server):
    """`directory` at `path`, read-only, with a `delay` in seconds for each open and each read.

    Nothing is cached between two opens of a file.
    """

    programs = ("gcc", "pkg-config", "fusermount3")
    packages = "fuse3 libfuse3-dev gcc libc6-dev pkg-config"

    def __init__(self, directory: Path, *, delay: float = 0.002) -> None:
        super().__init__()
        self._directory = directory
        self._delay = delay

    @classmethod
    def missing(cls) -> str | None:
        """Return None, or one line saying what is not there and how to get it."""
        if reason := super().missing():
            return reason
        if not os.access("/dev/fuse", os.R_OK | os.W_OK):
            return (
                "SlowDisk needs /dev/fuse: modprobe fuse, or a container that is given the device"
            )
        if subprocess.run(["pkg-config", "--exists", _LIBRARY]).returncode:
            install = f"apt-get install --no-install-recommends {cls.packages}"
            return f"SlowDisk needs the headers of {_LIBRARY}: {install}"
        return None

    def _start(self, directory: Path, cleanup: contextlib.ExitStack) -> None:
        program, self.path = directory / "slowdisk", directory / "mounted"
        self.path.mkdir()
        flags = shlex.split(run(["pkg-config", "--cflags", "--libs", "fuse3"]))
        run(["gcc", "-O2", "-o", str(program), str(_SOURCE), *flags])
        argv = [str(program), str(self._directory.resolve()), str(self.path), str(self._delay)]
        # After the program's own end, which may have been a hard one.
        cleanup.callback(self._unmount)
        # TERM: killed with -9, it would leave the mount behind.
        daemon = Daemon(argv, directory / "slowdisk.log", death_signal="TERM")
        cleanup.callback(daemon.stop)
        daemon.wait_until(lambda: os.path.ismount(self.path))

    def requests(self) -> Requests:
        """Return what the disk was asked for so far."""
        return Requests(*map(int, os.getxattr(self.path, "user.slowdisk").split()))

    def _unmount(self) -> None:
        """Also where the program was killed; harmless where nothing is mounted."""
        subprocess.run(["fusermount3", "-u", "-z", self.path], stderr=subprocess.DEVNULL)
