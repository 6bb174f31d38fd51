"""Starts, feeds, watches and stops the worker processes.

Knows no cloud and no journal.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from ..errors import RunError
from ..files.model import INTERRUPTED, Job, Outage, Result
from . import wire
from .dispatch import BATCH_FILES, Dispatcher
from .fork_server import ForkServer
from .worker_process import WorkerProcess, WorkerProcesses

SILENCE_ALLOWED = 120.0
"""Seconds without a heartbeat after which a worker counts as dead; well above the longest time for
which a slow disk holds up a read."""
MOST_DEATHS = 20
"""Workers that may die before the run gives up."""


class JobsEnded(NamedTuple):
    """Jobs have ended; ``result.failure`` says how."""

    ends: Iterable[tuple[Job, Result]]
    """To be gone through once: each job counts as held until its turn."""


class MultipartBegun(NamedTuple):
    """A multipart upload of the job has begun: ``job.upload_id`` names it."""

    job: Job


class Note(NamedTuple):
    """One line that the user should see."""

    text: str


class ConcurrencyChanged(NamedTuple):
    """A worker keeps more or fewer requests in flight."""

    worker: int
    """Its number, from 1."""
    before: int
    after: int
    reason: str
    """Why, in a few words with the numbers."""


class DestinationKnown(NamedTuple):
    """Where the objects go, as the cloud resolved it; comes before ``BucketReady``."""

    text: str


class BucketMissing(NamedTuple):
    """There is no bucket: a worker creates it once this event has been dealt with."""


class InputEnded(NamedTuple):
    """Standard input has ended: its object is made once this event has been dealt with, unless that
    was by ``drain``."""


class BucketReady(NamedTuple):
    """The bucket exists: workers get jobs from now on."""


class ObjectsListed(NamedTuple):
    """The bucket holds these objects, among others."""

    objects: list[tuple[str, int, str]]
    """Key, size and ETag of each."""


class ListingBegins(NamedTuple):
    """What was listed before does not count: its worker died."""


class ListingEnded(NamedTuple):
    """The bucket holds no more than what was listed, or may not be listed."""

    refusal: str = ""
    """Why it may not."""


class ObjectsDeleted(NamedTuple):
    """Objects that were to be deleted are gone, but for some."""

    keys: list[str]
    failed: list[tuple[str, str]]
    """Key and reason of each that is still there."""
    hidden: int
    """How many the service keeps as earlier versions."""


Event = (
    JobsEnded
    | MultipartBegun
    | Note
    | ConcurrencyChanged
    | DestinationKnown
    | BucketMissing
    | InputEnded
    | BucketReady
    | ObjectsListed
    | ListingBegins
    | ListingEnded
    | ObjectsDeleted
)
Chore = wire.List | wire.Delete
"""What a worker is asked to do besides uploading."""


@dataclass
class Totals:
    """What all workers have done so far, dead ones included."""

    sent: int = 0
    """Bytes of bodies given to the network."""
    progress: int = 0
    """Grows as long as requests succeed, or long ones move."""
    retries: int = 0
    """Attempts beyond the first."""
    trouble: str = ""
    """What last went wrong with a request."""

    def add(self, worker: WorkerProcess, news: wire.Results) -> None:
        """Adds what the worker has done since its last report."""
        self.sent += news.sent - worker.sent
        self.progress += news.progress - worker.progress
        self.retries += news.retries - worker.retries
        self.trouble = news.trouble or self.trouble
        worker.sent, worker.progress, worker.retries = news.sent, news.progress, news.retries


class Supervisor:
    """Runs the dispatcher's jobs in ``count`` worker processes."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        *,
        count: int,
        start: wire.Start,
        concurrency: Iterable[int | None] = (),
        fork_server: ForkServer,
        echo: Callable[[str], None] | None = None,
        started: Callable[[int], None] = lambda pid: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``start`` goes to each worker; the first one prepares the bucket as well.
        ``concurrency`` has the requests in flight for one worker after the other, in place of those
        in ``start``.  ``fork_server`` forks the workers and is closed by ``stop``.  ``echo`` gets
        what they write to stderr; ``started`` the process id of each worker that is ready."""
        self._started = started
        self._dispatcher = dispatcher
        self._count = count
        self._start = start
        self._shares = list(concurrency)
        """Requests in flight for workers to come."""
        self._standing: dict[type[wire.Message], wire.Message] = {}
        """What every worker has to know, those that start later as well."""
        self._workers = WorkerProcesses(fork_server, echo, clock)
        self._bucket_ready = False
        self._draining = False
        self._grows = True
        """More workers may be started."""
        self._to_tell: list[str] = []
        self._fatal = ""
        """Why no file can succeed, as a worker says."""
        self._deaths = 0
        self._chores: deque[Chore] = deque()
        """Chores that no worker has yet."""
        self._doing: dict[WorkerProcess, Chore] = {}
        self._notices: set[str] = set()
        self.totals = Totals()

    def start(self) -> None:
        """Starts all workers; the first one looks at the bucket meanwhile."""
        for _ in range(self._count):
            self._start_worker()

    @property
    def workers(self) -> int:
        """Worker processes that there are now."""
        return len(self._workers)

    @property
    def busy(self) -> int:
        """Workers that have files to upload."""
        return sum(map(self._is_busy, self._workers))

    def ask(self, chore: Chore) -> None:
        """Has a worker do this once the bucket is ready; one does one chore at a time, and another
        takes it over if it dies."""
        self._chores.append(chore)

    @property
    def chores(self) -> int:
        """Chores that have not ended."""
        return len(self._chores) + len(self._doing)

    def grow(self, count: int) -> None:
        """Starts workers until there are ``count``; ends none.  One that cannot start costs nothing
        but its help: then no more are started."""
        try:
            for _ in range(count - len(self._workers) if self._grows else 0):
                self._start_worker()
        except RunError as error:
            self._cannot_grow(str(error))

    def step(self, timeout: float) -> Iterator[Event]:
        """One round: hands out jobs, waits up to ``timeout`` seconds for messages, yields events.

        Raises ``RunError`` when a worker says that no file can succeed, or workers keep dying.
        """
        self._hand_out()
        for worker, messages in self._workers.receive(timeout):
            if messages is None:
                yield from self._replace(worker)
                continue
            for message in messages:
                yield from self._handle(worker, message)
        for worker in self._workers.silent_for(SILENCE_ALLOWED):
            if not worker.pid:
                silence = f"it has said nothing for {SILENCE_ALLOWED:.0f} s"
                self._do_without(worker, f"{silence} (does a credential_process hang?)")
                continue
            yield Note(f"{worker} has been silent for too long: replaced")
            self._start = self._start._replace(disk_hangs=True)
            yield from self._replace(worker)
        if self._fatal:
            raise RunError(self._fatal)
        while self._to_tell:
            yield Note(self._to_tell.pop(0))

    @property
    def finished(self) -> bool:
        """Every job has ended, and the bucket is ready unless the run was stopped before."""
        ready = self._bucket_ready or self._draining
        return ready and self._dispatcher.finished and not self.chores

    @property
    def outage(self) -> Outage | None:
        """What all busy workers have in common; None while the service answers one of them."""
        busy = [worker for worker in self._workers if self._is_busy(worker)]
        outages = [worker.outage for worker in busy if worker.outage]
        if not outages or len(outages) < len(busy):
            return None
        return Outage(min(o.seconds for o in outages), min(o.next_try for o in outages))

    def pids(self) -> list[int]:
        """Of the fork server and of all workers that are ready."""
        return self._workers.pids()

    def set_share(self, share: float, reason: str) -> None:
        """Tells the workers how much of their concurrency they may use, and why."""
        self._tell_all(wire.Share(share, reason))

    def set_cpu_rate(self, rate: float) -> None:
        """Tells the workers how many seconds of CPU a second each may use."""
        self._tell_all(wire.CpuRate(rate))

    def drop_pages(self) -> None:
        """Tells the workers to leave the page cache as it was; once is enough."""
        if wire.DropPages not in self._standing:
            self._tell_all(wire.DropPages())

    def resume(self, since: float) -> None:
        """Tells the workers that this run resumes earlier ones, the first of which began at
        ``since``, in seconds since the epoch.  Comes before ``BucketReady``."""
        self._tell_all(wire.Resume(since))

    def drain(self) -> list[Job]:
        """Hands out nothing more and asks the workers to return what they have not begun.

        Returns the jobs that no worker had; what is in flight still ends in ``step``.
        """
        self._draining = True
        self._grows = False
        self._chores.clear()
        self._doing.clear()
        self._workers.broadcast(wire.Drain())
        return self._dispatcher.stop()

    def stop(self) -> list[Job]:
        """Kills every worker; returns the jobs that they had not ended."""
        unfinished = [job for worker in self._workers for job in self._dispatcher.held_by(worker)]
        self._workers.stop()
        return unfinished

    def _start_worker(self) -> None:
        prepares = not (self._bucket_ready or any(other.prepares for other in self._workers))
        try:
            worker = self._workers.start()
        except OSError as error:
            raise RunError(f"cannot start a worker process: {error.strerror}") from None
        worker.prepares = prepares
        worker.concurrency = self._shares.pop(0) if self._shares else self._start.concurrency
        worker.send(self._start._replace(prepare=prepares, concurrency=worker.concurrency))
        for message in self._standing.values():
            worker.send(message)

    def _any_ready(self) -> bool:
        """Some worker gets files.  Before the bucket is ready none does, and what keeps one worker
        from getting ready keeps all."""
        return self._bucket_ready and any(worker.pid for worker in self._workers)

    def _do_without(self, worker: WorkerProcess, why: str) -> None:
        """Kills a worker that cannot get ready.  Raises ``RunError`` when no other is."""
        self._workers.kill(worker)
        self._shares.insert(0, worker.concurrency)
        self._cannot_grow(f"a worker process could not start: {why}")

    def _cannot_grow(self, why: str) -> None:
        """Goes on with the workers that are ready.  Raises ``RunError`` when there are none."""
        if not self._any_ready():
            raise RunError(why)
        self._grows = False
        self._to_tell.append(f"{why}: going on with {len(self._workers)}")

    def _is_busy(self, worker: WorkerProcess) -> bool:
        return worker in self._doing or self._dispatcher.is_busy(worker)

    def _tell_all(self, message: wire.Message) -> None:
        self._standing[type(message)] = message
        self._workers.broadcast(message)

    def _hand_out(self) -> None:
        if not self._bucket_ready or self._draining:
            return
        if self._chores:
            self._hand_out_chores()
        full = True
        while full:  # one report may tell of more files than a batch has
            full = False
            for worker, jobs in self._dispatcher.next_batches():
                assert isinstance(worker, WorkerProcess)
                worker.send(wire.Jobs(jobs))
                full = full or len(jobs) == BATCH_FILES

    def _hand_out_chores(self) -> None:
        idle = [worker for worker in self._workers if worker.pid and worker not in self._doing]
        for worker in idle[: len(self._chores)]:
            self._doing[worker] = chore = self._chores.popleft()
            worker.send(chore)

    def _handle(self, worker: WorkerProcess, message: wire.Message) -> Iterator[Event]:
        if isinstance(message, wire.Results):
            self._take(worker, message)
            yield JobsEnded(self._ended(worker, message.results))
        elif isinstance(message, wire.Concurrency):
            yield ConcurrencyChanged(worker.number, *message)
        elif isinstance(message, wire.Begun):
            if job := self._dispatcher.begun(worker, *message):
                yield MultipartBegun(job)
        elif isinstance(message, wire.Destination):
            yield DestinationKnown(message.text)
        elif isinstance(message, wire.Missing):
            yield BucketMissing()
            worker.send(wire.Create())
        elif isinstance(message, wire.InputEnded):
            yield InputEnded()
            if not self._draining:
                worker.send(wire.StoreInput())
        elif isinstance(message, wire.Ready):
            worker.pid = message.pid
            self._started(message.pid)
            self._dispatcher.add_worker(worker, message.least)
            if worker.prepares and not self._bucket_ready:
                self._bucket_ready = True
                yield BucketReady()
        elif isinstance(message, wire.Listed):
            if worker in self._doing:
                yield ObjectsListed(message.objects)
        elif isinstance(message, wire.ListingEnded):
            if self._doing.pop(worker, None):
                yield ListingEnded(message.refusal)
        elif isinstance(message, wire.Deleted):
            chore = self._doing.pop(worker, None)
            if isinstance(chore, wire.Delete):
                yield ObjectsDeleted(chore.keys, *message)
        elif isinstance(message, wire.Returned):
            yield JobsEnded(self._interrupted(worker, message.numbers))
        elif isinstance(message, wire.Note):
            yield Note(message.text)
        elif isinstance(message, wire.Notice):
            if message.text not in self._notices:
                self._notices.add(message.text)
                yield Note(message.text)
        elif isinstance(message, wire.Fatal):
            if worker.pid or not self._any_ready():
                # What others have ended in this round counts: the error comes at its end.
                self._fatal = self._fatal or message.reason
            else:
                self._do_without(worker, message.reason)

    def _take(self, worker: WorkerProcess, news: wire.Results) -> None:
        self.totals.add(worker, news)
        worker.outage = news.outage
        self._dispatcher.widen(worker, news.limit)

    def _ended(
        self, worker: WorkerProcess, results: Iterable[Result]
    ) -> Iterator[tuple[Job, Result]]:
        for result in results:
            if job := self._dispatcher.done(worker, result.number):
                yield job, result

    def _interrupted(
        self, worker: WorkerProcess, numbers: Iterable[int]
    ) -> Iterator[tuple[Job, Result]]:
        for number in numbers:
            if job := self._dispatcher.done(worker, number):
                yield job, failed(job, INTERRUPTED)

    def _replace(self, worker: WorkerProcess) -> Iterator[Event]:
        """Gives the files of a dead or silent worker to others, and starts another worker."""
        end = self._workers.kill(worker)
        cause = worker.cause_of(end)
        if not worker.pid and end.code >= 0:
            self._shares.insert(0, worker.concurrency)
            self._cannot_grow(f"a worker process could not start: {cause}")
            return
        if chore := self._doing.pop(worker, None):
            self._chores.appendleft(chore)
            if isinstance(chore, wire.List):
                yield ListingBegins()
        held = self._dispatcher.held_by(worker)
        reason = f"worker processes died of it: {cause}"
        yield JobsEnded([(job, failed(job, reason)) for job in self._dispatcher.lost(worker)])
        if self._draining:
            left = self._dispatcher.stop()
            yield JobsEnded([(job, failed(job, INTERRUPTED)) for job in left])
            return
        self._deaths += 1
        if self._deaths > MOST_DEATHS:
            raise RunError(f"{self._deaths} worker processes have died, the last one: {cause}")
        yield Note(f"{worker} died ({cause}): replaced, {len(held)} files sent again")
        self._shares.insert(0, worker.concurrency)
        self._start_worker()


def failed(job: Job, reason: str) -> Result:
    """The result of a job that no worker reported."""
    return Result(job.number, 0, job.mtime_ns, job.ctime_ns, reason)
