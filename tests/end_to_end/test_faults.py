"""Each fault alone, on each kind of request, once and on every attempt (see tests.servers.faults).

Hundreds of faults go through one run of the real command: the name of each file selects what
happens to it.  Faults that would disturb the others (fewer requests asked for, permission refused)
have runs of their own.
"""

from __future__ import annotations

import os
import shlex
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import gevent
import pytest

import providers
from _uploader.transfer.retry import RetryPolicy
from providers.base import CloudSettings
from providers.errors import Failure
from tests.command import (
    Finished,
    Running,
    arguments,
    environment,
    random_bytes,
    run,
    small_files,
    write,
)
from tests.hooks import small_parts
from tests.servers.faults import KIB, MIB
from tests.servers.s3 import FakeS3, Seen

BUCKET = "bucket"
RETRIES = 3
TIMEOUT = 2.0
PATIENCE = 240.0
"""Seconds that a run through all faults may take: each of them is met in two rounds."""
SMALL = 70_000
"""Above what is sent together with the head, so that a reset after 64 KiB is in mid-body."""
PART = MIB
LARGE = 2 * MIB + 1
"""Three parts, made small by ``small_parts``."""

HARMLESS = ("delay:0.3", "close", "fin", "extra", "continue", "dripping")
PASSING = (
    *("404", "408", "409", "500", "502", "504", "early500", "reset", "reset@64K", "stall"),
    *("noanswer", "hangup", "garbage", "blank", "error200", "lost", "mute", "truncated"),
    *("wrong-etag", "wrong-checksum", "corrupt", "rot"),
)
REFUSED = ("429@1", "503", "slowdown", "early503")
FINAL = (
    *("delay:0.5,400", "delay:0.5,501", "delay:0.5,401", "delay:0.5,403"),
    *("413", "delay:0.5,early403"),
)
"""Late, as the first answers of a service are read with more care: what is refused then may be the
checksum, or all that the credentials would do."""

NO_EFFECT = {
    "wrong-etag": {"put", "create", "complete", "abort"},
    "wrong-checksum": {"create", "head", "abort"},
    "corrupt": {"create", "head", "abort", "list_parts"},
    "rot": {"create", "complete", "head", "abort", "list_parts"},
}
"""Faults in what a request does not have, or nobody has to look at: with the checksum echoed, an
ETag proves nothing more."""

STORED = {"lost", "mute", "truncated", "wrong-checksum"}
"""Faults of a part that is stored all the same: the next round finds it."""
UNUSABLE = {"404", "wrong-etag", "wrong-checksum", *FINAL}
"""Answers about an earlier run's parts that leave none to go on with: they are sent again."""


class Case(NamedTuple):
    """One fault on one kind of request."""

    kind: str
    word: str
    always: bool

    @property
    def key(self) -> str:
        return f"{self.kind}/{self.word}/{'always' if self.always else 'once'}"

    def arrives(self) -> bool | None:
        """The file should be uploaded in spite of it; None: that depends on how many of its parts
        were under way, as the last round finds those that were stored."""
        if self.kind == "abort":
            return False  # what is given up has failed already
        if self.word in HARMLESS or self.kind in NO_EFFECT.get(self.word, ()):
            return True
        if self.kind == "head":
            return True  # whether an object is there: what nobody knows is sent again
        if self.kind == "part" and self.word in STORED and self.always:
            return None
        if self.kind == "list_parts" and self.word in UNUSABLE:
            return True
        return self.word not in FINAL and not self.always

    def arrange(self, server: FakeS3) -> None:
        """Scripts the fault, and what leads to such a request."""
        if self.kind == "head":
            server.script("complete", self.key, "lost")
        elif self.kind == "abort":
            server.script("part", self.key, "early400...")
        elif self.kind == "list_parts":
            server.script("complete", self.key, "400")
            server.script("abort", self.key, "400")
        server.script(self.kind, self.key, self.word + "..." * self.always)

    def write_file(self, root: Path) -> None:
        """A small file, or a large one full of holes in which no two parts are alike."""
        if self.kind == "put":
            write(root, self.key, random_bytes(SMALL, self.key))
            return
        path = write(root, self.key, random_bytes(KIB, self.key))
        with open(path, "r+b") as file:
            file.seek(PART)
            file.write(random_bytes(KIB, f"{self.key}2"))
            file.truncate(LARGE)


KINDS = ("put", "create", "part", "complete", "head", "abort")


def cases(words: tuple[str, ...], kinds: tuple[str, ...] = KINDS) -> list[Case]:
    return [Case(k, w, a) for k in kinds for w in words for a in (False, True)]


GROUPS = {
    "passing": cases(HARMLESS + PASSING),
    "refused": cases(REFUSED),
    "final": cases(FINAL),
}
ALL = [case for group in GROUPS.values() for case in group]


class Matrix(NamedTuple):
    """All cases, run."""

    servers: dict[str, FakeS3]
    runs: dict[str, Finished]
    root: Path

    def group(self, case: Case) -> str:
        return next(name for name, group in GROUPS.items() if case in group)

    def server(self, case: Case) -> FakeS3:
        return self.servers[self.group(case)]

    def reason(self, case: Case) -> str | None:
        return self.runs[self.group(case)].reasons().get(case.key)


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Matrix]:
    base = tmp_path_factory.mktemp("matrix")
    servers, runs = {}, {}
    for name, group in GROUPS.items():
        root = base / name
        with FakeS3(buckets=[BUCKET], least_part=MIB) as server:
            for case in group:
                case.write_file(root)
                case.arrange(server)
            more: list[object] = ["--json", "--timeout", TIMEOUT, "--retries", RETRIES]
            more += ["--concurrency", 64]
            if name == "final":
                # A refusal before the first success of a process would end the run.
                small_files(root, 20)
                more += ["--processes", 1]
            told = arguments(root, server.endpoint, BUCKET, *more)
            with Running(*told, env=environment(server, **small_parts(base))) as running:
                runs[name] = running.finish(PATIENCE)
        servers[name] = server
    yield Matrix(servers, runs, base)


def each_case(group: list[Case] = ALL, *, arrives: bool) -> pytest.MarkDecorator:
    chosen = [case for case in group if case.arrives() == arrives]
    return pytest.mark.parametrize("case", chosen, ids=lambda case: case.key)


@pytest.mark.parametrize("group", GROUPS)
def test_a_run_through_all_faults_says_that_files_are_missing(matrix: Matrix, group: str) -> None:
    finished = matrix.runs[group]
    summary = finished.summary
    assert finished.code == 1
    assert summary["files"] == summary["uploaded"] + summary["failed"]
    assert summary["failed"] == len(finished.reasons())


@pytest.mark.parametrize("group", GROUPS)
def test_a_run_through_all_faults_has_no_unexpected_error(matrix: Matrix, group: str) -> None:
    finished = matrix.runs[group]
    assert not [reason for reason in finished.reasons().values() if "unexpected" in reason]
    assert finished.complaints == []


@pytest.mark.parametrize("group", GROUPS)
def test_a_run_through_all_faults_stores_no_wrong_object(matrix: Matrix, group: str) -> None:
    finished, server = matrix.runs[group], matrix.servers[group]
    wrong = server.wrong(BUCKET, matrix.root / group)
    # What was damaged and reported as failed is no lie.
    assert not wrong.keys() - finished.reasons().keys(), wrong


@each_case(arrives=True)
def test_a_file_arrives_in_spite_of(matrix: Matrix, case: Case) -> None:
    assert matrix.reason(case) is None
    assert case.key in matrix.server(case).objects(BUCKET)


@each_case(arrives=False)
def test_a_file_is_reported_with_the_reason_after(matrix: Matrix, case: Case) -> None:
    assert matrix.reason(case)


@pytest.mark.parametrize("group", GROUPS)
def test_no_request_is_sent_again_for_ever(matrix: Matrix, group: str) -> None:
    # A file that is started anew, or gets another round, has all attempts again; a kept connection
    # that proves to be stale costs one more that nobody counts.
    most = 4 * (1 + RETRIES) * (1 + RETRIES)
    server = matrix.servers[group]
    asked = [seen for seen in server.seen if seen.kind in KINDS]  # of the bucket, for many files
    often = Counter((seen.kind, seen.key, seen.part) for seen in asked)
    assert {request: count for request, count in often.items() if count > most} == {}


@pytest.mark.parametrize("group", GROUPS)
def test_each_fault_has_happened(matrix: Matrix, group: str) -> None:
    happened = {(seen.kind, seen.key, seen.word) for seen in matrix.servers[group].seen}
    assert {(case.kind, case.key, case.word) for case in GROUPS[group]} <= happened


@pytest.mark.parametrize("group", GROUPS)
def test_parts_are_left_behind_for_the_next_run_only(matrix: Matrix, group: str) -> None:
    # Nothing can be done about a server that does not let go; and an upload whose id never arrived
    # cannot be aborted, but it has no parts.
    held = {case.key for case in GROUPS[group] if case.kind == "abort"}
    left = {upload.key for upload in matrix.servers[group].open_uploads(BUCKET) if upload.parts}
    passing = set() if group == "final" else matrix.runs[group].reasons().keys()
    assert left - held <= passing


# going on with what an earlier run has sent


RESUMED = cases(HARMLESS + PASSING + REFUSED + FINAL, ("list_parts",))


class Resumed(NamedTuple):
    """The second of two runs: the first has left one part of each file."""

    server: FakeS3
    run: Finished
    root: Path


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory) -> Resumed:
    base = tmp_path_factory.mktemp("resumed")
    root = base / "data"
    with FakeS3(buckets=[BUCKET], least_part=MIB) as server:
        for case in RESUMED:
            case.write_file(root)
            case.arrange(server)
        more: list[object] = ["--json", "--timeout", TIMEOUT, "--retries", RETRIES]
        more += ["--concurrency", 64, "--journal", base / "journal.sqlite"]
        told = arguments(root, server.endpoint, BUCKET, *more)
        env = environment(server, **small_parts(base))
        assert run(*told, env=env).reasons().keys() == {case.key for case in RESUMED}
        uploads = server.open_uploads(BUCKET)
        assert {upload.key for upload in uploads} == {case.key for case in RESUMED}
        for upload in uploads:
            del upload.parts[2], upload.parts[3]
        finished = run(*told, env=env)
    return Resumed(server, finished, root)


@each_case(RESUMED, arrives=True)
def test_a_resumed_file_arrives_in_spite_of(resumed: Resumed, case: Case) -> None:
    assert resumed.run.reasons().get(case.key) is None
    assert case.key in resumed.server.objects(BUCKET)


@each_case(RESUMED, arrives=False)
def test_a_resumed_file_is_reported_with_the_reason_after(resumed: Resumed, case: Case) -> None:
    assert resumed.run.reasons().get(case.key)
    assert case.key not in resumed.server.objects(BUCKET)


def test_a_run_through_all_faults_of_list_parts_tells_the_truth(resumed: Resumed) -> None:
    summary = resumed.run.summary
    assert (resumed.run.code, resumed.run.complaints) == (1, [])
    assert summary["files"] == summary["uploaded"] + summary["failed"]
    assert summary["failed"] == len(resumed.run.reasons())
    assert resumed.server.wrong(BUCKET, resumed.root) == {}


def test_each_fault_of_list_parts_has_happened(resumed: Resumed) -> None:
    happened = {(seen.kind, seen.key, seen.word) for seen in resumed.server.seen}
    assert {(case.kind, case.key, case.word) for case in RESUMED} <= happened


def test_list_parts_is_not_sent_again_for_ever(resumed: Resumed) -> None:
    requests = resumed.server.requests
    # A kept connection that proves to be stale costs one more that nobody counts.
    assert max(requests["list_parts", case.key] for case in RESUMED) <= 4 * (1 + RETRIES)


def test_parts_that_list_parts_names_are_not_sent_again(resumed: Resumed) -> None:
    usable = {case.key for case in RESUMED if case.arrives() and case.word not in UNUSABLE}
    sent = Counter((seen.key, seen.part) for seen in resumed.server.seen if seen.kind == "part")
    assert {key: sent[key, 1] for key in usable if sent[key, 1] != 1} == {}


def test_only_what_list_parts_never_told_is_left_for_the_next_run(resumed: Resumed) -> None:
    left = sorted(upload.key for upload in resumed.server.open_uploads(BUCKET))
    assert left == sorted(case.key for case in RESUMED if not case.arrives())


# the bucket


@pytest.fixture(scope="module")
def buckets() -> Iterator[dict[tuple[str, str, bool], str]]:
    """(kind, word, always) -> how preparing a bucket failed; empty when it did not."""
    with pytest.MonkeyPatch.context() as patch, FakeS3() as server:
        for name, value in environment(server).items():
            patch.setenv(name, value)
        outcomes: dict[tuple[str, str, bool], str] = {}

        def prepare(case: tuple[str, str, bool], name: str) -> None:
            settings = CloudSettings("s3", name, server.endpoint, timeout=TIMEOUT)
            policy, cloud = RetryPolicy(RETRIES), providers.load(settings)
            for attempt in range(10):
                try:
                    cloud.prepare(True)
                except Failure as failure:
                    pause = policy.delay(failure, attempt, 0.5)
                    if pause is None:
                        outcomes[case] = str(failure)
                        return
                    gevent.sleep(pause)
                else:
                    there = name in server.buckets
                    outcomes[case] = "" if there else "said to be there, and is not"
                    return

        tasks = []
        for kind in ("head_bucket", "create_bucket"):
            for word in HARMLESS + PASSING + REFUSED + FINAL:
                for always in (False, True):
                    name = f"bucket-{len(tasks)}"
                    server.script(kind, name, word + "..." * always)
                    tasks.append(gevent.spawn(prepare, (kind, word, always), name))
        # joinall counts from the loop's last turn, which may be another test's, minutes ago.
        gevent.get_hub().loop.update_now()
        gevent.joinall(tasks, timeout=60, raise_error=True)
        yield outcomes


LIES = {("head_bucket", "blank"), ("head_bucket", "error200"), ("create_bucket", "blank")}
"""Answers that cannot be told from good ones; the first upload will show."""
UNLIKELY = {("head_bucket", "409"), ("create_bucket", "404")}
"""Answers that no service gives to these requests, or without a body that says that they pass."""


@pytest.mark.parametrize("word", HARMLESS + PASSING + REFUSED)
@pytest.mark.parametrize("kind", ["head_bucket", "create_bucket"])
def test_a_bucket_is_made_in_spite_of(
    buckets: dict[tuple[str, str, bool], str], kind: str, word: str
) -> None:
    if (kind, word) in LIES | UNLIKELY:
        return
    assert buckets[kind, word, False] == ""


@pytest.mark.parametrize("word", ["500", "503", "reset", "stall", "garbage", "delay:0.5,400"])
@pytest.mark.parametrize("kind", ["head_bucket", "create_bucket"])
def test_a_bucket_that_cannot_be_made_is_told(
    buckets: dict[tuple[str, str, bool], str], kind: str, word: str
) -> None:
    assert buckets[kind, word, True]


# servers of other kinds


@pytest.mark.parametrize("mode", ["new", "old", "refusing", "kms"])
def test_content_is_proven_on_a_server_that_is(mode: str, tmp_path: Path) -> None:
    words = ["ok", "corrupt", "lost", "500", "reset@64K", "blank", "truncated", "wrong-checksum"]
    group = [Case(kind, word, False) for kind in ("put", "part") for word in words]
    if mode != "kms":  # which has checked the Content-MD5 and says no more
        group += [Case(kind, "rot", always) for kind in ("put", "part") for always in (False, True)]
    group += [Case("complete", word, False) for word in ("lost", "error200", "blank")]
    root = tmp_path / "data"
    with FakeS3(mode=mode, buckets=[BUCKET], least_part=MIB) as server:
        for case in group:
            case.write_file(root)
            case.arrange(server)
        more = ["--json", "--timeout", TIMEOUT, "--retries", RETRIES]
        told = arguments(root, server.endpoint, BUCKET, *more)
        finished = run(*told, env=environment(server, **small_parts(tmp_path)))
        failed = {case.key for case in group if case.always}
        assert finished.reasons().keys() == failed
        assert server.wrong(BUCKET, root).keys() <= failed
        assert server.objects(BUCKET).keys() >= {case.key for case in group} - failed


def test_a_key_that_may_only_put_objects_survives_a_lost_complete(tmp_path: Path) -> None:
    """Whether the object was made cannot be seen: the file is sent again."""
    small_files(tmp_path, 3)
    (tmp_path / "large").write_bytes(bytes(3 * MIB))
    with FakeS3(buckets=[BUCKET], least_part=MIB) as server:
        server.script("complete", "large", "lost")
        server.script("head", "*", "403...")
        server.script("list_uploads", "*", "403...")
        told = arguments(tmp_path, server.endpoint, BUCKET)
        home = tmp_path.with_name("home")
        home.mkdir()
        assert run(*told, env=environment(server, **small_parts(home))).code == 0
        assert server.stored["large"] == 2
        assert server.wrong(BUCKET, tmp_path) == {}


@pytest.mark.parametrize("mode", ["old", "refusing", "kms"])
def test_what_a_server_proves_is_learned_once(mode: str, tmp_path: Path) -> None:
    names = small_files(tmp_path, 200)
    with FakeS3(mode=mode, buckets=[BUCKET]) as server:
        told = arguments(tmp_path, server.endpoint, BUCKET, "--concurrency", 4, "--processes", 2)
        assert run(*told, env=environment(server)).code == 0
        assert server.stored.total() <= len(names) + 4


def test_another_proof_of_the_content_is_told_once(tmp_path: Path) -> None:
    """Not by each worker that finds out."""
    small_files(tmp_path, 400)
    with FakeS3(mode="refusing", buckets=[BUCKET]) as server:
        more = ["--json", "--processes", 2, "--concurrency", 4]
        told = arguments(tmp_path, server.endpoint, BUCKET, *more)
        finished = run(*told, env=environment(server))
        notes = [event["text"] for event in finished.events if event["event"] == "note"]
        assert [note for note in notes if "MD5" in note] == notes[:1]
        assert "x-amz-checksum-crc64nvme" in notes[0]


# the clock and the credentials


def test_a_clock_that_is_hours_off_is_corrected(tmp_path: Path) -> None:
    names = small_files(tmp_path, 300)
    with FakeS3(buckets=[BUCKET]) as server:
        server.service.clock_offset, server.service.longest_skew = 7200.0, 900.0
        told = arguments(tmp_path, server.endpoint, BUCKET, "--processes", 2, "--retries", 3)
        finished = run(*told, env=environment(server))
        assert (finished.code, finished.stderr) == (0, "")
        assert server.objects(BUCKET).keys() == set(names)


def test_a_clock_that_stays_wrong_ends_the_run(tmp_path: Path) -> None:
    small_files(tmp_path, 20)
    with FakeS3(buckets=[BUCKET]) as server:
        # No Date that it gives is ever near what it wants.
        server.service.longest_skew = -1.0
        told = arguments(tmp_path, server.endpoint, BUCKET, "--retries", 3)
        finished = run(*told, env=environment(server))
        assert finished.code == 3
        assert "RequestTimeTooSkewed" in finished.stderr


@pytest.mark.parametrize(
    "minutes",
    [
        9,
        11,  # while one greenlet asks for new ones, the others are given the old
    ],
)
def test_credentials_that_expire_in_mid_run_are_renewed(tmp_path: Path, minutes: int) -> None:
    # botocore renews them from 15 minutes before on, and waits for that from 10 minutes before on.
    names = small_files(tmp_path / "data", 200)
    current = tmp_path / "current"

    def issue(number: int) -> None:
        end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 60 * minutes))
        text = (
            f'{{"Version": 1, "AccessKeyId": "key-{number}", "SecretAccessKey": "s-{number}", '
            f'"SessionToken": "token-{number}", "Expiration": "{end}"}}'
        )
        (tmp_path / "next").write_text(text)
        os.replace(tmp_path / "next", current)

    def hook(when: str, seen: Seen) -> None:
        if when == "after" and server.stored.total() == 100 and not server.service.expired:
            issue(2)
            server.service.expired.add("key-1")

    issue(1)
    text = f"[default]\ncredential_process = /bin/cat {shlex.quote(str(current))}\n"
    config = write(tmp_path, "config", text.encode())
    with FakeS3(buckets=[BUCKET]) as server:
        server.service.users = {"key-1": "s-1", "key-2": "s-2"}
        server.hook = hook
        bare = {**environment(), "AWS_CONFIG_FILE": config, "AWS_REGION": "us-east-1"}
        told = arguments(tmp_path / "data", server.endpoint, BUCKET, "--retries", 1)
        assert run(*told, env=bare).code == 0
        stored = server.objects(BUCKET)
        assert stored.keys() == set(names)
        assert {it.signer.access_key for it in stored.values()} == {"key-1", "key-2"}


# faults that end the run


@pytest.mark.parametrize("word", ["507", "expired", "delay:0.2,401"])
def test_a_run_that_cannot_succeed_ends_at_once(word: str, tmp_path: Path) -> None:
    """Permission refused may concern some objects only: that it is all takes more of them."""
    small_files(tmp_path, 500)
    with FakeS3(buckets=[BUCKET]) as server:
        server.script("put", "*", f"{word}...")
        told = arguments(tmp_path, server.endpoint, BUCKET, "--concurrency", 64)
        finished = run(*told, env=environment(server))
        assert finished.code == 3
        assert len(finished.complaints) == 1
        assert len(server.seen) < 450


def test_a_server_that_never_answers_does_not_hold_the_run(tmp_path: Path) -> None:
    small_files(tmp_path, 20)
    with FakeS3(buckets=[BUCKET]) as server:
        server.script("put", "*", "noanswer...")
        told = arguments(tmp_path, server.endpoint, BUCKET, "--timeout", 0.5, "--retries", 1)
        finished = run(*told, env=environment(server))
        assert finished.code in (1, 3)
        assert finished.seconds < 15


def test_waits_that_the_server_asks_for_are_kept(tmp_path: Path) -> None:
    write(tmp_path, "file")
    with FakeS3(buckets=[BUCKET]) as server:
        server.script("put", "file", "503@2")
        told = arguments(tmp_path, server.endpoint, BUCKET)
        assert run(*told, env=environment(server)).code == 0
        first, second = [seen for seen in server.seen if seen.kind == "put"]
        assert 2 <= second.at - first.at < 5


def test_fewer_requests_are_in_flight_after_a_refusal(tmp_path: Path) -> None:
    small_files(tmp_path, 1000)
    in_flight: list[tuple[float, int]] = []
    with FakeS3(buckets=[BUCKET]) as server:
        server.script("put", "*", "delay:0.1")
        server.script("put", "folder0/0000*", "delay:0.1,slowdown delay:0.1")
        server.hook = lambda when, seen: in_flight.append((seen.at, server.in_flight))
        told = arguments(tmp_path, server.endpoint, BUCKET, "--processes", 1, "--concurrency", 64)
        assert run(*told, env=environment(server)).code == 0
        refused = min(seen.at for seen in server.seen if "slowdown" in seen.word)
        before = [count for at, count in in_flight if at < refused + 0.1]
        after = [count for at, count in in_flight if refused + 0.5 < at < refused + 1]
        assert max(before) > 48
        assert max(after) < 48


# the server itself


def test_the_server_refuses_a_wrong_signature() -> None:
    with (
        FakeS3(buckets=[BUCKET]) as server,
        pytest.raises(Exception, match="SignatureDoesNotMatch"),
    ):
        server.boto3(secret_key="wrong").put_object(Bucket=BUCKET, Key="key", Body=b"")


def test_the_server_keeps_what_boto3_gives_it() -> None:
    key = "a b/~+é%&=?#"
    with FakeS3(buckets=[BUCKET]) as server:
        client = server.boto3()
        client.put_object(Bucket=BUCKET, Key=key, Body=b"body", Metadata={"name": "value"})
        assert client.get_object(Bucket=BUCKET, Key=key)["Body"].read() == b"body"
        assert client.head_object(Bucket=BUCKET, Key=key)["Metadata"] == {"name": "value"}
        assert [row["Key"] for row in client.list_objects_v2(Bucket=BUCKET)["Contents"]] == [key]


def test_the_server_pages_its_lists() -> None:
    with FakeS3(buckets=[BUCKET]) as server:
        client = server.boto3()
        for number in range(5):
            client.put_object(Bucket=BUCKET, Key=f"key{number}", Body=b"")
        pages = client.get_paginator("list_objects_v2").paginate(
            Bucket=BUCKET, PaginationConfig={"PageSize": 2}
        )
        sizes = [len(page["Contents"]) for page in pages]
        assert sizes == [2, 2, 1]


def test_the_server_shows_open_uploads_and_their_parts() -> None:
    with FakeS3(buckets=[BUCKET]) as server:
        client = server.boto3()
        upload = client.create_multipart_upload(Bucket=BUCKET, Key="key")["UploadId"]
        part = partial(client.upload_part, Bucket=BUCKET, Key="key", UploadId=upload)
        for number in (1, 2, 3):
            part(PartNumber=number, Body=b"x" * number)
        listed = client.list_parts(Bucket=BUCKET, Key="key", UploadId=upload, MaxParts=2)
        assert [row["Size"] for row in listed["Parts"]] == [1, 2]
        assert listed["NextPartNumberMarker"] == 2
        uploads = client.list_multipart_uploads(Bucket=BUCKET)["Uploads"]
        assert [row["UploadId"] for row in uploads] == [upload]
