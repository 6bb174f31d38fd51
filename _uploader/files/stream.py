"""A stream in pieces.  Each is a file in memory, so that it can be sent again."""

from __future__ import annotations

import fcntl
import mmap
import os
from contextlib import suppress

READ_SIZE = 2**20
"""Most bytes of one read: the pages of a piece become memory as they fill."""
PIPE_SIZE = 2**20
"""Bytes that a pipe holds: as many as Linux allows everybody.  With the usual 64 KiB producer and
reader wait for each other all the time."""


class Piece:
    """Bytes of a stream as a file that has a path."""

    def __init__(self, room: int) -> None:
        """``room``: most bytes that it can hold; it takes memory for those that it does hold."""
        self._fd = os.memfd_create("uploader")
        os.fchmod(self._fd, 0o600)
        os.truncate(self._fd, room)
        # Mapped, it counts as this process's memory.
        self._memory = mmap.mmap(self._fd, room)
        self.room = room
        self.size = 0
        """Bytes that it holds."""

    @property
    def path(self) -> str:
        """Opens as a regular file of ``size`` bytes, in this process."""
        return f"/proc/self/fd/{self._fd}"

    def fill(self, descriptor: int, ahead: bytes) -> None:
        """Takes ``ahead``, then what ``descriptor`` has, until all room is taken or the stream
        ends.  Raises OSError when it cannot be read."""
        with memoryview(self._memory) as memory:
            memory[: len(ahead)] = ahead
            self.size = len(ahead)
            while self.size < len(memory):
                got = os.readv(descriptor, [memory[self.size : self.size + READ_SIZE]])
                if not got:
                    break
                self.size += got
        if self.size < len(self._memory):
            os.truncate(self._fd, self.size)

    def drop(self) -> None:
        """Frees the memory; whoever reads it at this moment finds that the file has become shorter.
        May be called twice."""
        if self._fd >= 0:
            os.truncate(self._fd, 0)
            self._memory.close()
            os.close(self._fd)
            self._fd = -1


class Stream:
    """What comes out of a descriptor.  Its methods block for as long as nothing comes."""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, True)  # whoever shares it may have wanted otherwise
        with suppress(OSError):  # no pipe, or one that may not grow
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        self._descriptor = descriptor
        self._ahead = b""
        self._spare: list[Piece] = []

    def has_more(self) -> bool:
        """The stream has not ended.  Raises OSError when it cannot be read."""
        self._ahead = self._ahead or os.read(self._descriptor, 1)
        return bool(self._ahead)

    def take(self, most: int) -> Piece:
        """The next ``most`` bytes; fewer, or none, at the end of the stream only.  Raises OSError
        when it cannot be read."""
        piece = self._spare.pop() if self._spare else Piece(most)
        if piece.room != most:
            piece.drop()
            piece = Piece(most)
        try:
            piece.fill(self._descriptor, self._ahead)
        except BaseException:
            piece.drop()
            raise
        self._ahead = b""
        return piece

    def give_back(self, piece: Piece) -> None:
        """Nobody reads this piece any more: a later one takes its memory, which costs a third of
        the CPU that new memory does."""
        if piece.size == piece.room:
            self._spare.append(piece)
        else:
            piece.drop()
