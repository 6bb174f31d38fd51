"""A file being uploaded: opened once, described once, and watched for changes."""

from __future__ import annotations

import errno
import mimetypes
import os
import stat
from collections.abc import Callable, Iterator
from functools import lru_cache

# Under gevent ``os.close`` is a function that looks at the descriptor twice, for the sake of
# sockets; a regular file is closed by the system call alone, 3 us sooner.
from posix import close as _close
from typing import TypeVar

from .errors import Failure, Rejected, SourceChanged, Transient

T = TypeVar("T")

BLOCK_SIZE = 256 * 1024
"""Bytes held in memory of one body: small enough to stay in a core's L2 cache between the read, the
checksum and the send, large enough to make system calls rare."""

_OPEN_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK


class Source:
    """One regular file, open for reading.

    O_NONBLOCK keeps ``open`` from hanging on a FIFO that took the file's place after the scan; it
    changes nothing for regular files.
    """

    __slots__ = ("_identity", "ctime_ns", "fd", "gid", "mode", "mtime_ns", "path", "size", "uid")

    def __init__(self, path: str) -> None:
        """Opens ``path``; raises ``Rejected`` when that is impossible or it is no regular file."""
        try:
            self.fd = os.open(path, _OPEN_FLAGS)
        except OSError as error:
            raise _unreadable(error) from None
        status = os.fstat(self.fd)
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
        self._identity = (status.st_dev, status.st_ino)

    @staticmethod
    def run(operation: Callable[[], T]) -> T:
        """How a long operation on the file runs."""
        return operation()

    def metadata(self) -> list[tuple[str, str]]:
        """The file's attributes as user metadata, sorted by name.

        ``mode`` is octal with a leading zero and type bits, ``mtime`` has always nine digits: so
        written, rclone and s3fs read both alike.
        """
        seconds, nanoseconds = divmod(abs(self.mtime_ns), 1_000_000_000)
        sign = "-" if self.mtime_ns < 0 else ""
        return [
            ("gid", str(self.gid)),
            ("mode", f"0{self.mode:o}"),
            ("mtime", f"{sign}{seconds}.{nanoseconds:09d}"),
            ("size", str(self.size)),
            ("uid", str(self.uid)),
        ]

    def read(self, offset: int, length: int) -> bytes:
        """``length`` bytes from ``offset``; raises ``SourceChanged`` when the file is too short."""
        try:
            data = os.pread(self.fd, length, offset)
        except OSError as error:
            raise _unreadable(error) from None
        if len(data) != length:
            raise SourceChanged("shrank while it was read")
        return data

    def blocks(self, offset: int, length: int) -> Iterator[memoryview]:
        """The same bytes in blocks through one buffer: a block is valid until the next is asked."""
        buffer = memoryview(bytearray(min(BLOCK_SIZE, length)))
        end = offset + length
        while offset < end:
            wanted = min(BLOCK_SIZE, end - offset)
            try:
                got = os.preadv(self.fd, [buffer[:wanted]], offset)
            except OSError as error:
                raise _unreadable(error) from None
            if not got:
                raise SourceChanged("shrank while it was read")
            offset += got
            yield buffer[:got]

    def check_unchanged(self) -> None:
        """Raises ``SourceChanged`` when the file, or what its name stands for, is not what it was.

        To be called after the last byte was read and before the upload is called done.
        """
        try:
            now = os.stat(self.path)
        except OSError:
            raise SourceChanged("vanished while it was read") from None
        if (now.st_dev, now.st_ino) != self._identity:
            raise SourceChanged("was replaced while it was read")
        if (now.st_size, now.st_mtime_ns) != (self.size, self.mtime_ns):
            raise SourceChanged("changed while it was read")

    def close(self) -> None:
        """Closes the file; may be called twice."""
        if self.fd >= 0:
            _close(self.fd)
            self.fd = -1

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _unreadable(error: OSError) -> Failure:
    """The file's own failure, or the machine's: a lack of descriptors or memory passes."""
    if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
        return Transient(f"cannot be read now: {error.strerror}")
    if error.errno == errno.ENOENT:
        return Rejected("vanished after the scan")
    return Rejected(f"cannot be read: {error.strerror}")


_TYPES = mimetypes.MimeTypes()
"""Python's own table and no file of the machine's, so that every machine gives the same answer."""
_COMPRESSED = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}


def guess_content_type(name: str) -> str:
    """The Content-Type that a file's name stands for; ``application/octet-stream`` for none."""
    suffixes = name.rpartition("/")[2].lstrip(".").split(".")[1:]
    return _type_of(".".join(suffixes[-2:]).lower())


@lru_cache(maxsize=1024)
def _type_of(suffixes: str) -> str:
    kind, encoding = _TYPES.guess_type(f"x.{suffixes}")
    if encoding:
        return _COMPRESSED.get(encoding, "application/octet-stream")
    return kind or "application/octet-stream"
