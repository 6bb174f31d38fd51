"""What a process that works or waits is taken to want."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from _uploader.processes import cpu_clock as demand
from _uploader.processes.cpu_clock import demand_clock


def wanted() -> float:
    """What the system says of this thread: seconds it ran, and seconds it waited for a CPU."""
    ran, waited, _ = Path("/proc/thread-self/schedstat").read_text().split()
    return (int(ran) + int(waited)) / 1e9


def test_it_tells_the_time_that_the_thread_ran_or_waited_for_a_processor() -> None:
    clock = demand_clock()
    before = wanted()
    now = clock()
    assert before <= now <= wanted()


def test_work_counts() -> None:
    clock = demand_clock()
    before = clock()
    assert any(clock() > before for _ in range(1_000_000))


@pytest.mark.parametrize("content", [None, "0 0 0\n"])
def test_where_the_system_tells_nothing_the_time_that_was_used_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    file = tmp_path / "schedstat"
    if content:
        file.write_text(content)
    monkeypatch.setattr(demand, "_SCHEDSTAT", str(file))
    assert demand_clock() is time.process_time


def test_waiting_for_a_processor_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "schedstat"
    file.write_text("1500000000 500000000 7\n")
    monkeypatch.setattr(demand, "_SCHEDSTAT", str(file))
    assert demand_clock()() == 2.0
