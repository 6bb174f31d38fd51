"""One fault on one kind of request, and what should become of the file."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from tests.command import (
    random_bytes,
    write,
)
from tests.servers.faults import KIB, MIB
from tests.servers.s3 import FakeS3

BUCKET = "bucket"
RETRIES = 3
TIMEOUT = 2.0
SMALL = 70_000
"""More than goes out with the head: a reset after 64 KiB is in mid-body."""
PART = MIB
LARGE = 2 * MIB + 1
"""Three parts, made small by ``small_parts``."""

HARMLESS = ("delay:0.3", "close", "fin", "extra", "continue", "dripping")
PASSING = (
    *("404", "408", "409", "500", "502", "504", "early500", "reset", "reset@64K", "stall"),
    *("noanswer", "hangup", "garbage", "blank", "error200", "lost", "mute", "truncated"),
    *("wrong-etag", "wrong-checksum", "corrupt", "rot"),
)
REFUSED = ("429@1", "503", "slowdown", "early503")
FINAL = (
    *("delay:0.7,400", "delay:0.7,501", "delay:0.7,401", "delay:0.7,403"),
    *("413", "delay:0.7,early403"),
)
"""Late: before its first success a process takes a refusal for one of the checksum header, or of
the credentials."""

NO_EFFECT = {
    "wrong-etag": {"put", "create", "complete", "abort"},
    "wrong-checksum": {"create", "head", "abort"},
    "corrupt": {"create", "head", "abort", "list_parts"},
    "rot": {"create", "complete", "head", "abort", "list_parts"},
}
"""Faults of what a request does not have, or nobody needs to read: an echoed checksum proves the
content, whatever the ETag."""

STORED = {"lost", "mute", "truncated", "wrong-checksum"}
"""Faults of a part that is stored nevertheless: the next round finds it."""
UNUSABLE = {"404", "wrong-etag", "wrong-checksum", *FINAL}
"""Answers that make an earlier run's parts useless: all parts are sent again."""


class Case(NamedTuple):
    """One fault on one kind of request."""

    kind: str
    word: str
    always: bool

    @property
    def key(self) -> str:
        return f"{self.kind}/{self.word}/{'always' if self.always else 'once'}"

    def arrives(self) -> bool | None:
        """Whether the file is uploaded in the end.

        None: it depends on how many parts were in flight, as the last round finds those stored.
        """
        if self.kind == "abort":
            return False  # only failed files are aborted
        if self.word in HARMLESS or self.kind in NO_EFFECT.get(self.word, ()):
            return True
        if self.kind == "head":
            return True  # an object that may not be there is sent again
        if self.kind == "part" and self.word in STORED and self.always:
            return None
        if self.kind == "list_parts" and self.word in UNUSABLE:
            return True
        return self.word not in FINAL and not self.always

    def arrange(self, server: FakeS3) -> None:
        """Scripts the fault, and the faults that lead to such a request."""
        if self.kind == "head":
            server.script("complete", self.key, "lost")
        elif self.kind == "abort":
            server.script("part", self.key, "early400...")
        elif self.kind == "list_parts":
            server.script("complete", self.key, "400")
            server.script("abort", self.key, "400")
        server.script(self.kind, self.key, self.word + "..." * self.always)

    def write_file(self, root: Path) -> None:
        """A small file, or a large one full of holes in which no two parts are alike."""
        if self.kind == "put":
            write(root, self.key, random_bytes(SMALL, self.key))
            return
        path = write(root, self.key, random_bytes(KIB, self.key))
        with open(path, "r+b") as file:
            file.seek(PART)
            file.write(random_bytes(KIB, f"{self.key}2"))
            file.truncate(LARGE)


KINDS = ("put", "create", "part", "complete", "head", "abort")


def cases(words: tuple[str, ...], kinds: tuple[str, ...] = KINDS) -> list[Case]:
    return [Case(k, w, a) for k in kinds for w in words for a in (False, True)]


def each_case(group: list[Case], *, arrives: bool) -> pytest.MarkDecorator:
    chosen = [case for case in group if case.arrives() == arrives]
    return pytest.mark.parametrize("case", chosen, ids=lambda case: case.key)
