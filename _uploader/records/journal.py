"""What a run has done, on disk: so that the next run of the same command goes on where it ended.

One SQLite file for each source and destination.  While a run works, rows are only appended, which
costs 2.4 us each; the index that the next run looks files up by is built when it begins, over the
rows that are there then.

The schema, for the sqlite3 program:

    about(name, value)                                 what the run is: source, destination, started
    done(id, path, size, mtime_ns, ctime_ns)           uploaded, content proven
    failed(id, path, reason)                           not uploaded in the latest run that tried
    uploads(id, path, size, mtime_ns, ctime_ns, upload_id)
                                                       multipart uploads begun; the last one counts

Times are nanoseconds since the epoch, modulo 2**64: SQLite holds them to the year 2262, filesystems
know later ones.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

from ..errors import RunError
from ..files.model import Job

VERSION = 2
APPLICATION_ID = 0x75706C64
"""``upld``: tells our files from other SQLite databases."""
_SCHEMA = f"""
CREATE TABLE about(name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE done(id INTEGER PRIMARY KEY, path TEXT NOT NULL, size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL);
CREATE TABLE failed(id INTEGER PRIMARY KEY, path TEXT NOT NULL, reason TEXT NOT NULL);
CREATE TABLE uploads(id INTEGER PRIMARY KEY, path TEXT NOT NULL, size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL, upload_id TEXT NOT NULL);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
"""
_CLEARED = "".join(
    f"DROP TABLE IF EXISTS {table};" for table in ("about", "done", "failed", "uploads")
)
MILLISECONDS_TO_WAIT = 5000
"""For somebody who reads the journal with another program."""


class Journal:
    """The record of one run, open for the only process that may write it."""

    def __init__(self, path: Path, source: str, destination: str, *, restart: bool = False) -> None:
        """Opens or creates the file; ``restart`` forgets what it holds.

        ``destination`` names one place, as it was resolved.  Raises ``RunError`` when the file is
        in use, damaged, of another version, or no journal of this source and destination; a
        ``restart`` begins one of an older version anew.
        """
        self.path = path
        self._lock = _locked(path)
        with ExitStack() as undo:
            undo.callback(_unlock, path, self._lock)
            with self._telling():
                self._database = _connect(path)
                undo.callback(self._database.close)
                self.since = self._check(source, destination, restart)
                """When the first of the unfinished runs began, in seconds since the epoch; None
                for a new journal.  What they left unrecorded is not older."""
                self._make_appending_cheap()
                if restart:
                    self._forget()
                self._prepare()
                self._inode = os.stat(path).st_ino
            undo.pop_all()

    def is_done(self, job: Job) -> bool:
        """An earlier run has uploaded the file as it is now: content and attributes."""
        if not self.recorded:
            return False
        with self._telling():
            row = self._database.execute(self._lookup, (job.path,)).fetchone()
        return row is not None and tuple(row) == _version(job)

    def begun(self, job: Job) -> str:
        """Id of the multipart upload of the file, as it is now, that an earlier run began last;
        empty when there is none."""
        if not self.resumed:
            return ""
        with self._telling():
            row = self._database.execute(
                "SELECT upload_id, size, mtime_ns, ctime_ns FROM uploads WHERE path = ? "
                "ORDER BY id DESC LIMIT 1",
                (job.path,),
            ).fetchone()
        return str(row[0]) if row is not None and tuple(row[1:]) == _version(job) else ""

    def add_done(self, rows: Iterable[tuple[str, int, int, int]]) -> None:
        """Records uploaded files: (path, size, mtime_ns, ctime_ns) each.  Not safe before
        ``commit``."""
        fitting = ((path, size, _int64(mtime), _int64(ctime)) for path, size, mtime, ctime in rows)
        with self._telling():
            self._database.executemany("INSERT INTO done VALUES (NULL, ?, ?, ?, ?)", fitting)

    def add_failed(self, path: str, reason: str) -> None:
        """Records a file that could not be uploaded."""
        with self._telling():
            self._database.execute("INSERT INTO failed VALUES (NULL, ?, ?)", (path, reason))

    def add_upload(self, job: Job) -> None:
        """Records that the multipart upload ``job.upload_id`` of the file has begun."""
        row = (job.path, *_version(job), job.upload_id)
        with self._telling():
            self._database.execute("INSERT INTO uploads VALUES (NULL, ?, ?, ?, ?, ?)", row)

    def void(self) -> None:
        """Forgets what earlier runs have stored: this run has created the bucket, so nothing of it
        is there.  Outlives a power cut from now on."""
        with self._telling():
            self._database.execute("DELETE FROM done")
            self._database.execute("DELETE FROM uploads")
            self._database.execute("DROP INDEX IF EXISTS done_before")
            self._database.commit()
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.recorded, self.resumed = 0, False

    def commit(self) -> None:
        """What was added outlives this process from now on (and the machine, but for the last
        moments before a power cut).  Raises ``RunError`` when that cannot be said."""
        if not self._database.in_transaction:
            return
        with self._telling():
            self._database.commit()
        if not self._is_in_place():
            raise RunError(f"the journal {self.path} was removed while it was in use")

    def close(self, *, complete: bool) -> None:
        """Ends the run; ``complete`` means that everything was uploaded: nothing to go on with, so
        the journal is removed."""
        try:
            with self._telling(), closing(self._database):
                self._database.commit()
            if complete and self._is_in_place():
                with self._telling():
                    self.path.unlink()
        finally:
            _unlock(self.path, self._lock)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            # What is wrong with the file itself (no database, malformed) comes as this very class.
            damaged = type(error) is sqlite3.DatabaseError
            hint = " (damaged: without the file the next run begins anew)" if damaged else ""
            text = getattr(error, "strerror", None) or error
            raise RunError(f"the journal {self.path} cannot be used: {text}{hint}") from None

    def _check(self, source: str, destination: str, restart: bool) -> float | None:
        """Whether the file is a journal of this run; returns when that began, None if new."""
        version = self._pragma("user_version")
        if version == 0 and not self._database.execute("SELECT 1 FROM sqlite_master").fetchone():
            self._create(source, destination)
            return None
        if self._pragma("application_id") != APPLICATION_ID:
            raise RunError(f"{self.path} is no journal of this program")
        if version > VERSION:
            raise RunError(
                f"the journal {self.path} is of version {version}, this program knows {VERSION}"
            )
        if version < VERSION:
            if not restart:
                raise RunError(
                    f"the journal {self.path} is of an older version of this program: --restart "
                    "begins it anew"
                )
            self._create(source, destination)
            return None
        about = dict(self._database.execute("SELECT name, value FROM about"))
        try:
            theirs, started = (about["source"], about["destination"]), float(about["started"])
        except (KeyError, ValueError):
            raise RunError(
                f"the journal {self.path} is damaged: it does not say what it is of"
            ) from None
        if theirs != (_storable(source), _storable(destination)):
            raise RunError(f"the journal {self.path} belongs to {theirs[0]} -> {theirs[1]}")
        return started

    def _make_appending_cheap(self) -> None:
        """WAL, synchronous=NORMAL: a commit survives the death of the process and costs no fsync.

        Written into the file, so not before it is known to be ours.
        """
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")

    def _create(self, source: str, destination: str) -> None:
        """In one transaction, which ends when the journal also says whose it is."""
        self._database.executescript(f"BEGIN;{_CLEARED}{_SCHEMA}")
        about = [
            ("source", _storable(source)),
            ("destination", _storable(destination)),
            ("started", repr(time.time())),
        ]
        self._database.executemany("INSERT INTO about VALUES (?, ?)", about)
        self._database.commit()

    def _forget(self) -> None:
        for table in ("done", "failed", "uploads"):
            self._database.execute(f"DELETE FROM {table}")
        self._database.execute(
            "UPDATE about SET value = ? WHERE name = 'started'", (repr(time.time()),)
        )
        self._database.commit()

    def _prepare(self) -> None:
        """Makes what earlier runs recorded quick to find."""
        execute = self._database.execute
        self.started = float(
            execute("SELECT value FROM about WHERE name = 'started'").fetchone()[0]
        )
        """When the first of the runs began, in seconds since the epoch."""
        last = execute("SELECT coalesce(max(id), 0) FROM done").fetchone()[0]
        # Fetched at once: a query that is still open keeps the index below from being dropped.
        others = execute(
            "SELECT (SELECT count(*) FROM failed) + (SELECT count(*) FROM uploads)"
        ).fetchone()[0]
        self.recorded = int(last)
        """Files that earlier runs have uploaded; one uploaded twice counts twice."""
        self.resumed = bool(last or others)
        """An earlier run has left something to go on with."""
        execute("DELETE FROM failed")
        execute("DROP INDEX IF EXISTS done_before")
        if last:
            execute(f"CREATE INDEX done_before ON done(path) WHERE id <= {last}")
        execute("CREATE INDEX IF NOT EXISTS uploads_by_path ON uploads(path)")
        self._database.commit()
        self._lookup = (
            f"SELECT size, mtime_ns, ctime_ns FROM done WHERE path = ? AND id <= {last} "
            "ORDER BY id DESC LIMIT 1"
        )

    def _pragma(self, name: str) -> int:
        return int(self._database.execute(f"PRAGMA {name}").fetchone()[0])

    def _is_in_place(self) -> bool:
        """SQLite would go on writing to a file that has lost its name."""
        try:
            return os.stat(self.path).st_ino == self._inode
        except OSError:
            return False


def default_path(directory: Path, source: str, destination: str) -> Path:
    """Where the journal of this source and destination is kept, below the state directory."""
    name = hashlib.sha256(os.fsencode(f"{source}\n{destination}")).hexdigest()[:20]
    return directory / "journals" / f"{name}.sqlite"


def files_of(path: Path) -> tuple[Path, ...]:
    """All files that a journal at ``path`` may consist of."""
    return (
        path,
        Path(f"{path}-wal"),
        Path(f"{path}-shm"),
        Path(f"{path}-journal"),
        _lock_path(path),
    )


def _version(job: Job) -> tuple[int, int, int]:
    """What tells the file, as it is now, from any other version of it."""
    return job.size, _int64(job.mtime_ns), _int64(job.ctime_ns)


def _int64(number: int) -> int:
    """``number`` modulo 2**64, as SQLite can hold it."""
    return (number + 2**63) % 2**64 - 2**63


def _storable(text: str) -> str | bytes:
    """SQLite takes no text that is not UTF-8, as names of directories may be."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return os.fsencode(text)
    return text


def _lock_path(path: Path) -> Path:
    return Path(f"{path}.lock")


def _locked(path: Path) -> int:
    """A descriptor that holds the lock for as long as it is open.

    The lock is on a file of its own: closing another descriptor of the database would drop the
    locks that SQLite itself holds on it (fcntl(2)).
    """
    while True:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(_lock_path(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _no_place(path, "opened", error) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A run that has just ended may have removed the file: then it is no lock any more.
            if os.path.samestat(os.fstat(lock), os.stat(_lock_path(path))):
                return lock
        except FileNotFoundError:
            pass
        except OSError as error:
            os.close(lock)
            if error.errno == errno.EWOULDBLOCK:
                raise RunError(f"another run is using the journal {path}") from None
            raise _no_place(path, "locked", error) from None
        os.close(lock)


def _unlock(path: Path, lock: int) -> None:
    """Removes the lock file before anybody else can lock it."""
    with suppress(OSError):
        os.unlink(_lock_path(path))
    os.close(lock)


def _no_place(path: Path, action: str, error: OSError) -> RunError:
    return RunError(
        f"the journal {path} cannot be {action}: {error.strerror} (--no-journal does without)"
    )


def _connect(path: Path) -> sqlite3.Connection:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    return sqlite3.connect(path, timeout=MILLISECONDS_TO_WAIT / 1000)
