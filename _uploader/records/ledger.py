"""Keeps the books of a run: each file ends here, once.

A file is shown as uploaded only after the journal holds it: the screen never claims more than would
survive a crash.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Protocol

from ..errors import RunError
from ..files.model import Found, Job, LeftOut, Result, Skipped
from .counters import Counters, Summary
from .failures import FailureList
from .journal import Journal

COMMIT_ROWS = 512
"""Most uploaded files of one commit."""
DONE_BEFORE = "uploaded by an earlier run"
NOT_RECORDED = "uploaded, but the journal could not record it"
NOT_LOOKED_UP = "not uploaded, as the journal could not be read"


class Audience(Protocol):
    """Hears of each file that has ended; a ``Display`` is one."""

    def note(self, text: str) -> None: ...
    def file_event(self, kind: str, path: str, detail: str = "") -> None: ...


class Ledger:
    """Counts, records and shows how each file ends."""

    def __init__(
        self, display: Audience, failures: FailureList, journal: Journal | None = None
    ) -> None:
        self._display = display
        self._failures = failures
        self._journal = journal
        self._journal_error: RunError | None = None
        self._unrecorded: list[tuple[Job, Result]] = []
        self.counters = Counters()

    def use(self, journal: Journal) -> None:
        """Records in ``journal`` from now on; comes before the first of ``jobs``."""
        self._journal = journal

    def jobs(self, entries: Iterable[Found | None]) -> Iterator[Job | None]:
        """The files to upload among the entries of a scan; None for each that ends here, and for
        None."""
        for entry in entries:
            if isinstance(entry, Job):
                yield self._to_upload(entry)
                continue
            if isinstance(entry, LeftOut):
                self.counters.left_out += 1
            elif entry:
                self.counters.add_found()
                if isinstance(entry, Skipped):
                    self._skip(entry.path, entry.reason)
                else:
                    self.fail(entry.path, entry.reason)
            yield None
        self.counters.scanned = True

    def take(self, job: Job, result: Result) -> None:
        """Takes the end of a job.  Raises ``RunError`` when the journal fails."""
        if result.skipped:
            self._skip(job.path, result.failure, job.size)
            return
        if result.failure:
            self.fail(job.path, result.failure, job.size)
            return
        self._unrecorded.append((job, result))
        if len(self._unrecorded) >= COMMIT_ROWS:
            self.commit()

    def begun(self, job: Job) -> None:
        """Records a new multipart upload at once, so that a crash leaves no stray parts."""
        if self._journal:
            try:
                self._journal.add_upload(job)
                self._journal.commit()
            except RunError as error:
                self._lose_journal(error)
                raise

    def commit(self) -> None:
        """Records the uploaded files, then shows them.  Raises ``RunError`` when the journal
        fails: then they count as failed."""
        ended, self._unrecorded = self._unrecorded, []
        if self._journal:
            try:
                self._journal.add_done(
                    [
                        (job.path, result.size, result.mtime_ns, result.ctime_ns)
                        for job, result in ended
                    ]
                )
                self._journal.commit()
            except RunError as error:
                self._lose_journal(error)
        if self._journal_error:
            for job, _ in ended:
                self.fail(job.path, NOT_RECORDED, job.size)
            raise self._journal_error
        for job, result in ended:
            self.counters.add_uploaded(result.size)
            self._display.file_event("uploaded", job.path)

    def fail(self, path: str, reason: str, size: int = 0) -> None:
        """Counts, lists and records a file that is not in the bucket; ``size`` as the scan counted
        it.  When the journal fails here, the next ``commit`` raises."""
        self.counters.add_failed(reason, size)
        self._failures.add(path, reason)
        if self._journal:
            try:
                self._journal.add_failed(path, reason)
            except RunError as error:
                self._lose_journal(error)
        self._display.file_event("failed", path, reason)

    def fail_unfinished(self, jobs: Iterable[Job], reason: str, *, listed: bool) -> None:
        """Fails files that the run left unfinished; ``listed``: by name, one by one."""
        for job in jobs:
            if listed:
                self.fail(job.path, reason, job.size)
            else:
                self.counters.add_failed(reason, job.size)

    def close(
        self, *, seconds: float, peak_memory: int, stopped: bool, error: RunError | None
    ) -> Summary:
        """Closes the books; ``stopped`` when a signal ended the run.  Removes a journal with
        nothing to resume; when it cannot, the run is no failure for that."""
        counters = self.counters
        complete = counters.scanned and not stopped and error is None
        if self._journal:
            try:
                self._journal.close(complete=complete and not counters.failed)
            except RunError as problem:
                self._display.note(str(problem))
        self._failures.close()
        if self._failures.problem:
            self._display.note(self._failures.problem)
        return counters.summary(
            seconds,
            peak_memory,
            counters.scanned and error is None,
            str(error) if error else None,
            self._failures.path,
        )

    def _to_upload(self, job: Job) -> Job | None:
        self.counters.add_found(job.size)
        journal = self._journal
        if journal is None or not journal.resumed:
            return job
        try:
            if journal.is_done(job):
                self._skip(job.path, DONE_BEFORE, job.size)
                return None
            return job._replace(upload_id=journal.begun(job))
        except RunError as error:
            self._lose_journal(error)
            self.fail(job.path, NOT_LOOKED_UP, job.size)
            raise

    def _lose_journal(self, error: RunError) -> None:
        """The journal has failed: it is asked nothing more, and no file counts as done."""
        journal, self._journal, self._journal_error = self._journal, None, error
        if journal:
            with contextlib.suppress(RunError):
                journal.close(complete=False)

    def _skip(self, path: str, reason: str, size: int = 0) -> None:
        self.counters.add_skipped(reason, size)
        self._display.file_event("skipped", path, reason)
