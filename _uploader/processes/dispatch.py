"""Decides which worker gets which files, and when.  Pure.

Workers pull: each may hold a window of files and bytes, and gets a batch when its window has room.
Nobody holds the list of files: the dispatcher pulls the scan only a fixed number of jobs ahead.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Generic, TypeVar

from ..files.model import Job

T = TypeVar("T")

LOOKAHEAD = 12288
"""Jobs scanned but not handed out, some 4 MB: they gather while the workers start, and feed them
while the scan meets a slow directory."""
BATCH_FILES = 128
"""Files in a message: at this size the message costs under 0.2 us a file.  Fewer when fewer are
left, so that each worker gets a share of a short list and of the end of a long one."""
BATCH_BYTES = 64 * 2**20
"""Bytes in a message, unless a single file is larger."""
WINDOW_FILES = 512
"""Files that a worker may hold, begun or not; more when it has more than half of that in flight."""
WINDOW_BYTES = 256 * 2**20
"""Bytes that a worker may hold: with more, it would be busy while others idle."""
UNREPORTED = 128
"""Files that a worker may have ended but not reported."""
LARGE = 16 * 2**20
"""Files from this size on go before smaller ones, so that none of them is last."""
MOST_TO_TRY_AGAIN = 10_000
"""Failed files that get one more round at the end."""
MOST_STRIKES = 2
"""Deaths of workers after which a file that may have caused them fails."""


@dataclass
class _Window:
    """What a worker holds, and how much more it may hold."""

    least: int
    """Files that it may hold whatever their size."""
    held: dict[int, Job] = field(default_factory=dict)
    held_bytes: int = 0
    files: int = WINDOW_FILES
    """Files that it may hold when they are small."""
    in_flight: int = WINDOW_FILES
    alone: bool = False
    """Holds one suspect and gets no other file until that ends."""

    def has_room(self) -> bool:
        if self.alone or len(self.held) > self.files - BATCH_FILES:
            return False
        return self.held_bytes < WINDOW_BYTES or len(self.held) < self.least


class ReadAhead(Generic[T]):
    """An iterable, for one reader, that can fetch up to ``most`` values ahead."""

    def __init__(self, values: Iterable[T], most: int = LOOKAHEAD) -> None:
        self._most = most
        self._values = iter(values)
        self._fetched: deque[T] = deque()
        self.exhausted = False
        """Nothing is left to fetch."""

    def fetch(self, most: int) -> None:
        """Fetches up to ``most`` values."""
        before = len(self._fetched)
        self._fetched.extend(islice(self._values, most))
        if len(self._fetched) - before < most:
            self.exhausted = True

    @property
    def wants_more(self) -> bool:
        """There may be more values, and there is room."""
        return not self.exhausted and len(self._fetched) < self._most

    @property
    def fetched(self) -> int:
        """Values that wait."""
        return len(self._fetched)

    def peek(self) -> Iterator[T]:
        """The values that wait; they go on waiting."""
        return iter(self._fetched)

    def __iter__(self) -> Iterator[T]:
        fetched, values = self._fetched, self._values
        while True:
            while fetched:
                yield fetched.popleft()
            try:
                value = next(values)
            except StopIteration:
                return
            yield value


class Dispatcher:
    """Jobs in, batches out.  Any hashable value names a worker."""

    def __init__(self, jobs: Iterable[Job | None], lookahead: int = LOOKAHEAD) -> None:
        """``jobs`` may yield None for an entry without anything to upload.  ``lookahead``: most
        jobs that wait for a worker."""
        self._lookahead = lookahead
        self._jobs: Iterator[Job | None] = iter(jobs)
        self._small: deque[Job] = deque()
        self._large: deque[Job] = deque()
        self._suspects: deque[Job] = deque()
        self._strikes: dict[int, int] = {}
        self._again: deque[Job] = deque()
        self._tried_again: set[int] = set()
        self._stopped = False
        self._workers: dict[object, _Window] = {}
        self.exhausted = False
        """The scan has ended or was stopped: no new jobs will come."""

    def add_worker(self, name: object, least: int) -> None:
        """A worker is ready; ``least`` files keep it busy whatever their size."""
        self._workers[name] = _Window(least)

    def widen(self, name: object, in_flight: int) -> None:
        """A worker keeps ``in_flight`` requests: its window grows to twice as many files."""
        if worker := self._workers.get(name):
            worker.in_flight = in_flight
            worker.files = max(WINDOW_FILES, 2 * in_flight + BATCH_FILES)

    def look_ahead(self, most: int) -> None:
        """Pulls up to ``most`` entries from the scan while the lookahead has room."""
        if not self.wants_jobs():
            return
        most = min(most, self._lookahead - len(self._small) - len(self._large))
        pulled = 0
        for job in islice(self._jobs, most):
            pulled += 1
            if job is not None:
                (self._large if job.size >= LARGE else self._small).append(job)
        if pulled < most:
            self.exhausted = True

    def wants_jobs(self) -> bool:
        """The scan has not ended and the lookahead has room."""
        return not self.exhausted and len(self._small) + len(self._large) < self._lookahead

    def next_batches(self) -> Iterator[tuple[object, list[Job]]]:
        """Batches to send now as (worker, jobs); who holds the fewest bytes comes first."""
        if self._again and self._only_again_is_left():
            self._small.extend(self._again)
            self._again.clear()
        for name, worker in sorted(self._workers.items(), key=lambda item: item[1].held_bytes):
            if worker.has_room() and (batch := self._batch_for(worker)):
                yield name, batch

    def begun(self, name: object, number: int, upload_id: str, ctime_ns: int) -> Job | None:
        """A worker has begun a multipart upload: the next worker of the file resumes it.

        None when the worker does not hold the job.
        """
        held = self._workers[name].held
        if number not in held:
            return None
        held[number] = held[number]._replace(upload_id=upload_id, ctime_ns=ctime_ns)
        return held[number]

    def done(self, name: object, number: int) -> Job | None:
        """A job has ended in a worker; None when the worker does not hold it."""
        worker = self._workers[name]
        job = worker.held.pop(number, None)
        if job is not None:
            worker.held_bytes -= job.size
            worker.alone = False
            self._strikes.pop(number, None)
        return job

    def try_again(self, job: Job) -> bool:
        """Sends a failed job once more when all others have ended; False if it cannot."""
        if self._stopped or job.number in self._tried_again:
            return False
        if len(self._tried_again) >= MOST_TO_TRY_AGAIN:
            return False
        self._tried_again.add(job.number)
        self._again.append(job)
        return True

    def lost(self, name: object) -> list[Job]:
        """A worker has died: its files go to others, suspects one at a time.

        Suspects are the files that it may have begun: workers take files in order, so those are
        among the first that it holds.  Returns the suspects that workers died of before: they get
        no further attempt.
        """
        worker = self._workers.pop(name, None)
        held = list(worker.held.values()) if worker else []
        begun = worker.in_flight + UNREPORTED if worker else 0
        self._small.extendleft(reversed(held[begun:]))
        given_up = []
        for job in held[:begun]:
            strikes = self._strikes[job.number] = self._strikes.get(job.number, 0) + 1
            if strikes >= MOST_STRIKES:
                given_up.append(job)
            else:
                self._suspects.append(job)
        return given_up

    def stop(self) -> list[Job]:
        """Hands out nothing more and ends the scan; returns the jobs that no worker holds."""
        self.exhausted = self._stopped = True
        queues = (self._large, self._small, self._suspects, self._again)
        waiting = [job for queue in queues for job in queue]
        for queue in queues:
            queue.clear()
        return waiting

    def held_by(self, name: object) -> list[Job]:
        """The jobs that a worker has not reported."""
        worker = self._workers.get(name)
        return list(worker.held.values()) if worker else []

    def is_busy(self, name: object) -> bool:
        """A worker holds jobs."""
        worker = self._workers.get(name)
        return worker is not None and bool(worker.held)

    def at_hand(self) -> Iterator[Job]:
        """The jobs that wait for a worker, or have not ended in one."""
        yield from chain(self._large, self._small, self._suspects, self._again)
        for worker in self._workers.values():
            yield from worker.held.values()

    @property
    def finished(self) -> bool:
        """No job is left to hand out or to wait for."""
        return self.exhausted and not self._known() and not self._held()

    def _known(self) -> int:
        return len(self._small) + len(self._large) + len(self._suspects) + len(self._again)

    def _only_again_is_left(self) -> bool:
        return self.exhausted and self._known() == len(self._again) and not self._held()

    def _held(self) -> bool:
        return any(worker.held for worker in self._workers.values())

    def _batch_for(self, worker: _Window) -> list[Job]:
        batch: list[Job] = []
        most = min(BATCH_FILES, -(-self._known() // len(self._workers)))
        room = min(BATCH_BYTES, max(0, WINDOW_BYTES - worker.held_bytes))
        for queue in (self._large, self._small):
            while queue and len(batch) < most:
                if batch and room < queue[0].size:
                    break
                job = queue.popleft()
                room -= job.size
                batch.append(job)
        if not batch and self._suspects and not worker.held:
            batch.append(self._suspects.popleft())
            worker.alone = True
        for job in batch:
            worker.held[job.number] = job
            worker.held_bytes += job.size
        if worker.alone:
            return [job._replace(orphaned=True) for job in batch]
        return batch
