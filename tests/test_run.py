"""When a run stops, what it tries again, what it tells: with a scripted supervisor and clock."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from _uploader import resources, state
from _uploader import run as module
from _uploader.config import Settings
from _uploader.display.base import Display
from _uploader.errors import RunError, UsageError
from _uploader.files.model import INTERRUPTED, Job, Outage, Result, Skipped
from _uploader.intake import FIRST_LOOK, SCAN_SLICE
from _uploader.interrupts import Interrupts
from _uploader.processes import wire
from _uploader.processes.dispatch import Dispatcher
from _uploader.processes.fork_server import ForkServer
from _uploader.processes.supervisor import (
    BucketMissing,
    BucketReady,
    ConcurrencyChanged,
    DestinationKnown,
    Event,
    JobsEnded,
    MultipartBegun,
    Note,
    Totals,
)
from _uploader.records.counters import Counters, Summary
from _uploader.records.journal import Journal
from _uploader.records.ledger import DONE_BEFORE
from _uploader.run import (
    GRACE,
    MOST_IN_FLIGHT,
    OUTAGE_TOLD,
    Outcome,
    Run,
)
from _uploader.stopping import MOST_PLACES

PATIENCE = 50.0
STEP = 0.5
"""Seconds that each round takes at least."""
MOST_ROUNDS = 5000
READY: list[Event] = [DestinationKnown("s3 there"), BucketReady()]

Answer = Callable[[Job], Result | None]


def stored(job: Job) -> Result:
    return Result(job.number, job.size, job.mtime_ns, job.ctime_ns)


def failed(job: Job, reason: str = "reset", **fields: bool) -> Result:
    return Result(job.number, 0, job.mtime_ns, job.ctime_ns, reason, **fields)


def never(job: Job) -> None:
    """The file stays in flight."""


class Recorder(Display):
    """A display that remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []
        self.changes: list[tuple[int, int, int, str]] = []
        self.ends: dict[str, tuple[str, str]] = {}
        self.outages: list[Outage | None] = []
        self.summary: Summary | None = None

    def update(self, counters: Counters, now: float) -> None:
        self.outages.append(counters.outage)

    def _show(self, counters: Counters) -> None:
        raise NotImplementedError

    def note(self, text: str) -> None:
        self.notes.append(text)

    def concurrency(self, worker: int, before: int, after: int, reason: str) -> None:
        self.changes.append((worker, before, after, reason))

    def file_event(self, kind: str, path: str, detail: str = "") -> None:
        self.ends[path] = (kind, detail)

    def finish(self, summary: Summary) -> None:
        self.summary = summary


class World:
    """The clock, the files, and what the workers are to do."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.now = 0.0
        self.settings: dict[str, Any] = {"give_up_after": PATIENCE, "no_journal": True}
        self.display = Recorder()
        self.interrupts = Interrupts()
        self.answer: Answer = stored
        self.events: list[list[Event]] = [READY]
        """Of the first rounds."""
        self.each_round: Callable[[FakeSupervisor], object] = lambda supervisor: None
        self.supervisor: FakeSupervisor | None = None
        self.started: dict[str, Any] = {}

    def files(self, *names: str) -> None:
        for name in names:
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)

    def run(self, jobs: Iterable[Job | Skipped] | None = None) -> Outcome:
        settings = Settings(src=(str(self.root),), bucket="b", **self.settings)
        run = Run(settings, self.display, self.interrupts, jobs=jobs, clock=lambda: self.now)  # type: ignore[arg-type]
        return run.execute()

    def signal_at(self, *times: float) -> None:
        """Signals come at these times."""

        def look(supervisor: FakeSupervisor) -> None:
            self.interrupts.count = sum(self.now >= time for time in times)
            self.interrupts.first = signal.SIGINT if self.interrupts.count else None

        self.each_round = look

    def reasons(self) -> dict[str, str]:
        """Of all files that failed."""
        ends = self.display.ends.items()
        return {path: reason for path, (kind, reason) in ends if kind == "failed"}

    def uploaded(self) -> list[str]:
        return sorted(path for path, (kind, _) in self.display.ends.items() if kind == "uploaded")


class FakeSupervisor:
    """One worker that answers for each job at once, or never."""

    world: World

    def __init__(
        self,
        dispatcher: Dispatcher,
        *,
        count: int,
        start: wire.Start,
        concurrency: list[int | None],
        fork_server: ForkServer,
        echo: Callable[[str], None] | None,
        started: Callable[[int], None],
    ) -> None:
        self.world.supervisor = self
        self.dispatcher = dispatcher
        self.counts = [count]
        """Workers that there should be, at first and later."""
        self.first_message = start
        self.concurrency = concurrency
        self.totals = Totals()
        self.outage: Outage | None = None
        self.resumed: float | None = None
        self.shares: list[tuple[float, str]] = []
        self.cpu_rates: list[float] = []
        self.handed_out: list[str] = []
        self.drained = self.stopped = self.drops_pages = False
        self.rounds = 0
        self._ready = False

    def start(self) -> None:
        pass

    def step(self, timeout: float) -> Iterator[Event]:
        self.world.now += max(timeout, STEP)
        self.rounds += 1
        assert self.rounds < MOST_ROUNDS, "the run does not end"
        self.world.each_round(self)
        for event in self.world.events.pop(0) if self.world.events else []:
            yield event
            if isinstance(event, BucketReady):
                self._ready = True
                self.dispatcher.add_worker(self, 2)
        if self._ready and not self.drained:
            for _, jobs in list(self.dispatcher.next_batches()):
                for job in jobs:
                    self.handed_out.append(job.path)
                    if result := self.world.answer(job):
                        yield self.end(job, result)

    def end(self, job: Job, result: Result) -> JobsEnded:
        self.dispatcher.done(self, job.number)
        return JobsEnded([(job, result)])

    @property
    def finished(self) -> bool:
        return (self._ready or self.drained) and self.dispatcher.finished

    def resume(self, since: float) -> None:
        self.resumed = since

    def set_share(self, share: float, reason: str) -> None:
        self.shares.append((share, reason))

    @property
    def workers(self) -> int:
        return max(self.counts)

    busy = 1

    def grow(self, count: int) -> None:
        self.counts.append(count)

    def set_cpu_rate(self, rate: float) -> None:
        self.cpu_rates.append(rate)

    def drop_pages(self) -> None:
        self.drops_pages = True

    def pids(self) -> list[int]:
        return []

    def drain(self) -> list[Job]:
        self.drained = True
        return self.dispatcher.stop()

    def stop(self) -> list[Job]:
        self.stopped = True
        return self.dispatcher.held_by(self)


@pytest.fixture
def eight_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with eight processors and memory for them."""
    monkeypatch.setattr(resources, "cpu_total", lambda: 8.0)
    monkeypatch.setattr(resources, "usable_cpus", lambda: 8)
    monkeypatch.setattr(resources, "memory_total", lambda: 2**40)


@pytest.fixture
def world(data: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(data)
    monkeypatch.setattr(FakeSupervisor, "world", made, raising=False)
    monkeypatch.setattr(module, "Supervisor", FakeSupervisor)
    return made


def counts(outcome: Outcome) -> tuple[int, int, int]:
    summary = outcome.summary
    assert summary.files == summary.uploaded + summary.skipped + summary.failed
    return summary.uploaded, summary.skipped, summary.failed


def test_a_run_without_trouble_uploads_everything(world: World) -> None:
    world.files("a", "b/c", "b/d")
    outcome = world.run()
    assert (outcome.exit_code, counts(outcome)) == (0, (3, 0, 0))
    assert world.uploaded() == ["a", "b/c", "b/d"]
    assert world.display.summary == outcome.summary
    assert world.supervisor
    assert world.supervisor.stopped


def test_a_file_that_fails_leaves_the_run_incomplete(world: World) -> None:
    world.files("a", "b")
    world.answer = lambda job: failed(job, "unreadable") if job.path == "a" else stored(job)
    outcome = world.run()
    assert (outcome.exit_code, counts(outcome)) == (1, (1, 0, 1))
    assert world.reasons() == {"a": "unreadable"}


def test_notes_of_the_workers_are_shown(world: World) -> None:
    world.events = [[Note("bucket created")], READY]
    world.run()
    assert world.display.notes == ["bucket created"]


def test_changes_of_the_concurrency_are_shown(world: World) -> None:
    world.events = [[ConcurrencyChanged(2, 64, 384, "a trial")], READY]
    world.run()
    assert world.display.changes == [(2, 64, 384, "a trial")]


def test_an_error_of_the_workers_stops_the_run_and_what_has_ended_counts(world: World) -> None:
    world.files("a", "b")

    def answer(job: Job) -> Result | None:
        return stored(job) if job.path == "a" else None

    def fail(supervisor: FakeSupervisor) -> None:
        if supervisor.rounds == 3:
            raise RunError("InvalidAccessKeyId")

    world.answer, world.each_round = answer, fail
    outcome = world.run()
    assert (outcome.exit_code, counts(outcome)) == (3, (1, 0, 1))
    assert outcome.summary.error == "InvalidAccessKeyId"
    assert world.reasons() == {"b": INTERRUPTED}


def test_where_nothing_could_be_uploaded_the_error_stands_for_all_files(world: World) -> None:
    world.files("a", "b")

    def fail(supervisor: FakeSupervisor) -> None:
        raise RunError("InvalidAccessKeyId")

    world.each_round = fail
    outcome = world.run()
    assert (outcome.exit_code, counts(outcome)) == (3, (0, 0, 2))
    assert world.display.ends == {}


class TestStall:
    @pytest.fixture
    def world(self, world: World) -> World:
        """A file stays in flight, and its requests fail."""
        world.files("a")
        world.answer = never
        world.each_round = self.fail_requests
        return world

    @staticmethod
    def fail_requests(supervisor: FakeSupervisor) -> None:
        supervisor.totals.retries += 1
        supervisor.totals.trouble = "timed out"

    def test_a_run_of_failures_alone_stops_after_the_patience(self, world: World) -> None:
        outcome = world.run()
        assert outcome.exit_code == 3
        assert str(outcome.error) == "nothing has succeeded for 50 s: timed out"
        assert PATIENCE < world.now < PATIENCE + 10 * STEP
        assert counts(outcome) == (0, 0, 1)

    def test_without_a_known_trouble_the_time_alone_is_told(self, world: World) -> None:
        world.each_round = lambda supervisor: setattr(supervisor, "outage", Outage(9.0, 1.0))
        assert str(world.run().error) == "nothing has succeeded for 50 s"

    def test_an_outage_stops_the_run_although_no_attempt_fails(self, world: World) -> None:
        world.each_round = lambda supervisor: setattr(supervisor, "outage", Outage(9.0, 1.0))
        assert world.run().exit_code == 3

    def test_a_slow_file_that_fails_in_nothing_may_take_any_time(self, world: World) -> None:
        world.each_round = lambda supervisor: None
        world.signal_at(5 * PATIENCE)
        assert world.run().error is None
        assert world.now > 5 * PATIENCE

    def test_progress_of_long_requests_keeps_the_run_alive(self, world: World) -> None:
        world.signal_at(5 * PATIENCE)
        look = world.each_round

        def move(supervisor: FakeSupervisor) -> None:
            self.fail_requests(supervisor)
            supervisor.totals.progress += supervisor.rounds % 100 == 0
            look(supervisor)

        world.each_round = move
        assert world.run().error is None

    def test_the_patience_begins_anew_after_each_progress(self, world: World) -> None:
        moved_at = 45.0

        def move(supervisor: FakeSupervisor) -> None:
            self.fail_requests(supervisor)
            supervisor.totals.progress = int(world.now >= moved_at)

        world.each_round = move
        assert world.run().exit_code == 3
        assert moved_at + PATIENCE < world.now < moved_at + PATIENCE + 10 * STEP

    def test_a_scan_that_goes_on_keeps_the_run_alive(self, world: World) -> None:
        """A tree of files that are skipped, behind one that does not move."""

        def entries() -> Iterator[Job | Skipped]:
            yield Job(0, "a", 1, 1)
            for number in range(256 * 200):
                yield Skipped(f"fifo{number}", "is a FIFO")

        outcome = world.run(entries())
        assert outcome.exit_code == 3
        assert outcome.summary.skipped == 256 * 200
        assert world.now > 200 * STEP

    def test_a_run_that_waits_for_its_bucket_stops_too(self, world: World) -> None:
        world.events = []
        outcome = world.run()
        assert (outcome.exit_code, counts(outcome)) == (3, (0, 0, 1))
        assert PATIENCE < world.now < PATIENCE + 10 * STEP


class TestOutage:
    @pytest.mark.parametrize(
        ("seconds", "shown"), [(OUTAGE_TOLD / 2, False), (OUTAGE_TOLD, True), (30.0, True)]
    )
    def test_only_one_that_lasts_is_shown(self, world: World, seconds: float, shown: bool) -> None:
        world.files("a")
        world.each_round = lambda supervisor: setattr(supervisor, "outage", Outage(seconds, 1.0))
        world.run()
        assert ((seconds, 1.0) in world.display.outages) is shown


class TestRefusals:
    def test_refusals_all_over_the_tree_stop_the_run(self, world: World) -> None:
        world.files(*(f"{number}/file" for number in range(MOST_PLACES)), "more/file")
        world.answer = lambda job: (
            None if job.path == "more/file" else failed(job, "AccessDenied", denied=True)
        )
        outcome = world.run()
        assert (outcome.exit_code, str(outcome.error)) == (3, "AccessDenied")
        assert world.now < 10 * STEP

    def test_a_run_in_which_every_file_was_refused_has_failed_as_a_whole(
        self, world: World
    ) -> None:
        world.files("a")
        world.answer = lambda job: failed(job, "AccessDenied", denied=True)
        outcome = world.run()
        assert (outcome.exit_code, str(outcome.error)) == (3, "AccessDenied")

    @pytest.mark.parametrize("other", ["stored", "failed"])
    def test_refusals_of_some_files_are_those_files_failures(
        self, world: World, other: str
    ) -> None:
        world.files("a", "b")

        def answer(job: Job) -> Result:
            if job.path == "a":
                return failed(job, "AccessDenied", denied=True)
            return stored(job) if other == "stored" else failed(job, "unreadable")

        world.answer = answer
        outcome = world.run()
        assert (outcome.exit_code, outcome.error) == (1, None)

    def test_a_file_that_was_not_to_be_stored_is_no_failure(self, world: World) -> None:
        world.files("a", "b")
        world.answer = lambda job: (
            failed(job, "exists", skipped=True) if job.path == "a" else stored(job)
        )
        outcome = world.run()
        assert (outcome.exit_code, outcome.summary.skipped_reasons) == (0, {"exists": 1})


class TestOneMoreRound:
    def test_a_file_that_failed_in_passing_goes_once_more_when_all_others_have_ended(
        self, world: World
    ) -> None:
        world.files("a", "b", "c")
        tries: list[str] = []

        def answer(job: Job) -> Result:
            tries.append(job.path)
            first = tries.count("a") == 1
            return failed(job, passing=True) if job.path == "a" and first else stored(job)

        world.answer = answer
        outcome = world.run()
        assert (outcome.exit_code, counts(outcome)) == (0, (3, 0, 0))
        assert sorted(tries) == ["a", "a", "b", "c"]
        assert tries[-1] == "a"

    def test_it_fails_when_it_fails_again(self, world: World) -> None:
        world.files("a")
        world.answer = lambda job: failed(job, "reset", passing=True)
        outcome = world.run()
        assert (outcome.exit_code, world.reasons()) == (1, {"a": "reset"})
        assert world.supervisor
        assert world.supervisor.handed_out == ["a", "a"]

    def test_a_failure_that_stays_is_final_at_once(self, world: World) -> None:
        world.files("a")
        world.answer = lambda job: failed(job, "unreadable")
        world.run()
        assert world.supervisor
        assert world.supervisor.handed_out == ["a"]

    def test_there_is_none_after_a_signal(self, world: World) -> None:
        world.files("a")

        def answer(job: Job) -> Result:
            world.interrupts.count, world.interrupts.first = 1, signal.SIGINT
            return failed(job, "reset", passing=True)

        world.answer = answer
        assert world.run().exit_code == 130
        assert world.reasons() == {"a": "reset"}


class TestSignals:
    def test_after_one_what_is_in_flight_may_end(self, world: World) -> None:
        world.files("a", "b")
        held: list[Job] = []
        world.answer = held.append  # type: ignore[assignment]
        world.signal_at(2.0)
        world.events += [[] for _ in range(5)]
        look = world.each_round

        def end_one(supervisor: FakeSupervisor) -> None:
            look(supervisor)
            if world.now >= 4.0 and held:
                job = held.pop()
                world.events = [[supervisor.end(job, stored(job))]]

        world.each_round = end_one
        outcome = world.run()
        assert (outcome.exit_code, counts(outcome)) == (130, (2, 0, 0))
        assert world.now < 2.0 + GRACE
        assert world.display.notes == [
            "stopping: what is in flight may end; once more to stop at once"
        ]

    def test_after_the_grace_the_rest_is_interrupted(self, world: World) -> None:
        world.files("a", "b")
        world.answer = lambda job: stored(job) if job.path == "a" else None
        world.signal_at(2.0)
        outcome = world.run()
        assert (outcome.exit_code, counts(outcome)) == (130, (1, 0, 1))
        assert world.reasons() == {"b": INTERRUPTED}
        assert 2.0 + GRACE <= world.now < 2.0 + GRACE + 4 * STEP

    def test_a_second_one_stops_at_once(self, world: World) -> None:
        world.files("a")
        world.answer = never
        world.signal_at(2.0, 3.0)
        outcome = world.run()
        assert (outcome.exit_code, world.reasons()) == (130, {"a": INTERRUPTED})
        assert world.now < 3.0 + 3 * STEP

    def test_before_the_bucket_is_ready_every_file_that_was_found_is_interrupted(
        self, world: World
    ) -> None:
        world.files("a", "b/c")
        world.events = []
        world.signal_at(1.0)
        outcome = world.run()
        assert (outcome.exit_code, counts(outcome)) == (130, (0, 0, 2))
        assert world.reasons() == {"a": INTERRUPTED, "b/c": INTERRUPTED}

    def test_the_scan_ends_with_the_first_one(self, world: World) -> None:
        def endless() -> Iterator[Job | Skipped]:
            number = 0
            while True:
                yield Skipped(f"fifo{number}", "is a FIFO")
                number += 1

        world.signal_at(2.0)
        outcome = world.run(endless())
        assert outcome.exit_code == 130
        assert not outcome.summary.complete


class TestInterrupts:
    @pytest.fixture(autouse=True)
    def handlers(self) -> Iterator[None]:
        numbers = (*Interrupts.SIGNALS, signal.SIGUSR2)
        before = {number: signal.getsignal(number) for number in numbers}
        yield
        for number, handler in before.items():
            signal.signal(number, handler)

    @pytest.mark.parametrize("number", Interrupts.SIGNALS)
    def test_signals_are_counted_and_the_first_is_kept(self, number: int) -> None:
        with Interrupts() as interrupts:
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), signal.SIGTERM)
        assert (interrupts.count, interrupts.first) == (2, number)

    def test_a_toggle_asks_nobody_to_stop(self) -> None:
        """Even where it was ignored before: until the run looks at it, it is."""
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        with Interrupts() as interrupts:
            os.kill(os.getpid(), signal.SIGUSR2)
        assert (interrupts.toggles, interrupts.count, interrupts.first) == (1, 0, None)
        assert signal.getsignal(signal.SIGUSR2) == signal.SIG_IGN

    def test_without_signals_the_handlers_come_back(self) -> None:
        before = signal.getsignal(signal.SIGTERM)
        with Interrupts():
            assert signal.getsignal(signal.SIGTERM) != before
        assert signal.getsignal(signal.SIGTERM) == before

    def test_after_one_signal_others_are_ignored_on_the_way_out(self) -> None:
        with Interrupts():
            os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN

    def test_a_signal_that_the_caller_ignores_stays_ignored(self) -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with Interrupts() as interrupts:
            os.kill(os.getpid(), signal.SIGHUP)
        assert interrupts.count == 0


class TestJournal:
    @pytest.fixture
    def world(self, world: World, tmp_path: Path) -> World:
        """An earlier run has uploaded ``a`` and was interrupted over ``b``."""
        world.settings.update(no_journal=False, journal=str(tmp_path / "journal"))
        world.files("a", "b")
        world.answer = lambda job: stored(job) if job.path == "a" else None
        world.signal_at(2.0, 2.0)
        world.run()
        fresh = FakeSupervisor.world = World(world.root)
        fresh.settings = world.settings
        return fresh

    def test_what_an_earlier_run_has_uploaded_is_skipped(self, world: World) -> None:
        outcome = world.run()
        assert (outcome.exit_code, counts(outcome)) == (0, (1, 1, 0))
        assert world.display.ends["a"] == ("skipped", DONE_BEFORE)
        assert world.supervisor
        assert world.supervisor.handed_out == ["b"]

    def test_files_scanned_before_the_journal_is_open_are_looked_up_as_well(
        self, world: World
    ) -> None:
        world.files("c", "d")
        world.events = [[], [], [], *([event] for event in READY)]
        seen: list[int] = []
        world.display.update = lambda counters, now: seen.append(counters.files)  # type: ignore[method-assign]
        outcome = world.run()
        assert counts(outcome) == (3, 1, 0)
        assert seen[0] == 0, "no file is counted before it can be looked up"

    def test_the_user_and_the_workers_learn_that_the_run_resumes(self, world: World) -> None:
        world.run()
        assert any(note.startswith("going on with") for note in world.display.notes)
        assert world.supervisor
        assert world.supervisor.resumed is not None

    def test_a_journal_that_fails_at_a_lookup_stops_the_run_with_a_summary(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(journal: Journal, job: Job) -> bool:
            raise RunError("the journal is damaged")

        monkeypatch.setattr(Journal, "is_done", fail)
        outcome = world.run()
        assert outcome.exit_code == 3
        assert str(outcome.error) == "the journal is damaged"
        assert not outcome.summary.complete

    def test_a_journal_of_another_destination_stops_the_run(self, world: World) -> None:
        world.events = [[DestinationKnown("s3 elsewhere"), BucketReady()]]
        outcome = world.run()
        assert outcome.exit_code == 3
        assert world.supervisor
        assert world.supervisor.handed_out == []

    def test_where_the_bucket_is_missing_nothing_is_skipped(self, world: World) -> None:
        world.events = [[DestinationKnown("s3 there"), BucketMissing(), BucketReady()]]
        outcome = world.run()
        assert counts(outcome) == (2, 0, 0)

    def test_refusals_do_not_stop_a_run_that_has_stored_something_before(
        self, world: World
    ) -> None:
        world.answer = lambda job: failed(job, "AccessDenied", denied=True)
        outcome = world.run()
        assert (outcome.exit_code, counts(outcome)) == (1, (0, 1, 1))

    def test_refusals_stop_it_when_that_bucket_is_gone(self, world: World) -> None:
        world.events = [[DestinationKnown("s3 there"), BucketMissing(), BucketReady()]]
        world.answer = lambda job: failed(job, "AccessDenied", denied=True)
        assert world.run().exit_code == 3

    def test_a_multipart_upload_that_began_is_resumed_by_the_next_run(self, world: World) -> None:
        begun: list[Job] = []

        def begin(job: Job) -> None:
            begun.append(job._replace(upload_id="id"))

        def tell(supervisor: FakeSupervisor) -> None:
            look(supervisor)
            if begun:
                world.events = [[MultipartBegun(begun.pop())]]

        world.signal_at(3.0, 4.0)
        look = world.each_round
        world.answer, world.each_round = begin, tell
        world.run()
        fresh = FakeSupervisor.world = World(world.root)
        fresh.settings = world.settings
        ids: list[str] = []

        def answer(job: Job) -> Result:
            ids.append(job.upload_id)
            return stored(job)

        fresh.answer = answer
        fresh.run()
        assert ids == ["id"]

    @pytest.mark.parametrize(
        ("more", "again"),
        [
            ({"retries": 1, "provider_options": {"request_payer": True}}, False),
            ({"posix_metadata": "none"}, True),
            ({"metadata": (("a", "b"),)}, True),
            ({"provider_options": {"storage_class": "STANDARD_IA"}}, True),
        ],
    )
    def test_what_is_to_carry_something_else_is_uploaded_again(
        self, world: World, more: dict[str, Any], again: bool
    ) -> None:
        world.answer = lambda job: stored(job) if job.path == "a" else failed(job)
        assert world.run().exit_code == 1
        fresh = FakeSupervisor.world = World(world.root)
        fresh.settings = {**world.settings, **more}
        assert counts(fresh.run()) == ((2, 0, 0) if again else (1, 1, 0))
        [note] = fresh.display.notes
        assert ("every file is uploaded again" in note) == again

    def test_without_a_path_the_journal_lies_in_the_state_directory(self, world: World) -> None:
        world.settings.pop("journal")
        world.answer = lambda job: stored(job) if job.path == "a" else failed(job)
        assert world.run().exit_code == 1
        fresh = FakeSupervisor.world = World(world.root)
        fresh.settings = world.settings
        assert counts(fresh.run()) == (1, 1, 0)

    def test_without_a_home_for_it_the_user_has_to_choose(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def no_home() -> Path:
            raise RuntimeError("no home")

        world.settings.pop("journal")
        monkeypatch.setattr(state, "state_directory", no_home)
        outcome = world.run()
        assert outcome.exit_code == 3
        assert "use --journal or --no-journal" in str(outcome.error)

    def test_jobs_given_instead_of_a_scan_keep_no_journal(
        self, world: World, tmp_path: Path
    ) -> None:
        world.settings["journal"] = str(tmp_path / "another")
        outcome = world.run([Job(0, "a", 1, 1)])
        assert counts(outcome) == (1, 0, 0)
        assert not (tmp_path / "another").exists()


class TestSettings:
    def start(self, world: World, **settings: Any) -> FakeSupervisor:
        world.settings.update(settings)
        world.run()
        assert world.supervisor
        return world.supervisor

    @pytest.mark.parametrize(("files", "count"), [(0, 1), (1, 1), (3, 3), (9, 4)])
    def test_no_more_workers_than_files(self, world: World, files: int, count: int) -> None:
        world.files(*map(str, range(files)))
        assert self.start(world, processes=4).counts == [count]

    @pytest.mark.parametrize(
        ("files", "count"), [(0, 1), (20, 1), (64, 1), (65, 2), (200, 4), (1000, 8)]
    )
    def test_no_more_workers_than_the_files_are_worth(
        self, world: World, eight_cpus: None, files: int, count: int
    ) -> None:
        world.files(*map(str, range(files)))
        assert self.start(world).counts == [count]

    def test_more_workers_when_the_scan_shows_more_work(
        self, world: World, eight_cpus: None
    ) -> None:
        """A slow directory: the run begins before it is scanned."""

        def slowly() -> Iterator[Job]:
            for number in range(2000):
                world.now += FIRST_LOOK / SCAN_SLICE
                yield Job(number, str(number), 1, 1)

        world.answer = never
        world.signal_at(PATIENCE)
        world.run(slowly())
        assert world.supervisor
        assert world.supervisor.counts[0] == 4
        assert world.supervisor.counts[-1] == 8

    @pytest.mark.parametrize(
        ("given", "shares"), [(10, [3, 3, 2, 2]), (8, [2, 2, 2, 2]), (None, [None] * 4)]
    )
    def test_the_concurrency_is_spread_over_the_workers(
        self, world: World, given: int | None, shares: list[int | None]
    ) -> None:
        world.files(*map(str, range(9)))
        supervisor = self.start(world, processes=4, concurrency=given)
        assert supervisor.concurrency == shares
        assert supervisor.first_message.most_in_flight == MOST_IN_FLIGHT // 4

    def test_no_more_workers_than_requests(self, world: World) -> None:
        world.files(*map(str, range(9)))
        assert self.start(world, processes=4, concurrency=2).counts == [2]

    @pytest.mark.parametrize(("cap", "count"), [("100%", 8), ("25%", 3), ("1.2", 2), ("0.5", 1)])
    def test_no_more_workers_than_the_cpu_that_may_be_used(
        self, world: World, eight_cpus: None, cap: str, count: int
    ) -> None:
        world.files(*map(str, range(1000)))
        assert self.start(world, max_cpu=cap).counts == [count]

    @pytest.mark.parametrize(("cap", "told"), [("7", True), ("8", False), ("100%", False)])
    def test_workers_are_told_what_cpu_they_may_use_where_that_is_not_all(
        self, world: World, eight_cpus: None, cap: str, told: bool
    ) -> None:
        world.files("a")
        assert bool(self.start(world, max_cpu=cap).cpu_rates) == told

    @pytest.mark.parametrize(("size", "drops"), [(2**29, False), (2**30, True)])
    def test_a_run_larger_than_half_of_the_memory_leaves_the_page_cache_alone(
        self, world: World, monkeypatch: pytest.MonkeyPatch, size: int, drops: bool
    ) -> None:
        monkeypatch.setattr(resources, "memory_total", lambda: 2**30)
        world.run([Job(0, "a", size, 1)])
        assert world.supervisor
        assert world.supervisor.drops_pages == drops

    def test_too_little_memory_is_wrong_usage(self, world: World) -> None:
        world.settings["max_memory"] = "1M"
        with pytest.raises(UsageError, match="--max-memory 1M is too little"):
            world.run()

    def test_a_default_that_is_too_little_is_told_and_not_refused(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(resources, "memory_total", lambda: 128 * 2**20)
        world.files("a")
        assert world.run().exit_code == 0
        (note,) = world.display.notes
        assert note.startswith("25% of the 128M of memory here is less than the program needs")

    def test_workers_that_take_too_much_memory_get_less_to_do(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Watch:
            peak = 2**40

            def __init__(self, pids: object) -> None:
                pass

            def sample(self) -> int:
                return self.peak

        monkeypatch.setattr(module, "MemoryWatch", Watch)
        world.files("a")
        supervisor = self.start(world)
        share, reason = supervisor.shares[0]
        assert share < 1
        assert reason.startswith(f"memory: {2**20} of ")
        assert world.display.summary
        assert world.display.summary.peak_memory == 2**40

    def test_where_others_need_memory_the_workers_get_less_to_do(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        scarce = SimpleNamespace(available=2**20, total=2**34)
        monkeypatch.setattr(psutil, "virtual_memory", lambda: scarce)
        world.files("a")
        share, reason = self.start(world).shares[0]
        assert share < 1
        assert reason == "memory of the machine: 1 MiB left"


class TestPreview:
    def test_it_names_the_files_and_starts_nothing(self, world: World) -> None:
        world.files("a", "b")
        run = Run(
            Settings(src=(str(world.root),), bucket="b", dry_run=True),
            world.display,
            world.interrupts,
        )
        assert run.preview().exit_code == 0
        assert world.display.ends == {
            "a": ("would upload", "1 bytes"),
            "b": ("would upload", "1 bytes"),
        }
        assert world.display.notes[0] == "would upload 2 files, 2 bytes in all"
        assert world.display.notes[1] == "requests: 2 PutObject"
        assert world.supervisor is None

    def test_programs_that_read_it_get_its_summary(self, world: World) -> None:
        world.files("a")
        settings = Settings(src=(str(world.root),), bucket="b", dry_run=True, json=True)
        outcome = Run(settings, world.display, world.interrupts).preview()
        assert world.display.summary == outcome.summary
        assert outcome.summary.uploaded == 0

    def test_a_signal_ends_it(self, world: World) -> None:
        world.files("a")
        world.interrupts.count, world.interrupts.first = 1, signal.SIGINT
        run = Run(
            Settings(src=(str(world.root),), bucket="b", dry_run=True),
            world.display,
            world.interrupts,
        )
        assert run.preview().exit_code == 130
        assert world.display.ends == {}
