"""Messages between supervisor and workers: marshalled tuples, each after its length.

marshal is the fastest coder of plain values.  It carries no objects, so decoding runs no code.
Both ends are the same interpreter, so they agree on the format.
"""

from __future__ import annotations

import marshal
import struct
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from ..files.model import Job, Outage, Result


class Start(NamedTuple):
    """To a worker, the first message: the settings of the run."""

    settings: dict[str, Any]
    concurrency: int | None
    """Requests in flight; None: the worker finds the number."""
    most_in_flight: int
    """Ceiling where the worker finds the number."""
    body_budget: int
    """Bytes of memory for what is in flight."""
    prepare: bool = False
    """This worker resolves where the objects go, and makes sure that the bucket exists."""
    sessions: int = 0
    """Sessions to connect at once: files will come for so many."""
    disk_hangs: bool = False
    """An earlier worker was silent for too long: the disk may hold up whole processes."""
    roots: tuple[str, ...] = ("",)
    """For each source what comes before its paths: ends with a slash or is empty."""


class Resume(NamedTuple):
    """To a worker, before its first jobs: this run resumes earlier ones."""

    since: float
    """When the first of them began, in seconds since the epoch."""


class Jobs(NamedTuple):
    """To a worker: files to upload."""

    jobs: Sequence[Job]


class Share(NamedTuple):
    """To a worker: the share of its concurrency that it may use, 0 to 1."""

    share: float
    reason: str
    """Why, in a few words."""


class CpuRate(NamedTuple):
    """To a worker: the seconds of CPU a second that it may use."""

    rate: float


class DropPages(NamedTuple):
    """To a worker: files that are read are to leave the page cache as it was."""


class List(NamedTuple):
    """To a worker: tell what the bucket holds, by ``Listed`` and at its end ``ListingEnded``."""

    prefix: str
    """Of the keys."""


class Delete(NamedTuple):
    """To a worker: delete these objects, and answer by ``Deleted``."""

    keys: list[str]


class Drain(NamedTuple):
    """To a worker: finish what is in flight, return the rest, take nothing more."""


class Destination(NamedTuple):
    """From the worker that prepares: where the objects go, as the cloud resolved it."""

    text: str


class Missing(NamedTuple):
    """From the worker that prepares: there is no bucket; it waits for ``Create``."""


class Create(NamedTuple):
    """To the worker that sent ``Missing``: create the bucket."""


class InputEnded(NamedTuple):
    """From the worker that reads standard input: that has ended; it waits for ``StoreInput``."""


class StoreInput(NamedTuple):
    """To the worker that sent ``InputEnded``: make the object."""


class Ready(NamedTuple):
    """From a worker: it waits for jobs."""

    pid: int
    least: int
    """The fewest jobs that keep it busy, whatever their size."""


class Results(NamedTuple):
    """From a worker: results and a report; also the heartbeat."""

    results: Sequence[Result]
    sent: int
    """Bytes of bodies given to the network so far."""
    progress: int
    """Grows as long as requests succeed, or long ones move."""
    retries: int
    """Attempts beyond the first so far."""
    limit: int
    """Requests that may be in flight now."""
    trouble: str
    """What last went wrong with a request."""
    outage: Outage | None


class Concurrency(NamedTuple):
    """From a worker: it keeps more or fewer requests in flight than it last told."""

    before: int
    after: int
    reason: str
    """Why, in a few words with the numbers."""


class Begun(NamedTuple):
    """From a worker: a multipart upload has begun."""

    number: int
    upload_id: str
    ctime_ns: int
    """The file's change time."""


class Listed(NamedTuple):
    """From a worker: objects that the bucket holds."""

    objects: list[tuple[str, int, str]]
    """Key, size and ETag of each."""


class ListingEnded(NamedTuple):
    """From a worker: the bucket holds nothing else, or may not be listed."""

    refusal: str = ""
    """Why it may not."""


class Deleted(NamedTuple):
    """From a worker: the objects of a ``Delete`` are gone, but for some."""

    failed: list[tuple[str, str]]
    """Key and reason of each that is still there."""
    hidden: int
    """How many the service keeps as earlier versions."""


class Returned(NamedTuple):
    """From a worker, in reply to ``Drain``: jobs that it has not begun."""

    numbers: list[int]


class Fatal(NamedTuple):
    """From a worker: no file can succeed, so the run must stop."""

    reason: str


class Note(NamedTuple):
    """From a worker: one line that the user should see."""

    text: str


class Notice(NamedTuple):
    """From a worker: one line about the service; the user sees equal lines once."""

    text: str


Message: TypeAlias = (
    Start
    | Resume
    | Jobs
    | Share
    | CpuRate
    | DropPages
    | List
    | Delete
    | Drain
    | Destination
    | Missing
    | Create
    | InputEnded
    | StoreInput
    | Ready
    | Results
    | Concurrency
    | Begun
    | Listed
    | ListingEnded
    | Deleted
    | Returned
    | Fatal
    | Note
    | Notice
)
_KINDS: tuple[Any, ...] = Message.__args__
_NUMBERS = {kind: number for number, kind in enumerate(_KINDS)}
_LENGTH = struct.Struct("!I")


def encode(message: Message) -> bytes:
    """The message as bytes, after its length."""
    payload = marshal.dumps((_NUMBERS[type(message)], *_plain(message)))
    return _LENGTH.pack(len(payload)) + payload


def _plain(message: Message) -> Sequence[Any]:
    """The message's values: marshal takes tuples, but nothing that is made of them."""
    if isinstance(message, Jobs):
        return (list(map(tuple, message.jobs)),)
    if isinstance(message, Results):
        results, *counts, outage = message
        return (list(map(tuple, results)), *counts, outage and tuple(outage))
    return message


# What ``_make`` does, without a Python frame for each file.
_job = partial(tuple.__new__, Job)
_result = partial(tuple.__new__, Result)


def _message(kind: Any, values: list[Any]) -> Message:
    """The opposite of ``_plain``."""
    if kind is Jobs:
        values[0] = list(map(_job, values[0]))
    elif kind is Results:
        values[0] = list(map(_result, values[0]))
        values[-1] = values[-1] and Outage._make(values[-1])
    made: Message = kind._make(values)
    return made


class Decoder:
    """Turns a stream of bytes, cut anywhere, back into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """The messages that ``data`` completes, in order; keeps the rest."""
        buffer = self._buffer
        buffer += data
        messages: list[Message] = []
        start = 0
        while len(buffer) - start >= _LENGTH.size:
            end = start + _LENGTH.size + _LENGTH.unpack_from(buffer, start)[0]
            if len(buffer) < end:
                break
            kind, *values = marshal.loads(memoryview(buffer)[start + _LENGTH.size : end])
            messages.append(_message(_KINDS[kind], values))
            start = end
        del buffer[:start]
        return messages
