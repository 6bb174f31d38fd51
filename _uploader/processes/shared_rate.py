"""The rate of a run and its schedule, in memory that processes share."""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import struct
import tempfile

from ..transfer.pacing import reserve

_RATE = struct.Struct("d")
_END = struct.Struct("d")
_PROCESSES = struct.Struct("q")
_RATE_AT, _END_AT, _PROCESSES_AT, _SIZE = 0, 8, 16, 24


class SharedRate:
    """One process's view of the page; the schedule's moments are those of ``time.monotonic``, which
    is the same for all processes.

    No message and no other process is needed to get a turn: the supervisor may wait for a disk.
    A record lock (fcntl) guards the schedule: it belongs to a process, so that forks exclude each
    other (flock's belongs to the open file, which they share), and the kernel opens it when its
    owner is killed.  Nobody waits for it: its owner may have been stopped.
    """

    def __init__(self, descriptor: int) -> None:
        """``descriptor``: the ``descriptor`` of one that was created, here or in another process.
        No other descriptor of the file may be closed: that would open the lock."""
        self.descriptor = descriptor
        self._page = mmap.mmap(descriptor, _SIZE)

    @classmethod
    def create(cls, rate: float, processes: int) -> SharedRate:
        """A new page, for so many processes.  Raises OSError when there can be none."""
        descriptor = _unnamed_file()
        os.ftruncate(descriptor, _SIZE)
        created = cls(descriptor)
        created.set_processes(processes)
        created.set_rate(rate)
        return created

    @property
    def rate(self) -> float:
        """Bytes a second; 0: no limit."""
        rate: float = _RATE.unpack_from(self._page, _RATE_AT)[0]
        return rate

    @property
    def processes(self) -> int:
        """How many processes share the rate."""
        processes: int = _PROCESSES.unpack_from(self._page, _PROCESSES_AT)[0]
        return processes

    def set_rate(self, rate: float) -> None:
        """From now on all processes keep this rate.  For the process that created the page."""
        _RATE.pack_into(self._page, _RATE_AT, rate)  # one store of eight bytes: no lock is needed

    def set_processes(self, processes: int) -> None:
        """So many share the rate from now on.  For the process that created the page."""
        _PROCESSES.pack_into(self._page, _PROCESSES_AT, processes)

    def reserve(self, now: float, size: int) -> float | None:
        """When ``size`` bytes may go; they count as gone.  None: another process has the schedule
        in its hands, so ask again soon; that takes microseconds, unless it was stopped."""
        try:
            fcntl.lockf(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):  # either may be, says POSIX
            return None
        try:
            rate = self.rate
            if not rate:
                return now
            moment, end = reserve(_END.unpack_from(self._page, _END_AT)[0], now, size, rate)
            _END.pack_into(self._page, _END_AT, end)
            return moment
        finally:
            fcntl.lockf(self.descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Gives up this process's view; the others keep theirs."""
        self._page.close()
        os.close(self.descriptor)


def _unnamed_file() -> int:
    if hasattr(os, "memfd_create"):
        with contextlib.suppress(OSError):  # some hardened systems refuse it
            return os.memfd_create("uploader-rate")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
