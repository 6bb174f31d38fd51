"""A request is sent again only when that can help, and not before the service wants it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _uploader.transfer.retry import (
    FIRST_DELAY,
    FIRST_DELAY_THROTTLED,
    LONGEST_DELAY,
    LONGEST_RETRY_AFTER,
    RetryPolicy,
)
from providers.errors import (
    Denied,
    Failure,
    Fatal,
    NotFound,
    Rejected,
    SourceChanged,
    StaleConnection,
    Throttled,
    Transient,
)

ALMOST_ONE = 1 - 2**-53
fractions = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize("kind", [Failure, Rejected, Denied, NotFound, SourceChanged, Fatal])
def test_a_failure_that_stays_is_not_tried_again(kind: type[Failure]) -> None:
    assert RetryPolicy(5).delay(kind("no"), 0, 0.5) is None


@pytest.mark.parametrize("kind", [Transient, Throttled, StaleConnection])
def test_a_failure_that_passes_is_tried_again(kind: type[Failure]) -> None:
    assert RetryPolicy(5).delay(kind("busy"), 0, 0.5) is not None


def test_there_are_as_many_attempts_after_the_first_as_retries() -> None:
    delays = [RetryPolicy(2).delay(Transient("busy"), attempt, 0.5) for attempt in range(4)]
    assert [delay is not None for delay in delays] == [True, True, False, False]


def test_no_retries_means_one_attempt() -> None:
    assert RetryPolicy(0).delay(Transient("busy"), 0, 0.5) is None


def test_a_service_that_asks_for_a_pause_gets_no_attempt_beyond_the_retries() -> None:
    assert RetryPolicy(1).delay(Throttled("busy", after=1), 1, 0.5) is None


def test_the_longest_delay_doubles_with_each_attempt() -> None:
    policy = RetryPolicy(100)
    delays = [policy.delay(Transient("busy"), attempt, 0.5) for attempt in range(4)]
    assert delays == pytest.approx([0.5 * FIRST_DELAY * factor for factor in (1, 2, 4, 8)])


def test_jitter_reaches_down_to_nothing() -> None:
    """Full jitter: contenders spread over the whole interval."""
    assert RetryPolicy(9).delay(Transient("busy"), 5, 0.0) == 0


@given(st.integers(0, 10**6), fractions)
def test_a_delay_of_ours_stays_below_its_limit(attempt: int, random: float) -> None:
    delay = RetryPolicy(10**6 + 1).delay(Transient("busy"), attempt, random)
    assert delay is not None
    assert 0 <= delay < LONGEST_DELAY


def test_a_delay_that_the_service_asked_for_is_kept_and_the_jitter_added() -> None:
    delay = RetryPolicy(5).delay(Throttled("busy", after=7), 0, 0.5)
    assert delay == pytest.approx(7 + 0.5 * FIRST_DELAY_THROTTLED)


def test_a_service_that_asks_for_an_hour_is_asked_again_sooner() -> None:
    delay = RetryPolicy(5).delay(Throttled("busy", after=3600), 0, 0.0)
    assert delay == LONGEST_RETRY_AFTER


@given(st.floats(0, 10**6), st.integers(0, 100), fractions)
def test_no_delay_is_shorter_than_asked_for_or_longer_than_both_limits(
    after: float, attempt: int, random: float
) -> None:
    delay = RetryPolicy(200).delay(Throttled("busy", after=after), attempt, random)
    assert delay is not None
    assert min(after, LONGEST_RETRY_AFTER) <= delay <= LONGEST_RETRY_AFTER + LONGEST_DELAY


def test_the_same_question_gets_the_same_answer() -> None:
    """The policy keeps no state: files do not pay for each other's failures."""
    policy = RetryPolicy(5)
    assert {policy.delay(Transient("busy"), 3, ALMOST_ONE) for _ in range(10)} == {
        ALMOST_ONE * FIRST_DELAY * 8
    }
