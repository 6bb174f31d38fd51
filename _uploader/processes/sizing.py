"""Decides what the size of the work calls for.  Pure."""

from __future__ import annotations

import math

FILES_EACH = 64
"""Small files for one more process: as many as a process first has in flight.  Its start costs
20 ms of CPU: with fewer files the run takes longer, with 256 no longer, to a distant service less.
"""
BYTES_EACH = 64 * 2**20
"""Bytes of large files that do: a few parts."""
CACHE_SHARE = 0.5
"""Share of the memory that files may fill: the other half is for programs, and for files that these
read."""


def processes_worth(files: int, size: int) -> int:
    """How many processes are worth their start for ``files`` files of ``size`` bytes in all."""
    worth = max(math.ceil(files / FILES_EACH), math.ceil(size / BYTES_EACH))
    return max(1, min(files, worth))


def fills_page_cache(size: int, memory: int) -> bool:
    """Whether reading ``size`` bytes would push out what other programs have in ``memory`` bytes:
    the run is to leave the page cache as it was."""
    return size > CACHE_SHARE * memory
