"""Which changes of the number in flight are told."""

from __future__ import annotations

from _uploader.transfer.changes import PAUSE, Change, Changes


def told(*numbers: tuple[float, int, str]) -> list[Change]:
    """What is told of a number that was 64, looked at with (time, number, latest reason)."""
    changes = Changes(64)
    return [change for seen in numbers if (change := changes.news(*seen))]


def test_a_change_is_told_at_once_and_once() -> None:
    assert told((0.0, 64, ""), (0.1, 384, "more"), (5.0, 384, "more")) == [Change(64, 384, "more")]


def test_several_changes_between_two_looks_are_one_with_the_latest_reason() -> None:
    """And none where the number is the same again."""
    assert told((0.1, 32, "503"), (0.2, 16, "memory"), (0.3, 16, "again")) == [
        Change(64, 32, "503"),
        Change(32, 16, "memory"),
    ]


def test_changes_for_one_reason_are_told_once_in_a_while() -> None:
    steps = [(step / 10, 64 + step, "growing back") for step in range(1, 26)]
    changes = told(*steps, (9.0, 89, "growing back"))
    assert changes == [
        Change(64, 65, "growing back"),
        Change(65, 75, "growing back"),
        Change(75, 85, "growing back"),
        Change(85, 89, "growing back"),
    ]
    assert changes[1].after - changes[1].before == 10 * PAUSE


def test_another_reason_does_not_wait() -> None:
    assert told((0.1, 65, "growing back"), (0.2, 66, "growing back"), (0.3, 33, "503")) == [
        Change(64, 65, "growing back"),
        Change(65, 33, "503"),
    ]


def test_numbers_in_a_reason_make_it_no_other_one() -> None:
    changes = Changes(64)
    assert changes.news(0.0, 50, "memory: 250 of 256 MiB")
    assert changes.news(0.5, 40, "memory: 249 of 256 MiB") is None
    assert changes.news(1.1, 40, "memory: 248 of 256 MiB") == (50, 40, "memory: 248 of 256 MiB")
