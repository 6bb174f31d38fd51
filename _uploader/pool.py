"""A gevent pool that uploads files: one session per greenlet, large files part by part.

Greenlets take tasks from one queue; each keeps its session for its life.  A small file is one
task.  A large one is a chain of them: each part queues the next before it is sent, and whoever
ends the last one completes the upload.  So no greenlet ever waits for another.
"""

from __future__ import annotations

import random
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from itertools import count
from typing import TypeVar

from gevent.event import Event
from gevent.lock import Semaphore
from gevent.pool import Group

from providers.base import Cloud, Part, PartRules, Session, UploadInfo
from providers.errors import Denied, Failure, NotFound, Rejected, SourceChanged
from providers.source import Source, guess_content_type

from .model import INTERRUPTED, Job, Result
from .transfer.concurrency import ConcurrencyLimiter
from .transfer.retry import RetryPolicy

T = TypeVar("T")
Task = Callable[[Session], None]

PART_WEIGHT = 8
"""Requests that a part of a large file counts for where their number is found: it needs no others
beside it to keep network and service busy.  8 in flight in each of two workers took 0.8 of the time
that 64 took, most of all because the service needs memory for each."""
CLOCKS_DIFFER = 15 * 60
"""Seconds by which the service's clock may be behind ours; more, and it refuses our signatures."""


class UploadPool:
    """Uploads jobs and reports one ``Result`` for each, in the order in which they end."""

    def __init__(
        self,
        cloud: Cloud,
        *,
        source_root: str,
        key_prefix: str,
        policy: RetryPolicy,
        knee: ConcurrencyLimiter,
        part_weight: int = 1,
        report: Callable[[Result], None],
        stop_run: Callable[[str], None],
        extra_metadata: Iterable[tuple[str, str]] = (),
        begun: Callable[[int, str, int], None] = lambda number, upload_id, ctime_ns: None,
        resume_since: float | None = None,
    ) -> None:
        """``source_root`` is put before each path as it is (so it ends with a slash or is empty),
        ``key_prefix`` before each key; ``knee`` says how many requests may be in flight, of
        which a part of a large file is ``part_weight``; ``stop_run`` is told why when no file can
        succeed, ``begun`` (job number, id, the file's change time) of multipart uploads.  With
        ``resume_since``, seconds since the epoch, what was begun after it and left unfinished is
        cleared away.
        """
        self._cloud = cloud
        self._root = source_root
        self._prefix = key_prefix
        self._extra = tuple(extra_metadata)
        self._policy = policy
        self._report = report
        self._stop_run = stop_run
        self._knee = knee
        self._part_weight = part_weight
        self._share = 1.0
        self.limit = knee.limit
        """Requests that may be in flight now."""
        self.begun = begun
        self.resume_since = resume_since
        self._greenlets = Group()
        self._active = 0
        self._idle = 0
        self._tasks: deque[Task] = deque()
        self._parts: deque[Task] = deque()
        self._parts_begun = 0
        self._available = Semaphore(0)
        self._queued: set[int] = set()
        self._draining = Event()
        self._stored_any = False
        self.sent = 0
        """Bytes that the service has accepted so far, parts of unfinished files included."""
        self.retries = 0
        """Attempts beyond the first so far."""
        self.trouble = ""
        """What last went wrong with a request."""

    def submit(self, jobs: Iterable[Job]) -> None:
        """Queues files for upload; returns at once."""
        for job in jobs:
            self._queued.add(job.number)
            self.add(partial(self._upload, job))

    def set_share(self, share: float) -> None:
        """Lets the pool use only a part of its concurrency, 0 to 1, but at least one request.

        Greenlets above the limit end with their task; new ones start when there is work for them.
        """
        self._share = share
        self._resize()

    def drain(self) -> list[int]:
        """Takes back the files not begun and returns their job numbers.

        What is in flight goes on, but waits for no retry and begins no further part.
        """
        numbers = list(self._queued)
        self._queued.clear()
        self._draining.set()
        return numbers

    def close(self) -> None:
        """Waits for what was submitted, then ends the greenlets and closes their sessions."""
        self._available.release()
        self._greenlets.join()

    def add(self, task: Task, *, first: bool = False) -> None:
        """Queues a task for the next free greenlet, before all others if ``first``."""
        if first:
            self._tasks.appendleft(task)
        else:
            self._tasks.append(task)
        self._available.release()
        self._grow()

    def add_part(self, task: Task) -> None:
        """Queues a part of a large file, before all other tasks as soon as one more may be in
        flight."""
        self._parts.append(task)
        self._admit()

    def _admit(self) -> None:
        while self._parts and self._parts_begun < max(1, self.limit // self._part_weight):
            self._parts_begun += 1
            self.add(partial(self._run_part, self._parts.popleft()), first=True)

    def _run_part(self, task: Task, session: Session) -> None:
        try:
            task(session)
        finally:
            self._parts_begun -= 1
            self._admit()

    def _resize(self) -> None:
        self.limit = max(1, int(self._knee.limit * self._share))
        self._admit()
        for _ in range(len(self._tasks)):
            self._grow()

    def _grow(self) -> None:
        if self._idle < len(self._tasks) and self._active < self.limit:
            self._idle += 1
            self._active += 1
            self._greenlets.spawn(self._work)

    def _work(self) -> None:
        """A greenlet's life.  Whoever finds itself one too many hands its turn to another."""
        try:
            session = self._cloud.open()
        except Exception as error:
            # No file can be sent without one; the tasks stay queued while the run ends.
            self._active -= 1
            self._idle -= 1
            self._stop_run(_reason(error))
            return
        try:
            while True:
                self._available.acquire()
                self._idle -= 1
                if self._active > self.limit or not self._tasks:
                    self._available.release()
                    return
                self._tasks.popleft()(session)
                self._idle += 1
        finally:
            self._active -= 1
            session.close()

    def _upload(self, job: Job, session: Session, restarts: int = 0) -> None:
        """The first task of a file, and its only one unless it goes in parts."""
        if not restarts:
            if job.number not in self._queued:
                return
            self._queued.discard(job.number)
        source: Source | None = None
        try:
            source = self.persist(partial(Source, self._root + job.path))
            rules = self._cloud.parts
            if rules and source.size > rules.threshold:
                large = _LargeFile(self, job, source, rules, restarts)
                source = None
                large.begin(session)
                return
            key, metadata, content_type = self.describe(job, source)
            self.persist(partial(session.put, key, source, metadata, content_type))
            self.accepted(source.size)
            self.stored(job, source)
        except Exception as error:
            self.failed(job, error, restarts)
        finally:
            if source:
                source.close()

    def describe(self, job: Job, source: Source) -> tuple[str, list[tuple[str, str]], str]:
        """The key, user metadata and Content-Type of the object that the file becomes."""
        metadata = source.metadata()
        if self._extra:
            metadata = sorted([*metadata, *self._extra])
        return self._prefix + job.path, metadata, guess_content_type(job.path)

    def persist(self, operation: Callable[[], T]) -> T:
        """Runs a request until it succeeds or the policy gives up; raises its last failure."""
        for attempt in count():
            try:
                return operation()
            except Failure as failure:
                if self._lowers(failure):
                    self._resize()
                self.trouble = str(failure)
                pause = self._policy.delay(failure, attempt, random.random())
                if pause is None or self._draining.wait(pause):
                    raise
            self.retries += 1
        raise AssertionError("unreachable")

    def _lowers(self, failure: Failure) -> bool:
        """Whether a failed request lowers the number that may be in flight."""
        if failure.throttle:
            return self._knee.refused(time.monotonic())
        return failure.retry and self._knee.failed(time.monotonic())

    def accepted(self, size: int, *, part: bool = False) -> None:
        """The service has accepted a request of ``size`` bytes."""
        self.sent += size
        saturated = bool(self._tasks or self._parts)
        weight = self._part_weight if part else 1
        if self._knee.completed(time.monotonic(), size, saturated, weight):
            self._resize()

    def stored(self, job: Job, source: Source) -> None:
        """The file is in the bucket, its content proven."""
        self._stored_any = True
        self._report(Result(job.number, source.size, source.mtime_ns, ""))

    def failed(self, job: Job, error: Exception, restarts: int) -> None:
        """An attempt at the whole file has failed; it is tried again where that makes sense."""
        again = isinstance(error, Failure) and error.restart and restarts < self._policy.retries
        if again and not self.draining:
            self.retries += 1
            self.add(partial(self._upload, job, restarts=restarts + 1))
            return
        reason = _reason(error)
        if isinstance(error, Failure) and (
            error.fatal or (isinstance(error, Denied) and not self._stored_any)
        ):
            self._stop_run(reason)
        self._report(Result(job.number, 0, job.mtime_ns, reason))

    def abort_uploads(
        self, prefix: str, session: Session, stale: Callable[[UploadInfo], bool]
    ) -> list[str]:
        """Aborts those multipart uploads below ``prefix`` that are ``stale``; returns their keys.
        Credentials without the permission to list them leave them alone."""
        try:
            found = self.persist(lambda: list(session.uploads(prefix)))
        except Rejected:
            return []
        aborted = [info for info in found if stale(info)]
        for info in aborted:
            self.persist(partial(session.abort, info.key, info.upload_id))
        return [info.key for info in aborted]

    @property
    def draining(self) -> bool:
        """No new work should begin."""
        return bool(self._draining.is_set())


class _LargeFile:
    """One file on its way in parts.  Owns the open file until the upload has ended."""

    def __init__(
        self, pool: UploadPool, job: Job, source: Source, rules: PartRules, restarts: int
    ) -> None:
        self._pool = pool
        self._job = job
        self._source = source
        self._restarts = restarts
        self._key, self._metadata, self._content_type = pool.describe(job, source)
        self._part_size = rules.size_for(source.size)
        self._todo = deque(range(1, -(-source.size // self._part_size) + 1))
        self._running = 0
        self._parts: list[Part] = []
        self._upload_id = ""
        self._error: Exception | None = None

    def begin(self, session: Session) -> None:
        """Starts the upload, or goes on with one, and queues a part; reports what fails."""
        try:
            if not self._restarts:
                self._resume(session)
            if not self._upload_id:
                self._create(session)
                self._pool.begun(self._job.number, self._upload_id, self._source.ctime_ns)
        except Exception as error:
            self._source.close()
            self._pool.failed(self._job, error, self._restarts)
            return
        if self._todo:
            self._queue_next()
        else:
            self._finish(session)

    def _create(self, session: Session) -> None:
        """Begins an upload.  An attempt whose answer was lost may have begun another one, which
        would cost its owner money for ever."""
        attempts = count()
        since = time.time() - CLOCKS_DIFFER

        def start() -> str:
            next(attempts)
            return session.begin(self._key, self._metadata, self._content_type)

        self._upload_id = self._pool.persist(start)
        if next(attempts) > 1:
            self._abort_others(session, since)

    def _resume(self, session: Session) -> None:
        """Takes over the parts that an earlier attempt has stored, if the file is still the same,
        and clears away what earlier runs left of it."""
        job, source = self._job, self._source
        unchanged = (source.size, source.mtime_ns, source.ctime_ns) == (
            job.size,
            job.mtime_ns,
            job.ctime_ns,
        )
        if job.upload_id and unchanged:
            ask = partial(session.stored_parts, self._key, job.upload_id, source, self._part_size)
            try:
                self._parts = self._pool.persist(ask)
                self._upload_id = job.upload_id
            except NotFound:
                pass
            except Rejected:
                self._abort(session, job.upload_id)
            except SourceChanged:
                self._abort(session, job.upload_id)
                raise
        elif job.upload_id:
            self._pool.persist(partial(session.abort, self._key, job.upload_id))
        for part in self._parts:
            self._todo.remove(part.number)
            self._pool.sent += part.size
        since = time.time() if job.orphaned else None
        if self._pool.resume_since is not None:
            since = self._pool.resume_since
        if since is not None:
            self._abort_others(session, since - CLOCKS_DIFFER)

    def _abort_others(self, session: Session, since: float) -> None:
        """Clears away what was begun for this very key after ``since`` and is not ours."""

        def stale(info: UploadInfo) -> bool:
            other = info.upload_id != self._upload_id
            return info.key == self._key and other and info.begun >= since

        self._pool.abort_uploads(self._key, session, stale)

    def _queue_next(self) -> None:
        self._running += 1
        self._pool.add_part(partial(self._send, self._todo.popleft()))

    def _send(self, number: int, session: Session) -> None:
        if self._error is None and self._pool.draining:
            self._error = Failure(INTERRUPTED)
        if self._error is None and self._todo:
            self._queue_next()
        try:
            if self._error is None:
                self._store_part(number, session)
        except Exception as error:
            self._error = self._error or error
        self._running -= 1
        if not self._running:
            self._finish(session)

    def _store_part(self, number: int, session: Session) -> None:
        offset = (number - 1) * self._part_size
        length = min(self._part_size, self._source.size - offset)
        put = partial(session.put_part, self._key, self._upload_id, number, self._source)
        self._parts.append(self._pool.persist(partial(put, offset, length)))
        self._pool.accepted(length, part=True)

    def _finish(self, session: Session) -> None:
        try:
            if self._error:
                raise self._error
            self._source.check_unchanged()
            parts = sorted(self._parts)
            self._pool.persist(partial(session.complete, self._key, self._upload_id, parts))
            self._pool.stored(self._job, self._source)
        except Exception as error:
            self._abort(session, self._upload_id)
            self._pool.failed(self._job, error, self._restarts)
        finally:
            self._source.close()

    def _abort(self, session: Session, upload_id: str) -> None:
        """Gives back the space of the parts; the file's own failure is the one that is told."""
        try:
            self._pool.persist(partial(session.abort, self._key, upload_id))
        except Exception as error:
            _reason(error)


def _reason(error: Exception) -> str:
    """What the report says of it; what nobody expected is also written for whoever debugs."""
    if isinstance(error, Failure):
        return str(error)
    traceback.print_exception(error)
    return f"unexpected {type(error).__name__}: {error}"
