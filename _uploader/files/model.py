"""The plain tuples that travel through the engine and between its processes."""

from __future__ import annotations

from typing import NamedTuple

INTERRUPTED = "interrupted before it was uploaded"
"""Why a file is not in the bucket that the end of the run overtook."""


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
    """A multipart upload of this very file that was begun before and may be gone on with."""
    orphaned: bool = False
    """A worker died that may have begun it: there may be an upload that nobody was told of."""


class Skipped(NamedTuple):
    """A directory entry that is no upload: a FIFO, a socket, a link to a directory."""

    path: str
    reason: str


class Failed(NamedTuple):
    """A file (or a directory that could not be read) that is not in the bucket, and why."""

    path: str
    reason: str


class Result(NamedTuple):
    """What became of one job in a worker."""

    number: int
    size: int
    """Bytes of the object stored; not the job's when the file changed after the scan."""
    mtime_ns: int
    """Modification time of what was stored."""
    ctime_ns: int
    """Its change time."""
    failure: str = ""
    """Why the file is not in the bucket; empty when it is there, with its content proven."""
    passing: bool = False
    """The reason may have passed by the end of the run."""
    denied: bool = False
    """The service refused permission."""


class Summary(NamedTuple):
    """The end of a run: ``files == uploaded + skipped + failed``."""

    files: int
    """Entries the scan found that are no directories, and directories it could not read."""
    uploaded: int
    skipped: int
    failed: int
    bytes: int
    """Bytes of the objects that were uploaded."""
    seconds: float
    retries: int
    peak_memory: int
    """Largest sum over all processes of their proportional set size, in bytes, as sampled."""
    skipped_reasons: dict[str, int]
    """Reason -> number of files, most frequent first."""
    failed_reasons: dict[str, int]
    complete: bool
    """False when the run was stopped before the scan had ended."""
    error: str | None
    """Why the run could not start or go on; None when nothing kept it from it."""
    failed_list: str | None
    """File that names every failed file, one JSON object a line; None when nothing failed."""
