"""A server whose every byte is written by hand, by one handler for each connection."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
import warnings
from collections.abc import Callable
from typing import Any

import trustme

from providers.http.endpoint import Endpoint
from providers.http.limit import Timeouts
from tests.servers.faults import reset_on_close

KIB, MIB = 2**10, 2**20

PATIENCE = 10.0
"""Seconds after which a test's server gives up, so that no test hangs."""
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
PATIENT = Timeouts(PATIENCE, PATIENCE)
IMPATIENT = Timeouts(PATIENCE, 0.3)
HASTY = Timeouts(0.3, PATIENCE)
"""One gives up an idle connection soon, the other one that is not made yet."""
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"

Handler = Callable[[socket.socket], object]


def put(size: int) -> bytes:
    return b"PUT /k HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size


def read_head(peer: socket.socket) -> bytes:
    """Reads the head of a request and nothing behind it."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = peer.recv(1)
        if not byte:
            raise EOFError(head)
        head += byte
    return head


def read_request(peer: socket.socket) -> bytes:
    """Reads a whole request and returns its body."""
    head = read_head(peer)
    length = re.search(rb"content-length: (\d+)", head.lower())
    return read_exactly(peer, int(length[1]) if length else 0)


def read_exactly(peer: socket.socket, size: int) -> bytes:
    body = bytearray()
    while len(body) < size:
        block = peer.recv(min(size - len(body), MIB))
        if not block:
            raise EOFError(len(body))
        body += block
    return bytes(body)


def slow_reader(size: int, hurry: threading.Event) -> Handler:
    """Reads a body of ``size`` bytes a little at a time until ``hurry`` is set, then accepts it."""

    def handle(peer: socket.socket) -> None:
        read_head(peer)
        left = size
        while left:
            left -= len(peer.recv(256 * KIB))
            hurry.wait(0.01)
        peer.sendall(OK)
        wait_for_end(peer)

    return handle


def wait_for_end(peer: socket.socket) -> None:
    """Reads until the client closes its end."""
    with contextlib.suppress(ConnectionError):
        while peer.fileno() >= 0 and peer.recv(MIB):
            pass


def hold(peer: socket.socket) -> socket.socket:
    """Reads nothing more, but keeps the connection open until the end of the test."""
    return socket.fromfd(peer.fileno(), peer.family, peer.type)


def reset(peer: socket.socket) -> None:
    reset_on_close(peer)
    peer.close()


def answer(*responses: bytes) -> Handler:
    """A peer that reads one request for each response, then waits for the client to leave."""

    def handle(peer: socket.socket) -> None:
        for response in responses:
            read_request(peer)
            peer.sendall(response)
        wait_for_end(peer)

    return handle


def answer_and_close(*responses: bytes) -> Handler:
    def handle(peer: socket.socket) -> None:
        for response in responses:
            read_request(peer)
            peer.sendall(response)

    return handle


class Server:
    """Accepts one connection for each handler, in order, and lets it write the bytes."""

    def __init__(
        self, *handlers: Handler, receive_buffer: int | None = None, host: str = "127.0.0.1"
    ) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family)
        self._host = host
        if receive_buffer:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._listener.settimeout(PATIENCE)
        self._handlers = handlers
        self._errors: list[BaseException] = []
        self._held: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            for handler in self._handlers:
                peer, _ = self._listener.accept()
                with peer:
                    peer.settimeout(PATIENCE)
                    held = handler(peer)
                if isinstance(held, socket.socket):
                    self._held.append(held)
        except BaseException as error:
            self._errors.append(error)

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._thread.join(PATIENCE)
        self._listener.close()
        for peer in self._held:
            peer.close()
        assert not self._thread.is_alive()
        if exc_info[0] is None and self._errors:
            raise self._errors[0]

    @property
    def address(self) -> str:
        return self.endpoint.address

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(False, self._host, self.port)


def server_context(
    authority: trustme.CA, name: str = "127.0.0.1", **settings: Any
) -> ssl.SSLContext:
    """A server's side of TLS; ``settings`` are those of trustme's certificates."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["h2", "http/1.1"])
    authority.issue_cert(name, **settings).configure_cert(context)
    return context


def old_context(authority: trustme.CA) -> ssl.SSLContext:
    """A server that speaks TLS 1.1 and nothing newer."""
    context = server_context(authority)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated, as it should be
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    return context


def over_tls(authority: trustme.CA, handler: Handler, name: str = "127.0.0.1") -> Handler:
    context = server_context(authority, name)

    def handle(peer: socket.socket) -> object:
        with context.wrap_socket(peer, server_side=True) as secured:
            return handler(secured)

    return handle
