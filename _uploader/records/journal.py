"""What a run has done, on disk for the next one.

One SQLite file for each source and destination.  A run only appends rows, which costs 2.4 us each;
the next run builds its index when it begins, over the rows of earlier runs.

The schema, for the sqlite3 program:

    about(name, value)                                 of the run: source, destination, started,
                                                       description of its objects
    done(id, path, size, mtime_ns, ctime_ns)           uploaded, content proven
    failed(id, path, reason)                           not uploaded in the latest run that tried
    uploads(id, path, size, mtime_ns, ctime_ns, upload_id)
                                                       multipart uploads begun; the last one counts
    vouched(id, path, size, mtime_ns, ctime_ns, etag)  with ``--skip``, in place of ``done``: this
                                                       version of the file was in the bucket under
                                                       this ETag; outlives a complete run

Times are nanoseconds since the epoch, modulo 2**64: SQLite's integers reach the year 2262, times of
files may be later.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from ..errors import RunError
from ..files.model import Job
from .lock import JournalLock

VERSION = 2
APPLICATION_ID = 0x75706C64
"""``upld``: tells a journal from other SQLite databases."""
_VOUCHED = """
CREATE TABLE IF NOT EXISTS vouched(id INTEGER PRIMARY KEY, path TEXT NOT NULL,
    size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL,
    etag TEXT NOT NULL);
"""
_SCHEMA = f"""
CREATE TABLE about(name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE done(id INTEGER PRIMARY KEY, path TEXT NOT NULL, size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL);
CREATE TABLE failed(id INTEGER PRIMARY KEY, path TEXT NOT NULL, reason TEXT NOT NULL);
CREATE TABLE uploads(id INTEGER PRIMARY KEY, path TEXT NOT NULL, size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL, upload_id TEXT NOT NULL);
{_VOUCHED}
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
"""
_OF_ONE_RUN = ("done", "failed", "uploads")
_CLEARED = "".join(f"DROP TABLE IF EXISTS {table};" for table in ("about", *_OF_ONE_RUN, "vouched"))
MILLISECONDS_TO_WAIT = 5000
"""For another program that reads the journal."""

MOST_OUTDATED = 2
"""Rows for each file above which those that no longer count are removed."""
_COMPLETE = "complete"
"""Name of what is said about a run that has left nothing to resume."""

APPENDING_CACHE = 256 * 1024
"""Bytes of SQLite's page cache in a run that looks nothing up: the default of 2 MB would fill with
pages that nobody reads again."""


class Journal:
    """The records of one source and destination; only one process at a time opens them."""

    def __init__(
        self,
        path: Path,
        source: str,
        destination: str,
        *,
        restart: bool = False,
        vouching: bool = False,
    ) -> None:
        """Opens or creates the file; ``restart`` deletes all records.  ``vouching``: what is
        recorded outlives the run, for ``vouches``.

        ``destination`` names one place, as resolved.  Raises ``RunError`` when the file is in use,
        damaged, of another version (an older one is fine for ``restart``), or of another source or
        destination.
        """
        self.path = path
        self.vouching = vouching
        self._lock = JournalLock(path)
        with ExitStack() as undo:
            undo.callback(self._lock.release)
            with self._as_run_errors():
                self._database = _connect(path)
                undo.callback(self._database.close)
                self._cursor = self._database.cursor()
                self.since = self._check(source, destination, restart)
                """When the first of the unfinished runs began, in seconds since the epoch; None
                for a new journal.  Uploads that they left unrecorded are not older."""
                self._make_appending_cheap()
                if restart:
                    self._forget()
                self._prepare()
                self._inode = os.stat(path).st_ino
            undo.pop_all()

    def is_done(self, job: Job) -> bool:
        """Whether an earlier run uploaded the file in its present version."""
        if not self.recorded:
            return False
        with self._as_run_errors():
            row = self._database.execute(self._lookup, (job.path,)).fetchone()
        return row is not None and tuple(row) == _file_version(job)

    def vouches(self, job: Job, etag: str) -> bool:
        """Whether an earlier run has seen the file's present version under this ETag."""
        if not etag:
            return False
        try:  # a context manager would take as long again
            row = self._cursor.execute(self._vouched, (job.path,)).fetchone()
        except sqlite3.Error as error:
            raise self._unusable(error) from None
        return bool(row == (*_file_version(job), etag))

    def begun(self, job: Job) -> str:
        """Id of the last multipart upload that an earlier run began of the file in its present
        version; empty when there is none."""
        if not self.resumed:
            return ""
        with self._as_run_errors():
            row = self._database.execute(
                "SELECT upload_id, size, mtime_ns, ctime_ns FROM uploads WHERE path = ? "
                "ORDER BY id DESC LIMIT 1",
                (job.path,),
            ).fetchone()
        return str(row[0]) if row is not None and tuple(row[1:]) == _file_version(job) else ""

    def add_done(self, rows: Iterable[tuple[str, int, int, int]]) -> None:
        """Records uploaded files, each as (path, size, mtime_ns, ctime_ns); safe after
        ``commit``."""
        fitting = [(path, size, _int64(mtime), _int64(ctime)) for path, size, mtime, ctime in rows]
        with self._as_run_errors():
            self._database.executemany("INSERT INTO done VALUES (NULL, ?, ?, ?, ?)", fitting)

    def add_vouched(self, rows: Iterable[tuple[str, int, int, int, str]]) -> None:
        """Records files whose objects are as they should be, each as (path, size, mtime_ns,
        ctime_ns, ETag); safe after ``commit``."""
        fitting = [
            (path, size, _int64(mtime), _int64(ctime), etag)
            for path, size, mtime, ctime, etag in rows
        ]
        with self._as_run_errors():
            self._database.executemany("INSERT INTO vouched VALUES (NULL, ?, ?, ?, ?, ?)", fitting)

    def add_failed(self, path: str, reason: str) -> None:
        """Records a file that is not in the bucket."""
        with self._as_run_errors():
            self._database.execute("INSERT INTO failed VALUES (NULL, ?, ?)", (path, reason))

    def add_upload(self, job: Job) -> None:
        """Records that the file's multipart upload ``job.upload_id`` has begun."""
        row = (job.path, *_file_version(job), job.upload_id)
        with self._as_run_errors():
            self._database.execute("INSERT INTO uploads VALUES (NULL, ?, ?, ?, ?, ?)", row)

    def void(self) -> None:
        """Deletes the records of earlier runs: none of their objects is there, or as it should be.
        Safe from a power cut when it returns."""
        with self._as_run_errors():
            self._database.execute("DELETE FROM done")
            self._database.execute("DELETE FROM uploads")
            self._database.execute("DROP INDEX IF EXISTS done_before")
            self._forget_vouched()
            self._database.commit()
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.recorded, self.resumed = 0, False

    def expect(self, description: str) -> bool:
        """Records what objects carry, in one line.  When earlier runs stored others, deletes what
        they recorded and returns False: their files are to be stored anew."""
        with self._as_run_errors():
            row = self._database.execute(
                "SELECT value FROM about WHERE name = 'description'"
            ).fetchone()
        if description == (row[0] if row else ""):
            return True
        as_expected = not self.resumed
        self.void()
        with self._as_run_errors():
            self._database.execute(
                "INSERT OR REPLACE INTO about VALUES ('description', ?)", (description,)
            )
            self._database.commit()
        return as_expected

    def commit(self) -> None:
        """Makes the added rows safe from the death of the process; a power cut may take the rows
        of the last moments.  Raises ``RunError`` when it cannot."""
        if not self._database.in_transaction:
            return
        with self._as_run_errors():
            self._database.commit()
        if not self._is_in_place():
            raise RunError(f"the journal {self.path} was removed while it was in use")

    def close(self, *, complete: bool) -> None:
        """Ends the run.  When it is ``complete`` there is nothing to resume: removes the journal,
        or all but what outlives the run."""
        try:
            with self._as_run_errors(), closing(self._database):
                if complete and self.vouching:
                    self._keep_vouched()
                self._database.commit()
            if complete and not self.vouching and self._is_in_place():
                with self._as_run_errors():
                    self.path.unlink()
        finally:
            self._lock.release()

    @contextmanager
    def _as_run_errors(self) -> Iterator[None]:
        """Errors of the database and the file come out as ``RunError``."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise self._unusable(error) from None

    def _unusable(self, error: sqlite3.Error | OSError) -> RunError:
        # A defect of the file itself (no database, malformed) comes as exactly this class.
        damaged = type(error) is sqlite3.DatabaseError
        hint = " (damaged: without the file the next run begins anew)" if damaged else ""
        text = getattr(error, "strerror", None) or error
        return RunError(f"the journal {self.path} cannot be used: {text}{hint}")

    def _check(self, source: str, destination: str, restart: bool) -> float | None:
        """Raises ``RunError`` unless the file is new or a journal of this run; returns when that
        began, None if new."""
        if self._begins_anew(restart):
            self._create(source, destination)
            return None
        return self._check_owner(source, destination)

    def _begins_anew(self, restart: bool) -> bool:
        """Whether the file is new, or of an older version that ``restart`` gives up."""
        version = self._pragma("user_version")
        if version == 0 and not self._database.execute("SELECT 1 FROM sqlite_master").fetchone():
            return True
        if self._pragma("application_id") != APPLICATION_ID:
            raise RunError(f"{self.path} is no journal of this program")
        if version > VERSION:
            raise RunError(
                f"the journal {self.path} is of version {version}, this program knows {VERSION}"
            )
        if version < VERSION and not restart:
            raise RunError(
                f"the journal {self.path} is of an older version of this program: --restart "
                "begins it anew"
            )
        return version < VERSION

    def _check_owner(self, source: str, destination: str) -> float | None:
        """When the first run of this source and destination that is not complete began; None when
        there is none."""
        about = dict(self._database.execute("SELECT name, value FROM about"))
        try:
            theirs, started = (about["source"], about["destination"]), float(about["started"])
        except (KeyError, ValueError):
            raise RunError(
                f"the journal {self.path} is damaged: it does not say what it is of"
            ) from None
        if theirs != (_storable(source), _storable(destination)):
            raise RunError(f"the journal {self.path} belongs to {theirs[0]} -> {theirs[1]}")
        if _COMPLETE in about:
            self._begin()
            self._database.commit()
            return None
        return started

    def _make_appending_cheap(self) -> None:
        """WAL, synchronous=NORMAL: a commit survives the death of the process and costs no fsync.

        The mode is written into the file: ``_check`` comes first.
        """
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")

    def _create(self, source: str, destination: str) -> None:
        """Writes schema and owner in one transaction: no journal is ever without its owner."""
        self._database.executescript(f"BEGIN;{_CLEARED}{_SCHEMA}")
        about = [
            ("source", _storable(source)),
            ("destination", _storable(destination)),
            ("started", repr(time.time())),
        ]
        self._database.executemany("INSERT INTO about VALUES (?, ?)", about)
        self._database.commit()

    def _forget(self) -> None:
        for table in _OF_ONE_RUN:
            self._database.execute(f"DELETE FROM {table}")
        self._forget_vouched()
        self._begin()
        self._database.commit()

    def _begin(self) -> None:
        """A run begins that resumes none."""
        self._database.execute(
            "UPDATE about SET value = ? WHERE name = 'started'", (repr(time.time()),)
        )
        self._database.execute("DELETE FROM about WHERE name = ?", (_COMPLETE,))

    def _forget_vouched(self) -> None:
        self._database.execute("DROP TABLE IF EXISTS vouched")
        self._prepare_vouched()

    def _prepare_vouched(self) -> None:
        """Indexes what earlier runs have vouched for."""
        if not self.vouching:
            return
        execute = self._database.execute
        execute(_VOUCHED)
        last = execute("SELECT coalesce(max(id), 0) FROM vouched").fetchone()[0]
        execute("DROP INDEX IF EXISTS vouched_before")
        execute(f"CREATE INDEX vouched_before ON vouched(path) WHERE id <= {last}")
        self._vouched = (
            "SELECT size, mtime_ns, ctime_ns, etag FROM vouched WHERE path = ? "
            f"AND id <= {last} ORDER BY id DESC LIMIT 1"
        )

    def _keep_vouched(self) -> None:
        """Leaves what earlier runs and this one vouch for, the latest of each file."""
        execute = self._database.execute
        for table in _OF_ONE_RUN:
            execute(f"DELETE FROM {table}")
        execute("DROP INDEX IF EXISTS vouched_before")
        rows, files = execute("SELECT count(*), count(DISTINCT path) FROM vouched").fetchone()
        if rows > MOST_OUTDATED * files:
            execute(
                "DELETE FROM vouched WHERE id NOT IN (SELECT max(id) FROM vouched GROUP BY path)"
            )
        execute("INSERT OR REPLACE INTO about VALUES (?, '')", (_COMPLETE,))

    def _prepare(self) -> None:
        """Counts and indexes the records of earlier runs."""
        execute = self._database.execute
        self.started = float(
            execute("SELECT value FROM about WHERE name = 'started'").fetchone()[0]
        )
        """When the first of the runs began, in seconds since the epoch."""
        last = execute("SELECT coalesce(max(id), 0) FROM done").fetchone()[0]
        # Fetched at once: an open query would keep SQLite from dropping the index below.
        others = execute(
            "SELECT (SELECT count(*) FROM failed) + (SELECT count(*) FROM uploads)"
        ).fetchone()[0]
        self.recorded = int(last)
        """Files that earlier runs uploaded; one uploaded twice counts twice."""
        self.resumed = bool(last or others)
        """Earlier runs left records to resume from."""
        execute("DELETE FROM failed")
        execute("DROP INDEX IF EXISTS done_before")
        if not self.resumed:
            execute(f"PRAGMA cache_size = -{APPENDING_CACHE // 1024}")
        if last:
            execute(f"CREATE INDEX done_before ON done(path) WHERE id <= {last}")
        execute("CREATE INDEX IF NOT EXISTS uploads_by_path ON uploads(path)")
        self._prepare_vouched()
        self._database.commit()
        self._lookup = (
            f"SELECT size, mtime_ns, ctime_ns FROM done WHERE path = ? AND id <= {last} "
            "ORDER BY id DESC LIMIT 1"
        )

    def _pragma(self, name: str) -> int:
        return int(self._database.execute(f"PRAGMA {name}").fetchone()[0])

    def _is_in_place(self) -> bool:
        """Whether the file still has its name: SQLite would go on writing without."""
        try:
            return os.stat(self.path).st_ino == self._inode
        except OSError:
            return False


def _file_version(job: Job) -> tuple[int, int, int]:
    """Tells the file's present version from any other."""
    return job.size, _int64(job.mtime_ns), _int64(job.ctime_ns)


def _int64(number: int) -> int:
    """``number`` modulo 2**64, in SQLite's range."""
    # Hardly a file has another time, and the arithmetic of long numbers takes 0.3 us.
    return number if -(2**63) <= number < 2**63 else (number + 2**63) % 2**64 - 2**63


def _storable(text: str) -> str | bytes:
    """``text``, or its bytes where it is not UTF-8: SQLite takes no such text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return os.fsencode(text)
    return text


def _connect(path: Path) -> sqlite3.Connection:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    return sqlite3.connect(path, timeout=MILLISECONDS_TO_WAIT / 1000)
