"""S3 alone: what goes over the wire, and what each answer means."""

from __future__ import annotations

import hashlib
import socket
import ssl
import time
from base64 import b64encode
from calendar import timegm
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from email.header import decode_header, make_header
from email.utils import formatdate
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import gevent
import pytest
import trustme
from awscrt.checksums import combine_crc64nvme, crc64nvme
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials
from libcloud.storage.base import Container

from providers.base import CloudSettings, Part, Prepared
from providers.errors import (
    Corrupted,
    Denied,
    Failure,
    Fatal,
    NoBucket,
    NotFound,
    Rejected,
    Throttled,
    Transient,
    Unreachable,
)
from providers.s3.cloud import S3Cloud
from providers.s3.driver import S3Driver
from providers.s3.service import Service
from providers.s3.session import S3Session
from providers.s3.sigv4 import EMPTY_SHA256, UNSIGNED_PAYLOAD, Credentials
from providers.source import BLOCK_SIZE, Source
from tests.servers.ceph import CephRGW
from tests.servers.scripted import CLOSE, RESET, Answer, Request, ScriptedServer, reply

KEYS = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
TEMPORARY = KEYS._replace(token="AQoDYXdzEJr//token+value==")
BUCKET = "bucket"
CHECKSUM = "x-amz-checksum-crc64nvme"
CONTENT = b"The quick brown fox"
COMPLETED = reply(body=b"<R><Key>key</Key><ETag>&quot;etag-2&quot;</ETag></R>")
METADATA = [("mode", "0100644"), ("mtime", "1.000000000")]


def checksum_of(content: bytes) -> str:
    return b64encode(crc64nvme(content).to_bytes(8, "big")).decode()


def md5_of(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def stored(request: Request) -> bytes:
    """A service that knows the checksum accepts what it got."""
    headers = {CHECKSUM.replace("-", "_"): checksum_of(request.body)}
    return reply(etag=f'"{md5_of(request.body)}"', **headers)


def stored_without_echo(request: Request) -> bytes:
    """An older service, which knows MD5 only, accepts what it got."""
    return reply(etag=f'"{md5_of(request.body)}"')


def error(status: int, code: str, message: str = "", fields: str = "", **headers: str) -> bytes:
    body = f"<Error><Code>{code}</Code><Message>{message}</Message>{fields}</Error>"
    return reply(status, f'<?xml version="1.0"?>\n{body}'.encode(), **headers)


def session_on(
    server: ScriptedServer,
    credentials: Callable[[], Credentials] = lambda: KEYS,
    region: str = "us-east-1",
    **options: Any,
) -> S3Session:
    service = Service(server.endpoint, region, credentials, timeout=5, **options)
    return S3Session(S3Driver(service), BUCKET)


class Conversation:
    """A session with a scripted server, and files to send."""

    def __init__(self, server: ScriptedServer, session: S3Session, directory: Path) -> None:
        self.server = server
        self.session = session
        self.path = directory / "file"

    @property
    def requests(self) -> list[Request]:
        return self.server.requests

    def put(self, content: bytes = CONTENT, key: str = "key") -> None:
        self.path.write_bytes(content)
        with Source(str(self.path)) as source:
            self.session.put(key, source, METADATA, "text/plain")

    def put_part(self, number: int, content: bytes) -> Part:
        self.path.write_bytes(content)
        with Source(str(self.path)) as source:
            return self.session.put_part("key", "id", number, source, 0, len(content))


@pytest.fixture
def talk(tmp_path: Path) -> Callable[..., Any]:
    """Opens a conversation in which the server gives these answers."""

    @contextmanager
    def open_conversation(*answers: Answer, **options: Any) -> Iterator[Conversation]:
        with (
            ScriptedServer(*answers) as server,
            closing(session_on(server, **options)) as session,
        ):
            yield Conversation(server, session, tmp_path)

    return open_conversation


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEYS.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEYS.secret_key)


# The request, over the wire.


def is_signed_right(request: Request, scheme: str, credentials: Credentials) -> bool:
    """botocore comes to the same signature from what arrived."""
    scope, names, signature = request.headers["authorization"].split(", ")
    signed = names.removeprefix("SignedHeaders=").split(";")
    url = f"{scheme}://{request.headers['host']}{request.target}"
    path = request.target.partition("?")[0]
    assert path == quote(unquote(path), safe="/~"), "S3 checks the path in this form"
    rebuilt = AWSRequest(request.method, url, data=request.body)
    for name in signed:
        rebuilt.headers[name] = request.headers[name]
    rebuilt.context["timestamp"] = request.headers["x-amz-date"]
    auth = S3SigV4Auth(BotoCredentials(*credentials), "s3", "us-east-1")
    text = auth.string_to_sign(rebuilt, auth.canonical_request(rebuilt))
    assert scope == f"AWS4-HMAC-SHA256 Credential={auth.scope(rebuilt)}"
    assert {"host", *[name for name in request.headers if name.startswith("x-amz-")]} <= {*signed}
    return signature == f"Signature={auth.signature(text, rebuilt)}"


@pytest.mark.parametrize(
    "key", ["key", "a b+c%~&#?'\"(!)", "/a//b/../c/", "Grüße/🎉", "line\nbreak", "x" * 1024]
)
def test_a_put_is_signed_right(talk: Any, key: str) -> None:
    with talk(stored) as conversation:
        conversation.put(key=key)
    assert is_signed_right(conversation.requests[0], "http", KEYS)


def test_every_kind_of_request_is_signed_right(talk: Any) -> None:
    begun = reply(body=b"<R><UploadId>an+id/with=odd&amp;signs</UploadId></R>")
    uploads = b"<R><Upload><Key>k</Key><UploadId>i</UploadId>"
    uploads += b"<Initiated>2026-01-01T00:00:00.000Z</Initiated></Upload></R>"
    answers = [reply(), begun, stored, COMPLETED, reply(204), reply(body=uploads)]
    with talk(*answers) as conversation:
        session = conversation.session
        session.stat("key")
        upload_id = session.begin("key", METADATA, "text/plain")
        part = conversation.put_part(1, CONTENT)
        session.complete("key", upload_id, [part])
        session.abort("key", upload_id)
        list(session.uploads("prefix/"))
    assert [request.method for request in conversation.requests] == [
        *("HEAD", "POST", "PUT", "POST", "DELETE", "GET")
    ]
    assert all(is_signed_right(request, "http", KEYS) for request in conversation.requests)


def test_libclouds_own_requests_are_signed_right(talk: Any) -> None:
    namespace = b'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
    listing = reply(body=b"<R %b><IsTruncated>false</IsTruncated></R>" % namespace)
    with talk(reply(), listing, credentials=lambda: TEMPORARY) as conversation:
        driver = conversation.session.driver
        container = driver.get_container(BUCKET)
        driver.list_container_objects(container, prefix="a b+c%~&#?é")
    for request in conversation.requests:
        # libcloud writes a space as "+", which a service reads as a space and checks as "%20".
        spelled = request._replace(target=request.target.replace("+", "%20"))
        assert is_signed_right(spelled, "http", TEMPORARY)


def test_a_session_token_is_sent_and_signed(talk: Any) -> None:
    with talk(stored, credentials=lambda: TEMPORARY) as conversation:
        conversation.put()
    assert conversation.requests[0].headers["x-amz-security-token"] == TEMPORARY.token
    assert is_signed_right(conversation.requests[0], "http", TEMPORARY)


@pytest.mark.parametrize("size", [0, 100, BLOCK_SIZE, BLOCK_SIZE + 1])
def test_over_plain_http_the_body_is_signed(talk: Any, size: int) -> None:
    with talk(stored) as conversation:
        conversation.put(bytes(size))
    sent = conversation.requests[0]
    assert sent.headers["x-amz-content-sha256"] == hashlib.sha256(bytes(size)).hexdigest()
    assert sent.body == bytes(size)


@pytest.mark.parametrize("size", [0, BLOCK_SIZE + 1])
def test_the_body_is_not_signed_when_told_so(talk: Any, size: int) -> None:
    with talk(stored, unsigned_payload=True) as conversation:
        conversation.put(bytes(size))
    sent = conversation.requests[0]
    assert sent.headers["x-amz-content-sha256"] == UNSIGNED_PAYLOAD
    assert sent.headers[CHECKSUM] == checksum_of(bytes(size))
    assert is_signed_right(sent, "http", KEYS)


@pytest.mark.parametrize("size", [0, BLOCK_SIZE + 1])
def test_over_tls_the_body_is_not_signed(tmp_path: Path, size: int) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with (
        ScriptedServer(stored, tls=context) as server,
        closing(session_on(server, ca_bundle=str(tmp_path / "ca.pem"))) as session,
    ):
        Conversation(server, session, tmp_path).put(bytes(size))
    assert server.requests[0].headers["x-amz-content-sha256"] == UNSIGNED_PAYLOAD
    assert is_signed_right(server.requests[0], "https", KEYS)
    assert server.requests[0].body == bytes(size)


def test_a_put_carries_metadata_type_and_checksum(talk: Any) -> None:
    with talk(stored) as conversation:
        conversation.put()
    request = conversation.requests[0]
    expected = {
        "content-length": str(len(CONTENT)),
        "content-type": "text/plain",
        "x-amz-meta-mode": "0100644",
        "x-amz-meta-mtime": "1.000000000",
        CHECKSUM: checksum_of(CONTENT),
    }
    assert (request.method, request.target) == ("PUT", "/bucket/key")
    assert expected.items() <= request.headers.items()


def test_one_connection_serves_all_requests_of_a_session(talk: Any) -> None:
    with talk(stored, stored, reply()) as conversation:
        conversation.put()
        conversation.put()
        conversation.session.stat("key")
        assert len(conversation.server.peers) == 1


# Where a bucket is.


@pytest.mark.parametrize(
    ("region", "bucket", "authority", "path"),
    [
        ("us-east-1", "bucket", "bucket.s3.us-east-1.amazonaws.com", "/"),
        ("eu-central-2", "a-b", "a-b.s3.eu-central-2.amazonaws.com", "/"),
        ("us-east-1", "x" * 63, f"{'x' * 63}.s3.us-east-1.amazonaws.com", "/"),
        ("us-east-1", "x" * 64, "s3.us-east-1.amazonaws.com", f"/{'x' * 64}/"),
        ("us-east-1", "with.dots", "s3.us-east-1.amazonaws.com", "/with.dots/"),
        ("us-east-1", "Capitals", "s3.us-east-1.amazonaws.com", "/Capitals/"),
        ("us-east-1", "under_score", "s3.us-east-1.amazonaws.com", "/under_score/"),
        ("us-east-1", "tenant:b", "s3.us-east-1.amazonaws.com", "/tenant%3Ab/"),
        ("us-east-1", "-ab", "s3.us-east-1.amazonaws.com", "/-ab/"),
        ("us-east-1", "b", "s3.us-east-1.amazonaws.com", "/b/"),
        ("cn-north-1", "bucket", "bucket.s3.cn-north-1.amazonaws.com.cn", "/"),
    ],
)
def test_the_address_of_a_bucket_on_aws(
    region: str, bucket: str, authority: str, path: str
) -> None:
    endpoint, base = Service(None, region, lambda: KEYS).address(bucket)
    assert (endpoint.secure, endpoint.authority, base) == (True, authority, path)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9000", "https://s3.example.com/"])
def test_the_address_of_a_bucket_elsewhere(url: str) -> None:
    endpoint, base = Service(url, "us-east-1", lambda: KEYS).address("b")
    assert (endpoint.authority, base) == (urlsplit(url).netloc, "/b/")


@pytest.mark.parametrize("url", ["127.0.0.1:9000", "ftp://h", "http://h/?q", "http://u:p@h"])
def test_an_endpoint_that_is_no_url_is_fatal(keys: None, url: str) -> None:
    with pytest.raises(Fatal, match="--endpoint-url"):
        S3Cloud(CloudSettings("s3", BUCKET, url))


def test_the_path_of_an_endpoint_goes_before_bucket_and_key_and_is_signed(tmp_path: Path) -> None:
    with ScriptedServer(reply(), stored, reply()) as server:
        service = Service(f"{server.endpoint}/storage/v1/s3/", "us-east-1", lambda: KEYS, timeout=5)
        with closing(S3Session(S3Driver(service), BUCKET)) as session:
            session.prepare_bucket(create=False)
            Conversation(server, session, tmp_path).put(key="a b")
            session.driver.get_container(BUCKET)
    assert [request.target for request in server.requests] == [
        "/storage/v1/s3/bucket",
        "/storage/v1/s3/bucket/a%20b",
        "/storage/v1/s3/bucket",
    ]
    assert all(is_signed_right(request, "http", KEYS) for request in server.requests)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("b/backups", "'b/backups' is no bucket's name: what follows the slash belongs in"),
        ("arn:aws:s3:us-east-1:1:accesspoint/a", "an access point goes by its alias"),
        ("", "is no bucket's name"),
        ("..", "is no bucket's name"),
        ("a b", "is no bucket's name"),
        ("a\nb", "is no bucket's name"),
        ("a\udcffb", "is no bucket's name"),
    ],
)
@pytest.mark.parametrize("url", [None, "http://127.0.0.1:1"])
def test_what_is_no_bucket_is_refused_before_any_request(
    keys: None, name: str, reason: str, url: str | None
) -> None:
    with pytest.raises(Fatal) as caught:
        S3Cloud(CloudSettings("s3", name, url))
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_operator_may_ask_for_either_style() -> None:
    def address(url: str | None, style: str, bucket: str = "bucket") -> tuple[str, str]:
        service = Service(url, "us-east-1", lambda: KEYS, addressing=style)
        endpoint, base = service.address(bucket)
        return endpoint.authority, base

    assert address(None, "path") == ("s3.us-east-1.amazonaws.com", "/bucket/")
    assert address("http://s3.example/p", "virtual") == ("bucket.s3.example", "/p/")
    assert address("http://s3.example", "virtual", "a.b") == ("a.b.s3.example", "/")


@pytest.mark.parametrize(
    ("url", "bucket"),
    [
        (None, "under_score"),
        (None, "Capitals"),
        (None, "x" * 64),
        (None, "-ab"),
        (f"http://{'h.' * 120}example", "bucket"),
        ("http://127.0.0.1:9000", "bucket"),
        ("http://[::1]:9000", "bucket"),
    ],
)
def test_a_host_name_that_cannot_be_is_refused(url: str | None, bucket: str) -> None:
    service = Service(url, "us-east-1", lambda: KEYS, addressing="virtual")
    with pytest.raises(Fatal, match="--addressing path"):
        service.address(bucket)


@pytest.mark.usefixtures("keys")
def test_the_destination_on_aws_has_no_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bucket's name is its alone in all regions of a partition, and temporary keys change."""
    first = S3Cloud(CloudSettings("s3", BUCKET, region="eu-west-1")).destination()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "another")
    assert S3Cloud(CloudSettings("s3", BUCKET, region="eu-west-1")).destination() == first
    assert first == f"s3 aws {BUCKET}"
    assert S3Cloud(CloudSettings("s3", BUCKET, region="cn-north-1")).destination() != first


@pytest.mark.usefixtures("keys")
def test_the_destination_elsewhere_tells_accounts_and_paths_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def destination(url: str) -> str:
        return S3Cloud(CloudSettings("s3", BUCKET, url)).destination()

    first = destination("http://h:1/a")
    assert KEYS.access_key not in first
    assert destination("http://h:1/a/") == first
    assert destination("http://h:1/b") != first
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "another")
    assert destination("http://h:1/a") != first


def test_missing_credentials_are_fatal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(Fatal, match="no credentials"):
        S3Cloud(CloudSettings("s3", BUCKET, "http://127.0.0.1:1"))


def test_an_unreadable_ca_file_is_fatal() -> None:
    with pytest.raises(Fatal, match="/no/such/file"):
        Service("https://127.0.0.1", "us-east-1", lambda: KEYS, ca_bundle="/no/such/file")


# Proof of content.


def test_an_echoed_checksum_is_proof_and_no_md5_is_sent(talk: Any) -> None:
    with talk(stored, stored) as conversation:
        conversation.put()
        conversation.put()
    assert not any("content-md5" in request.headers for request in conversation.requests)


def test_an_etag_that_is_the_md5_is_proof(talk: Any) -> None:
    with talk(stored_without_echo, stored_without_echo) as conversation:
        conversation.put()
        conversation.put(bytes(BLOCK_SIZE + 1))


def test_another_checksum_in_the_echo_is_transient(talk: Any) -> None:
    wrong = reply(etag=f'"{md5_of(CONTENT)}"', x_amz_checksum_crc64nvme=checksum_of(b"other"))
    with talk(wrong) as conversation, pytest.raises(Transient, match="checksum"):
        conversation.put()


def test_another_etag_without_echo_is_transient(talk: Any) -> None:
    wrong = reply(etag=f'"{md5_of(b"other")}"')
    with talk(wrong) as conversation, pytest.raises(Transient, match="ETag"):
        conversation.put()


@pytest.mark.parametrize(
    "headers",
    [
        {"etag": f'"{"0" * 32}"', "x_amz_server_side_encryption": "aws:kms"},
        {"etag": f'"{"0" * 32}"', "x_amz_server_side_encryption_customer_algorithm": "AES256"},
        {"etag": '"no-md5"'},
    ],
    ids=["KMS", "customer key", "another kind of ETag"],
)
def test_without_other_proof_a_content_md5_is_sent(talk: Any, headers: dict[str, str]) -> None:
    with talk(reply(**headers), reply(**headers), reply(**headers)) as conversation:
        conversation.put()
        conversation.put()
    expected = b64encode(hashlib.md5(CONTENT).digest()).decode()
    sent = [request.headers.get("content-md5") for request in conversation.requests]
    assert sent == [None, expected, expected]
    assert {request.body for request in conversation.requests} == {CONTENT}
    assert is_signed_right(conversation.requests[1], "http", KEYS)


def test_s3s_own_encryption_leaves_the_etag_an_md5(talk: Any) -> None:
    answer = reply(etag=f'"{md5_of(CONTENT)}"', x_amz_server_side_encryption="AES256")
    with talk(answer) as conversation:
        conversation.put()


NOTICE = f"the service does not know {CHECKSUM}: content is proven by MD5 instead"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "InvalidArgument"),
        (400, "InvalidRequest"),
        (400, "NotImplemented"),
        (400, "MissingContentMD5"),
        (501, "NotImplemented"),
    ],
)
def test_a_service_that_refuses_the_checksum_is_asked_by_md5_from_then_on(
    talk: Any, status: int, code: str
) -> None:
    refused = error(status, code, "Unsupported header 'x-amz-checksum-crc64nvme'")
    with talk(refused, stored_without_echo, stored_without_echo) as conversation:
        conversation.put()
        conversation.put()
        assert conversation.session.driver.service.notices == [NOTICE]
    carried = [CHECKSUM in request.headers for request in conversation.requests]
    assert carried == [True, False, False]
    expected = b64encode(hashlib.md5(CONTENT).digest()).decode()
    sent = [request.headers.get("content-md5") for request in conversation.requests]
    assert sent == [None, expected, expected]
    assert {request.body for request in conversation.requests} == {CONTENT}


def test_a_part_that_is_refused_for_its_checksum_goes_without(talk: Any) -> None:
    with talk(error(400, "InvalidArgument"), stored_without_echo, COMPLETED) as conversation:
        part = conversation.put_part(1, bytes(BLOCK_SIZE + 1))
        conversation.session.complete("key", "id", [part])
    assert b"Checksum" not in conversation.requests[-1].body


def test_a_multipart_upload_that_is_refused_for_its_checksum_begins_without(talk: Any) -> None:
    begun = reply(body=b"<R><UploadId>id</UploadId></R>")
    with talk(error(501, "NotImplemented"), begun, stored_without_echo) as conversation:
        assert conversation.session.begin("key", METADATA, "text/plain") == "id"
        conversation.put_part(1, CONTENT)
    names = [name for request in conversation.requests[1:] for name in request.headers]
    assert not [name for name in names if "checksum" in name]
    assert conversation.requests[1].headers["x-amz-meta-mode"] == "0100644"


def test_what_is_refused_without_the_checksum_too_says_nothing_about_it(talk: Any) -> None:
    other = error(400, "InvalidArgument", "not this key")
    with talk(other, other, stored) as conversation:
        with pytest.raises(Rejected, match="not this key"):
            conversation.put()
        conversation.put()
        assert conversation.session.driver.service.notices == []
    assert CHECKSUM in conversation.requests[-1].headers


@pytest.mark.parametrize("answer", [error(400, "InvalidArgument"), error(501, "NotImplemented")])
def test_a_service_that_has_echoed_the_checksum_knows_it(talk: Any, answer: bytes) -> None:
    with talk(stored, stored_without_echo, answer, stored) as conversation:
        conversation.put()
        conversation.put()
        with pytest.raises(Rejected):
            conversation.put()
        conversation.put()
    assert all(CHECKSUM in request.headers for request in conversation.requests)


@pytest.mark.parametrize("answer", [error(400, "KeyTooLongError"), error(403, "AccessDenied")])
def test_a_refusal_for_another_reason_is_not_repeated(talk: Any, answer: bytes) -> None:
    with talk(answer) as conversation, pytest.raises(Rejected):
        conversation.put()


# What an answer means.


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (error(500, "InternalError"), Transient),
        (reply(500), Transient),
        (error(200, "InternalError"), Transient),
        (reply(200), Transient),
        (reply(502, b"<html>Bad Gateway</html>"), Transient),
        (reply(504), Transient),
        (reply(408), Transient),
        (error(400, "RequestTimeout"), Transient),
        (error(400, "BadDigest"), Transient),
        (error(400, "XAmzContentChecksumMismatch"), Transient),
        (error(409, "OperationAborted"), Transient),
        (error(503, "SlowDown"), Throttled),
        (reply(503), Throttled),
        (reply(429), Throttled),
        (error(400, "RequestLimitExceeded"), Throttled),
        (error(403, "AccessDenied", "Access Denied"), Denied),
        (reply(403), Denied),
        (reply(401), Denied),
        (error(404, "NoSuchKey"), NotFound),
        (reply(404), NotFound),
        (reply(404, body=b"404 page not found"), Transient),
        (reply(404, body=b"<html><h1>404 Not Found</h1></html>"), Transient),
        (error(404, "NoSuchBucket"), Fatal),
        (error(403, "SignatureDoesNotMatch"), Fatal),
        (error(403, "InvalidAccessKeyId"), Fatal),
        (error(400, "ExpiredToken"), Fatal),
        (error(400, "InvalidToken"), Fatal),
        (error(507, "InsufficientStorage"), Fatal),
        (error(400, "KeyTooLongError"), Rejected),
        (error(413, "EntityTooLarge"), Rejected),
        (RESET, Transient),
        (CLOSE, Transient),
        (b"garbage\r\n\r\n", Transient),
    ],
)
def test_the_failure_that_an_answer_stands_for(
    talk: Any, answer: bytes, kind: type[Failure]
) -> None:
    with talk(answer) as conversation, pytest.raises(Failure) as caught:
        conversation.put(bytes(BLOCK_SIZE + 1))
    assert type(caught.value) is kind
    assert str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_session_is_usable_after_a_reset(talk: Any) -> None:
    with talk(RESET, stored) as conversation:
        with pytest.raises(Transient):
            conversation.put(bytes(BLOCK_SIZE + 1))
        conversation.put()


@pytest.mark.parametrize("status", [429, 500, 503])
def test_retry_after_is_told(talk: Any, status: int) -> None:
    with talk(reply(status, retry_after="7")) as conversation, pytest.raises(Transient) as caught:
        conversation.put()
    assert caught.value.after == 7


def test_a_retry_after_may_be_a_date_by_the_services_clock(talk: Any) -> None:
    dates = {
        "date": "Wed, 21 Oct 2015 07:28:00 GMT",
        "retry_after": "Wed, 21 Oct 2015 07:28:09 GMT",
    }
    with talk(reply(503, **dates)) as conversation, pytest.raises(Throttled) as caught:
        conversation.put()
    assert caught.value.after == 9


@pytest.mark.parametrize("value", ["", "soon", "-1", "Wed, 41 Oct 2015 07:28:00 GMT"])
def test_a_retry_after_of_another_kind_is_left_out(talk: Any, value: str) -> None:
    with talk(reply(503, retry_after=value)) as conversation, pytest.raises(Throttled) as caught:
        conversation.put()
    assert caught.value.after is None


@pytest.mark.parametrize("message", ["Access Denied", "two\n lines", ""])
def test_the_services_words_are_kept_in_one_line(talk: Any, message: str) -> None:
    answer = error(403, "AccessDenied", message)
    with talk(answer) as conversation, pytest.raises(Denied) as caught:
        conversation.put()
    expected = " ".join(message.split())
    assert str(caught.value) == (f"AccessDenied: {expected}" if expected else "AccessDenied")


def test_a_stale_connection_is_replaced_at_once(talk: Any) -> None:
    with talk(stored, CLOSE, stored) as conversation:
        conversation.put()
        conversation.put()


# Clock and credentials.


def test_the_clock_follows_the_service(talk: Any) -> None:
    skewed = error(403, "RequestTimeTooSkewed", date=formatdate(time.time() + 7200, usegmt=True))
    with talk(skewed, stored) as conversation:
        with pytest.raises(Transient, match="clock"):
            conversation.put()
        conversation.put()
    first, second = [
        timegm(time.strptime(request.headers["x-amz-date"], "%Y%m%dT%H%M%SZ"))
        for request in conversation.requests
    ]
    assert second - first == pytest.approx(7200, abs=10)


def test_a_clock_that_was_followed_in_vain_is_fatal(talk: Any) -> None:
    skewed = error(403, "RequestTimeTooSkewed", date=formatdate(time.time() + 7200, usegmt=True))
    with talk(skewed, skewed) as conversation:
        with pytest.raises(Transient):
            conversation.put()
        with pytest.raises(Fatal, match="RequestTimeTooSkewed"):
            conversation.put()


def test_skew_without_a_date_is_fatal(talk: Any) -> None:
    with talk(error(403, "RequestTimeTooSkewed")) as conversation, pytest.raises(Fatal):
        conversation.put()


def test_an_expired_token_that_was_renewed_meanwhile_is_transient(talk: Any) -> None:
    current = TEMPORARY

    def expired(request: Request) -> bytes:
        nonlocal current
        current = TEMPORARY._replace(token="renewed")
        return error(400, "ExpiredToken", "The provided token has expired.")

    with talk(expired, stored, credentials=lambda: current) as conversation:
        with pytest.raises(Transient, match="renewed credentials"):
            conversation.put()
        conversation.put()
    assert conversation.requests[1].headers["x-amz-security-token"] == "renewed"


def test_an_expired_token_that_cannot_be_renewed_is_an_outage(talk: Any) -> None:
    expired = False

    def answer(request: Request) -> bytes:
        nonlocal expired
        expired = True
        return error(400, "ExpiredToken")

    def credentials() -> Credentials:
        if expired:
            raise Unreachable("the credentials cannot be renewed")
        return TEMPORARY

    with talk(answer, credentials=credentials) as conversation, pytest.raises(Unreachable):
        conversation.put()


# The bucket.

NO_BLOCK = error(501, "NotImplemented")
"""A service that cannot block public access."""
OWNED = error(409, "BucketAlreadyOwnedByYou")


def prepare(conversation: Conversation, create: bool = False) -> Prepared:
    return conversation.session.prepare_bucket(create)


def test_a_bucket_that_may_not_be_looked_at_may_still_be_written_to(talk: Any) -> None:
    with talk(reply(403), error(403, "AccessDenied")) as conversation:
        assert prepare(conversation) == Prepared(False, "")


@pytest.mark.parametrize("code", ["SignatureDoesNotMatch", "InvalidAccessKeyId"])
def test_a_refused_look_at_the_bucket_is_explained(talk: Any, code: str) -> None:
    answers = [reply(403), error(403, code, "Not you.")]
    with talk(*answers) as conversation, pytest.raises(Fatal, match=f"{code}: Not you."):
        prepare(conversation)


def test_a_bucket_outside_the_default_region_is_created_there(talk: Any) -> None:
    with talk(reply(404), reply(), NO_BLOCK, region="eu-west-3") as conversation:
        made = prepare(conversation, create=True)
        assert made.created
        assert "created" in made.note
    head, put, _ = conversation.requests
    assert (head.method, put.method, put.target) == ("HEAD", "PUT", "/bucket")
    assert b"<LocationConstraint>eu-west-3</LocationConstraint>" in put.body
    assert "x-amz-acl" not in put.headers


def test_a_bucket_in_the_default_region_is_created_without_a_body(talk: Any) -> None:
    with talk(reply(404), reply(), NO_BLOCK) as conversation:
        prepare(conversation, create=True)
    assert conversation.requests[1].body == b""
    assert conversation.requests[1].headers["x-amz-content-sha256"] == EMPTY_SHA256


def test_a_bucket_that_another_run_of_ours_has_just_created_will_do(talk: Any) -> None:
    """But it is theirs: what they want of it stays."""
    with talk(reply(404), OWNED) as conversation:
        assert prepare(conversation, create=True) == Prepared(False, "")


def test_a_bucket_that_is_there_at_the_second_look_is_not_new(talk: Any) -> None:
    with talk(reply(404), reply()) as conversation:
        with pytest.raises(NoBucket):
            prepare(conversation)
        assert prepare(conversation, create=True) == Prepared(False, "")


@pytest.mark.parametrize("lost", [reply(500), CLOSE])
def test_a_creation_that_is_repeated_after_a_lost_answer_is_ours(talk: Any, lost: bytes) -> None:
    with talk(reply(404), lost, reply(404), OWNED, NO_BLOCK) as conversation:
        with pytest.raises(Transient):
            prepare(conversation, create=True)
        assert prepare(conversation, create=True) == Prepared(True, "")


def test_a_bucket_whose_creation_was_not_answered_is_new(talk: Any) -> None:
    """What earlier runs have recorded of one with this name is void."""
    with talk(reply(404), reply(500), reply(), NO_BLOCK, reply()) as conversation:
        with pytest.raises(Transient):
            prepare(conversation, create=True)
        assert prepare(conversation, create=True) == Prepared(True, "")
        assert prepare(conversation, create=True) == Prepared(False, "")


def test_a_missing_bucket_of_an_accelerated_run_is_not_created(
    talk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That endpoint creates none, and a new bucket would take no accelerated transfers."""
    with talk(reply(404)) as conversation, pytest.raises(Fatal, match="turn on its acceleration"):
        monkeypatch.setattr(Service, "is_accelerated", True)
        prepare(conversation, create=True)


@pytest.mark.parametrize(
    "answer",
    [error(409, "BucketAlreadyExists"), error(403, "AccessDenied"), error(400, "TooManyBuckets")],
)
def test_a_bucket_that_cannot_be_created_is_fatal(talk: Any, answer: bytes) -> None:
    with talk(reply(404), answer) as conversation, pytest.raises(Fatal, match="cannot be created"):
        prepare(conversation, create=True)


# Multipart uploads.

PARTS = [CONTENT, b"the end"]
NO_SUCH_UPLOAD = error(404, "NoSuchUpload")


def put_parts(conversation: Conversation) -> list[Part]:
    return [conversation.put_part(number, part) for number, part in enumerate(PARTS, 1)]


def test_complete_names_the_parts_and_the_checksum_of_the_whole(talk: Any) -> None:
    with talk(stored, stored, COMPLETED) as conversation:
        conversation.session.complete("key", "id", put_parts(conversation))
    request = conversation.requests[-1]
    assert (request.method, request.target) == ("POST", "/bucket/key?uploadId=id")
    assert request.headers[CHECKSUM] == checksum_of(b"".join(PARTS))
    assert request.headers["x-amz-checksum-type"] == "FULL_OBJECT"
    assert request.headers["x-amz-mp-object-size"] == str(len(b"".join(PARTS)))
    for number, part in enumerate(PARTS, 1):
        assert f"<PartNumber>{number}</PartNumber>".encode() in request.body
        assert md5_of(part).encode() in request.body
        assert checksum_of(part).encode() in request.body


def test_a_service_without_the_checksum_is_not_told_it_on_complete(talk: Any) -> None:
    answers = [stored_without_echo, stored_without_echo, COMPLETED]
    with talk(*answers) as conversation:
        conversation.session.complete("key", "id", put_parts(conversation))
    request = conversation.requests[-1]
    assert CHECKSUM not in request.headers
    assert b"Checksum" not in request.body


@pytest.mark.parametrize(
    ("code", "kind"),
    [("InternalError", Transient), ("SlowDown", Throttled), ("SomethingElse", Transient)],
)
def test_an_error_inside_a_200_on_complete_is_no_success(
    talk: Any, code: str, kind: type[Failure]
) -> None:
    with talk(stored, stored, error(200, code)) as conversation:
        parts = put_parts(conversation)
        with pytest.raises(Failure) as caught:
            conversation.session.complete("key", "id", parts)
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    "beginning",
    [
        '<Error xmlns="http://s3.amazonaws.com/doc/2006-03-01/">',
        '<s3:Error xmlns:s3="http://s3.amazonaws.com/doc/2006-03-01/">',
        "<Error >",
        f"<?xml version='1.0'?><!-- {'-+' * 1000} -->\n<Error\n>",
    ],
    ids=["namespace", "prefix", "space", "comment"],
)
def test_an_error_on_complete_is_known_by_its_roots_name(talk: Any, beginning: str) -> None:
    end = "</s3:Error>" if "s3:" in beginning else "</Error>"
    body = f"{beginning}<Code>InternalError</Code><Key>key</Key><ETag>x</ETag>{end}"
    with talk(stored, stored, reply(body=body.encode())) as conversation:
        parts = put_parts(conversation)
        with pytest.raises(Transient):
            conversation.session.complete("key", "id", parts)


def test_an_error_below_the_root_is_no_error(talk: Any) -> None:
    answer = reply(body=b"<R><Key>key</Key><ETag>e-2</ETag><Error>none</Error></R>")
    with talk(stored, stored, answer) as conversation:
        conversation.session.complete("key", "id", put_parts(conversation))


@pytest.mark.parametrize("body", [b"", b"<html/>", b"<R/>", b"no XML"])
def test_a_200_on_complete_that_names_no_object_is_transient(talk: Any, body: bytes) -> None:
    with talk(stored, stored, reply(body=body)) as conversation:
        parts = put_parts(conversation)
        with pytest.raises(Transient):
            conversation.session.complete("key", "id", parts)


def test_an_empty_etag_on_complete_as_ceph_gives_it_will_do(talk: Any) -> None:
    answer = reply(body=b"<R><Key>key</Key><ETag></ETag></R>")
    with talk(stored, stored, answer) as conversation:
        conversation.session.complete("key", "id", put_parts(conversation))


def test_another_checksum_on_complete_asks_for_the_whole_file_again(talk: Any) -> None:
    wrong = checksum_of(b"other")
    answer = reply(
        body=f"<R><Key>key</Key><ChecksumCRC64NVME>{wrong}</ChecksumCRC64NVME></R>".encode()
    )
    with talk(stored, stored, answer) as conversation:
        parts = put_parts(conversation)
        with pytest.raises(Corrupted, match="checksum"):
            conversation.session.complete("key", "id", parts)


def etag_of_the_whole() -> str:
    digests = b"".join(hashlib.md5(part).digest() for part in PARTS)
    return f'"{md5_of(digests)}-{len(PARTS)}"'


def test_complete_after_a_complete_that_had_succeeded_is_success(talk: Any) -> None:
    answers = [stored, stored, NO_SUCH_UPLOAD, reply(etag=etag_of_the_whole())]
    with talk(*answers) as conversation:
        conversation.session.complete("key", "id", put_parts(conversation))


@pytest.mark.parametrize(
    "head", [reply(404), reply(etag=f'"{md5_of(b"other")}"')], ids=["no object", "another object"]
)
def test_complete_of_an_upload_that_is_gone(talk: Any, head: bytes) -> None:
    with talk(stored, stored, NO_SUCH_UPLOAD, head) as conversation:
        parts = put_parts(conversation)
        with pytest.raises(NotFound, match="NoSuchUpload"):
            conversation.session.complete("key", "id", parts)


def test_complete_that_cannot_be_looked_after_is_unproven_and_not_fatal(talk: Any) -> None:
    """A key that may only put objects: the file is sent again as a whole."""
    denied = reply(403)
    with talk(stored, stored, NO_SUCH_UPLOAD, denied) as conversation:
        parts = put_parts(conversation)
        with pytest.raises(NotFound) as caught:
            conversation.session.complete("key", "id", parts)
    assert caught.value.restart


def test_an_abort_that_is_refused_is_not_fatal(talk: Any) -> None:
    with talk(error(403, "AccessDenied")) as conversation, pytest.raises(Denied):
        conversation.session.abort("key", "id")


def test_a_begin_whose_answer_was_lost_is_not_repeated_unseen(talk: Any) -> None:
    """The first may have begun an upload: whoever asks again has to look for it."""
    with talk(stored, CLOSE) as conversation:
        conversation.put()
        with pytest.raises(Transient):
            conversation.session.begin("key", METADATA, "text/plain")


def test_complete_and_abort_on_a_stale_connection_are_repeated_at_once(talk: Any) -> None:
    with talk(stored, stored, CLOSE, COMPLETED, CLOSE, reply(204)) as conversation:
        conversation.session.complete("key", "id", put_parts(conversation))
        conversation.session.abort("key", "id")


def test_an_upload_without_a_name_is_transient(talk: Any) -> None:
    with talk(reply(body=b"<R/>")) as conversation, pytest.raises(Transient):
        conversation.session.begin("key", METADATA, "text/plain")


def test_abort_of_an_upload_that_is_gone_is_no_error(talk: Any) -> None:
    with talk(NO_SUCH_UPLOAD) as conversation:
        conversation.session.abort("key", "id")


def test_a_listing_of_uploads_is_followed_to_its_end(talk: Any) -> None:
    def page(key: str, rest: str) -> bytes:
        row = f"<Key>{key}</Key><UploadId>id-{key}</UploadId>"
        row += "<Initiated>2026-01-01T00:00:00.000Z</Initiated>"
        text = (
            f'<R xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Upload>{row}</Upload>{rest}</R>'
        )
        return reply(body=text.encode())

    more = "<IsTruncated>true</IsTruncated>"
    more += "<NextKeyMarker>a b</NextKeyMarker><NextUploadIdMarker>1</NextUploadIdMarker>"
    with talk(page("a", more), page("b", "<IsTruncated>false</IsTruncated>")) as conversation:
        found = list(conversation.session.uploads(""))
    assert [(row.key, row.upload_id, row.begun) for row in found] == [
        ("a", "id-a", 1767225600),
        ("b", "id-b", 1767225600),
    ]
    assert conversation.requests[1].target == (
        "/bucket?encoding-type=url&key-marker=a%20b&upload-id-marker=1&uploads="
    )


def upload_row(key: str, upload_id: str = "id", begun: str = "2026-01-01T00:00:00Z") -> str:
    row = f"<Key>{key}</Key><UploadId>{upload_id}</UploadId><Initiated>{begun}</Initiated>"
    return f"<Upload>{row}</Upload>"


def test_keys_and_markers_of_a_listing_are_decoded(talk: Any) -> None:
    more = "<IsTruncated>true</IsTruncated><NextKeyMarker>b%02+%2B</NextKeyMarker>"
    more += "<NextUploadIdMarker>a%20b</NextUploadIdMarker>"
    encoding = "<EncodingType>url</EncodingType>"
    first = f"<R>{encoding}{upload_row('a%01+%2B/%C3%BC', 'a%20b')}{more}</R>"
    last = f"<R>{encoding}{upload_row('c')}</R>"
    with talk(reply(body=first.encode()), reply(body=last.encode())) as conversation:
        found = list(conversation.session.uploads(""))
    assert [(row.key, row.upload_id) for row in found] == [("a\x01 +/ü", "a%20b"), ("c", "id")]
    assert "key-marker=b%02%20%2B" in conversation.requests[1].target
    assert "upload-id-marker=a%2520b" in conversation.requests[1].target


@pytest.mark.parametrize(
    ("listed", "prefix", "key"),
    [
        ("a b%41", "", "a b%41"),
        ("a+b", "", "a+b"),
        ("a%41", "a%41", "a%41"),
        ("100%", "", "100%"),
        ("a%01%20%2B%C3%BC", "a", "a\x01 +ü"),
        ("a%2541", "a%41", "a%41"),
    ],
)
def test_a_listing_may_not_say_whether_it_is_encoded(
    talk: Any, listed: str, prefix: str, key: str
) -> None:
    """Some services know no encoding, and Ceph says nothing of it."""
    with talk(reply(body=f"<R>{upload_row(listed)}</R>".encode())) as conversation:
        assert [row.key for row in conversation.session.uploads(prefix)] == [key]


@pytest.mark.parametrize("character", ["\x01", "&#1;", "&#x1F;", "&#x0001;"])
def test_an_answer_that_names_a_key_xml_cannot_hold_is_read(talk: Any, character: str) -> None:
    key = f"<Key>a{character}b&#10;&#x41;</Key>"
    begun = f"<R>{key}<UploadId>id</UploadId></R>".encode()
    listed = f"<R>{key}<IsTruncated>false</IsTruncated></R>".encode()
    made = f"<R>{key}<ETag>e-2</ETag></R>".encode()
    bodies = [reply(body=body) for body in (begun, listed, made)]
    with talk(*bodies) as conversation, Source(__file__) as source:
        session = conversation.session
        assert session.begin("a\x01b\nA", METADATA, "text/plain") == "id"
        assert session.stored_parts("a\x01b\nA", "id", source, 100) == []
        session.complete("a\x01b\nA", "id", [Part(1, 1, "e", 0)])


@pytest.mark.parametrize(
    "row",
    [
        "<Upload/>",
        "<Upload><Key>k</Key><UploadId>i</UploadId></Upload>",
        upload_row("k", begun="yesterday"),
        upload_row("", "i"),
        upload_row("k", ""),
    ],
)
def test_an_upload_that_a_listing_tells_too_little_of_is_left_alone(talk: Any, row: str) -> None:
    body = f"<R>{row}{upload_row('good')}</R>".encode()
    with talk(reply(body=body)) as conversation:
        assert [found.key for found in conversation.session.uploads("")] == ["good"]


def part_row(number: str, size: str, etag: str) -> str:
    fields = f"<PartNumber>{number}</PartNumber><Size>{size}</Size><ETag>{etag}</ETag>"
    return f"<Part>{fields}</Part>"


@pytest.mark.parametrize(
    "row",
    [
        "<Part/>",
        part_row("", "19", "e"),
        part_row("one", "19", "e"),
        part_row("9" * 5000, "19", "e"),
        part_row("0", "19", md5_of(CONTENT)),
        part_row("-1", "19", md5_of(CONTENT)),
        part_row("1", "many", "e"),
        part_row("1", "19", "e"),
    ],
)
def test_a_part_that_a_listing_tells_too_little_of_is_not_there(
    talk: Any, tmp_path: Path, row: str
) -> None:
    (tmp_path / "file").write_bytes(2 * CONTENT)
    good = part_row("2", "19", md5_of(CONTENT))
    with (
        talk(reply(body=f"<R>{row}{good}{good}</R>".encode())) as conversation,
        Source(str(tmp_path / "file")) as source,
    ):
        found = conversation.session.stored_parts("key", "id", source, len(CONTENT))
    assert [part.number for part in found] == [2]


def test_a_listing_that_turns_in_circles_ends(talk: Any) -> None:
    def page(marker: str) -> bytes:
        more = f"<IsTruncated>true</IsTruncated><NextKeyMarker>{marker}</NextKeyMarker>"
        return reply(body=f"<R>{more}</R>".encode())

    with talk(page("a"), page("b"), page("a")) as conversation:
        assert list(conversation.session.uploads("")) == []


def test_stored_parts_let_others_run_between_two_of_them(talk: Any, tmp_path: Path) -> None:
    """Thousands of them take longer than a worker may be silent."""
    (tmp_path / "file").write_bytes(3 * CONTENT)
    rows = [part_row(str(number), "19", md5_of(CONTENT)) for number in (1, 2, 3)]
    turns: list[str] = []

    class Watched(Source):
        def blocks(self, offset: int, length: int) -> Iterator[memoryview]:
            turns.append("part")
            gevent.spawn(turns.append, "other")
            return super().blocks(offset, length)

    with (
        talk(reply(body=f"<R>{''.join(rows)}</R>".encode())) as conversation,
        Watched(str(tmp_path / "file")) as source,
    ):
        conversation.session.stored_parts("key", "id", source, len(CONTENT))
    assert turns == 3 * ["part", "other"]


@pytest.mark.parametrize("size", [BLOCK_SIZE + 1, 3 * BLOCK_SIZE])
def test_a_long_body_is_described_in_one_disk_operation(talk: Any, size: int) -> None:
    """So that a slow disk can do it in a thread."""
    depth = 0
    outside = []

    def run(operation: Callable[[], Any]) -> Any:
        nonlocal depth
        depth += 1
        try:
            return operation()
        finally:
            depth -= 1

    class Watched(Source):
        def check_unchanged(self) -> None:
            outside.append(not depth)
            super().check_unchanged()

    with talk(stored, stored_without_echo) as conversation:
        conversation.path.write_bytes(bytes(size))
        with Watched(str(conversation.path)) as source:
            source.run = run
            conversation.session.put("key", source, METADATA, "text/plain")
            conversation.session.put("key", source, METADATA, "text/plain")
    assert outside and not any(outside)


# A sign of life.


@pytest.mark.parametrize(
    "answer",
    [reply(), reply(301), reply(400), reply(401), reply(403), reply(404), reply(501)],
)
def test_any_answer_of_a_service_that_works_is_a_sign_of_life(talk: Any, answer: bytes) -> None:
    with talk(answer) as conversation:
        conversation.session.check(5)


@pytest.mark.parametrize(
    "answer",
    [*(reply(status) for status in (408, 429, 500, 502, 503, 504)), RESET, CLOSE, b"no HTTP"],
)
def test_trouble_is_no_sign_of_life(talk: Any, answer: bytes) -> None:
    with talk(answer) as conversation, pytest.raises(Transient):
        conversation.session.check(5)


def test_a_silent_service_gives_no_sign_of_life() -> None:
    """The connection's own limit has no part in it."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        service = Service(url, "us-east-1", lambda: KEYS, timeout=600)
        session = S3Session(S3Driver(service), BUCKET)
        with closing(session), pytest.raises(Transient, match="no answer within 0.2 s"):
            session.check(0.2)


# Metadata and headers of callers.


@pytest.mark.parametrize(
    "value", [" edges ", "a  b", "Grüße", " ü ", "a=b;c", "", "日本語" * 20, "| a |"]
)
def test_odd_metadata_is_sent_as_it_is_signed(talk: Any, tmp_path: Path, value: str) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    with talk(stored) as conversation, Source(str(tmp_path / "file")) as source:
        conversation.session.put("key", source, [("Origin", value), ("z", "1")], "text/plain")
    (request,) = conversation.requests
    assert is_signed_right(request, "http", KEYS)
    sent = request.headers["x-amz-meta-origin"]
    assert str(make_header(decode_header(sent))) == value.strip()


def test_libclouds_call_cannot_bring_headers_in(talk: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    injection = "x\r\nx-amz-acl: public-read"
    with talk() as conversation:
        driver = conversation.session.driver
        upload = partial(driver.upload_object, str(tmp_path / "file"), Container("b", {}, driver))
        for options in (
            {"extra": {"meta_data": {"a": injection}}},
            {"extra": {"meta_data": {"a: b\r\nc": "d"}}},
            {"extra": {"content_type": injection}},
            {"extra": {"acl": injection}},
            {"headers": {"x-amz-acl": injection}},
            {"headers": {injection: "x"}},
            {"headers": {"Host": "elsewhere"}},
            {"headers": {"content-length": "1"}},
            {"headers": {"x-amz-meta-a": injection}},
        ):
            with pytest.raises(Rejected) as caught:
                upload("key", **options)
            assert "\n" not in str(caught.value)


def test_libclouds_call_gives_each_header_once(talk: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    headers = {"Content-Type": "text/x-test", "x-amz-meta-a": "1", "Cache-Control": " no-store "}
    with talk(stored) as conversation:
        driver = conversation.session.driver
        container = Container("b", {}, driver)
        extra = {"meta_data": {"A": "2"}}
        driver.upload_object(str(tmp_path / "file"), container, "k", extra, headers=headers)
    (request,) = conversation.requests
    assert is_signed_right(request, "http", KEYS)
    assert request.headers["content-type"] == "text/x-test"
    assert request.headers["cache-control"] == "no-store"
    assert request.headers["x-amz-meta-a"] == "2"


def test_libclouds_own_requests_sign_metadata_as_it_is_sent(talk: Any) -> None:
    namespace = b'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
    begun = reply(body=b"<R %b><UploadId>id</UploadId></R>" % namespace)
    made = reply(body=b"<R %b><ETag>etag</ETag></R>" % namespace)
    with talk(begun, stored_without_echo, made) as conversation:
        driver = conversation.session.driver
        meta = {"origin": " Grüße  ", "A": "1", "a": "2"}
        extra = {"meta_data": meta, "content_type": "text/plain"}
        container = Container(BUCKET, {}, driver)
        driver.upload_object_via_stream(iter([CONTENT]), container, "key", extra)
    sent = conversation.requests[0]
    assert is_signed_right(sent, "http", KEYS)
    assert sent.headers["x-amz-meta-a"] == "2"
    assert str(make_header(decode_header(sent.headers["x-amz-meta-origin"]))) == "Grüße"


def test_checksums_of_parts_combine_to_that_of_the_whole() -> None:
    first, second = PARTS
    combined = combine_crc64nvme(crc64nvme(first), crc64nvme(second), len(second))
    assert combined == crc64nvme(first + second)


# libcloud's own calls, on a service that verifies each signature.


@pytest.fixture
def driver(ceph: CephRGW) -> Iterator[S3Driver]:
    keys = Credentials(ceph.access_key, ceph.secret_key)
    driver = S3Driver(Service(ceph.endpoint, "us-east-1", lambda: keys, timeout=10))
    yield driver
    driver.close()


@pytest.fixture
def container(driver: S3Driver, ceph: CephRGW) -> Iterator[Any]:
    name = "libclouds-own-calls"
    yield driver.create_container(name)
    container = driver.get_container(name)
    for item in driver.list_container_objects(container):
        driver.delete_object(item)
    driver.delete_container(container)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path


def test_upload_object_and_get_object(driver: S3Driver, container: Any, file: Path) -> None:
    extra = {"meta_data": {"Origin": "tape"}, "content_type": "text/x-test"}
    uploaded = driver.upload_object(str(file), container, "a b+c", extra=extra)
    found = driver.get_object(container.name, "a b+c")
    assert (found.size, found.hash, found.meta_data) == (
        len(CONTENT),
        uploaded.hash,
        {"origin": "tape"},
    )
    assert found.extra["content_type"] == "text/x-test"


def test_list_container_objects(driver: S3Driver, container: Any, file: Path) -> None:
    for key in ("a +/1", "a +/2%é", "b/1"):
        driver.upload_object(str(file), container, key)
    found = driver.list_container_objects(container, prefix="a +/")
    assert [item.name for item in found] == ["a +/1", "a +/2%é"]


def test_delete_object(driver: S3Driver, container: Any, file: Path) -> None:
    assert driver.delete_object(driver.upload_object(str(file), container, "key"))
    assert driver.list_container_objects(container) == []


def test_download_object(driver: S3Driver, container: Any, file: Path, tmp_path: Path) -> None:
    uploaded = driver.upload_object(str(file), container, "key")
    assert driver.download_object(uploaded, str(tmp_path / "copy"))
    assert (tmp_path / "copy").read_bytes() == CONTENT


def test_download_object_as_stream(driver: S3Driver, container: Any, file: Path) -> None:
    uploaded = driver.upload_object(str(file), container, "key")
    assert b"".join(driver.download_object_as_stream(uploaded)) == CONTENT


def test_upload_object_via_stream(driver: S3Driver, container: Any) -> None:
    driver.upload_object_via_stream(iter([CONTENT, b"more"]), container, "key")
    assert driver.get_object(container.name, "key").size == len(CONTENT) + 4


def test_list_containers(driver: S3Driver, container: Any) -> None:
    assert container.name in [found.name for found in driver.list_containers()]
