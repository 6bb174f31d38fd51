"""What keeps a file from being sent: its kind, its name, the run that owns it."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from pathlib import Path

from ..errors import UsageError

MAX_KEY_BYTES = 1024
OWN = "belongs to this run"

_SPECIAL = {
    stat.S_IFIFO: "is a FIFO",
    stat.S_IFSOCK: "is a socket",
    stat.S_IFCHR: "is a device",
    stat.S_IFBLK: "is a device",
}


class Own:
    """Files and directories of the run.

    It compares device and inode, as several paths may lead to one file, and looks anew each time,
    as the files come and go.
    """

    def __init__(self, paths: Collection[Path]) -> None:
        self._paths = tuple(paths)
        self.names = frozenset(path.name for path in paths)
        """Files of other names need no comparison."""

    def holds(self, status: os.stat_result) -> bool:
        return any(_is(path, status) for path in self._paths)


class KeyRoom:
    """The room that the prefix leaves for a path in a key."""

    def __init__(self, prefix: str, most: int = MAX_KEY_BYTES) -> None:
        """``most``: bytes of a key.  Raises ``UsageError`` when the prefix is not UTF-8."""
        self._most = most
        try:
            self.bytes = most - len(prefix.encode())
        except UnicodeEncodeError:
            raise UsageError(f"the prefix {prefix!r} is not valid UTF-8") from None

    def problem(self, path: str) -> str:
        """Why ``path`` makes no key; empty when it does."""
        try:
            length = len(path.encode())
        except UnicodeEncodeError:
            return "name is not valid UTF-8"
        if length <= self.bytes:
            return ""
        length += self._most - self.bytes
        return f"key is {length:,} bytes long: {self._most:,} is the most"


def special(mode: int) -> str:
    """What an entry is that is neither regular file nor directory."""
    return _SPECIAL.get(stat.S_IFMT(mode), "is no regular file")


def shown(path: str) -> str:
    """``path`` fit for JSON: backslash escapes stand for bytes that are not UTF-8."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _is(path: Path, status: os.stat_result) -> bool:
    try:
        return os.path.samestat(status, os.stat(path))
    except OSError:
        return False
