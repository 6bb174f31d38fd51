"""What a run would do that is told to do nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..files.model import Job
from .audience import Audience


class Plan:
    """Tells and counts what would be done."""

    def __init__(self, display: Audience) -> None:
        self._display = display
        self._files = 0
        self._bytes = 0
        self._updated = 0
        self._deleted = 0

    def upload(self, job: Job) -> None:
        """The file would be sent."""
        self._files += 1
        self._bytes += job.size
        self._display.file_event("would upload", job.path, f"{job.size:,} bytes")

    def update(self, job: Job) -> None:
        """The file's attributes would be sent."""
        self._updated += 1
        self._display.file_event("would update", job.path)

    def delete(self, keys: Sequence[str]) -> None:
        """The objects would be deleted."""
        self._deleted += len(keys)
        for key in keys:
            self._display.file_event("would delete", key)

    def lines(self) -> Iterator[str]:
        """All of it, in numbers."""
        files = "1 file" if self._files == 1 else f"{self._files:,} files"
        yield f"would upload {files}, {self._bytes:,} bytes in all"
        if self._updated:
            yield f"would update the attributes of {self._updated:,} objects"
        if self._deleted:
            yield f"would delete {self._deleted:,} objects"
