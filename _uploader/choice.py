"""What a run uploads, as its settings say: the entries of its sources, or of a list.

Whoever chooses nothing pays nothing: what selects is imported when it is asked for.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .config import STANDARD_INPUT, Settings
from .errors import UsageError
from .files.model import Found
from .files.scan import root_of, scan
from .moments import moment_ns
from .state import own_files

if TYPE_CHECKING:
    from .files.rules import Rule
    from .files.selection import PathRules, Selection


class Choice:
    """The files of a run.  One directory without further options is scanned as it is."""

    def __init__(self, settings: Settings) -> None:
        """Raises ``UsageError`` when a pattern, a source or the list is wrong, or options
        contradict each other."""
        self._settings = settings
        if settings.null and settings.files_from is None:
            raise UsageError("--null is about the list of --files-from, which is missing")
        if settings.files_from is not None and len(settings.src) > 1:
            raise UsageError("--files-from: its paths are relative to --src: give one directory")
        for source in settings.src if settings.delete else ():
            if not os.path.isdir(source):
                raise UsageError(f"--delete: --src {source!r} is no directory: all else would go")
        self.selection = _selection(settings, time.time_ns()) if _selects(settings) else None
        """Says which files are left out; None: none."""
        self.roots = tuple(map(root_of, settings.src))
        """For each source what comes before its paths: ends with a slash or is empty."""
        if settings.files_from is not None and not os.path.isdir(settings.src[0]):
            raise UsageError(f"--files-from: --src {settings.src[0]!r} is no directory")

    def check_keys(self) -> None:
        """Raises ``UsageError`` when files of two sources would become one object."""
        if len(self.roots) < 2:
            return
        from .files.sources import check_keys

        selection = self.selection
        check_keys(
            self._settings.src,
            follow_symlinks=self._settings.follow_symlinks,
            takes=lambda path, status: (
                not selection or selection.takes(path, status.st_size, status.st_mtime_ns)
            ),
            enters=lambda path: not selection or selection.enters(path),
        )

    def entries(self) -> Iterator[Found | None]:
        """The entries of all sources, or of the list; None for a moment without any."""
        found = self._all_entries()
        return self.selection.of(found) if self.selection else found

    def _all_entries(self) -> Iterator[Found | None]:
        sources = self._settings.src
        if self._settings.files_from is not None:
            return self._listed(sources[0], _open_list(self._settings.files_from))
        if len(sources) == 1:
            return self._source(sources[0])
        from .files.sources import joined

        return joined([self._source(source) for source in sources])

    def _source(self, source: str) -> Iterator[Found | None]:
        settings = self._settings
        if not os.path.isdir(source):
            from .files.listed import listed

            names = iter([os.path.basename(source)])
            return listed(
                os.path.dirname(source),
                names,
                follow_symlinks=True,
                prefix=settings.prefix,
                own=own_files(settings),
            )
        return scan(
            source,
            follow_symlinks=settings.follow_symlinks,
            prefix=settings.prefix,
            own=own_files(settings),
            enters=self.selection.enters if self.selection else None,
        )

    def _listed(self, source: str, descriptor: int) -> Iterator[Found | None]:
        from .files.listed import listed, names_of

        settings = self._settings
        return listed(
            source,
            names_of(descriptor, b"\0" if settings.null else b"\n"),
            follow_symlinks=settings.follow_symlinks,
            prefix=settings.prefix,
            own=own_files(settings),
        )


def _selects(settings: Settings) -> bool:
    """Whether an option leaves out files."""
    bounds = (settings.min_size, settings.max_size, settings.newer_than, settings.older_than)
    patterns = settings.include + settings.exclude + settings.exclude_from
    return bool(patterns) or any(bound is not None for bound in bounds)


def _selection(settings: Settings, now_ns: int) -> Selection:
    from .files.selection import Selection

    least, most = settings.min_size, settings.max_size
    if least is not None and most is not None and least > most:
        raise UsageError("--min-size is above --max-size: no file is so large and so small")
    newer = None if settings.newer_than is None else moment_ns(settings.newer_than, now_ns)
    older = None if settings.older_than is None else moment_ns(settings.older_than, now_ns)
    if newer is not None and older is not None and newer >= older:
        raise UsageError("--newer-than is not before --older-than: no file lies between them")
    return Selection(_rules(settings), least, most, newer, older)


def _rules(settings: Settings) -> PathRules | None:
    """The rules of all patterns, in the order of the command line."""
    placed = [
        *((place, "--include", text) for place, text in settings.include),
        *((place, "--exclude", text) for place, text in settings.exclude),
        *((place, "--exclude-from", text) for place, text in settings.exclude_from),
    ]
    if not placed:
        return None
    from .files.rules import Rules

    placed.sort()
    rules = [rule for _, flag, text in placed for rule in _rules_of(flag, text)]
    return Rules(rules, otherwise=placed[0][1] != "--include")


def _rules_of(flag: str, text: str) -> list[Rule]:
    from .files.rules import rule, rules_of_lines

    try:
        if flag != "--exclude-from":
            return [rule(text, takes=flag == "--include")]
        with open(text, encoding="utf-8-sig", errors="surrogateescape") as file:
            return rules_of_lines(line.rstrip("\n") for line in file)
    except OSError as error:
        raise UsageError(f"{flag}: cannot read {text!r}: {error.strerror}") from None
    except ValueError as error:
        where = f"{text!r}, " if flag == "--exclude-from" else ""
        raise UsageError(f"{flag}: {where}{error}") from None


def _open_list(path: str) -> int:
    if path == STANDARD_INPUT and sys.stdin.name == os.devnull:  # the caller has closed it
        raise UsageError("--files-from -: standard input is closed")
    try:
        if path == STANDARD_INPUT:
            return os.dup(sys.stdin.fileno())
        # A FIFO is opened before anybody writes to it: waiting here could not be interrupted.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    except OSError as error:
        raise UsageError(f"--files-from: cannot read {path!r}: {error.strerror}") from None
    return descriptor
