"""The servers the other tests lean on keep their promises."""

from __future__ import annotations

import contextlib
import errno
import http.client
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from bench.network import Network
from bench.process import Daemon, Server, ServerError, free_port
from bench.sink import Sink
from bench.slowdisk import SlowDisk
from tests.conftest import REPO
from tests.servers import require
from tests.servers.ceph import CephRGW
from tests.servers.moto import Moto

botocore_exceptions = pytest.importorskip("botocore.exceptions")


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    require(Sink)
    with Sink() as server:
        yield server


def wait_for(condition: Callable[[], bool], timeout: float = 10.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def get_status(url: str) -> int:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=5)
    with contextlib.closing(connection):
        connection.request("GET", parts.path)
        return connection.getresponse().status


# moto


def test_moto_stores_an_object_and_forgets_it(moto: Moto) -> None:
    s3 = moto.boto3()
    s3.create_bucket(Bucket="bucket")
    s3.put_object(Bucket="bucket", Key="key", Body=b"body")
    assert s3.get_object(Bucket="bucket", Key="key")["Body"].read() == b"body"
    moto.reset()
    assert s3.list_buckets()["Buckets"] == []


# Ceph RGW


@pytest.fixture(scope="module")
def bucket(ceph: CephRGW) -> str:
    ceph.boto3().create_bucket(Bucket="servers")
    return "servers"


def test_ceph_stores_an_object(ceph: CephRGW, bucket: str) -> None:
    s3 = ceph.boto3()
    s3.put_object(Bucket=bucket, Key="a key/ä", Body=b"body", Metadata={"name": "value"})
    answer = s3.get_object(Bucket=bucket, Key="a key/ä")
    assert answer["Body"].read() == b"body"
    assert answer["Metadata"] == {"name": "value"}


def test_ceph_stores_a_multipart_object(ceph: CephRGW, bucket: str) -> None:
    s3 = ceph.boto3()
    target = {"Bucket": bucket, "Key": "multipart"}
    target["UploadId"] = s3.create_multipart_upload(**target)["UploadId"]
    parts = []
    for number, size in ((1, 5 << 20), (2, 1)):
        etag = s3.upload_part(**target, PartNumber=number, Body=bytes(size))["ETag"]
        parts.append({"PartNumber": number, "ETag": etag})
    s3.complete_multipart_upload(**target, MultipartUpload={"Parts": parts})
    assert s3.head_object(Bucket=bucket, Key="multipart")["ContentLength"] == (5 << 20) + 1


def test_ceph_refuses_a_wrong_secret(ceph: CephRGW, bucket: str) -> None:
    with pytest.raises(botocore_exceptions.ClientError, match="SignatureDoesNotMatch"):
        ceph.boto3(secret_key="wrong").put_object(Bucket=bucket, Key="key", Body=b"")


def test_ceph_hides_a_private_object_from_a_stranger(ceph: CephRGW, bucket: str) -> None:
    ceph.boto3().put_object(Bucket=bucket, Key="private", Body=b"body")
    assert get_status(f"{ceph.endpoint}/{bucket}/private") == 403
    ceph.boto3().put_object_acl(Bucket=bucket, Key="private", ACL="public-read")
    assert get_status(f"{ceph.endpoint}/{bucket}/private") == 200


def test_ceph_keeps_its_objects_over_a_killed_gateway(ceph: CephRGW, bucket: str) -> None:
    ceph.boto3().put_object(Bucket=bucket, Key="kept", Body=b"body")
    ceph.restart_gateway()
    assert ceph.boto3().get_object(Bucket=bucket, Key="kept")["Body"].read() == b"body"


# The sink


def connect(sink: Sink, scheme: str) -> http.client.HTTPConnection:
    if scheme == "http":
        return http.client.HTTPConnection(sink.http.removeprefix("http://"), timeout=5)
    context = ssl.create_default_context(cafile=sink.ca_file)
    return http.client.HTTPSConnection(
        sink.https.removeprefix("https://"), timeout=5, context=context
    )


def put(connection: http.client.HTTPConnection, target: str, body: bytes) -> None:
    connection.request("PUT", target, body)
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 200


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_sink_counts_what_it_got_and_echoes_the_checksum(sink: Sink, scheme: str) -> None:
    sink.reset()
    with contextlib.closing(connect(sink, scheme)) as connection:
        connection.request(
            "PUT", "/bucket/key", b"hello", {"x-amz-checksum-crc64nvme": "M3eFcAZSQlc="}
        )
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"")
        assert answer.headers["ETag"] == '"5d41402abc4b2a76b9719d911017c592"'
        assert answer.headers["x-amz-checksum-crc64nvme"] == "M3eFcAZSQlc="
        assert answer.headers["x-amz-checksum-crc32"] is None
    assert sink.counts() == {"puts": 1, "parts": 0, "completes": 0, "bytes": 5}


def test_sink_plays_a_whole_conversation_with_boto3(sink: Sink) -> None:
    boto3_session = pytest.importorskip("boto3.session")
    sink.reset()
    s3 = boto3_session.Session().client(
        "s3",
        endpoint_url=sink.http,
        region_name="us-east-1",
        aws_access_key_id="any",
        aws_secret_access_key="any",
    )
    s3.create_bucket(Bucket="bucket")
    s3.head_bucket(Bucket="bucket")
    assert s3.get_bucket_location(Bucket="bucket")["LocationConstraint"] is None
    assert s3.list_objects_v2(Bucket="bucket")["KeyCount"] == 0
    target = {"Bucket": "bucket", "Key": "<a&b>"}
    target["UploadId"] = s3.create_multipart_upload(**target)["UploadId"]
    part = s3.upload_part(**target, PartNumber=1, Body=bytes(70 << 20))
    done = s3.complete_multipart_upload(
        **target, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    )
    assert done["Key"] == "<a&b>"
    s3.delete_object(Bucket="bucket", Key="key")
    assert sink.counts() == {"puts": 0, "parts": 1, "completes": 1, "bytes": 70 << 20}


def test_sink_reads_the_body_before_it_answers(sink: Sink) -> None:
    sink.reset()
    port = urlsplit(sink.http).port
    with socket.create_connection(("127.0.0.1", port or 0), timeout=5) as connection:
        connection.sendall(b"PUT /b/k HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nabc")
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        assert sink.counts()["puts"] == 0
        connection.settimeout(5)
        connection.sendall(b"d")
        assert connection.recv(100).startswith(b"HTTP/1.1 200 OK\r\n")
    assert sink.counts() == {"puts": 1, "parts": 0, "completes": 0, "bytes": 4}


def test_sink_counts_what_is_sent_again_once_when_told_so() -> None:
    require(Sink)
    with Sink(distinct=True) as sink, contextlib.closing(connect(sink, "http")) as connection:
        for _ in range(2):
            put(connection, "/bucket/key", b"body")
            put(connection, "/bucket/large?partNumber=1&uploadId=u", b"part")
            put(connection, "/bucket/large?partNumber=2&uploadId=u", b"part")
        assert sink.counts() == {"puts": 1, "parts": 2, "completes": 0, "bytes": 12}


def test_sink_answers_errors_when_told_so_and_none_in_the_calm_bucket() -> None:
    require(Sink)
    with Sink(errors=1.0) as sink, contextlib.closing(connect(sink, "http")) as connection:
        connection.request("PUT", "/bucket/key", b"body")
        answer = connection.getresponse()
        assert (answer.status, b"InternalError" in answer.read()) == (500, True)
        assert sink.counts()["puts"] == 0
        put(connection, "/calm/key", b"body")
        assert sink.counts()["puts"] == 1


def test_sink_resets_connections_when_told_so() -> None:
    require(Sink)
    with Sink(resets=1.0) as sink, contextlib.closing(connect(sink, "http")) as connection:
        connection.request("PUT", "/bucket/key", b"body")
        with pytest.raises(ConnectionResetError):
            connection.getresponse()
        assert sink.counts()["puts"] == 0


def test_sink_answers_late_with_a_fixed_etag_when_told_so() -> None:
    require(Sink)
    with (
        Sink(latency=0.2, etag="fixed") as slow,
        contextlib.closing(connect(slow, "http")) as connection,
    ):
        began = time.monotonic()
        connection.request("PUT", "/bucket/key", b"hello")
        answer = connection.getresponse()
        assert time.monotonic() - began >= 0.2
        assert answer.headers["ETag"] == f'"{"0" * 32}"'


# What they share


@pytest.mark.parametrize("server", [CephRGW, Moto, Network, Sink, SlowDisk])
def test_a_server_that_misses_a_program_says_how_to_get_it(
    server: type[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.process.find_program", lambda name: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    reason = server.missing()
    assert reason is not None
    assert "install" in reason
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="install"):
        require(server)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="install"):
        require(server)


def test_a_program_that_ends_at_once_is_reported_with_its_words(tmp_path: Path) -> None:
    daemon = Daemon(["sh", "-c", "echo no luck; exit 3"], tmp_path / "log")
    with pytest.raises(ServerError, match="(?s)sh ended with 3.*no luck"):
        daemon.wait_until_listening(free_port(), timeout=5)


def test_a_start_that_fails_half_way_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require(CephRGW)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    started: list[Daemon] = []

    def fail(daemon: Daemon, port: int) -> None:
        started.append(daemon)
        if daemon.name == "radosgw":
            raise ServerError("no gateway")

    monkeypatch.setattr(Daemon, "wait_until_listening", fail)
    with pytest.raises(ServerError, match="no gateway"):
        CephRGW().start()
    assert [daemon.name for daemon in started] == ["ceph-mon", "radosgw"]
    assert [daemon.pids() for daemon in started] == [[], []]
    assert list(tmp_path.glob("cephrgw-*")) == []


def living_with(text: str) -> list[str]:
    """Return the processes that have `text` in their arguments or environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            told = (path / "cmdline").read_bytes() + (path / "environ").read_bytes()
            if text.encode() in told:
                found.append(path.name)
    return found


def refuses_connections(url: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", urlsplit(url).port or 0)) == errno.ECONNREFUSED


@pytest.mark.parametrize("server", [CephRGW, Moto, Sink])
def test_a_server_ends_when_the_tests_are_killed(server: type[Server], tmp_path: Path) -> None:
    require(server)
    code = f"from {server.__module__} import {server.__name__} as S; import time; s = S()"
    code += "; s.start(); print(getattr(s, 'endpoint', '') or s.http, flush=True); time.sleep(60)"
    environment = {**os.environ, "PYTHONPATH": str(REPO), "TMPDIR": str(tmp_path)}
    argv = [sys.executable, "-c", code]
    with subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        url = run.stdout.readline().decode().strip()
        assert get_status(url) in (200, 405)
        assert len(living_with(str(tmp_path))) > 1
        run.kill()
    wait_for(lambda: not living_with(str(tmp_path)) and refuses_connections(url))
