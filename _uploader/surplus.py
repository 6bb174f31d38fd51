"""Objects that have no file: told by a verification, deleted by ``--delete``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

import providers

from .amounts import objects_limit
from .config import Settings
from .display.base import Display
from .processes import wire
from .processes.supervisor import ObjectsDeleted, Supervisor
from .records.ledger import Ledger
from .records.preview import Preview

if TYPE_CHECKING:
    from .records.comparison import Comparison

DELETED_AT_ONCE = 1000
"""Objects that a worker is asked to delete at a time."""


def hides_surplus(settings: Settings) -> str:
    """Why a verification cannot find objects without a file; empty where all files are known."""
    if not providers.comparable(settings.provider):
        return f"those of {settings.provider} are not listed"
    if settings.files_from is not None:
        return "the list does not say which files there are"
    if not all(map(os.path.isdir, settings.src)):
        return "a single file says nothing of others"
    if settings.prefix and not settings.prefix.endswith("/"):
        return f"without a slash at its end the prefix {settings.prefix!r} is that of others, too"
    return ""


class Surplus:
    """The objects of a run that have no file, once all files have been looked at."""

    def __init__(
        self,
        settings: Settings,
        comparison: Comparison,
        ledger: Ledger,
        display: Display,
        preview: Preview | None,
    ) -> None:
        """``preview`` is told what would be deleted, and nothing is."""
        self._settings = settings
        self._comparison = comparison
        self._ledger = ledger
        self._display = display
        self._preview = preview
        self._hidden = 0

    def tell(self) -> None:
        """Tells each, unless a file may have been overlooked."""
        if not self._ledger.counters.scanned:
            return
        self._comparison.objects_without_file()
        for keys in self._comparison.keys_without_file(DELETED_AT_ONCE):
            for key in keys:
                self._ledger.extra(key)

    def delete(self, supervisor: Supervisor, serve: Callable[[], bool]) -> None:
        """Deletes them, unless a file may have been overlooked, or they are more than the user
        expects.  ``serve`` returns when the workers have done what they were asked to, or False
        when the run is to stop."""
        counters, limit = self._ledger.counters, self._settings.max_delete
        count = self._comparison.objects_without_file()
        if not count:
            return
        listed = self._comparison.inventory.count
        if counters.failed or not counters.scanned:
            self._display.note("no object is deleted, as not every file is in the bucket")
        elif empty := self._empty_sources():
            counters.not_deleted = count
            self._display.note(f"no object is deleted, as there is no file at all below {empty}")
        elif count > objects_limit(limit, listed):
            counters.not_deleted = count
            self._display.note(
                f"{count:,} of {listed:,} objects have no file, and --max-delete is {limit}: none "
                "is deleted"
            )
        else:
            batches = self._comparison.keys_without_file(DELETED_AT_ONCE)
            if self._preview:
                for keys in batches:
                    self._preview.delete(keys)
            else:
                self._delete_all(batches, supervisor, serve)

    def deleted(self, event: ObjectsDeleted) -> None:
        """Takes the end of a batch."""
        self._hidden += event.hidden
        self._ledger.deleted(event.keys, event.failed)

    def _empty_sources(self) -> str:
        """The sources in which no file was found, by name: they may not be mounted."""
        seen = self._comparison.sources
        empty = [path for number, path in enumerate(self._settings.src) if number not in seen]
        return ", ".join(f"--src {path!r}" for path in empty)

    def _delete_all(
        self, batches: Iterator[list[str]], supervisor: Supervisor, serve: Callable[[], bool]
    ) -> None:
        """A batch for each worker at a time."""
        while some := [*islice(batches, supervisor.workers)]:
            for keys in some:
                supervisor.ask(wire.Delete(keys))
            if not serve():
                return
        if self._hidden:
            self._display.note(
                f"the bucket keeps versions: {self._hidden:,} deleted objects are hidden, and "
                "still there as earlier versions"
            )
