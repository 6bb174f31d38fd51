"""All contenders upload everything, and are measured."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench import run
from bench.scenarios import SCENARIOS
from tests.bench.tiny import KEYS, measured, once, peers
from tests.conftest import REPO
from tests.servers.moto import Moto


@pytest.mark.parametrize("name", ["small-tls", "large-http", "mixed"])
def test_all_contenders_upload_everything(
    name: str,
    tmp_path: Path,
    temporary: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    peers("s5cmd", "obstore")
    once(monkeypatch, "large-http", "mixed")  # the first one tries all that there is to try
    (scenario,) = measured(capsys, tmp_path / "out.json", name)
    tree = SCENARIOS[name].trees["files"].scaled(0.001)
    for client in scenario["clients"]:  # type: ignore[attr-defined]
        assert not client["problem"]
        (only,) = client["rounds"]
        assert (only["objects"], only["bytes"]) == (tree.count, tree.total)
        assert only["user"] + only["system"] > 0
        if client["title"].startswith("ours"):  # the others may end before the first sample
            assert client["medians"]["peak PSS MB"] > 1
    printed = capsys.readouterr().out
    assert "ours : s5cmd" in printed
    assert "at least" in printed
    assert os.listdir(temporary) == []


def test_what_is_in_the_bucket_is_compared(
    tmp_path: Path, temporary: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And what has changed since is sent, by everybody."""
    peers("s5cmd", "rclone")
    names = ("sync-few", "verify-small", "verify-large")
    for scenario in measured(capsys, tmp_path / "out.json", *names):
        for client in scenario["clients"]:  # type: ignore[attr-defined]
            assert not client["problem"]
            (only,) = client["rounds"]
            assert only["objects"] == (scenario["name"] == "sync-few")
    assert os.listdir(temporary) == []


def test_the_seed_against_the_old_way(
    tmp_path: Path,
    temporary: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    once(monkeypatch, "seed", "one-file")
    arguments = ("seed", "one-file", "--clients", "ours,old")
    seed, one = measured(capsys, tmp_path / "out.json", *arguments)
    for client in seed["clients"]:  # type: ignore[attr-defined]
        assert client["medians"]["example s"] > 0.15
    names = [client["title"] for client in one["clients"]]  # type: ignore[attr-defined]
    assert names == ["ours", "ours --help"]
    assert os.listdir(temporary) == []


def test_memory_tells_the_first_put_and_draws_a_chart(
    tmp_path: Path,
    temporary: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    once(monkeypatch, "memory-tree")
    picture = tmp_path / "chart.png"
    arguments = ("memory-tree", "--chart", str(picture))
    (scenario,) = measured(capsys, tmp_path / "out.json", *arguments)
    for client in scenario["clients"]:  # type: ignore[attr-defined]
        assert 0 < client["medians"]["first PUT s"] < client["medians"]["wall s"]
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_client_that_fails_is_no_peer_and_the_bench_goes_on(
    tmp_path: Path,
    temporary: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lazy = run.CLIENTS["old"].__class__("s5cmd", lambda _: ["true"], lambda: "0")
    monkeypatch.setattr(run, "CLIENTS", {**run.CLIENTS, "s5cmd": lazy})
    path = tmp_path / "out.json"
    (scenario,) = measured(capsys, path, "small-http", "--clients", "ours,s5cmd", code=1)
    ours, theirs = scenario["clients"]  # type: ignore[misc]
    assert not ours["problem"]
    assert theirs["problem"] == "the server counted 0 objects and 0 bytes, not 20 and 81,920"
    assert scenario["targets"] == []
    assert "s5cmd: no result: the server counted 0 objects" in capsys.readouterr().out


def test_a_server_of_the_users(
    moto: Moto,
    tmp_path: Path,
    temporary: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    arguments = ("small-http", "--clients", "ours", "--endpoint-url", moto.endpoint)
    measured(capsys, tmp_path / "out.json", *arguments)
    buckets = moto.boto3().list_buckets()["Buckets"]
    assert not [bucket for bucket in buckets if bucket["Name"].startswith("bench-")]


def test_another_checkout_takes_part(
    tmp_path: Path,
    temporary: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    once(monkeypatch, "one-file")
    other = tmp_path / "before"
    other.mkdir()
    for name in ("uploader.py", "_uploader", "providers"):
        (other / name).symlink_to(REPO / name)
    arguments = ("one-file", "--clients", "ours", "--program", str(other))
    (scenario,) = measured(capsys, tmp_path / "out.json", *arguments)
    titles = [client["title"] for client in scenario["clients"]]  # type: ignore[attr-defined]
    assert titles == ["ours", "ours, in before", "ours --help", "ours --help, in before"]
    texts = [target["text"] for target in scenario["targets"]]  # type: ignore[attr-defined]
    assert "wall s, ours : ours, in before" in texts
