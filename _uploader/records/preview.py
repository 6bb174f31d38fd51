"""What a run would do that is told to do nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..amounts import counted
from ..files.model import Job
from ..plan import Plan, Planner
from .audience import Audience


class Preview:
    """Tells and counts what would be done."""

    def __init__(self, display: Audience, planner: Planner) -> None:
        self._display = display
        self._planner = planner
        self._updated = 0
        self._deleted = 0

    def upload(self, job: Job) -> None:
        """The file would be sent.  Raises ``Rejected`` when it is too large for that."""
        self._planner.add(job.size)
        self._display.file_event("would upload", job.path, f"{job.size:,} bytes")

    def update(self, job: Job) -> None:
        """The file's attributes would be sent."""
        self._planner.add_update()
        self._updated += 1
        self._display.file_event("would update", job.path)

    def delete(self, keys: Sequence[str]) -> None:
        """The objects would be deleted."""
        self._deleted += len(keys)
        for key in keys:
            self._display.file_event("would delete", key)

    def uploads(self) -> Plan:
        """What all that is sent takes."""
        return self._planner.plan()

    def fields(self) -> dict[str, Any]:
        """All of it, for programs."""
        return {**self.uploads().fields(), "updated": self._updated, "deleted": self._deleted}

    def lines(self) -> Iterator[str]:
        """All of it, in numbers."""
        uploads = self.uploads()
        yield f"would upload {counted(uploads.files, 'file')}, {uploads.bytes:,} bytes in all"
        if self._updated:
            yield f"would update the attributes of {counted(self._updated, 'object')}"
        if self._deleted:
            yield f"would delete {counted(self._deleted, 'object')}"
