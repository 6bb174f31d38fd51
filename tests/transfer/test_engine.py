"""The engine of a worker against a service in memory: each file is reported once, come what may."""

from __future__ import annotations

import errno
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent.event import Event

from _uploader.files.model import INTERRUPTED, Job, Result
from _uploader.transfer.concurrency import ConcurrencyLimiter
from _uploader.transfer.engine import Engine
from _uploader.transfer.retry import RetryPolicy
from _uploader.transfer.strays import CLOCKS_DIFFER
from _uploader.transfer.window import LEAST_BYTES
from providers.base import (
    Cloud,
    CloudSettings,
    Metadata,
    ObjectInfo,
    Part,
    PartRules,
    Prepared,
    Session,
    UploadInfo,
)
from providers.errors import (
    Denied,
    Exists,
    Failure,
    Fatal,
    NotFound,
    Rejected,
    SourceChanged,
    Throttled,
    Transient,
    Unreachable,
)
from providers.source import Source
from providers.traffic import RateLimit

TIMEOUT = 10.0
"""Seconds after which a test is taken to hang."""
PART = 100_000
LARGE = 3 * PART + 5
"""Bytes of a file that goes in four parts: more than is loaded when it is opened."""
RETRIES = 2
LATENCY = 0.002


class Rules(PartRules):
    """Parts of a few bytes."""

    def size_for(self, size: int) -> int:
        return self.part_size


class Quick(RetryPolicy):
    """Retries at once."""

    def delay(self, failure: Failure, attempt: int, random: float) -> float | None:
        return None if super().delay(failure, attempt, random) is None else 0.0


@dataclass
class Upload:
    key: str
    begun: float
    parts: dict[int, Part] = field(default_factory=dict)


class Service:
    """What the service holds, what it was asked, and what it is told to do wrong."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes | list[int]] = {}
        """Key -> content; of what came in parts, the numbers of the parts in the order given."""
        self.uploads: dict[str, Upload] = {}
        self.calls: list[tuple[str, str, int]] = []
        """(operation, key, part)."""
        self.faults: dict[tuple[str, str, int], list[BaseException | Callable[[], None]]] = (
            defaultdict(list)
        )
        """What the next such calls raise, or do before they succeed."""
        self.gates: dict[str, Event] = {}
        """Operation -> what it waits for before it does anything."""
        self.sessions: list[FakeSession] = []
        self.numbers = count(1)
        self.down: Down | None = None
        self.in_flight = 0
        self.most_in_flight = 0

    def fail(
        self, operation: str, key: str, *faults: BaseException | Callable[[], None], part: int = 0
    ) -> None:
        self.faults[operation, key, part].extend(faults)

    def count(self, operation: str, key: str | None = None) -> int:
        return sum(call[0] == operation and key in (None, call[1]) for call in self.calls)

    def call(self, operation: str, key: str, part: int = 0) -> None:
        self.calls.append((operation, key, part))
        if self.down:
            self.down.meet(operation)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            gevent.sleep(LATENCY)
            if operation in self.gates:
                self.gates[operation].wait()
            self.stumble(operation, key, part)
        finally:
            self.in_flight -= 1

    def stumble(self, operation: str, key: str, part: int = 0) -> None:
        faults = self.faults[operation, key, part]
        if faults:
            fault = faults.pop(0)
            if isinstance(fault, BaseException):
                raise fault
            fault()

    def upload(self, upload_id: str) -> Upload:
        if upload_id not in self.uploads:
            raise NotFound("NoSuchUpload")
        return self.uploads[upload_id]


class FakeSession(Session):
    def __init__(self, service: Service) -> None:
        self._service = service
        self._busy = False
        self.greenlets: set[int] = set()
        self.closed = 0
        service.sessions.append(self)

    def _call(self, operation: str, key: str, part: int = 0) -> None:
        assert not self.closed and not self._busy, "used by two at a time, or after its end"
        self.greenlets.add(id(gevent.getcurrent()))
        self._busy = True
        try:
            self._service.call(operation, key, part)
        finally:
            self._busy = False

    def put(self, key: str, source: Source, metadata: Metadata, content_type: str) -> None:
        content = source.read(0, source.size)
        self._call("put", key)
        self._service.objects[key] = content

    def stat(self, key: str) -> ObjectInfo:
        self._call("stat", key)
        raise NotFound("NoSuchKey")

    def check(self, limit: float) -> None:
        self._call("check", "")

    def close(self) -> None:
        self.closed += 1

    def begin(self, key: str, metadata: Metadata, content_type: str) -> str:
        self._call("begin", key)
        upload_id = f"upload-{next(self._service.numbers)}"
        self._service.uploads[upload_id] = Upload(key, time.time())
        return upload_id

    def put_part(
        self, key: str, upload_id: str, number: int, source: Source, offset: int, length: int
    ) -> Part:
        source.read(offset, length)
        self._call("put_part", key, number)
        part = Part(number, length, f"etag{number}", offset)
        self._service.upload(upload_id).parts[number] = part
        return part

    def complete(self, key: str, upload_id: str, parts: Sequence[Part], *described: Any) -> None:
        self._call("complete", key)
        upload = self._service.upload(upload_id)
        assert list(parts) == [upload.parts[part.number] for part in parts]
        self._service.objects[key] = [part.number for part in parts]
        del self._service.uploads[upload_id]

    def abort(self, key: str, upload_id: str) -> None:
        self._call("abort", key)
        self._service.uploads.pop(upload_id, None)

    def uploads(self, prefix: str) -> Iterator[UploadInfo]:
        self._call("uploads", prefix)
        for name, upload in list(self._service.uploads.items()):
            if upload.key.startswith(prefix):
                yield UploadInfo(upload.key, name, upload.begun)

    def stored_parts(self, key: str, upload_id: str, source: Source, part_size: int) -> list[Part]:
        self._call("stored_parts", key)
        return list(self._service.upload(upload_id).parts.values())


class FakeCloud(Cloud):
    parts = Rules(threshold=LARGE - 1, part_size=PART, max_part_size=PART, max_parts=1000)

    def __init__(self, service: Service) -> None:
        super().__init__(CloudSettings("fake", "bucket"))
        self._service = service

    def open(self) -> FakeSession:
        self._service.stumble("open", "")
        return FakeSession(self._service)

    def destination(self) -> str:
        return "fake b"

    def prepare(self, create: bool) -> Prepared:
        raise NotImplementedError


class Setup:
    """A pool, its service, the files, and what was reported."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.service = Service()
        self.results: list[Result] = []
        self.stops: list[str] = []
        self.begun: list[tuple[int, str, int]] = []
        self._jobs = 0
        self.engine = self.make()

    def make(
        self,
        concurrency: int = 4,
        retries: int = RETRIES,
        limit: RateLimit | None = None,
        **options: Any,
    ) -> Engine:
        cloud = FakeCloud(self.service)
        cloud.traffic.limit = limit
        self.engine = Engine(
            cloud,
            source_roots=[os.path.join(self.root, "")],
            key_prefix="",
            policy=Quick(retries),
            limiter=ConcurrencyLimiter(concurrency, first=concurrency),
            report=self.results.append,
            stop_run=self.stops.append,
            **{"begun": lambda *event: self.begun.append(event), **options},
        )
        return self.engine

    def file(self, name: str, size: int = 5, **fields: Any) -> Job:
        """Writes a file and returns the job that it is."""
        (self.root / name).write_bytes(name[:1].encode() * size)
        return self.job(name, **fields)

    def job(self, name: str, **fields: Any) -> Job:
        status = (self.root / name).stat()
        self._jobs += 1
        times = (status.st_mtime_ns, status.st_ctime_ns)
        return Job(self._jobs, name, status.st_size, *times)._replace(**fields)

    def half_done(self, name: str, *parts: int, begun: float | None = None) -> Job:
        """A large file of which an earlier run has sent these parts."""
        job = self.file(name, LARGE)
        source = Source(str(self.root / name))
        source.close()
        upload = Upload(name, time.time() if begun is None else begun)
        for number in parts:
            length = min(PART, LARGE - (number - 1) * PART)
            upload.parts[number] = Part(number, length, f"etag{number}", (number - 1) * PART)
        self.service.uploads[f"old-{name}"] = upload
        return job._replace(upload_id=f"old-{name}")

    def upload(self, *jobs: Job) -> dict[str, str]:
        """Uploads them to the end; returns path -> failure."""
        names = {job.number: job.path for job in jobs}
        self.engine.submit(jobs)
        self.engine.close()
        assert sorted(result.number for result in self.results) == sorted(names)
        return {names[result.number]: result.failure for result in self.results}

    def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            gevent.sleep(0.001)


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[Setup]:
    with gevent.Timeout(TIMEOUT):
        yield Setup(tmp_path)


SMALL_AND_LARGE = pytest.mark.parametrize(
    ("size", "operation", "part"),
    [(5, "put", 0), (LARGE, "begin", 0), (LARGE, "put_part", 2), (LARGE, "complete", 0)],
)


# All goes well


def test_every_file_is_reported_once_and_stored(setup: Setup) -> None:
    jobs = [setup.file(f"{n}", size=n % 50) for n in range(100)]
    failures = setup.upload(*jobs)
    assert set(failures.values()) == {""}
    assert setup.service.objects.keys() == failures.keys()


def test_a_result_tells_what_was_stored(setup: Setup) -> None:
    """Not what the scan saw."""
    job = setup.file("a", size=7)
    setup.upload(job._replace(size=1, mtime_ns=1))
    assert setup.results == [Result(job.number, 7, job.mtime_ns, job.ctime_ns)]


def test_each_greenlet_has_a_session_of_its_own_for_its_life(setup: Setup) -> None:
    setup.upload(*[setup.file(f"{n}") for n in range(100)])
    assert 1 < len(setup.service.sessions) <= 4
    users = [session.greenlets for session in setup.service.sessions]
    assert all(len(greenlets) <= 1 for greenlets in users)
    assert len(set.union(*users)) == sum(map(len, users))


def test_no_more_are_in_flight_than_allowed(setup: Setup) -> None:
    setup.make(concurrency=3)
    setup.upload(*[setup.file(f"{n}", size=n % 50) for n in range(50)])
    assert setup.service.most_in_flight == 3


@pytest.mark.parametrize(("concurrency", "parts"), [(16, 2), (9, 1), (4, 1)])
def test_a_part_counts_for_several_requests(setup: Setup, concurrency: int, parts: int) -> None:
    setup.make(concurrency, part_weight=8)
    jobs = [setup.file(f"{n}", 3 * LARGE) for n in range(5)]
    setup.service.gates["put_part"] = Event()
    setup.engine.submit(jobs)
    setup.until(lambda: setup.service.count("begin") == 5)
    setup.until(lambda: setup.service.in_flight >= parts)
    gevent.sleep(5 * LATENCY)
    assert setup.service.in_flight == parts
    setup.service.gates["put_part"].set()
    setup.engine.close()
    assert [result.failure for result in setup.results] == [""] * 5


def test_parts_that_wait_keep_no_small_file_waiting(setup: Setup) -> None:
    setup.make(8, part_weight=8)
    setup.service.gates["put_part"] = Event()
    setup.engine.submit([setup.file("large", LARGE), *(setup.file(f"{n}") for n in range(20))])
    setup.until(lambda: setup.service.count("put") == 20)
    assert "large" not in setup.service.objects
    setup.service.gates["put_part"].set()
    setup.engine.close()
    assert len(setup.service.objects) == 21


def test_parts_that_wait_are_given_up_when_the_pool_drains(setup: Setup) -> None:
    setup.make(8, part_weight=8)
    setup.service.gates["put_part"] = Event()
    job = setup.file("large", LARGE)
    setup.engine.submit([job])
    setup.until(lambda: setup.service.count("put_part") == 1)
    setup.engine.drain()
    setup.service.gates["put_part"].set()
    setup.engine.close()
    assert [result.failure for result in setup.results] == [INTERRUPTED]
    assert setup.service.count("put_part") == 1


def test_a_request_of_standard_input_is_not_lost_when_the_pool_drains(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its upload waits for the answer."""
    read_end, write_end = os.pipe()
    monkeypatch.setattr("_uploader.transfer.engine.STDIN", read_end)
    os.close(write_end)
    setup.make(1)
    setup.service.gates["put"] = Event()
    file, stdin = setup.file("a"), setup.file("stdin")
    ended = Event()
    ended.set()
    setup.engine.submit([file])
    setup.engine.submit_stdin(stdin, PART, lambda: ended)
    setup.until(lambda: setup.service.in_flight)
    gevent.sleep(10 * LATENCY)  # it queues its request meanwhile
    setup.engine.drain()
    setup.service.gates["put"].set()
    setup.until(lambda: len(setup.results) == 2)
    setup.engine.close()
    assert {result.number for result in setup.results} == {file.number, stdin.number}
    os.close(read_end)


def test_no_more_greenlets_than_files(setup: Setup) -> None:
    setup.make(concurrency=100)
    setup.upload(setup.file("a"), setup.file("b"))
    assert len(setup.service.sessions) <= 2


def test_close_ends_all_greenlets_and_closes_each_session_once(setup: Setup) -> None:
    setup.upload(*[setup.file(f"{n}", size=n) for n in range(50)])
    assert [session.closed for session in setup.service.sessions] == [1] * len(
        setup.service.sessions
    )


def test_all_descriptors_are_given_back(setup: Setup) -> None:
    jobs = [setup.file(f"{n}", size=n) for n in range(50)]
    setup.service.fail("complete", "40", Rejected("no"))
    setup.service.fail("put", "3", RuntimeError("a bug"))
    before = len(os.listdir("/proc/self/fd"))
    setup.upload(*jobs)
    assert len(os.listdir("/proc/self/fd")) == before


# Retries


@SMALL_AND_LARGE
def test_a_request_that_may_succeed_later_is_sent_again(
    setup: Setup, size: int, operation: str, part: int
) -> None:
    setup.service.fail(operation, "a", *[Transient("reset")] * RETRIES, part=part)
    assert setup.upload(setup.file("a", size)) == {"a": ""}
    assert setup.engine.attempts.retries == RETRIES
    assert setup.service.calls.count((operation, "a", part)) == 1 + RETRIES


@SMALL_AND_LARGE
def test_retries_are_bounded(setup: Setup, size: int, operation: str, part: int) -> None:
    setup.service.fail(operation, "a", *[Transient("reset")] * 100, part=part)
    assert setup.upload(setup.file("a", size)) == {"a": "reset"}
    assert setup.service.calls.count((operation, "a", part)) == 1 + RETRIES


@SMALL_AND_LARGE
def test_what_is_rejected_is_not_sent_again(
    setup: Setup, size: int, operation: str, part: int
) -> None:
    setup.service.fail(operation, "a", Rejected("too large"), part=part)
    assert setup.upload(setup.file("a", size)) == {"a": "too large"}
    assert setup.service.calls.count((operation, "a", part)) == 1


@SMALL_AND_LARGE
def test_a_file_whose_object_was_to_stay_is_skipped(
    setup: Setup, size: int, operation: str, part: int
) -> None:
    setup.service.fail(operation, "a", Exists("exists already"), part=part)
    assert setup.upload(setup.file("a", size)) == {"a": "exists already"}
    [result] = setup.results
    assert result.skipped and not result.passing
    assert (setup.service.objects, setup.service.uploads, setup.stops) == ({}, {}, [])


@SMALL_AND_LARGE
@pytest.mark.parametrize("failure", [SourceChanged("changed"), NotFound("NoSuchUpload")])
def test_a_file_that_changed_or_whose_upload_is_gone_is_begun_again(
    setup: Setup, size: int, operation: str, part: int, failure: Failure
) -> None:
    setup.service.fail(operation, "a", failure, part=part)
    assert setup.upload(setup.file("a", size)) == {"a": ""}
    assert setup.service.uploads == {}


@SMALL_AND_LARGE
def test_beginning_again_is_bounded(setup: Setup, size: int, operation: str, part: int) -> None:
    setup.service.fail(operation, "a", *[SourceChanged("changed")] * 100, part=part)
    assert setup.upload(setup.file("a", size)) == {"a": "changed"}
    assert setup.service.calls.count((operation, "a", part)) == 1 + RETRIES
    assert setup.service.uploads == {}


def test_a_file_that_grew_is_sent_as_it_is_when_it_is_begun_again(setup: Setup) -> None:
    job = setup.file("a")

    def grow() -> None:
        (setup.root / "a").write_bytes(b"longer than it was")
        raise SourceChanged("changed while it was read")

    setup.service.fail("put", "a", grow)
    setup.upload(job)
    assert setup.service.objects == {"a": b"longer than it was"}


def test_a_file_that_vanished_is_reported(setup: Setup) -> None:
    job = setup.file("a")
    (setup.root / "a").unlink()
    assert setup.upload(job) == {"a": "vanished after the scan"}


@pytest.mark.parametrize("compares", [False, True])
def test_a_file_that_cannot_be_opened_now_is_tried_again(
    setup: Setup, monkeypatch: pytest.MonkeyPatch, compares: bool
) -> None:
    job = setup.file("a", compares=compares)
    shortages = [OSError(errno.EMFILE, "Too many open files")] * RETRIES
    os_open = os.open

    def scarce(path: Any, *rest: Any, **options: Any) -> int:
        if path == str(setup.root / "a") and shortages:
            raise shortages.pop()
        return os_open(path, *rest, **options)

    monkeypatch.setattr(os, "open", scarce)
    setup.make(skip="unchanged")
    assert setup.upload(job) == {"a": ""}
    assert not shortages


def test_the_last_trouble_is_known(setup: Setup) -> None:
    setup.service.fail("put", "a", Transient("connection reset"))
    setup.upload(setup.file("a"))
    assert setup.engine.attempts.trouble == "connection reset"


def test_a_service_that_often_fails_gets_a_little_less(setup: Setup) -> None:
    setup.make(concurrency=10)
    for n in range(20):
        setup.service.fail("put", f"{n}", *[Transient("connection reset")] * RETRIES)
    assert set(setup.upload(*[setup.file(f"{n}") for n in range(20)]).values()) == {""}
    assert setup.engine.limit == 8


def test_a_file_that_cannot_be_read_lowers_nothing(setup: Setup) -> None:
    setup.make(concurrency=10)
    for n in range(20):
        setup.service.fail("put", f"{n}", Rejected("no"))
    setup.upload(*[setup.file(f"{n}") for n in range(20)])
    assert setup.engine.limit == 10


def test_a_service_that_asks_for_less_gets_less(setup: Setup) -> None:
    setup.make(concurrency=8)
    setup.service.fail("put", "a", Throttled("SlowDown"))
    assert setup.upload(setup.file("a")) == {"a": ""}
    assert setup.engine.limit == 4


# The end of the run


@SMALL_AND_LARGE
def test_a_fatal_failure_stops_the_run(setup: Setup, size: int, operation: str, part: int) -> None:
    setup.upload(setup.file("before"))
    setup.results.clear()
    setup.make()
    setup.service.fail(operation, "a", Fatal("no such bucket"), part=part)
    assert setup.upload(setup.file("a", size)) == {"a": "no such bucket"}
    assert setup.stops == ["no such bucket"]


def test_permission_refused_concerns_one_file_and_is_told_as_such(setup: Setup) -> None:
    setup.make(concurrency=1)
    setup.service.fail("put", "a", Denied("AccessDenied"))
    failures = setup.upload(setup.file("a"), setup.file("b"))
    assert (failures, setup.stops) == ({"a": "AccessDenied", "b": ""}, [])
    assert [result.denied for result in setup.results] == [True, False]


@pytest.mark.parametrize(
    ("failure", "passing"),
    [(Transient("reset"), True), (SourceChanged("changed"), True), (Rejected("no"), False)],
)
def test_a_result_tells_whether_its_reason_may_pass(
    setup: Setup, failure: Failure, passing: bool
) -> None:
    setup.service.fail("put", "a", *[failure] * 100)
    setup.upload(setup.file("a"))
    assert [result.passing for result in setup.results] == [passing]


# What nobody expected


@pytest.mark.parametrize(
    ("size", "operation", "part"),
    [
        *[(5, "put", 0), (LARGE, "begin", 0), (LARGE, "complete", 0)],
        *[(LARGE, "put_part", n) for n in (1, 4)],
    ],
)
def test_an_unexpected_exception_fails_the_file_and_no_other(
    setup: Setup, capfd: pytest.CaptureFixture[str], size: int, operation: str, part: int
) -> None:
    setup.service.fail(operation, "a", ZeroDivisionError("a bug"), part=part)
    failures = setup.upload(setup.file("a", size), *[setup.file(f"{n}") for n in range(20)])
    assert failures.pop("a") == "unexpected ZeroDivisionError: a bug"
    assert set(failures.values()) == {""}
    assert "Traceback" in capfd.readouterr().err


@pytest.mark.parametrize("failure", [Transient("reset"), Rejected("no"), ZeroDivisionError("bug")])
def test_an_abort_that_fails_does_not_hide_why_the_file_failed(
    setup: Setup, failure: Exception
) -> None:
    setup.service.fail("put_part", "a", Rejected("too large"), part=2)
    setup.service.fail("abort", "a", *[failure] * (1 + RETRIES))
    assert setup.upload(setup.file("a", LARGE)) == {"a": "too large"}


@pytest.mark.parametrize("failure", [Fatal("no credentials"), ZeroDivisionError("bug")])
def test_a_session_that_cannot_be_opened_stops_the_run(setup: Setup, failure: Exception) -> None:
    setup.service.fail("open", "", *[failure] * 10)
    setup.engine.submit([setup.file("a")])
    setup.until(lambda: setup.stops)
    assert str(failure) in setup.stops[0]


def test_a_session_that_cannot_be_opened_for_a_while_costs_no_file(setup: Setup) -> None:
    """Credentials may expire while nobody answers who renews them."""
    setup.make(give_up_after=60.0)
    setup.service.fail("open", "", *[Unreachable("cannot be renewed")] * 10 * (RETRIES + 1))
    assert setup.upload(*[setup.file(f"{n}") for n in range(8)]) == dict.fromkeys("01234567", "")
    assert setup.stops == []


# Parts


def test_parts_go_side_by_side(setup: Setup) -> None:
    setup.service.gates["put_part"] = gate = Event()
    setup.engine.submit([setup.file("a", LARGE)])
    setup.until(lambda: setup.service.count("put_part") == 4)
    gate.set()
    setup.engine.close()
    assert setup.service.objects == {"a": [1, 2, 3, 4]}


@pytest.mark.parametrize("slow", [1, 2, 4])
def test_parts_may_end_in_any_order(setup: Setup, slow: int) -> None:
    setup.service.fail("put_part", "a", lambda: gevent.sleep(0.05), part=slow)
    assert setup.upload(setup.file("a", LARGE)) == {"a": ""}
    assert setup.service.objects == {"a": [1, 2, 3, 4]}


def test_a_large_file_needs_no_more_than_one_greenlet(setup: Setup) -> None:
    setup.make(concurrency=1)
    assert setup.upload(setup.file("a", LARGE), setup.file("b", LARGE)) == {"a": "", "b": ""}


def test_the_upload_is_told_when_it_is_begun(setup: Setup) -> None:
    job = setup.file("a", LARGE)
    ctime_ns = (setup.root / "a").stat().st_ctime_ns
    setup.service.gates["put_part"] = gate = Event()
    setup.engine.submit([job])
    setup.until(lambda: setup.begun)
    assert setup.begun == [(job.number, next(iter(setup.service.uploads)), ctime_ns)]
    gate.set()
    setup.engine.close()


def test_a_part_that_fails_aborts_the_upload(setup: Setup) -> None:
    setup.service.fail("put_part", "a", Rejected("no"), part=2)
    setup.upload(setup.file("a", LARGE))
    assert setup.service.uploads == {}
    assert (setup.service.count("abort"), setup.service.count("complete")) == (1, 0)


def test_after_a_part_has_failed_no_further_one_is_sent(setup: Setup) -> None:
    setup.make(concurrency=1)
    setup.service.fail("put_part", "a", Rejected("no"), part=2)
    setup.upload(setup.file("a", LARGE))
    assert setup.service.count("put_part") == 2


def test_a_file_that_changed_while_its_parts_were_sent_is_not_completed(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("providers.source.BLOCK_SIZE", LARGE - 1)

    def touch() -> None:
        os.utime(setup.root / "a", ns=(1, 1))

    setup.service.fail("put_part", "a", touch, part=4)
    setup.upload(setup.file("a", LARGE))
    assert setup.service.count("complete") == 1
    assert (setup.service.count("begin"), setup.results[0].mtime_ns) == (2, 1)


# An outage


class Down:
    """The service answers nothing, not even a probe, until it is up again."""

    def __init__(self, service: Service, failure: type[Transient] = Unreachable) -> None:
        self.probes = 0
        self.refused = 0
        self.up = False
        self._failure = failure
        service.down = self

    def meet(self, operation: str) -> None:
        if operation == "check":
            self.probes += 1
        elif not self.up:
            self.refused += 1
        if not self.up:
            raise self._failure("connection refused")


@pytest.mark.parametrize("failure", [Unreachable, Transient, Throttled])
@pytest.mark.parametrize("size", [5, LARGE])
def test_an_outage_costs_no_file_its_retries(
    setup: Setup, size: int, failure: type[Transient]
) -> None:
    setup.make(retries=0)
    down = Down(setup.service, failure)
    jobs = [setup.file(f"{n}", size) for n in range(20)]
    setup.engine.submit(jobs)
    setup.until(lambda: down.probes > 2)
    down.up = True
    setup.engine.close()
    assert [result.failure for result in setup.results] == [""] * len(jobs)


class Limit:
    """A limit of the rate at which a greenlet waits for its turn, or none does."""

    share = 1e6

    def __init__(self, waits: bool) -> None:
        self._waits = waits
        self.looks = 0

    @property
    def waiting(self) -> bool:
        self.looks += 1
        return self._waits

    def take(self, wanted: int) -> int:
        raise NotImplementedError

    def give_back(self, unsent: int) -> None:
        raise NotImplementedError


@pytest.mark.parametrize("waits", [True, False])
def test_while_a_limit_makes_requests_wait_a_silence_is_no_outage(
    setup: Setup, monkeypatch: pytest.MonkeyPatch, waits: bool
) -> None:
    monkeypatch.setattr("_uploader.transfer.engine.SAMPLING", 0.001)
    monkeypatch.setattr("_uploader.transfer.engine.SILENCE", 0.02)
    setup.engine.close()
    limit = Limit(waits)
    setup.make(limit=limit)
    gate = setup.service.gates["put"] = Event()
    setup.engine.submit([setup.file("a")])
    setup.until(lambda: setup.service.count("put") and limit.looks > 100)
    assert (setup.service.count("check") == 0) is waits
    gate.set()
    setup.engine.close()


def test_the_window_follows_a_limit(setup: Setup) -> None:
    limit = Limit(waits=True)
    limit.share = 10.0
    setup.make(concurrency=64, limit=limit)
    setup.upload(*[setup.file(f"{n}", LEAST_BYTES // 2) for n in range(6)])
    assert setup.service.most_in_flight == 2


def test_in_an_outage_probes_are_sent_and_no_files(setup: Setup) -> None:
    down = Down(setup.service)
    setup.engine.submit([setup.file(f"{n}") for n in range(20)])
    setup.until(lambda: down.probes > 2)
    assert down.refused <= setup.engine.limit
    down.up = True
    setup.engine.close()
    assert len(setup.service.objects) == 20


def test_an_outage_is_told_as_long_as_it_lasts(setup: Setup) -> None:
    down = Down(setup.service)
    assert setup.engine.attempts.outage() is None
    setup.engine.submit([setup.file("a")])
    setup.until(setup.engine.attempts.outage)
    down.up = True
    setup.engine.close()
    assert setup.engine.attempts.outage() is None


def test_a_request_that_fails_while_the_service_answers_probes_has_failed_by_itself(
    setup: Setup,
) -> None:
    setup.service.fail("put", "a", *[Transient("reset")] * 100)
    setup.upload(setup.file("a"))
    assert setup.service.count("put", "a") == 1 + RETRIES


def test_drain_in_an_outage_gives_up_what_waits(setup: Setup) -> None:
    down = Down(setup.service)
    setup.engine.submit([setup.file("a")])
    setup.until(lambda: down.probes)
    setup.engine.drain()
    setup.engine.close()
    assert [result.failure for result in setup.results] == ["connection refused"]


def test_an_outage_that_outlasts_the_patience_stops_the_run(setup: Setup) -> None:
    setup.make(give_up_after=0.2)
    Down(setup.service)
    setup.engine.submit([setup.file("a")])
    setup.until(lambda: setup.stops)
    assert setup.stops[0] == "the service does not answer: connection refused"


# Going on with an upload


# Going on with an upload


def test_stored_parts_are_taken_over_and_the_rest_is_sent(setup: Setup) -> None:
    job = setup.half_done("a", 1, 3)
    assert setup.upload(job) == {"a": ""}
    assert [call[2] for call in setup.service.calls if call[0] == "put_part"] == [2, 4]
    assert (setup.service.objects, setup.service.uploads) == ({"a": [1, 2, 3, 4]}, {})
    assert (setup.service.count("begin"), setup.begun) == (0, [])


def test_with_all_parts_stored_only_the_end_is_missing(setup: Setup) -> None:
    assert setup.upload(setup.half_done("a", 1, 2, 3, 4)) == {"a": ""}
    assert (setup.service.count("put_part"), setup.service.count("complete")) == (0, 1)


def test_an_upload_that_is_gone_is_begun_anew(setup: Setup) -> None:
    job = setup.half_done("a", 1)
    setup.service.uploads.clear()
    assert setup.upload(job) == {"a": ""}
    assert setup.service.objects == {"a": [1, 2, 3, 4]}


def test_the_upload_of_a_file_that_has_changed_is_aborted(setup: Setup) -> None:
    """Another change time will do: its metadata was taken then."""
    job = setup.half_done("a", 1)
    assert setup.upload(job._replace(ctime_ns=job.ctime_ns - 1)) == {"a": ""}
    assert (setup.service.count("stored_parts"), setup.service.count("begin")) == (0, 1)
    assert setup.service.uploads == {}


def test_a_file_that_changes_while_its_parts_are_looked_at_leaves_no_upload(setup: Setup) -> None:
    job = setup.half_done("a", 1)
    setup.service.fail("stored_parts", "a", SourceChanged("changed"))
    assert setup.upload(job) == {"a": ""}
    assert setup.service.uploads == {}


def test_parts_that_may_not_be_listed_are_sent_again(setup: Setup) -> None:
    job = setup.half_done("a", 1)
    setup.service.fail("stored_parts", "a", Denied("AccessDenied"))
    assert setup.upload(job) == {"a": ""}
    assert (setup.service.objects, setup.service.uploads) == ({"a": [1, 2, 3, 4]}, {})


def test_a_service_that_cannot_be_asked_for_parts_keeps_them_for_the_next_run(
    setup: Setup,
) -> None:
    job = setup.half_done("a", 1)
    setup.service.fail("stored_parts", "a", *[Transient("reset")] * 100)
    assert setup.upload(job) == {"a": "reset"}
    assert list(setup.service.uploads) == ["old-a"]


def test_strays_of_earlier_runs_are_cleared_away(setup: Setup) -> None:
    setup.make(resume_since=time.time)
    setup.service.uploads["stray"] = Upload("a", time.time())
    setup.service.uploads["older run's"] = Upload("a", time.time() - CLOCKS_DIFFER - 60)
    setup.service.uploads["other file's"] = Upload("b", time.time())
    assert setup.upload(setup.file("a", LARGE)) == {"a": ""}
    assert sorted(setup.service.uploads) == ["older run's", "other file's"]


def test_an_upload_whose_key_only_begins_alike_is_no_stray(setup: Setup) -> None:
    setup.make(resume_since=time.time)
    setup.service.uploads["longer key"] = Upload("a2", time.time())
    assert setup.upload(setup.file("a", LARGE)) == {"a": ""}
    assert list(setup.service.uploads) == ["longer key"]


def test_a_begin_whose_answer_was_lost_leaves_no_stray(setup: Setup) -> None:
    """The service has begun an upload that nobody knows the name of."""
    setup.service.uploads["lost"] = Upload("a", time.time())
    setup.service.fail("begin", "a", Transient("reset"))
    assert setup.upload(setup.file("a", LARGE)) == {"a": ""}
    assert setup.service.uploads == {}


def test_a_file_that_a_dead_worker_may_have_begun_leaves_no_stray(setup: Setup) -> None:
    setup.service.uploads["stray"] = Upload("a", time.time())
    assert setup.upload(setup.file("a", LARGE, orphaned=True)) == {"a": ""}
    assert setup.service.uploads == {}


def test_the_uploads_of_files_with_longer_names_are_no_strays(setup: Setup) -> None:
    setup.make(resume_since=time.time)
    setup.service.uploads["another's"] = Upload("ab", time.time())
    assert setup.upload(setup.file("a", LARGE)) == {"a": ""}
    assert list(setup.service.uploads) == ["another's"]


def test_what_is_gone_on_with_is_no_stray(setup: Setup) -> None:
    job = setup.half_done("a", 1, 2)
    setup.service.uploads["stray"] = Upload("a", time.time())
    setup.make(resume_since=time.time)
    assert setup.upload(job) == {"a": ""}
    assert (setup.service.count("begin"), setup.service.uploads) == (0, {})


def test_strays_that_may_not_be_listed_are_left(setup: Setup) -> None:
    setup.make(resume_since=time.time)
    setup.service.fail("uploads", "a", Denied("AccessDenied"))
    assert setup.upload(setup.file("a", LARGE)) == {"a": ""}
    assert setup.stops == []


@pytest.mark.parametrize("operation", ["uploads", "abort"])
@pytest.mark.parametrize("failures", [[Denied("no")], [Transient("500")] * (RETRIES + 1)])
def test_no_file_fails_for_strays_that_cannot_be_cleared_away(
    setup: Setup, operation: str, failures: list[Failure]
) -> None:
    setup.make(resume_since=time.time)
    setup.service.uploads["stray"] = Upload("a", time.time())
    setup.service.fail(operation, "a", *failures)
    assert setup.upload(setup.file("a", LARGE)) == {"a": ""}


def test_without_an_earlier_run_nobody_looks_for_strays(setup: Setup) -> None:
    setup.upload(setup.file("a", LARGE))
    assert setup.service.count("uploads") == 0


# Draining


def test_drain_gives_back_what_is_not_begun_and_ends_what_is(setup: Setup) -> None:
    setup.make(concurrency=2)
    setup.service.gates["put"] = gate = Event()
    jobs = [setup.file(f"{n}") for n in range(10)]
    setup.engine.submit(jobs)
    setup.until(lambda: setup.service.in_flight == 2)
    returned = setup.engine.drain()
    gate.set()
    setup.engine.close()
    begun = [result.number for result in setup.results if not result.failure]
    assert len(begun) == 2
    assert sorted([*begun, *returned]) == [job.number for job in jobs]


@pytest.mark.parametrize(("recorded", "kept"), [(True, ["upload-1"]), (False, [])])
def test_drain_keeps_the_parts_of_large_files_where_a_later_run_can_go_on(
    setup: Setup, recorded: bool, kept: list[str]
) -> None:
    setup.make(concurrency=2, **({} if recorded else {"begun": None}))
    setup.service.gates["put_part"] = gate = Event()
    setup.engine.submit([setup.file("a", LARGE)])
    setup.until(lambda: setup.service.count("put_part") == 2)
    assert setup.engine.drain() == []
    gate.set()
    setup.engine.close()
    assert [result.failure for result in setup.results] == [INTERRUPTED]
    assert (list(setup.service.uploads), setup.service.count("put_part")) == (kept, 2)


def test_a_part_that_fails_for_a_passing_reason_keeps_the_others(setup: Setup) -> None:
    setup.service.fail("put_part", "a", *[Transient("reset")] * 100, part=2)
    setup.upload(setup.file("a", LARGE))
    assert list(setup.service.uploads) == ["upload-1"]


def test_drain_waits_for_no_retry(setup: Setup) -> None:
    setup.make()
    setup.engine.attempts.policy = RetryPolicy(RETRIES)
    setup.service.fail("put", "a", Transient("reset", after=60))
    setup.engine.submit([setup.file("a")])
    setup.until(lambda: setup.engine.attempts.trouble)
    setup.engine.drain()
    setup.engine.close()
    assert [result.failure for result in setup.results] == ["reset"]


def test_after_drain_no_file_is_begun_again(setup: Setup) -> None:
    setup.service.gates["put"] = gate = Event()
    setup.service.fail("put", "a", SourceChanged("changed"))
    setup.engine.submit([setup.file("a")])
    setup.until(lambda: setup.service.in_flight)
    setup.engine.drain()
    gate.set()
    setup.engine.close()
    assert [result.failure for result in setup.results] == ["changed"]


# The share


def test_a_smaller_share_ends_greenlets(setup: Setup) -> None:
    setup.make(concurrency=8)
    jobs = [setup.file(f"{n}") for n in range(80)]
    setup.engine.submit(jobs)
    setup.until(lambda: setup.service.most_in_flight == 8)
    setup.engine.allow(0.25, "memory")
    setup.until(lambda: setup.service.in_flight <= 2)
    setup.service.most_in_flight = 0
    setup.engine.close()
    assert len(setup.results) == len(jobs)
    assert setup.service.most_in_flight <= 2


@pytest.mark.parametrize("share", [0.0, 0.001])
def test_the_smallest_share_is_one_request(setup: Setup, share: float) -> None:
    setup.engine.allow(share, "memory")
    failures = setup.upload(*[setup.file(f"{n}", size=n) for n in range(40)])
    assert set(failures.values()) == {""}
    assert setup.service.most_in_flight == 1


def test_a_larger_share_makes_greenlets(setup: Setup) -> None:
    setup.make(concurrency=8)
    setup.engine.allow(0.0, "memory")
    setup.engine.submit([setup.file(f"{n}") for n in range(80)])
    setup.until(lambda: setup.service.in_flight == 1)
    setup.engine.allow(1.0, "memory")
    setup.until(lambda: setup.service.in_flight == 8)
    setup.engine.close()
    assert len(setup.results) == 80
