"""Somebody else on the machine, and what they notice."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from bench import neighbour
from bench.results import Neighbour
from tests.bench.tiny import measured


def test_the_other_program_works_alone_and_then_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbour, "WORK", "print(1.5)")
    seen = Neighbour()
    with neighbour.computing(seen, lambda: True):
        while seen.slower is None:
            time.sleep(neighbour.POLL)
    assert seen.slower == 0


def test_a_client_that_ends_before_the_other_program_gives_no_figure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(neighbour, "WORK", "print(1.5)")
    seen = Neighbour()
    with neighbour.computing(seen, lambda: False):
        pass
    assert seen.slower is None


def test_the_pages_of_the_other_file_are_counted_before_and_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if reason := neighbour.no_groups():
        pytest.skip(reason)
    monkeypatch.setattr(neighbour, "FILE_SIZE", 2**22)
    seen = Neighbour()
    with neighbour.caching(seen) as enter:
        assert enter
    assert (seen.cached_before, seen.cached_after) == (1, 1)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor only")
def test_the_cpu_that_was_taken_is_told_beside_what_was_asked(
    tmp_path: Path, temporary: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (scenario,) = measured(capsys, tmp_path / "out.json", "neighbour-max-cpu-small")
    assert [c["medians"]["CPU %"] > 0 for c in scenario["clients"]] == [True] * 3  # type: ignore[attr-defined]
    assert "CPU %, ours, 25%" in capsys.readouterr().out
    assert os.listdir(temporary) == []


STEADY = [(second / 10, second * 10) for second in range(100)]
"""100 bytes a second for 10 seconds."""


def test_a_steady_rate_is_the_same_at_all_times() -> None:
    assert neighbour.rates_of(STEADY) == pytest.approx((100, 100, 100))


def test_a_burst_shows_in_the_two_seconds_around_it_and_not_in_the_first_second() -> None:
    late = [(moment, sent + 50 * (moment >= 5)) for moment, sent in STEADY]
    whole, least, most = neighbour.rates_of(late) or (0, 0, 0)
    assert (least, most) == pytest.approx((100, 125))
    assert 100 < whole < 110
    early = [(moment, sent + 50 * (moment >= 0.5)) for moment, sent in STEADY]
    assert neighbour.rates_of(early) == pytest.approx((100, 100, 100))


def test_too_short_a_run_has_no_rate() -> None:
    assert neighbour.rates_of(STEADY[:30]) is None
    assert neighbour.rates_of([(0.0, 0), (9.0, 0)]) is None


def test_what_was_sent_is_told_beside_what_was_asked(
    tmp_path: Path, temporary: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (scenario,) = measured(capsys, tmp_path / "out.json", "neighbour-rate-large")
    assert [client["title"] for client in scenario["clients"]] == ["ours, 20M", "ours, 50M"]  # type: ignore[attr-defined]
    assert "rate %" in capsys.readouterr().out
