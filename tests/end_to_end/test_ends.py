"""When a run stops and when it goes on: refusals, stalls, and one more round at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.command import KEYS, Finished, arguments, environment, run, small_files, write
from tests.servers.s3 import FakeS3

BUCKET = "bucket"


@pytest.fixture
def server() -> Iterator[FakeS3]:
    with FakeS3(buckets=["bucket"]) as server:
        server.service.users[KEYS["AWS_ACCESS_KEY_ID"]] = KEYS["AWS_SECRET_ACCESS_KEY"]
        yield server


def upload(server: FakeS3, data: Path, *options: object) -> Finished:
    target = ("--src", data, "--bucket", "bucket", "--endpoint-url", server.endpoint)
    return run(*target, "--json", *options, env=environment(**KEYS))


# Refusals


def test_refused_directory_fails_its_files_and_no_others(server: FakeS3, data: Path) -> None:
    """It comes first, and has directories of its own."""
    secret = [write(data / "secret" / f"{n % 5}", f"{n}") for n in range(200)]
    good = small_files(data, 50)
    server.script("put", "secret/*", "403...")
    finished = upload(server, data)
    assert finished.code == 1
    assert len(finished.paths("failed")) == len(secret)
    assert sorted(finished.paths("uploaded")) == sorted(good)


def test_resumed_run_whose_only_file_left_is_refused_is_incomplete(
    server: FakeS3, data: Path
) -> None:
    write(data, "good")
    write(data, "secret")
    server.script("put", "secret", "403...")
    assert upload(server, data).code == 1
    finished = upload(server, data)
    assert (finished.code, finished.summary["skipped"], finished.summary["failed"]) == (1, 1, 1)


def test_credentials_that_may_store_nothing_stop_the_run(server: FakeS3, data: Path) -> None:
    small_files(data, 3000, folders=10)
    server.script("put", "*", "403...")
    finished = upload(server, data)
    assert (finished.code, finished.complaints) == (
        3,
        ["uploader: AccessDenied: scripted or deserved"],
    )
    assert sum(server.requests[kind, key] for kind, key in server.requests) < 3000


def test_all_refused_of_a_small_tree_is_an_error_of_the_run(server: FakeS3, data: Path) -> None:
    write(data, "a")
    server.script("put", "a", "403...")
    finished = upload(server, data)
    assert (finished.code, len(finished.complaints)) == (3, 1)


# Faults of every request


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


def test_waits_that_the_server_asks_for_are_kept(tmp_path: Path) -> None:
    write(tmp_path, "file")
    with FakeS3(buckets=[BUCKET]) as server:
        server.script("put", "file", "503@2")
        told = arguments(tmp_path, server.endpoint, BUCKET)
        assert run(*told, env=environment(server)).code == 0
        first, second = [seen for seen in server.seen if seen.kind == "put"]
        assert second.at - first.at >= 2


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


# Stalls


def test_scan_failure_starts_no_clock(server: FakeS3, data: Path) -> None:
    """A long request is no stall, whatever the scan could not read."""
    write(data, "slow")
    (data / "link").symlink_to("nothing")
    server.script("put", "slow", "delay:2.5,ok")
    finished = upload(server, data, "--give-up-after", 1)
    assert (finished.code, finished.summary["uploaded"]) == (1, 1)


def test_service_that_stays_away_ends_the_run_with_a_reason(server: FakeS3, data: Path) -> None:
    write(data, "a")
    server.script("put", "a", "hangup...")
    server.script("head_bucket", "bucket", "ok hangup...")
    server.script("list", "bucket", "hangup...")
    finished = upload(server, data, "--give-up-after", 1)
    assert finished.code == 3
    (complaint,) = finished.complaints
    assert complaint.startswith("uploader: nothing has succeeded for 1 s: ")
    assert "connection closed" in complaint


def test_requests_that_an_outage_has_swallowed_are_sent_again(server: FakeS3, data: Path) -> None:
    """Nobody will ever answer them, and a time limit of an hour is far away."""
    small_files(data, 20)
    server.script("put", "*", "noanswer ok")
    server.script("head_bucket", "bucket", "ok hangup hangup ok")
    server.script("list", "bucket", "hangup")
    finished = upload(server, data, "--timeout", 3600)
    assert (finished.code, finished.summary["uploaded"]) == (0, 20)


# One more round


def test_what_failed_for_a_passing_reason_gets_one_more_round(server: FakeS3, data: Path) -> None:
    small_files(data, 20)
    write(data, "late")
    server.script("put", "late", "500 500 500 ok")
    finished = upload(server, data, "--retries", 1)
    assert (finished.code, finished.summary["uploaded"]) == (0, 21)


def test_the_last_round_is_the_last(server: FakeS3, data: Path) -> None:
    small_files(data, 20)
    write(data, "never")
    server.script("put", "never", "500...")
    finished = upload(server, data, "--retries", 1)
    assert (finished.code, finished.summary["failed"]) == (1, 1)
    assert server.requests["put", "never"] == 4
