"""A connected socket on a gevent loop, with TLS or without.

Why not a gevent socket: it makes a timer object for each wait.  The bare exchange of a 4 KiB PUT
costs 10.5 us of CPU on a plain non-blocking socket with one kept watcher and one kept timer, 19 us
on gevent.socket with a timeout (nginx on loopback, 32 connections).
"""

from __future__ import annotations

import _socket  # its class is the one that monkey patching leaves alone
import fcntl
import os
import ssl
import sys
import termios
from contextlib import suppress
from math import inf
from time import monotonic

import gevent

from ..traffic import Traffic
from .idle import IdleLimit
from .tls import Tls

RECEIVE_SIZE = 64 * 1024
QUEUE_SECONDS = 2.0
"""Seconds of sending that the kernel may queue beyond what is on its way."""
SHORTEST_QUEUE = 128 * 1024
LONGEST_QUEUE = 1 << 30
"""The option holds 32 bits."""
_COUNTS_QUEUE = sys.platform == "linux"
_SIOCOUTQ = termios.TIOCOUTQ
"""Linux gives both the same number (linux/sockios.h): tcp(7)."""
_HAS_SENDFILE = hasattr(os, "sendfile")


class NoProgress(BaseException):
    """Thrown into a greenlet that waited too long.

    No Exception: it must get through a body callable that handles errors of its own.
    """


def queue_limit(rate: float) -> int:
    """Bytes that the kernel may queue beyond what is on its way; ``rate`` in bytes a second."""
    return min(max(SHORTEST_QUEUE, int(rate * QUEUE_SECONDS)), LONGEST_QUEUE)


class Stream:
    """A connected non-blocking socket."""

    def __init__(self, sock: _socket.socket, idle: float, traffic: Traffic) -> None:
        """``idle``: seconds without progress after which ``NoProgress`` is thrown."""
        self._sock = sock
        self._sock.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        self._hub = gevent.get_hub()
        loop = self._hub.loop
        self._readable = loop.io(sock.fileno(), 1)
        self._ready = loop.io(sock.fileno(), 3)
        self._idle = IdleLimit(idle)
        self._timer = loop.timer(self._idle.interval, self._idle.interval)
        self.tls: Tls | None = None
        """Set once the handshake is done: it decrypts what arrives; senders encrypt with it."""
        self._traffic = traffic
        self._looked_before = False
        """At this request: the first look sees what any request moves at once."""
        self._moved_at = monotonic()
        """When a look last saw something moved."""
        self._sent = 0
        self._received = 0
        self._acknowledged = 0
        """At the latest look."""
        traffic.queues.add(self)

    def start_tls(self, context: ssl.SSLContext, host: str) -> None:
        """Shakes hands.  Raises NotTLS, or an OSError (those of the ssl module are some)."""
        tls = Tls(context, host)
        try:
            while not tls.handshake():
                self.send_all(tls.outgoing())
                tls.handshake_received(self.receive())
        except ssl.SSLError:
            # The alert tells the peer why; it matters little whether it arrives.
            with suppress(OSError):
                self.send_now(tls.outgoing())
            raise
        self.send_all(tls.outgoing())
        self.tls = tls

    @property
    def zero_copy(self) -> bool:
        """sendfile is possible."""
        return _HAS_SENDFILE and self.tls is None

    def send_now(self, data: bytes | memoryview) -> int:
        """Sends what the socket takes at once, maybe nothing."""
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            return 0
        self._sent += sent
        self._traffic.moved_at = monotonic()
        return sent

    def sendfile_now(self, fd: int, offset: int, count: int) -> int | None:
        """Like send_now; None when the socket takes nothing now, 0 at the end of the file."""
        try:
            sent = os.sendfile(self._sock.fileno(), fd, offset, count)
        except BlockingIOError:
            return None
        self._sent += sent
        self._traffic.moved_at = monotonic()
        return sent

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
        self._received += len(data)
        self._traffic.moved_at = monotonic()
        tls = self.tls
        if tls is None or not data:
            return data
        plain = tls.open(data)
        if tls.ended:
            with suppress(OSError):  # it may be reset, and what has arrived is an answer
                self._sock.shutdown(_socket.SHUT_RD)  # from now on the socket says so itself
        return plain or None

    def receive(self) -> bytes:
        """At least one byte, waiting for it; b"" at the end."""
        while True:
            # Trying first would almost always fail, and cost another 1.5 us.
            self._hub.wait(self._readable)
            data = self.receive_now()
            if data is not None:
                return data

    def wait_ready(self) -> None:
        """Waits until the socket takes more, or something has arrived."""
        self._hub.wait(self._ready)

    def start_limit(self) -> None:
        """From now on NoProgress is thrown into this greenlet when it waits and nothing moves."""
        self._looked_before = False
        # again(), not start(): libev's start goes on with what an earlier stop left over.
        self._timer.again(self._look, gevent.getcurrent())

    def stop_limit(self) -> None:
        """Ends what ``start_limit`` began."""
        self._timer.stop()

    def queued(self) -> int:
        """Bytes that the kernel took and the peer has not acknowledged; 0 where the system does not
        say."""
        if not _COUNTS_QUEUE:
            return 0
        try:
            answer = fcntl.ioctl(self._sock.fileno(), _SIOCOUTQ, bytes(4))
        except OSError:
            return 0
        return int.from_bytes(answer, sys.byteorder)

    def close(self) -> None:
        """Closes the socket and its watchers."""
        self._traffic.queues.discard(self)
        for watcher in (self._readable, self._ready, self._timer):
            watcher.close()
        self._sock.close()

    def _look(self, user: gevent.Greenlet) -> None:
        acknowledged = self._sent - self.queued()
        self._limit_queue((acknowledged - self._acknowledged) / self._idle.interval)
        self._acknowledged = acknowledged
        waiting = self._readable.active or self._ready.active
        if self._idle.look(acknowledged, self._received, waiting):
            self._traffic.moved_at = self._moved_at = monotonic()
            self._traffic.progress += self._looked_before
        self._looked_before = True
        if self._idle.reached or (waiting and self._moved_at < self._traffic.lost_before):
            user.throw(NoProgress)

    def _limit_queue(self, rate: float) -> None:
        """Keeps the kernel from queuing megabytes, which take a slow link many seconds.

        Under a limit of the rate nothing queues but behind a link that stalls; what does would go
        at once when the link recovers, faster than the limit.

        A limit that a fast connection feels costs CPU: with 128 KiB from the start, 8 x 256 MiB
        over loopback take 7 % more.
        """
        limit = self._traffic.limit
        if limit and limit.share < inf:
            rate = 0.0
        if hasattr(_socket, "TCP_NOTSENT_LOWAT"):
            option = _socket.TCP_NOTSENT_LOWAT
            try:
                self._sock.setsockopt(_socket.IPPROTO_TCP, option, queue_limit(rate))
            except OSError:  # the connection has ended; its user is about to learn it
                pass
