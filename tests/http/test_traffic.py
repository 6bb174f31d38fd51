"""Bytes are counted as they leave."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import gevent
import pytest
import trustme

from providers.http import stream as _stream
from providers.http.connection import Connection
from providers.http.limit import Timeouts
from providers.http.sender import Body, Sender
from providers.http.tls import tls_context
from providers.traffic import Traffic
from tests.servers.raw import (
    GET,
    KIB,
    MIB,
    OK,
    PATIENCE,
    PATIENT,
    Server,
    answer,
    over_tls,
    put,
    read_head,
    read_request,
    slow_reader,
    wait_for_end,
)


def wait_until(condition: Callable[[], bool]) -> None:
    with gevent.Timeout(PATIENCE):
        while not condition():
            gevent.sleep(0.01)


def in_pieces(content: bytes) -> Callable[[Sender], None]:
    def send(sender: Sender) -> None:
        for start in range(0, len(content), 1000):
            sender.write(content[start : start + 1000])

    return send


@pytest.mark.parametrize("size", [0, 1, 64 * KIB, 3 * MIB])
@pytest.mark.parametrize("kind", ["bytes", "callable"])
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_what_is_counted_is_the_body_and_nothing_else(
    tmp_path: Path, size: int, kind: str, secure: bool
) -> None:
    content = bytes(size)
    body: Body = content if kind == "bytes" else in_pieces(content)
    traffic = Traffic()
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    tls = tls_context(str(tmp_path / "ca.pem")) if secure else None
    handle = answer(OK, OK)
    with Server(over_tls(authority, handle) if secure else handle) as server:
        endpoint = server.endpoint._replace(secure=secure)
        connection = Connection(endpoint, PATIENT, tls, traffic=traffic)
        connection.request(GET)
        assert traffic.sent == 0
        connection.request(put(size), body)
        assert traffic.sent == size
        connection.close()


def test_a_file_is_counted(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(os.urandom(3 * MIB))
    traffic = Traffic()
    with Server(answer(OK)) as server, (tmp_path / "f").open("rb") as file:
        connection = Connection(server.endpoint, PATIENT, traffic=traffic)
        connection.request(put(3 * MIB), lambda sender: sender.sendfile(file.fileno(), 0, 3 * MIB))
        connection.close()
    assert traffic.sent == 3 * MIB


def test_several_connections_add_up() -> None:
    traffic = Traffic()
    with Server(answer(OK), answer(OK)) as server:
        for _ in range(2):
            connection = Connection(server.endpoint, PATIENT, traffic=traffic)
            connection.request(put(1000), bytes(1000))
            connection.close()
    assert traffic.sent == 2000


def test_bytes_count_while_the_body_is_under_way() -> None:
    """Those that are on their way still are known apart."""
    size = 64 * MIB
    read_on = threading.Event()

    def handle(peer: socket.socket) -> None:
        read_head(peer)
        assert read_on.wait(PATIENCE)
        left = size
        while left:
            left -= len(peer.recv(MIB))
        peer.sendall(OK)
        wait_for_end(peer)

    traffic = Traffic()
    with Server(handle, receive_buffer=16 * KIB) as server:
        connection = Connection(server.endpoint, PATIENT, traffic=traffic)
        greenlet = gevent.spawn(connection.request, put(size), bytes(size))
        wait_until(lambda: traffic.queued() > 0)
        assert 0 < traffic.sent < size
        read_on.set()
        assert greenlet.get().status == 200
        assert (traffic.sent, traffic.queued()) == (size, 0)
        connection.close()


@pytest.mark.parametrize(
    ("rate", "limit"),
    [(0.0, 128 * KIB), (1e3, 128 * KIB), (1e6, 2_000_000), (1e12, 1 << 30)],
)
def test_the_kernel_queues_what_the_link_takes_in_seconds(rate: float, limit: int) -> None:
    assert _stream.queue_limit(rate) == limit


@pytest.mark.skipif(not hasattr(socket, "TCP_NOTSENT_LOWAT"), reason="needs TCP_NOTSENT_LOWAT")
def test_the_queue_of_a_slow_connection_becomes_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """However much the kernel took before that was known."""
    monkeypatch.setattr(_stream, "QUEUE_SECONDS", 0.01)
    size = 16 * MIB
    hurry = threading.Event()

    traffic = Traffic()
    with Server(slow_reader(size, hurry), receive_buffer=16 * KIB) as server:
        connection = Connection(server.endpoint, Timeouts(PATIENCE, 2.0), traffic=traffic)
        greenlet = gevent.spawn(connection.request, put(size), bytes(size))
        wait_until(lambda: traffic.queued() > MIB)
        wait_until(lambda: traffic.queued() < 300 * KIB)
        assert traffic.sent < size
        hurry.set()
        assert greenlet.get().status == 200
        connection.close()


def test_a_movement_is_dated() -> None:
    traffic = Traffic()
    begun = traffic.moved_at
    moments = []

    def handle(peer: socket.socket) -> None:
        read_request(peer)
        wait_until(lambda: traffic.moved_at > begun)
        moments.append(traffic.moved_at)
        peer.sendall(OK)
        wait_for_end(peer)

    with Server(handle) as server:
        connection = Connection(server.endpoint, PATIENT, traffic=traffic)
        connection.request(GET)
        assert begun < moments[0] < traffic.moved_at
        connection.close()


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_a_connection_that_is_closed_or_dropped_is_forgotten() -> None:
    traffic = Traffic()
    with Server(answer(OK), answer(OK)) as server:
        for close in (True, False):
            connection = Connection(server.endpoint, PATIENT, traffic=traffic)
            connection.request(GET)
            assert len(traffic.queues) == 1
            if close:
                connection.close()
            del connection
            assert not traffic.queues
    assert traffic.queued() == 0
