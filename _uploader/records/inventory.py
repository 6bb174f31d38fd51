"""What a bucket holds, as it was listed: on disk, as there may be millions of objects.

The table is a temporary file that SQLite removes by itself, whatever ends the run, in the directory
of ``SQLITE_TMPDIR`` or ``TMPDIR``, else /var/tmp or /tmp.  1,000,000 objects take 100 MB of it, and
2 MB of memory.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from ..errors import RunError

MARKED = 512
"""Keys that are marked at once."""
_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE objects(id INTEGER PRIMARY KEY, key TEXT NOT NULL, size INTEGER NOT NULL,
    etag TEXT NOT NULL, kept INTEGER NOT NULL DEFAULT 0);
"""
_FIND = "SELECT size, etag FROM objects WHERE key = ?"


class Inventory:
    """The objects of a listing, by key."""

    def __init__(self) -> None:
        with _as_run_errors():
            self._database = sqlite3.connect("", isolation_level=None)
            self._database.executescript(_SCHEMA)
            self._cursor = self._database.cursor()
        self._to_mark: list[tuple[str]] = []
        self.count = 0
        """Objects that were added."""

    def add(self, objects: Iterable[tuple[str, int, str]]) -> None:
        """Adds objects, each as (key, size, ETag)."""
        with _as_run_errors():
            self._database.execute("BEGIN")
            done = self._database.executemany(
                "INSERT INTO objects(key, size, etag) VALUES (?, ?, ?)", objects
            )
            self._database.execute("COMMIT")
        self.count += done.rowcount

    def forget(self) -> None:
        """Removes all that was added."""
        with _as_run_errors():
            self._database.execute("DELETE FROM objects")
        self.count = 0

    def complete(self) -> None:
        """Nothing more is added: ``find`` and what comes after it are quick from now on."""
        with _as_run_errors():
            self._database.execute("CREATE INDEX by_key ON objects(key, size, etag)")

    def find(self, key: str) -> tuple[int, str] | None:
        """Size and ETag of an object; None when there is none."""
        try:  # a context manager would take as long again
            found: tuple[int, str] | None = self._cursor.execute(_FIND, (key,)).fetchone()
        except sqlite3.Error as error:
            raise _unusable(error) from None
        return found

    def keep(self, key: str) -> None:
        """The object is to stay, if there is one."""
        self._to_mark.append((key,))
        if len(self._to_mark) >= MARKED:
            self._mark()

    def keep_below(self, key: str) -> None:
        """So are the object and all whose keys are those of files in a directory of this name."""
        with _as_run_errors():
            self._database.execute(
                "UPDATE objects SET kept = 1 WHERE key = ? OR (key > ? AND key < ?)",
                (key, f"{key}/", f"{key}0"),  # 0 comes after the slash
            )

    def others(self) -> int:
        """How many objects nobody has asked to keep."""
        self._mark()
        with _as_run_errors():
            (count,) = self._database.execute(
                "SELECT count(*) FROM objects WHERE kept = 0"
            ).fetchone()
        return int(count)

    def each_other(self, most: int) -> Iterator[list[str]]:
        """Their keys, ``most`` at a time."""
        last = 0
        while True:
            with _as_run_errors():
                rows = self._database.execute(
                    "SELECT id, key FROM objects WHERE kept = 0 AND id > ? ORDER BY id LIMIT ?",
                    (last, most),
                ).fetchall()
            if not rows:
                return
            last = rows[-1][0]
            yield [key for _, key in rows]

    def close(self) -> None:
        """Removes the file."""
        self._database.close()

    def _mark(self) -> None:
        with _as_run_errors():
            self._database.execute("BEGIN")
            self._database.executemany("UPDATE objects SET kept = 1 WHERE key = ?", self._to_mark)
            self._database.execute("COMMIT")
        self._to_mark.clear()


@contextmanager
def _as_run_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise _unusable(error) from None


def _unusable(error: sqlite3.Error) -> RunError:
    return RunError(
        f"the list of what the bucket holds cannot be kept on disk: {error} (TMPDIR says where)"
    )
