"""Sends a request's bytes, and stops when the service answers early."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from ..errors import SourceChanged
from ..traffic import RateLimit, Traffic
from .response import KIB, Reader
from .stream import Stream

TLS_BLOCK = 64 * KIB
"""Bytes encrypted at a time; larger blocks leave the CPU's cache (466, 494 and 647 ms of CPU per GB
with 64 KiB, 256 KiB and 1 MiB)."""
SENDFILE_BLOCK = 1024 * KIB
READ_BLOCK = 256 * KIB
"""Bytes read at a time where sendfile does not work."""

_NETWORK_ERRORS = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.ENOBUFS}
_NO_SENDFILE = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}
"""What sendfile(2) fails with on a filesystem that does not support it."""
_SHORTER = "the file became shorter while it was sent"


class StoppedSending(BaseException):
    """The service does not want the rest of the request, or cannot get it.

    No Exception: it must get through a body callable that handles errors of its own.
    """

    def __init__(self, error: OSError | None = None) -> None:
        self.error = error
        """What went wrong; None: the answer is there already."""


class Sender:
    """Where a body callable writes the body."""

    def __init__(self, stream: Stream, reader: Reader, traffic: Traffic) -> None:
        """``reader`` gets what the service says meanwhile; ``traffic`` counts the body's bytes."""
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
        """Sends ``count`` bytes of an open file from ``offset``, copying them only where the
        filesystem needs it.

        Raises SourceChanged when the file ends before, ValueError where zero_copy is false, and
        OSError when the file cannot be read.
        """
        if not self.zero_copy:
            raise ValueError("no sendfile over TLS")
        while count > 0:
            most = min(count, SENDFILE_BLOCK)
            if (limit := self._traffic.limit) is not None:
                most = limit.take(most)
            self._look()
            try:
                sent = self._stream.sendfile_now(fd, offset, most)
            except OSError as error:
                if isinstance(error, ConnectionError | TimeoutError) or (
                    error.errno in _NETWORK_ERRORS
                ):
                    raise StoppedSending(error) from error
                if error.errno in _NO_SENDFILE:
                    self._copy(fd, offset, count)
                    return
                raise
            if sent == 0:
                raise SourceChanged(_SHORTER)
            if limit is not None:
                limit.give_back(most - (sent or 0))
            if sent is None:
                self._stream.wait_ready()
            else:
                self._traffic.sent += sent
                offset += sent
                count -= sent

    def _copy(self, fd: int, offset: int, count: int) -> None:
        """Does what sendfile does, through this process's memory."""
        end = offset + count
        while offset < end:
            block = os.pread(fd, min(end - offset, READ_BLOCK), offset)
            if not block:
                raise SourceChanged(_SHORTER)
            self.write(block)
            offset += len(block)

    def push(self, data: bytes | memoryview, counted: int) -> None:
        """Sends one block, without looking for an early answer before it.

        Its last ``counted`` bytes belong to the body.
        """
        stream = self._stream
        limit = self._traffic.limit
        try:
            view = memoryview(data if stream.tls is None else stream.tls.seal(data))
            while view:
                sent = self._send_now(view, limit) if limit else stream.send_now(view)
                view = view[sent:]
                left = len(view)
                if left < counted:
                    self._traffic.sent += counted - left
                    counted = left
                if view:
                    stream.wait_ready()
                    self._look()
        except OSError as error:
            raise StoppedSending(error) from error

    def _send_now(self, view: memoryview, limit: RateLimit) -> int:
        """Sends what the socket takes of the bytes whose turn comes next."""
        taken = limit.take(len(view))
        sent = self._stream.send_now(view[:taken])
        limit.give_back(taken - sent)
        return sent

    def _look(self) -> None:
        """Stops sending when the service has answered or gone away."""
        try:
            data = self._stream.receive_now()
        except OSError as error:
            raise StoppedSending(error) from error
        if data is None:
            return
        if not data:
            raise StoppedSending(ConnectionResetError("closed by the service"))
        self._reader.feed(data)
        if self._reader.status:
            raise StoppedSending


Body = bytes | bytearray | memoryview | Callable[[Sender], None]
"""The bytes of a request body, or a callable that writes them."""
