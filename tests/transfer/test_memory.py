"""Memory stays under its limit: by construction first, by feedback for what is left."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _uploader.transfer.memory import (
    FIXED_MEMORY,
    FLOOR,
    GROW,
    HIGH,
    LEAST_BODIES,
    LEAST_SHARE,
    LOW,
    SHRINK,
    WORKER_MEMORY,
    MemoryThrottle,
    body_budget,
    processes_within,
)

LIMIT = 1000
FULL = int(LIMIT * HIGH) + 1
EMPTY = int(LIMIT * LOW) - 1
BETWEEN = int(LIMIT * (HIGH + LOW) / 2)
limits = st.integers(0, 2**45)
counts = st.integers(1, 4096)


def shares(samples: list[int]) -> list[float]:
    """The share after each of these samples."""
    throttle = MemoryThrottle(LIMIT)
    taken = []
    for used in samples:
        throttle.sample(used)
        taken.append(throttle.share)
    return taken


def test_as_many_processes_as_wanted_where_memory_allows() -> None:
    assert processes_within(100 * FLOOR, 8) == 8


def test_fewer_processes_where_memory_does_not_allow_more() -> None:
    assert processes_within(FIXED_MEMORY + 3 * (WORKER_MEMORY + LEAST_BODIES), 8) == 3


def test_a_quarter_of_384_mib_is_enough_for_two() -> None:
    assert processes_within(96 * 2**20, 2) == 2


def test_one_process_at_the_floor() -> None:
    assert processes_within(FLOOR, 8) == 1


@pytest.mark.parametrize("limit", [0, 1, FIXED_MEMORY, FLOOR - 1])
def test_no_process_where_not_even_one_fits(limit: int) -> None:
    assert processes_within(limit, 8) == 0


@given(limits, counts)
def test_processes_and_bodies_together_stay_within_the_limit(limit: int, wanted: int) -> None:
    count = processes_within(limit, wanted)
    assert 0 <= count <= wanted
    if count:
        budget = body_budget(limit, count)
        assert budget >= LEAST_BODIES
        assert FIXED_MEMORY + count * (WORKER_MEMORY + budget) <= limit


def test_what_the_processes_leave_is_for_bodies() -> None:
    assert body_budget(FIXED_MEMORY + 2 * WORKER_MEMORY + 1000, 2) == 500


def test_a_budget_is_never_negative() -> None:
    assert body_budget(FIXED_MEMORY, 4) == 0


def test_everything_is_allowed_before_the_first_sample() -> None:
    assert MemoryThrottle(LIMIT).share == 1.0


def test_above_the_high_mark_the_share_shrinks() -> None:
    assert shares([FULL, FULL]) == [SHRINK, SHRINK * SHRINK]


def test_between_the_marks_the_share_stays() -> None:
    assert shares([FULL, BETWEEN, BETWEEN]) == [SHRINK] * 3


def test_below_the_low_mark_the_share_grows_back_step_by_step() -> None:
    assert shares([FULL, EMPTY, EMPTY]) == [SHRINK, SHRINK + GROW, SHRINK + 2 * GROW]


def test_the_share_never_falls_to_nothing() -> None:
    """Otherwise nothing would end, and no memory be given back."""
    assert shares([FULL] * 50)[-1] == LEAST_SHARE > 0


def test_the_share_never_grows_above_all() -> None:
    assert shares([FULL, *[EMPTY] * 50])[-1] == 1.0


def test_a_sample_says_whether_the_share_has_changed() -> None:
    throttle = MemoryThrottle(LIMIT)
    samples = [EMPTY, FULL, BETWEEN, EMPTY]
    assert [throttle.sample(used) for used in samples] == [False, True, False, True]


def test_a_share_at_its_least_has_not_changed() -> None:
    throttle = MemoryThrottle(LIMIT)
    assert [throttle.sample(FULL) for _ in range(50)][-1] is False


@given(st.lists(st.integers(0, 2 * LIMIT)))
def test_the_share_stays_within_its_bounds_whatever_is_sampled(samples: list[int]) -> None:
    assert all(LEAST_SHARE <= share <= 1 for share in shares(samples))


@given(st.lists(st.integers(0, 2 * LIMIT)))
def test_all_is_allowed_again_soon_after_memory_is_free(samples: list[int]) -> None:
    assert shares([*samples, *[EMPTY] * 16])[-1] == 1.0
