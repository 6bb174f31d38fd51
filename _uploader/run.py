"""Runs an upload: joins scan, dispatcher, supervisor, records and display.

The only module that knows all parts.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

import providers

from .amounts import counted
from .choice import Choice
from .config import Settings
from .display.base import Display
from .display.text import files_text, seconds_text
from .errors import EXIT_INCOMPLETE, EXIT_OK, EXIT_SIGNAL, RunError
from .files.model import INTERRUPTED, Found, Job, Result
from .intake import Intake
from .interrupts import Interrupts
from .processes import wire
from .processes.fork_server import ForkServer
from .processes.machine import MemoryWatch, SpareMemory
from .processes.priority import read_after_others
from .processes.sizing import fills_page_cache
from .processes.supervisor import (
    BucketMissing,
    BucketReady,
    ConcurrencyChanged,
    DestinationKnown,
    Event,
    InputEnded,
    JobsEnded,
    ListingBegins,
    ListingEnded,
    MultipartBegun,
    Note,
    ObjectsDeleted,
    ObjectsListed,
    Supervisor,
)
from .rate_control import RateControl
from .records.counters import Summary
from .records.failures import FailureList
from .records.journal import Journal
from .records.ledger import Ledger
from .records.preview import Preview
from .resources import Resources, shares
from .state import open_journal
from .stopping import RefusalJudge, StallDetector
from .surplus import Surplus, hides_surplus
from .transfer.memory import MemoryThrottle

if TYPE_CHECKING:
    from .records.comparison import Comparison

_NO_SURPLUS = "objects without a file are not looked for: {}"
TICK = 0.1
"""Seconds between two commits and updates of the display, and longest wait for a signal."""
MEMORY_INTERVAL = 0.5
"""Seconds between two samples of memory; each costs about 1 ms a process."""
MOST_IN_FLIGHT = 2048
"""Ceiling of requests in flight in all workers where ``--concurrency`` sets none: more than two
processors can use, and no flood from many."""
FIRST_SESSIONS = 16
"""Sessions of a worker that connect while the bucket is looked at: what is in flight at first."""
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
        return EXIT_INCOMPLETE if self.summary.incomplete else EXIT_OK


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
        if settings.reads_stdin:
            # One worker reads it, with all the memory.
            settings = dataclasses.replace(settings, processes=1)
            jobs = [Job(0, settings.key or "", 0, 0)]
        self._settings = settings
        self._display = display
        self._interrupts = interrupts or Interrupts()
        self._fork_server = fork_server or ForkServer(settings.provider)
        self._clock = clock
        self._began = clock()
        self._rate = RateControl(settings.limit_rate, self._interrupts, display.note)
        self._resources = resources = Resources(settings, self._rate.rate)
        self._throttle = MemoryThrottle(
            resources.limit, resources.body_budget * resources.processes
        )
        self._cpu_cap = resources.cpu_cap()
        entries: Iterable[Found | None]
        self._roots: tuple[str, ...] = ("",)
        chosen: Callable[[str, int], bool] | None = None
        if jobs is not None:
            entries = jobs
        else:
            choice = Choice(settings)
            entries, self._roots = choice.entries(), choice.roots
            if choice.selection:
                chosen = choice.selection.takes_object
        self._records = jobs is None and not settings.no_journal and not settings.dry_run
        self._journal: Journal | None = None
        self._preview = _preview(settings, display) if settings.dry_run else None
        self._ledger = Ledger(
            display, FailureList(time.time()), preview=self._preview, verifies=settings.verifies
        )
        self._intake = Intake(
            settings,
            entries,
            self._ledger,
            lookahead=resources.lookahead,
            most_processes=resources.processes,
            clock=clock,
        )
        self._comparison: Comparison | None = None
        self._surplus: Surplus | None = None
        """Objects without a file, where they are looked for."""
        self._no_surplus = hides_surplus(settings) if settings.verifies else ""
        """Why a verification does not look for them."""
        finds_surplus = settings.delete or (settings.verifies and not self._no_surplus)
        if settings.compares or finds_surplus:
            from .records.comparison import Comparison  # few runs need it

            self._comparison = Comparison(
                settings.skip, settings.prefix, deletes=finds_surplus, chosen=chosen
            )
            self._ledger.compare(self._comparison)
            if finds_surplus:
                self._surplus = Surplus(
                    settings, self._comparison, self._ledger, display, self._preview
                )
        self._refusals = RefusalJudge()
        self._stall = StallDetector(settings.give_up_after)

    def execute(self) -> Outcome:
        """Uploads everything and returns how it ended; raises no ``RunError``."""
        self._display.start()
        for note in self._resources.notes:
            self._display.note(note)
        if self._no_surplus:
            self._display.note(_NO_SURPLUS.format(self._no_surplus))
        error: RunError | None = None
        supervisor: Supervisor | None = None
        watch = MemoryWatch(lambda: supervisor.pids() if supervisor else [])
        try:
            self._intake.look()
            supervisor = self._supervisor()
            supervisor.start()
            self._serve(supervisor, watch)
            self._ledger.commit()
            if reason := self._refusals.final_verdict:
                raise RunError(reason)
            if self._surplus and not self._interrupts.count:
                self._deal_with_surplus(self._surplus, supervisor, watch)
        except RunError as failure:
            error = failure
            with contextlib.suppress(RunError):
                self._ledger.commit()  # files that ended before the failure
        finally:
            unfinished = self._intake.stop()
            if supervisor:
                self._ledger.counters.retries = supervisor.totals.retries
                unfinished += supervisor.stop()
            self._rate.close()
            if self._comparison:
                self._comparison.close()
        return self._finish(self._close(unfinished, watch.peak, error), error)

    def preview(self) -> Outcome:
        """Shows what would be uploaded, and what that takes; connects to nothing."""
        self._display.start()
        self._intake.scan_all(until=lambda: self._interrupts.count > 0)
        return self._finish(self._close([], 0, None), None)

    def _finish(self, summary: Summary, error: RunError | None) -> Outcome:
        """Shows how the run has ended, or what it would have done."""
        if self._preview and not error:
            from .display.plan import plan_lines  # no upload needs it

            for line in self._preview.lines():
                self._display.note(line)
            self._display.plan(self._preview.fields(), plan_lines(self._preview.uploads()))
        if not self._preview or self._settings.json:
            self._display.finish(summary)
        return Outcome(summary, error, self._interrupts.first)

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

    def _supervisor(self) -> Supervisor:
        """A supervisor that begins with as many workers as the files seen are worth."""
        settings, intake = self._settings, self._intake
        most, count = intake.most_processes, intake.processes()
        if settings.dry_run:
            settings = dataclasses.replace(settings, no_create=True, abort_stale=False)
        self._rate.begin(self._fork_server, most)
        start = wire.Start(
            dataclasses.asdict(settings),
            None,
            MOST_IN_FLIGHT // most,
            self._resources.body_budget,
            sessions=min(FIRST_SESSIONS, -(-intake.fetched // count)),
            roots=self._roots,
        )
        return Supervisor(
            intake.dispatcher,
            count=count,
            start=start,
            concurrency=shares(settings.concurrency, most),
            fork_server=self._fork_server,
            echo=self._display.echo if settings.debug else None,
            started=read_after_others if settings.nice else lambda pid: None,
        )

    def _serve(self, supervisor: Supervisor, watch: MemoryWatch) -> None:
        """Returns when every job has ended, or soon after a signal.

        Raises ``RunError`` when the run cannot go on.
        """
        spare = SpareMemory()
        next_tick = next_sample = 0.0
        patience: float | None = None
        while not supervisor.finished:
            scanning = patience is None and self._intake.scan_on()
            if fills_page_cache(self._ledger.counters.bytes_to_read, self._resources.memory):
                supervisor.drop_pages()  # before they get the files
            for event in supervisor.step(0.0 if scanning else TICK):
                self._take(event, supervisor)
            if self._cpu_cap:
                self._cpu_cap.keep(supervisor.pids, supervisor.set_cpu_rate)
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
                if supervisor.workers >= self._intake.most_processes:
                    self._fork_server.rest()
                elif self._throttle.share == 1:
                    supervisor.grow(self._intake.processes())
                self._rate.look(now, supervisor.busy)
            if now >= next_sample:
                next_sample = now + MEMORY_INTERVAL
                if self._throttle.sample(watch.sample(), spare.sample()):
                    supervisor.set_share(self._throttle.share, self._throttle.reason)

    def _deal_with_surplus(
        self, surplus: Surplus, supervisor: Supervisor, watch: MemoryWatch
    ) -> None:
        def serve() -> bool:
            self._serve(supervisor, watch)
            return not self._interrupts.count

        if self._settings.verifies:
            surplus.tell()
        else:
            surplus.delete(supervisor, serve)

    def _show(self, supervisor: Supervisor, now: float) -> None:
        counters = self._ledger.counters
        counters.sent_bytes = supervisor.totals.sent
        counters.retries = supervisor.totals.retries
        outage = supervisor.outage
        counters.outage = outage if outage and outage.seconds >= OUTAGE_TOLD else None
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
        if isinstance(event, JobsEnded):
            for job, result in event.ends:
                self._take_end(job, result)
        elif isinstance(event, MultipartBegun):
            self._ledger.begun(event.job)
        elif isinstance(event, ConcurrencyChanged):
            self._display.concurrency(*event)
        elif isinstance(event, DestinationKnown):
            self._open_journal(event.text, supervisor)
        elif isinstance(event, BucketMissing):
            # Before the bucket is created: a crash in between must not leave records of an older
            # bucket.
            if self._journal:
                self._journal.void()
                self._refusals.stored = False
        elif isinstance(event, BucketReady):
            if self._comparison:
                supervisor.ask(wire.List(self._settings.prefix))
            else:
                self._intake.can_choose = True
        elif isinstance(event, InputEnded):
            # Ctrl-C ends whoever writes into the pipe, too: what came of it is no whole.
            if self._interrupts.count:
                supervisor.drain()
        elif isinstance(event, Note):
            self._display.note(event.text)
        elif isinstance(event, ObjectsDeleted):
            if self._surplus:
                self._surplus.deleted(event)
        elif self._comparison:
            self._take_listing(event, self._comparison)

    def _take_listing(self, event: Event, comparison: Comparison) -> None:
        if isinstance(event, ObjectsListed):
            comparison.listed(event.objects)
        elif isinstance(event, ListingBegins):
            comparison.inventory.forget()
        elif isinstance(event, ListingEnded) and event.refusal:
            if self._settings.compares:
                reason = "the bucket cannot be listed, which --skip and --delete need"
                raise RunError(f"{reason}: {event.refusal}")
            self._surplus = None
            self._display.note(_NO_SURPLUS.format(f"the bucket cannot be listed: {event.refusal}"))
            self._intake.can_choose = True
        elif isinstance(event, ListingEnded):
            comparison.inventory.complete()
            objects = counted(comparison.inventory.count, "object")
            self._display.note(f"{objects} in the bucket below the prefix")
            self._intake.can_choose = True

    def _take_end(self, job: Job, result: Result) -> None:
        again = self._intake.dispatcher.try_again
        if not result.failure or result.finding:
            self._refusals.stored = True
        elif result.denied:
            self._refusals.denied(job.path, result.failure)
        elif result.passing and not self._interrupts.count and again(job):
            return
        else:
            self._refusals.failed()
        self._ledger.take(job, result)

    def _open_journal(self, destination: str, supervisor: Supervisor) -> None:
        """Raises ``RunError`` when the journal cannot be used."""
        if not self._records or self._journal:
            return
        journal = self._journal = open_journal(self._settings, destination)
        self._ledger.use(journal)
        if self._comparison:
            self._comparison.journal = journal
        if not journal.expect(self._settings.description()):
            before = "objects are to carry something else than in the {}: {}"
            if journal.vouching:
                then = "each that may be unchanged is asked for"
                self._display.note(before.format("last run", then))
            else:
                run = f"unfinished run of {_moment(journal.started)}"
                self._display.note(before.format(run, "every file is uploaded again"))
        self._refusals.stored = journal.recorded > 0
        if journal.since is not None:
            supervisor.resume(journal.since)
        if journal.resumed and not journal.vouching:
            self._display.note(
                f"going on with the unfinished run of {_moment(journal.started)}: "
                f"{files_text(journal.recorded)} done; --restart begins anew"
            )


def _preview(settings: Settings, display: Display) -> Preview:
    from .plan import Planner, prices_with  # no upload needs it

    requests, prices = providers.planned(settings.cloud())
    prices = prices_with(prices, dict(settings.price))
    return Preview(display, Planner(requests, prices, settings.plan_rate))


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
