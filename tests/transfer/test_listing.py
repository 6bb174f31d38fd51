"""A listing ends with all objects, or with the reason why it has not."""

from __future__ import annotations

from collections.abc import Callable

import gevent
import pytest

from _uploader.transfer.attempts import Attempts
from _uploader.transfer.listing import Listing
from _uploader.transfer.retry import RetryPolicy
from providers.base import Listed, Page, Session
from providers.errors import Rejected

HANGS = 10.0
"""Seconds after which a test is taken to hang."""
Answer = Callable[[str], Page]
"""The page that begins at a token."""


class Pages(Session):
    """Answers with what it is given."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def page(self, prefix: str, after: str = "", start: str = "") -> Page:
        return self._answer(start)

    def put(self, *arguments: object) -> str:
        raise NotImplementedError

    def stat(self, key: str) -> None:  # type: ignore[override]
        raise NotImplementedError

    def check(self, limit: float) -> None:
        raise NotImplementedError

    def close(self) -> None: ...


def listed(answer: Answer) -> list[str]:
    """The keys of a listing with these answers."""
    found: list[Listed] = []
    attempts = Attempts(RetryPolicy(0), probe=lambda: None)
    with gevent.Timeout(HANGS):
        Listing(attempts, lambda: Pages(answer), "", found.extend).run()
    return [each.key for each in found]


def row(key: str) -> Listed:
    return Listed(key, 1, "e")


def test_it_goes_on_to_the_last_page() -> None:
    pages = {"": Page([row("a")], "t"), "t": Page([row("b")], "")}
    assert listed(pages.__getitem__) == ["a", "b"]


@pytest.mark.parametrize(
    "answer",
    [
        lambda start: Page([], "t"),
        lambda start: Page([row("a")], start + "t"),
        lambda start: Page([row(start or "a")], "t"),
    ],
    ids=["no object", "the same objects", "the same token"],
)
def test_pages_that_repeat_themselves_end_it(answer: Answer) -> None:
    with pytest.raises(Rejected, match="repeat themselves"):
        listed(answer)


def test_what_nobody_expects_does_not_make_it_look_complete() -> None:
    def answer(start: str) -> Page:
        raise RecursionError

    with pytest.raises(RecursionError):
        listed(answer)
