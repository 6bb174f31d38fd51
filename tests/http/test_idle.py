"""When a connection is given up, as a function of what was seen."""

from __future__ import annotations

import pytest

from providers.http.idle import LONGEST_INTERVAL, IdleLimit


def looks_until_reached(limit: IdleLimit, acknowledged: int, received: int) -> int:
    for number in range(1, 1000):
        limit.look(acknowledged, received, waiting=True)
        if limit.reached:
            return number
    pytest.fail("never given up")


@pytest.mark.parametrize("seconds", [0.3, 1.0, 7.0, 20.0, 21.0, 60.0, 601.0])
def test_silence_is_borne_for_the_given_time_and_an_interval_at_most(seconds: float) -> None:
    limit = IdleLimit(seconds)
    assert 0 < limit.interval <= LONGEST_INTERVAL
    borne = looks_until_reached(limit, 0, 0) * limit.interval
    assert seconds * 0.999 <= borne <= seconds + limit.interval


@pytest.mark.parametrize("step", [(1, 0), (0, 1)], ids=["acknowledged", "received"])
def test_a_byte_in_either_direction_is_progress(step: tuple[int, int]) -> None:
    limit = IdleLimit(1.0)
    for number in range(1, 100):
        assert limit.look(number * step[0], number * step[1], waiting=True)
        assert not limit.reached


def test_silence_counts_from_the_last_progress() -> None:
    limit = IdleLimit(1.0)
    looks = looks_until_reached(limit, 0, 0)
    limit = IdleLimit(1.0)
    for _ in range(looks - 1):
        assert not limit.look(0, 0, waiting=True)
    limit.look(1, 0, waiting=True)
    assert looks_until_reached(limit, 1, 0) == looks


def test_time_in_which_nobody_waits_does_not_count() -> None:
    limit = IdleLimit(1.0)
    for _ in range(100):
        assert not limit.look(0, 0, waiting=False)
        assert not limit.reached
