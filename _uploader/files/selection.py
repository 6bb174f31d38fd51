"""What the options choose among the files of a scan or a list.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from .model import Failed, Found, Job, LeftOut


class PathRules(Protocol):
    """Chooses by paths."""

    def take(self, path: str) -> bool: ...
    def enter(self, directory: str) -> bool: ...


class Selection(NamedTuple):
    """Takes a file when its path, size and modification time do."""

    rules: PathRules | None = None
    min_size: int | None = None
    max_size: int | None = None
    newer_ns: int | None = None
    """The earliest modification time that is taken, in nanoseconds since the epoch."""
    older_ns: int | None = None
    """The first modification time that is not."""

    def takes(self, path: str, size: int, mtime_ns: int) -> bool:
        """Whether the file is taken."""
        return (
            (self.newer_ns is None or mtime_ns >= self.newer_ns)
            and (self.older_ns is None or mtime_ns < self.older_ns)
            and self.takes_object(path, size)
        )

    def takes_object(self, path: str, size: int) -> bool:
        """Whether an object may be that of a file that is taken: its age tells nothing."""
        return (
            (self.min_size is None or size >= self.min_size)
            and (self.max_size is None or size <= self.max_size)
            and self.takes_path(path)
        )

    def takes_path(self, path: str) -> bool:
        """Whether a file may be taken, as far as its path says."""
        return self.rules is None or self.rules.take(path)

    def enters(self, directory: str) -> bool:
        """Whether a file below the directory may be taken."""
        return self.rules is None or self.rules.enter(directory)

    def of(self, entries: Iterable[Found | None]) -> Iterator[Found | None]:
        """The same entries, but ``LeftOut`` in place of those that are not taken.  Of one that is
        no job only the path is known; a directory that failed may hold files that are taken."""
        for entry in entries:
            if isinstance(entry, Job):
                taken = self.takes(entry.path, entry.size, entry.mtime_ns)
            elif isinstance(entry, Failed) and entry.is_directory:
                taken = True
            else:
                taken = entry is None or self.takes_path(entry.path)
            yield entry if taken or entry is None else LeftOut(entry.path)
