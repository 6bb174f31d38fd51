"""What a connection sends keeps a limit of the rate."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import gevent
import pytest
import trustme

from providers.http import stream as _stream
from providers.http.conn_class import LibcloudConnection
from providers.http.connection import Connection
from providers.http.limit import Timeouts
from providers.http.sender import Sender
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
    slow_reader,
    wait_for_end,
)

MOST = 10_000


class Turns:
    """A limit that lets ``MOST`` bytes go at a time, and counts what went."""

    share = 1e6
    waiting = False

    def __init__(self) -> None:
        self.gone = 0
        self.pause = 0.0

    def take(self, wanted: int) -> int:
        gevent.sleep(self.pause)
        taken = min(wanted, MOST)
        self.gone += taken
        return taken

    def give_back(self, unsent: int) -> None:
        self.gone -= unsent


@pytest.fixture
def turns() -> Turns:
    return Turns()


@pytest.fixture
def traffic(turns: Turns) -> Traffic:
    traffic = Traffic()
    traffic.limit = turns
    return traffic


@pytest.mark.parametrize("size", [0, 1, 4 * KIB, 64 * KIB, 3 * MIB])
def test_heads_and_bodies_count(traffic: Traffic, turns: Turns, size: int) -> None:
    with Server(answer(OK, OK)) as server:
        connection = Connection(server.endpoint, PATIENT, traffic=traffic)
        connection.request(GET)
        connection.request(put(size), bytes(size))
        connection.close()
    assert turns.gone == len(GET) + len(put(size)) + size
    assert traffic.sent == size


def test_a_file_counts(traffic: Traffic, turns: Turns, tmp_path: Path) -> None:
    size = 3 * MIB
    (tmp_path / "f").write_bytes(os.urandom(size))

    def send(sender: Sender) -> None:
        sender.sendfile(file.fileno(), 0, size)

    with Server(answer(OK)) as server, (tmp_path / "f").open("rb") as file:
        connection = Connection(server.endpoint, PATIENT, traffic=traffic)
        connection.request(put(size), send)
        connection.close()
    assert turns.gone == len(put(size)) + size


def test_over_tls_the_bytes_on_the_wire_count(
    traffic: Traffic, turns: Turns, tmp_path: Path
) -> None:
    size = MIB
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    tls = tls_context(str(tmp_path / "ca.pem"))
    with Server(over_tls(authority, answer(OK))) as server:
        endpoint = server.endpoint._replace(secure=True)
        connection = Connection(endpoint, PATIENT, tls, traffic=traffic)
        connection.request(put(size), bytes(size))
        connection.close()
    plain = len(put(size)) + size
    assert plain < turns.gone < 1.01 * plain
    assert traffic.sent == size


def test_the_drivers_of_libcloud_keep_it(traffic: Traffic, turns: Turns) -> None:
    with Server(answer(OK)) as server:
        kind = type("Kind", (LibcloudConnection,), {"traffic": traffic})
        connection = kind(server.endpoint.host, server.endpoint.port)
        connection.request("PUT", "/key", body=iter([bytes(MIB)]), headers={"Content-Length": MIB})
        connection.close()
    assert turns.gone > MIB


def test_what_a_full_socket_does_not_take_is_given_back(traffic: Traffic, turns: Turns) -> None:
    size = 8 * MIB

    def handle(peer: socket.socket) -> None:
        read_head(peer)
        left = size
        while left:
            gevent.sleep(0)
            left -= len(peer.recv(MIB))
        peer.sendall(OK)
        wait_for_end(peer)

    with Server(handle, receive_buffer=16 * KIB) as server:
        connection = Connection(server.endpoint, PATIENT, traffic=traffic)
        assert connection.request(put(size), bytes(size)).status == 200
        connection.close()
    assert turns.gone == len(put(size)) + size


@pytest.mark.skipif(not hasattr(socket, "TCP_NOTSENT_LOWAT"), reason="needs TCP_NOTSENT_LOWAT")
def test_little_queues_behind_a_link_that_is_slower(
    traffic: Traffic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would all go at once when the link recovers."""
    monkeypatch.setattr(_stream, "QUEUE_SECONDS", 1000.0)
    size = 16 * MIB
    hurry = threading.Event()

    with Server(slow_reader(size, hurry), receive_buffer=16 * KIB) as server:
        connection = Connection(server.endpoint, Timeouts(PATIENCE, 0.4), traffic=traffic)
        sending = gevent.spawn(connection.request, put(size), bytes(size))
        with gevent.Timeout(6 * PATIENCE):
            while traffic.queued() <= MIB:
                gevent.sleep(0.01)
            while traffic.queued() >= 300 * KIB:
                gevent.sleep(0.01)
        assert traffic.sent < size
        hurry.set()
        assert sending.get().status == 200
        connection.close()


@pytest.mark.parametrize("kind", ["bytes", "file"])
def test_to_wait_for_a_turn_is_no_lack_of_progress(
    traffic: Traffic, turns: Turns, tmp_path: Path, kind: str
) -> None:
    """Each turn comes later than a silent connection would be given up."""
    turns.pause = 0.3
    (tmp_path / "f").write_bytes(bytes(2 * MOST))

    def send(sender: Sender) -> None:
        sender.sendfile(file.fileno(), 0, 2 * MOST)

    with Server(answer(OK)) as server, (tmp_path / "f").open("rb") as file:
        connection = Connection(server.endpoint, Timeouts(PATIENCE, 0.2), traffic=traffic)
        body = send if kind == "file" else bytes(2 * MOST)
        assert connection.request(put(2 * MOST), body).status == 200
        connection.close()


def test_an_answer_that_comes_while_it_waits_ends_the_request(
    traffic: Traffic, turns: Turns
) -> None:
    turns.pause = 0.05

    def handle(peer: socket.socket) -> None:
        read_head(peer)
        peer.sendall(b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\n\r\n")
        wait_for_end(peer)

    with Server(handle) as server:
        connection = Connection(server.endpoint, PATIENT, traffic=traffic)
        assert connection.request(put(MIB), bytes(MIB)).status == 503
        connection.close()
    assert traffic.sent < MIB
