"""What goes wrong, when: the script of a fake S3, and harm on a wire.

A script has one word for each attempt of a kind of request on a key (of each part, for parts);
after its end all goes well.  A last word that ends in ``...`` stands for all further attempts too.
A word is made of steps, joined by commas:

    ok                    nothing wrong
    delay:S               waits S seconds; ``delay:0.5,401`` refuses late
    400 503 429@2         that status, with S3's code and (after @) Retry-After; nothing is done
    slowdown expired      503 SlowDown, 400 ExpiredToken
    skew                  403 RequestTimeTooSkewed, with a Date an hour ahead, one more each time
    early503              that status before the body is read, then the end of the connection
    reset@64K             reset after so many bytes of the body (of a shorter one after all of it;
                          without @ after none)
    stall                 does not read the body, says nothing
    noanswer hangup       reads the body, does nothing: says nothing; closes
    garbage blank         the same, answered by what is no HTTP; by 200 without ETag or body
    error200              the same, answered by 200 with an <Error> inside
    lost mute             the work is done: reset before the answer; no answer
    truncated             the work is done: half of the answer, then the end of the connection
    dripping:S            the work is done: the answer byte by byte, S seconds (none without)
                          between them
    close fin extra       the work is done and answered: with Connection: close; closed without a
                          word; with a 408 that nobody asked for behind the answer, and closed
    continue              100 Continue before the answer
    wrong-etag            the work is done, the answer names another ETag
    wrong-checksum        the work is done, the answer echoes another checksum
    corrupt               one bit of the body changes on its way, before anything is checked
    rot                   one bit changes after the checks, and the answer is about what is stored
"""

from __future__ import annotations

import contextlib
import fnmatch
import random
import re
import socket
import struct
from collections import Counter
from collections.abc import Collection, Sequence
from typing import NamedTuple

KIB, MIB = 2**10, 2**20

_WORD = re.compile(r"(early\d{3}|\d{3}|[a-z]+(?:-[a-z]+)?(?:200)?)(?:[@:](\d+(?:\.\d+)?)([KM]?))?")
_NAMES = {
    *("ok", "delay", "slowdown", "expired", "skew", "reset", "stall", "noanswer", "hangup"),
    *("garbage", "blank", "error200", "lost", "mute", "truncated", "dripping", "close", "fin"),
    *("extra", "continue", "wrong-etag", "wrong-checksum", "corrupt", "rot"),
}

STORM = (
    *("500", "502", "504", "408", "reset", "reset@1K", "reset@3M", "hangup", "fin", "close"),
    *("lost", "truncated", "garbage", "blank", "error200", "wrong-checksum", "corrupt", "rot"),
    *("early500", "delay:0.1", "continue", "extra", "dripping"),
)
"""Faults that pass, and cost little time."""
REFUSALS = ("503", "slowdown", "429", "early503")
"""Faults that ask for fewer requests."""
SILENCES = ("stall", "noanswer", "mute")
"""Faults that cost the client its time limit."""


def steps(word: str) -> dict[str, float | None]:
    """The steps of a word, each with its number; fails when one is unknown."""
    found = {}
    for text in word.split(","):
        match = _WORD.fullmatch(text)
        assert match, f"{text!r} is no word of a script"
        name, number, unit = match.groups()
        assert name in _NAMES or name[-3:].isdigit(), f"{name!r} is no fault"
        scale = {"": 1, "K": KIB, "M": MIB}[unit or ""]
        found[name] = float(number) * scale if number else None
    return found


class Storm(NamedTuple):
    """Each request fails with this probability; how depends only on the seed and the attempt."""

    probability: float
    seed: int
    words: Sequence[str] = STORM

    def word(self, kind: str, key: str, part: int, attempt: int) -> str:
        """What happens to this attempt."""
        chance = random.Random(f"{self.seed}/{kind}/{key}/{part}/{attempt}")
        return chance.choice(self.words) if chance.random() < self.probability else "ok"


class _Script(NamedTuple):
    words: Sequence[str]
    endless: bool
    """The last word stands for all attempts that follow."""

    def word(self, attempt: int) -> str:
        if attempt < len(self.words):
            return self.words[attempt]
        return self.words[-1] if self.endless else "ok"


class Injector:
    """Gives each attempt of each request its word: by script, else by the storm, else ``ok``."""

    def __init__(self, kinds: Collection[str]) -> None:
        self.storm: Storm | None = None
        self._kinds = kinds
        self._exact: dict[tuple[str, str], _Script] = {}
        self._patterns: list[tuple[str, str, _Script]] = []
        self._attempts: Counter[tuple[str, str, int]] = Counter()

    def script(self, kind: str, key: str, words: str) -> None:
        """Says what happens to requests of this kind (``*``: every kind) for this key (a pattern
        when it has ``*`` in it).

        An exact key goes before a pattern, a later pattern before an earlier one.
        """
        assert kind == "*" or kind in self._kinds, kind
        script = _Script(words.removesuffix("...").split(), words.endswith("..."))
        for word in script.words:
            steps(word)
        if "*" in key or kind == "*":
            self._patterns.insert(0, (kind, key, script))
        else:
            self._exact[kind, key] = script

    def next(self, kind: str, key: str, part: int) -> tuple[int, str]:
        """Counts the attempt; returns its number, from 0, and its word."""
        attempt = self._attempts[kind, key, part]
        self._attempts[kind, key, part] += 1
        script = self._exact.get((kind, key)) or self._pattern(kind, key)
        if script is not None:
            return attempt, script.word(attempt)
        return attempt, self.storm.word(kind, key, part, attempt) if self.storm else "ok"

    def _pattern(self, kind: str, key: str) -> _Script | None:
        for wanted, pattern, script in self._patterns:
            if wanted in ("*", kind) and fnmatch.fnmatchcase(key, pattern):
                return script
        return None


# Harm on the wire, to requests that nobody reads

_EARLY = 256
"""Most bytes that pass before the harm, in most cases: no request or answer is shorter."""
_LATE = 4 * MIB
"""The same for harm in the middle of a large body."""


class Harm(NamedTuple):
    """What happens to one request on its way."""

    kind: str
    """``ok``, ``reset``, ``stall`` or ``truncate`` (the end of the connection, both ways)."""
    upwards: bool
    """To the request, else to its answer."""
    after: int
    """Bytes that pass before."""


UNHARMED = Harm("ok", upwards=True, after=0)


def draw_harm(chance: random.Random, probability: float, stalls: float) -> Harm:
    """The fate of the next request; ``stalls`` is the share of stalls among the harms."""
    if chance.random() >= probability:
        return UNHARMED
    kind = "stall" if chance.random() < stalls else chance.choice(["reset", "truncate"])
    most = _LATE if chance.random() < 0.1 else _EARLY
    return Harm(kind, upwards=chance.random() < 0.5, after=chance.randrange(most))


def reset_on_close(sock: socket.socket) -> None:
    """Makes the end of the connection a reset."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
