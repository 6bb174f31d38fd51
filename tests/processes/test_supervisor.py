"""The supervisor with scripted workers at the other ends of real sockets, and no process."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import pytest

from _uploader.errors import RunError
from _uploader.files.model import INTERRUPTED, Job, Outage, Result
from _uploader.processes import wire
from _uploader.processes.dispatch import (
    BATCH_FILES,
    MOST_STRIKES,
    WINDOW_FILES,
    Dispatcher,
)
from _uploader.processes.fork_server import End, ForkServer
from _uploader.processes.supervisor import (
    MOST_DEATHS,
    SILENCE_ALLOWED,
    BucketMissing,
    BucketReady,
    ConcurrencyChanged,
    DestinationKnown,
    Event,
    JobsEnded,
    ListingBegins,
    ListingEnded,
    MultipartBegun,
    Note,
    ObjectsDeleted,
    ObjectsListed,
    Supervisor,
)


class Ended(NamedTuple):
    """One of the ends in a ``JobsEnded``."""

    job: Job
    result: Result


START = wire.Start({"bucket": "b"}, 10, 100, 2**20)
KILLED = -signal.SIGKILL


class FakeWorker:
    """A worker's end of the conversation, moved by the test."""

    def __init__(self, pid: int, connection: socket.socket, stderr: int) -> None:
        self.pid = pid
        self.code = KILLED
        self.killed = False
        self.fork_server_said = b""
        self._connection = connection
        self._stderr = stderr
        self._decoder = wire.Decoder()
        self._closed = False
        connection.setblocking(False)

    def send(self, *messages: wire.Message) -> None:
        self.send_bytes(b"".join(map(wire.encode, messages)))

    def send_bytes(self, data: bytes) -> None:
        self._connection.sendall(data)

    def ready(self) -> None:
        self.send(wire.Ready(self.pid, 2))

    def report(
        self,
        *results: Result,
        sent: int = 0,
        progress: int = 0,
        retries: int = 0,
        trouble: str = "",
        outage: Outage | None = None,
    ) -> None:
        self.send(wire.Results(results, sent, progress, retries, 10, trouble, outage))

    def received(self) -> list[wire.Message]:
        """What has come since the last time."""
        messages: list[wire.Message] = []
        with contextlib.suppress(BlockingIOError):
            while data := self._connection.recv(2**20):
                messages += self._decoder.feed(data)
        return messages

    def jobs(self) -> list[Job]:
        """The jobs among what has come."""
        batches = [m.jobs for m in self.received() if isinstance(m, wire.Jobs)]
        return [job for batch in batches for job in batch]

    def is_alone(self) -> bool:
        """The supervisor has closed its end."""
        with contextlib.suppress(BlockingIOError):
            while self._connection.recv(2**20):
                pass
            return True
        return False

    def write(self, text: str) -> None:
        """To stderr."""
        os.write(self._stderr, text.encode())

    def die(self, code: int = KILLED, words: str = "") -> None:
        self.code = code
        if words:
            self.write(words)
        self.close()

    def end(self) -> End:
        """What the fork server is asked for."""
        self.killed = True
        self.close()
        return End(self.code, self.fork_server_said)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._connection.close()
            os.close(self._stderr)


class FakeForkServer(ForkServer):
    """Makes fake workers; as many as it is allowed to."""

    def __init__(self) -> None:
        self.workers: list[FakeWorker] = []
        self.refusal: OSError | None = None
        self.words = b""
        self.closed = False

    def fork(self, connection: socket.socket, stderr: int) -> Callable[[], End]:
        if self.refusal:
            raise self.refusal
        worker = FakeWorker(100 + len(self.workers), connection.dup(), os.dup(stderr))
        self.workers.append(worker)
        return worker.end

    def listen(self) -> bytes:
        words, self.words = self.words, b""
        return words

    def pids(self) -> list[int]:
        return [99]

    def close(self) -> None:
        self.closed = True


class Setup:
    """A supervisor, what it works on, and its clock."""

    def __init__(self, jobs: Iterable[Job], count: int, concurrency: Iterable[int] = ()) -> None:
        self.now = 0.0
        self.echoed = ""
        self.fork_server = FakeForkServer()
        self.dispatcher = Dispatcher(jobs)
        self.dispatcher.look_ahead(10_000)
        self.supervisor = Supervisor(
            self.dispatcher,
            count=count,
            start=START,
            concurrency=concurrency,
            fork_server=self.fork_server,
            echo=self._echo,
            clock=lambda: self.now,
        )
        self.supervisor.start()

    def _echo(self, text: str) -> None:
        self.echoed += text

    @property
    def workers(self) -> list[FakeWorker]:
        return self.fork_server.workers

    def step(self) -> list[Event | Ended]:
        events: list[Event | Ended] = []
        for event in self.supervisor.step(0.0):
            if isinstance(event, JobsEnded):
                events += [Ended(job, result) for job, result in event.ends]
            else:
                events.append(event)
        return events

    def watch(self, seconds: float) -> list[Event]:
        """The supervisor looks at its workers once a second for so long."""
        end = self.now + seconds
        events = []
        while self.now < end:
            self.now = min(end, self.now + 1)
            events += self.step()
        return events

    def get_ready(self) -> list[FakeWorker]:
        """All workers become ready, and have got the jobs that there are."""
        for worker in self.workers:
            worker.ready()
        for _ in range(6):  # each hands out a share of what is left
            self.step()
        return self.workers

    def close(self) -> None:
        if not self.fork_server.closed:
            self.supervisor.stop()
        for worker in self.workers:
            worker.close()


Make = Callable[..., Setup]


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes a setup with so many small files, or these jobs, and so many workers."""
    with contextlib.ExitStack() as cleanup:

        def made(
            files: int = 0,
            count: int = 1,
            jobs: Iterable[Job] | None = None,
            concurrency: Iterable[int] = (),
        ) -> Setup:
            setup = Setup(map(job, range(files)) if jobs is None else jobs, count, concurrency)
            cleanup.callback(setup.close)
            return setup

        yield made


def job(number: int, path: str = "") -> Job:
    return Job(number, path or f"file{number}", 5, 1000 + number)


def stored(number: int) -> Result:
    return Result(number, 5, 1000 + number, 0)


def failed(number: int, reason: str) -> Result:
    return Result(number, 0, 1000 + number, 0, reason)


def numbers(jobs: Iterable[Job]) -> list[int]:
    return [job.number for job in jobs]


def notes(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Note)]


class TestStart:
    def test_each_worker_is_started_and_the_first_prepares_the_bucket(self, make: Make) -> None:
        setup = make(count=3)
        assert [worker.received() for worker in setup.workers] == [
            [START._replace(prepare=prepare)] for prepare in (True, False, False)
        ]

    def test_each_has_its_own_concurrency_and_a_replacement_that_of_the_dead(
        self, make: Make
    ) -> None:
        setup = make(count=3, concurrency=[3, 2, 2])

        def given(worker: FakeWorker) -> int | None:
            (start,) = worker.received()
            assert isinstance(start, wire.Start)
            return start.concurrency

        assert [given(worker) for worker in setup.workers] == [3, 2, 2]
        setup.get_ready()[0].die()
        setup.step()
        assert given(setup.workers[-1]) == 3

    def test_a_worker_gets_as_many_full_batches_at_once_as_it_has_room_for(
        self, make: Make
    ) -> None:
        """Else a worker that reports many files at a time would run dry."""
        setup = make(files=2000)
        (worker,) = setup.workers
        worker.ready()
        setup.step()
        setup.step()
        given = numbers(worker.jobs())
        assert len(given) == WINDOW_FILES
        worker.report(*map(stored, given[:300]))
        setup.step()
        setup.step()
        assert len(worker.jobs()) == 2 * BATCH_FILES

    def test_a_process_that_cannot_be_started_stops_the_run(self, make: Make) -> None:
        setup = make()
        setup.fork_server.refusal = BlockingIOError(11, "Resource temporarily unavailable")
        with pytest.raises(RunError, match="cannot start a worker process: Resource temp"):
            setup.supervisor.start()

    @pytest.mark.parametrize("code", [0, 1])
    def test_a_worker_that_exits_before_it_is_ready_stops_the_run_with_its_last_line(
        self, make: Make, code: int
    ) -> None:
        setup = make(count=2)
        setup.workers[1].die(code, "Traceback\nImportError: no gevent\n")
        with pytest.raises(RunError, match="could not start: ImportError: no gevent"):
            setup.step()

    def test_a_fork_server_that_exits_says_why_no_worker_could_start(self, make: Make) -> None:
        setup = make()
        setup.workers[0].fork_server_said = b"ImportError: it is broken\n"
        setup.workers[0].die(1)
        with pytest.raises(RunError, match="could not start: ImportError: it is broken"):
            setup.step()

    def test_pids_are_those_of_the_fork_server_and_of_workers_that_are_ready(
        self, make: Make
    ) -> None:
        setup = make(count=2)
        assert setup.supervisor.pids() == [99]
        setup.workers[1].ready()
        setup.step()
        assert setup.supervisor.pids() == [99, 101]


class TestBucket:
    def test_the_destination_is_known_before_the_bucket_is_ready(self, make: Make) -> None:
        setup = make()
        setup.workers[0].send(wire.Destination("there"))
        setup.workers[0].ready()
        assert setup.step() == [DestinationKnown("there"), BucketReady()]

    def test_a_missing_bucket_is_created_only_when_the_event_was_dealt_with(
        self, make: Make
    ) -> None:
        """What is recorded of an earlier bucket has to be forgotten first."""
        setup = make()
        (worker,) = setup.workers
        worker.received()
        worker.send(wire.Missing())
        events = setup.supervisor.step(0.0)
        assert next(events) == BucketMissing()
        assert worker.received() == []
        assert list(events) == []
        assert worker.received() == [wire.Create()]

    def test_only_the_worker_that_prepares_makes_the_bucket_ready(self, make: Make) -> None:
        setup = make(count=2)
        setup.workers[1].ready()
        assert setup.step() == []
        setup.workers[0].ready()
        assert setup.step() == [BucketReady()]

    def test_no_job_is_handed_out_before_the_bucket_is_ready(self, make: Make) -> None:
        setup = make(files=3, count=2)
        setup.workers[1].ready()
        setup.step()
        setup.step()
        assert setup.workers[1].jobs() == []
        assert not setup.supervisor.finished

    def test_without_files_the_run_is_finished_only_when_the_bucket_is_ready(
        self, make: Make
    ) -> None:
        setup = make(files=0)
        assert not setup.supervisor.finished
        setup.workers[0].ready()
        setup.step()
        assert setup.supervisor.finished

    def test_another_worker_prepares_in_place_of_one_that_was_killed(self, make: Make) -> None:
        setup = make(count=2)
        setup.workers[0].die()
        assert notes(setup.step()) == [
            "a new worker died (killed by signal 9): replaced, 0 files sent again"
        ]
        assert setup.workers[2].received() == [START._replace(prepare=True)]
        setup.workers[2].ready()
        assert setup.step() == [BucketReady()]

    def test_once_the_bucket_is_ready_no_other_worker_prepares(self, make: Make) -> None:
        setup = make()
        setup.get_ready()[0].die()
        setup.step()
        assert setup.workers[1].received() == [START]
        setup.workers[1].ready()
        assert setup.step() == []


class TestJobs:
    def test_jobs_are_shared_among_the_workers(self, make: Make) -> None:
        workers = make(files=10, count=2).get_ready()
        handed_out = [numbers(worker.jobs()) for worker in workers]
        assert sorted(handed_out[0] + handed_out[1]) == list(range(10))
        assert all(handed_out)

    def test_a_job_arrives_as_the_scan_saw_it(self, make: Make) -> None:
        given = Job(0, "a/ü", 5, 10, 11, "id")
        (worker,) = make(jobs=[given]).get_ready()
        assert worker.jobs() == [given]

    def test_each_result_ends_its_job(self, make: Make) -> None:
        setup = make(files=2)
        (worker,) = setup.get_ready()
        worker.report(failed(1, "unreadable"), stored(0))
        assert setup.step() == [
            Ended(job(1), failed(1, "unreadable")),
            Ended(job(0), stored(0)),
        ]
        assert setup.supervisor.finished

    def test_a_result_of_a_job_that_the_worker_does_not_hold_counts_for_nothing(
        self, make: Make
    ) -> None:
        setup = make(files=1)
        (worker,) = setup.get_ready()
        worker.report(stored(0), stored(0), stored(7))
        assert setup.step() == [Ended(job(0), stored(0))]

    def test_a_message_may_arrive_in_pieces(self, make: Make) -> None:
        setup = make()
        (worker,) = setup.workers
        data = wire.encode(wire.Note("hello"))
        worker.send_bytes(data[:5])
        assert setup.step() == []
        worker.send_bytes(data[5:])
        assert setup.step() == [Note("hello")]

    def test_a_worker_that_reads_slowly_gets_all_in_the_end(self, make: Make) -> None:
        """More than a socket takes at once."""
        setup = make(jobs=[job(number, f"{number}" * 1000) for number in range(400)])
        (worker,) = setup.get_ready()
        got: list[Job] = []
        for _ in range(100):
            got += worker.jobs()
            setup.step()
        assert numbers(got) == list(range(400))

    def test_a_multipart_upload_that_has_begun_is_told_with_its_job(self, make: Make) -> None:
        setup = make(files=1)
        (worker,) = setup.get_ready()
        worker.send(wire.Begun(0, "id", 77))
        begun = job(0)._replace(upload_id="id", ctime_ns=77)
        assert setup.step() == [MultipartBegun(begun)]
        worker.report(stored(0))
        assert setup.step() == [Ended(begun, stored(0))]

    def test_a_multipart_upload_of_a_job_that_has_ended_is_not_told(self, make: Make) -> None:
        setup = make(files=1)
        (worker,) = setup.get_ready()
        worker.report(stored(0))
        worker.send(wire.Begun(0, "id", 77))
        assert setup.step() == [Ended(job(0), stored(0))]


class TestMessages:
    def test_a_fatal_message_stops_the_run(self, make: Make) -> None:
        setup = make()
        setup.workers[0].send(wire.Fatal("InvalidAccessKeyId"))
        with pytest.raises(RunError, match="^InvalidAccessKeyId$"):
            setup.step()

    def test_what_ended_before_it_counts(self, make: Make) -> None:
        setup = make(files=2)
        (worker,) = setup.get_ready()
        worker.send(wire.Fatal("ExpiredToken"))
        worker.report(stored(0))
        ended: list[tuple[Job, Result]] = []
        with pytest.raises(RunError, match="^ExpiredToken$"):
            for event in setup.supervisor.step(0.0):
                assert isinstance(event, JobsEnded)
                ended += event.ends
        assert ended == [(job(0), stored(0))]

    def test_notes_are_told_each_time_and_notices_once_whoever_sends_them(self, make: Make) -> None:
        setup = make(count=2)
        for worker in setup.workers:
            worker.send(
                wire.Notice("no checksums"), wire.Note("hello"), wire.Notice("no checksums")
            )
        assert sorted(notes(setup.step())) == ["hello", "hello", "no checksums"]
        setup.workers[0].send(wire.Notice("no checksums"), wire.Notice("slow"))
        assert notes(setup.step()) == ["slow"]

    def test_every_worker_gets_its_share(self, make: Make) -> None:
        setup = make(count=2)
        setup.supervisor.set_share(0.5, "memory")
        share = wire.Share(0.5, "memory")
        assert all(worker.received()[1:] == [share] for worker in setup.workers)

    def test_a_later_worker_gets_the_share_of_the_others(self, make: Make) -> None:
        setup = make()
        setup.supervisor.set_share(0.5, "memory")
        setup.workers[0].die()
        setup.step()
        assert setup.workers[1].received()[1:] == [wire.Share(0.5, "memory")]

    def test_a_change_of_the_concurrency_is_told_with_the_number_of_the_worker(
        self, make: Make
    ) -> None:
        setup = make(count=2)
        setup.workers[1].send(wire.Concurrency(64, 384, "a trial"))
        assert setup.step() == [ConcurrencyChanged(2, 64, 384, "a trial")]
        setup.workers[0].die()
        setup.step()
        setup.workers[2].send(wire.Concurrency(64, 32, "503"))
        assert setup.step() == [ConcurrencyChanged(3, 64, 32, "503")]

    def test_every_worker_learns_that_the_run_resumes_later_ones_too(self, make: Make) -> None:
        setup = make(count=2)
        setup.supervisor.resume(123.0)
        setup.workers[0].die()
        setup.step()
        assert [w.received()[1:] for w in setup.workers[1:]] == [[wire.Resume(123.0)]] * 2

    def test_more_workers_are_started_up_to_a_number(self, make: Make) -> None:
        setup = make(count=1)
        setup.supervisor.grow(3)
        assert len(setup.workers) == setup.supervisor.workers == 3

    def test_no_worker_ends_for_a_lower_number(self, make: Make) -> None:
        setup = make(count=2)
        setup.supervisor.grow(1)
        assert not any(worker.is_alone() for worker in setup.workers)

    def test_no_worker_is_started_for_a_run_that_is_to_stop(self, make: Make) -> None:
        setup = make(files=10, count=1)
        setup.supervisor.drain()
        setup.supervisor.grow(2)
        assert len(setup.workers) == 1

    def test_every_worker_learns_the_cpu_that_it_may_use_later_ones_too(self, make: Make) -> None:
        setup = make()
        setup.supervisor.set_cpu_rate(0.25)
        assert setup.workers[0].received()[1:] == [wire.CpuRate(0.25)]
        setup.workers[0].ready()
        setup.step()
        setup.workers[0].die()
        setup.step()
        assert setup.workers[1].received()[1:] == [wire.CpuRate(0.25)]

    def test_every_worker_is_told_once_to_leave_the_page_cache(self, make: Make) -> None:
        setup = make()
        setup.supervisor.drop_pages()
        setup.supervisor.drop_pages()
        setup.supervisor.grow(2)
        assert [w.received()[1:] for w in setup.workers] == [[wire.DropPages()]] * 2

    def test_stderr_of_workers_and_fork_server_is_echoed(self, make: Make) -> None:
        setup = make()
        setup.fork_server.words = b"server\n"
        setup.workers[0].write("worker\n")
        setup.step()
        assert setup.echoed == "server\nworker\n"

    def test_the_last_words_of_a_worker_are_echoed(self, make: Make) -> None:
        setup = make()
        setup.get_ready()[0].die(words="Segmentation fault\n")
        setup.step()
        assert setup.echoed == "Segmentation fault\n"


class TestTotals:
    def test_reports_of_all_workers_add_up(self, make: Make) -> None:
        setup = make(count=2)
        first, second = setup.get_ready()
        first.report(sent=10, progress=1, retries=2, trouble="timed out")
        second.report(sent=5, progress=1)
        setup.step()
        first.report(sent=30, progress=2, retries=3)
        setup.step()
        totals = setup.supervisor.totals
        assert (totals.sent, totals.progress, totals.retries) == (35, 3, 3)
        assert totals.trouble == "timed out"

    def test_what_a_dead_worker_has_done_still_counts(self, make: Make) -> None:
        setup = make()
        (first,) = setup.get_ready()
        first.report(sent=10, progress=4, retries=2)
        setup.step()
        first.die()
        setup.step()
        setup.workers[1].report(sent=1, progress=1, retries=1)
        setup.step()
        totals = setup.supervisor.totals
        assert (totals.sent, totals.progress, totals.retries) == (11, 5, 3)


class TestOutage:
    @pytest.fixture
    def setup(self, make: Make) -> Setup:
        """Two workers, both busy."""
        made = make(files=10, count=2)
        made.get_ready()
        return made

    def test_there_is_one_when_all_busy_workers_say_so(self, setup: Setup) -> None:
        setup.workers[0].report(outage=Outage(9.0, 1.0))
        setup.workers[1].report(outage=Outage(7.0, 2.0))
        setup.step()
        assert setup.supervisor.outage == (7.0, 1.0)

    def test_there_is_none_while_the_service_answers_a_busy_worker(self, setup: Setup) -> None:
        setup.workers[0].report(outage=Outage(9.0, 1.0))
        setup.workers[1].report()
        setup.step()
        assert setup.supervisor.outage is None

    def test_an_idle_worker_has_no_say(self, setup: Setup) -> None:
        first, second = setup.workers
        first.report(outage=Outage(9.0, 1.0))
        second.report(*(stored(number) for number in numbers(second.jobs())))
        setup.step()
        assert setup.supervisor.outage == (9.0, 1.0)

    def test_it_ends_when_a_worker_says_so(self, setup: Setup) -> None:
        for worker in setup.workers:
            worker.report(outage=Outage(9.0, 1.0))
        setup.step()
        setup.workers[1].report()
        setup.step()
        assert setup.supervisor.outage is None

    def test_there_is_none_when_nobody_is_busy(self, make: Make) -> None:
        setup = make()
        setup.get_ready()[0].report(outage=Outage(9.0, 1.0))
        setup.step()
        assert setup.supervisor.outage is None


class TestDeath:
    @pytest.mark.parametrize(
        ("code", "words", "cause"),
        [
            (KILLED, "", "killed by signal 9"),
            (3, "", "exit code 3"),
            (1, "Traceback\nMemoryError: \n", "MemoryError:"),
        ],
    )
    def test_the_user_learns_why_a_worker_died_and_how_many_files_are_sent_again(
        self, make: Make, code: int, words: str, cause: str
    ) -> None:
        setup = make(files=3)
        setup.get_ready()[0].die(code, words)
        assert notes(setup.step()) == [f"worker 100 died ({cause}): replaced, 3 files sent again"]

    def test_another_worker_gets_its_files_one_at_a_time(self, make: Make) -> None:
        setup = make(files=2)
        setup.get_ready()[0].die()
        setup.step()
        replacement = setup.workers[1]
        replacement.ready()
        sent = []
        for _ in range(2):
            setup.step()
            setup.step()
            (suspect,) = replacement.jobs()
            assert suspect.orphaned
            sent.append(suspect.number)
            replacement.report(stored(suspect.number))
        setup.step()
        assert sent == [0, 1]
        assert setup.supervisor.finished

    def test_the_next_worker_goes_on_with_a_multipart_upload(self, make: Make) -> None:
        setup = make(files=1)
        (worker,) = setup.get_ready()
        worker.send(wire.Begun(0, "id", 77))
        setup.step()
        worker.die()
        setup.step()
        setup.workers[1].ready()
        setup.step()
        setup.step()
        assert [job.upload_id for job in setup.workers[1].jobs()] == ["id"]

    def test_a_file_that_workers_die_of_fails(self, make: Make) -> None:
        setup = make(files=1)
        for _ in range(MOST_STRIKES):
            setup.workers[-1].ready()
            setup.step()
            setup.step()
            setup.workers[-1].die()
            events = setup.step()
        assert events[0] == Ended(
            job(0), failed(0, "worker processes died of it: killed by signal 9")
        )
        assert setup.supervisor.finished

    def test_results_sent_before_the_death_count(self, make: Make) -> None:
        setup = make(files=1)
        (worker,) = setup.get_ready()
        worker.received()  # a socket closed with unread data resets the connection
        worker.report(stored(0))
        worker.die()
        assert setup.step() == [Ended(job(0), stored(0))]
        assert notes(setup.step()) == [
            "worker 100 died (killed by signal 9): replaced, 0 files sent again"
        ]

    def test_a_message_to_a_dead_worker_does_no_harm(self, make: Make) -> None:
        setup = make(files=1)
        setup.get_ready()[0].die()
        setup.supervisor.set_share(0.5, "memory")
        assert len(notes(setup.step())) == 1

    def test_workers_that_keep_dying_stop_the_run(self, make: Make) -> None:
        setup = make()
        for _ in range(MOST_DEATHS):
            setup.workers[-1].die()
            setup.step()
        setup.workers[-1].die()
        with pytest.raises(RunError, match=f"{MOST_DEATHS + 1} worker processes have died"):
            setup.step()


class TestGrowth:
    """A worker that is started late, and cannot, costs nothing but its help."""

    def test_a_process_that_cannot_be_started(self, make: Make) -> None:
        setup = make(files=1)
        setup.get_ready()
        setup.fork_server.refusal = BlockingIOError(11, "Resource temporarily unavailable")
        setup.supervisor.grow(3)
        (note,) = notes(setup.step())
        assert note.startswith("cannot start a worker process")
        assert note.endswith("going on with 1")
        setup.fork_server.refusal = None
        setup.supervisor.grow(3)
        assert len(setup.workers) == 1

    def test_one_that_exits(self, make: Make) -> None:
        setup = make(files=1)
        setup.get_ready()
        setup.supervisor.grow(2)
        setup.workers[1].die(1, "no memory")
        (note,) = notes(setup.step())
        assert note == "a worker process could not start: no memory: going on with 1"

    def test_one_that_finds_no_credentials(self, make: Make) -> None:
        setup = make(files=1)
        (worker, *_) = setup.get_ready()
        setup.supervisor.grow(2)
        setup.workers[1].send(wire.Fatal("no credentials"))
        (note,) = notes(setup.step())
        assert note == "a worker process could not start: no credentials: going on with 1"
        assert setup.workers[1].killed
        worker.report(stored(0))
        assert setup.step() == [Ended(job(0), stored(0))]

    def test_before_the_bucket_is_ready_the_run_stops(self, make: Make) -> None:
        """The worker that looks at the bucket is the last to be ready."""
        setup = make(count=2)
        setup.workers[1].ready()
        setup.step()
        setup.workers[0].send(wire.Fatal("no such bucket"))
        with pytest.raises(RunError, match="^no such bucket$"):
            setup.step()

    def test_one_that_says_nothing(self, make: Make) -> None:
        setup = make()
        (worker,) = setup.get_ready()
        setup.supervisor.grow(2)
        setup.watch(SILENCE_ALLOWED)
        worker.report()
        (note,) = notes(setup.watch(1))
        assert "has said nothing for 120 s" in note


class TestSilence:
    def test_a_worker_that_is_silent_for_too_long_is_killed_and_replaced(self, make: Make) -> None:
        setup = make(files=1)
        (worker,) = setup.get_ready()
        assert setup.watch(SILENCE_ALLOWED) == []
        assert notes(setup.watch(1)) == [
            "worker 100 has been silent for too long: replaced",
            "worker 100 died (killed by signal 9): replaced, 1 files sent again",
        ]
        assert worker.killed
        assert len(setup.workers) == 2

    def test_its_replacement_keeps_the_disk_off_its_loop(self, make: Make) -> None:
        setup = make()
        setup.get_ready()
        setup.watch(SILENCE_ALLOWED + 1)
        assert setup.workers[1].received()[0] == START._replace(disk_hangs=True)

    def test_a_heartbeat_is_enough(self, make: Make) -> None:
        setup = make()
        (worker,) = setup.get_ready()
        for _ in range(3):
            assert setup.watch(SILENCE_ALLOWED) == []
            worker.report()
            assert setup.step() == []

    def test_a_replacement_has_all_the_time_again(self, make: Make) -> None:
        setup = make()
        setup.get_ready()
        setup.watch(SILENCE_ALLOWED + 1)
        setup.workers[1].ready()
        assert setup.watch(SILENCE_ALLOWED) == []

    def test_a_worker_that_never_becomes_ready_stops_the_run(self, make: Make) -> None:
        setup = make()
        with pytest.raises(RunError, match="could not start: it has said nothing for 120 s"):
            setup.watch(SILENCE_ALLOWED + 1)

    def test_only_the_silent_worker_is_replaced(self, make: Make) -> None:
        setup = make(count=2)
        setup.get_ready()
        setup.watch(SILENCE_ALLOWED)
        setup.workers[1].report()
        setup.watch(1)
        assert [worker.killed for worker in setup.workers] == [True, False, False]

    def test_a_pause_of_the_supervisor_is_no_silence_of_the_workers(self, make: Make) -> None:
        setup = make()
        setup.get_ready()
        setup.watch(1)
        setup.now += 10 * SILENCE_ALLOWED
        assert setup.step() == []


class TestDrain:
    def test_what_no_worker_has_comes_back_at_once(self, make: Make) -> None:
        setup = make(files=3)
        assert numbers(setup.supervisor.drain()) == [0, 1, 2]
        assert setup.supervisor.finished

    def test_what_a_worker_has_not_begun_ends_as_interrupted_the_rest_as_it_does(
        self, make: Make
    ) -> None:
        setup = make(files=3)
        (worker,) = setup.get_ready()
        worker.received()
        assert setup.supervisor.drain() == []
        assert worker.received() == [wire.Drain()]
        worker.send(wire.Returned([1, 2]))
        interrupted = [Ended(job(number), failed(number, INTERRUPTED)) for number in (1, 2)]
        assert setup.step() == interrupted
        assert not setup.supervisor.finished
        worker.report(stored(0))
        assert setup.step() == [Ended(job(0), stored(0))]
        assert setup.supervisor.finished

    def test_a_worker_that_becomes_ready_gets_no_job(self, make: Make) -> None:
        setup = make(files=3)
        setup.supervisor.drain()
        (worker,) = setup.get_ready()
        assert worker.jobs() == []

    def test_a_worker_that_dies_is_not_replaced_and_its_files_end_as_interrupted(
        self, make: Make
    ) -> None:
        setup = make(files=2)
        (worker,) = setup.get_ready()
        setup.supervisor.drain()
        worker.die()
        assert setup.step() == [Ended(job(n), failed(n, INTERRUPTED)) for n in (0, 1)]
        assert len(setup.workers) == 1
        assert setup.supervisor.finished


class TestStop:
    def test_it_returns_what_the_workers_held_and_closes_all(self, make: Make) -> None:
        setup = make(files=4, count=2)
        first, second = setup.get_ready()
        ended = first.jobs()[0].number
        first.report(stored(ended))
        setup.step()
        assert sorted([*numbers(setup.supervisor.stop()), ended]) == [0, 1, 2, 3]
        assert first.is_alone()
        assert second.is_alone()
        assert setup.fork_server.closed


class TestChores:
    """What a worker is asked to do besides uploading."""

    OBJECT = ("key", 1, "etag")

    def test_a_listing_arrives_page_by_page(self, make: Make) -> None:
        setup = make()
        setup.supervisor.ask(wire.List("p/"))
        (worker,) = setup.get_ready()
        assert wire.List("p/") in worker.received()
        worker.send(wire.Listed([self.OBJECT]), wire.ListingEnded())
        assert setup.step() == [ObjectsListed([self.OBJECT]), ListingEnded()]

    def test_the_run_is_not_finished_before_its_chores_are(self, make: Make) -> None:
        setup = make()
        setup.dispatcher.look_ahead(1)
        setup.supervisor.ask(wire.Delete(["a", "b"]))
        (worker,) = setup.get_ready()
        assert not setup.supervisor.finished
        worker.send(wire.Deleted([("a", "locked")], 1))
        assert setup.step() == [ObjectsDeleted(["a", "b"], [("a", "locked")], 1)]
        assert setup.supervisor.finished

    def test_each_worker_does_one_at_a_time(self, make: Make) -> None:
        setup = make(count=2)
        for key in "abc":
            setup.supervisor.ask(wire.Delete([key]))
        first, second = setup.get_ready()
        given = [[m for m in w.received() if isinstance(m, wire.Delete)] for w in (first, second)]
        assert given == [[wire.Delete(["a"])], [wire.Delete(["b"])]]
        second.send(wire.Deleted([], 0))
        setup.step()
        setup.step()
        assert wire.Delete(["c"]) in second.received()

    def test_another_worker_takes_over_from_one_that_died(self, make: Make) -> None:
        setup = make()
        setup.supervisor.ask(wire.List(""))
        (dead,) = setup.get_ready()
        dead.send(wire.Listed([self.OBJECT]))
        setup.step()
        dead.die()
        assert ListingBegins() in setup.step()
        setup.workers[1].ready()
        setup.step()
        setup.step()
        assert wire.List("") in setup.workers[1].received()

    def test_a_worker_that_lists_is_busy(self, make: Make) -> None:
        """So an outage is one although nobody uploads."""
        setup = make()
        setup.supervisor.ask(wire.List(""))
        (worker,) = setup.get_ready()
        assert setup.supervisor.busy == 1
        worker.report(outage=(7.0, 1.0))
        setup.step()
        assert setup.supervisor.outage == (7.0, 1.0)

    def test_a_run_that_stops_waits_for_none(self, make: Make) -> None:
        setup = make()
        setup.supervisor.ask(wire.List(""))
        (worker,) = setup.get_ready()
        setup.supervisor.drain()
        assert setup.supervisor.finished
        worker.send(wire.Listed([self.OBJECT]), wire.ListingEnded())
        assert setup.step() == []
