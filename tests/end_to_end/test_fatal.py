"""Runs that cannot succeed stop, and say why in one line."""

from __future__ import annotations

from pathlib import Path

from bench.process import free_port
from bench.sink import Sink
from tests.command import (
    KEYS,
    arguments,
    environment,
    halted,
    needs_root,
    new_bucket,
    run,
    stopped,
    write,
)
from tests.servers.ceph import CephRGW
from tests.servers.recorder import Recorder


def test_command_with_a_wrong_secret_stops(ceph: CephRGW, full: Path) -> None:
    env = environment(ceph, AWS_SECRET_ACCESS_KEY="wrong")
    line = stopped(*arguments(full, ceph.endpoint, new_bucket()), env=env)
    assert "SignatureDoesNotMatch" in line


def test_command_with_an_unknown_access_key_stops(ceph: CephRGW, full: Path) -> None:
    env = environment(ceph, AWS_ACCESS_KEY_ID="nobody")
    line = stopped(*arguments(full, ceph.endpoint, new_bucket()), env=env)
    assert "InvalidAccessKeyId" in line


def test_command_no_create_stops_when_the_bucket_is_missing(ceph: CephRGW, full: Path) -> None:
    bucket = new_bucket()
    options = arguments(full, ceph.endpoint, bucket, "--no-create")
    line = stopped(*options, env=environment(ceph))
    assert line == f"uploader: bucket {bucket} does not exist"


def test_command_no_create_creates_nothing(ceph: CephRGW, full: Path) -> None:
    bucket = new_bucket()
    run(*arguments(full, ceph.endpoint, bucket, "--no-create"), env=environment(ceph))
    assert bucket not in [row["Name"] for row in ceph.boto3().list_buckets()["Buckets"]]


def test_command_no_create_uploads_to_a_bucket_that_is_there(ceph: CephRGW, data: Path) -> None:
    bucket = new_bucket()
    ceph.boto3().create_bucket(Bucket=bucket)
    write(data, "a")
    options = arguments(data, ceph.endpoint, bucket, "--no-create")
    assert run(*options, env=environment(ceph)).code == 0


def test_command_with_an_impossible_bucket_name_stops(ceph: CephRGW, full: Path) -> None:
    stopped(*arguments(full, ceph.endpoint, "No"), env=environment(ceph))


def test_command_with_an_unreachable_endpoint_stops(full: Path) -> None:
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    line = stopped(*arguments(full, endpoint, "bucket"), env=environment(**KEYS))
    assert str(port) in line


def test_command_with_a_host_that_cannot_be_resolved_stops(full: Path) -> None:
    """In a network of its own, so that no question leaves the machine."""
    needs_root()
    options = arguments(full, "http://no-such-host.invalid", "bucket")
    line = stopped(*options, env=environment(**KEYS), wrapper=["unshare", "--net"])
    assert "no-such-host.invalid" in line


def test_command_with_a_server_that_never_answers_stops(sink: Sink, full: Path) -> None:
    options = arguments(full, sink.http, "bucket", "--timeout", 1, "--retries", 1)
    with halted(sink.pids()):
        stopped(*options, env=environment(**KEYS))


def test_command_without_credentials_stops(sink: Sink, full: Path) -> None:
    line = stopped(*arguments(full, sink.http, "bucket"), env=environment())
    assert "AWS_ACCESS_KEY_ID" in line


def test_command_with_an_unknown_provider_stops(full: Path) -> None:
    line = stopped(*arguments(full, "x", "b", "--provider", "nosuch"), env=environment())
    assert "nosuch" in line and "s3" in line


def test_command_with_a_server_that_is_none_stops(full: Path) -> None:
    with Recorder() as recorder:
        finished = run(*arguments(full, recorder.endpoint, "b"), env=environment(**KEYS))
    assert finished.code == 3
    note, line = finished.complaints
    assert "whether the bucket is public is not known" in note
    assert "403" in line


def test_command_that_cannot_go_on_still_accounts_for_each_file(ceph: CephRGW, full: Path) -> None:
    env = environment(ceph, AWS_SECRET_ACCESS_KEY="wrong")
    summary = run(*arguments(full, ceph.endpoint, new_bucket(), "--json"), env=env).summary
    counts = [summary[name] for name in ("files", "uploaded", "failed")]
    assert counts == [500, 0, 500]
