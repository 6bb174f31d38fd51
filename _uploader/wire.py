"""Messages between supervisor and workers: plain tuples, marshalled, each after its length.

marshal is the fastest coder of plain values, and one that cannot carry objects, so nothing runs
when a message is read.  Both ends are the same interpreter, so its format always fits.

The first element of a message is its kind.  From the supervisor: START, JOBS, SHARE, DRAIN.
From a worker: READY, RESULTS, BEGUN, RETURNED, FATAL, NOTE.
"""

from __future__ import annotations

import marshal
import struct
from typing import Any

Message = tuple[Any, ...]

START = "start"
"""What the run is, the first message of all: (START, settings as a dict, requests in flight or None
to find them, how many to find at most, bytes for bodies in flight, when the earlier run began that
this one goes on with or None, whether to prepare the bucket)."""
JOBS = "jobs"
"""(JOBS, list of Jobs as tuples): files to upload."""
SHARE = "share"
"""(SHARE, fraction): how much of its concurrency the worker may use, 0 to 1."""
DRAIN = "drain"
"""(DRAIN,): finish what is in flight, give back the rest, take nothing more."""

READY = "ready"
"""(READY, process id, least): settings understood; the fewest jobs that keep it busy."""
RESULTS = "results"
"""(RESULTS, list of Results as tuples, bytes sent so far, retries so far, requests that may be in
flight now, what last went wrong); also the heartbeat."""
BEGUN = "begun"
"""(BEGUN, job number, upload id, the file's change time): a multipart upload was begun."""
RETURNED = "returned"
"""(RETURNED, list of job numbers): not begun, given back in answer to DRAIN."""
FATAL = "fatal"
"""(FATAL, reason): no file can succeed; the run should stop."""
NOTE = "note"
"""(NOTE, text): one line that the user should see."""

_LENGTH = struct.Struct("!I")


def encode(message: Message) -> bytes:
    """The bytes of one message, its length before it."""
    payload = marshal.dumps(message)
    return _LENGTH.pack(len(payload)) + payload


class Decoder:
    """Turns the bytes of a stream, cut anywhere, back into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """The messages that are complete with ``data``, in order; the rest waits for more."""
        buffer = self._buffer
        buffer += data
        messages: list[Message] = []
        start = 0
        while len(buffer) - start >= _LENGTH.size:
            end = start + _LENGTH.size + _LENGTH.unpack_from(buffer, start)[0]
            if len(buffer) < end:
                break
            messages.append(marshal.loads(memoryview(buffer)[start + _LENGTH.size : end]))
            start = end
        del buffer[:start]
        return messages
