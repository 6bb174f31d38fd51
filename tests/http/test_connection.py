"""The HTTP connection against servers whose every byte is written by hand."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import gevent
import gevent.socket
import pytest
import trustme

from providers import errors
from providers.http import connection as _http
from providers.http import route
from providers.http.connection import Connection
from providers.http.endpoint import Endpoint, Proxy
from providers.http.limit import Timeouts
from providers.http.sender import Body, Sender
from providers.http.tls import tls_context
from tests.servers.raw import (
    GET,
    HASTY,
    IMPATIENT,
    KIB,
    MIB,
    OK,
    PATIENCE,
    PATIENT,
    Handler,
    Server,
    answer,
    answer_and_close,
    hold,
    over_tls,
    put,
    read_exactly,
    read_head,
    read_request,
    reset,
    wait_for_end,
)

HEAD = b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n"


@contextlib.contextmanager
def connected(*handlers: Handler, timeouts: Timeouts = PATIENT) -> Iterator[Connection]:
    with Server(*handlers) as server:
        connection = Connection(server.endpoint, timeouts)
        try:
            yield connection
        finally:
            connection.close()


@contextlib.contextmanager
def narrow(handler: Handler, timeouts: Timeouts = PATIENT) -> Iterator[Connection]:
    """Like ``connected``; the server's window holds no more than 2 KiB or so."""
    with Server(handler, receive_buffer=4 * KIB) as server:
        connection = Connection(server.endpoint, timeouts)
        try:
            yield connection
        finally:
            connection.close()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


@pytest.fixture(scope="module")
def tls(ca_file: str) -> ssl.SSLContext:
    return tls_context(ca_file)


# Connections


def test_a_secure_endpoint_needs_a_context() -> None:
    with pytest.raises(ValueError):
        Connection(Endpoint(True, "h", 443))


# Responses


def test_a_response_has_status_headers_and_body() -> None:
    raw = (
        b"HTTP/1.1 404 Gone\r\nETag: a\r\nX-A: 1\r\nx-a: 2\r\nX-E:\r\nContent-Length: 3\r\n\r\nabc"
    )
    with connected(answer(raw)) as connection:
        response = connection.request(GET)
    assert (response.status, response.body) == (404, b"abc")
    assert response.headers == {"etag": "a", "x-a": "1, 2", "x-e": "", "content-length": "3"}


def test_a_connection_is_kept_for_the_next_request() -> None:
    with connected(answer(OK, OK, OK)) as connection:
        assert [connection.request(GET).body for _ in range(3)] == [b"ok"] * 3


@pytest.mark.parametrize(
    "last",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        OK + OK,
        OK + b"garbage",
    ],
    ids=["connection: close", "HTTP/1.0", "a second response", "garbage behind it"],
)
def test_a_connection_is_not_kept_after(last: bytes) -> None:
    with connected(answer(last), answer(OK)) as connection:
        assert connection.request(GET).body == b"ok"
        assert connection.request(GET).body == b"ok"


def test_a_response_may_come_byte_by_byte() -> None:
    def handle(peer: socket.socket) -> None:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(2):
            read_request(peer)
            for byte in OK:
                peer.sendall(bytes([byte]))
                time.sleep(0)
        wait_for_end(peer)

    with connected(handle) as connection:
        assert connection.request(GET).body == b"ok"
        assert connection.request(GET).headers == {"content-length": "2"}


def test_progress_however_slow_is_no_timeout() -> None:
    """Each wait is limited, not their sum."""

    def handle(peer: socket.socket) -> None:
        read_request(peer)
        for start in range(0, len(OK), 4):
            peer.sendall(OK[start : start + 4])
            time.sleep(0.07)

    with connected(handle, timeouts=Timeouts(PATIENCE, 0.5)) as connection:
        assert connection.request(GET).body == b"ok"


IDLE = 1.0
SLOWLY = 0.1
"""Seconds from one piece to the next: far below the limit, which all pieces together exceed."""
PIECES = 4 * int(IDLE / SLOWLY)


def sip(peer: socket.socket) -> None:
    """Reads a body at a slow link's pace, through a window that holds little more than a piece."""
    read_head(peer)
    for _ in range(PIECES):
        read_exactly(peer, KIB)
        time.sleep(SLOWLY)


@pytest.mark.parametrize("kind", ["bytes", "callable"])
def test_a_body_that_leaves_slowly_is_progress(kind: str) -> None:
    """All of it is in the kernel's queue at once: only what the peer acknowledges shows progress.
    The wait for the answer begins with the last byte acknowledged."""

    def handle(peer: socket.socket) -> None:
        sip(peer)
        time.sleep(IDLE / 2)
        peer.sendall(OK)
        wait_for_end(peer)

    content = bytes(PIECES * KIB)
    body: Body = content if kind == "bytes" else lambda sender: sender.write(content)
    with narrow(handle, timeouts=Timeouts(PATIENCE, IDLE)) as connection:
        assert connection.request(put(len(content)), body).body == b"ok"


def test_a_body_that_stops_leaving_is_given_up() -> None:
    def handle(peer: socket.socket) -> socket.socket:
        sip(peer)
        return hold(peer)

    content = bytes(2 * PIECES * KIB)
    with (
        narrow(handle, timeouts=Timeouts(PATIENCE, IDLE)) as connection,
        pytest.raises(errors.Transient, match=r"no progress for 1 s"),
    ):
        connection.request(put(len(content)), content)


def test_the_time_of_a_slow_disk_is_not_the_connections() -> None:
    def body(sender: Sender) -> None:
        sender.write(b"a")
        gevent.sleep(3 * IDLE)
        sender.write(b"b")

    with connected(answer(OK), timeouts=Timeouts(PATIENCE, IDLE)) as connection:
        assert connection.request(put(2), body).body == b"ok"


def test_interim_responses_are_skipped() -> None:
    interim = b"HTTP/1.1 100 Continue\r\nX-A: b\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: c\r\n\r\n"
    with connected(answer(interim + OK, interim + OK)) as connection:
        for _ in range(2):
            response = connection.request(GET)
            assert (response.status, response.headers) == (200, {"content-length": "2"})


def test_a_chunked_body_is_joined() -> None:
    raw = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"
    )
    with connected(answer(raw, raw)) as connection:
        assert connection.request(GET).body == b"abcde"
        assert connection.request(GET).body == b"abcde"


def test_a_body_without_length_ends_with_the_connection() -> None:
    raw = b"HTTP/1.1 200 OK\r\n\r\nall of it"
    with connected(answer_and_close(raw), answer_and_close(raw)) as connection:
        assert connection.request(GET).body == b"all of it"
        assert connection.request(GET).body == b"all of it"


def test_a_response_to_head_has_no_body_whatever_its_length_says() -> None:
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
    with connected(answer(raw, raw, OK)) as connection:
        for _ in range(2):
            response = connection.request(HEAD)
            assert (response.headers["content-length"], response.body) == ("1000", b"")
        assert connection.request(GET).body == b"ok"


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_a_response_of_a_status_without_body_ends_with_its_head(status: bytes) -> None:
    with connected(answer(b"HTTP/1.1 " + status + b"\r\n\r\n", OK)) as connection:
        assert connection.request(GET).body == b""
        assert connection.request(GET).body == b"ok"


def say_408(peer: socket.socket) -> None:
    peer.sendall(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize("last_word", [say_408, lambda peer: peer.shutdown(1), reset])
def test_an_idle_connection_is_looked_at_before_it_is_used(
    monkeypatch: pytest.MonkeyPatch, last_word: Handler
) -> None:
    """Some services say 408 before they close, which must not be taken for the next answer."""
    monkeypatch.setattr(_http, "TRUSTED_PAUSE", -1.0)
    answered, said = threading.Event(), threading.Event()

    def handle(peer: socket.socket) -> None:
        read_request(peer)
        peer.sendall(OK)
        assert answered.wait(PATIENCE)
        last_word(peer)
        said.set()
        wait_for_end(peer)

    with connected(handle, answer(OK)) as connection:
        assert connection.request(GET).body == b"ok"
        answered.set()
        assert said.wait(PATIENCE)
        assert connection.request(GET).body == b"ok"


# Request bodies


@pytest.mark.parametrize("size", [0, 1, 64 * 1024, 64 * 1024 + 1, 20 * MIB])
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_body_of_any_size_arrives(size: int, kind: type) -> None:
    body = os.urandom(size)
    received = []

    def handle(peer: socket.socket) -> None:
        for _ in range(2):
            received.append(read_request(peer))
            peer.sendall(OK)
        wait_for_end(peer)

    with connected(handle) as connection:
        for _ in range(2):
            assert connection.request(put(size), kind(body)).status == 200
    assert received == [body, body]


def test_a_callable_writes_and_sends_files(tmp_path: Path) -> None:
    content = os.urandom(20 * MIB)
    (tmp_path / "f").write_bytes(content)
    received = []

    def handle(peer: socket.socket) -> None:
        received.append(read_request(peer))
        peer.sendall(OK)
        wait_for_end(peer)

    with (tmp_path / "f").open("rb") as file, connected(handle) as connection:

        def body(sender: Sender) -> None:
            assert sender.zero_copy
            sender.write(memoryview(content)[:1000])
            sender.write(b"")
            sender.sendfile(file.fileno(), 1000, len(content) - 1000)

        assert connection.request(put(len(content)), body).status == 200
    assert received == [content]


def test_a_file_that_ends_early_has_changed(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"short")
    with (
        (tmp_path / "f").open("rb") as file,
        connected(wait_for_end) as connection,
        pytest.raises(errors.SourceChanged),
    ):
        connection.request(put(10), lambda sender: sender.sendfile(file.fileno(), 0, 10))


def test_a_file_that_cannot_be_read_is_not_the_connections_fault(tmp_path: Path) -> None:
    with (
        (tmp_path / "f").open("wb") as file,
        connected(wait_for_end) as connection,
        pytest.raises(OSError, match="Bad file descriptor"),
    ):
        connection.request(put(10), lambda sender: sender.sendfile(file.fileno(), 0, 10))


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_filesystem_without_sendfile_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def sendfile(*arguments: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "sendfile", sendfile)
    content = os.urandom(MIB)
    (tmp_path / "f").write_bytes(content)
    received = []

    def handle(peer: socket.socket) -> None:
        received.append(read_request(peer))
        peer.sendall(OK)
        wait_for_end(peer)

    with (tmp_path / "f").open("rb") as file, connected(handle, wait_for_end) as connection:
        size = len(content) - 10
        connection.request(put(size), lambda sender: sender.sendfile(file.fileno(), 10, size))
        connection.close()
        with pytest.raises(errors.SourceChanged):
            connection.request(put(size), lambda sender: sender.sendfile(file.fileno(), 11, size))
    assert received == [content[10:]]


@pytest.mark.parametrize("error", [errors.SourceChanged("it grew"), OSError(5, "I/O error")])
def test_what_a_body_callable_raises_passes_through(error: Exception) -> None:
    def body(sender: Sender) -> None:
        sender.write(b"abc")
        raise error

    with connected(wait_for_end, answer(OK)) as connection:
        with pytest.raises(type(error)) as caught:
            connection.request(put(10), body)
        assert caught.value is error
        assert connection.request(GET).status == 200


# Services that answer before they have read the body

EARLY = b"HTTP/1.1 503 Slow Down\r\nRetry-After: 3\r\nContent-Length: 4\r\n\r\nbusy"


def endless(sender: Sender) -> None:
    block = memoryview(bytes(MIB))
    for _ in range(1000):
        sender.write(block)


@pytest.mark.parametrize("body", [bytes(20 * MIB), endless], ids=["bytes", "callable"])
def test_an_early_answer_counts_though_the_service_reads_no_more(body: Body) -> None:
    def handle(peer: socket.socket) -> socket.socket:
        read_head(peer)
        peer.sendall(EARLY)
        return hold(peer)

    with connected(handle, answer(OK)) as connection:
        response = connection.request(put(1000 * MIB), body)
        assert (response.status, response.body) == (503, b"busy")
        assert response.headers["retry-after"] == "3"
        assert connection.request(GET).status == 200


def test_an_early_answer_counts_though_the_service_reads_on() -> None:
    def handle(peer: socket.socket) -> None:
        read_head(peer)
        peer.sendall(EARLY)
        wait_for_end(peer)

    with connected(handle) as connection:
        assert connection.request(put(1000 * MIB), endless).status == 503


def test_an_early_answer_counts_though_the_connection_was_reset() -> None:
    """Closing with unread data makes the kernel send a reset behind the answer."""

    def handle(peer: socket.socket) -> None:
        read_head(peer)
        peer.sendall(EARLY)

    with connected(handle, answer(OK)) as connection:
        assert connection.request(put(1000 * MIB), endless).status == 503
        assert connection.request(GET).status == 200


def test_an_early_answer_stops_sendfile(tmp_path: Path) -> None:
    def handle(peer: socket.socket) -> socket.socket:
        read_head(peer)
        peer.sendall(EARLY)
        return hold(peer)

    with (tmp_path / "f").open("w+b") as file, connected(handle) as connection:
        file.truncate(1000 * MIB)
        response = connection.request(
            put(1000 * MIB), lambda sender: sender.sendfile(file.fileno(), 0, 1000 * MIB)
        )
        assert response.status == 503


def test_an_interim_response_does_not_stop_the_body() -> None:
    size = 20 * MIB
    sizes = []

    def handle(peer: socket.socket) -> None:
        read_head(peer)
        peer.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        sizes.append(len(read_exactly(peer, size)))
        peer.sendall(OK)
        wait_for_end(peer)

    with connected(handle) as connection:
        assert connection.request(put(size), bytes(size)).status == 200
    assert sizes == [size]


def test_an_early_answer_gets_through_a_callable_that_catches_exceptions() -> None:
    def body(sender: Sender) -> None:
        with contextlib.suppress(Exception):
            endless(sender)

    def handle(peer: socket.socket) -> socket.socket:
        read_head(peer)
        peer.sendall(EARLY)
        return hold(peer)

    with connected(handle) as connection:
        assert connection.request(put(1000 * MIB), body).status == 503


# Failures


def test_a_refused_connection_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(errors.Unreachable, match=f"^cannot connect to 127.0.0.1:{port}: .*refused"):
        Connection(Endpoint(False, "127.0.0.1", port)).request(GET)


@pytest.mark.parametrize(
    "number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL]
)
def test_a_shortage_of_this_machine_is_not_the_services_fault(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def dial(host: str, port: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(route, "dial", dial)
    with pytest.raises(errors.Busy, match="^cannot connect to h:80: "):
        Connection(Endpoint(False, "h", 80)).request(GET)


def test_an_unknown_host_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*question: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(gevent.socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(errors.Unreachable, match="^cannot connect to nowhere:80: Name or service"):
        Connection(Endpoint(False, "nowhere", 80)).request(GET)


def test_a_slow_name_service_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gevent.socket, "getaddrinfo", lambda *question: gevent.sleep(PATIENCE))
    with pytest.raises(errors.Unreachable, match="^cannot connect to h:80: not done within 0.3 s$"):
        Connection(Endpoint(False, "h", 80), HASTY).request(GET)


def test_a_service_that_does_not_shake_hands_is_unreachable(tls: ssl.SSLContext) -> None:
    with Server(wait_for_end) as server:
        endpoint = server.endpoint._replace(secure=True)
        with pytest.raises(errors.Unreachable, match="not done within 0.3 s"):
            Connection(endpoint, HASTY, tls).request(GET)


def test_a_service_that_does_not_answer_is_transient() -> None:
    with connected(wait_for_end, answer(OK), timeouts=IMPATIENT) as connection:
        with pytest.raises(errors.Transient, match=r"^127.0.0.1:\d+: no progress for 0.3 s$"):
            connection.request(GET)
        assert connection.request(GET).status == 200


def test_a_service_that_stops_in_mid_response_is_transient() -> None:
    with (
        connected(answer(OK[:-1]), timeouts=IMPATIENT) as connection,
        pytest.raises(errors.Transient, match="no progress"),
    ):
        connection.request(GET)


@pytest.mark.parametrize("body", [bytes(64 * MIB), endless], ids=["bytes", "callable"])
def test_a_service_that_does_not_read_is_transient(body: Body) -> None:
    with (
        connected(hold, timeouts=IMPATIENT) as connection,
        pytest.raises(errors.Transient, match="no progress"),
    ):
        connection.request(put(1000 * MIB), body)


def lose(peer: socket.socket) -> None:
    read_request(peer)


def reset_after_request(peer: socket.socket) -> None:
    read_request(peer)
    reset(peer)


@pytest.mark.parametrize("loss", [lose, reset_after_request])
def test_a_new_connection_that_is_lost_is_transient_but_not_stale(loss: Handler) -> None:
    with connected(loss, answer(OK)) as connection:
        with pytest.raises(errors.Transient, match=r"^127.0.0.1:\d+: ") as caught:
            connection.request(GET)
        assert type(caught.value) is errors.Transient
        assert connection.request(GET).status == 200


def test_what_connects_ahead_serves_the_next_request() -> None:
    with connected(answer(OK)) as connection:
        connection.connect()
        connection.connect()
        assert connection.request(GET).body == b"ok"


def test_a_connection_made_ahead_and_lost_is_stale() -> None:
    with connected(lambda peer: None, answer(OK)) as connection:
        connection.connect()
        with pytest.raises(errors.StaleConnection):
            connection.request(GET)
        assert connection.request(GET).status == 200


def test_connecting_ahead_to_nothing_is_unreachable() -> None:
    with Server() as server:
        endpoint = server.endpoint
    with pytest.raises(errors.Unreachable):
        Connection(endpoint, PATIENT).connect()


@pytest.mark.parametrize("loss", [lambda peer: None, lose, reset, reset_after_request])
@pytest.mark.parametrize("body", [b"", bytes(MIB)], ids=["small", "large"])
def test_a_kept_connection_that_is_lost_before_the_answer_is_stale(
    loss: Handler, body: bytes
) -> None:
    def handle(peer: socket.socket) -> None:
        read_request(peer)
        peer.sendall(OK)
        loss(peer)

    with connected(handle, answer(OK)) as connection:
        assert connection.request(GET).status == 200
        with pytest.raises(errors.StaleConnection, match=r"^127.0.0.1:\d+: ") as caught:
            connection.request(put(len(body)), body)
        assert "\n" not in str(caught.value)
        assert connection.request(GET).status == 200


@pytest.mark.parametrize("end", [lambda peer: None, reset])
def test_a_response_that_breaks_off_is_transient_but_not_stale(end: Handler) -> None:
    def handle(peer: socket.socket) -> None:
        read_request(peer)
        peer.sendall(OK)
        read_request(peer)
        peer.sendall(OK[:-1])
        end(peer)

    with connected(handle) as connection:
        connection.request(GET)
        with pytest.raises(errors.Transient) as caught:
            connection.request(GET)
        assert type(caught.value) is errors.Transient


def test_a_chunked_response_that_breaks_off_is_transient() -> None:
    raw = b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
    with (
        connected(answer_and_close(raw)) as connection,
        pytest.raises(errors.Transient),
    ):
        connection.request(GET)


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"<html>hello</html>",
        b"\x15\x03\x03\x00\x02\x02\x28",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
    ],
)
def test_garbage_is_transient(raw: bytes) -> None:
    with connected(answer(raw), answer(OK)) as connection:
        with pytest.raises(errors.Transient, match=r"^127.0.0.1:\d+: the answer is not HTTP"):
            connection.request(GET)
        assert connection.request(GET).status == 200


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 20_000,
        b"HTTP/1.1 200 OK\r\nX-A: " + b"b" * 100_000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000,
        b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n" + bytes(65 * MIB),
    ],
    ids=["many headers", "a large header", "many interim responses", "a large body"],
)
def test_an_answer_too_large_to_keep_is_transient(raw: bytes) -> None:
    def handle(peer: socket.socket) -> None:
        read_request(peer)
        with contextlib.suppress(ConnectionError):
            peer.sendall(raw)
        wait_for_end(peer)

    with (
        connected(handle) as connection,
        pytest.raises(errors.Transient, match="too large"),
    ):
        connection.request(GET)


def test_a_killed_greenlet_closes_its_connection() -> None:
    with connected(answer(), answer(OK)) as connection:
        greenlet = gevent.spawn(connection.request, GET)
        gevent.sleep(0.05)
        greenlet.kill()
        assert connection.request(GET).status == 200


def test_the_callers_own_timeout_passes_through() -> None:
    with connected(answer(), answer(OK)) as connection:
        with pytest.raises(gevent.Timeout) as caught, gevent.Timeout(0.05) as timeout:
            connection.request(GET)
        assert caught.value is timeout
        assert connection.request(GET).status == 200


def test_closing_twice_or_unopened_is_no_error() -> None:
    with connected(answer(OK), answer(OK)) as connection:
        connection.close()
        connection.request(GET)
        connection.close()
        connection.close()
        assert connection.request(GET).status == 200


def test_greenlets_wait_at_the_same_time() -> None:
    barrier = threading.Barrier(2, timeout=PATIENCE)

    def handle(peer: socket.socket) -> None:
        read_request(peer)
        barrier.wait()
        peer.sendall(OK)
        wait_for_end(peer)

    with connected(handle) as one, connected(handle) as other:
        greenlets = [gevent.spawn(c.request, GET) for c in (one, other)]
        gevent.joinall(greenlets, raise_error=True)
        assert [greenlet.value.status for greenlet in greenlets] == [200, 200]


# TLS


@contextlib.contextmanager
def secured(
    tls: ssl.SSLContext, *handlers: Handler, timeouts: Timeouts = PATIENT
) -> Iterator[Connection]:
    with Server(*handlers) as server:
        connection = Connection(server.endpoint._replace(secure=True), timeouts, tls)
        try:
            yield connection
        finally:
            connection.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_requests_go_over_tls(authority: trustme.CA, ca_file: str, version: ssl.TLSVersion) -> None:
    body = os.urandom(20 * MIB)
    received = []

    def handle(peer: socket.socket) -> None:
        assert isinstance(peer, ssl.SSLSocket)
        assert (peer.version(), peer.selected_alpn_protocol()) == (
            version.name.replace("_", "."),
            "http/1.1",
        )
        for _ in range(3):
            received.append(read_request(peer))
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + bytes(100_000))
        wait_for_end(peer)

    def write(sender: Sender) -> None:
        assert not sender.zero_copy
        with pytest.raises(ValueError):
            sender.sendfile(0, 0, 1)
        sender.write(memoryview(body))

    tls = tls_context(ca_file)
    tls.maximum_version = version
    with secured(tls, over_tls(authority, handle)) as connection:
        for content in (b"small", body, write):
            size = len(body) if callable(content) else len(content)
            assert connection.request(put(size), content).body == bytes(100_000)
    assert received == [b"small", body, body]


def test_a_body_over_tls_may_end_with_the_connection(
    authority: trustme.CA, tls: ssl.SSLContext
) -> None:
    def handle(peer: socket.socket) -> None:
        assert isinstance(peer, ssl.SSLSocket)
        read_request(peer)
        peer.sendall(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        with contextlib.suppress(OSError):
            peer.unwrap()

    with secured(tls, over_tls(authority, handle)) as connection:
        assert connection.request(GET).body == b"all of it"


def test_an_early_answer_over_tls_counts(authority: trustme.CA, tls: ssl.SSLContext) -> None:
    def handle(peer: socket.socket) -> socket.socket:
        read_head(peer)
        peer.sendall(EARLY)
        return hold(peer)

    with secured(tls, over_tls(authority, handle)) as connection:
        assert connection.request(put(1000 * MIB), endless).status == 503


def test_a_kept_tls_connection_that_is_lost_is_stale(
    authority: trustme.CA, tls: ssl.SSLContext
) -> None:
    first = over_tls(authority, answer_and_close(OK))
    with secured(tls, first, over_tls(authority, answer(OK))) as connection:
        connection.request(GET)
        with pytest.raises(errors.StaleConnection):
            connection.request(GET)
        assert connection.request(GET).status == 200


@pytest.mark.parametrize("name", ["127.0.0.1", "other.example"])
def test_a_certificate_that_does_not_verify_is_fatal(
    authority: trustme.CA, tls: ssl.SSLContext, name: str
) -> None:
    """Signed by somebody else, or for another host."""
    signer = trustme.CA() if name == "127.0.0.1" else authority

    def handle(peer: socket.socket) -> None:
        with contextlib.suppress(OSError):
            over_tls(signer, wait_for_end, name)(peer)

    with (
        secured(tls, handle) as connection,
        pytest.raises(errors.Fatal, match=r"^cannot connect to 127.0.0.1:\d+: certificate: "),
    ):
        connection.request(GET)


@pytest.mark.parametrize("greeting", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-x\r\n"])
def test_a_service_that_does_not_speak_tls_is_fatal(tls: ssl.SSLContext, greeting: bytes) -> None:
    def handle(peer: socket.socket) -> None:
        peer.recv(100)
        peer.sendall(greeting)
        wait_for_end(peer)

    with (
        secured(tls, handle) as connection,
        pytest.raises(errors.Fatal, match=r"^127\.0\.0\.1:\d+ does not speak TLS: use http:// "),
    ):
        connection.request(GET)


def test_a_handshake_that_the_service_refuses_is_unreachable(tls: ssl.SSLContext) -> None:
    """It answers with an alert: internal_error."""

    def handle(peer: socket.socket) -> None:
        peer.recv(1000)
        peer.sendall(b"\x15\x03\x03\x00\x02\x02\x50")
        wait_for_end(peer)

    with secured(tls, handle) as connection:
        with pytest.raises(errors.Unreachable, match="^cannot connect to ") as caught:
            connection.request(GET)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("end", [lambda peer: None, reset], ids=["close", "reset"])
def test_a_service_that_hangs_up_during_the_handshake_is_unreachable(
    tls: ssl.SSLContext, end: Handler
) -> None:
    def handle(peer: socket.socket) -> None:
        peer.recv(1000)
        end(peer)

    with (
        secured(tls, handle) as connection,
        pytest.raises(errors.Unreachable, match="^cannot connect to .*: "),
    ):
        connection.request(GET)


def test_a_ca_file_that_cannot_be_read_is_fatal(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for name in ("missing", "empty"):
        with pytest.raises(errors.Fatal, match="^cannot read the CA certificates in .*: ."):
            tls_context(str(tmp_path / name))


def test_certificates_may_be_in_a_directory(tmp_path: Path, authority: trustme.CA) -> None:
    assert not tls_context(str(tmp_path)).get_ca_certs()


def test_it_works_in_a_patched_process(authority: trustme.CA, ca_file: str) -> None:
    script = """if True:
        import sys
        from gevent import monkey
        monkey.patch_all()
        from providers.http.connection import Connection
        from providers.http.endpoint import Endpoint
        from providers.http.tls import tls_context
        connection = Connection(Endpoint.parse(sys.argv[1]), tls=tls_context(sys.argv[2]))
        head = b"PUT / HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 1000000\\r\\n\\r\\n"
        for _ in range(2):
            assert connection.request(head, bytes(1000000)).body == b"ok"
        connection.close()
    """
    with Server(over_tls(authority, answer(OK, OK))) as server:
        subprocess.run(
            [sys.executable, "-W", "error", "-c", script, f"https://{server.address}", ca_file],
            cwd=Path(_http.__file__).parents[2],
            check=True,
            timeout=30,
        )


# Proxies


def tunnel(then: Handler, heads: list[bytes]) -> Handler:
    def handle(peer: socket.socket) -> None:
        heads.append(read_head(peer))
        peer.sendall(b"HTTP/1.1 200 Connection established\r\nX-A: b\r\n\r\n")
        then(peer)

    return handle


def through(server: Server, tls: ssl.SSLContext | None = None) -> Connection:
    endpoint = Endpoint(tls is not None, "127.0.0.1", 1234)
    proxy = Proxy.parse(f"http://me:p%40ss@{server.address}")
    return Connection(endpoint, PATIENT, tls, proxy)


def test_requests_over_tls_go_through_a_proxys_tunnel(
    authority: trustme.CA, tls: ssl.SSLContext
) -> None:
    heads: list[bytes] = []
    with Server(tunnel(over_tls(authority, answer(OK, OK)), heads)) as server:
        connection = through(server, tls)
        assert connection.request(GET).body == b"ok"
        assert connection.request(GET).body == b"ok"
        connection.close()
    assert heads == [
        b"CONNECT 127.0.0.1:1234 HTTP/1.1\r\nHost: 127.0.0.1:1234\r\n"
        b"Proxy-Authorization: Basic bWU6cEBzcw==\r\n\r\n"
    ]


def test_plain_requests_name_their_whole_address_to_a_proxy() -> None:
    """RFC 9112 section 3.2.2; many proxies allow a tunnel to port 443 only."""
    heads = []

    def handle(peer: socket.socket) -> None:
        for _ in range(2):
            heads.append(read_head(peer))
            peer.sendall(OK)
        wait_for_end(peer)

    with Server(handle) as server:
        connection = through(server)
        for _ in range(2):
            assert connection.request(b"GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n").body == b"ok"
        connection.close()
    assert heads == 2 * [
        b"GET http://127.0.0.1:1234/a?b=c HTTP/1.1\r\n"
        b"Proxy-Authorization: Basic bWU6cEBzcw==\r\nHost: x\r\n\r\n"
    ]


def test_a_proxy_that_is_not_there_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    proxy = Proxy.parse(f"http://me:p%40ss@127.0.0.1:{port}")
    connection = Connection(Endpoint(False, "127.0.0.1", 1234), PATIENT, None, proxy)
    with pytest.raises(errors.Unreachable) as caught:
        connection.request(GET)
    told = f"cannot connect to 127.0.0.1:1234: proxy 127.0.0.1:{port}: Connection refused"
    assert str(caught.value) == told


def test_a_proxy_that_refuses_to_pass_a_request_on_is_fatal() -> None:
    raw = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    with Server(answer(raw)) as server:
        with pytest.raises(errors.Fatal, match="127.0.0.1:1234: proxy .* answered 407") as caught:
            through(server).request(GET)
        assert "p@ss" not in str(caught.value)


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n", errors.Fatal),
        (b"HTTP/1.1 503 Unavailable\r\nContent-Length: 3\r\n\r\nabc", errors.Unreachable),
        (b"garbage\r\n", errors.Unreachable),
        (b"", errors.Unreachable),
    ],
)
def test_a_proxy_that_makes_no_tunnel(
    tls: ssl.SSLContext, raw: bytes, kind: type[errors.Failure]
) -> None:
    with (
        Server(answer_and_close(raw)) as server,
        pytest.raises(kind, match="^cannot connect to 127.0.0.1:1234: ") as caught,
    ):
        through(server, tls).request(GET)
    assert type(caught.value) is kind
    assert "p@ss" not in str(caught.value)


# Bodies that are taken piece by piece


def test_a_body_is_taken_as_it_arrives_however_long_it_is() -> None:
    """Nobody holds it: it may be longer than an answer that is kept."""
    piece, pieces = bytes(MIB), 70

    def send(peer: socket.socket) -> None:
        read_request(peer)
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (MIB * pieces))
        for _ in range(pieces):
            peer.sendall(piece)
        wait_for_end(peer)

    sizes: list[int] = []
    with connected(send) as connection:
        response = connection.request(GET, take=lambda block: sizes.append(len(block)))
    assert (response.status, response.body, sum(sizes)) == (200, b"", MIB * pieces)
    assert max(sizes) <= MIB


def test_the_body_of_a_refusal_is_kept() -> None:
    refusal = b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone"
    taken: list[bytes] = []
    with connected(answer(refusal)) as connection:
        response = connection.request(GET, take=taken.append)
    assert (response.status, response.body, taken) == (404, b"gone", [])


def test_a_body_that_ends_early_is_transient_though_some_was_taken() -> None:
    half = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf"
    taken: list[bytes] = []
    with connected(answer_and_close(half)) as connection, pytest.raises(errors.Transient):
        connection.request(GET, take=taken.append)
    assert b"".join(taken) == b"half"


def test_what_the_taker_raises_passes_through_and_closes_the_connection() -> None:
    def stumble(block: bytes) -> None:
        raise EOFError

    with connected(
        answer(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"), answer(OK)
    ) as connection:
        with pytest.raises(EOFError):
            connection.request(GET, take=stumble)
        assert connection.request(GET).status == 200
