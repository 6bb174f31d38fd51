"""What a service tells of an object's content, held against the bytes of a file.  Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Protocol


class Proof(Protocol):
    """Takes the bytes of a file from its beginning to its end, once."""

    def update(self, block: bytes | memoryview, /) -> None:
        """The next bytes."""

    def holds(self) -> bool | None:
        """Whether the object has these bytes, after the last; None: that cannot be told."""


class HashProof:
    """The service tells a hash of all bytes."""

    def __init__(self, name: str, told: bytes) -> None:
        """``name`` as ``hashlib`` knows it."""
        self._hash = hashlib.new(name, usedforsecurity=False)
        self._told = told
        self.update: Callable[[bytes | memoryview], None] = self._hash.update

    def holds(self) -> bool:
        """The hashes are the same."""
        return self._hash.digest() == self._told


class PartsProof:
    """The service tells the MD5 of the MD5s of the parts that an object was made of."""

    def __init__(self, told: bytes, sizes: Sequence[int], *, certain: bool) -> None:
        """``sizes``: what a part may have, in bytes.  ``certain``: the service says so; else they
        are guesses, and another hash proves nothing."""
        self._told = told
        self._guesses = [_Parts(size) for size in sizes]
        self._certain = certain

    def update(self, block: bytes | memoryview, /) -> None:
        """The next bytes."""
        for guess in self._guesses:
            guess.update(memoryview(block))

    def holds(self) -> bool | None:
        """One of the sizes leads to the hash."""
        if any(guess.digest() == self._told for guess in self._guesses):
            return True
        return False if self._certain else None


class _Parts:
    """The MD5 of MD5s for one size of the parts."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._whole = hashlib.md5(usedforsecurity=False)
        self._part = hashlib.md5(usedforsecurity=False)
        self._room = size

    def update(self, block: memoryview) -> None:
        while len(block):
            if not self._room:
                self._end_part()
            some = block[: self._room]
            self._part.update(some)
            self._room -= len(some)
            block = block[len(some) :]

    def digest(self) -> bytes:
        self._end_part()
        return self._whole.digest()

    def _end_part(self) -> None:
        self._whole.update(self._part.digest())
        self._part = hashlib.md5(usedforsecurity=False)
        self._room = self._size
