"""Plain tuples that travel through the engine and between processes."""

from __future__ import annotations

from typing import NamedTuple

INTERRUPTED = "interrupted before its end"
"""Reason of files unfinished when the run stopped."""
DIFFERS, MISSING, EXTRA = "differs", "missing", "extra"
"""What a verification finds: a file unlike its object, or without one; an object without a file."""
UNCHANGED = "is unchanged"
"""Reason of files whose objects are as they would be stored again."""


class Job(NamedTuple):
    """One regular file to upload, as the scan saw it."""

    number: int
    """Counts the files of one run, from 0; names the job in messages."""
    path: str
    """Relative to the source directory, ``/`` as separator; key = prefix + path."""
    size: int
    """Bytes."""
    mtime_ns: int
    """Nanoseconds since the epoch."""
    ctime_ns: int = 0
    """Change time: of content or attributes, in nanoseconds since the epoch."""
    upload_id: str = ""
    """A multipart upload of this version of the file, begun before, to resume if possible."""
    orphaned: bool = False
    """A worker that may have begun it died: there may be a multipart upload nobody knows of."""
    source: int = 0
    """Which of the run's sources it lies below, counted from 0."""
    compares: bool = False
    """Its object may be as it should: the worker asks before it sends the file."""


class Skipped(NamedTuple):
    """A directory entry that is not uploaded: a FIFO, a socket, a link to a directory."""

    path: str
    reason: str


class Failed(NamedTuple):
    """A file that is not in the bucket, or a directory that could not be read, and why."""

    path: str
    reason: str
    is_directory: bool = False
    """Nobody knows which files are below it."""


class LeftOut(NamedTuple):
    """An entry that the options leave out: a file, or a directory that is not entered."""

    path: str


Found = Job | Skipped | Failed | LeftOut
"""An entry of a scan, or of a list."""


class Result(NamedTuple):
    """How one job ended in a worker."""

    number: int
    size: int
    """Bytes of the stored object; not the job's when the file changed after the scan."""
    mtime_ns: int
    """Modification time of the stored version."""
    ctime_ns: int
    """Change time of the stored version."""
    failure: str = ""
    """Why the file is not in the bucket; empty when it is there, with its content proven."""
    passing: bool = False
    """The reason may have passed by the end of the run."""
    denied: bool = False
    """The service refused permission."""
    skipped: bool = False
    """It was not to be stored: ``failure`` says why."""
    etag: str = ""
    """Of the object, where the run wants to know it."""
    finding: str = ""
    """What a verification found, ``DIFFERS`` or ``MISSING``; ``failure`` says how."""
    updated: bool = False
    """The object has got the file's attributes; its content was the file's before."""


class Outage(NamedTuple):
    """The service does not answer."""

    seconds: float
    """Since the outage began."""
    next_try: float
    """Seconds until the next probe; 0 while one is under way."""
