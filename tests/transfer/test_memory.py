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
    MIB,
    MOST_RESERVE,
    SHRINK,
    WORKER_MEMORY,
    MemoryThrottle,
    Room,
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
    assert shares([FULL, EMPTY, EMPTY]) == [SHRINK, SHRINK * GROW, SHRINK * GROW * GROW]


def test_the_share_never_falls_to_nothing() -> None:
    """Otherwise nothing would end, and no memory be given back."""
    assert shares([FULL] * 50)[-1] == LEAST_SHARE > 0


def test_the_share_never_grows_above_all() -> None:
    assert shares([FULL, *[EMPTY] * 50])[-1] == 1.0


def test_a_step_of_growth_never_leads_above_the_high_mark() -> None:
    """Even where all memory is that of requests: so nothing swings."""
    assert LOW * GROW < HIGH


RECORDED = [
    *(24, 34, 46, 46, 46, 50, 52, 53, 53, 54, 54, 54, 54, 54, 54, 54, 54, 54),
    *(55, 55, 55, 55, 55, 55, 55, 55, 55, 55, 55, 55, 55, 55, 55),
]
"""MiB in use by a run with the least memory, twice a second."""


def test_an_ordinary_run_at_the_floor_is_not_held_up() -> None:
    throttle = MemoryThrottle(FLOOR)
    assert not any(throttle.sample(used * MIB) for used in RECORDED)


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
    """Within 22 seconds, of two samples each."""
    assert shares([*samples, *[EMPTY] * 44])[-1] == 1.0


# Memory that others use, too

GIB = 2**30


def room(left: float, total: int = 8 * GIB, where: str = "machine") -> Room:
    """So many times the reserve are left."""
    return Room(where, int(left * Room(where, 0, total).reserve), total)


def held(*samples: list[Room]) -> list[float]:
    """The share after each of these samples, with little in use by the run."""
    throttle = MemoryThrottle(LIMIT)
    taken = []
    for rooms in samples:
        throttle.sample(EMPTY, rooms)
        taken.append(throttle.share)
    return taken


@pytest.mark.parametrize(
    ("total", "reserve"), [(GIB, GIB // 20), (8 * GIB, 8 * GIB // 20), (64 * GIB, MOST_RESERVE)]
)
def test_others_should_find_a_part_free_but_not_a_large_one(total: int, reserve: int) -> None:
    assert Room("machine", 0, total).reserve == pytest.approx(reserve)


def test_where_others_leave_too_little_the_share_shrinks() -> None:
    assert held([room(0.9)], [room(0.5)]) == [SHRINK, SHRINK * SHRINK]


def test_it_grows_back_when_enough_is_left_and_not_before() -> None:
    assert held([room(0.9)], [room(1.1)], [room(1.4)], [room(1.6)]) == [
        *(SHRINK, SHRINK, SHRINK),
        SHRINK * GROW,
    ]


def test_the_tightest_room_counts() -> None:
    tight = room(0.9, GIB, "cgroup")
    assert held([room(5), tight], [tight, room(5)], [room(5), room(5, GIB, "cgroup")])[:2] == [
        SHRINK,
        SHRINK * SHRINK,
    ]


def test_the_own_limit_holds_wherever_much_is_left() -> None:
    throttle = MemoryThrottle(LIMIT)
    throttle.sample(FULL, [room(10)])
    assert throttle.share == SHRINK


def test_the_reason_says_whose_memory_it_is() -> None:
    throttle = MemoryThrottle(256 * MIB)
    reasons = []
    for used, rooms in [
        (251, [Room("machine", 9 * GIB, 16 * GIB)]),
        (200, [Room("machine", 8 * GIB, 16 * GIB)]),
        (100, [Room("machine", 8 * GIB, 16 * GIB), Room("cgroup", 10 * MIB, GIB)]),
        (100, [Room("machine", 8 * GIB, 16 * GIB), Room("cgroup", 90 * MIB, GIB)]),
        (100, [Room("machine", 300 * MIB, 16 * GIB)]),
    ]:
        assert throttle.sample(used * MIB, rooms)
        reasons.append(throttle.reason)
    assert reasons == [
        "memory: 251 of 256 MiB",
        "memory: 200 of 256 MiB",
        "memory of the cgroup: 10 MiB left",
        "memory of the cgroup: 90 MiB left",
        "memory of the machine: 300 MiB left",
    ]


def test_at_the_floor_it_comes_back_though_the_processes_alone_are_above_the_low_mark() -> None:
    throttle = MemoryThrottle(FLOOR, LEAST_BODIES)
    alone = int(LOW * FLOOR) + 2 * MIB
    throttle.sample(FLOOR)
    for _ in range(20):
        throttle.sample(alone)
    assert throttle.share == 1
