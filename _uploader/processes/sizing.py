"""Decides what the size of the work calls for.  Pure."""

from __future__ import annotations

import math

FILES_EACH = 64
"""Small files that make one more process worth its start: as many as a process first has in
flight."""
BYTES_EACH = 64 * 2**20
"""Bytes of large files that do: a few parts."""


def processes_worth(files: int, size: int) -> int:
    """How many processes are worth their start for ``files`` files of ``size`` bytes in all."""
    worth = max(math.ceil(files / FILES_EACH), math.ceil(size / BYTES_EACH))
    return max(1, min(files, worth))
