"""One HTTP/1.1 connection on a gevent loop: kept alive, parsed by llhttp, limited in time.

No retry, no signing, no redirects: the caller brings the complete request head and gets the
response, whatever its status, or one of the failures in providers.errors.

Why not a gevent socket: it makes a timer object for each wait.  The bare exchange of a 4 KiB PUT
costs 10.5 us of CPU on a plain non-blocking socket with one kept watcher and one kept timer, 19 us
on gevent.socket with a timeout (nginx on loopback, 32 connections).
"""

from __future__ import annotations

import _socket  # its class is the one that monkey patching leaves alone
import base64
import errno
import os
import re
import ssl
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass

import gevent
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from ._dial import dial
from .errors import Fatal, SourceChanged, StaleConnection, Transient
from .traffic import Traffic

KIB = 1024
MIB = 1024 * KIB

RECEIVE_SIZE = 64 * KIB
SMALL_BODY = 64 * KIB
"""Bodies up to this size are copied behind the head, so that one system call sends both."""
TLS_BLOCK = 64 * KIB
"""How much is encrypted at a time; larger blocks leave the CPU's cache (466, 494 and 647 ms of CPU
per GB with 64 KiB, 256 KiB and 1 MiB)."""
SENDFILE_BLOCK = MIB
MAX_HEAD = 64 * KIB
MAX_RESPONSE = 64 * MIB
"""Head and body together: they are kept in memory."""
LAST_WORDS = 1.0
"""Seconds to wait for the answer of a service that stopped reading the request."""
TRUSTED_PAUSE = 1.0
"""Seconds after which a kept connection is looked at before it is used again."""

_PROXY_VARIABLES = (
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
)
_HOST = re.compile(r"[A-Za-z0-9._:-]+")
_NETWORK_ERRORS = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.ENOBUFS}


class Endpoint(NamedTuple):
    """Where a service listens."""

    secure: bool
    host: str
    """Name or address, without brackets."""
    port: int
    path: str = ""
    """Before bucket and key, without a slash at its end."""

    @classmethod
    def parse(cls, url: str) -> Endpoint:
        """Reads ``http[s]://host[:port][/path]``; anything else is a ValueError of one line."""
        parts = urlsplit(url)
        if parts.query or parts.fragment:
            raise ValueError("an endpoint is http[s]://host[:port][/path], with nothing after it")
        if "@" in parts.netloc:
            raise ValueError("an endpoint must not contain a user name or password")
        return cls._of(parts)._replace(path=parts.path.rstrip("/"))

    @classmethod
    def _of(cls, parts: SplitResult) -> Endpoint:
        if parts.scheme not in ("http", "https"):
            raise ValueError("an endpoint begins with http:// or https://")
        host = parts.hostname or ""
        if not _HOST.fullmatch(host):
            raise ValueError("an endpoint needs a host name, in ASCII")
        try:
            port = parts.port
        except ValueError:
            port = 0
        if port == 0:
            raise ValueError("the port of an endpoint is a number from 1 to 65535")
        secure = parts.scheme == "https"
        return cls(secure, host, port or _default_port(secure))

    @property
    def authority(self) -> str:
        """The value of the Host header: without the port when it is the default one."""
        return self._bracketed if self.port == _default_port(self.secure) else self.address

    @property
    def address(self) -> str:
        """``host:port``, as messages and CONNECT want it."""
        return f"{self._bracketed}:{self.port}"

    @property
    def _bracketed(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host


def _default_port(secure: bool) -> int:
    return 443 if secure else 80


class Proxy(NamedTuple):
    """An HTTP proxy that tunnels by CONNECT.  The representation hides the password."""

    endpoint: Endpoint
    authorization: str | None = None
    """Value of the Proxy-Authorization header."""

    def __repr__(self) -> str:
        return f"Proxy({self.endpoint.address})"

    @classmethod
    def parse(cls, url: str) -> Proxy:
        """Reads ``[http://][user:password@]host[:port]``; anything else is a ValueError."""
        parts = urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme != "http":
            raise ValueError("only proxies with http:// URLs are supported")
        authorization = None
        if parts.username is not None:
            user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            authorization = f"Basic {base64.b64encode(user.encode()).decode()}"
        return cls(Endpoint._of(parts), authorization)


def environment_proxy(endpoint: Endpoint) -> Proxy | None:
    """The proxy that HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, all upper or all lower case,
    name for ``endpoint``.

    Both http and https endpoints are reached through a CONNECT tunnel; a proxy that allows CONNECT
    to port 443 only has to be passed by with NO_PROXY.  Raises Fatal when the proxy's URL is wrong.
    """
    # The usual case, found in 2 us: to go through the whole environment takes 40.
    if not any(name in os.environ for name in _PROXY_VARIABLES):
        return None
    proxies = getproxies_environment()
    url = proxies.get("https" if endpoint.secure else "http") or proxies.get("all")
    if not url or proxy_bypass(endpoint.address):
        return None
    try:
        return Proxy.parse(url)
    except ValueError as error:
        raise Fatal(f"the proxy named by the environment: {error}") from None


class Timeouts(NamedTuple):
    """Time limits in seconds."""

    connect: float = 10.0
    """From looking up the name to the end of the TLS handshake."""
    idle: float = 60.0
    """One send or receive that makes no progress."""


class Response:
    """What the service answered."""

    __slots__ = ("status", "headers", "body")

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        """Names in lower case; the values of repeated ones joined by ``", "``."""
        self.body = body


def tls_context(ca_file: str | None = None) -> ssl.SSLContext:
    """Verified TLS 1.2 or later, trusting the system's CAs or those in ``ca_file`` only.

    ``ca_file`` may be a directory of hashed certificates.  Raises OSError when it cannot be used.
    Takes some 20 ms: build one per process and share it.
    """
    if ca_file and os.path.isdir(ca_file):
        context = ssl.create_default_context(capath=ca_file)
    else:
        context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


class _NoProgress(BaseException):
    """Thrown into a greenlet whose wait took too long.

    Like the other two of our signals it is no Exception, so that it gets through a body callable
    that handles errors of its own.
    """


class _Lost(BaseException):
    """The connection ended, or what came over it makes no sense; one line says how."""


class _StoppedSending(BaseException):
    """The rest of the request is not wanted, or cannot be sent."""

    def __init__(self, error: OSError | None = None) -> None:
        self.error = error
        """What went wrong; None: the answer is there already."""


class _Stream:
    """A connected non-blocking socket, with TLS or without: bytes out, bytes in, waits limited.

    TLS goes through memory buffers, so that waiting is the same in both cases, and the same whether
    or not the ssl module is patched.
    """

    def __init__(self, sock: _socket.socket, idle: float) -> None:
        self._sock = sock
        self._sock.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        self._hub = gevent.get_hub()
        loop = self._hub.loop
        self._readable = loop.io(sock.fileno(), 1)
        self._ready = loop.io(sock.fileno(), 3)
        self._timer = loop.timer(idle, idle)
        self._whole: Any = None
        self._limited = False
        self._tls: ssl.SSLObject | None = None

    def start_tls(self, context: ssl.SSLContext, host: str) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                self.send_all(self._outgoing.read())
                data = self.receive()
                if not data:
                    raise ConnectionResetError("closed during the TLS handshake") from None
                self._incoming.write(data)
            except ssl.SSLError:
                # The alert tells the peer why; that it arrives is not sure, nor important.
                try:
                    self.send_now(self._outgoing.read())
                except OSError:
                    pass
                raise
            else:
                break
        self.send_all(self._outgoing.read())
        self._tls = tls

    @property
    def zero_copy(self) -> bool:
        return self._tls is None and hasattr(os, "sendfile")

    def seal(self, data: bytes | memoryview) -> bytes | memoryview:
        """What has to be sent for ``data``: its encryption, when there is TLS."""
        if self._tls is None:
            return data
        self._tls.write(data)
        return self._outgoing.read()

    def send_now(self, data: bytes | memoryview) -> int:
        """Sends what the socket takes at once, maybe nothing."""
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return 0

    def sendfile_now(self, fd: int, offset: int, count: int) -> int | None:
        """Like send_now; None when the socket takes nothing now, 0 at the end of the file."""
        try:
            return os.sendfile(self._sock.fileno(), fd, offset, count)
        except BlockingIOError:
            return None

    def send_all(self, data: bytes) -> None:
        """Sends bytes as they are, whatever the peer says meanwhile (before the first request)."""
        view = memoryview(data)
        while view := view[self.send_now(view) :]:
            self.wait_ready()

    def receive_now(self) -> bytes | None:
        """What has arrived, b"" at the end; None when nothing is there now."""
        try:
            data = self._sock.recv(RECEIVE_SIZE)
        except BlockingIOError:
            return None
        return self._open(data) if self._tls and data else data

    def receive(self) -> bytes:
        """At least one byte, waiting for it; b"" at the end."""
        while True:
            # Trying first would almost always fail, and cost another 1.5 us.
            self._wait(self._readable)
            data = self.receive_now()
            if data is not None:
                return data

    def wait_ready(self) -> None:
        """Waits until the socket takes more, or something has arrived."""
        self._wait(self._ready)

    def close(self) -> None:
        for watcher in (self._readable, self._ready, self._timer, self._whole):
            if watcher is not None:
                watcher.close()
        self._sock.close()

    def _open(self, data: bytes) -> bytes | None:
        """The plaintext in ``data``; all of it, so that waiting for the socket is always right."""
        assert self._tls is not None
        self._incoming.write(data)
        plain = []
        try:
            while self._incoming.pending or self._tls.pending():
                block = self._tls.read(RECEIVE_SIZE)
                if not block:
                    # The peer said goodbye: let the socket say so from now on.
                    self._sock.shutdown(_socket.SHUT_RD)
                    break
                plain.append(block)
        except ssl.SSLWantReadError:
            pass
        return b"".join(plain) or None

    def limit(self, seconds: float) -> None:
        """Limits all waits from now on together, instead of each of them, until ``unlimit``.

        The same ``seconds`` for each request of a connection.
        """
        if self._whole is None:
            self._whole = self._hub.loop.timer(seconds, seconds)
        self._limited = True
        self._whole.again(gevent.getcurrent().throw, _NoProgress)

    def unlimit(self) -> None:
        if self._limited:
            self._limited = False
            self._whole.stop()

    def _wait(self, watcher: Any) -> None:
        if self._limited:
            self._hub.wait(watcher)
            return
        # again(), not start(): libev's start goes on with what an earlier stop left over, so that
        # many short waits would expire as if they were one long one.
        self._timer.again(gevent.getcurrent().throw, _NoProgress)
        try:
            self._hub.wait(watcher)
        finally:
            self._timer.stop()


class _Reader:
    """Gathers one response after the other from a connection's bytes."""

    def __init__(self) -> None:
        self._at_start = False

    def expect(self, expects_body: bool) -> None:
        """Begins the next response."""
        if not self._at_start:
            self._parser = HttpResponseParser(self)
            self._at_start = True
        self._expects_body = expects_body
        self._received = 0
        self._body: list[bytes] = []
        self.headers: dict[str, str] = {}
        self.status = 0
        """Of the final response; 0 until its head is complete."""
        self.began = False
        self.done = False
        self.keep_alive = False

    def feed(self, data: bytes) -> None:
        """Takes received bytes.  Raises _Lost when they are no acceptable response."""
        self.began = True
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            # After the end of a response nobody asks what else came.
            self.keep_alive = False
            if not self.done:
                raise _Lost(f"the answer is not HTTP/1.1 ({error})") from None
        if self._received > (MAX_RESPONSE if self.status else MAX_HEAD):
            raise _Lost(f"the answer is too large (over {self._received // KIB} KiB)")

    def end(self) -> bool:
        """Takes the end of the connection; true when the response is complete by that.

        httptools has no call for the end of the input, so RFC 9112 section 6.3 is applied here.
        """
        self.done = (
            self.status > 0
            and "content-length" not in self.headers
            and "chunked" not in self.headers.get("transfer-encoding", "").lower()
        )
        return self.done

    def response(self) -> Response:
        return Response(self.status, self.headers, b"".join(self._body))

    # Called by the parser.  An exception in one of them ends the parsing.

    def on_message_begin(self) -> None:
        if self.done:
            raise ValueError("data after the response")
        self._at_start = False

    def on_header(self, name: bytes, value: bytes) -> None:
        key = name.decode("latin-1").lower()
        text = value.decode("latin-1")
        headers = self.headers
        headers[key] = f"{headers[key]}, {text}" if key in headers else text

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if 100 <= status < 200:
            self.headers = {}
            return
        self.status = status
        self.keep_alive = self._parser.should_keep_alive()
        # The parser cannot be told that this response has no body: it is left where it stands.
        self.done = not self._expects_body

    def on_body(self, data: bytes) -> None:
        if self.done:
            self.keep_alive = False
            return
        self._body.append(data)

    def on_message_complete(self) -> None:
        self._at_start = True
        self.done = self.status > 0


class Sender:
    """Where a body callable writes the body."""

    def __init__(self, stream: _Stream, reader: _Reader) -> None:
        self._stream = stream
        self._reader = reader

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
            self.push(view[start : start + block])

    def sendfile(self, fd: int, offset: int, count: int) -> None:
        """Sends ``count`` bytes of an open file, from ``offset``, without copying them.

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
                raise
            if sent == 0:
                raise SourceChanged("the file became shorter while it was sent")
            if sent is None:
                self._stream.wait_ready()
            else:
                offset += sent
                count -= sent

    def push(self, data: bytes | memoryview) -> None:
        """Like ``write`` for one block, without looking for an early answer before it."""
        try:
            view = memoryview(self._stream.seal(data))
            while view := view[self._stream.send_now(view) :]:
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
        *,
        traffic: Traffic | None = None,
    ) -> None:
        """``tls`` is needed for, and only for, a secure endpoint; see tls_context."""
        if endpoint.secure and tls is None:
            raise ValueError("a secure endpoint needs a TLS context")
        self._endpoint = endpoint
        self._timeouts = timeouts
        self._tls = tls
        self._proxy = proxy
        self._stream: _Stream | None = None
        self._last_used = 0.0
        self._now = gevent.get_hub().loop.now

    def request(
        self,
        head: bytes,
        body: Body = b"",
        *,
        expects_body: bool = True,
        limit: float | None = None,
    ) -> Response:
        """Sends one request and returns its response; interim (1xx) responses are skipped.

        ``head`` is complete: request line, headers, empty line; its Content-Length or
        Transfer-Encoding fits ``body``.  ``expects_body`` is False for HEAD.  ``limit`` is the time
        in seconds for the whole request on an open connection; without it each wait is limited.

        A service may answer before it has read the body: then the rest is not sent, and the
        response returned all the same.  Raises Transient when the connection cannot be made, is
        lost, makes no progress or does not speak HTTP; StaleConnection when a kept connection ended
        before the first byte of the response; Fatal when the certificate does not verify or the
        proxy refuses.  What a body callable raises passes through.  After any exception the
        connection is closed, and the next request opens a new one.
        """
        if self._stream is not None and self._now() - self._last_used > TRUSTED_PAUSE:
            self._drop_if_ended(self._stream)
        reused = self._stream is not None
        if not reused:
            self._connect()
        reader = self._reader
        reader.expect(expects_body)
        stream = self._stream
        assert stream is not None
        keep = False
        try:
            if limit is not None:
                stream.limit(limit)
            keep = self._exchange(head, body)
        except _NoProgress:
            text = f"no progress for {self._timeouts.idle:g} s"
            if limit is not None:
                text = f"no answer within {limit:g} s"
            raise Transient(f"{self._endpoint.address}: {text}") from None
        except _Lost as lost:
            if reused and not reader.began:
                raise StaleConnection(f"{self._endpoint.address}: {lost}") from lost.__cause__
            raise Transient(f"{self._endpoint.address}: {lost}") from lost.__cause__
        finally:
            if keep:
                stream.unlimit()
            else:
                self.close()
        self._last_used = self._now()
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
                    with gevent.Timeout(LAST_WORDS, _NoProgress):
                        self._receive()
                except (_NoProgress, _Lost):
                    raise _Lost(f"connection lost while sending: {_text(stopped.error)}") from (
                        stopped.error
                    )
            return False
        self._receive()
        return reader.keep_alive

    def _send(self, head: bytes, body: Body) -> None:
        sender = self._sender
        if callable(body):
            sender.write(head)
            body(sender)
        elif len(body) <= SMALL_BODY:
            sender.push(b"".join((head, body)) if body else head)
        else:
            sender.write(head)
            sender.write(body)

    def _receive(self) -> None:
        stream, reader = self._stream, self._reader
        assert stream is not None
        while not reader.done:
            try:
                data = stream.receive()
            except OSError as error:
                raise _Lost(f"connection lost: {_text(error)}") from error
            if data:
                reader.feed(data)
            elif not reader.end():
                raise _Lost("connection closed by the service before it had answered")

    def _connect(self) -> None:
        name = self._endpoint.address
        limit = self._timeouts.connect
        try:
            with gevent.Timeout(limit, _NoProgress):
                stream = self._open()
        except _NoProgress:
            raise Transient(f"cannot connect to {name}: not done within {limit:g} s") from None
        except _Lost as lost:
            raise Transient(f"cannot connect to {name}: {lost}") from None
        except ssl.SSLCertVerificationError as error:
            raise Fatal(f"cannot connect to {name}: certificate: {error.verify_message}") from error
        except OSError as error:
            raise Transient(f"cannot connect to {name}: {_text(error)}") from error
        self._stream = stream
        self._reader = _Reader()
        self._sender = Sender(stream, self._reader)

    def _open(self) -> _Stream:
        endpoint = self._proxy.endpoint if self._proxy else self._endpoint
        stream = _Stream(dial(endpoint.host, endpoint.port), self._timeouts.idle)
        try:
            if self._proxy:
                self._tunnel(stream, self._proxy)
            if self._endpoint.secure:
                assert self._tls is not None
                stream.start_tls(self._tls, self._endpoint.host)
        except BaseException:
            stream.close()
            raise
        return stream

    def _tunnel(self, stream: _Stream, proxy: Proxy) -> None:
        """Asks the proxy for a tunnel (RFC 9110 section 9.3.6)."""
        target = self._endpoint.address
        head = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n"
        if proxy.authorization:
            head += f"Proxy-Authorization: {proxy.authorization}\r\n"
        stream.send_all(f"{head}\r\n".encode())
        reader = _Reader()
        reader.expect(expects_body=False)
        while not reader.done:
            data = stream.receive()
            if not data:
                raise _Lost(f"connection closed by proxy {proxy.endpoint.address}")
            reader.feed(data)
        if not 200 <= reader.status < 300:
            reason = f"proxy {proxy.endpoint.address} answered {reader.status}"
            refused = 400 <= reader.status < 500 and reader.status not in (408, 429)
            kind = Fatal if refused else Transient
            raise kind(f"cannot connect to {target}: {reason}")

    def _drop_if_ended(self, stream: _Stream) -> None:
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
