"""A large file in parts: each is sent once, and the end follows from what became of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _uploader.transfer.multipart import End, Parts, Span, end_after
from providers.base import Part
from providers.errors import (
    Busy,
    Corrupted,
    Denied,
    Exists,
    Failure,
    Fatal,
    Interrupted,
    NotFound,
    Rejected,
    SourceChanged,
    StaleConnection,
    Throttled,
    Transient,
    Unreachable,
)


def part(number: int, size: int = 10) -> Part:
    return Part(number, size, f"etag{number}", 0)


def all_spans(parts: Parts) -> list[Span]:
    spans = []
    while span := parts.next():
        spans.append(span)
    return spans


# Cutting


@given(st.integers(1, 10**6), st.integers(1, 10**5))
def test_the_parts_cover_the_file_without_gap_or_overlap(size: int, part_size: int) -> None:
    part_size = max(part_size, size // 1000)
    spans = all_spans(Parts(size, part_size))
    assert [span.number for span in spans] == list(range(1, len(spans) + 1))
    end = 0
    for span in spans:
        assert span.offset == end
        end += span.length
    assert end == size
    assert all(span.length == part_size for span in spans[:-1])
    assert 0 < spans[-1].length <= part_size


def test_stored_parts_are_not_sent_again() -> None:
    parts = Parts(35, 10)
    assert parts.have([part(2), part(4, 5)]) == 15
    assert [span.number for span in all_spans(parts)] == [1, 3]


def test_stored_parts_may_be_all() -> None:
    parts = Parts(35, 10)
    parts.have([part(1), part(2), part(3), part(4, 5)])
    assert parts.ended
    assert parts.next() is None


# How it ends


def test_it_ends_when_the_last_part_is_stored() -> None:
    parts = Parts(20, 10)
    all_spans(parts)
    parts.stored(part(2))
    assert not parts.ended
    parts.stored(part(1))
    assert parts.ended


def test_it_has_not_ended_while_parts_are_left_to_send() -> None:
    parts = Parts(20, 10)
    parts.next()
    parts.stored(part(1))
    assert not parts.ended


def test_the_parts_come_in_order_however_they_ended() -> None:
    parts = Parts(40, 10)
    parts.have([part(3)])
    all_spans(parts)
    for number in (4, 1, 2):
        parts.stored(part(number))
    assert [stored.number for stored in parts.in_order()] == [1, 2, 3, 4]


def test_after_a_failure_no_part_begins() -> None:
    parts = Parts(40, 10)
    parts.next()
    parts.failed(Transient("reset"))
    assert parts.next() is None
    assert parts.ended


def test_after_a_failure_it_waits_for_the_parts_under_way() -> None:
    parts = Parts(40, 10)
    parts.next()
    parts.next()
    parts.failed(Transient("reset"))
    assert not parts.ended
    parts.stored(part(2))
    assert parts.ended


def test_the_first_failure_is_the_one_that_is_told() -> None:
    parts = Parts(40, 10)
    parts.next()
    parts.next()
    parts.failed(first := Transient("reset"))
    parts.failed(Interrupted("the end"))
    assert parts.error is first


# What becomes of the upload


def test_without_a_failure_it_is_completed() -> None:
    assert end_after(None, resumable=True) is End.COMPLETE
    assert end_after(None, resumable=False) is End.COMPLETE


@pytest.mark.parametrize(
    "kind", [Transient, Unreachable, StaleConnection, Throttled, Busy, Fatal, Interrupted]
)
def test_what_may_pass_keeps_the_parts(kind: type[Failure]) -> None:
    """A later attempt, or the next run, goes on with them."""
    assert end_after(kind("why"), resumable=True) is End.KEEP


@pytest.mark.parametrize("kind", [SourceChanged, Corrupted, NotFound, Rejected, Denied, Exists])
def test_parts_that_can_never_make_the_object_are_given_back(kind: type[Failure]) -> None:
    assert end_after(kind("why"), resumable=True) is End.ABORT


@pytest.mark.parametrize("kind", [Transient, Fatal, Interrupted, SourceChanged])
def test_where_nobody_can_go_on_nothing_is_kept(kind: type[Failure]) -> None:
    assert end_after(kind("why"), resumable=False) is End.ABORT


def test_what_nobody_expected_keeps_nothing() -> None:
    assert end_after(KeyError("a bug"), resumable=True) is End.ABORT
