"""Reads files without pushing others' pages out of the page cache.

What is read once and never again is dropped.  Pages that were there before are somebody's working
set and stay.  A few looks tell which they are: programs cache files as a whole, or large pieces of
them, and the exact answer (mincore(2)) is given only to those who may write the file.
"""

from __future__ import annotations

import contextlib
import errno
import os

MOST_LOOKS = 8
"""At one file.  A look at a page that is not cached makes the kernel read it."""
LEAST_PIECE = 8 * 2**20
"""Bytes that one look stands for, at least."""

_KNOWN = hasattr(os, "posix_fadvise") and hasattr(os, "RWF_NOWAIT")  # Linux only


class Cached:
    """Which pieces of a file were in the page cache at one moment."""

    def __init__(self, fd: int, size: int) -> None:
        """Looks now: later the kernel has read ahead what this process has not read yet."""
        self._piece = max(LEAST_PIECE, -(-size // MOST_LOOKS))
        starts = range(0, size, self._piece)
        self._held = [holds(fd, min(start + self._piece, size) - 1) for start in starts]

    def __getitem__(self, offset: int) -> bool:
        """The piece with this byte was."""
        return self._held[offset // self._piece]


def holds(fd: int, offset: int) -> bool:
    """The page of this byte is in the cache; True as well where nothing can be dropped from it.

    The kernel begins to read a page that is not.  A quick disk may have done so before the kernel
    looks again: now and then a page counts as held that was not, and stays.
    """
    if not _KNOWN:
        return True
    try:
        return os.preadv(fd, [bytearray(1)], offset, os.RWF_NOWAIT) > 0
    except OSError as error:
        return error.errno != errno.EAGAIN  # EOPNOTSUPP: the filesystem does not tell


def drop(fd: int, offset: int, length: int) -> None:
    """Drops the pages of these bytes from the cache.

    Whole pages only, but for the file's last one, and only clean ones: what waits to be written
    stays (posix_fadvise(2)), and so does what another program has mapped.
    """
    with contextlib.suppress(OSError):  # a filesystem that does not know it keeps them
        os.posix_fadvise(fd, offset, length, os.POSIX_FADV_DONTNEED)
