"""One HTTP/1.1 connection: kept alive, given up when nothing moves.

No retry, no signing, no redirects: the caller brings the complete request head and gets the
response, whatever its status, or one of the failures in providers.errors.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from time import monotonic

import gevent

from ..errors import StaleConnection, Transient, one_line
from ..traffic import Traffic
from .endpoint import Endpoint, Proxy
from .limit import Timeouts
from .response import KIB, Lost, Reader, Response
from .route import Route
from .sender import Body, Sender, StoppedSending
from .stream import NoProgress, Stream

SMALL_BODY = 64 * KIB
"""Bodies up to this size are copied behind the head, so that one system call sends both."""
LAST_WORDS = 1.0
"""Seconds to wait for the answer of a service that stopped reading the request."""
TRUSTED_PAUSE = 1.0
"""Seconds of rest after which a kept connection is looked at before its next request."""
Take = Callable[[bytes], None]
"""Gets the bytes of a body, piece by piece."""
PROXY_AUTHENTICATION_REQUIRED = 407
"""No service answers so: RFC 9110 section 15.5.8."""


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
        self._route = Route(endpoint, timeouts, tls if endpoint.secure else None, proxy)
        self._forwards = self._route.forwards
        self._traffic = traffic or Traffic()
        self._channel: _Channel | None = None
        self._last_used = 0.0

    def request(
        self,
        head: bytes,
        body: Body = b"",
        take: Take | None = None,
    ) -> Response:
        """Sends one request and returns its response; interim (1xx) responses are skipped.

        ``head`` is complete: request line with an absolute path, headers, empty line; its
        Content-Length or Transfer-Encoding fits ``body``.  ``take`` gets the body of a success as
        it arrives, in pieces; the response has none then.

        A request may take any time as long as something moves.  A service may answer before it has
        read the body: then the rest is not sent, and the response returned all the same.

        Raises Unreachable when no connection can be made, Busy when this machine lacks what one
        needs, Transient when it is lost, makes no progress or does not speak HTTP; StaleConnection
        when a kept connection ended before the first byte of the response; Fatal when the
        certificate does not verify, the service does not speak TLS or the proxy refuses.  What a
        body callable or ``take`` raises passes through.  After any exception the connection is
        closed, and the next request opens a new one.
        """
        channel = self._channel
        if channel and monotonic() - self._last_used > TRUSTED_PAUSE and channel.ended():
            self.close()
            channel = None
        reused = channel is not None
        if channel is None:
            channel = self._open()
        if self._forwards:
            head = self._route.absolute(head)
        stream, reader = channel.stream, channel.reader
        reader.expect(not head.startswith(b"HEAD "))
        keep = False
        try:
            stream.start_limit()
            keep = channel.exchange(head, body, take)
        except NoProgress:
            text = f"no progress for {self._route.timeouts.idle:g} s"
            raise Transient(f"{self._route.endpoint.address}: {text}") from None
        except Lost as lost:
            kind = StaleConnection if reused and not reader.began else Transient
            raise kind(f"{self._route.endpoint.address}: {lost}") from lost.__cause__
        finally:
            if keep:
                stream.stop_limit()
            else:
                self.close()
        self._last_used = self._traffic.moved_at
        if reader.status == PROXY_AUTHENTICATION_REQUIRED and self._route.proxy:
            self.close()
            raise self._route.refusal(self._route.proxy, reader.status)
        return reader.response()

    def connect(self) -> None:
        """Opens the connection, unless it is open.  Raises Unreachable, Busy or Fatal as
        ``request`` does."""
        if self._channel is None:
            self._open()
            self._last_used = monotonic()

    def close(self) -> None:
        """Closes the connection, if one is open.  Not while another greenlet's request runs."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.stream.close()

    def _open(self) -> _Channel:
        channel = self._channel = _Channel(self._route.open(self._traffic), self._traffic)
        return channel


class _Channel:
    """An open connection."""

    def __init__(self, stream: Stream, traffic: Traffic) -> None:
        self.stream = stream
        self.reader = Reader()
        self._sender = Sender(stream, self.reader, traffic)

    def exchange(self, head: bytes, body: Body, take: Take | None) -> bool:
        """Sends a request and reads its response; true when the connection may be kept."""
        try:
            self._send(head, body)
        except StoppedSending as stopped:
            if stopped.error is None:
                self._receive()
            else:
                # A service that rejects a request may answer, and close without reading it all.
                try:
                    with gevent.Timeout(LAST_WORDS, NoProgress):
                        self._receive()
                except (NoProgress, Lost):
                    raise Lost(f"connection lost while sending: {_reason(stopped.error)}") from (
                        stopped.error
                    )
            return False
        self._receive(take)
        return self.reader.keep_alive

    def ended(self) -> bool:
        """The service has closed the connection, or sent bytes that nobody asked for.

        Some announce the end by a 408, which would be taken for the next response.
        """
        try:
            return self.stream.receive_now() is not None
        except OSError:
            return True

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

    def _receive(self, take: Take | None = None) -> None:
        stream, reader = self.stream, self.reader
        while not reader.done:
            try:
                data = stream.receive()
            except OSError as error:
                raise Lost(f"connection lost: {_reason(error)}") from error
            if data:
                reader.feed(data)
                if take and 200 <= reader.status < 300:
                    take(reader.take_body())
            elif not reader.end():
                raise Lost("connection closed by the service before it had answered")


def _reason(error: OSError) -> str:
    return error.strerror or one_line(error)
