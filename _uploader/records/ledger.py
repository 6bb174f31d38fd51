"""Keeps the books of a run: each file ends here, once.

A file is shown as uploaded only after the journal holds it: the screen never claims more than would
survive a crash.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from providers.errors import Rejected

from ..errors import RunError
from ..files.model import EXTRA, MISSING, Found, Job, LeftOut, Result, Skipped
from .audience import Audience
from .counters import Counters, Findings, Summary
from .failures import FailureList
from .journal import Journal
from .preview import Preview

if TYPE_CHECKING:
    from .comparison import Comparison  # few runs need it

COMMIT_ROWS = 512
"""Most uploaded files of one commit."""
DONE_BEFORE = "uploaded by an earlier run"
NOT_RECORDED = "uploaded, but the journal could not record it"
NOT_LOOKED_UP = "not uploaded, as the journal could not be read"


class Ledger:
    """Counts, records and shows how each file ends."""

    def __init__(
        self,
        display: Audience,
        failures: FailureList,
        journal: Journal | None = None,
        preview: Preview | None = None,
        *,
        verifies: bool = False,
    ) -> None:
        """``preview``: nothing is sent, and what would be is told to it.  ``verifies``: files are
        compared, and a job that has not failed is the same in the bucket."""
        self._display = display
        self._failures = failures
        self._journal = journal
        self._preview = preview
        self._journal_error: RunError | None = None
        self._unrecorded: list[tuple[Job, Result]] = []
        self._comparison: Comparison | None = None
        self.counters = Counters(findings=Findings() if verifies else None)
        self._done = "same" if verifies else "uploaded"

    def use(self, journal: Journal) -> None:
        """Records in ``journal`` from now on; comes before the first of ``jobs``."""
        self._journal = journal

    def compare(self, comparison: Comparison) -> None:
        """Skips what ``comparison`` says from now on; comes before the first of ``jobs``."""
        self._comparison = comparison

    def jobs(self, entries: Iterable[Found | None]) -> Iterator[Job | None]:
        """The files to upload among the entries of a scan; None for each that ends here, and for
        None."""
        for entry in entries:
            if isinstance(entry, Job):
                job = self._to_upload(entry)
                if self._preview and job and not job.compares:
                    self._would_upload(self._preview, job)
                    job = None
                yield job
                continue
            if isinstance(entry, LeftOut):
                self._keep(entry.path)
                self.counters.left_out += 1
            elif entry:
                self.counters.add_found()
                self._keep(entry.path)
                if isinstance(entry, Skipped):
                    self._skip(entry.path, entry.reason)
                else:
                    self.fail(entry.path, entry.reason)
            yield None
        self.counters.scanned = True

    def take(self, job: Job, result: Result) -> None:
        """Takes the end of a job.  Raises ``RunError`` when the journal fails."""
        if result.skipped:
            if result.etag:
                self._vouch([(job, result)])
            self._skip(job.path, result.failure, job.size)
            return
        if result.finding:
            self._found(job, result)
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
                if self._journal.vouching:
                    self._vouch(ended)
                else:
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
            if self._preview and result.updated:
                self._preview.update(job)
            elif self._preview:
                self._would_upload(self._preview, job)
            elif result.updated:
                self.counters.add_updated(job.size)
                self._display.file_event("updated", job.path)
            else:
                self.counters.add_uploaded(result.size)
                self._display.file_event(self._done, job.path)

    def deleted(self, keys: Iterable[str], failed: Iterable[tuple[str, str]]) -> None:
        """Takes the end of objects without a file; ``failed``: those that are still there."""
        reasons = dict(failed)
        for key in keys:
            if key in reasons:
                self.counters.not_deleted += 1
                self._failures.add(key, f"not deleted: {reasons[key]}")
                self._display.file_event("not deleted", key, reasons[key])
            else:
                self.counters.deleted += 1
                self._display.file_event("deleted", key)

    def extra(self, key: str) -> None:
        """A verification has found an object without a file."""
        self.counters.add_finding(EXTRA)
        self._failures.add(key, f"{EXTRA}: has no file")
        self._display.file_event(EXTRA, key)

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

    def _would_upload(self, preview: Preview, job: Job) -> None:
        try:
            preview.upload(job)
        except Rejected as failure:
            self.fail(job.path, str(failure), job.size)

    def _keep(self, path: str) -> None:
        """What is not uploaded is no reason to delete its object."""
        if self._comparison:
            self._comparison.keep(path)

    def _to_upload(self, job: Job) -> Job | None:
        self.counters.add_found(job.size)
        journal = self._journal
        if self._comparison is None and (journal is None or not journal.resumed):
            return job
        try:
            if self._comparison:
                verdict = self._comparison.look(job)
                if isinstance(verdict, str):
                    self._skip(job.path, verdict, job.size)
                    return None
                job = verdict
            if journal is None or not journal.resumed:
                return job
            if not journal.vouching and journal.is_done(job):
                self._skip(job.path, DONE_BEFORE, job.size)
                return None
            return job._replace(upload_id=journal.begun(job))
        except RunError as error:
            self._lose_journal(error)
            self.fail(job.path, NOT_LOOKED_UP, job.size)
            raise

    def _vouch(self, ended: Iterable[tuple[Job, Result]]) -> None:
        """Records under which ETags the files are in the bucket."""
        if self._journal and self._journal.vouching:
            self._journal.add_vouched(
                [
                    (job.path, result.size, result.mtime_ns, result.ctime_ns, result.etag)
                    for job, result in ended
                    if result.etag
                ]
            )

    def _found(self, job: Job, result: Result) -> None:
        """A file is not in the bucket as it is on the disk."""
        kind, how = result.finding, result.failure
        reason = how if kind == MISSING else f"{kind}: {how}"
        self.counters.add_finding(kind)
        self.counters.add_failed(reason, job.size)
        self._failures.add(job.path, reason)
        self._display.file_event(kind, job.path, "" if kind == MISSING else how)

    def _lose_journal(self, error: RunError) -> None:
        """The journal has failed: it is asked nothing more, and no file counts as done."""
        journal, self._journal, self._journal_error = self._journal, None, error
        if journal:
            with contextlib.suppress(RunError):
                journal.close(complete=False)

    def _skip(self, path: str, reason: str, size: int = 0) -> None:
        self.counters.add_skipped(reason, size)
        self._display.file_event("skipped", path, reason)
