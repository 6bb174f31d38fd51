"""A worker in this process: the supervisor at the other end is the test, its cloud is a fake."""

from __future__ import annotations

import gc
import os
import resource
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gevent
import gevent.socket
import pytest
from gevent.event import Event

import providers
from _uploader.files.model import Job
from _uploader.processes import wire
from _uploader.processes.worker import DESCRIPTORS_RESERVED, Worker
from providers.base import (
    MIB,
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
    Fatal,
    NoBucket,
    Rejected,
    Transient,
    Unchecked,
    Unreachable,
)
from providers.source import Source

TIMEOUT = 20.0
"""Seconds after which a test gives up."""
LARGE = 8


class FakeCloud(Cloud):
    """A cloud whose sessions store into a dictionary."""

    bucket_exists = True
    note = ""
    refusal: Exception | None = None

    def __init__(self, settings: CloudSettings) -> None:
        super().__init__(settings)
        self.objects: dict[str, bytes] = {}
        self.unfinished: dict[str, UploadInfo] = {}
        self.prepared: list[bool] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.may_end = Event()
        self.may_end.set()

    def open(self) -> Session:
        return FakeSession(self)

    def destination(self) -> str:
        return f"fake {self.settings.bucket}"

    def prepare(self, create: bool) -> Prepared:
        self.prepared.append(create)
        if self.refusal:
            raise self.refusal
        if not self.bucket_exists and not create:
            raise NoBucket("there is no bucket b")
        return Prepared(create, self.note)


class CloudWithParts(FakeCloud):
    parts = PartRules(threshold=LARGE - 1, part_size=LARGE, max_part_size=MIB, max_parts=10)


class FakeSession(Session):
    def __init__(self, cloud: FakeCloud) -> None:
        self._cloud = cloud

    def put(self, key: str, source: Source, metadata: Metadata, content_type: str) -> None:
        cloud = self._cloud
        cloud.in_flight += 1
        cloud.most_in_flight = max(cloud.most_in_flight, cloud.in_flight)
        cloud.may_end.wait()
        cloud.in_flight -= 1
        if key == "refused":
            raise Rejected("InvalidKey")
        if key == "credentials":
            raise Fatal("InvalidAccessKeyId")
        cloud.objects[key] = b""

    def stat(self, key: str) -> ObjectInfo:
        raise NotImplementedError

    def check(self, limit: float) -> None:
        pass

    def close(self) -> None:
        pass

    def begin(self, key: str, metadata: Metadata, content_type: str) -> str:
        return "id"

    def put_part(
        self, key: str, upload_id: str, number: int, source: Source, offset: int, length: int
    ) -> Part:
        return Part(number, length, "etag", 0)

    def complete(self, key: str, upload_id: str, parts: Sequence[Part], *described: Any) -> None:
        self._cloud.objects[key] = b""

    def abort(self, key: str, upload_id: str) -> None:
        del self._cloud.unfinished[upload_id]

    def uploads(self, prefix: str) -> Iterator[UploadInfo]:
        return iter(list(self._cloud.unfinished.values()))


class Conversation:
    """The supervisor's end."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.connection, self.theirs = gevent.socket.socketpair()
        self.clouds: list[FakeCloud] = []
        self._decoder = wire.Decoder()
        self._arrived: list[wire.Message] = []
        self.greenlet = gevent.spawn(Worker(self.theirs).run)

    @property
    def cloud(self) -> FakeCloud:
        return self.clouds[-1]

    def send(self, *messages: wire.Message) -> None:
        self.connection.sendall(b"".join(map(wire.encode, messages)))

    def start(self, *, prepare: bool = False, concurrency: int | None = 4, **settings: Any) -> None:
        told = {"bucket": "b", "provider": "fake", **settings}
        roots = (os.path.join(self.root, ""),)
        self.send(wire.Start(told, concurrency, 100, 2**30, prepare, roots=roots))

    def next(self) -> wire.Message:
        """The next message that is no mere heartbeat."""
        while True:
            while not self._arrived:
                data = self.connection.recv(2**16)
                assert data, "the worker is gone"
                self._arrived = self._decoder.feed(data)
            message = self._arrived.pop(0)
            if not isinstance(message, wire.Results) or message.results:
                return message

    def report(self) -> wire.Results:
        """The next report, with results or without."""
        while True:
            while not self._arrived:
                self._arrived = self._decoder.feed(self.connection.recv(2**16))
            message = self._arrived.pop(0)
            if isinstance(message, wire.Results):
                return message

    def ready(self, **settings: Any) -> None:
        """Starts the worker and waits until it is ready."""
        self.start(**settings)
        assert isinstance(self.next(), wire.Ready)

    def jobs(self, *names: str, size: int = 1) -> None:
        """Sends these files, numbered from 0."""
        batch = []
        for number, name in enumerate(names):
            (self.root / name).write_bytes(b"x" * size)
            status = (self.root / name).stat()
            batch.append(Job(number, name, size, status.st_mtime_ns, status.st_ctime_ns))
        self.send(wire.Jobs(batch))

    def results(self, count: int) -> dict[int, str]:
        """So many results: job number -> failure."""
        found: dict[int, str] = {}
        while len(found) < count:
            for result in self.report().results:
                found[result.number] = result.failure
        return found

    def close(self) -> None:
        """Ends all that the worker has begun, as the end of its process would."""
        self.connection.close()
        self.greenlet.join()
        gevent.killall([o for o in gc.get_objects() if isinstance(o, gevent.Greenlet)])
        self.theirs.close()

    def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            gevent.sleep(0.001)


@pytest.fixture
def kind() -> type[FakeCloud]:
    """The kind of cloud, a class of its own for each test."""

    class Mine(FakeCloud):
        pass

    return Mine


@pytest.fixture
def supervisor(
    data: Path, kind: type[FakeCloud], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Conversation]:
    def leave(code: int) -> None:
        raise gevent.GreenletExit

    def load(settings: CloudSettings) -> Cloud:
        made.clouds.append(kind(settings))
        return made.cloud

    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setattr(providers, "load", load)
    set_limits, limits = resource.setrlimit, resource.getrlimit(resource.RLIMIT_NOFILE)
    with gevent.Timeout(TIMEOUT):
        made = Conversation(data)
        yield made
        made.close()
    set_limits(resource.RLIMIT_NOFILE, limits)


class TestStart:
    def test_a_worker_says_when_it_is_ready(self, supervisor: Conversation) -> None:
        supervisor.start(concurrency=7)
        assert supervisor.next() == wire.Ready(os.getpid(), 7)

    def test_of_large_files_in_parts_two_keep_it_busy(
        self, supervisor: Conversation, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(providers, "load", CloudWithParts)
        supervisor.start(concurrency=7)
        assert supervisor.next() == wire.Ready(os.getpid(), 2)

    def test_the_cloud_gets_the_settings_of_the_run(self, supervisor: Conversation) -> None:
        supervisor.ready(bucket="mine", region="there")
        settings = supervisor.cloud.settings
        assert (settings.bucket, settings.region) == ("mine", "there")

    @pytest.mark.parametrize(
        ("error", "reason"),
        [
            (Fatal("unknown provider 'x'"), "unknown provider 'x'"),
            (ValueError("no"), "unexpected ValueError: no (--debug shows where)"),
        ],
    )
    def test_a_cloud_that_cannot_be_used_stops_the_run(
        self,
        supervisor: Conversation,
        monkeypatch: pytest.MonkeyPatch,
        error: Exception,
        reason: str,
    ) -> None:
        def load(settings: CloudSettings) -> Cloud:
            raise error

        monkeypatch.setattr(providers, "load", load)
        supervisor.start()
        assert supervisor.next() == wire.Fatal(reason)

    def test_a_cloud_whose_credentials_come_late_is_tried_again(
        self, supervisor: Conversation, kind: type[FakeCloud], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """All workers ask for them at once."""
        answers: list[Exception] = [Unreachable("503"), Unreachable("503")]

        def load(settings: CloudSettings) -> Cloud:
            if answers:
                raise answers.pop()
            return kind(settings)

        monkeypatch.setattr(providers, "load", load)
        supervisor.ready(retries=2)

    def test_credentials_that_do_not_come_within_the_retries_stop_the_run(
        self, supervisor: Conversation, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tried: list[CloudSettings] = []

        def load(settings: CloudSettings) -> Cloud:
            tried.append(settings)
            raise Unreachable("503")

        monkeypatch.setattr(providers, "load", load)
        supervisor.start(retries=1)
        assert supervisor.next() == wire.Fatal("503")
        assert len(tried) == 2

    def test_jobs_before_the_start_are_not_taken(self, supervisor: Conversation) -> None:
        supervisor.jobs("early")
        supervisor.ready()
        supervisor.jobs("late")
        assert supervisor.results(1) == {0: ""}
        assert list(supervisor.cloud.objects) == ["late"]

    def test_memory_bounds_the_requests_in_flight(self, supervisor: Conversation) -> None:
        supervisor.send(wire.Start({"bucket": "b"}, 50, 100, 2 * 3 * FakeCloud.session_memory))
        assert supervisor.next() == wire.Ready(os.getpid(), 3)

    @pytest.mark.parametrize("soft", [100, 40])
    def test_descriptors_bound_the_requests_in_flight(
        self, supervisor: Conversation, monkeypatch: pytest.MonkeyPatch, soft: int
    ) -> None:
        """Two for each request; the process raises its own limit as far as it may."""
        raised: list[tuple[int, int]] = []
        monkeypatch.setattr(resource, "getrlimit", lambda kind: (soft, 100))
        monkeypatch.setattr(resource, "setrlimit", lambda kind, limits: raised.append(limits))
        supervisor.start(concurrency=50)
        assert supervisor.next() == wire.Ready(os.getpid(), (100 - DESCRIPTORS_RESERVED) // 2)
        assert raised == ([] if soft == 100 else [(100, 100)])

    def test_the_end_of_the_connection_ends_the_worker(self, supervisor: Conversation) -> None:
        supervisor.ready()
        supervisor.connection.close()
        supervisor.greenlet.join()
        assert supervisor.greenlet.dead


class TestBucket:
    def test_only_the_worker_that_is_told_so_looks_at_it(self, supervisor: Conversation) -> None:
        supervisor.ready()
        assert supervisor.cloud.prepared == []

    def test_the_destination_is_told_before_the_bucket_is_ready(
        self, supervisor: Conversation
    ) -> None:
        supervisor.start(prepare=True)
        assert supervisor.next() == wire.Destination("fake b")
        assert isinstance(supervisor.next(), wire.Ready)
        assert supervisor.cloud.prepared == [False]

    def test_a_note_about_it_is_told(self, supervisor: Conversation, kind: type[FakeCloud]) -> None:
        kind.note = "the bucket is public"
        supervisor.start(prepare=True)
        supervisor.next()
        assert supervisor.next() == wire.Note("the bucket is public")

    def test_a_missing_one_is_created_when_the_supervisor_says_so(
        self, supervisor: Conversation, kind: type[FakeCloud]
    ) -> None:
        kind.bucket_exists = False
        supervisor.start(prepare=True)
        supervisor.next()
        assert supervisor.next() == wire.Missing()
        gevent.sleep(0.01)
        assert supervisor.cloud.prepared == [False]
        supervisor.send(wire.Create())
        assert isinstance(supervisor.next(), wire.Ready)
        assert supervisor.cloud.prepared == [False, True]

    def test_a_missing_one_that_must_not_be_created_stops_the_run(
        self, supervisor: Conversation, kind: type[FakeCloud]
    ) -> None:
        kind.bucket_exists = False
        supervisor.start(prepare=True, no_create=True)
        supervisor.next()
        assert supervisor.next() == wire.Fatal("there is no bucket b")

    def test_one_that_is_forbidden_stops_the_run(
        self, supervisor: Conversation, kind: type[FakeCloud]
    ) -> None:
        kind.refusal = Fatal("AccessDenied")
        supervisor.start(prepare=True)
        supervisor.next()
        assert supervisor.next() == wire.Fatal("AccessDenied")

    def test_one_whose_privacy_cannot_be_checked_in_the_end_is_used(
        self, supervisor: Conversation, kind: type[FakeCloud]
    ) -> None:
        kind.refusal = Unchecked("whether it is public is not known")
        supervisor.start(prepare=True, retries=1)
        supervisor.next()
        assert supervisor.next() == wire.Note("whether it is public is not known")
        assert isinstance(supervisor.next(), wire.Ready)
        assert supervisor.cloud.prepared == [False, False]

    def test_uploads_that_others_left_are_aborted_on_request(
        self, supervisor: Conversation, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cloud = CloudWithParts(CloudSettings("fake", "b"))
        cloud.unfinished = {"1": UploadInfo("old", "1", 0.0)}
        monkeypatch.setattr(providers, "load", lambda settings: cloud)
        supervisor.start(prepare=True, abort_stale=True)
        supervisor.next()
        assert supervisor.next() == wire.Note("aborted an unfinished upload of old")
        assert isinstance(supervisor.next(), wire.Ready)
        assert cloud.unfinished == {}


class TestJobs:
    def test_each_job_gets_its_result(self, supervisor: Conversation) -> None:
        supervisor.ready()
        supervisor.jobs("a", "refused", "b")
        assert supervisor.results(3) == {0: "", 1: "InvalidKey", 2: ""}
        assert sorted(supervisor.cloud.objects) == ["a", "b"]

    def test_results_that_come_together_travel_together(self, supervisor: Conversation) -> None:
        supervisor.ready()
        supervisor.cloud.may_end.clear()
        supervisor.jobs("a", "b", "c")
        supervisor.until(lambda: supervisor.cloud.in_flight == 3)
        supervisor.cloud.may_end.set()
        message = supervisor.next()
        assert isinstance(message, wire.Results)
        assert len(message.results) == 3

    def test_no_more_requests_are_in_flight_than_the_run_says(
        self, supervisor: Conversation
    ) -> None:
        supervisor.ready(concurrency=2)
        supervisor.cloud.may_end.clear()
        supervisor.jobs(*"abcdef")
        supervisor.until(lambda: supervisor.cloud.in_flight == 2)
        supervisor.cloud.may_end.set()
        supervisor.results(6)
        assert supervisor.cloud.most_in_flight == 2

    def test_a_smaller_share_means_fewer_requests(self, supervisor: Conversation) -> None:
        supervisor.ready(concurrency=8)
        supervisor.send(wire.Share(0.25, "memory: 251 of 256 MiB"))
        assert supervisor.next() == wire.Concurrency(8, 2, "memory: 251 of 256 MiB")
        supervisor.until(lambda: supervisor.report().limit == 2)
        supervisor.cloud.may_end.clear()
        supervisor.jobs(*"abcdef")
        supervisor.until(lambda: supervisor.cloud.in_flight == 2)
        supervisor.cloud.may_end.set()
        supervisor.results(6)
        assert supervisor.cloud.most_in_flight == 2

    def test_a_share_that_comes_before_the_cloud_is_open_counts(
        self, supervisor: Conversation
    ) -> None:
        supervisor.send(wire.Share(0.25, "memory"))
        supervisor.start(concurrency=8)
        supervisor.until(lambda: supervisor.report().limit == 2)

    def test_credentials_that_are_refused_stop_the_run(self, supervisor: Conversation) -> None:
        supervisor.ready()
        supervisor.jobs("credentials")
        assert supervisor.next() == wire.Fatal("InvalidAccessKeyId")

    def test_drained_it_returns_what_it_has_not_begun_and_ends_the_rest(
        self, supervisor: Conversation
    ) -> None:
        supervisor.ready(concurrency=1)
        supervisor.cloud.may_end.clear()
        supervisor.jobs("a", "b", "c")
        supervisor.until(lambda: supervisor.cloud.in_flight == 1)
        supervisor.send(wire.Drain())
        assert supervisor.next() == wire.Returned([1, 2])
        supervisor.cloud.may_end.set()
        assert supervisor.results(1) == {0: ""}


class TestMultipart:
    @pytest.fixture
    def kind(self) -> type[FakeCloud]:
        return CloudWithParts

    def test_a_multipart_upload_that_begins_is_told_before_it_ends(
        self, supervisor: Conversation
    ) -> None:
        supervisor.ready()
        supervisor.jobs("large", size=LARGE)
        ctime = (supervisor.root / "large").stat().st_ctime_ns
        assert supervisor.next() == wire.Begun(0, "id", ctime)
        assert supervisor.results(1) == {0: ""}

    def test_without_a_journal_nobody_needs_to_know(self, supervisor: Conversation) -> None:
        supervisor.ready(no_journal=True)
        supervisor.jobs("large", size=LARGE)
        assert isinstance(supervisor.next(), wire.Results)


class TestReports:
    def test_a_worker_without_work_reports_as_well(self, supervisor: Conversation) -> None:
        supervisor.ready()
        assert supervisor.report() == wire.Results([], 0, 0, 0, 4, "", None)
        assert supervisor.report() == wire.Results([], 0, 0, 0, 4, "", None)

    def test_what_the_cloud_has_to_say_is_told_once(self, supervisor: Conversation) -> None:
        supervisor.ready()
        supervisor.cloud.notices.append("no checksums")
        assert supervisor.next() == wire.Notice("no checksums")
        assert supervisor.cloud.notices == []

    def test_a_report_tells_bytes_sent_retries_and_the_last_trouble(
        self, supervisor: Conversation, kind: type[FakeCloud], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        failures = [Transient("timed out")]
        put = FakeSession.put

        def put_at_the_second_attempt(self: FakeSession, *arguments: Any) -> None:
            if failures:
                raise failures.pop()
            put(self, *arguments)

        monkeypatch.setattr(FakeSession, "put", put_at_the_second_attempt)
        supervisor.ready()
        supervisor.jobs("a")
        message = supervisor.next()
        assert isinstance(message, wire.Results)
        assert (message.retries, "timed out" in message.trouble) == (1, True)
        assert message.progress > 0

    def test_a_denied_file_is_told_as_one(
        self, supervisor: Conversation, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def deny(self: FakeSession, *arguments: Any) -> None:
            raise Denied("AccessDenied")

        monkeypatch.setattr(FakeSession, "put", deny)
        supervisor.ready(retries=0)
        supervisor.jobs("a")
        message = supervisor.next()
        assert isinstance(message, wire.Results)
        assert message.results[0].denied
