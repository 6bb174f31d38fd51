"""The bad network keeps its promises."""

from __future__ import annotations

import contextlib
import selectors
import socket

import pytest

from bench.network import Network
from tests.command import wait_for
from tests.servers import require
from tests.servers.faults import reset_on_close

TIMEOUT = 10.0


class Through:
    """Connections through a network, both ends in the test's hands."""

    def __init__(self, **settings: float) -> None:
        require(Network)
        self._cleanup = contextlib.ExitStack()
        self._settings = settings

    def __enter__(self) -> Through:
        with contextlib.ExitStack() as cleanup:
            listener = cleanup.enter_context(socket.create_server(("127.0.0.1", 0)))
            listener.settimeout(TIMEOUT)
            self._listener = listener
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            self.network = cleanup.enter_context(Network(url, **self._settings))  # type: ignore[arg-type]
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    def connect(self) -> socket.socket:
        """The client's end alone."""
        client = socket.socket()
        self._cleanup.enter_context(client)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        client.settimeout(TIMEOUT)
        client.connect(("127.0.0.1", self.network.port))
        return client

    def pair(self) -> tuple[socket.socket, socket.socket]:
        """The client's end and the server's."""
        client = self.connect()
        server, _ = self._listener.accept()
        self._cleanup.enter_context(server)
        server.settimeout(TIMEOUT)
        return client, server


def test_bytes_pass_both_ways_and_are_counted() -> None:
    with Through(latency=0.01, rate=1e6) as through:
        client, server = through.pair()
        client.sendall(b"question")
        assert server.recv(100) == b"question"
        server.sendall(b"answer")
        assert client.recv(100) == b"answer"
        traffic = through.network.traffic()
    assert (traffic.connections, traffic.sent, traffic.received) == (1, 8, 6)


def test_the_end_of_a_connection_passes_after_what_was_sent_before() -> None:
    with Through(latency=0.01) as through:
        client, server = through.pair()
        client.sendall(b"last words")
        client.shutdown(socket.SHUT_WR)
        assert server.makefile("rb").read() == b"last words"
        server.sendall(b"goodbye")
        server.close()
        assert client.makefile("rb").read() == b"goodbye"


def test_a_slow_link_takes_little_that_it_has_not_carried() -> None:
    with Through(rate=20_000) as through:
        client, _ = through.pair()
        client.setblocking(False)
        taken = 0
        with contextlib.suppress(BlockingIOError):
            while taken < 1_000_000:
                taken += client.send(bytes(1000))
        assert taken < 50_000


def test_connections_share_the_link_evenly() -> None:
    with Through(rate=500_000) as through, selectors.DefaultSelector() as selector:
        arrived = {}
        for _ in range(3):
            client, server = through.pair()
            for end in (client, server):
                end.setblocking(False)
            selector.register(client, selectors.EVENT_WRITE)
            selector.register(server, selectors.EVENT_READ)
            arrived[server] = 0
        while sum(arrived.values()) < 300_000:
            for key, ready in selector.select(TIMEOUT):
                peer = key.fileobj
                assert isinstance(peer, socket.socket)
                if ready & selectors.EVENT_READ:
                    arrived[peer] += len(peer.recv(65536))
                else:
                    peer.send(bytes(4096))
        assert min(arrived.values()) > 0.8 * max(arrived.values())


def test_while_it_refuses_nobody_listens_and_connections_are_reset() -> None:
    with Through() as through:
        client, _ = through.pair()
        through.network.refuse(0.5)
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        with pytest.raises(ConnectionRefusedError):
            through.connect()
        assert through.network.traffic().resets == 1

        def listens() -> bool:
            try:
                through.connect()
            except ConnectionRefusedError:
                return False
            return True

        wait_for(listens)


def test_a_silence_keeps_connections_and_what_was_sent() -> None:
    with Through() as through:
        client, server = through.pair()
        through.network.silence(0.5)
        client.sendall(b"question")
        late = through.connect()
        late.sendall(b"later")
        assert through.network.traffic().sent == 0
        assert server.recv(100) == b"question"
        server.sendall(b"answer")
        assert client.recv(100) == b"answer"
        assert through.network.traffic().resumed is not None
        through.pair()


def test_an_outage_can_wait_for_the_next_connection() -> None:
    with Through() as through:
        through.pair()
        through.network.refuse(60, after=0.01)
        client, _ = through.pair()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        through.network.forget()
        through.pair()


def test_all_connections_of_this_moment_are_reset() -> None:
    with Through() as through:
        clients = [through.pair()[0] for _ in range(3)]
        through.network.reset_all()
        for client in clients:
            with pytest.raises(ConnectionResetError):
                client.recv(1)
        through.pair()
        assert through.network.traffic().resets == 3


def test_a_share_of_the_connections_is_reset_on_the_way() -> None:
    with Through(reset_share=1.0) as through:
        client, server = through.pair()
        server.setblocking(False)
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            while True:
                client.sendall(bytes(65536))
                with contextlib.suppress(BlockingIOError):
                    server.recv(1 << 20)
        assert through.network.traffic().resets == 1


def test_a_reset_of_either_side_reaches_the_other() -> None:
    with Through() as through:
        client, server = through.pair()
        reset_on_close(server)
        server.close()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
