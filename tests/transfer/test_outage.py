"""Whether a request has failed by itself or with the service."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _uploader.transfer.outage import (
    FIRST_PAUSE,
    LONGEST_AFTER,
    LONGEST_PAUSE,
    PAUSE_SHARE,
    ServiceHealth,
)


@pytest.fixture
def health() -> ServiceHealth:
    """A service that answered at 10."""
    made = ServiceHealth()
    made.answered(10.0)
    return made


def probe_in_vain(health: ServiceHealth, probes: int) -> list[float]:
    """When each of so many probes was sent."""
    times = []
    for _ in range(probes):
        times.append(health.next_probe)
        health.probed(health.next_probe)
    return times


# Whose failure it is


@pytest.mark.parametrize("since", [5.0, 10.0])
def test_a_request_that_fails_while_others_are_answered_has_failed_itself(
    health: ServiceHealth, since: float
) -> None:
    assert health.failed(since, now=11.0)
    assert health.began is None


def test_a_request_that_fails_after_nothing_was_answered_since_it_began_begins_an_outage(
    health: ServiceHealth,
) -> None:
    assert not health.failed(since=10.1, now=11.0)
    assert health.began == 11.0


def test_before_the_first_answer_every_failure_is_the_services() -> None:
    assert not ServiceHealth().failed(since=0.0, now=1.0)


def test_failures_in_an_outage_count_for_no_request(health: ServiceHealth) -> None:
    """Not even of those that began before it, when others were answered."""
    health.failed(since=10.1, now=11.0)
    assert not health.failed(since=5.0, now=12.0)
    assert health.began == 11.0


def test_an_answer_ends_the_outage(health: ServiceHealth) -> None:
    health.failed(since=10.1, now=11.0)
    health.answered(12.0)
    assert health.began is None
    assert health.answered_at == 12.0
    assert health.failed(since=11.5, now=13.0)


def test_silence_begins_an_outage_when_it_began_itself(health: ServiceHealth) -> None:
    health.silent(since=12.0, now=17.0)
    assert health.began == 12.0
    assert health.next_probe == 17.0 + FIRST_PAUSE


def test_silence_in_an_outage_changes_nothing(health: ServiceHealth) -> None:
    health.failed(since=10.1, now=11.0)
    probe_in_vain(health, 3)
    before = health.next_probe
    health.silent(since=11.0, now=16.0)
    assert (health.began, health.next_probe) == (11.0, before)


# False alarms


def test_an_outage_whose_first_probe_is_answered_was_a_false_alarm(health: ServiceHealth) -> None:
    health.failed(since=10.1, now=11.0)
    health.answered(11.1)
    assert health.false_alarm


def test_an_outage_with_a_probe_in_vain_was_none(health: ServiceHealth) -> None:
    health.failed(since=10.1, now=11.0)
    health.probed(11.1)
    health.answered(11.3)
    assert not health.false_alarm


def test_each_outage_is_judged_by_itself(health: ServiceHealth) -> None:
    health.failed(since=10.1, now=11.0)
    health.probed(11.1)
    health.answered(11.3)
    health.failed(since=12.0, now=13.0)
    assert health.false_alarm


# Probes


def test_the_first_probe_comes_at_once_and_the_next_at_doubled_distances(
    health: ServiceHealth,
) -> None:
    health.failed(since=10.1, now=11.0)
    first, second, third = probe_in_vain(health, 3)
    assert first == pytest.approx(11.0 + FIRST_PAUSE)
    assert second - first == pytest.approx(2 * FIRST_PAUSE)
    assert third - second == pytest.approx(4 * FIRST_PAUSE)


def test_in_the_first_minute_a_return_is_noticed_soon(health: ServiceHealth) -> None:
    health.failed(since=10.1, now=11.0)
    times = [time for time in probe_in_vain(health, 100) if time < 11.0 + 60.0]
    pauses = [after - before for before, after in zip(times, times[1:], strict=False)]
    assert max(pauses) == pytest.approx(LONGEST_PAUSE)


def test_a_long_outage_is_asked_for_at_a_share_of_its_length(health: ServiceHealth) -> None:
    health.failed(since=10.1, now=11.0)
    before, after = 0.0, 0.0
    while after < 11.0 + 3600:
        (before, after) = after, probe_in_vain(health, 1)[0]
    assert after - before == pytest.approx(PAUSE_SHARE * 3600, rel=0.05)


def test_the_next_outage_is_probed_at_short_distances_again(health: ServiceHealth) -> None:
    health.failed(since=10.1, now=11.0)
    probe_in_vain(health, 50)
    now = health.next_probe
    health.answered(now)
    health.failed(since=now + 0.1, now=now + 1)
    first, second = probe_in_vain(health, 2)
    assert second - first == pytest.approx(2 * FIRST_PAUSE)


def test_a_probe_that_ends_after_the_outage_plans_none(health: ServiceHealth) -> None:
    health.failed(since=10.1, now=11.0)
    planned = health.next_probe
    health.answered(12.0)
    health.probed(15.0)
    assert (health.began, health.next_probe) == (None, planned)


# A service that asks to be left alone


def test_a_pause_that_the_service_asks_for_is_kept(health: ServiceHealth) -> None:
    health.failed(since=10.1, now=11.0, after=7.0)
    assert health.next_probe == 18.0


def test_the_longest_pause_asked_for_counts(health: ServiceHealth) -> None:
    health.failed(since=10.1, now=11.0, after=7.0)
    health.failed(since=10.1, now=11.5, after=2.0)
    assert health.next_probe == 18.0


def test_a_service_that_asks_for_an_hour_is_asked_sooner(health: ServiceHealth) -> None:
    health.failed(since=10.1, now=11.0, after=3600.0)
    assert health.next_probe == 11.0 + LONGEST_AFTER


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["answered", "failed", "silent", "probed"]),
            st.floats(0, 100),
            st.none() | st.floats(0, 1e6),
        )
    )
)
def test_in_an_outage_the_next_probe_is_never_far(
    events: list[tuple[str, float, float | None]],
) -> None:
    health, now = ServiceHealth(), 0.0
    for event, passed, after in events:
        since, now = now, now + passed
        if event == "answered":
            health.answered(now)
        elif event == "failed":
            health.failed(since, now, after)
        elif event == "silent":
            health.silent(since, now)
        else:
            health.probed(now)
        if health.began is not None:
            longest = max(LONGEST_AFTER, LONGEST_PAUSE, (now - health.began) * PAUSE_SHARE)
            assert health.began <= now
            assert health.next_probe <= now + longest
