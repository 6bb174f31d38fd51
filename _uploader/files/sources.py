"""The directories and single files that a run uploads, one after the other."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence

from ..errors import UsageError
from .model import Found, Job


def joined(streams: Iterable[Iterable[Found | None]]) -> Iterator[Found | None]:
    """The entries of several sources, one after the other, in one numbering."""
    number = 0
    for source, entries in enumerate(streams):
        for entry in entries:
            if isinstance(entry, Job):
                yield entry._replace(number=number, source=source)
                number += 1
            else:
                yield entry


def check_keys(
    sources: Sequence[str],
    *,
    follow_symlinks: bool,
    takes: Callable[[str, os.stat_result], bool],
    enters: Callable[[str], bool],
) -> None:
    """Raises ``UsageError`` when files of two sources would become one object.

    ``takes`` and ``enters`` say what is uploaded.  Only directories that several sources have are
    listed; the names of one at each level are in memory.
    """
    first: dict[str, list[str]] = {}
    for source in sources:
        if not os.path.isdir(source):
            first.setdefault(os.path.basename(source), []).append(source)
    levels = [_merged(first, [source for source in sources if os.path.isdir(source)])]
    above: list[str] = []
    while levels:
        if not levels[-1]:
            levels.pop()
            del above[-1:]
            continue
        name, places = levels[-1].popitem()
        path = "/".join([*above, name])
        there = [(place, status) for place in places if (status := _status(place))]
        taken = [
            place for place, status in there if stat.S_ISREG(status.st_mode) and takes(path, status)
        ]
        if len(taken) > 1:
            raise UsageError(
                f"--src: {taken[0]!r} and {taken[1]!r} would become one object, {path!r}: give "
                "each source a run and a --prefix of its own"
            )
        directories = [
            place
            for place, status in there
            if stat.S_ISDIR(status.st_mode)
            and (follow_symlinks or not os.path.islink(place))
            and not _links_above(place, len(above) + 1)
        ]
        if len(directories) > 1 and enters(path):
            above.append(name)
            levels.append(_merged({}, directories))


def _status(place: str) -> os.stat_result | None:
    """None when there is nothing, or it cannot be looked at: the scan will tell."""
    try:
        return os.stat(place)
    except OSError:
        return None


def _links_above(place: str, levels: int) -> bool:
    """Whether it links to one of so many directories above it: the scan does not enter those."""
    if not os.path.islink(place):
        return False
    above = place
    for _ in range(levels):
        above = os.path.dirname(above)
        with contextlib.suppress(OSError):  # it has vanished, or the one above has
            if os.path.samefile(place, above or "."):
                return True
    return False


def _merged(places: dict[str, list[str]], directories: Iterable[str]) -> dict[str, list[str]]:
    """The names that more than one of the places and directories have, and where.  A directory that
    cannot be read has none: the scan will tell."""
    for directory in directories:
        with contextlib.suppress(OSError):
            for name in os.listdir(directory):
                places.setdefault(name, []).append(os.path.join(directory, name))
    return {name: paths for name, paths in places.items() if len(paths) > 1}
