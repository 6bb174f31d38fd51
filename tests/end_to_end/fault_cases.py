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
"""Above what is sent together with the head, so that a reset after 64 KiB is in mid-body."""
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
"""Late, as the first answers of a service are read with more care: what is refused then may be the
checksum, or all that the credentials would do."""

NO_EFFECT = {
    "wrong-etag": {"put", "create", "complete", "abort"},
    "wrong-checksum": {"create", "head", "abort"},
    "corrupt": {"create", "head", "abort", "list_parts"},
    "rot": {"create", "complete", "head", "abort", "list_parts"},
}
"""Faults in what a request does not have, or nobody has to look at: with the checksum echoed, an
ETag proves nothing more."""

STORED = {"lost", "mute", "truncated", "wrong-checksum"}
"""Faults of a part that is stored all the same: the next round finds it."""
UNUSABLE = {"404", "wrong-etag", "wrong-checksum", *FINAL}
"""Answers about an earlier run's parts that leave none to go on with: they are sent again."""


class Case(NamedTuple):
    """One fault on one kind of request."""

    kind: str
    word: str
    always: bool

    @property
    def key(self) -> str:
        return f"{self.kind}/{self.word}/{'always' if self.always else 'once'}"

    def arrives(self) -> bool | None:
        """The file should be uploaded in spite of it; None: that depends on how many of its parts
        were under way, as the last round finds those that were stored."""
        if self.kind == "abort":
            return False  # what is given up has failed already
        if self.word in HARMLESS or self.kind in NO_EFFECT.get(self.word, ()):
            return True
        if self.kind == "head":
            return True  # whether an object is there: what nobody knows is sent again
        if self.kind == "part" and self.word in STORED and self.always:
            return None
        if self.kind == "list_parts" and self.word in UNUSABLE:
            return True
        return self.word not in FINAL and not self.always

    def arrange(self, server: FakeS3) -> None:
        """Scripts the fault, and what leads to such a request."""
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
