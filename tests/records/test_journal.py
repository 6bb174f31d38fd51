"""The journal: what it says was done was done, and what is no journal of ours stays as it is."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from _uploader.errors import RunError
from _uploader.files.model import Job
from _uploader.records.journal import VERSION, Journal
from _uploader.records.paths import journal_files, journal_path
from tests.command import needs_root, shell
from tests.conftest import REPO

SOURCE, DESTINATION = "/data", "s3 http://x b/"
TIMEOUT = 30.0
"""Seconds that a helper process may take."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journals" / "j.sqlite"


def opened(path: Path, *, restart: bool = False) -> Journal:
    return Journal(path, SOURCE, DESTINATION, restart=restart)


def job(path: str, size: int = 10, mtime_ns: int = 10**18, ctime_ns: int = 3) -> Job:
    return Job(0, path, size, mtime_ns, ctime_ns)


def row(job: Job) -> tuple[str, int, int, int]:
    return (job.path, job.size, job.mtime_ns, job.ctime_ns)


def recorded(path: Path, *jobs: Job) -> None:
    """A run that uploaded these files and was cut short."""
    journal = opened(path)
    journal.add_done(map(row, jobs))
    journal.commit()
    journal.close(complete=False)


def in_other_process(path: Path, code: str, *wrapper: str) -> subprocess.CompletedProcess[str]:
    """Runs ``code`` with an open ``journal`` and its ``path``."""
    script = (
        "import os, sys\nfrom pathlib import Path\nfrom _uploader.records.journal import Journal\n"
        f"path = Path({str(path)!r})\n"
        f"def opened(): return Journal(path, {SOURCE!r}, {DESTINATION!r})\n{code}"
    )
    return subprocess.run(
        [*wrapper, sys.executable, "-c", script],
        cwd=REPO,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )


def refusal(path: Path) -> str:
    """Why the journal cannot be opened, in one line."""
    with pytest.raises(RunError) as caught:
        opened(path)
    text = str(caught.value)
    assert text and "\n" not in text
    return text


# What is done


def test_a_recorded_file_is_done(path: Path) -> None:
    recorded(path, job("a"))
    journal = opened(path)
    assert journal.is_done(job("a"))
    journal.close(complete=False)


@pytest.mark.parametrize("description", ["", "--sse 'AES256'"])
def test_objects_that_carry_what_they_should_stay_done(path: Path, description: str) -> None:
    journal = opened(path)
    assert journal.expect(description), "nothing was stored otherwise"
    journal.add_done([row(job("a"))])
    journal.close(complete=False)
    journal = opened(path)
    assert journal.expect(description)
    assert journal.is_done(job("a"))
    journal.close(complete=False)


def test_objects_that_carry_something_else_are_not_done(path: Path) -> None:
    """Neither is an upload that was begun for one."""
    recorded(path, job("a"))
    begun = job("b")._replace(upload_id="id")
    journal = opened(path)
    journal.add_upload(begun)
    journal.close(complete=False)
    journal = opened(path)
    assert not journal.expect("--sse 'AES256'")
    assert (journal.recorded, journal.resumed) == (0, False)
    assert not journal.is_done(job("a"))
    journal.add_done([row(job("c"))])
    journal.close(complete=False)
    journal = opened(path)
    assert journal.expect("--sse 'AES256'")
    assert [journal.is_done(job(name)) for name in "abc"] == [False, False, True]
    assert journal.begun(job("b")) == ""
    journal.close(complete=False)


CHANGED = [job("a", size=11), job("a", mtime_ns=10**18 + 1), job("a", ctime_ns=4)]
"""The last one: an edit with the time put back, or other permissions."""


@pytest.mark.parametrize("changed", CHANGED, ids=["size", "mtime", "ctime"])
def test_a_file_that_has_changed_is_not_done(path: Path, changed: Job) -> None:
    recorded(path, job("a"))
    journal = opened(path)
    assert not journal.is_done(changed)
    journal.close(complete=False)


def test_a_file_that_was_not_recorded_is_not_done(path: Path) -> None:
    recorded(path, job("a"))
    journal = opened(path)
    assert not journal.is_done(job("b"))
    journal.close(complete=False)


@pytest.mark.parametrize(("version", "done"), [(job("a", size=1), False), (job("a", size=2), True)])
def test_the_latest_record_counts(path: Path, version: Job, done: bool) -> None:
    recorded(path, job("a", size=1))
    recorded(path, job("a", size=2))
    journal = opened(path)
    assert journal.is_done(version) is done
    journal.close(complete=False)


def test_what_this_run_records_is_not_asked_for(path: Path) -> None:
    """Only what earlier runs did is looked up: appending has no index to keep."""
    recorded(path, job("a"))
    journal = opened(path)
    journal.add_done([row(job("b"))])
    journal.commit()
    assert not journal.is_done(job("b"))
    journal.close(complete=False)


def test_a_new_journal_has_nothing_to_go_on_with(path: Path) -> None:
    journal = opened(path)
    assert (journal.resumed, journal.recorded, journal.is_done(job("a"))) == (False, 0, False)
    journal.close(complete=False)


def test_the_files_of_earlier_runs_are_counted(path: Path) -> None:
    recorded(path, job("a"), job("b"))
    journal = opened(path)
    assert (journal.resumed, journal.recorded) == (True, 2)
    journal.close(complete=False)


def test_a_run_that_only_failed_is_gone_on_with(path: Path) -> None:
    journal = opened(path)
    journal.add_failed("a", "denied")
    journal.close(complete=False)
    journal = opened(path)
    assert journal.resumed
    journal.close(complete=False)


def test_failures_of_earlier_runs_are_forgotten(path: Path) -> None:
    journal = opened(path)
    journal.add_failed("a", "denied")
    journal.close(complete=False)
    opened(path).close(complete=False)
    assert rows(path, "SELECT path FROM failed") == []


def test_the_begin_of_the_first_run_is_kept(path: Path) -> None:
    journal = opened(path)
    first = journal.started
    journal.add_failed("a", "denied")
    journal.close(complete=False)
    journal = opened(path)
    assert journal.started == first
    journal.close(complete=False)


def test_a_new_journal_has_no_earlier_run(path: Path) -> None:
    journal = opened(path)
    assert journal.since is None
    journal.close(complete=False)


@pytest.mark.parametrize("restart", [True, False])
def test_a_run_that_recorded_nothing_is_remembered(path: Path, restart: bool) -> None:
    """It may have begun uploads that nobody was told of."""
    journal = opened(path)
    first = journal.started
    journal.close(complete=False)
    journal = opened(path, restart=restart)
    assert (journal.since, journal.resumed) == (first, False)
    journal.close(complete=False)


@pytest.mark.parametrize("done", [True, False])
def test_a_restart_forgets(path: Path, done: bool) -> None:
    recorded(path, job("a"))
    journal = opened(path)
    journal.add_upload(job("b")._replace(upload_id="id"))
    journal.add_failed("c", "denied")
    journal.close(complete=False)
    journal = opened(path, restart=done)
    assert (journal.resumed, journal.is_done(job("a"))) == (not done, not done)
    assert journal.begun(job("b")) == ("" if done else "id")
    journal.close(complete=False)


def test_a_complete_run_removes_the_journal(path: Path) -> None:
    journal = opened(path)
    journal.add_done([("a", 1, 1, 1)])
    journal.close(complete=True)
    assert list(path.parent.iterdir()) == []


def test_an_incomplete_run_keeps_the_journal(path: Path) -> None:
    journal = opened(path)
    journal.close(complete=False)
    assert [p.name for p in path.parent.iterdir()] == ["j.sqlite"]


def test_closing_commits(path: Path) -> None:
    journal = opened(path)
    journal.add_done([row(job("a"))])
    journal.close(complete=False)
    assert rows(path, "SELECT path FROM done") == [("a",)]


# Multipart uploads


def begun(path: Path, *uploads: Job) -> None:
    journal = opened(path)
    for upload in uploads:
        journal.add_upload(upload)
    journal.close(complete=False)


def upload(upload_id: str, name: str = "a") -> Job:
    return job(name)._replace(upload_id=upload_id)


def test_an_upload_that_was_begun_is_remembered(path: Path) -> None:
    begun(path, upload("id"))
    journal = opened(path)
    assert journal.begun(job("a")) == "id"
    journal.close(complete=False)


def test_the_last_upload_that_was_begun_counts(path: Path) -> None:
    begun(path, upload("one"), upload("two"))
    journal = opened(path)
    assert journal.begun(job("a")) == "two"
    journal.close(complete=False)


@pytest.mark.parametrize("other", [*CHANGED, job("b")])
def test_an_upload_of_another_version_is_not_gone_on_with(path: Path, other: Job) -> None:
    begun(path, upload("id"))
    journal = opened(path)
    assert journal.begun(other) == ""
    journal.close(complete=False)


# A bucket that this run has created


def test_what_was_stored_in_a_bucket_that_is_gone_is_not_done(path: Path) -> None:
    recorded(path, job("a"))
    begun(path, upload("id", "b"))
    journal = opened(path)
    journal.void()
    assert (journal.resumed, journal.recorded) == (False, 0)
    assert (journal.is_done(job("a")), journal.begun(job("b"))) == (False, "")
    journal.close(complete=False)


def test_what_is_stored_in_a_new_bucket_is_recorded(path: Path) -> None:
    recorded(path, job("a"), job("b"))
    journal = opened(path)
    journal.void()
    journal.add_done([row(job("b"))])
    journal.close(complete=False)
    journal = opened(path)
    assert (journal.is_done(job("a")), journal.is_done(job("b"))) == (False, True)
    journal.close(complete=False)


# The file


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    database = sqlite3.connect(path)
    try:
        return database.execute(query).fetchall()
    finally:
        database.close()


NAMES = ["plain", "it's", 'say "hi"', "two\nlines", "semi;colon --", "\x01", "é/ü/日本", " ", "%s?"]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_comes_back(path: Path, name: str) -> None:
    recorded(path, job(name))
    begun(path, upload(name, name))
    journal = opened(path)
    assert journal.is_done(job(name))
    assert journal.begun(job(name)) == name
    journal.close(complete=False)


@pytest.mark.parametrize("size", [0, 2**31, 2**62])
@pytest.mark.parametrize("time_ns", [-(10**18), 0, 9 * 10**18, 2**63, 15 * 10**18, -(2**63) - 1])
def test_any_size_and_time_comes_back(path: Path, size: int, time_ns: int) -> None:
    """2**63 ns is a moment in 2262."""
    file = job("a", size, time_ns, time_ns)
    recorded(path, file)
    begun(path, file._replace(upload_id="id"))
    journal = opened(path)
    assert journal.is_done(file)
    assert journal.begun(file) == "id"
    assert not journal.is_done(job("a", size, time_ns + 1, time_ns))
    journal.close(complete=False)


def documented_tables() -> list[tuple[str, list[str]]]:
    """(name, columns) of the tables in the module's docstring."""
    text = sys.modules[Journal.__module__].__doc__ or ""
    found = re.findall(r"^    (\w+)\((.*)\)", text, re.MULTILINE)
    return [(name, columns.split(", ")) for name, columns in found]


def test_the_documentation_names_all_tables(path: Path) -> None:
    opened(path).close(complete=False)
    names = {name for (name,) in rows(path, "SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert names == {name for name, _ in documented_tables()}


@pytest.mark.parametrize(("table", "columns"), documented_tables())
def test_a_table_is_as_documented(path: Path, table: str, columns: list[str]) -> None:
    opened(path).close(complete=False)
    assert [row[1] for row in rows(path, f"PRAGMA table_info({table})")] == columns


def test_the_journal_says_what_the_run_is(path: Path) -> None:
    opened(path).close(complete=False)
    about = dict(rows(path, "SELECT * FROM about"))
    assert about.keys() == {"source", "destination", "started"}
    assert (about["source"], about["destination"]) == (SOURCE, DESTINATION)


def test_the_journal_can_be_read_while_it_is_written(path: Path) -> None:
    journal = opened(path)
    journal.add_done([("a", 1, 1, 1)])
    journal.commit()
    journal.add_done([("b", 1, 1, 1)])
    assert rows(path, "SELECT path FROM done") == [("a",)]
    journal.close(complete=False)


def test_only_the_user_may_read_it(path: Path) -> None:
    journal = opened(path)
    journal.add_done([("a", 1, 1, 1)])
    journal.commit()
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in path.parent.iterdir()}
    assert set(modes) >= {"j.sqlite", "j.sqlite-wal", "j.sqlite.lock"}
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    journal.close(complete=False)


def test_a_row_takes_about_100_bytes(path: Path) -> None:
    names = [f"photos/2026/11/23/original/IMG_{number:06}.jpeg" for number in range(20_000)]
    recorded(path, *(job(name) for name in names))
    assert path.stat().st_size / len(names) < 100


def test_the_index_of_the_next_run_doubles_that_at_most(path: Path) -> None:
    names = [f"photos/2026/11/23/original/IMG_{number:06}.jpeg" for number in range(20_000)]
    recorded(path, *(job(name) for name in names))
    opened(path).close(complete=False)
    assert path.stat().st_size / len(names) < 200


def plans(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """How SQLite finds what the journal looks up."""

    class Connection(sqlite3.Connection):
        """The journal's own, so that the plans are those of its statistics."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            connections.append(self)

    connections: list[Connection] = []
    asked: list[str] = []
    monkeypatch.setattr(sqlite3, "connect", Connection)
    journal = opened(path)
    (database,) = connections
    database.set_trace_callback(asked.append)
    journal.is_done(job("a"))
    journal.begun(job("a"))
    database.set_trace_callback(None)
    for query in asked:
        yield database.execute(f"EXPLAIN QUERY PLAN {query}").fetchone()[3]
    journal.close(complete=False)


def test_what_is_looked_up_is_found_by_an_index(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded(path, *(job(f"{number}") for number in range(100)))
    begun(path, upload("id"))
    done, uploads = plans(path, monkeypatch)
    assert "USING INDEX done_before (path=?" in done
    assert "USING INDEX uploads_by_path (path=?" in uploads


def test_appending_feeds_no_index(path: Path) -> None:
    """The one that is there covers only the rows of earlier runs."""
    recorded(path, job("a"))
    opened(path).close(complete=False)
    ((sql,),) = rows(path, "SELECT sql FROM sqlite_master WHERE name = 'done_before'")
    assert str(sql).endswith("WHERE id <= 1")


def test_each_source_and_destination_has_a_journal_of_its_own(tmp_path: Path) -> None:
    pairs = [("a", "b"), ("a", "c"), ("b", "a"), ("ab", ""), ("", "ab")]
    assert len({journal_path(tmp_path, *pair) for pair in pairs}) == len(pairs)


def test_a_source_whose_name_is_not_utf8_has_a_journal(tmp_path: Path) -> None:
    source = os.fsdecode(b"/data/\xff")
    path = journal_path(tmp_path, source, DESTINATION)
    assert path != journal_path(tmp_path, "/data/\\xff", DESTINATION)
    Journal(path, source, DESTINATION).close(complete=False)
    Journal(path, source, DESTINATION).close(complete=False)
    with pytest.raises(RunError, match="belongs to"):
        Journal(path, os.fsdecode(b"/data/\xfe"), DESTINATION)


def test_all_its_files_can_be_named(path: Path) -> None:
    journal = opened(path)
    journal.add_done([("a", 1, 1, 1)])
    journal.commit()
    assert set(path.parent.iterdir()) <= set(journal_files(path))
    journal.close(complete=False)


# One at a time


def test_a_second_run_is_refused(path: Path) -> None:
    journal = opened(path)
    assert refusal(path) == f"another run is using the journal {path}"
    journal.close(complete=False)


def test_a_second_run_in_another_process_is_refused(path: Path) -> None:
    journal = opened(path)
    ended = in_other_process(path, "opened()")
    assert ended.stderr.splitlines()[-1].endswith(f"another run is using the journal {path}")
    journal.close(complete=False)


def test_a_lock_that_the_system_refuses_is_not_called_another_run(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    before = len(os.listdir("/proc/self/fd"))
    assert "cannot be locked: No locks available (--no-journal does without)" in refusal(path)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_lock_file_that_was_removed_meanwhile_is_no_lock(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that ends removes it while another one waits to lock the same file."""
    lock = fcntl.flock
    gone: list[int] = []

    def remove_first(descriptor: int, operation: int) -> None:
        if not gone:
            gone.append(descriptor)
            os.unlink(f"{path}.lock")
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", remove_first)
    journal = opened(path)
    assert "another run" in in_other_process(path, "opened()").stderr
    journal.close(complete=False)


def test_a_refused_run_leaves_the_first_one_alone(path: Path) -> None:
    journal = opened(path)
    refusal(path)
    journal.add_done([("a", 1, 1, 1)])
    journal.commit()
    assert "another run" in in_other_process(path, "opened()").stderr
    journal.close(complete=False)


@pytest.mark.parametrize("complete", [True, False])
def test_the_next_run_may_open_what_was_closed(path: Path, complete: bool) -> None:
    opened(path).close(complete=complete)
    opened(path).close(complete=False)


def test_the_next_run_may_open_what_was_refused(path: Path) -> None:
    """A refusal gives the lock and the descriptors back."""
    recorded(path, job("a"))
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(RunError):
        Journal(path, "elsewhere", DESTINATION)
    assert len(os.listdir("/proc/self/fd")) == before
    opened(path).close(complete=False)


# A process that is killed

DIES = """
journal = opened()
journal.add_done([(f"committed{n}", 1, 1, 1) for n in range(100)])
journal.commit()
journal.add_done([(f"lost{n}", 1, 1, 1) for n in range(%d)])
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("uncommitted", [1, 100_000], ids=["in memory", "spilled to the disk"])
def test_after_a_kill_there_is_what_was_committed_and_nothing_else(
    path: Path, uncommitted: int
) -> None:
    ended = in_other_process(path, DIES % uncommitted)
    assert ended.returncode == -signal.SIGKILL
    journal = opened(path)
    assert journal.recorded == 100
    assert all(journal.is_done(job(f"committed{n}", 1, 1, 1)) for n in range(100))
    assert not journal.is_done(job("lost0", 1, 1, 1))
    journal.close(complete=False)


def test_a_kill_while_the_journal_is_made_leaves_none_that_is_half_made(path: Path) -> None:
    ended = in_other_process(
        path,
        "import _uploader.records.journal\n"
        "class Killer:\n"
        "    def time(self): os.kill(os.getpid(), 9)\n"
        "_uploader.records.journal.time = Killer()\n"
        "opened()",
    )
    assert ended.returncode == -signal.SIGKILL
    journal = opened(path)
    assert not journal.resumed
    journal.close(complete=False)


def test_a_kill_frees_the_lock(path: Path) -> None:
    in_other_process(path, DIES % 1)
    opened(path).close(complete=False)


# What is no journal of this run


def altered(path: Path, *statements: str) -> None:
    database = sqlite3.connect(path)
    for statement in statements:
        database.execute(statement)
    database.commit()
    database.close()


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_a_journal_of_a_newer_version_is_refused_and_unchanged(path: Path, mode: str) -> None:
    recorded(path, job("a"))
    altered(path, f"PRAGMA user_version = {VERSION + 1}", f"PRAGMA journal_mode = {mode}")
    before = path.read_bytes()
    assert f"is of version {VERSION + 1}, this program knows {VERSION}" in refusal(path)
    assert path.read_bytes() == before


def older(path: Path) -> None:
    """A journal as version 1 wrote it."""
    recorded(path)
    altered(
        path,
        "DROP TABLE done",
        "CREATE TABLE done(id INTEGER PRIMARY KEY, path TEXT, size INTEGER, mtime_ns INTEGER)",
        "INSERT INTO done VALUES (1, 'a', 10, 1000000000000000000)",
        "PRAGMA user_version = 1",
    )


def test_a_journal_of_an_older_version_is_refused_and_unchanged(path: Path) -> None:
    older(path)
    before = path.read_bytes()
    assert refusal(path).endswith(": --restart begins it anew")
    assert path.read_bytes() == before


def test_a_restart_begins_a_journal_of_an_older_version_anew(path: Path) -> None:
    older(path)
    journal = opened(path, restart=True)
    assert (journal.since, journal.resumed, journal.is_done(job("a"))) == (None, False, False)
    journal.close(complete=False)
    recorded(path, job("a"))
    journal = opened(path)
    assert journal.is_done(job("a"))
    journal.close(complete=False)


def test_a_newer_version_is_not_overwritten_by_a_restart(path: Path) -> None:
    recorded(path, job("a"))
    altered(path, f"PRAGMA user_version = {VERSION + 1}")
    before = path.read_bytes()
    with pytest.raises(RunError, match="version"):
        opened(path, restart=True)
    assert path.read_bytes() == before


@pytest.mark.parametrize("version", [0, 1, 5])
def test_the_database_of_another_program_is_refused_and_unchanged(path: Path, version: int) -> None:
    path.parent.mkdir()
    altered(
        path,
        "CREATE TABLE photos(name)",
        "INSERT INTO photos VALUES ('precious')",
        f"PRAGMA user_version = {version}",
    )
    before = path.read_bytes()
    assert refusal(path) == f"{path} is no journal of this program"
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["j.sqlite"]


@pytest.mark.parametrize("size", [17, 1000, 4096, 50_000])
def test_noise_is_refused_and_unchanged(path: Path, size: int) -> None:
    path.parent.mkdir()
    path.write_bytes(random.Random(size).randbytes(size))
    before = path.read_bytes()
    assert str(path) in refusal(path)
    assert path.read_bytes() == before


def test_text_is_refused_and_unchanged(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("precious notes\n" * 100)
    refusal(path)
    assert path.read_text() == "precious notes\n" * 100


@pytest.mark.parametrize(
    ("source", "destination"), [("/other", DESTINATION), (SOURCE, "s3 http://x other/")]
)
def test_the_journal_of_another_run_is_refused_and_unchanged(
    path: Path, source: str, destination: str
) -> None:
    recorded(path, job("a"))
    before = path.read_bytes()
    with pytest.raises(RunError, match=f"belongs to {SOURCE} -> {DESTINATION}"):
        Journal(path, source, destination)
    assert path.read_bytes() == before


def test_a_directory_is_refused(path: Path) -> None:
    path.mkdir(parents=True)
    assert "Is a directory" in refusal(path)


# Damage


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("healthy") / "j.sqlite"
    recorded(path, *(job(f"folder/{number:05}") for number in range(3000)))
    opened(path).close(complete=False)
    return path


def wrongly_done(path: Path) -> list[Job]:
    """Opens a damaged journal and asks for files of which it has another version, or none."""
    asked = [job(f"folder/{number:05}", *now) for number in range(3000) for now in [(0, 0), (11,)]]
    asked += [job(f"other/{number:05}") for number in range(1000)]
    journal = opened(path)
    try:
        return [one for one in asked if journal.is_done(one)]
    finally:
        journal.close(complete=False)


@pytest.mark.parametrize("share", [0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9])
def test_a_truncated_journal_is_refused(path: Path, healthy: Path, share: float) -> None:
    path.parent.mkdir()
    shutil.copy(healthy, path)
    os.truncate(path, int(healthy.stat().st_size * share))
    before = path.read_bytes()
    assert str(path) in refusal(path)
    assert path.read_bytes() == before


def test_an_empty_file_is_a_new_journal(path: Path) -> None:
    """As ``mktemp`` makes it."""
    path.parent.mkdir()
    path.touch()
    journal = opened(path)
    assert not journal.resumed
    journal.close(complete=False)


@pytest.mark.parametrize("seed", range(20))
def test_noise_in_the_middle_is_refused_or_does_no_harm(
    path: Path, healthy: Path, seed: int
) -> None:
    path.parent.mkdir()
    chance = random.Random(seed)
    data = bytearray(healthy.read_bytes())
    offset = chance.randrange(len(data) - 5000)
    data[offset : offset + 5000] = chance.randbytes(5000)
    path.write_bytes(data)
    assert_refused_or_harmless(path)


@pytest.mark.parametrize("missing", [1, 500, 4000])
def test_a_journal_without_its_last_bytes_is_refused_or_does_no_harm(
    path: Path, healthy: Path, missing: int
) -> None:
    path.parent.mkdir()
    shutil.copy(healthy, path)
    os.truncate(path, healthy.stat().st_size - missing)
    assert_refused_or_harmless(path)


def assert_refused_or_harmless(path: Path) -> None:
    try:
        assert wrongly_done(path) == []
    except RunError as error:
        assert "\n" not in str(error)


def test_a_journal_without_its_tables_is_refused(path: Path) -> None:
    recorded(path, job("a"))
    altered(path, "DROP TABLE done")
    assert "no such table" in refusal(path)


@pytest.mark.parametrize("name", ["source", "destination", "started"])
def test_a_journal_that_does_not_say_what_it_is_is_refused(path: Path, name: str) -> None:
    recorded(path, job("a"))
    altered(path, f"DELETE FROM about WHERE name = '{name}'")
    assert str(path) in refusal(path)


def test_a_journal_that_is_deleted_in_mid_run_stops_the_run(path: Path) -> None:
    journal = opened(path)
    path.unlink()
    journal.add_done([("a", 1, 1, 1)])
    with pytest.raises(RunError, match="was removed while it was in use"):
        journal.commit()
    journal.close(complete=False)


def test_a_journal_that_is_replaced_in_mid_run_stops_the_run(path: Path, healthy: Path) -> None:
    journal = opened(path)
    path.unlink()
    shutil.copy(healthy, path)
    journal.add_done([("a", 1, 1, 1)])
    with pytest.raises(RunError, match="was removed while it was in use"):
        journal.commit()
    journal.close(complete=True)
    assert path.read_bytes() == healthy.read_bytes()


# Places that are no good

UNPRIVILEGED = ("setpriv", "--inh-caps=-all", "--bounding-set=-all")
"""As 65534 would be, but that the interpreter may lie in root's home."""
TRIES = """
try:
    opened()
except Exception as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


def unprivileged() -> Sequence[str]:
    if os.geteuid() != 0:
        return ()
    needs_root()
    return UNPRIVILEGED


def assert_denied(ended: subprocess.CompletedProcess[str], text: str) -> None:
    assert ended.stderr.startswith(f"RunError: {text}") and ended.stderr.count("\n") == 1


def test_a_directory_that_cannot_be_written_is_refused(path: Path) -> None:
    path.parent.mkdir(mode=0o500)
    ended = in_other_process(path, TRIES, *unprivileged())
    assert_denied(ended, f"the journal {path} cannot be opened: Permission denied")


def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    path = tmp_path / "closed" / "journals" / "j.sqlite"
    ended = in_other_process(path, TRIES, *unprivileged())
    assert_denied(ended, f"the journal {path} cannot be opened: Permission denied")


def test_a_file_that_cannot_be_written_is_refused_and_unchanged(path: Path) -> None:
    recorded(path, job("a"))
    path.chmod(0o400)
    before = path.read_bytes()
    ended = in_other_process(path, TRIES, *unprivileged())
    assert ended.stderr.startswith(f"RunError: the journal {path} cannot be used: ")
    assert "Permission denied" in ended.stderr and ended.stderr.count("\n") == 1
    assert path.read_bytes() == before


FILLS = """
journal = opened()
committed = 0
try:
    while True:
        journal.add_done([(f"{committed:06}-{n:03}", 1, 1, 1) for n in range(512)])
        journal.commit()
        committed += 512
except Exception as error:
    print(type(error).__name__, committed, error)
try:
    journal.close(complete=False)
except Exception as error:
    print(type(error).__name__)
"""


def assert_full(ended: subprocess.CompletedProcess[str]) -> int:
    """The error of a full disk was a RunError; returns how many rows had been committed."""
    assert ended.returncode == 0, ended.stderr
    kind, count, text = ended.stdout.splitlines()[0].split(" ", 2)
    assert kind == "RunError" and "cannot be used" in text
    assert set(ended.stdout.splitlines()[1:]) <= {"RunError"}
    return int(count)


def test_a_file_that_may_not_grow_is_an_error_and_loses_nothing(path: Path) -> None:
    ended = in_other_process(path, FILLS, "prlimit", f"--fsize={300_000}")
    count = assert_full(ended)
    assert count > 0
    journal = opened(path)
    assert journal.recorded == count
    journal.close(complete=False)


def test_a_full_disk_is_an_error_and_loses_nothing(path: Path) -> None:
    needs_root()
    path.parent.mkdir()
    kept = path.parent.parent / "kept"
    mount = (
        f"mount -t tmpfs -o size=512k none {path.parent}\n"
        f'"$@"\nmkdir {kept}\ncp {path.parent}/* {kept}\n'
    )
    ended = in_other_process(path, FILLS, "unshare", "--mount", *shell(mount))
    count = assert_full(ended)
    assert count > 0
    journal = opened(kept / path.name)
    assert journal.recorded == count
    journal.close(complete=False)


def test_a_disk_that_is_full_from_the_start_is_an_error(path: Path) -> None:
    needs_root()
    path.parent.mkdir()
    mount = (
        f"mount -t tmpfs -o size=4k none {path.parent}\n"
        f'head -c 4096 /dev/zero > {path.parent}/zeros\nexec "$@"\n'
    )
    ended = in_other_process(path, TRIES, "unshare", "--mount", *shell(mount))
    assert ended.stderr.startswith("RunError: ") and ended.stderr.count("\n") == 1
