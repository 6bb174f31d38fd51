"""Looks into the kernel's page cache."""

from __future__ import annotations

import ctypes
import mmap
import os
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)


def cached_pages(path: Path) -> list[bool]:
    """Whether each page of a file is in the cache (mincore(2)); the file has to be the caller's."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if not size:
            return []
        # A private copy that is never written: ctypes wants what it could write to.
        with mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY) as view:
            found = (ctypes.c_ubyte * -(-size // mmap.PAGESIZE))()
            start = ctypes.c_char.from_buffer(view)
            failed = _libc.mincore(ctypes.byref(start), ctypes.c_size_t(size), found)
            del start  # else the view cannot be closed
            if failed:
                raise OSError(ctypes.get_errno(), "mincore", str(path))
    return [bool(byte & 1) for byte in found]


def cached_share(path: Path) -> float:
    """Share of a file's pages that are in the cache."""
    pages = cached_pages(path)
    return sum(pages) / len(pages) if pages else 0.0


def forget(path: Path) -> None:
    """Drops a file from the cache, once it is on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
