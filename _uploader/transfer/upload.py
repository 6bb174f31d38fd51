"""Uploads one file, from opening it to its Result."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import NamedTuple

from providers.attributes import Form
from providers.base import Metadata, PartRules, Session
from providers.errors import (
    Busy,
    Denied,
    Exists,
    Failure,
    Interrupted,
    NotFound,
    Rejected,
    SourceChanged,
)
from providers.source import Source, guess_content_type

from ..files.model import INTERRUPTED, Job, Result
from .attempts import Attempts
from .multipart import End, Parts, Span, end_after
from .slots import Task
from .strays import abort_others, begin_alone


class Context(NamedTuple):
    """What all uploads of a process share."""

    attempts: Attempts
    add: Callable[[Task], None]
    """Queues a task for a session."""
    open: Callable[[str], Source]
    reading: Callable[[Source, int, int], AbstractContextManager[None]]
    """Around all that reads so many bytes of a file from an offset; not for a loaded one."""
    rules: PartRules | None
    """How large files are cut; None: never."""
    source_roots: Sequence[str]
    """Prefix of the paths of each source: ends with a slash or is empty."""
    key_prefix: str
    form: Form
    """How the files' attributes are written as user metadata."""
    extra_metadata: Metadata
    report: Callable[[Result], None]
    """Gets the Result of each upload."""
    begun: Callable[[int, str, int], None] | None
    """Records (job number, upload id, change time of the file) of a multipart upload, so that a
    later attempt can go on with it; None: no upload outlives a failure."""
    taken_over: Callable[[int], None]
    """Counts bytes that an earlier attempt stored."""
    stop_run: Callable[[str], None]
    """Called with the reason why no file can succeed."""
    resume_since: Callable[[], float | None]
    """When the earlier runs that this one resumes began, in seconds since the epoch."""
    tells_etags: bool = False
    """Results name the objects' ETags."""

    def opened(self, job: Job, way: Callable[[str], Source] | None = None) -> Source:
        """The job's file, tried again where it cannot be opened now.  ``way``: in place of
        ``open``."""
        path, way = self.source_roots[job.source] + job.path, way or self.open
        try:
            return way(path)
        except Busy:
            return self.attempts.bounded(partial(way, path))


class FileTask:
    """A ``Task`` about a whole file; reports one Result."""

    __slots__ = ("job",)
    job: Job
    is_part = False
    rank = 0


class Upload(FileTask):
    """One file on its way."""

    __slots__ = ("_context", "_restarts", "size")

    def __init__(self, job: Job, context: Context, restarts: int = 0) -> None:
        """``restarts``: how often this file was begun before."""
        self.job = job
        self._context = context
        self._restarts = restarts
        size, rules = job.size, context.rules
        # What begins a file in parts sends no bytes.
        self.size = 0 if rules and size > rules.threshold else size

    def run(self, session: Session) -> int | None:
        """Stores the file, or begins its multipart upload; returns the bytes accepted."""
        context, job = self._context, self.job
        source: Source | None = None
        try:
            source = context.opened(job)
            rules = context.rules
            if rules and source.size > rules.threshold:
                large = _LargeUpload(self, context, source, rules.size_for(source.size))
                source = None
                large.begin(session)
                return None
            key, metadata, content_type = describe(job, source, context)
            put, run = session.put, context.attempts.run
            if source.is_loaded:
                etag = run(put, key, source, metadata, content_type)
            else:
                with context.reading(source, 0, source.size):
                    etag = run(put, key, source, metadata, content_type)
        except Exception as error:
            self.failed(error)
            return None
        finally:
            if source:
                source.close()
        self.stored(source, etag)
        return source.size

    @property
    def is_first(self) -> bool:
        """This is not a restart."""
        return not self._restarts

    def stored(self, source: Source, etag: str) -> None:
        """The file is in the bucket, its content proven."""
        end = Result(self.job.number, source.size, source.mtime_ns, source.ctime_ns)
        if self._context.tells_etags:
            end = end._replace(etag=etag)
        self._context.report(end)

    def failed(self, error: Exception) -> None:
        """The file has failed: begins it again where that makes sense, else reports it."""
        context, job = self._context, self.job
        attempts = context.attempts
        restart = isinstance(error, Failure) and error.restart
        if restart and self._restarts < attempts.policy.retries and not attempts.draining:
            attempts.retries += 1
            context.add(Upload(job, context, self._restarts + 1))
            return
        context.report(end_of(job, error, context.stop_run))


class _LargeUpload:
    """A file in parts.  Owns the open file until the multipart upload has ended.

    Each part queues the next before it is sent, and the task that ends the last one ends the
    upload: no greenlet waits for another.
    """

    def __init__(self, upload: Upload, context: Context, source: Source, part_size: int) -> None:
        self._upload = upload
        self._context = context
        self._source = source
        self._part_size = part_size
        self._key, self._metadata, self._content_type = describe(upload.job, source, context)
        self._parts = Parts(source.size, part_size)
        self._id = ""
        self._etag = ""

    def begin(self, session: Session) -> None:
        """Begins the multipart upload, or resumes one, and queues a part."""
        context, job = self._context, self._upload.job
        try:
            if self._upload.is_first:
                self._resume(session)
            if not self._id:
                described = (self._key, self._metadata, self._content_type)
                self._id = begin_alone(context.attempts, session, *described)
                if context.begun:
                    context.begun(job.number, self._id, self._source.ctime_ns)
        except Exception as error:
            self._source.close()
            self._upload.failed(error)
            return
        if self._parts.ended:
            self._finish(session)
        else:
            self._queue_next()

    def _resume(self, session: Session) -> None:
        """Takes over the parts that an earlier attempt stored, if the file is still the same, and
        aborts other uploads that earlier runs left."""
        job, source, attempts = self._upload.job, self._source, self._context.attempts
        if job.upload_id and _is_as_scanned(source, job):
            ask = partial(session.stored_parts, self._key, job.upload_id, source, self._part_size)
            try:
                self._context.taken_over(self._parts.have(attempts.run(ask)))
                self._id = job.upload_id
            except NotFound:
                pass
            except Rejected:
                self._abort(session, job.upload_id)
            except SourceChanged:
                self._abort(session, job.upload_id)
                raise
        elif job.upload_id:
            self._abort(session, job.upload_id)
        since = time.time() if job.orphaned else None
        earlier = self._context.resume_since()
        if earlier is not None:
            since = earlier
        if since is not None:
            abort_others(attempts, session, self._key, self._id, since)

    def _queue_next(self) -> None:
        span = self._parts.next()
        if span:
            self._context.add(_PartTask(self, span, self._upload.job.number))

    def send(self, span: Span, session: Session) -> int | None:
        """Stores a part, and queues the next or ends the upload; returns the bytes accepted."""
        accepted = None
        if self._context.attempts.draining:
            self._parts.failed(Interrupted(INTERRUPTED))
        else:
            self._queue_next()
            accepted = self._store(span, session)
        if self._parts.ended:
            self._finish(session)
        return accepted

    def _store(self, span: Span, session: Session) -> int | None:
        number, offset, length = span
        try:
            if self._parts.error:
                raise self._parts.error
            with self._context.reading(self._source, offset, length):
                part = self._context.attempts.run(
                    session.put_part, self._key, self._id, number, self._source, offset, length
                )
        except Exception as error:
            self._parts.failed(error)
            return None
        self._parts.stored(part)
        return length

    def _finish(self, session: Session) -> None:
        error = self._parts.error or self._complete(session)
        end = end_after(error, resumable=self._context.begun is not None)
        if end is End.ABORT:
            self._abort(session, self._id)
        self._source.close()
        if error:
            self._upload.failed(error)
        else:
            self._upload.stored(self._source, self._etag)

    def _complete(self, session: Session) -> Exception | None:
        """Makes the object; returns the error if that fails."""
        parts = self._parts.in_order()
        described = (self._metadata, self._content_type)
        complete = partial(session.complete, self._key, self._id, parts, *described)
        try:
            self._source.run(self._source.check_unchanged)
            self._etag = self._context.attempts.run(complete)
        except Exception as error:
            return error
        return None

    def _abort(self, session: Session, upload_id: str) -> None:
        """Frees the space of the parts.  An error is not reported: the file's own is."""
        try:
            self._context.attempts.run(session.abort, self._key, upload_id)
        except Exception as error:
            reason_of(error)


class _PartTask:
    """One part of a large file.  A ``Task``."""

    __slots__ = ("_file", "_span", "rank", "size")
    is_part = True

    def __init__(self, file: _LargeUpload, span: Span, rank: int) -> None:
        self._file = file
        self._span = span
        self.size = span.length
        # File after file: if all ended at the same time, the link would idle then.
        self.rank = rank

    def run(self, session: Session) -> int | None:
        """Stores it; returns the bytes accepted."""
        return self._file.send(self._span, session)


def describe(job: Job, source: Source, context: Context) -> tuple[str, Metadata, str]:
    """Key, user metadata and Content-Type of the file's object."""
    metadata: Metadata = context.form(source)
    if context.extra_metadata:
        metadata = sorted([*metadata, *context.extra_metadata])
    return context.key_prefix + job.path, metadata, guess_content_type(job.path)


def end_of(job: Job, error: Exception, stop_run: Callable[[str], None]) -> Result:
    """How a file ends that has failed for good; stops the run where no other can succeed."""
    reason = reason_of(error)
    passing = denied = skipped = False
    if isinstance(error, Failure):
        passing = error.retry or isinstance(error, SourceChanged)
        denied = isinstance(error, Denied)
        skipped = isinstance(error, Exists)
        if error.fatal:
            stop_run(reason)
    return Result(job.number, 0, job.mtime_ns, job.ctime_ns, reason, passing, denied, skipped)


def reason_of(error: Exception) -> str:
    """One line for the report; prints the traceback of an unexpected error."""
    if isinstance(error, Failure):
        return str(error)
    traceback.print_exception(error)
    return f"unexpected {type(error).__name__}: {error}"


def _is_as_scanned(source: Source, job: Job) -> bool:
    return (source.size, source.mtime_ns, source.ctime_ns) == (
        job.size,
        job.mtime_ns,
        job.ctime_ns,
    )
