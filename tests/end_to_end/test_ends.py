"""When a run stops and when it goes on: refusals, stalls, and one more round at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.command import KEYS, Finished, environment, run, small_files, write
from tests.servers.s3 import FakeS3


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
