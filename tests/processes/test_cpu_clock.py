"""What a process that works, waits, or sleeps is taken to want."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from _uploader.processes import cpu_clock as demand
from _uploader.processes.cpu_clock import demand_clock


def work(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_work_counts() -> None:
    clock = demand_clock()
    before = clock()
    work(0.1)
    assert clock() - before >= 0.09


def test_sleep_does_not() -> None:
    clock = demand_clock()
    before = clock()
    time.sleep(0.3)
    assert clock() - before < 0.2


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
