"""libcloud's drivers on our connection: the stock S3 driver end to end, and each promise alone."""

from __future__ import annotations

import gzip
import io
import os
import socket
import ssl
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import libcloud.security
import pytest
import trustme
from libcloud.common.types import InvalidCredsError
from libcloud.storage.drivers.s3 import S3SignatureV4Connection, S3StorageDriver
from libcloud.storage.types import ObjectDoesNotExistError

from providers import errors
from providers.http import decoding
from providers.http.conn_class import LibcloudConnection, Response
from providers.http.limit import Timeouts
from providers.http.tls import tls_context
from providers.traffic import Traffic
from tests.servers.moto import Moto
from tests.servers.raw import (
    IMPATIENT,
    OK,
    PATIENT,
    Server,
    answer,
    answer_and_close,
    over_tls,
    read_exactly,
    read_head,
    read_request,
    wait_for_end,
)

MIB = 1024 * 1024

# libcloud 3.9 signs with datetime.utcnow(), deprecated since Python 3.12.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")


class S3Connection(S3SignatureV4Connection):  # type: ignore[misc]
    conn_class = LibcloudConnection


class S3Driver(S3StorageDriver):  # type: ignore[misc]
    connectionCls = S3Connection


def driver_for(endpoint: str) -> Any:
    url = urlsplit(endpoint)
    return S3Driver("key", "secret", secure=url.scheme == "https", host=url.hostname, port=url.port)


def blocks_of(content: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


def test_the_stock_s3_driver_works(moto: Moto, tmp_path: Path) -> None:
    driver = driver_for(moto.endpoint)
    container = driver.create_container("conn-class")
    name = "a dir/\u00e9 +&=%.txt"
    small, large = os.urandom(4096), os.urandom(6 * MIB)
    (tmp_path / "small").write_bytes(small)
    (tmp_path / "empty").touch()

    extra = {"meta_data": {"mode": "0100644"}, "content_type": "text/plain"}
    stored = driver.upload_object(str(tmp_path / "small"), container, name, extra=extra)
    assert stored.size == 4096
    driver.upload_object(str(tmp_path / "empty"), container, "empty")
    driver.upload_object_via_stream(blocks_of(large, 100_000), container, "large")

    found = {item.name: item.size for item in driver.list_container_objects(container)}
    assert found == {name: 4096, "empty": 0, "large": 6 * MIB}
    item = driver.get_object("conn-class", name)
    assert item.meta_data == {"mode": "0100644"}
    assert driver.download_object(item, str(tmp_path / "got"))
    assert (tmp_path / "got").read_bytes() == small
    streamed = driver.download_object_as_stream(driver.get_object("conn-class", "large"), MIB)
    assert b"".join(streamed) == large

    for key in found:
        assert driver.delete_object(driver.get_object("conn-class", key))
    with pytest.raises(ObjectDoesNotExistError):
        driver.get_object("conn-class", name)
    assert driver.delete_container(container)
    driver.connection.connection.close()


def test_libcloud_sees_what_the_service_refuses() -> None:
    refusal = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 7\r\n\r\n<Error>"
    with Server(answer(refusal)) as server:
        driver = driver_for(f"http://{server.address}")
        with pytest.raises(InvalidCredsError):
            driver.list_containers()
        driver.connection.connection.close()


class Recorder:
    """A server's side that keeps the heads and bodies of what it was sent."""

    def __init__(self, *responses: bytes) -> None:
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self._responses = responses

    def __call__(self, peer: socket.socket) -> None:
        for response in self._responses:
            head = read_head(peer)
            self.heads.append(head)
            self.bodies.append(self._body(peer, head.lower()))
            peer.sendall(response)
        wait_for_end(peer)

    def _body(self, peer: socket.socket, head: bytes) -> bytes:
        if b"transfer-encoding: chunked" in head:
            raw = b""
            while not raw.endswith(b"0\r\n\r\n"):
                raw += read_exactly(peer, 1)
            return raw
        length = [line for line in head.split(b"\r\n") if line.startswith(b"content-length:")]
        return read_exactly(peer, int(length[0].split(b":")[1])) if length else b""


def connection_to(server: Server, timeouts: Timeouts = PATIENT) -> LibcloudConnection:
    connection = LibcloudConnection("127.0.0.1", server.port, secure=False)
    connection.configure(timeouts, None)
    return connection


def exchange(response: bytes, *args: Any, **kwargs: Any) -> Response:
    """One request, answered by ``response``."""
    with Server(answer(response)) as server:
        connection = connection_to(server)
        try:
            connection.request(*args, **kwargs)
            return connection.getresponse()
        finally:
            connection.close()


def send(*args: Any, **kwargs: Any) -> tuple[bytes, bytes]:
    """The head and the body that the service gets for one request."""
    recorder = Recorder(OK)
    with Server(recorder) as server:
        connection = connection_to(server)
        try:
            connection.prepared_request(*args, **kwargs)
        finally:
            connection.close()
    return recorder.heads[0], recorder.bodies[0]


# Requests


def test_a_request_is_sent_as_given() -> None:
    headers = {"Host": "bucket.example", "X-A": 1, "X-B": b"b", "X-C": None, "X-D": "\u00e9"}
    head, body = send("get", "/a%20b/c d\u00e9?x=y%26z&q", headers=headers)
    assert head.decode() == (
        "GET /a%20b/c%20d%C3%A9?x=y%26z&q HTTP/1.1\r\n"
        "Host: bucket.example\r\nX-A: 1\r\nX-B: b\r\nX-D: \u00e9\r\n\r\n"
    )
    assert body == b""


def test_a_host_header_is_added() -> None:
    head, _ = send("GET", "//double//slash")
    assert head.startswith(b"GET //double//slash HTTP/1.1\r\nHost: 127.0.0.1:")


@pytest.mark.parametrize("headers", [{"X": "a\r\nY: b"}, {"X": "a\nb"}, {"X\r\nY": "b"}])
def test_a_header_cannot_smuggle_another(headers: dict[str, str]) -> None:
    with pytest.raises(ValueError):
        LibcloudConnection("h", 80).request("GET", "/", headers=headers)


def test_a_url_must_be_a_path() -> None:
    with pytest.raises(ValueError):
        LibcloudConnection("h", 80).request("GET", "http://other/")


class Unseekable(io.RawIOBase):
    """A pipe-like file."""

    def __init__(self, content: bytes) -> None:
        self._inner = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._inner.read(size)


def advanced(content: bytes) -> io.BytesIO:
    file = io.BytesIO(b"skipped" + content)
    file.seek(7)
    return file


CONTENT = bytes(range(256)) * 4096
DECLARED = {"content-LENGTH": str(len(CONTENT))}


@pytest.mark.parametrize(
    ("make", "headers"),
    [
        (lambda: CONTENT, {}),
        (lambda: CONTENT, {"Content-Length": "5"}),
        (lambda: CONTENT, {"Transfer-Encoding": "chunked"}),
        (lambda: bytearray(CONTENT), {}),
        (lambda: memoryview(CONTENT), {}),
        (lambda: io.BytesIO(CONTENT), {}),
        (lambda: advanced(CONTENT), {}),
        (lambda: Unseekable(CONTENT), DECLARED),
        (lambda: blocks_of(CONTENT, 1000), DECLARED),
        (lambda: [CONTENT[:10], b"", CONTENT[10:]], DECLARED),
    ],
)
def test_a_body_goes_with_its_length(make: Callable[[], Any], headers: dict[str, str]) -> None:
    head, body = send("PUT", "/k", make(), headers)
    assert body == CONTENT
    assert head.lower().count(b"content-length: %d\r\n" % len(CONTENT)) == 1
    assert head.lower().count(b"content-length") == 1
    assert b"chunked" not in head


@pytest.mark.parametrize("body", [None, b"", ""])
def test_an_empty_body_has_a_length_where_one_is_expected(body: Any) -> None:
    assert b"Content-Length: 0\r\n" in send("PUT", "/k", body)[0]
    assert b"Content-Length" not in send("GET", "/k", body)[0]


def test_text_is_sent_as_utf8() -> None:
    assert send("POST", "/k", "\u00e9")[1] == b"\xc3\xa9"


@pytest.mark.parametrize(
    "make", [lambda: iter([b"abc", b"", b"x" * 16]), lambda: Unseekable(b"abc" + b"x" * 16)]
)
def test_a_body_of_unknown_length_goes_in_chunks(make: Callable[[], Any]) -> None:
    head, body = send("PUT", "/k", make(), {"transfer-encoding": "chunked"})
    assert head.lower().count(b"transfer-encoding: chunked\r\n") == 1
    assert body in (
        b"3\r\nabc\r\n10\r\n" + b"x" * 16 + b"\r\n0\r\n\r\n",
        b"13\r\nabc" + b"x" * 16 + b"\r\n0\r\n\r\n",
    )


@pytest.mark.parametrize("blocks", [[b"abc"], [b"abc", b"def"], []])
def test_a_body_that_is_not_as_long_as_declared_has_changed(blocks: list[bytes]) -> None:
    received = []

    def handle(peer: socket.socket) -> None:
        received.append(read_head(peer))
        while block := peer.recv(100):
            received.append(block)

    with Server(handle) as server:
        connection = connection_to(server)
        with pytest.raises(errors.SourceChanged):
            connection.request("PUT", "/k", iter(blocks), {"Content-Length": 4})
    assert len(b"".join(received[1:])) < 4


# Responses


def test_a_response_has_what_libcloud_reads() -> None:
    raw = b"HTTP/1.1 404 Whatever\r\nX-Amz-Id: 7\r\nContent-Length: 5\r\n\r\nab\xc3\xa9d"
    response = exchange(raw, "GET", "/k?x")
    assert (response.status_code, response.reason) == (404, "Not Found")
    assert response.headers["x-amz-id"] == response.headers["X-Amz-Id"] == "7"
    assert (response.content, response.text) == (b"ab\xc3\xa9d", "ab\u00e9d")
    assert list(response.iter_content(2)) == [b"ab", b"\xc3\xa9", b"d"]
    assert list(response.iter_content(None)) == [response.content]
    assert response.request.method == "GET"
    assert response.request.url.endswith("/k?x")
    response.close()


def test_the_connection_tells_about_the_last_response() -> None:
    with Server(answer(OK)) as server:
        connection = connection_to(server)
        connection.connect()
        connection.request("GET", "/", stream=True)
        assert (connection.status, connection.reason, connection.read()) == (200, "OK", b"ok")
        assert dict(connection.getheaders()) == {"content-length": "2"}
        connection.close()


@pytest.mark.parametrize(
    ("charset", "body"),
    [("; charset=ISO-8859-1", b"\xe9"), ("", b"\xc3\xa9"), ('; charset="no-such"', b"\xc3\xa9")],
)
def test_text_follows_the_declared_charset(charset: str, body: bytes) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/xml{charset}\r\nContent-Length: {len(body)}"
    assert exchange(head.encode() + b"\r\n\r\n" + body, "GET", "/").text == "\u00e9"


def encoded(encoding: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(b"hello", mtime=0)),
        ("X-GZIP", gzip.compress(b"hello", mtime=0)),
        ("gzip", gzip.compress(b"hel", mtime=0) + gzip.compress(b"lo", mtime=0)),
        ("deflate", zlib.compress(b"hello")),
        ("deflate", zlib.compress(b"hello")[2:-4]),
        ("deflate, gzip", gzip.compress(zlib.compress(b"hello"), mtime=0)),
        ("identity", b"hello"),
        ("aws-chunked", b"hello"),
    ],
)
def test_a_content_encoding_is_undone(encoding: str, body: bytes) -> None:
    with Server(answer(encoded(encoding, body))) as server:
        connection = connection_to(server)
        connection.request("GET", "/")
        assert connection.read() == b"hello"
        assert "Content-Encoding" not in connection.getheaders()
        connection.close()


def test_a_response_to_head_needs_no_decoding() -> None:
    raw = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 9\r\n\r\n"
    assert exchange(raw, "HEAD", "/").content == b""


@pytest.mark.parametrize("body", [b"garbage", gzip.compress(b"hello", mtime=0)[:-3]])
def test_a_broken_content_encoding_is_transient(body: bytes) -> None:
    with pytest.raises(errors.Transient, match="cannot be decompressed"):
        exchange(encoded("gzip", body), "GET", "/")


def test_a_decompression_bomb_is_transient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MAX_RESPONSE", 1000)
    with pytest.raises(errors.Transient, match="too large"):
        exchange(encoded("gzip", gzip.compress(bytes(2000))), "GET", "/")


# The connection


def test_a_stale_connection_is_replaced_when_the_body_is_at_hand() -> None:
    with Server(answer_and_close(OK), answer(OK)) as server:
        connection = connection_to(server)
        connection.request("GET", "/")
        connection.request("PUT", "/", b"body")
        assert connection.status == 200
        connection.close()


def test_a_body_that_is_gone_is_not_sent_again() -> None:
    def handle(peer: socket.socket) -> None:
        read_request(peer)
        peer.sendall(OK)
        read_head(peer)

    with Server(handle) as server:
        connection = connection_to(server)
        connection.request("GET", "/")
        with pytest.raises(errors.StaleConnection):
            connection.request("PUT", "/", iter([b"body"]), {"Content-Length": 4})


def test_a_request_that_would_count_twice_is_not_repeated() -> None:
    """Nobody knows whether the service processed it before the connection ended."""

    def handle(peer: socket.socket) -> None:
        read_request(peer)
        peer.sendall(OK)
        read_request(peer)

    with Server(handle) as server:
        connection = connection_to(server)
        connection.request("GET", "/")
        with pytest.raises(errors.StaleConnection):
            connection.request("POST", "/", b"body")


def test_requests_have_time_limits() -> None:
    with Server(wait_for_end, wait_for_end) as server:
        for connection in (
            connection_to(server, IMPATIENT),
            LibcloudConnection("127.0.0.1", server.port, timeout=0.3),
        ):
            with pytest.raises(errors.Transient, match="no progress"):
                connection.request("PUT", "/", b"body")


@pytest.mark.parametrize(
    ("arguments", "base"),
    [
        (("h", 80, False), "http://h"),
        (("h", 9000, False), "http://h:9000"),
        (("h", 9000, True), "https://h:9000"),
        (("h", 443, False), "https://h"),
        (("[::1]", 443, True), "https://[::1]"),
    ],
)
def test_port_443_is_secure_as_in_libcloud(arguments: tuple[str, int, bool], base: str) -> None:
    assert LibcloudConnection(*arguments).host == base


def test_a_proxy_is_used() -> None:
    def handle(peer: socket.socket) -> None:
        assert read_head(peer).startswith(b"GET http://nowhere.invalid/ ")
        peer.sendall(OK)
        wait_for_end(peer)

    with Server(handle, handle) as server:
        proxy_url = f"http://{server.address}"
        given = LibcloudConnection("nowhere.invalid", 80, proxy_url=proxy_url)
        later = LibcloudConnection("nowhere.invalid", 80)
        later.set_http_proxy(proxy_url)
        for connection in (given, later):
            connection.request("GET", "/")
            assert connection.status == 200
            connection.close()


def test_the_traffic_of_a_class_is_counted() -> None:
    class Counted(LibcloudConnection):
        traffic = Traffic()

    with Server(answer(OK)) as server:
        connection = Counted("127.0.0.1", server.port)
        connection.request("PUT", "/", b"body")
        connection.close()
    assert Counted.traffic.sent == 4


def test_trust_comes_from_the_class_the_instance_or_libcloud(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    authority = trustme.CA()
    ca_file = str(tmp_path / "ca.pem")
    authority.cert_pem.write_to_path(ca_file)

    class Trusting(LibcloudConnection):
        tls = tls_context(ca_file)

    def request(kind: type[LibcloudConnection], tls: ssl.SSLContext | None = None) -> int:
        connection = kind("127.0.0.1", server.port, True)
        if tls:
            connection.configure(PATIENT, tls)
        connection.request("GET", "/")
        connection.close()
        return connection.status

    def refused(peer: socket.socket) -> None:
        with pytest.raises(OSError):
            over_tls(authority, wait_for_end)(peer)

    with Server(*[over_tls(authority, answer(OK))] * 4, refused) as server:
        assert request(Trusting) == 200
        assert request(LibcloudConnection, tls_context(ca_file)) == 200
        monkeypatch.setattr(libcloud.security, "CA_CERTS_PATH", ca_file)
        assert request(LibcloudConnection) == 200
        monkeypatch.setattr(libcloud.security, "CA_CERTS_PATH", None)
        monkeypatch.setattr(libcloud.security, "VERIFY_SSL_CERT", False)
        assert request(LibcloudConnection) == 200
        monkeypatch.setattr(libcloud.security, "VERIFY_SSL_CERT", True)
        with pytest.raises(errors.Fatal):
            request(LibcloudConnection)


def test_a_ca_file_that_cannot_be_read_is_fatal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(libcloud.security, "CA_CERTS_PATH", str(tmp_path / "missing"))
    with pytest.raises(errors.Fatal, match="cannot read the CA certificates"):
        LibcloudConnection("h", 443).request("GET", "/")
