"""A file is taken when its path, its size and its time are."""

from __future__ import annotations

import pytest

from _uploader.files.model import Failed, Job, LeftOut, Skipped
from _uploader.files.selection import Selection


class Only:
    """Takes what begins with an ``a``."""

    def take(self, path: str) -> bool:
        return path.startswith("a")

    def enter(self, directory: str) -> bool:
        return directory == "a"


@pytest.mark.parametrize(
    ("selection", "sizes"),
    [
        (Selection(), [0, 1, 2, 3]),
        (Selection(min_size=1), [1, 2, 3]),
        (Selection(max_size=2), [0, 1, 2]),
        (Selection(min_size=1, max_size=1), [1]),
        (Selection(max_size=0), [0]),
    ],
)
def test_both_bounds_of_the_size_are_taken(selection: Selection, sizes: list[int]) -> None:
    assert [size for size in range(4) if selection.takes("x", size, 0)] == sizes


def test_a_time_is_not_before_the_one_and_before_the_other() -> None:
    selection = Selection(newer_ns=10, older_ns=12)
    assert [time for time in range(8, 14) if selection.takes("x", 0, time)] == [10, 11]


def test_a_path_that_is_not_taken_is_out_whatever_its_size() -> None:
    selection = Selection(Only(), min_size=1)
    assert selection.takes("ab", 1, 0)
    assert not selection.takes("ab", 0, 0)
    assert not selection.takes("b", 1, 0)


def test_an_object_is_chosen_by_name_and_size() -> None:
    selection = Selection(Only(), min_size=1, newer_ns=10)
    assert selection.takes_object("ab", 1)
    assert not selection.takes_object("ab", 0)
    assert not selection.takes_object("b", 1)


def test_directories_are_entered_as_the_rules_say() -> None:
    assert Selection().enters("b")
    assert Selection(Only()).enters("a")
    assert not Selection(Only()).enters("b")


def test_what_is_not_taken_is_left_out_failures_as_well() -> None:
    job, moment = Job(0, "a1", 5, 0), None
    entries = [job, Job(1, "a2", 4, 0), Job(2, "b", 5, 0), moment, Failed("a3", "x")]
    others = [Failed("b2", "x"), Skipped("b3", "x"), LeftOut("a4"), Failed("b5", "x", True)]
    found = list(Selection(Only(), min_size=5).of([*entries, *others]))
    assert found == [
        job,
        LeftOut("a2"),
        LeftOut("b"),
        None,
        Failed("a3", "x"),
        LeftOut("b2"),
        LeftOut("b3"),
        LeftOut("a4"),
        Failed("b5", "x", True),
    ]
