"""Uploads the files of one process: slots, attempts and uploads together."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from functools import cached_property, partial

import gevent
from gevent.event import Event

from providers.attributes import Form, rclone
from providers.base import Cloud
from providers.disk import Disk
from providers.errors import Failure
from providers.source import BLOCK_SIZE

from ..files.model import Job, Result
from .attempts import Attempts
from .concurrency import ConcurrencyLimiter
from .outage import SILENCE
from .retry import RetryPolicy
from .slots import Slots, Task
from .upload import Context, FileTask, Upload, reason_of
from .window import SendWindow

STDIN = 0
"""The descriptor."""
SAMPLING = 0.25
"""Seconds between two looks at the traffic."""
PROBE_LIMIT = 5.0
"""Seconds that a probe may take."""
PAUSED = 20 * SAMPLING
"""Seconds between two samples after which the process, or the machine, has been stopped meanwhile:
what did not move then is no silence of the service."""


class Engine:
    """Uploads jobs and reports a ``Result`` of each as it ends."""

    def __init__(
        self,
        cloud: Cloud,
        *,
        source_roots: Sequence[str],
        key_prefix: str,
        policy: RetryPolicy,
        limiter: ConcurrencyLimiter,
        part_weight: int = 1,
        report: Callable[[Result], None],
        stop_run: Callable[[str], None],
        form: Form = rclone,
        extra_metadata: Iterable[tuple[str, str]] = (),
        begun: Callable[[int, str, int], None] | None = None,
        resume_since: Callable[[], float | None] = lambda: None,
        give_up_after: float = math.inf,
        most_bytes: float = math.inf,
        disk_hangs: bool = False,
        skip: str = "none",
        dry_run: bool = False,
        verifies: bool = False,
        downloads: bool = False,
    ) -> None:
        """``source_roots``: prefix of the paths of each source, ending with a slash or empty;
        ``key_prefix``: of each key.  ``limiter`` says how many requests may be in flight; a part of
        a large file counts for ``part_weight``.  ``stop_run(reason)``: no file can succeed.
        ``form`` writes the files' attributes as user metadata; ``extra_metadata`` goes to every
        object.

        ``begun(job number, upload id, change time of the file)`` records a multipart upload;
        without it none outlives a failure.  ``resume_since()``: when the earlier runs that this one
        resumes began, in seconds since the epoch; their unfinished uploads are aborted.
        ``give_up_after``: seconds of an outage after which the run stops.  ``most_bytes``: of
        bodies in flight, as ``SendWindow`` counts them.  ``disk_hangs``: see ``Disk``.
        ``skip``, ``dry_run``: the options.  ``verifies``: files are compared with their objects,
        not sent; ``downloads``: by reading these back where the service tells no checksum.
        """
        self._cloud = cloud
        self._limiter = limiter
        self._stop_run = stop_run
        self._window = SendWindow(most_bytes)
        self._give_up_after = give_up_after
        self.attempts = Attempts(policy, self._probe, self._request_failed, self._service_is_back)
        self._slots = Slots(
            partial(self.attempts.bounded, cloud.open, give_up_after),
            limiter,
            self._window,
            part_weight=part_weight,
            cannot_open=lambda error: stop_run(reason_of(error)),
            connects_ahead=cloud.connects_ahead,
        )
        self._disk = Disk(disk_hangs)
        self._pace()
        self._context = Context(
            attempts=self.attempts,
            add=self._slots.add,
            open=self._disk.open,
            reading=self._disk.reading,
            rules=cloud.parts,
            source_roots=source_roots,
            key_prefix=key_prefix,
            form=form,
            extra_metadata=tuple(extra_metadata),
            report=report,
            begun=begun,
            taken_over=self._taken_over,
            stop_run=stop_run,
            resume_since=resume_since,
            tells_etags=skip != "none",
        )
        self._by_content = skip == "checksum"
        self._dry_run = dry_run
        self._verifies = verifies
        self._downloads = downloads
        self._taken_over_bytes = 0
        self._interrupt_stdin: Callable[[], None] = lambda: None
        self._watcher = gevent.spawn(self._watch)

    def submit(self, jobs: Iterable[Job]) -> None:
        """Queues files for upload, or for their comparison; returns at once."""
        context = self._context
        if self._verifies:
            self._slots.add_all(map(self._check, jobs))
            return
        self._slots.add_all(
            [self._comparison(job) if job.compares else Upload(job, context) for job in jobs]
        )

    def submit_stdin(self, job: Job, memory: int, ended: Callable[[], Event]) -> None:
        """Begins to upload standard input; returns at once.  See ``StdinUpload``."""
        from ..files.stream import Stream  # few runs need it
        from .stdin import StdinUpload

        upload = StdinUpload(job, self._context, Stream(STDIN), memory, ended)
        self._interrupt_stdin = upload.interrupt
        gevent.spawn(upload.run)

    def connect(self, sessions: int) -> None:
        """Connects so many sessions for the first files, while nothing else can be done."""
        self._slots.connect(sessions)

    def allow(self, share: float, reason: str) -> None:
        """Uses only a share of the concurrency, 0 to 1, but at least one request; ``reason`` says
        in a few words why."""
        if self._limiter.allow(time.monotonic(), share, reason):
            self._slots.resize()

    def drop_pages(self) -> None:
        """From now on files that are read leave the page cache as it was."""
        self._disk.drops_pages = True

    def drain(self) -> list[int]:
        """Takes back the files not begun and returns their job numbers.

        Requests in flight go on, but wait for no retry and begin no further part.
        """
        self.attempts.drain()
        self._interrupt_stdin()
        numbers = []
        for task in self._slots.take_back():
            if isinstance(task, FileTask):
                numbers.append(task.job.number)
            else:
                self._slots.add(task)  # of standard input, which waits for its end
        return numbers

    def close(self) -> None:
        """Waits for the submitted files, then closes all sessions."""
        try:
            self._slots.close()
        finally:
            self._watcher.kill()

    @property
    def busy(self) -> bool:
        """Requests are in flight."""
        return self._slots.running > 0

    @property
    def limit(self) -> int:
        """Requests that may be in flight now."""
        return self._limiter.limit

    @property
    def reason(self) -> str:
        """Why ``limit`` last changed."""
        return self._limiter.reason

    @property
    def sent(self) -> int:
        """Bytes of bodies sent so far, stored by earlier attempts or compared."""
        return self._cloud.traffic.sent + self._taken_over_bytes

    @property
    def progress(self) -> int:
        """Grows as long as requests succeed, or long ones move, and whenever one succeeds that had
        failed: what comes after it may take long for its own sake."""
        return self._slots.accepted + self._cloud.traffic.progress + self.attempts.recovered

    @cached_property
    def _comparison(self) -> Callable[[Job], Task]:
        from .compare import Compare, Comparer  # few runs need it
        from .content import Contents

        contents = None
        if self._by_content:
            contents = Contents(self._context, self._passed, downloads=self._cloud.is_near)
        comparer = Comparer(
            self._context,
            self._cloud,
            self._disk.look,
            contents,
            dry_run=self._dry_run,
        )
        return lambda job: Compare(job, comparer)

    @cached_property
    def _check(self) -> Callable[[Job], Task]:
        from .check import Check, Checker  # few runs need it
        from .content import Contents

        downloads = self._downloads or self._cloud.is_near
        contents = Contents(self._context, self._compared, downloads=downloads)
        checker = Checker(self._context, self._cloud, contents)
        return lambda job: Check(job, checker)

    def _compared(self, size: int) -> None:
        self._taken_over_bytes += size
        self._passed(size)

    def _passed(self, size: int) -> None:
        """Comparing is progress, though nothing may be sent meanwhile."""
        self._cloud.traffic.moved_at = time.monotonic()
        self._cloud.traffic.progress += size > BLOCK_SIZE

    def _taken_over(self, size: int) -> None:
        self._taken_over_bytes += size

    def _request_failed(self, failure: Failure) -> None:
        now = time.monotonic()
        limiter = self._limiter
        if (limiter.refused if failure.throttle else limiter.failed)(now, failure):
            self._slots.resize()

    def _service_is_back(self, began: float) -> None:
        """Gives up requests that were sent before the outage: a server that was restarted never
        answers them."""
        self._cloud.traffic.lost_before = began

    def _probe(self) -> None:
        with closing(self._cloud.open()) as session:
            session.check(PROBE_LIMIT)

    def _pace(self) -> None:
        """Follows the limit of the rate."""
        if limit := self._cloud.traffic.limit:
            self._window.pace(limit.share)
            self._slots.paced = limit.waiting

    def _watch(self) -> None:
        """Keeps the sockets' queues short, and notices a silence."""
        traffic = self._cloud.traffic
        active_since = 0.0
        now = time.monotonic()
        while True:
            before = now
            gevent.sleep(SAMPLING)
            now = time.monotonic()
            self._pace()
            queued = traffic.queued()
            self._window.sample(now, traffic.sent - queued, queued)
            self._slots.fill()
            if self._slots.paced or not self._slots.running or now - before > PAUSED:
                active_since = now
            quiet_since = max(traffic.moved_at, active_since, self.attempts.answered_at)
            outage = self.attempts.outage()
            if not self.attempts.in_outage:
                if now - quiet_since > SILENCE:
                    self.attempts.silent(quiet_since, now)
            elif outage and outage.seconds > self._give_up_after:
                self._stop_run(f"the service does not answer: {self.attempts.trouble}")
