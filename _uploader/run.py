"""Runs an upload: joins scan, dispatcher, supervisor, records and display.

The only module that knows all parts.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from .config import DEFAULT_MEMORY, Settings, memory_limit
from .display.base import Display
from .display.text import files_text, seconds_text
from .errors import EXIT_INCOMPLETE, EXIT_OK, EXIT_SIGNAL, RunError, UsageError
from .files.model import INTERRUPTED, Failed, Job, Result, Skipped
from .files.scan import scan
from .interrupts import Interrupts
from .processes import wire
from .processes.dispatch import LOOKAHEAD, Dispatcher, ReadAhead
from .processes.fork_server import ForkServer
from .processes.machine import MemoryWatch, memory_total, read_after_others, usable_cpus
from .processes.supervisor import (
    BucketMissing,
    BucketReady,
    DestinationKnown,
    Ended,
    Event,
    MultipartBegun,
    Note,
    Supervisor,
)
from .rate_control import RateControl
from .records.counters import Summary
from .records.failures import FailureList
from .records.journal import Journal
from .records.ledger import Ledger
from .records.paths import journal_files, journal_path, state_directory
from .stopping import RefusalJudge, StallDetector
from .transfer.memory import FLOOR, MemoryThrottle, body_budget, processes_within

SCAN_SLICE = 256
"""Entries to scan between two rounds of the supervisor."""
TICK = 0.1
"""Seconds between two commits and updates of the display, and longest wait for a signal."""
MEMORY_INTERVAL = 0.5
"""Seconds between two samples of memory; each costs about 1 ms a process."""
MOST_IN_FLIGHT = 2048
"""Ceiling of requests in flight in all workers where ``--concurrency`` sets none: more than two
processors can use, and no flood from many."""
FIRST_SESSIONS = 16
"""Sessions of a worker that connect while the bucket is looked at: what is in flight at first."""
MEMORY_FOR_A_JOB = 32 * 2**10
"""Bytes of the limit for each job scanned ahead, which takes 300: with little memory they would be
a tenth of it."""
OUTAGE_TOLD = 1.0
"""Seconds of an outage after which the display shows it."""
GRACE = 5.0
"""Seconds in which uploads in flight may end after the first Ctrl-C."""


class Outcome(NamedTuple):
    """How a run ended."""

    summary: Summary
    error: RunError | None
    """Why it could not start or go on."""
    signal: int | None
    """The signal that ended it."""

    @property
    def exit_code(self) -> int:
        """The exit code of the process."""
        if self.error:
            return self.error.exit_code
        if self.signal:
            return EXIT_SIGNAL + self.signal
        return EXIT_INCOMPLETE if self.summary.failed else EXIT_OK


class Run:
    """One run with these settings, shown on the display."""

    def __init__(
        self,
        settings: Settings,
        display: Display,
        interrupts: Interrupts | None = None,
        *,
        jobs: Iterable[Job] | None = None,
        fork_server: ForkServer | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``jobs`` replace the scan and keep no journal.  ``fork_server`` forks the workers and is
        closed at the end of the run.

        Raises ``UsageError`` when the settings make no sense on this machine.
        """
        self._settings = settings
        self._display = display
        self._interrupts = interrupts or Interrupts()
        self._fork_server = fork_server or ForkServer(settings.provider)
        self._clock = clock
        self._began = clock()
        self._rate = RateControl(settings.limit_rate, self._interrupts, display.note)
        self._notes: list[str] = []
        limit = self._memory_limit(memory_total())
        self._throttle = MemoryThrottle(limit)
        processes = processes_within(limit, settings.processes or usable_cpus())
        self._processes = min(processes, settings.concurrency or processes)
        self._body_budget = body_budget(limit, self._processes)
        entries: Iterable[Job | Skipped | Failed]
        if jobs is not None:
            entries = jobs
        else:
            follow = settings.follow_symlinks
            own = _own_files(settings)
            entries = scan(settings.src, follow_symlinks=follow, prefix=settings.prefix, own=own)
        lookahead = min(LOOKAHEAD, limit // MEMORY_FOR_A_JOB)
        self._entries = ReadAhead(entries, lookahead)
        self._records = jobs is None and not settings.no_journal
        self._journal: Journal | None = None
        self._ledger = Ledger(display, FailureList(time.time()))
        self._jobs = self._ledger.jobs(self._entries)
        self._dispatcher = Dispatcher(self._jobs, lookahead)
        self._bucket_ready = False
        self._refusals = RefusalJudge()
        self._stall = StallDetector(settings.give_up_after)

    def execute(self) -> Outcome:
        """Uploads everything and returns how it ended; raises no ``RunError``."""
        self._display.start()
        for note in self._notes:
            self._display.note(note)
        error: RunError | None = None
        supervisor: Supervisor | None = None
        watch = MemoryWatch(lambda: supervisor.pids() if supervisor else [])
        try:
            self._entries.fetch(SCAN_SLICE)
            supervisor = self._supervisor()
            supervisor.start()
            self._serve(supervisor, watch)
            self._ledger.commit()
            if reason := self._refusals.final_verdict:
                raise RunError(reason)
        except RunError as failure:
            error = failure
            with contextlib.suppress(RunError):
                self._ledger.commit()  # files that ended before the failure
        finally:
            unfinished = [*self._fetched_jobs(), *self._dispatcher.stop()]
            if supervisor:
                self._ledger.counters.retries = supervisor.totals.retries
                unfinished += supervisor.stop()
            self._rate.close()
        summary = self._close(unfinished, watch.peak, error)
        self._display.finish(summary)
        return Outcome(summary, error, self._interrupts.first)

    def preview(self) -> Outcome:
        """Shows what would be uploaded; connects to nothing."""
        self._display.start()
        files = size = 0
        for job in self._jobs:
            if self._interrupts.count:
                break
            if job:
                files += 1
                size += job.size
                self._display.file_event("would upload", job.path, f"{job.size:,} bytes")
        self._display.note(f"would upload {files_text(files)}, {size:,} bytes in all")
        summary = self._close([], 0, None)
        if self._settings.json:
            self._display.finish(summary)
        return Outcome(summary, None, self._interrupts.first)

    def _close(self, unfinished: list[Job], peak_memory: int, error: RunError | None) -> Summary:
        """Names unfinished files one by one unless an error stopped the run before any upload."""
        listed = error is None or self._ledger.counters.uploaded > 0
        self._ledger.fail_unfinished(unfinished, INTERRUPTED, listed=listed)
        return self._ledger.close(
            seconds=self._clock() - self._began,
            peak_memory=peak_memory,
            stopped=self._interrupts.count > 0,
            error=error,
        )

    def _memory_limit(self, total: int) -> int:
        """Bytes that all processes together may take, of ``total``.

        A default is never refused: where it is too little the run takes the least it can do with.
        Raises ``UsageError`` for a limit that the user gave and that cannot be kept.
        """
        given = self._settings.max_memory
        limit = memory_limit(given or DEFAULT_MEMORY, total)
        if limit >= FLOOR:
            return limit
        floor = f"{FLOOR // 2**20}M"
        if given:
            raise UsageError(
                f"--max-memory {given} is too little: the program itself needs {floor} "
                f"(try --max-memory {floor})"
            )
        self._notes.append(
            f"{DEFAULT_MEMORY} of the {total // 2**20}M of memory here is less than the program "
            f"needs: it takes up to {floor}"
        )
        return FLOOR

    def _supervisor(self) -> Supervisor:
        """A supervisor of as many workers as the files need: a short list is known at once."""
        settings, count = self._settings, self._processes
        if self._entries.exhausted:
            count = max(1, min(count, self._entries.fetched))
        self._rate.begin(self._fork_server, count)
        share = -(-settings.concurrency // count) if settings.concurrency else None
        start = wire.Start(
            dataclasses.asdict(settings),
            share,
            MOST_IN_FLIGHT // count,
            self._body_budget,
            sessions=min(FIRST_SESSIONS, -(-self._entries.fetched // count)),
        )
        return Supervisor(
            self._dispatcher,
            count=count,
            start=start,
            fork_server=self._fork_server,
            echo=self._display.echo if settings.debug else None,
            started=read_after_others if settings.nice else lambda pid: None,
        )

    def _serve(self, supervisor: Supervisor, watch: MemoryWatch) -> None:
        """Returns when every job has ended, or soon after a signal.

        Raises ``RunError`` when the run cannot go on.
        """
        next_tick = next_sample = 0.0
        patience: float | None = None
        while not supervisor.finished:
            scanning = patience is None and self._scan_on()
            for event in supervisor.step(0.0 if scanning else TICK):
                self._take(event, supervisor)
            now = self._clock()
            if self._interrupts.count and patience is None:
                patience = now + GRACE
                self._display.note("stopping: what is in flight may end; once more to stop at once")
                self._ledger.fail_unfinished(supervisor.drain(), INTERRUPTED, listed=True)
            if patience and (self._interrupts.count > 1 or now > patience):
                return
            if now >= next_tick:
                next_tick = now + TICK
                self._ledger.commit()
                self._show(supervisor, now)
                self._check_progress(supervisor, now)
                self._rate.look(now)
            if now >= next_sample:
                next_sample = now + MEMORY_INTERVAL
                if self._throttle.sample(watch.sample()):
                    supervisor.set_share(self._throttle.share)

    def _scan_on(self) -> bool:
        """Scans a little; returns whether to scan on at once.

        Before the bucket is ready entries are only fetched: which of them to upload is known once
        the journal is open.
        """
        if self._bucket_ready:
            self._dispatcher.look_ahead(SCAN_SLICE)
            return self._dispatcher.wants_jobs()
        if self._entries.wants_more:
            self._entries.fetch(SCAN_SLICE)
        return self._entries.wants_more

    def _fetched_jobs(self) -> Iterator[Job]:
        """Jobs that were scanned before the bucket was ready and never reached the dispatcher."""
        with contextlib.suppress(RunError):
            while self._entries.fetched:
                if job := next(self._jobs):
                    yield job
            if self._entries.exhausted:
                # None is left: the ledger learns that the scan has ended.
                yield from filter(None, self._jobs)

    def _show(self, supervisor: Supervisor, now: float) -> None:
        counters = self._ledger.counters
        counters.sent_bytes = supervisor.totals.sent
        counters.retries = supervisor.totals.retries
        outage = supervisor.outage
        counters.outage = outage if outage and outage[0] >= OUTAGE_TOLD else None
        self._display.update(counters, now)

    def _check_progress(self, supervisor: Supervisor, now: float) -> None:
        """Raises ``RunError`` when the run has stalled or every file is refused."""
        counters = self._ledger.counters
        stalled = self._stall.is_stalled(
            now,
            life=(counters.files, counters.uploaded, counters.skipped, supervisor.totals.progress),
            trouble=supervisor.totals.retries,
            outage=supervisor.outage is not None,
        )
        if stalled:
            patience = seconds_text(self._settings.give_up_after, 0)
            reason = f"nothing has succeeded for {patience}"
            raise RunError(": ".join(filter(None, (reason, supervisor.totals.trouble))))
        if reason := self._refusals.verdict:
            raise RunError(reason)

    def _take(self, event: Event, supervisor: Supervisor) -> None:
        if isinstance(event, Ended):
            self._take_end(event.job, event.result)
        elif isinstance(event, MultipartBegun):
            self._ledger.begun(event.job)
        elif isinstance(event, DestinationKnown):
            self._open_journal(event.text, supervisor)
        elif isinstance(event, BucketMissing):
            # Before the bucket is created: a crash in between must not leave records of an older
            # bucket.
            if self._journal:
                self._journal.void()
                self._refusals.stored = False
        elif isinstance(event, BucketReady):
            self._bucket_ready = True
        elif isinstance(event, Note):
            self._display.note(event.text)

    def _take_end(self, job: Job, result: Result) -> None:
        if not result.failure:
            self._refusals.stored = True
        elif result.denied:
            self._refusals.denied(job.path, result.failure)
        elif result.passing and not self._interrupts.count and self._dispatcher.try_again(job):
            return
        else:
            self._refusals.failed()
        self._ledger.take(job, result)

    def _open_journal(self, destination: str, supervisor: Supervisor) -> None:
        """Raises ``RunError`` when the journal cannot be used."""
        if not self._records or self._journal:
            return
        journal = self._journal = _journal(self._settings, destination)
        self._ledger.use(journal)
        if not journal.expect(self._settings.description()):
            self._display.note(
                "objects are to carry something else than in the unfinished run of "
                f"{_moment(journal.started)}: every file is uploaded again"
            )
        self._refusals.stored = journal.recorded > 0
        if journal.since is not None:
            supervisor.resume(journal.since)
        if journal.resumed:
            self._display.note(
                f"going on with the unfinished run of {_moment(journal.started)}: "
                f"{files_text(journal.recorded)} done; --restart begins anew"
            )


def _own_files(settings: Settings) -> list[Path]:
    """Files that runs write: no part of what is uploaded."""
    own = list(journal_files(Path(settings.journal))) if settings.journal else []
    with contextlib.suppress(RuntimeError):  # no home
        own.append(state_directory())
    return own


def _journal(settings: Settings, destination: str) -> Journal:
    source = os.path.realpath(settings.src)
    destination = f"{destination}/{settings.prefix}"
    if settings.journal:
        path = Path(settings.journal).absolute()
    else:
        try:
            path = journal_path(state_directory(), source, destination)
        except RuntimeError:
            raise RunError(
                "no place for the journal, as this user has no home: use --journal or --no-journal"
            ) from None
    return Journal(path, source, destination, restart=settings.restart)


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
