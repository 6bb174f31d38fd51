"""All objects that were to be deleted are accounted for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import gevent
import pytest

from _uploader.transfer.attempts import Attempts
from _uploader.transfer.deletion import DELETERS, delete_all
from _uploader.transfer.retry import RetryPolicy
from providers.base import Cloud, CloudSettings, Deletion, Prepared, Session
from providers.errors import Failure, Fatal, Rejected, Transient

HANGS = 10.0
"""Seconds after which a test is taken to hang."""


class Quick(RetryPolicy):
    """Retries at once."""

    def delay(self, failure: Failure, attempt: int, random: float) -> float | None:
        return None if super().delay(failure, attempt, random) is None else 0.0


class Shelf(Cloud):
    """Has objects, of which some cannot be deleted."""

    def __init__(self, keys: Sequence[str], at_once: int) -> None:
        super().__init__(CloudSettings("fake", "bucket"))
        self.keys = set(keys)
        self.most_deleted = at_once  # type: ignore[misc]
        self.faults: dict[str, list[Exception]] = {}
        self.in_flight = self.most_in_flight = self.open_sessions = 0

    def open(self) -> Session:
        self.open_sessions += 1
        return _Session(self)

    def destination(self) -> str:
        return "fake"

    def prepare(self, create: bool) -> Prepared:
        raise NotImplementedError


class _Session(Session):
    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def delete(self, keys: Sequence[str]) -> Deletion:
        shelf = self._shelf
        assert len(keys) <= shelf.most_deleted
        shelf.in_flight += 1
        shelf.most_in_flight = max(shelf.most_in_flight, shelf.in_flight)
        try:
            gevent.sleep(0)
            for key in keys:
                if shelf.faults.get(key):
                    raise shelf.faults[key].pop()
            shelf.keys -= set(keys)
        finally:
            shelf.in_flight -= 1
        return Deletion([], len(keys))

    def put(self, *arguments: object) -> str:
        raise NotImplementedError

    def stat(self, key: str) -> None:  # type: ignore[override]
        raise NotImplementedError

    def check(self, limit: float) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self._shelf.open_sessions -= 1


KEYS = [f"{number:03}" for number in range(100)]


@pytest.fixture(autouse=True)
def in_time() -> Iterator[None]:
    with gevent.Timeout(HANGS):
        yield


def deletion(shelf: Shelf) -> Deletion:
    try:
        return delete_all(Attempts(Quick(1), lambda: None), shelf, KEYS)
    finally:
        assert shelf.open_sessions == 0


@pytest.mark.parametrize(("at_once", "in_flight"), [(1000, 1), (100, 1), (30, 4), (1, DELETERS)])
def test_all_are_deleted_by_as_many_requests_as_it_takes(at_once: int, in_flight: int) -> None:
    shelf = Shelf(KEYS, at_once)
    assert deletion(shelf) == Deletion([], 100)
    assert (shelf.keys, shelf.most_in_flight) == (set(), in_flight)


def test_what_is_refused_is_told_and_holds_up_nothing() -> None:
    shelf = Shelf(KEYS, 1)
    shelf.faults = {key: [Rejected(f"no {key}")] for key in ("007", "003")}
    assert deletion(shelf) == Deletion([("003", "no 003"), ("007", "no 007")], 98)
    assert shelf.keys == {"003", "007"}


def test_a_request_that_fails_is_sent_again() -> None:
    shelf = Shelf(KEYS, 1)
    shelf.faults = {"050": [Transient("reset")]}
    assert deletion(shelf) == Deletion([], 100)


def test_what_ends_it_is_raised_and_nothing_goes_on() -> None:
    shelf = Shelf(KEYS, 1)
    shelf.faults = {"020": [Fatal("the key is revoked")]}
    with pytest.raises(Fatal, match="revoked"):
        deletion(shelf)
    left = len(shelf.keys)
    gevent.sleep(0.01)
    assert len(shelf.keys) == left > 0
