"""The books add up, and nothing is called uploaded before it is recorded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from _uploader.display.base import Display
from _uploader.errors import RunError
from _uploader.files.model import Failed, Found, Job, LeftOut, Result, Skipped
from _uploader.records.counters import Counters, Summary
from _uploader.records.failures import FailureList
from _uploader.records.journal import Journal
from _uploader.records.ledger import COMMIT_ROWS, DONE_BEFORE, NOT_LOOKED_UP, NOT_RECORDED, Ledger


class Told(Display):
    """Remembers in one list, with others, what happened in which order."""

    def __init__(self, log: list[tuple[str, ...]]) -> None:
        super().__init__()
        self._log = log

    def _show(self, counters: Counters) -> None:
        raise AssertionError("not shown here")

    def note(self, text: str) -> None:
        self._log.append(("note", text))

    def file_event(self, kind: str, path: str, detail: str = "") -> None:
        self._log.append((kind, path, detail) if detail else (kind, path))

    def finish(self, summary: Summary) -> None:
        raise AssertionError("not the ledger's")


class Diary(Journal):
    """A journal that remembers what it was asked, and fails where it is told to."""

    def __init__(self, path: Path, log: list[tuple[str, ...]]) -> None:
        super().__init__(path, "source", "destination")
        self._log = log
        self.broken: set[str] = set()

    def _remember(self, *entry: str) -> None:
        if entry[0] in self.broken:
            raise RunError(f"{entry[0]} is broken")
        self._log.append(entry)

    def is_done(self, job: Job) -> bool:
        self._remember("is_done", job.path)
        return super().is_done(job)

    def add_done(self, rows: Iterable[tuple[str, int, int, int]]) -> None:
        rows = list(rows)
        self._remember("add_done", *(path for path, *_ in rows))
        super().add_done(rows)

    def add_failed(self, path: str, reason: str) -> None:
        self._remember("add_failed", path)
        super().add_failed(path, reason)

    def add_upload(self, job: Job) -> None:
        self._remember("add_upload", job.path, job.upload_id)
        super().add_upload(job)

    def commit(self) -> None:
        self._remember("commit")
        super().commit()

    def close(self, *, complete: bool) -> None:
        try:
            self._remember("close", "complete" if complete else "incomplete")
        finally:
            super().close(complete=complete)


class Books:
    """A ledger with all that it writes to."""

    def __init__(self, directory: Path, *, recording: bool = True) -> None:
        self.log: list[tuple[str, ...]] = []
        self.path = directory / "j.sqlite"
        self.journal = Diary(self.path, self.log) if recording else None
        self.failures = FailureList(0.0, directory / "state")
        self.ledger = Ledger(Told(self.log), self.failures)
        if self.journal:
            self.ledger.use(self.journal)
        self._ended = False

    def __enter__(self) -> Books:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._ended:
            self.ledger.close(seconds=0.0, peak_memory=0, stopped=True, error=None)

    def break_(self, *names: str) -> None:
        assert self.journal
        self.journal.broken.update(names)

    def scan(self, *entries: Found | None) -> list[Job | None]:
        return list(self.ledger.jobs(entries))

    def end(self, *, stopped: bool = False, error: RunError | None = None) -> Summary:
        self._ended = True
        summary = self.ledger.close(seconds=1.0, peak_memory=2, stopped=stopped, error=error)
        assert summary.files == summary.uploaded + summary.skipped + summary.failed
        return summary

    def told(self, kind: str) -> list[str]:
        return [entry[1] for entry in self.log if entry[0] == kind]


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    with Books(tmp_path) as books:
        yield books


def job(number: int, size: int = 10, mtime_ns: int = 5, ctime_ns: int = 6) -> Job:
    return Job(number, f"file{number}", size, mtime_ns, ctime_ns)


def stored(job: Job) -> Result:
    return Result(job.number, job.size, job.mtime_ns, job.ctime_ns)


def refused(job: Job) -> Result:
    return Result(job.number, 0, job.mtime_ns, job.ctime_ns, "denied")


def test_what_is_left_out_is_counted_by_itself_and_told_nobody(books: Books) -> None:
    assert books.scan(LeftOut("a"), None, job(0), LeftOut("b")) == [None, None, job(0), None]
    books.ledger.take(job(0), stored(job(0)))
    books.ledger.commit()
    summary = books.end()
    assert (summary.files, summary.left_out) == (1, 2)
    assert not {"a", "b"} & {entry[1] for entry in books.log if len(entry) > 1}


def uploaded(books: Books, jobs: Iterable[Job]) -> None:
    for one in jobs:
        books.ledger.take(one, stored(one))


# Recorded, then told


def test_an_upload_is_not_told_before_it_is_settled(books: Books) -> None:
    books.scan(job(0))
    uploaded(books, [job(0)])
    assert (books.log, books.ledger.counters.uploaded) == ([], 0)
    books.ledger.commit()


def test_an_upload_is_committed_before_it_is_told(books: Books) -> None:
    books.scan(job(0), job(1))
    uploaded(books, [job(0), job(1)])
    books.ledger.commit()
    assert books.log == [
        ("add_done", "file0", "file1"),
        ("commit",),
        ("uploaded", "file0"),
        ("uploaded", "file1"),
    ]
    assert books.ledger.counters.uploaded == 2


def test_uploads_are_settled_in_batches_of_their_own_accord(books: Books) -> None:
    jobs = [job(number) for number in range(COMMIT_ROWS)]
    books.scan(*jobs)
    uploaded(books, jobs[:-1])
    assert books.ledger.counters.uploaded == 0
    uploaded(books, jobs[-1:])
    assert books.ledger.counters.uploaded == COMMIT_ROWS


def test_what_is_recorded_is_what_was_stored(books: Books, tmp_path: Path) -> None:
    """Not what the scan saw: the file may have changed between the two."""
    books.scan(job(0))
    books.ledger.take(job(0), Result(0, 99, 77, 88))
    books.ledger.commit()
    books.end(stopped=True)
    journal = Journal(books.path, "source", "destination")
    assert journal.is_done(job(0, 99, 77, 88)) and not journal.is_done(job(0))
    journal.close(complete=False)


def test_a_failed_file_is_told_at_once(books: Books) -> None:
    books.scan(job(0))
    books.ledger.take(job(0), refused(job(0)))
    assert ("failed", "file0", "denied") in books.log
    assert books.ledger.counters.failed == 1


def test_a_file_that_was_not_to_be_stored_is_skipped_and_not_recorded(books: Books) -> None:
    """The object under its name may be another: the journal knows nothing of it."""
    books.scan(job(0))
    books.ledger.take(job(0), refused(job(0))._replace(failure="exists", skipped=True))
    books.ledger.commit()
    assert books.log[0] == ("skipped", "file0", "exists")
    assert books.told("add_failed") == [] and books.journal
    assert not books.journal.is_done(job(0))
    summary = books.end()
    assert (summary.skipped, summary.failed, summary.failed_list) == (1, 0, None)


def test_an_upload_that_was_begun_is_recorded_at_once(books: Books) -> None:
    books.ledger.begun(job(0)._replace(upload_id="id"))
    assert books.log == [("add_upload", "file0", "id"), ("commit",)]


def test_without_a_journal_uploads_are_told(tmp_path: Path) -> None:
    books = Books(tmp_path, recording=False)
    books.scan(job(0))
    books.ledger.begun(job(0))
    uploaded(books, [job(0)])
    books.ledger.commit()
    assert books.told("uploaded") == ["file0"]
    assert books.end().uploaded == 1


# What earlier runs did


@pytest.fixture
def resumed(tmp_path: Path) -> Iterator[Books]:
    """file0 is done; of file1 an upload was begun."""
    journal = Journal(tmp_path / "j.sqlite", "source", "destination")
    journal.add_done([("file0", 10, 5, 6)])
    journal.add_upload(job(1)._replace(upload_id="id"))
    journal.close(complete=False)
    with Books(tmp_path) as books:
        yield books


def test_a_file_that_an_earlier_run_uploaded_is_skipped(resumed: Books) -> None:
    assert resumed.scan(job(0)) == [None]
    assert ("skipped", "file0", DONE_BEFORE) in resumed.log


def test_a_file_that_has_changed_since_is_uploaded_again(resumed: Books) -> None:
    for changed in (job(0, size=11), job(0, ctime_ns=7)):
        assert resumed.scan(changed) == [changed]


def test_an_upload_that_was_begun_goes_with_the_job(resumed: Books) -> None:
    (found,) = resumed.scan(job(1))
    assert found == job(1)._replace(upload_id="id")


def test_an_upload_of_a_file_that_has_changed_does_not_go_with_the_job(resumed: Books) -> None:
    assert resumed.scan(job(1, size=11)) == [job(1, size=11)]


def test_a_new_run_asks_the_journal_for_nothing(books: Books) -> None:
    books.scan(job(0))
    assert books.log == []


# The end


def test_the_summary_adds_up(resumed: Books) -> None:
    jobs = [job(number) for number in range(5)]
    resumed.scan(*jobs, Skipped("pipe", "is a FIFO"), Failed("closed", "cannot be read"))
    uploaded(resumed, jobs[1:3])
    resumed.ledger.take(jobs[3], refused(jobs[3]))
    resumed.ledger.fail_unfinished([jobs[4]], "interrupted", listed=True)
    resumed.ledger.commit()
    summary = resumed.end(stopped=True)
    assert (summary.files, summary.uploaded, summary.skipped, summary.failed) == (7, 2, 2, 3)
    assert summary.bytes == 20
    assert summary.skipped_reasons == {DONE_BEFORE: 1, "is a FIFO": 1}
    assert summary.failed_reasons == {"cannot be read": 1, "denied": 1, "interrupted": 1}


def test_files_that_are_not_listed_are_counted(books: Books) -> None:
    books.scan(job(0), job(1))
    books.ledger.fail_unfinished([job(0), job(1)], "interrupted", listed=False)
    assert books.told("failed") == []
    assert books.end().failed == 2


def test_a_run_with_everything_uploaded_removes_the_journal(books: Books) -> None:
    books.scan(job(0), Skipped("pipe", "is a FIFO"))
    uploaded(books, [job(0)])
    books.ledger.commit()
    assert books.end().complete
    assert not books.path.exists()


@pytest.mark.parametrize("case", ["failed", "stopped", "error", "unscanned"])
def test_any_other_run_keeps_the_journal(books: Books, case: str) -> None:
    if case == "unscanned":
        next(books.ledger.jobs([job(0)]))
    else:
        books.scan(job(0))
    if case == "failed":
        books.ledger.take(job(0), refused(job(0)))
    else:
        uploaded(books, [job(0)])
    books.ledger.commit()
    error = RunError("no such bucket") if case == "error" else None
    summary = books.end(stopped=case == "stopped", error=error)
    assert books.path.exists()
    assert summary.error == (str(error) if error else None)
    assert summary.complete is (case in ("failed", "stopped"))


def test_the_list_of_failed_files_is_named(books: Books) -> None:
    books.scan(Failed("a", "closed"))
    summary = books.end()
    assert summary.failed_list == books.failures.path
    assert summary.failed_list and "closed" in Path(summary.failed_list).read_text()


# A journal that fails


@pytest.mark.parametrize("broken", ["add_done", "commit"])
def test_uploads_that_cannot_be_recorded_are_failed(books: Books, broken: str) -> None:
    books.scan(job(0), job(1))
    uploaded(books, [job(0), job(1)])
    books.break_(broken)
    with pytest.raises(RunError, match=f"{broken} is broken") as caught:
        books.ledger.commit()
    assert books.told("uploaded") == []
    summary = books.end(error=caught.value)
    assert (summary.uploaded, summary.failed_reasons) == (0, {NOT_RECORDED: 2})


def test_what_was_recorded_before_stays_recorded(books: Books) -> None:
    books.scan(job(0), job(1))
    uploaded(books, [job(0)])
    books.ledger.commit()
    uploaded(books, [job(1)])
    books.break_("commit")
    with pytest.raises(RunError) as caught:
        books.ledger.commit()
    assert books.end(error=caught.value).uploaded == 1
    journal = Journal(books.path, "source", "destination")
    assert journal.is_done(job(0))
    journal.close(complete=False)


def test_nothing_is_called_uploaded_after_the_journal_has_failed(books: Books) -> None:
    """What still comes in while the run ends."""
    books.scan(job(0), job(1))
    uploaded(books, [job(0)])
    books.break_("commit")
    with pytest.raises(RunError) as caught:
        books.ledger.commit()
    uploaded(books, [job(1)])
    with pytest.raises(RunError):
        books.ledger.commit()
    assert books.told("uploaded") == []
    assert books.end(error=caught.value).failed_reasons == {NOT_RECORDED: 2}


def test_an_upload_that_cannot_be_recorded_when_it_is_begun_stops_the_run(books: Books) -> None:
    books.scan(job(0))
    books.break_("add_upload")
    with pytest.raises(RunError, match="add_upload is broken") as caught:
        books.ledger.begun(job(0)._replace(upload_id="id"))
    books.ledger.fail_unfinished([job(0)], "interrupted", listed=True)
    assert books.end(error=caught.value).failed_reasons == {"interrupted": 1}


def test_a_failure_that_cannot_be_recorded_is_told(books: Books) -> None:
    books.scan(job(0))
    books.break_("add_failed")
    books.ledger.take(job(0), refused(job(0)))
    assert ("failed", "file0", "denied") in books.log


def test_a_failure_that_cannot_be_recorded_stops_the_run(books: Books) -> None:
    books.scan(job(0))
    books.break_("add_failed")
    books.ledger.take(job(0), refused(job(0)))
    with pytest.raises(RunError, match="add_failed is broken") as caught:
        books.ledger.commit()
    assert books.end(error=caught.value).failed_reasons == {"denied": 1}


def test_a_file_that_cannot_be_looked_up_is_failed(resumed: Books) -> None:
    resumed.break_("is_done")
    with pytest.raises(RunError, match="is_done is broken") as caught:
        resumed.scan(job(0), job(1))
    summary = resumed.end(error=caught.value)
    assert summary.failed_reasons == {NOT_LOOKED_UP: 1}
    assert not summary.complete


def test_a_journal_that_failed_is_given_back(books: Books) -> None:
    """Its lock, and what SQLite has open."""
    books.scan(job(0))
    uploaded(books, [job(0)])
    books.break_("commit")
    with pytest.raises(RunError) as caught:
        books.ledger.commit()
    books.end(error=caught.value)
    Journal(books.path, "source", "destination").close(complete=False)


def test_a_journal_that_cannot_be_removed_is_told(books: Books) -> None:
    books.scan(job(0))
    uploaded(books, [job(0)])
    books.ledger.commit()
    books.break_("close")
    assert books.end().uploaded == 1
    assert ("note", "close is broken") in books.log
