"""A long listing is cut: several list it at once, and no key is lost or listed twice."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _uploader.transfer.ranges import Ranges, between, find_end

PAGE = 1000
LISTERS = 16
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)


class Service:
    """Lists keys in their order, ``page`` at a time."""

    def __init__(self, keys: Sequence[str], page: int = PAGE) -> None:
        self.keys = sorted(keys)
        self.page = page
        self.requests = 0

    def after(self, key: str) -> list[str]:
        self.requests += 1
        start = bisect.bisect_right(self.keys, key)
        return self.keys[start : start + self.page]

    def first_after(self, key: str) -> str | None:
        return next(iter(self.after(key)), None)


def listed(service: Service, prefix: str = "") -> tuple[list[str], int]:
    """All that was listed, and in how many rounds: in each all listers get one page."""
    ranges = Ranges()
    running, found, rounds = [ranges.first], [], 0
    while running:
        rounds += 1
        for each in list(running):
            page = service.after(each.after)
            mine = [key for key in page if each.until is None or key <= each.until]
            found += mine
            if mine:
                each.listed(mine[-1], len(mine))
            if len(mine) < len(page) or not page or page[-1] == service.keys[-1]:
                ranges.ended(each)
                running.remove(each)
        if rounds == 1 and running:
            ranges.allow(found[0], find_end(prefix, found[-1], service.first_after))
        while len(running) < LISTERS and (more := ranges.cut()):
            running.append(more)
    return found, rounds


SPACES: dict[str, Callable[[], list[str]]] = {
    "flat": lambda: [f"f{number:07}" for number in range(200_000)],
    "below a prefix": lambda: [f"backups/today/{number:07}.txt" for number in range(200_000)],
    "in folders": lambda: [f"data/{number % 100}/{number:06}" for number in range(200_000)],
    "most in one": lambda: (
        [f"a/{number:06}" for number in range(200_000)] + [f"z{n}" for n in range(9)]
    ),
}
"""Made by the one test that takes each: the lists of all of them take a fifth of a second."""


@pytest.mark.parametrize("space", SPACES)
def test_many_listers_take_a_fraction_of_the_time(space: str) -> None:
    service = Service(SPACES[space]())
    found, rounds = listed(service, "backups/" if space == "below a prefix" else "")
    assert sorted(found) == service.keys
    assert rounds < len(service.keys) / PAGE / 4
    assert service.requests < 2 * len(service.keys) / PAGE


@given(st.sets(TEXT, min_size=1, max_size=60), st.integers(1, 5))
def test_every_key_is_listed_once(keys: set[str], page: int) -> None:
    service = Service(list(keys - {""}) or ["a"], page)
    found, _ = listed(service)
    assert sorted(found) == service.keys


@given(TEXT, TEXT)
def test_what_is_between_two_texts_is_between_them(one: str, other: str) -> None:
    low, high = sorted([one, other])
    middle = between(low, high)
    assert middle is None or low < middle < high
    assert middle is None or middle.encode()


@given(st.sets(TEXT.filter(bool), min_size=1, max_size=30), st.data())
def test_no_key_comes_after_the_end(keys: set[str], data: st.DataObject) -> None:
    service = Service(list(keys))
    end = find_end("", data.draw(st.sampled_from(service.keys)), service.first_after)
    assert service.first_after(end) is None


def test_what_was_cut_is_not_cut_again_before_it_has_found_more() -> None:
    ranges = Ranges()
    ranges.first.listed("a0", 1)
    ranges.first.listed("a1", 5000)
    ranges.allow("a0", "a~")
    assert ranges.cut()
    assert ranges.cut() is None
