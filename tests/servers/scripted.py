"""An HTTP server on loopback that answers from a script and remembers what it was asked."""

from __future__ import annotations

import contextlib
import http
import socket
import ssl
import threading
from collections.abc import Callable
from typing import NamedTuple

from tests.servers.faults import reset_on_close

PATIENCE = 10.0
"""Seconds that the server waits for a client, so that no test hangs."""


class Request(NamedTuple):
    """One request as it came over the wire."""

    method: str
    target: str
    """Path and query, as encoded by the client."""
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes


Answer = bytes | Callable[[Request], bytes]
"""What goes back over the wire, or what makes it out of the request."""

RESET = b"RST"
"""In place of an answer: the connection is reset in the middle of the request's body."""
CLOSE = b"FIN"
"""In place of an answer: the connection is closed after the request was read."""


def reply(status: int = 200, body: bytes = b"", **headers: str) -> bytes:
    """A whole response; ``_`` in a header's name stands for ``-``."""
    lines = [f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}"]
    fields = {"content_length": str(len(body)), **headers}
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


class ScriptedServer:
    """Answers the first request with the first answer, and so on, over any connections.

    As a context manager it fails when the client asked for more or for less than the script has.
    """

    def __init__(self, *answers: Answer, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []
        self.answers = list(answers)
        self._tls = tls
        self._over = False
        self._errors: list[BaseException] = []
        self._threads: list[threading.Thread] = []
        self.peers: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        scheme = "https" if tls else "http"
        self.endpoint = f"{scheme}://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> ScriptedServer:
        self._start(self._accept)
        return self

    def __exit__(self, *failure: object) -> None:
        self._over = True
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for peer in self.peers:
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        if failure[0] is None:
            if self._errors:
                raise self._errors[0]
            assert not self.answers, f"never asked for: {self.answers}"

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            self.peers.append(peer)
            self._start(self._serve, peer)

    def _serve(self, peer: socket.socket) -> None:
        peer.settimeout(PATIENCE)
        try:
            if self._tls:
                peer = self._tls.wrap_socket(peer, server_side=True)
            with peer:
                while self._answer(peer):
                    pass
        except (ConnectionError, ssl.SSLError):
            pass  # the client left, which is its right
        except BaseException as error:
            if not self._over:
                self._errors.append(error)

    def _answer(self, peer: socket.socket) -> bool:
        """One request and its answer; false when nothing more can follow."""
        head = _read_head(peer)
        if not head:
            return False
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines)}
        size = int(headers.get("content-length", 0))
        assert self.answers, f"{method} {target} is not in the script"
        answer = self.answers.pop(0)
        body = _read_body(peer, size // 2 if answer is RESET else size)
        request = Request(method, target, headers, body)
        self.requests.append(request)
        if answer is RESET:
            reset_on_close(peer)
            return False
        if answer is CLOSE:
            return False
        peer.sendall(answer(request) if callable(answer) else answer)
        return True


def _read_head(peer: socket.socket) -> bytes:
    head = bytearray()
    while not head.endswith(b"\r\n\r\n"):
        byte = peer.recv(1)
        if not byte:
            return b""
        head += byte
    return bytes(head[:-4])


def _read_body(peer: socket.socket, size: int) -> bytes:
    body = bytearray()
    while len(body) < size:
        block = peer.recv(min(size - len(body), 1 << 20))
        if not block:
            raise ConnectionResetError
        body += block
    return bytes(body)
