"""Bad networks, slow disks, cold caches."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from bench import run
from bench.network import Network
from bench.scenarios import SCENARIOS
from bench.slowdisk import SlowDisk
from tests.bench.tiny import measured
from tests.servers import require

ROUGH = [
    *("slow-link-5", "outage-refuse-5", "outage-silence-5", "flaky"),
    *("wan-small", "wan-large"),
]


@pytest.mark.parametrize("name", ROUGH)
def test_a_bad_network_is_told_in_figures(
    name: str, tmp_path: Path, temporary: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require(Network)
    (scenario,) = measured(capsys, tmp_path / "out.json", name, "--clients", "ours")
    ours, *_ = scenario["clients"]  # type: ignore[misc]
    assert not ours["problem"]
    medians = ours["medians"]
    assert (medians["failed files"], medians["exit code"]) == (0, 0)
    assert medians["peak PSS MB"] > 1
    if SCENARIOS[name].link:
        assert 0 < medians["link %"] < 100
        assert medians["sent x"] > 1
    # So little work is done before the outage begins.
    assert medians["resumed s"] is None
    assert "failed files" in capsys.readouterr().out
    assert os.listdir(temporary) == []


def test_failed_files_are_a_figure_where_the_network_is_bad(
    tmp_path: Path,
    temporary: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One of 20 files arrives, and the exit code tells."""
    put = 'import http.client,os,sys; c=http.client.HTTPConnection(os.environ["AWS_ENDPOINT_URL"]'
    put += '[7:]); c.request("PUT","/calm/key",bytes(4096)); c.getresponse(); sys.exit(1)'
    poor = run.CLIENTS["old"].__class__("ours", lambda _: [sys.executable, "-c", put], lambda: "0")
    monkeypatch.setattr(run, "CLIENTS", {**run.CLIENTS, "ours": poor})
    (scenario,) = measured(capsys, tmp_path / "out.json", "flaky", "--clients", "ours")
    medians = scenario["clients"][0]["medians"]  # type: ignore[index]
    assert (medians["failed files"], medians["exit code"]) == (19, 1)
    none_failed, exit_code, *_ = scenario["targets"]  # type: ignore[misc]
    assert (none_failed["met"], exit_code["met"]) == (False, False)


def test_files_from_a_slow_disk(
    tmp_path: Path, temporary: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if reason := SlowDisk.missing():
        pytest.skip(reason)
    (scenario,) = measured(capsys, tmp_path / "out.json", "slow-disk-2", "--clients", "ours")
    (ours,) = scenario["clients"]  # type: ignore[misc]
    assert ours["medians"]["objects/s"] > 0
    assert os.listdir(temporary) == []


def test_files_from_a_cold_disk(
    tmp_path: Path,
    temporary: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The cache is emptied before each run, and what fills it again is not counted."""
    emptied = tmp_path / "drop_caches"
    emptied.touch()
    monkeypatch.setattr(run, "PAGE_CACHE", emptied)
    monkeypatch.setattr(run, "ON_DISK", temporary)
    (scenario,) = measured(capsys, tmp_path / "out.json", "cold-disk-small", "--clients", "ours")
    (ours,) = scenario["clients"]  # type: ignore[misc]
    assert ours["rounds"][0]["objects"] == 20
    assert emptied.read_text() == "3\n"
    assert os.listdir(temporary) == []
