"""The list of failed files is complete, private, and never in the way of the run."""

from __future__ import annotations

import errno
import json
import os
import stat
import time
from pathlib import Path

import pytest

from _uploader.records.failures import LISTS_KEPT, FailureList
from _uploader.records.paths import state_directory

STARTED = time.mktime((2026, 1, 2, 3, 4, 5, 0, 0, -1))
NAME = f"failed-20260102-030405-{os.getpid()}"


def written(failures: FailureList) -> list[dict[str, str]]:
    assert failures.path is not None
    return [json.loads(line) for line in Path(failures.path).read_text().splitlines()]


def test_each_failed_file_is_one_json_line(tmp_path: Path) -> None:
    failures = FailureList(STARTED, tmp_path)
    failures.add("a/b", "vanished")
    failures.add("new\nline é \udcff", "cannot be read")
    failures.close()
    assert written(failures) == [
        {"path": "a/b", "reason": "vanished"},
        {"path": "new\nline é \udcff", "reason": "cannot be read"},
    ]


def test_without_failures_nothing_is_created(tmp_path: Path) -> None:
    failures = FailureList(STARTED, tmp_path / "state")
    failures.close()
    assert (failures.path, failures.problem) == (None, "")
    assert not (tmp_path / "state").exists()


def test_the_name_tells_time_and_process(tmp_path: Path) -> None:
    failures = FailureList(STARTED, tmp_path)
    failures.add("a", "b")
    failures.close()
    assert failures.path == str(tmp_path / f"{NAME}.jsonl")


def test_only_the_user_may_read_it(tmp_path: Path) -> None:
    failures = FailureList(STARTED, tmp_path / "made/for/it")
    failures.add("a", "b")
    failures.close()
    assert failures.path is not None
    assert stat.S_IMODE(os.stat(failures.path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(tmp_path / "made/for/it").st_mode) == 0o700


def test_the_oldest_lists_of_earlier_runs_are_removed(tmp_path: Path) -> None:
    for number in range(LISTS_KEPT + 3):
        old = tmp_path / f"failed-20260101-0000{number:02}-1.jsonl"
        old.touch()
        os.utime(old, (number, number))
    (tmp_path / "notes.jsonl").touch()
    os.utime(tmp_path / "notes.jsonl", (0, 0))
    failures = FailureList(STARTED, tmp_path)
    failures.add("a", "b")
    failures.close()
    left = sorted(path.name for path in tmp_path.iterdir())
    kept = [f"failed-20260101-0000{number:02}-1.jsonl" for number in range(4, LISTS_KEPT + 3)]
    assert left == [*kept, f"{NAME}.jsonl", "notes.jsonl"]


def test_a_file_that_is_there_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("precious")
    (tmp_path / f"{NAME}.jsonl").symlink_to("other")
    failures = FailureList(STARTED, tmp_path)
    failures.add("a", "b")
    failures.close()
    assert failures.path == str(tmp_path / f"{NAME}-1.jsonl")
    assert (tmp_path / "other").read_text() == "precious"


def test_memory_does_not_grow_with_the_failures(tmp_path: Path) -> None:
    failures = FailureList(STARTED, tmp_path)
    for number in range(1000):
        failures.add(f"path/{number}", "reason")
    assert failures.path is not None
    assert os.path.getsize(failures.path) > 30_000  # before close: no more than a buffer is held
    failures.close()


def test_a_place_that_cannot_be_made_is_a_problem_and_no_exception(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    failures = FailureList(STARTED, tmp_path / "file")
    failures.add("a", "b")
    (tmp_path / "file").unlink()
    failures.add("a list with a hole", "is worse than none")
    failures.close()
    assert failures.path is None
    assert failures.problem == "the list of failed files could not be created: File exists"


def test_a_user_without_home_is_a_problem_and_no_exception(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    failures = FailureList(STARTED)
    failures.add("a", "b")
    assert failures.problem.endswith("could not be created: Could not determine home directory.")


@pytest.mark.parametrize("count", [1, 10_000], ids=["at the end", "midway"])
def test_a_full_disk_is_a_problem_and_no_exception(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    monkeypatch.setattr(os, "open", lambda *_: full)
    failures = FailureList(STARTED, tmp_path)
    for _ in range(count):
        failures.add("a", "b")
    failures.close()
    failures.close()
    assert failures.problem == (
        f"the list of failed files is incomplete: {os.strerror(errno.ENOSPC)}"
    )
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(full)


def test_the_state_directory_follows_xdg() -> None:
    environment = {"XDG_STATE_HOME": "/var/state"}
    assert state_directory(environment) == Path("/var/state/uploader")


@pytest.mark.parametrize("environment", [{}, {"XDG_STATE_HOME": ""}, {"XDG_STATE_HOME": "rel"}])
def test_the_state_directory_is_below_home_otherwise(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/u")
    assert state_directory(environment) == Path("/home/u/.local/state/uploader")
