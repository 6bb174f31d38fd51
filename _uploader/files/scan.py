"""Turns a directory into a lazy stream of files to upload.

One generator walks the tree depth first over open directories, in the order of their entries:
memory depends on the depth of the tree, not on its files or directories.  As each open directory
costs a descriptor, those below ``OPEN_DIRECTORIES`` levels are read to their end first, and their
subdirectories remembered.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Generator, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from ..errors import UsageError
from .model import Failed, Job, Skipped

OPEN_DIRECTORIES = 64
"""Levels of the tree that stay open during the walk below them."""
OWN = "belongs to this run"

Found = Job | Skipped | Failed

_SPECIAL = {
    stat.S_IFIFO: "is a FIFO",
    stat.S_IFSOCK: "is a socket",
    stat.S_IFCHR: "is a device",
    stat.S_IFBLK: "is a device",
}


def scan(
    root: str,
    *,
    follow_symlinks: bool,
    max_key_bytes: int = 1024,
    prefix: str = "",
    own: Collection[Path] = (),
) -> Iterator[Found]:
    """Yields every entry below ``root`` that is no directory, as a Job, Skipped or Failed.

    The scan follows links to files, and links to directories with ``follow_symlinks``.  It skips
    ``own``: files and directories that the run itself writes, now or later.  An unreadable entry
    fails alone.  Paths of Skipped and Failed are fit for JSON: backslash escapes stand for bytes
    that are not UTF-8.  Raises ``UsageError`` at once, not at the first ``next``, when ``root`` is
    no readable directory.
    """
    _open_root(root).close()
    try:
        room = max_key_bytes - len(prefix.encode())
    except UnicodeEncodeError:
        raise UsageError(f"the prefix {prefix!r} is not valid UTF-8") from None
    return _walk(_Rules(root, follow_symlinks, room, max_key_bytes, _Own(own)))


class _Own:
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


def _is(path: Path, status: os.stat_result) -> bool:
    try:
        return os.path.samestat(status, os.stat(path))
    except OSError:
        return False


class _Rules(NamedTuple):
    root: str
    follow_symlinks: bool
    room: int
    """Bytes of a key that the prefix leaves for the path."""
    max_key_bytes: int
    own: _Own


class _Entries(Protocol):
    """``os.scandir``'s iterator, or a generator over one."""

    def __iter__(self) -> Iterator[os.DirEntry[str]]: ...
    def close(self) -> None: ...


class _Level(NamedTuple):
    """An open directory of the walk."""

    path: str
    """Relative to the root; empty, or with a slash at its end."""
    identity: tuple[int, int]
    entries: _Entries

    def close(self) -> None:
        self.entries.close()


def _open_root(root: str) -> _Level:
    try:
        return _open(root, "", os.stat(root), depth=0)
    except OSError as error:
        raise UsageError(f"{root!r} cannot be scanned: {error.strerror}") from None


def _open(path: str, relative: str, status: os.stat_result, depth: int) -> _Level:
    entries: _Entries = os.scandir(path)
    if depth >= OPEN_DIRECTORIES:
        entries = _files_first(entries)
    return _Level(relative, (status.st_dev, status.st_ino), entries)


def _files_first(entries: _Entries) -> Generator[os.DirEntry[str], None, None]:
    """The same entries, with possible directories last: the descriptor is closed by then."""
    later = []
    try:
        for entry in entries:
            if entry.is_file(follow_symlinks=False):
                yield entry
            else:
                later.append(entry)
    finally:
        entries.close()
    yield from later


def _walk(rules: _Rules) -> Iterator[Found]:
    """Walks the tree; inline for plain files, as it runs for each of them."""
    room = rules.room
    own_names = rules.own.names
    number = 0
    levels = [_open_root(rules.root)]
    try:
        while levels:
            level = levels[-1]
            try:
                for entry in level.entries:
                    path = level.path + entry.name
                    try:
                        is_file = entry.is_file()
                        status = entry.stat()
                    except OSError as error:
                        yield Failed(_shown(path), _reason(error, entry))
                        continue
                    if not is_file:
                        other = _other(entry, path, status, levels, rules)
                        if isinstance(other, _Level):
                            levels.append(other)
                            break
                        yield other
                    elif entry.name in own_names and rules.own.holds(status):
                        yield Skipped(_shown(path), OWN)
                    elif (path.isascii() and len(path) <= room) or _fits(path, room):
                        yield Job(
                            number, path, status.st_size, status.st_mtime_ns, status.st_ctime_ns
                        )
                        number += 1
                    else:
                        yield Failed(_shown(path), _key_problem(path, rules))
                else:
                    levels.pop().close()
            except OSError as error:  # of the directory: an entry's own are caught above
                levels.pop().close()
                yield Failed(_shown(level.path.rstrip("/") or "."), _reason(error))
    finally:
        for level in levels:
            level.close()


def _other(
    entry: os.DirEntry[str],
    path: str,
    status: os.stat_result,
    levels: list[_Level],
    rules: _Rules,
) -> _Level | Skipped | Failed:
    """Opens a directory; skips or fails any other entry that is no regular file."""
    skip = _skip_reason(entry, status, levels, rules)
    if skip:
        return Skipped(_shown(path), skip)
    try:
        return _open(entry.path, path + "/", status, len(levels))
    except OSError as error:
        return Failed(_shown(path), _reason(error))


def _skip_reason(
    entry: os.DirEntry[str], status: os.stat_result, above: list[_Level], rules: _Rules
) -> str:
    """Why an entry that is no regular file is skipped; empty for a directory to walk."""
    kind = stat.S_IFMT(status.st_mode)
    if kind != stat.S_IFDIR:
        return _SPECIAL.get(kind, "is no regular file")
    if not rules.follow_symlinks and entry.is_symlink():
        return "links to a directory"
    if rules.own.holds(status):
        return OWN
    if not rules.follow_symlinks:
        return ""
    identity = (status.st_dev, status.st_ino)
    if any(level.identity == identity for level in above):
        return "links to a directory above itself"
    return ""


def _fits(path: str, room: int) -> bool:
    try:
        return len(path.encode()) <= room
    except UnicodeEncodeError:
        return False


def _key_problem(path: str, rules: _Rules) -> str:
    """Why ``path`` makes no key; it is known to make none."""
    try:
        length = rules.max_key_bytes - rules.room + len(path.encode())
    except UnicodeEncodeError:
        return "name is not valid UTF-8"
    return f"key is {length:,} bytes long: {rules.max_key_bytes:,} is the most"


def _reason(error: OSError, entry: os.DirEntry[str] | None = None) -> str:
    if isinstance(error, FileNotFoundError):
        return "links to nothing" if entry and entry.is_symlink() else "vanished during the scan"
    return f"cannot be read: {error.strerror}"


def _shown(path: str) -> str:
    """``path`` with backslash escapes for bytes that are not UTF-8."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
