"""Decides which files need not be sent, and which objects have no file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from ..files.model import UNCHANGED, Job
from .inventory import Inventory
from .journal import Journal

EXISTING = "an object of this name exists"
SAME_SIZE = "its object has the same size"


class Comparison:
    """Compares the files of a run with what the bucket holds.

    A listing tells sizes and ETags, no attributes.  For these the journal vouches: an earlier run
    has seen this version of the file under this very ETag.  Where it cannot, a worker asks for the
    object.
    """

    def __init__(
        self,
        skip: str,
        prefix: str,
        *,
        deletes: bool,
        chosen: Callable[[str, int], bool] | None = None,
    ) -> None:
        """``skip``: the option's value.  ``deletes``: objects without a file are looked for.
        ``chosen``: whether the object of a path, of so many bytes, may be that of one of the run's
        files; None: any may."""
        self._skip = skip
        self._prefix = prefix
        self._deletes = deletes
        self._chosen = chosen
        self.journal: Journal | None = None
        self.inventory = Inventory()
        self.sources: set[int] = set()
        """Sources of the files that were looked at, where objects without a file are looked for."""

    def listed(self, objects: Iterable[tuple[str, int, str]]) -> None:
        """Takes some of what the bucket holds, each as (key, size, ETag).  Objects that the options
        leave out by name or size are nobody's here: they stay.  So do the empty ones that other
        tools make for directories."""
        objects = [found for found in objects if found[1] or not found[0].endswith("/")]
        if chosen := self._chosen:
            start = len(self._prefix)
            objects = [found for found in objects if chosen(found[0][start:], found[1])]
        self.inventory.add(objects)

    def look(self, job: Job) -> Job | str:
        """The job as it has to be done, or why the file need not be sent."""
        key = self._prefix + job.path
        if self._deletes:
            self.inventory.keep(key)
            self.sources.add(job.source)
        found = None if self._skip == "none" else self.inventory.find(key)
        if found is None:
            return job
        size, etag = found
        if self._skip == "existing":
            return EXISTING
        if size != job.size:
            return job
        if self._skip == "same-size":
            return SAME_SIZE
        if self._skip == "unchanged" and self.journal and self.journal.vouches(job, etag):
            return UNCHANGED
        return job._replace(compares=True)

    def keep(self, path: str) -> None:
        """What the scan has left out stays in the bucket: the object of this path, and those of
        files below it."""
        if self._deletes:
            self.inventory.keep_below(self._prefix + path)

    def objects_without_file(self) -> int:
        """How many there are, once all files have been looked at."""
        return self.inventory.others()

    def keys_without_file(self, most: int) -> Iterator[list[str]]:
        """Their keys, ``most`` at a time."""
        return self.inventory.each_other(most)

    def close(self) -> None:
        """Forgets all."""
        self.inventory.close()
