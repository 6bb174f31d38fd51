"""Turns a directory into a lazy stream of files to upload.

One generator walks the tree depth first over open directories, in the order of their entries:
memory depends on the depth of the tree, not on its files or directories.  As each open directory
costs a descriptor, those below ``OPEN_DIRECTORIES`` levels are read to their end first, and their
subdirectories remembered.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Generator, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from ..errors import UsageError
from .entries import MAX_KEY_BYTES, OWN, KeyRoom, Own, shown, special
from .model import Failed, Found, Job, LeftOut, Skipped

OPEN_DIRECTORIES = 64
"""Levels of the tree that stay open during the walk below them."""


def scan(
    root: str,
    *,
    follow_symlinks: bool,
    max_key_bytes: int = MAX_KEY_BYTES,
    prefix: str = "",
    own: Collection[Path] = (),
    enters: Callable[[str], bool] | None = None,
) -> Iterator[Found]:
    """Yields every entry below ``root`` that is no directory, as a Job, Skipped or Failed.

    The scan follows links to files, and links to directories with ``follow_symlinks``.  It skips
    ``own``: files and directories that the run itself writes, now or later.  A directory whose path
    ``enters`` refuses is LeftOut.  An unreadable entry fails alone.  Paths but those of Jobs are
    fit for JSON: see ``shown``.  Raises ``UsageError`` at once, not at the first ``next``, when
    ``root`` is no readable directory.
    """
    _open_root(root).close()
    room = KeyRoom(prefix, max_key_bytes)
    return _walk(_Rules(root, follow_symlinks, room, Own(own), enters))


class _Rules(NamedTuple):
    root: str
    follow_symlinks: bool
    room: KeyRoom
    own: Own
    enters: Callable[[str], bool] | None


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


def root_of(source: str) -> str:
    """What comes before the paths of a source, a directory or a single file: ends with a slash or
    is empty.  Raises ``UsageError`` when it is neither."""
    try:
        mode = os.stat(source).st_mode
    except (OSError, ValueError) as error:  # ValueError: a NUL
        text = getattr(error, "strerror", None) or error
        raise UsageError(f"{source!r} cannot be scanned: {text}") from None
    if stat.S_ISDIR(mode):
        return os.path.join(source, "")
    if stat.S_ISREG(mode):
        return os.path.join(os.path.dirname(source), "")
    raise UsageError(f"{source!r} cannot be uploaded: it {special(mode)}")


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
    room = rules.room.bytes
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
                        yield _unreadable(entry, path, error, rules)
                        continue
                    if not is_file:
                        other = _other(entry, path, status, levels, rules)
                        if isinstance(other, _Level):
                            levels.append(other)
                            break
                        yield other
                    elif entry.name in own_names and rules.own.holds(status):
                        yield Skipped(shown(path), OWN)
                    elif (path.isascii() and len(path) <= room) or not rules.room.problem(path):
                        yield Job(
                            number, path, status.st_size, status.st_mtime_ns, status.st_ctime_ns
                        )
                        number += 1
                    else:
                        yield Failed(shown(path), rules.room.problem(path))
                else:
                    levels.pop().close()
            except OSError as error:  # of the directory: an entry's own are caught above
                levels.pop().close()
                yield Failed(shown(level.path.rstrip("/") or "."), _reason(error), True)
    finally:
        for level in levels:
            level.close()


def _other(
    entry: os.DirEntry[str],
    path: str,
    status: os.stat_result,
    levels: list[_Level],
    rules: _Rules,
) -> _Level | Skipped | Failed | LeftOut:
    """Opens a directory; skips or fails any other entry that is no regular file."""
    skip = _skip_reason(entry, status, levels, rules)
    if skip:
        return Skipped(shown(path), skip)
    if rules.enters and not rules.enters(path):
        return LeftOut(shown(path))
    try:
        return _open(entry.path, path + "/", status, len(levels))
    except OSError as error:
        return Failed(shown(path), _reason(error), True)


def _unreadable(
    entry: os.DirEntry[str], path: str, error: OSError, rules: _Rules
) -> Failed | LeftOut:
    """An entry of which only its directory tells something."""
    is_directory = _may_be_directory(entry, error, rules)
    if is_directory and rules.enters and not rules.enters(path):
        return LeftOut(shown(path))
    return Failed(shown(path), _reason(error, entry), is_directory)


def _may_be_directory(entry: os.DirEntry[str], error: OSError, rules: _Rules) -> bool:
    leads_somewhere = rules.follow_symlinks and not isinstance(error, FileNotFoundError)
    try:
        return entry.is_dir(follow_symlinks=False) or (leads_somewhere and entry.is_symlink())
    except OSError:
        return True


def _skip_reason(
    entry: os.DirEntry[str], status: os.stat_result, above: list[_Level], rules: _Rules
) -> str:
    """Why an entry that is no regular file is skipped; empty for a directory to walk."""
    if not stat.S_ISDIR(status.st_mode):
        return special(status.st_mode)
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


def _reason(error: OSError, entry: os.DirEntry[str] | None = None) -> str:
    if isinstance(error, FileNotFoundError):
        return "links to nothing" if entry and entry.is_symlink() else "vanished during the scan"
    return f"cannot be read: {error.strerror}"
