"""Text on its way to a stream that may be slow, stuck or broken, and holds nobody up.

A terminal that was stopped with Ctrl-S, a pipe that nobody reads: to write there blocks for ever.
So a thread writes, and what it has not written waits in bounded memory.
"""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TextIO

PENDING_BYTES = 2**20
"""What may wait to be written; what comes beyond it is dropped and counted."""
BURST = 2**16
"""Bytes written at once, as the thread may have to wait for the interpreter after each time."""
PIECE = 4096
"""The same while the end is waited for: few, so that a slow reader is not taken for none."""
PATIENCE = 5.0
"""Seconds that the end of a stream is waited for while nothing of it is read."""
HURRY = 1.0
"""Seconds that it is waited for at most, read or not, when somebody is in a hurry: enough for a
reader that is well."""
_LOOK = 0.05
"""Seconds between two looks at what may cut the waiting short."""
_RECOVERY = 0.01
"""Seconds: where poll(2) says ready and write(2) says not, this keeps the thread from spinning."""


def printable(text: str) -> str:
    """``text`` fit for a terminal: control characters and the like as backslash escapes."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def dropped_text(lines: int) -> str:
    """Stands for so many lines that nobody took in time."""
    return f"(lines not shown, as nobody took them: {lines:,})"


def _never() -> bool:
    return False


class Outlet:
    """A text stream.  What its encoding lacks becomes a backslash escape.

    No method raises because of the stream or waits for it, but ``close``, for a bounded time, and
    ``line`` where nothing may be lost.  A broken stream (a closed pipe, a lost terminal, a full
    disk) is written to no more.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        gap: Callable[[int], str] = dropped_text,
        lossless: bool = False,
        hurried: Callable[[], bool] = _never,
        beside: Outlet | None = None,
    ) -> None:
        """``gap`` makes the line that stands for so many dropped ones.  ``lossless``: a line waits
        for its room.  ``hurried`` says that nothing may be waited for any longer.  What goes to the
        same file as ``beside`` keeps its order with it."""
        self._stream = stream
        self.encoding = getattr(stream, "encoding", None) or "utf-8"
        self._lossless = lossless
        self._hurried = hurried
        if beside and _same_file(stream, beside._stream):
            self._sink: _Memory | _Writer = beside._sink
        elif (descriptor := _descriptor(stream)) is None:
            self._sink = _Memory(stream, self.encoding)
        else:
            self._sink = _Writer(descriptor, lambda lines: self._encoded(gap(lines) + "\n"))

    @property
    def behind(self) -> bool:
        """Something still waits to be written."""
        return self._sink.pending > 0

    def line(self, text: str, *, keep: bool = False) -> None:
        """``keep``: it is never dropped."""
        if self._lossless:
            self._sink.wait_for_room(self._hurried)
        self._sink.put(self._encoded(text + "\n"), keep)

    def write(self, text: str) -> None:
        self._sink.put(self._encoded(text), keep=False)

    def flush(self) -> None:
        """What is written is on its way."""

    def close(self) -> None:
        """Waits until all is written, unless nobody reads; not for long when ``hurried``."""
        self._sink.wait_for_end(self._hurried)

    def columns(self) -> int:
        """Width of the terminal; 80 where it is not known, as on a serial line."""
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or 80
        except (OSError, ValueError):
            return 80

    def _encoded(self, text: str) -> bytes:
        return text.encode(self.encoding, "backslashreplace")


class _Memory:
    """A stream without a file behind it takes everything at once."""

    pending = 0

    def __init__(self, stream: TextIO, encoding: str) -> None:
        self._stream = stream
        self._encoding = encoding
        self._broken = False

    def put(self, data: bytes, keep: bool) -> None:
        if self._broken:
            return
        try:
            self._stream.write(data.decode(self._encoding))
            self._stream.flush()
        except OSError:
            self._broken = True

    def wait_for_room(self, hurried: Callable[[], bool]) -> None:
        """There always is."""

    def wait_for_end(self, hurried: Callable[[], bool]) -> None:
        """Nothing is ever pending."""


class _Writer:
    """Bytes on their way to a descriptor.  Its thread begins with the first of them, writes past
    the stream's own buffer, which so stays empty when the interpreter flushes it at its exit, and
    is a daemon: one that is stuck ends with the process."""

    def __init__(self, descriptor: int, gap: Callable[[int], bytes]) -> None:
        self._descriptor = descriptor
        self._gap = gap
        self._changed = threading.Condition()
        self._queue: deque[bytes] = deque()
        self._dropped = 0
        self._thread: threading.Thread | None = None
        self._broken = False
        self._stuck = False
        self._piece = BURST
        self.pending = 0
        """Bytes not yet written."""

    def put(self, data: bytes, keep: bool) -> None:
        with self._changed:
            if self._broken:
                return
            # Once the buffer was full, half of it has to be free: not every other line is told.
            room = PENDING_BYTES // 2 if self._dropped else PENDING_BYTES
            if self.pending < room or keep:
                self._tell_gap()
                self._append(data)
            else:
                self._dropped += data.count(b"\n")

    def wait_for_room(self, hurried: Callable[[], bool]) -> None:
        """Returns when nothing more would be dropped, or when ``hurried`` says so."""
        with self._changed:
            while self.pending >= PENDING_BYTES and not hurried():
                self._changed.wait(_LOOK)

    def wait_for_end(self, hurried: Callable[[], bool]) -> None:
        """Returns when nothing is pending, when nothing was written for ``PATIENCE`` seconds, for
        the first time or since the last, or ``HURRY`` seconds after ``hurried`` said so.  Signals
        are handled meanwhile."""
        began = moved = time.monotonic()
        with self._changed:
            self._piece = PIECE
            pending = self.pending
            while self.pending and not self._stuck:
                self._changed.wait(_LOOK)
                now = time.monotonic()
                if self.pending != pending:
                    pending, moved = self.pending, now
                self._stuck = now - moved >= PATIENCE
                if not hurried():
                    began = now
                elif now - began >= HURRY:
                    return

    def _append(self, data: bytes) -> None:
        self._queue.append(data)
        self.pending += len(data)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="outlet", daemon=True)
            self._thread.start()
        elif len(self._queue) == 1:
            self._changed.notify_all()

    def _tell_gap(self) -> None:
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            self._append(self._gap(dropped))

    def _work(self) -> None:
        # They are the main thread's: one that is handled here would not wake it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
        while data := self._next():
            try:
                self._write(data)
            except OSError:
                self._break()
                return

    def _next(self) -> bytes:
        with self._changed:
            while not self._queue:
                self._changed.wait()
            data = b"".join(self._queue)
            self._queue.clear()
        return data

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                written = os.write(self._descriptor, rest[: self._piece])
            except BlockingIOError:  # whoever shares the file has made it non-blocking
                poll = select.poll()
                poll.register(self._descriptor, select.POLLOUT)
                poll.poll()
                time.sleep(_RECOVERY)
                continue
            rest = rest[written:]
            with self._changed:
                self.pending -= written
                self._stuck = False
                if not self.pending:
                    self._tell_gap()
                self._changed.notify_all()

    def _break(self) -> None:
        with self._changed:
            self._broken = True
            self._queue.clear()
            self.pending = 0
            self._changed.notify_all()


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError):
        return None


def _same_file(stream: TextIO, other: TextIO) -> bool:
    try:
        return os.path.sameopenfile(stream.fileno(), other.fileno())
    except (OSError, ValueError):
        return False
