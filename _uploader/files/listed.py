"""The files that a list names, in its order."""

from __future__ import annotations

import os
import select
import stat
from collections import OrderedDict
from collections.abc import Collection, Iterator
from functools import lru_cache
from pathlib import Path

from ..errors import RunError
from .entries import OWN, KeyRoom, Own, shown, special
from .model import Failed, Found, Job, Skipped

PAUSE = 0.001
"""Seconds to wait for more of the list: whoever reads it has other work."""
READ_SIZE = 64 * 1024
MOST_PATH = 64 * 1024
"""Bytes of a line: what is longer is no path, and would fill the memory."""
REMEMBERED = 65_536
"""Paths: more than are under way at a time.  If one is there again, the file is sent once."""
DIRECTORIES_REMEMBERED = 1024


def listed(
    root: str,
    names: Iterator[str | None],
    *,
    follow_symlinks: bool,
    prefix: str = "",
    own: Collection[Path] = (),
) -> Iterator[Found | None]:
    """Yields each file of a list of paths, relative to ``root`` or below it, and None for None.

    One that is missing, no regular file, or outside of ``root`` is Failed; one that was there
    before, ``REMEMBERED`` paths ago at most, and what belongs to the run is Skipped.  Raises
    ``UsageError`` at once when the prefix can be part of no key.
    """
    return _Listed(root, follow_symlinks, KeyRoom(prefix), Own(own)).entries(names)


class _Listed:
    def __init__(self, root: str, follow_symlinks: bool, room: KeyRoom, own: Own) -> None:
        self._root = os.path.join(root, "")
        self._absolute = os.path.join(os.path.abspath(root), "")
        self._follow_symlinks = follow_symlinks
        self._room = room
        self._own = own
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._is_linked = lru_cache(DIRECTORIES_REMEMBERED)(self._look_for_links)

    def entries(self, names: Iterator[str | None]) -> Iterator[Found | None]:
        number = 0
        for name in names:
            entry = None if name is None else self._entry(name, number)
            yield entry
            number += isinstance(entry, Job)

    def _entry(self, name: str, number: int) -> Found:
        parts = [part for part in self._below(name).split("/") if part not in ("", ".")]
        path = "/".join(parts) or "."
        try:
            if problem := self._problem(name, parts):
                return Failed(shown(name), problem)
            if problem := self._room.problem(path):
                return Failed(shown(path), problem)
            status = os.stat(self._root + path)
        except (OSError, ValueError) as error:  # ValueError: a NUL in a line
            text = getattr(error, "strerror", None) or error
            missing = isinstance(error, (FileNotFoundError, NotADirectoryError))
            return Failed(shown(path), "is not there" if missing else f"cannot be read: {text}")
        if stat.S_ISDIR(status.st_mode):
            return Failed(shown(path), "is a directory")
        if not stat.S_ISREG(status.st_mode):
            return Failed(shown(path), special(status.st_mode))
        if parts[-1] in self._own.names and self._own.holds(status):
            return Skipped(shown(path), OWN)
        if self._is_repeated(path):
            return Skipped(path, "is listed more than once")
        return Job(number, path, status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    def _below(self, name: str) -> str:
        """The path relative to the root where it is absolute and below it."""
        return name.removeprefix(self._absolute) if name.startswith("/") else name

    def _problem(self, name: str, parts: list[str]) -> str:
        if name.startswith("/") and not name.startswith(self._absolute):
            return "is not below --src"
        if ".." in parts:
            return "has .. in its path: it may lead out of --src"
        if not self._follow_symlinks and self._is_linked(tuple(parts[:-1])):
            return "is behind a link to a directory"
        return ""

    def _look_for_links(self, directories: tuple[str, ...]) -> bool:
        """Whether one of the directories of a path is a link."""
        return bool(directories) and (
            self._is_linked(directories[:-1]) or os.path.islink(self._root + "/".join(directories))
        )

    def _is_repeated(self, path: str) -> bool:
        """Whether it is among the last paths; it is from now on."""
        if path in self._seen:
            return True
        self._seen[path] = None
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return False


def names_of(descriptor: int, end: bytes) -> Iterator[str | None]:
    """Yields the names of an open list, each of which ends with ``end``, the last one perhaps
    without; None after a moment without any.  Closes the list at its end.  Raises ``RunError`` when
    it cannot be read.

    Of what is longer than ``MOST_PATH`` it yields the beginning, longer than that, too.
    """
    rest = b""
    try:
        while True:
            if not select.select([descriptor], [], [], PAUSE)[0]:
                yield None
                continue
            try:
                data = os.read(descriptor, READ_SIZE)
            except OSError as error:
                raise RunError(f"the list of files cannot be read: {error.strerror}") from None
            *lines, last = (rest + data).split(end)
            for line in filter(None, lines):
                yield os.fsdecode(line)
            rest = last[: MOST_PATH + 1]
            if not data:
                break
        if rest:
            yield os.fsdecode(rest)
    finally:
        os.close(descriptor)
