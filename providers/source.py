"""A file being uploaded: opened once, read, watched for changes."""

from __future__ import annotations

import errno
import mimetypes
import os
import stat
from collections.abc import Callable, Iterator
from functools import lru_cache

# gevent's ``os.close`` looks at the descriptor twice for the sake of sockets; a regular file needs
# the system call alone, which saves 3 us.
from posix import close as _close
from typing import Protocol, TypeVar

from . import page_cache
from .errors import Busy, Failure, Rejected, SourceChanged

T = TypeVar("T")

BLOCK_SIZE = 256 * 1024
"""Bytes of one body in memory: few enough to stay in a core's L2 cache from read to checksum to
send, enough to make system calls rare."""

PASSING = {
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    # A network volume or FUSE whose server is away; a soft NFS mount says EIO.
    errno.ECONNRESET,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.EIO,
    errno.ENOTCONN,
    errno.ETIMEDOUT,
}
"""Errors of a disk that may pass."""

_OPEN_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK


class Leased(Busy):
    """Another program holds a lease on the file (Samba's oplock).  The kernel has asked for it, and
    takes it away after ``/proc/sys/fs/lease-break-time``."""


class Run(Protocol):
    """Runs a disk operation: see ``Disk.run``."""

    def __call__(self, operation: Callable[[], T], /) -> T:
        """The operation's result; its exceptions pass through."""


def _directly(operation: Callable[[], T], /) -> T:
    return operation()


class Source:
    """One regular file, open for reading.

    O_NONBLOCK keeps ``open`` from hanging on a FIFO that took the file's place after the scan.  For
    a regular file it changes one thing: ``open`` fails on a lease instead of waiting for its end.
    """

    __slots__ = (
        "_content",
        "_status",
        "cached",
        "ctime_ns",
        "fd",
        "gid",
        "is_loaded",
        "mode",
        "mtime_ns",
        "path",
        "run",
        "size",
        "uid",
    )

    def __init__(self, path: str) -> None:
        """Opens ``path``; raises ``Rejected`` when it is no regular file or cannot be read,
        ``Busy`` when it cannot be read now."""
        try:
            self.fd = os.open(path, _OPEN_FLAGS)
        except OSError as error:
            raise _unreadable(error) from None
        try:
            status = os.fstat(self.fd)
        except OSError as error:
            self.close()
            raise _unreadable(error) from None
        if not stat.S_ISREG(status.st_mode):
            self.close()
            raise Rejected("is no longer a regular file")
        self.path = path
        self.size = status.st_size
        self.mtime_ns = status.st_mtime_ns
        self.ctime_ns = status.st_ctime_ns
        self.mode = status.st_mode
        self.uid = status.st_uid
        self.gid = status.st_gid
        self.run: Run = _directly
        """Runs long operations on this file, such as the checksum of a part."""
        self.cached: page_cache.Cached | None = None
        """What the page cache held of the file when it was opened; None: nobody has looked."""
        self._status = status
        self._content: bytes | None = None
        self.is_loaded = False
        """The whole file is in memory."""

    def load(self, drops_pages: bool = False) -> None:
        """Reads a file of at most ``BLOCK_SIZE`` bytes into memory and closes it: ``read``,
        ``blocks`` and ``check_unchanged`` touch no disk from now on.

        With ``drops_pages`` the page cache is left as it was.  Raises ``SourceChanged`` unless what
        was read is one version of the file.
        """
        drops_pages = drops_pages and not page_cache.holds(self.fd, 0)
        content = self.read(0, self.size)
        if drops_pages:
            page_cache.drop(self.fd, 0, self.size)
        # By the descriptor, not the path, which takes several requests on a network volume: even
        # if another file has taken the place, this one is a whole version.
        try:
            now = os.fstat(self.fd)
        except OSError as error:
            raise _unreadable(error) from None
        self._compare(now)
        self._content = content
        self.is_loaded = True
        self.close()

    @property
    def atime_ns(self) -> int:
        """When the file was last read before this, in nanoseconds since the epoch."""
        return self._status.st_atime_ns

    def read(self, offset: int, length: int) -> bytes:
        """``length`` bytes from ``offset``; raises ``SourceChanged`` when the file ends early or
        goes on where it should end."""
        if self._content is not None:
            return self._content[offset : offset + length]
        # Below /proc and on some network volumes files report a size of 0 whatever they hold.
        to_end = offset + length == self.size
        try:
            data = os.pread(self.fd, length + to_end, offset)
            if len(data) != length:
                raise self._not_as_long(len(data) > length)
        except OSError as error:
            raise _unreadable(error) from None
        return data

    def blocks(self, offset: int, length: int) -> Iterator[memoryview]:
        """The same bytes in blocks, through one buffer: the next block overwrites the last."""
        if self._content is not None:
            yield memoryview(self._content)[offset : offset + length]
            return
        buffer = memoryview(bytearray(min(BLOCK_SIZE, length)))
        end = offset + length
        try:
            while offset < end:
                got = os.preadv(self.fd, [buffer[: end - offset]], offset)
                if not got:
                    raise self._not_as_long(False)
                offset += got
                yield buffer[:got]
            if end == self.size and os.pread(self.fd, 1, end):
                raise self._not_as_long(True)
        except OSError as error:
            raise _unreadable(error) from None

    def check_unchanged(self) -> None:
        """Raises ``SourceChanged`` when the file has changed or another took its path.

        Call it after the last read, before the upload counts as done.  ``load`` has done it for a
        loaded file.
        """
        if self._content is None:
            self.check_path()

    def check_path(self) -> None:
        """``check_unchanged`` for callers that read the file by its path, even a loaded one."""
        try:
            now = os.stat(self.path)
        except OSError as error:
            if error.errno in PASSING:
                raise _unreadable(error) from None
            raise SourceChanged("vanished while it was read") from None
        if (now.st_dev, now.st_ino) != (self._status.st_dev, self._status.st_ino):
            raise SourceChanged("was replaced while it was read")
        self._compare(now)

    def _compare(self, now: os.stat_result) -> None:
        # No program can set back the change time.
        if (
            now.st_ctime_ns != self.ctime_ns
            or now.st_mtime_ns != self.mtime_ns
            or now.st_size != self.size
        ):
            raise SourceChanged("changed while it was read")

    def _not_as_long(self, is_longer: bool) -> Failure:
        if not is_longer:
            return SourceChanged("shrank while it was read")
        if not self.size and os.fstat(self.fd).st_size == 0:
            return Rejected("has content, but reports a size of 0: it is no ordinary file")
        return SourceChanged("grew while it was read")

    def close(self) -> None:
        """Closes the file; may be called twice."""
        if self.fd >= 0:
            _close(self.fd)
            self.fd = -1

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def loaded(path: str, drops_pages: bool = False) -> Source:
    """The file, open for reading; loaded when it has at most ``BLOCK_SIZE`` bytes.

    With ``drops_pages`` a loaded file leaves the page cache as it was, and a larger one knows what
    is to stay there.
    """
    source = Source(path)
    try:
        if source.size <= BLOCK_SIZE:
            source.load(drops_pages)
        elif drops_pages:
            # Now, once: each look makes the kernel read, and the next would find that.
            source.cached = page_cache.Cached(source.fd, source.size)
    except BaseException:
        source.close()
        raise
    return source


def _unreadable(error: OSError) -> Failure:
    """The failure of the file, or of what it lies on."""
    if error.errno in PASSING:
        return Busy(f"cannot be read now: {error.strerror}")
    if error.errno == errno.EAGAIN:
        return Leased("cannot be read now: another program holds a lease on it")
    if error.errno == errno.ESTALE:
        return SourceChanged("was replaced on its server while it was read")
    if error.errno == errno.ENOENT:
        return Rejected("vanished after the scan")
    return Rejected(f"cannot be read: {error.strerror}")


_TYPES = mimetypes.MimeTypes()
"""Python's own table, none of the machine's: every machine gives the same answer."""
_COMPRESSED = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}


def guess_content_type(name: str) -> str:
    """The Content-Type that a file's name suggests, else ``application/octet-stream``."""
    return _type_of(name.rpartition("/")[2].lstrip(".").partition(".")[2])


@lru_cache(maxsize=1024)
def _type_of(suffixes: str) -> str:
    last_two = ".".join(suffixes.lower().split(".")[-2:])
    kind, encoding = _TYPES.guess_type(f"x.{last_two}")
    if encoding:
        return _COMPRESSED.get(encoding, "application/octet-stream")
    return kind or "application/octet-stream"
