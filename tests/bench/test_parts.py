"""Trees, ratios and targets."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import run
from bench.data import Tree, make
from bench.results import Outcome, Run, judge
from bench.scenarios import SCENARIOS


def test_mixed_sizes_are_what_the_scenario_says() -> None:
    tree = SCENARIOS["mixed"].trees["files"]
    sizes = sorted(tree.sizes())
    assert len(sizes) == 10_000
    assert sizes[5_000] == pytest.approx(32 * 1024, rel=0.01)
    assert sizes[-1] == 256 * 2**20
    assert tree.total == pytest.approx(3e9, rel=0.005)
    assert list(tree.files()) == list(tree.files())


def test_the_last_file_may_have_another_size() -> None:
    tree = SCENARIOS["slow-link-1"].trees["files"]
    assert (tree.count, tree.total) == (161, 160 * 250_000 + 60_000_000)
    half = tree.scaled(0.5)
    assert [size for _, size in half.files()] == [250_000] * 79 + [30_000_000]


def test_files_are_made_of_real_bytes(tmp_path: Path) -> None:
    tree = Tree(count=5, size=9 << 20, folders=2)
    make(tree, tmp_path / "files")
    for name, size in tree.files():
        status = (tmp_path / "files" / name).stat()
        assert status.st_size == size
        assert status.st_blocks * 512 >= size
    assert len({path.read_bytes()[:64] for path in (tmp_path / "files").rglob("*.bin")}) == 5


def outcome(label: str, *walls: float) -> Outcome:
    rounds = [Run(wall, 1.0, 0.0, 0.0, 1000, 1000, None, None, 0) for wall in walls]
    return Outcome(label, label, rounds=rounds)


def test_ratios_are_taken_round_by_round() -> None:
    found = {"ours": outcome("ours", 1, 2, 4), "s5cmd": outcome("s5cmd", 4, 4, 20)}
    first, *_ = judge(SCENARIOS["small-http"], found)
    assert (first.least, first.median, first.most) == (2.0, 4.0, 5.0)
    assert first.met


def test_a_failed_peer_is_not_compared_with() -> None:
    found = {"ours": outcome("ours", 1), "s5cmd": outcome("s5cmd", 9)}
    found["s5cmd"].problem = "exit code 1"
    assert list(judge(SCENARIOS["small-http"], found)) == []


def test_every_target_names_a_contender_and_every_contender_a_tree() -> None:
    for scenario in SCENARIOS.values():
        labels = {contender.label for contender in scenario.contenders}
        for target in scenario.targets:
            other = getattr(target, "peer", "") or getattr(target, "above", "") or target.label
            assert {target.label, other} <= labels
        for contender in scenario.contenders:
            assert contender.tree in scenario.trees
            assert contender.client in run.CLIENTS
