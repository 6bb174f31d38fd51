"""The sink keeps its promises."""

from __future__ import annotations

import contextlib
import http.client
import select
import socket
import ssl
from urllib.parse import urlsplit

import pytest

from bench.sink import Sink
from tests.servers import require


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
        connection.request("PUT", "/bucket/key", b"hello")
        assert not select.select([connection.sock], [], [], 0.1)[0]
        answer = connection.getresponse()
        assert answer.headers["ETag"] == f'"{"0" * 32}"'
