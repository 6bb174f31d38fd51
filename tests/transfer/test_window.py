"""How many bytes are on their way: many where they leave, few where they queue."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from _uploader.transfer.window import (
    DELAY,
    FIRST_BYTES,
    GROWTH,
    LEAST_BYTES,
    PROMPT,
    RATE_SECONDS,
    SOCKET_BYTES,
    SendWindow,
)

KIB = 1024
SIZE = 64 * KIB
STEP = 0.5
"""Seconds between two samples."""


@pytest.fixture
def window() -> SendWindow:
    return SendWindow()


def fill(window: SendWindow, size: int = SIZE) -> int:
    """Begins as many requests as there is room for."""
    begun = 0
    while window.begin(size):
        begun += 1
    return begun


def answer_all(window: SendWindow, seconds: float, size: int = SIZE) -> None:
    """Each request under way is answered, and another begins if it may."""
    for _ in range(window.in_flight // size):
        window.end(size, seconds)
        window.begin(size)


def sample(
    window: SendWindow, rate: float, queued: float, seconds: float = RATE_SECONDS, since: float = 0
) -> None:
    """The link carries ``rate`` while ``queued`` bytes are waiting."""
    for tick in range(int(seconds / STEP) + 1):
        now = since + tick * STEP
        window.sample(now, int(now * rate), int(queued))


# What may begin


def test_as_many_begin_as_the_window_holds(window: SendWindow) -> None:
    assert fill(window) == FIRST_BYTES // SIZE
    assert window.in_flight == window.bytes


def test_memory_bounds_what_is_in_flight() -> None:
    window = SendWindow(3 * SIZE)
    for _ in range(5):
        assert fill(window) == 3
        for _ in range(3):
            window.end(SIZE, 0.001)
    fill(window)
    sample(window, rate=2**30, queued=0)
    assert window.bytes == 3 * SIZE


def test_what_ends_makes_room(window: SendWindow) -> None:
    fill(window)
    window.end(SIZE, None)
    assert fill(window) == 1


def test_a_single_request_may_always_begin(window: SendWindow) -> None:
    window.bytes = 1
    assert fill(window, 10 * SIZE) == 1


def test_a_long_body_counts_for_what_its_socket_holds(window: SendWindow) -> None:
    begun = fill(window, 2**33)
    assert begun == FIRST_BYTES // SOCKET_BYTES
    for _ in range(begun):
        window.end(2**33, None)
    assert window.in_flight == 0


def test_empty_requests_are_never_held_up(window: SendWindow) -> None:
    fill(window)
    assert window.begin(0)


# Growth


def test_prompt_answers_double_it_in_a_round(window: SendWindow) -> None:
    fill(window)
    answer_all(window, 0.1)
    assert window.bytes == 2 * FIRST_BYTES


@pytest.mark.parametrize("seconds", [PROMPT, 5.0])
def test_answers_that_took_long_do_not(window: SendWindow, seconds: float) -> None:
    fill(window)
    answer_all(window, seconds)
    assert window.bytes == FIRST_BYTES


def test_a_long_body_may_take_longer(window: SendWindow) -> None:
    size = 16 * SOCKET_BYTES
    fill(window, size)
    window.end(size, 15 * PROMPT)
    assert window.bytes == FIRST_BYTES + SOCKET_BYTES


def test_room_that_is_not_used_does_not_grow(window: SendWindow) -> None:
    for _ in range(1000):
        window.begin(SIZE)
        window.end(SIZE, 0.001)
        window.sample(1.0, 10**9, 0)
    assert window.bytes == FIRST_BYTES


def test_it_doubles_while_the_sockets_are_empty(window: SendWindow) -> None:
    """A service that takes 3 s for each small request."""
    for doublings in range(1, 4):
        fill(window)
        window.sample(doublings * STEP, 0, 0)
        assert window.bytes == GROWTH**doublings * FIRST_BYTES


def test_the_rest_of_many_bodies_is_a_queue_like_any_other(window: SendWindow) -> None:
    """When the link slowed down in the middle of them."""
    fill(window)
    rate = window.in_flight / 20
    sample(window, rate, window.in_flight / 8)
    assert window.bytes <= FIRST_BYTES


def test_it_doubles_while_the_link_carries_the_queue_in_half_the_delay(window: SendWindow) -> None:
    fill(window)
    rate = 10 * window.in_flight
    window.sample(0.0, 0, window.in_flight)
    window.sample(0.5, rate // 2, window.in_flight)
    assert window.bytes == GROWTH * FIRST_BYTES


def test_bodies_that_end_together_leave_the_sockets_empty_for_a_moment_only(
    window: SendWindow,
) -> None:
    fill(window)
    rate = FIRST_BYTES / DELAY / 1.5
    sample(window, rate, FIRST_BYTES, seconds=1.0)
    before = window.bytes
    sample(window, rate, 0, seconds=STEP, since=1.5)
    assert window.bytes == before


# The queue


@pytest.mark.parametrize("rate", [50_000, 125_000, 250_000])
def test_it_shrinks_to_what_the_link_carries_in_the_delay(window: SendWindow, rate: int) -> None:
    fill(window)
    sample(window, rate, window.in_flight)
    assert window.bytes == pytest.approx(rate * DELAY, rel=0.01)


def test_sockets_that_hold_more_than_was_counted_shrink_it_further(window: SendWindow) -> None:
    """The kernel takes up to 4 MiB of a long body."""
    fill(window, 2**33)
    sample(window, 250_000, 4 * window.in_flight)
    assert window.bytes == pytest.approx(250_000 * DELAY / 4, rel=0.01)


def test_a_rate_is_not_judged_by_its_first_moments(window: SendWindow) -> None:
    """A connection needs a few round trips to find its speed."""
    fill(window)
    sample(window, 1000, window.in_flight, seconds=1.0)
    assert window.bytes == FIRST_BYTES


def test_it_does_not_shrink_below_its_least(window: SendWindow) -> None:
    fill(window)
    sample(window, 10, window.in_flight)
    assert window.bytes == LEAST_BYTES


def test_between_half_the_delay_and_the_delay_it_stays(window: SendWindow) -> None:
    fill(window)
    sample(window, window.in_flight / DELAY / 0.75, window.in_flight, seconds=10)
    assert window.bytes == FIRST_BYTES


def test_an_outage_leaves_it_alone(window: SendWindow) -> None:
    """Nothing leaves, and that is not the link's rate."""
    fill(window)
    for tick in range(100):
        window.sample(tick * STEP, 0, window.in_flight)
    assert window.bytes == FIRST_BYTES


def test_one_more_may_begin_before_the_link_has_nothing_to_do(window: SendWindow) -> None:
    """Else a link that carries one request at a time would be idle for each answer."""
    fill(window)
    sample(window, 100_000, window.in_flight)
    assert not window.begin(SIZE)
    window.sample(RATE_SECONDS + STEP, int(100_000 * (RATE_SECONDS + STEP)), 40_000)
    assert window.begin(SIZE)
    assert not window.begin(SIZE)


# With a limit of the rate


def test_no_more_begin_than_the_limit_carries_while_the_sockets_are_empty(
    window: SendWindow,
) -> None:
    rate = 100_000
    window.pace(rate)
    fill(window)
    for tick in range(100):
        window.sample(tick * STEP, int(tick * STEP * rate), 0)
        answer_all(window, PROMPT / 2)
        fill(window)
    assert window.in_flight <= rate * DELAY


def test_with_a_higher_limit_more_begin(window: SendWindow) -> None:
    for rate in (1e5, 1e7):
        window.pace(rate)
        for tick in range(20):
            fill(window)
            window.sample(tick * STEP, int(tick * STEP * rate), 0)
        assert rate * DELAY / 2 <= window.in_flight <= rate * DELAY


def test_a_limit_allows_no_more_than_memory_does() -> None:
    window = SendWindow(most=3 * SIZE)
    window.pace(1e9)
    assert fill(window) == 3
    window.pace(math.inf)
    assert not window.begin(SIZE)


@pytest.mark.parametrize("rate", [LEAST_BYTES / DELAY / 2, 0.7 * SOCKET_BYTES])
def test_two_parts_overlap_at_a_low_limit(window: SendWindow, rate: float) -> None:
    """Else nothing is sent while the first one's answer is awaited."""
    window.pace(rate)
    part = 8 * 2**20
    assert window.begin(part)
    for tick in range(100):
        window.sample(tick * STEP, int(tick * STEP * rate), 0)
        window.begin(part)
    assert window.in_flight == 2 * SOCKET_BYTES


def test_two_samples_of_one_moment_are_no_rate(window: SendWindow) -> None:
    fill(window)
    window.sample(1.0, 0, window.in_flight)
    window.sample(1.0, 10**6, window.in_flight)
    assert window.bytes == FIRST_BYTES


STEPS = st.tuples(
    st.floats(0.0, 5.0), st.integers(0, 10**8), st.integers(0, 10**8), st.integers(0, 10**7)
)


@settings(max_examples=200, deadline=None)
@given(st.lists(STEPS, max_size=30))
def test_whatever_happens_one_request_may_begin_and_no_growth_is_unbounded(
    steps: list[tuple[float, int, int, int]],
) -> None:
    window, now, left = SendWindow(), 0.0, 0
    for passed, moved, queued, size in steps:
        now, left = now + passed, left + moved
        window.begin(size)
        window.sample(now, left, queued)
        window.end(size, passed)
        assert LEAST_BYTES <= window.bytes <= max(FIRST_BYTES, 2 * GROWTH * SOCKET_BYTES)
        assert window.in_flight == 0
        assert window.begin(size)
        window.end(size, None)
