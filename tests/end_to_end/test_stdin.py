"""Standard input as one object: real pipes, real servers, and producers that leave."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from providers.attributes import object_stat
from tests.command import (
    KEYS,
    MIB,
    Running,
    environment,
    new_bucket,
    random_bytes,
    run,
    stored,
)
from tests.end_to_end.world import BUCKET, UsageError, end, kill
from tests.hooks import on_import, small_parts
from tests.servers.ceph import CephRGW
from tests.servers.moto import Moto
from tests.servers.s3 import FakeS3
from tests.servers.s3_server import S3Server

PART = MIB
"""With ``small_parts``."""
KEY = "folder/object.tar"


@pytest.fixture
def server() -> Iterator[FakeS3]:
    with FakeS3(buckets=[BUCKET], least_part=PART) as server:
        yield server


@pytest.fixture
def hook(tmp_path: Path) -> dict[str, str]:
    return small_parts(tmp_path / "hook")


def options(server: S3Server, bucket: str, *more: object) -> list[object]:
    told = ["--src", "-", "--key", KEY, "--bucket", bucket, "--endpoint-url", server.endpoint]
    return [*told, "--json", *more]


@contextlib.contextmanager
def producer(script: str) -> Iterator[int]:
    """What a Python program writes; it waits where it reads a line from a pipe of its own."""
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout
    try:
        yield process.stdout.fileno()
    finally:
        process.kill()
        process.communicate()


def random_script(size: int, seed: int, then: str = "") -> str:
    """A producer of the bytes that ``content`` gives."""
    return f"""
import random, sys
out = sys.stdout.buffer
out.write(random.Random(str({seed})).randbytes({size}))
out.flush()
{then}
"""


WAITS = "sys.stdin.readline()"


def assert_nothing_is_there(server: FakeS3) -> None:
    assert server.objects(BUCKET) == {}
    assert server.open_uploads(BUCKET) == []


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        *(("ceph", size) for size in (0, 1, 8 * MIB, 8 * MIB + 1, 21 * MIB)),
        ("moto", 0),
        ("moto", 21 * MIB),
    ],
)
def test_what_comes_by_a_pipe_is_stored_whole(
    kind: str, size: int, request: pytest.FixtureRequest
) -> None:
    server: Moto | CephRGW = request.getfixturevalue(kind)
    bucket = new_bucket()
    with producer(random_script(size, 1)) as stdin:
        finished = run(*options(server, bucket), env=environment(server), stdin=stdin)
    assert (finished.code, finished.stderr) == (0, "")
    assert finished.paths("uploaded") == [KEY]
    assert (finished.summary["uploaded"], finished.summary["bytes"]) == (1, size)
    [(key, found)] = stored(server, bucket).items()
    assert key == KEY
    assert found.content_type == "application/x-tar"
    assert found.sha256 == hashlib.sha256(random_bytes(size, 1)).hexdigest()


@pytest.mark.parametrize(("size", "told"), [(PART, True), (PART + 1, False)])
def test_the_object_has_attributes_of_its_own(
    server: FakeS3, hook: dict[str, str], size: int, told: bool
) -> None:
    """The size is not known when an upload in parts begins."""
    with producer(random_script(size, 1)) as stdin:
        told_options = options(server, BUCKET, "--metadata", "by=me", "--prefix", "backups/")
        finished = run(*told_options, env=environment(server, **hook), stdin=stdin)
    assert finished.code == 0
    head = server.boto3().head_object(Bucket=BUCKET, Key=f"backups/{KEY}")
    metadata = head["Metadata"]
    assert ("size" in metadata) == told
    assert (metadata["mode"], metadata["by"]) == ("0100600", "me")
    assert object_stat({"size": "0", **metadata}).st_uid == os.geteuid()


def test_a_pipe_is_read_though_its_writer_made_it_non_blocking(server: FakeS3) -> None:
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    with Running(*options(server, BUCKET), env=environment(server), stdin=read_end) as running:
        os.close(read_end)
        running.wait_for("progress")
        os.write(write_end, b"late")
        os.close(write_end)
        finished = running.finish()
    assert finished.code == 0
    assert finished.summary["bytes"] == 4


def test_parts_go_while_the_producer_is_slow(server: FakeS3, hook: dict[str, str]) -> None:
    with (
        producer(random_script(3 * PART + 1, 1, WAITS)) as stdin,
        Running(*options(server, BUCKET), env=environment(server, **hook), stdin=stdin) as running,
    ):
        running.wait_until(lambda: sum(kind == "part" for kind, *_ in server.seen) >= 3)
        assert server.objects(BUCKET) == {}


@pytest.mark.parametrize("kind", ["create", "part", "complete"])
def test_passing_faults_cost_nothing(server: FakeS3, hook: dict[str, str], kind: str) -> None:
    content = random_bytes(3 * PART + 1, 1)
    words = "503 reset@64K lost stall fin"
    server.script(kind, KEY, words)
    with producer(random_script(3 * PART + 1, 1)) as stdin:
        told = options(server, BUCKET, "--timeout", 2, "--retries", len(words.split()))
        finished = run(*told, env=environment(server, **hook), stdin=stdin)
    assert (finished.code, finished.stderr) == (0, "")
    parts = [content[start : start + PART] for start in range(0, len(content), PART)]
    stored_parts = [piece.sha256 for piece in server.objects(BUCKET)[KEY].pieces]
    assert stored_parts == [hashlib.sha256(part).digest() for part in parts]
    assert server.open_uploads(BUCKET) == []


@pytest.mark.parametrize("kind", ["part", "complete"])
def test_what_fails_for_good_is_aborted(server: FakeS3, hook: dict[str, str], kind: str) -> None:
    server.script(kind, KEY, "400...")
    with producer(random_script(5 * PART, 1)) as stdin:
        finished = run(*options(server, BUCKET), env=environment(server, **hook), stdin=stdin)
    assert finished.code == 1
    assert list(finished.reasons()) == [KEY]
    assert_nothing_is_there(server)


def test_a_read_error_never_makes_a_short_object(server: FakeS3, tmp_path: Path) -> None:
    unreadable = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
    try:
        finished = run(*options(server, BUCKET), env=environment(server), stdin=unreadable)
    finally:
        os.close(unreadable)
    assert finished.code == 1
    assert finished.reasons() == {KEY: "standard input cannot be read: Bad file descriptor"}
    assert_nothing_is_there(server)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_aborts_the_upload(server: FakeS3, hook: dict[str, str], number: int) -> None:
    with (
        producer(random_script(3 * PART + 1, 1, WAITS)) as stdin,
        Running(*options(server, BUCKET), env=environment(server, **hook), stdin=stdin) as running,
    ):
        running.wait_until(lambda: any(kind == "part" for kind, *_ in server.seen))
        running.signal(number)
        finished = running.finish()
    assert finished.code == 128 + number
    assert finished.summary["failed"] == 1
    assert_nothing_is_there(server)


def test_a_producer_may_take_long_after_a_failure(server: FakeS3, hook: dict[str, str]) -> None:
    """The failure has passed: waiting for input is no trouble."""
    server.script("head_bucket", BUCKET, "503")
    told = options(server, BUCKET, "--give-up-after", "1")
    with producer("import time; time.sleep(3); print()") as stdin:
        finished = run(*told, env=environment(server, **hook), stdin=stdin)
    assert (finished.code, finished.summary["retries"]) == (0, 1)


def test_input_that_may_replace_nothing_is_lost_and_has_failed(server: FakeS3) -> None:
    server.script("put", KEY, "412")
    with producer("print()") as stdin:
        told = options(server, BUCKET, "--if-none-match")
        finished = run(*told, env=environment(server), stdin=stdin)
    assert finished.code == 1
    assert finished.reasons() == {KEY: "an object of this name exists"}


def test_input_that_ends_by_ctrl_c_makes_no_object(server: FakeS3, hook: dict[str, str]) -> None:
    """It ends the producer at the same moment."""
    read_end, write_end = os.pipe()
    with Running(
        *options(server, BUCKET), env=environment(server, **hook), stdin=read_end
    ) as running:
        os.close(read_end)
        os.write(write_end, b"half of it")
        running.wait_for("progress")
        running.signal(signal.SIGINT)
        os.close(write_end)
        finished = running.finish()
    assert finished.code == 130
    assert_nothing_is_there(server)


def test_what_a_dead_worker_had_read_makes_no_object(server: FakeS3, hook: dict[str, str]) -> None:
    """Another worker would find the rest only."""
    read_end, write_end = os.pipe()
    with Running(
        *options(server, BUCKET), env=environment(server, **hook), stdin=read_end
    ) as running:
        os.close(read_end)
        for _ in range(2 * PART // 4096 + 1):
            os.write(write_end, bytes(4096))
        running.wait_until(lambda: any(kind == "part" for kind, *_ in server.seen))
        [worker] = running.workers()
        kill(worker)
        finished = running.finish()
        os.close(write_end)
    assert finished.code == 1
    [reason] = finished.reasons().values()
    assert "its worker died" in reason
    assert_nothing_is_there(server)


def test_a_killed_command_leaves_no_object(server: FakeS3, hook: dict[str, str]) -> None:
    with (
        producer(random_script(3 * PART + 1, 1, WAITS)) as stdin,
        Running(*options(server, BUCKET), env=environment(server, **hook), stdin=stdin) as running,
    ):
        running.wait_until(lambda: any(kind == "part" for kind, *_ in server.seen))
        running.workers()
        kill(running.pid)
        end(running)
    assert server.objects(BUCKET) == {}
    cleaned = run(*options(server, BUCKET, "--abort-stale"), env=environment(server, **hook))
    assert cleaned.code == 0
    assert server.open_uploads(BUCKET) == []


@pytest.mark.parametrize("size", [0, 5, 17 * MIB])
def test_a_directory_takes_standard_input(tmp_path: Path, size: int) -> None:
    told = ["--src", "-", "--key", KEY, "--bucket", "b", "--provider", "local", "--json"]
    with producer(random_script(size, 1)) as stdin:
        finished = run(
            *told, "--endpoint-url", tmp_path / "buckets", env=environment(), stdin=stdin
        )
    assert (finished.code, finished.stderr) == (0, "")
    assert (tmp_path / "buckets/b" / KEY).read_bytes() == random_bytes(size, 1)


def test_a_cloud_without_parts_refuses_what_its_memory_does_not_hold(tmp_path: Path) -> None:
    told = ["--src", "-", "--key", KEY, "--bucket", "b", "--provider", "local", "--json"]
    told += ["--endpoint-url", str(tmp_path / "buckets"), "--max-memory", "72M"]
    with producer(random_script(13 * MIB, 1)) as stdin:
        finished = run(*told, env=environment(), stdin=stdin)
    assert finished.code == 1
    assert "give more --max-memory" in finished.reasons()[KEY]
    assert not (tmp_path / "buckets/b" / KEY).exists()


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (["--src", "-"], "--key NAME is missing"),
        (["--src", "-", "--key", ""], "--key NAME is missing"),
        (["--src", ".", "--key", "name"], "--key is for --src - only"),
        (["--src", "-", "--key", "x" * 1025], "1,025 bytes are too many"),
        (["--src", "-", "--key", "x", "--dry-run"], "--dry-run"),
        (["--src", "-", "--key", "x", "--delete"], "--delete are about files"),
        (["--src", "-", "--key", "x", "--skip", "existing"], "--delete are about files"),
        (["--src", "-", "--key", "x", "--exclude", "*"], "--exclude: it is about files"),
        (["--src", "-", "--key", "x", "--restart"], "--restart: it is about files"),
    ],
)
def test_standard_input_and_its_key_go_together(
    usage_error: UsageError, given: list[str], named: str
) -> None:
    assert named in usage_error(*given, "--bucket", "b")


def test_closed_standard_input_is_not_taken_for_an_empty_one() -> None:
    told = ["--src", "-", "--key", "x", "--bucket", "b"]
    finished = run(*told, env=environment(**KEYS), wrapper=["sh", "-c", '"$@" <&-', "sh"])
    assert finished.code == 2
    assert finished.complaints == ["uploader: --src -: standard input is closed"]


def test_the_most_parts_bound_what_can_be_stored(server: FakeS3, tmp_path: Path) -> None:
    code = """
        def change(module):
            cloud = module.S3Cloud
            cloud.parts = cloud.parts._replace(part_size=1 << 20, max_parts=3)
    """
    env = environment(server, **on_import(tmp_path / "hook", "providers.s3.cloud", code))
    with producer(random_script(3 * PART + 1, 1)) as stdin:
        finished = run(*options(server, BUCKET), env=env, stdin=stdin)
    assert finished.code == 1
    assert "is larger than 3 parts" in finished.reasons()[KEY]
    assert_nothing_is_there(server)
