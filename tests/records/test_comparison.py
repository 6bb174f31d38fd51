"""Which files need not be sent: by the listing, and by what an earlier run has seen."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from _uploader.files.model import UNCHANGED, Job
from _uploader.records.comparison import EXISTING, SAME_SIZE, Comparison
from _uploader.records.journal import Journal

JOB = Job(0, "a", 5, 10**18, 3)
SEEN = ("a", 5, 10**18, 3, "e")


def vouching(path: Path) -> Journal:
    return Journal(path, "/data", "s3 b/", vouching=True)


def journal_of(path: Path, *rows: tuple[str, int, int, int, str]) -> Journal:
    """The journal after a complete run that recorded these."""
    first = vouching(path)
    first.add_vouched(rows)
    first.commit()
    first.close(complete=True)
    return vouching(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "j.sqlite"


def looked(skip: str, journal: Journal | None = None, job: Job = JOB) -> Job | str:
    comparison = Comparison(skip, "p/", deletes=False)
    comparison.journal = journal
    comparison.inventory.add([("p/a", 5, "e")])
    comparison.inventory.complete()
    verdict = comparison.look(job)
    comparison.close()
    if journal:
        journal.close(complete=True)
    return verdict


def test_what_an_earlier_run_has_seen_is_unchanged(path: Path) -> None:
    assert looked("unchanged", journal_of(path, SEEN)) == UNCHANGED


@pytest.mark.parametrize(
    "row",
    [
        ("a", 5, 10**18, 4, "e"),
        ("a", 5, 10**18 + 1, 3, "e"),
        ("a", 6, 10**18, 3, "e"),
        ("a", 5, 10**18, 3, "f"),
        ("b", 5, 10**18, 3, "e"),
    ],
)
def test_what_it_has_seen_otherwise_is_asked_for(
    path: Path, row: tuple[str, int, int, int, str]
) -> None:
    assert looked("unchanged", journal_of(path, row)) == JOB._replace(compares=True)


def test_the_latest_record_counts(path: Path) -> None:
    older = (*SEEN[:4], "older")
    assert looked("unchanged", journal_of(path, older, SEEN)) == UNCHANGED
    path.unlink()
    assert looked("unchanged", journal_of(path, SEEN, older)) != UNCHANGED


def test_without_a_journal_it_is_asked_for() -> None:
    assert looked("unchanged") == JOB._replace(compares=True)


def test_content_is_asked_for_whatever_was_seen(path: Path) -> None:
    assert looked("checksum", journal_of(path, SEEN)) == JOB._replace(compares=True)


@pytest.mark.parametrize("skip", ["unchanged", "checksum", "same-size"])
def test_another_size_is_sent_at_once(skip: str) -> None:
    job = JOB._replace(size=6)
    assert looked(skip, job=job) == job


@pytest.mark.parametrize("skip", ["unchanged", "checksum", "same-size", "existing"])
def test_what_is_not_there_is_sent_at_once(skip: str) -> None:
    job = JOB._replace(path="b")
    assert looked(skip, job=job) == job


def test_the_listing_alone_may_be_enough() -> None:
    assert looked("same-size") == SAME_SIZE
    assert looked("existing", job=JOB._replace(size=6)) == EXISTING


class TestJournal:
    def test_a_complete_run_leaves_nothing_to_resume(self, path: Path) -> None:
        journal = journal_of(path, SEEN)
        assert (journal.since, journal.resumed, journal.recorded) == (None, False, 0)
        journal.close(complete=False)

    def test_what_an_interrupted_run_has_seen_counts(self, path: Path) -> None:
        first = vouching(path)
        first.add_vouched([SEEN])
        first.commit()
        first.close(complete=False)
        again = vouching(path)
        assert again.since is not None
        assert again.vouches(JOB, "e")
        again.close(complete=False)

    @pytest.fixture
    def journal(self, path: Path) -> Iterator[Journal]:
        journal = journal_of(path, SEEN)
        yield journal
        journal.close(complete=False)

    def test_a_void_journal_vouches_for_nothing(self, journal: Journal) -> None:
        journal.void()
        assert not journal.vouches(JOB, "e")

    def test_so_does_one_of_objects_that_carry_something_else(self, journal: Journal) -> None:
        journal.expect("--metadata a=b")
        assert not journal.vouches(JOB, "e")

    def test_no_etag_proves_nothing(self, journal: Journal) -> None:
        assert not journal.vouches(JOB, "")

    def test_a_run_that_begins_anew_forgets_it(self, path: Path) -> None:
        journal_of(path, SEEN).close(complete=True)
        anew = Journal(path, "/data", "s3 b/", restart=True, vouching=True)
        assert not anew.vouches(JOB, "e")
        anew.close(complete=True)

    def test_a_run_that_does_not_compare_resumes_nothing_of_it(self, path: Path) -> None:
        journal_of(path, SEEN).close(complete=True)
        other = Journal(path, "/data", "s3 b/")
        assert (other.since, other.resumed) == (None, False)
        assert not other.is_done(JOB)
        other.close(complete=True)
        assert not path.exists()

    def test_outdated_records_are_removed(self, path: Path) -> None:
        for etag in "abcdefgh":
            journal = vouching(path)
            journal.add_vouched([(*SEEN[:4], etag)])
            journal.commit()
            journal.close(complete=True)
        database = sqlite3.connect(path)
        (rows,) = database.execute("SELECT count(*) FROM vouched").fetchone()
        database.close()
        assert rows <= 2
