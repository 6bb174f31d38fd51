"""Writes text to a stream that may be slow, stuck or broken.

Writing to a terminal stopped with Ctrl-S, or to a pipe that nobody reads, blocks for ever.  So a
thread writes, and the text that it has not written waits in bounded memory.
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
"""Most bytes that wait to be written; text beyond them is dropped, and its lines counted."""
BURST = 2**16
"""Bytes of one write: after each, the thread may have to wait for the interpreter."""
PIECE = 4096
"""The same in ``close``: few, so that a slow reader does not look like none."""
PATIENCE = 5.0
"""``close`` gives up after so many seconds in which nobody read."""
HURRY = 1.0
"""``close`` gives up after so many seconds when hurried, read or not: enough for a reader that
works."""
_LOOK = 0.05
"""Seconds between two looks at whether to wait on."""
_RECOVERY = 0.01
"""Seconds: where poll(2) says ready and write(2) says not, this keeps the thread from spinning."""


def dropped_text(lines: int) -> str:
    """Stands for so many lines that nobody read in time."""
    return f"(lines not shown, as nobody took them: {lines:,})"


def _never() -> bool:
    return False


class Outlet:
    """A text stream.  Characters that its encoding lacks become backslash escapes.

    No method raises because of the stream.  Only ``close`` waits for it, for a bounded time, and
    ``line`` when nothing may be lost.  A broken stream (a closed pipe, a lost terminal, a full
    disk) gets nothing more.
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
        for room.  Once ``hurried`` returns true, nothing waits long.  Where ``beside`` writes to
        the same file, the text of both keeps its order."""
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
        """Some text still waits to be written."""
        return self._sink.pending > 0

    def line(self, text: str, *, keep: bool = False) -> None:
        """``keep``: the line is never dropped."""
        if self._lossless:
            self._sink.wait_for_room(self._hurried)
        self._sink.put(self._encoded(text + "\n"), keep)

    def write(self, text: str) -> None:
        self._sink.put(self._encoded(text), keep=False)

    def flush(self) -> None:
        """Nothing to do: the thread writes at once.  tqdm calls it."""

    def close(self) -> None:
        """Waits until all is written, unless nobody reads; only briefly when ``hurried``."""
        self._sink.wait_for_end(self._hurried)

    def columns(self) -> int:
        """Width of the terminal; 80 where it is unknown, as on a serial line."""
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or 80
        except (OSError, ValueError):
            return 80

    def _encoded(self, text: str) -> bytes:
        return text.encode(self.encoding, "backslashreplace")


class _Memory:
    """Writes to a stream without a file behind it, which takes everything at once."""

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
        """Room never lacks."""

    def wait_for_end(self, hurried: Callable[[], bool]) -> None:
        """Nothing is ever pending."""


class _Writer:
    """Writes to a descriptor in a thread, which starts with the first bytes.

    It bypasses the stream's own buffer, so that the interpreter has nothing to flush at exit.  The
    thread is a daemon: a stuck one ends with the process.
    """

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
        """Bytes that still have to be written."""

    def put(self, data: bytes, keep: bool) -> None:
        with self._changed:
            if self._broken:
                return
            # Once full, the buffer has to be half free: otherwise gaps and lines would alternate.
            room = PENDING_BYTES // 2 if self._dropped else PENDING_BYTES
            if self.pending < room or keep:
                self._append_gap()
                self._append(data)
            else:
                self._dropped += data.count(b"\n")

    def wait_for_room(self, hurried: Callable[[], bool]) -> None:
        """Returns when there is room for a line, or when ``hurried``."""
        with self._changed:
            while self.pending >= PENDING_BYTES and not hurried():
                self._changed.wait(_LOOK)

    def wait_for_end(self, hurried: Callable[[], bool]) -> None:
        """Returns when nothing is pending, after ``PATIENCE`` seconds without a write, or
        ``HURRY`` seconds after ``hurried`` first returned true.

        After the second, later calls return at once until a write succeeds.  Python handles
        signals meanwhile.
        """
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

    def _append_gap(self) -> None:
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            self._append(self._gap(dropped))

    def _work(self) -> None:
        # Signals belong to the main thread: one delivered here would not wake it.
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
            except BlockingIOError:  # another process that shares the file made it non-blocking
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
                    self._append_gap()
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
