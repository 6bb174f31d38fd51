"""One HTTP/1.1 connection on a gevent loop: kept alive, and given up when nothing moves.

No retry, no signing, no redirects: the caller brings the complete request head and gets the
response, whatever its status, or one of the failures in providers.errors.
"""

from __future__ import annotations

import errno
import os
import ssl
from collections.abc import Callable
from time import monotonic
from typing import NamedTuple

import gevent

from ..errors import Busy, Failure, Fatal, SourceChanged, StaleConnection, Transient, Unreachable
from ..traffic import Traffic
from .dial import SHORTAGES, dial
from .endpoint import Endpoint, Proxy, environment_proxy
from .response import KIB, Lost, Reader, Response
from .stream import NoProgress, NotTLS, Stream, tls_context

__all__ = [
    "Body",
    "Connection",
    "Endpoint",
    "Proxy",
    "Response",
    "Sender",
    "Timeouts",
    "environment_proxy",
    "tls_context",
]

SMALL_BODY = 64 * KIB
"""Bodies up to this size are copied behind the head, so that one system call sends both."""
TLS_BLOCK = 64 * KIB
"""How much is encrypted at a time; larger blocks leave the CPU's cache (466, 494 and 647 ms of CPU
per GB with 64 KiB, 256 KiB and 1 MiB)."""
SENDFILE_BLOCK = 1024 * KIB
READ_BLOCK = 256 * KIB
"""How much is read at a time where sendfile cannot be used."""
LAST_WORDS = 1.0
"""Seconds to wait for the answer of a service that stopped reading the request."""
TRUSTED_PAUSE = 1.0
"""Seconds after which a kept connection is looked at before it is used again."""

PROXY_AUTHENTICATION_REQUIRED = 407
"""No service answers so: RFC 9110 section 15.5.8."""

_NETWORK_ERRORS = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.ENOBUFS}
_NO_SENDFILE = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}
"""What sendfile(2) fails with on a filesystem that has not got it."""


class Timeouts(NamedTuple):
    """Time limits in seconds."""

    connect: float = 10.0
    """From looking up the name to the end of the TLS handshake."""
    idle: float = 60.0
    """Of a request in which no byte moved: none was acknowledged by the peer, none received.  It is
    noticed a second or two later (see IdleLimit)."""


class _StoppedSending(BaseException):
    """The rest of the request is not wanted, or cannot be sent.

    It is no Exception, so that it gets through a body callable that handles errors of its own.
    """

    def __init__(self, error: OSError | None = None) -> None:
        self.error = error
        """What went wrong; None: the answer is there already."""


class Sender:
    """Where a body callable writes the body."""

    def __init__(self, stream: Stream, reader: Reader, traffic: Traffic) -> None:
        self._stream = stream
        self._reader = reader
        self._traffic = traffic

    @property
    def zero_copy(self) -> bool:
        """sendfile is possible (it is not over TLS)."""
        return self._stream.zero_copy

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Sends all of ``data``."""
        view = memoryview(data)
        block = len(view) if self.zero_copy else TLS_BLOCK
        for start in range(0, len(view), block or 1):
            self._look()
            piece = view[start : start + block]
            self.push(piece, len(piece))

    def sendfile(self, fd: int, offset: int, count: int) -> None:
        """Sends ``count`` bytes of an open file, from ``offset``, without copying them (unless its
        filesystem wants it).

        Raises SourceChanged when the file ends before, ValueError where zero_copy is false, and
        OSError when the file cannot be read.
        """
        if not self.zero_copy:
            raise ValueError("no sendfile over TLS")
        while count > 0:
            self._look()
            try:
                sent = self._stream.sendfile_now(fd, offset, min(count, SENDFILE_BLOCK))
            except OSError as error:
                if isinstance(error, ConnectionError | TimeoutError) or (
                    error.errno in _NETWORK_ERRORS
                ):
                    raise _StoppedSending(error) from error
                if error.errno in _NO_SENDFILE:
                    self._copy(fd, offset, count)
                    return
                raise
            if sent == 0:
                raise SourceChanged(_SHORTER)
            if sent is None:
                self._stream.wait_ready()
            else:
                self._traffic.sent += sent
                offset += sent
                count -= sent

    def _copy(self, fd: int, offset: int, count: int) -> None:
        """What sendfile does, by way of our memory."""
        end = offset + count
        while offset < end:
            block = os.pread(fd, min(end - offset, READ_BLOCK), offset)
            if not block:
                raise SourceChanged(_SHORTER)
            self.write(block)
            offset += len(block)

    def push(self, data: bytes | memoryview, counted: int) -> None:
        """Sends one block, without looking for an early answer before it.

        The last ``counted`` bytes of it belong to the body.
        """
        try:
            view = memoryview(self._stream.seal(data))
            while view:
                view = view[self._stream.send_now(view) :]
                left = len(view)
                if left < counted:
                    self._traffic.sent += counted - left
                    counted = left
                if view:
                    self._stream.wait_ready()
                    self._look()
        except OSError as error:
            raise _StoppedSending(error) from error

    def _look(self) -> None:
        """Stops sending when the service has answered or gone away."""
        try:
            data = self._stream.receive_now()
        except OSError as error:
            raise _StoppedSending(error) from error
        if data is None:
            return
        if not data:
            raise _StoppedSending(ConnectionResetError("closed by the service"))
        self._reader.feed(data)
        if self._reader.status:
            raise _StoppedSending


_SHORTER = "the file became shorter while it was sent"
Body = bytes | bytearray | memoryview | Callable[[Sender], None]
"""The bytes of a request body, or a callable that writes them."""


class Connection:
    """A connection to one endpoint, opened by the first request and again after a loss.

    For one greenlet at a time.  The failures raised by ``request`` name the endpoint in one line.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        timeouts: Timeouts = Timeouts(),  # noqa: B008  (immutable)
        tls: ssl.SSLContext | None = None,
        proxy: Proxy | None = None,
        traffic: Traffic | None = None,
    ) -> None:
        """``tls`` is needed for, and only for, a secure endpoint; see tls_context.

        ``traffic`` counts what moves, for any number of connections.
        """
        if endpoint.secure and tls is None:
            raise ValueError("a secure endpoint needs a TLS context")
        self._endpoint = endpoint
        self._timeouts = timeouts
        self._tls = tls
        self._proxy = proxy
        self._traffic = traffic or Traffic()
        self._forwards = proxy is not None and not endpoint.secure
        """The proxy gets the requests themselves, in plain text: no tunnel is needed."""
        self._stream: Stream | None = None
        self._last_used = 0.0

    def request(self, head: bytes, body: Body = b"", *, expects_body: bool = True) -> Response:
        """Sends one request and returns its response; interim (1xx) responses are skipped.

        ``head`` is complete: request line with an absolute path, headers, empty line; its
        Content-Length or Transfer-Encoding fits ``body``.  ``expects_body`` is False for HEAD.

        A request may take any time as long as something moves.  A service may answer before it has
        read the body: then the rest is not sent, and the response returned all the same.

        Raises Unreachable when no connection can be made, Busy when this machine lacks what one
        needs, Transient when it is lost, makes no progress or does not speak HTTP; StaleConnection
        when a kept connection ended before the first byte of the response; Fatal when the
        certificate does not verify, the service does not speak TLS or the proxy refuses.  What a
        body callable raises passes through.  After any exception the connection is closed, and the
        next request opens a new one.
        """
        if self._stream is not None and monotonic() - self._last_used > TRUSTED_PAUSE:
            self._drop_if_ended(self._stream)
        reused = self._stream is not None
        if not reused:
            self._connect()
        if self._forwards:
            head = self._absolute(head)
        reader = self._reader
        reader.expect(expects_body)
        stream = self._stream
        assert stream is not None
        keep = False
        try:
            stream.start_limit()
            keep = self._exchange(head, body)
        except NoProgress:
            text = f"no progress for {self._timeouts.idle:g} s"
            raise Transient(f"{self._endpoint.address}: {text}") from None
        except Lost as lost:
            if reused and not reader.began:
                raise StaleConnection(f"{self._endpoint.address}: {lost}") from lost.__cause__
            raise Transient(f"{self._endpoint.address}: {lost}") from lost.__cause__
        finally:
            if keep:
                stream.stop_limit()
            else:
                self.close()
        self._last_used = monotonic()
        if reader.status == PROXY_AUTHENTICATION_REQUIRED and self._proxy:
            self.close()
            raise self._refused(self._proxy, reader.status)
        return reader.response()

    def close(self) -> None:
        """Closes the connection, if one is open.  Not while another greenlet's request runs."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def _exchange(self, head: bytes, body: Body) -> bool:
        """Sends the request and reads the response; true when the connection may be kept."""
        reader = self._reader
        try:
            self._send(head, body)
        except _StoppedSending as stopped:
            if stopped.error is None:
                self._receive()
            else:
                # A service that rejects a request may answer, and close without reading it all.
                try:
                    with gevent.Timeout(LAST_WORDS, NoProgress):
                        self._receive()
                except (NoProgress, Lost):
                    raise Lost(f"connection lost while sending: {_text(stopped.error)}") from (
                        stopped.error
                    )
            return False
        self._receive()
        return reader.keep_alive

    def _send(self, head: bytes, body: Body) -> None:
        sender = self._sender
        if callable(body):
            sender.push(head, 0)
            body(sender)
        elif len(body) <= SMALL_BODY:
            sender.push(b"".join((head, body)) if body else head, len(body))
        else:
            sender.push(head, 0)
            sender.write(body)

    def _receive(self) -> None:
        stream, reader = self._stream, self._reader
        assert stream is not None
        while not reader.done:
            try:
                data = stream.receive()
            except OSError as error:
                raise Lost(f"connection lost: {_text(error)}") from error
            if data:
                reader.feed(data)
            elif not reader.end():
                raise Lost("connection closed by the service before it had answered")

    def _absolute(self, head: bytes) -> bytes:
        """The request as a proxy wants it that is to pass it on (RFC 9112 section 3.2.2)."""
        assert self._proxy is not None
        method, target, rest = head.split(b" ", 2)
        version, fields = rest.split(b"\r\n", 1)
        if self._proxy.authorization:
            fields = f"Proxy-Authorization: {self._proxy.authorization}\r\n".encode() + fields
        address = self._endpoint.authority.encode()
        return b"%b http://%b%b %b\r\n%b" % (method, address, target, version, fields)

    def _connect(self) -> None:
        name = self._endpoint.address
        by_way_of = f"proxy {self._proxy.endpoint.address}: " if self._proxy else ""
        limit = self._timeouts.connect
        try:
            with gevent.Timeout(limit, NoProgress):
                stream = self._open()
        except NoProgress:
            reason = f"{by_way_of}not done within {limit:g} s"
            raise Unreachable(f"cannot connect to {name}: {reason}") from None
        except Lost as lost:
            raise Unreachable(f"cannot connect to {name}: {lost}") from None
        except ssl.SSLCertVerificationError as error:
            raise Fatal(f"cannot connect to {name}: certificate: {error.verify_message}") from error
        except NotTLS:
            # A port speaks TLS or it does not: no outage makes a service answer in plain text.
            raise Fatal(f"{name} does not speak TLS: use http:// (or another port)") from None
        except OSError as error:
            kind = Busy if error.errno in SHORTAGES else Unreachable
            raise kind(f"cannot connect to {name}: {by_way_of}{_text(error)}") from error
        self._stream = stream
        self._reader = Reader()
        self._sender = Sender(stream, self._reader, self._traffic)

    def _open(self) -> Stream:
        endpoint = self._proxy.endpoint if self._proxy else self._endpoint
        sock = dial(endpoint.host, endpoint.port)
        stream = Stream(sock, self._timeouts.idle, self._traffic)
        try:
            if self._endpoint.secure:
                assert self._tls is not None
                if self._proxy:
                    self._tunnel(stream, self._proxy)
                stream.start_tls(self._tls, self._endpoint.host)
        except BaseException:
            stream.close()
            raise
        return stream

    def _tunnel(self, stream: Stream, proxy: Proxy) -> None:
        """Asks the proxy for a tunnel (RFC 9110 section 9.3.6)."""
        target = self._endpoint.address
        head = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n"
        if proxy.authorization:
            head += f"Proxy-Authorization: {proxy.authorization}\r\n"
        stream.send_all(f"{head}\r\n".encode())
        reader = Reader()
        reader.expect(expects_body=False)
        while not reader.done:
            data = stream.receive()
            if not data:
                raise Lost(f"connection closed by proxy {proxy.endpoint.address}")
            reader.feed(data)
        if not 200 <= reader.status < 300:
            raise self._refused(proxy, reader.status)

    def _refused(self, proxy: Proxy, status: int) -> Failure:
        """What the proxy's own answer stands for."""
        reason = f"proxy {proxy.endpoint.address} answered {status}"
        refused = 400 <= status < 500 and status not in (408, 429)
        kind = Fatal if refused else Unreachable
        return kind(f"cannot connect to {self._endpoint.address}: {reason}")

    def _drop_if_ended(self, stream: Stream) -> None:
        # Bytes that nobody asked for (some services announce the end by a 408) would be taken for
        # the next response.  Within a busy second this is not worth a system call per request.
        try:
            ended = stream.receive_now() is not None
        except OSError:
            ended = True
        if ended:
            self.close()


def _text(error: OSError) -> str:
    return " ".join((error.strerror or str(error) or type(error).__name__).split())
