"""What the options choose, put together: sources, patterns, sizes, ages, a list."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from _uploader import cli
from _uploader.choice import Choice
from _uploader.errors import UsageError
from _uploader.files.model import Failed, Job, LeftOut, Skipped


@pytest.fixture(autouse=True)
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, size in {"d/a.jpg": 10, "d/x/b.jpg": 20, "d/x/c.txt": 30, "e/f": 40}.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(bytes(size))


def choice(*options: str) -> Choice:
    return Choice(cli.settings_from(["--bucket", "b", *options]))


def files(*options: str) -> list[str]:
    """The paths on the disk of all files that are chosen."""
    chosen = choice(*options)
    jobs = [entry for entry in chosen.entries() if isinstance(entry, Job)]
    assert [job.number for job in jobs] == sorted({job.number for job in jobs})
    return sorted(chosen.roots[job.source] + job.path for job in jobs)


def others(*options: str) -> list[Any]:
    return [entry for entry in choice(*options).entries() if not isinstance(entry, Job | None)]


def test_without_options_every_file_of_the_source_is_chosen() -> None:
    assert files("--src", "d") == ["d/a.jpg", "d/x/b.jpg", "d/x/c.txt"]


def test_a_source_may_be_a_file() -> None:
    assert files("--src", "d/x/b.jpg") == ["d/x/b.jpg"]
    (job,) = choice("--src", "d/x/b.jpg").entries()
    assert isinstance(job, Job)
    assert job.path == "b.jpg"


def test_a_source_may_be_a_link_to_a_file() -> None:
    Path("link").symlink_to("d/a.jpg")
    assert files("--src", "link") == ["link"]


def test_several_sources_are_chosen_from() -> None:
    sources = ["--src", "d", "--src", "e", "--src", "d/x/c.txt"]
    assert files(*sources) == ["d/a.jpg", "d/x/b.jpg", "d/x/c.txt", "d/x/c.txt", "e/f"]


@pytest.mark.parametrize(
    ("options", "chosen"),
    [
        (["--include", "*.jpg"], ["d/a.jpg", "d/x/b.jpg"]),
        (["--exclude", "x/"], ["d/a.jpg"]),
        (["--exclude", "*", "--include", "*.txt"], ["d/x/c.txt"]),
        (["--include", "*.txt", "--exclude", "*"], []),
        (["--exclude-from", "ignore"], ["d/a.jpg", "d/x/c.txt"]),
        (
            ["--exclude-from", "ignore", "--include", "x/b.jpg"],
            ["d/a.jpg", "d/x/b.jpg", "d/x/c.txt"],
        ),
        (["--include", "x/b.jpg", "--exclude-from", "ignore"], ["d/a.jpg"]),
        (["--min-size", "20"], ["d/x/b.jpg", "d/x/c.txt"]),
        (["--max-size", "20", "--include", "x/"], ["d/x/b.jpg"]),
        (["--newer-than", "1d"], ["d/a.jpg", "d/x/b.jpg"]),
        (["--older-than", "1d"], ["d/x/c.txt"]),
        (["--newer-than", "1970-01-02", "--older-than", "1h"], []),
    ],
)
def test_options_choose(options: list[str], chosen: list[str]) -> None:
    Path("ignore").write_text("*.jpg\n!/a.jpg\n")
    os.utime("d/x/c.txt", (5, 5))
    assert files("--src", "d", *options) == chosen


def test_a_directory_that_is_left_out_is_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: opened.append(path) or scandir(path))
    assert others("--src", "d", "--exclude", "x/") == [LeftOut("x")]
    assert "d/x" not in opened


def test_what_is_left_out_is_no_failure() -> None:
    Path("d/dangling").symlink_to("nothing")
    os.mkfifo("d/fifo")
    assert sorted(others("--src", "d")) == [
        Failed("dangling", "links to nothing"),
        Skipped("fifo", "is a FIFO"),
    ]
    left_out = others("--src", "d", "--exclude", "dangling", "--exclude", "fifo")
    assert sorted(left_out) == [LeftOut("dangling"), LeftOut("fifo")]


def test_a_list_is_chosen_from() -> None:
    Path("list").write_text("x/c.txt\na.jpg\nnone\n")
    options = ["--src", "d", "--files-from", "list"]
    assert files(*options) == ["d/a.jpg", "d/x/c.txt"]
    assert others(*options) == [Failed("none", "is not there")]
    assert files(*options, "--include", "*.jpg") == ["d/a.jpg"]
    assert LeftOut("none") in others(*options, "--include", "*.jpg")


def test_names_of_a_list_may_end_with_nul() -> None:
    Path("list").write_bytes(b"x/c.txt\0a.jpg\0")
    assert files("--src", "d", "--files-from", "list", "--null") == ["d/a.jpg", "d/x/c.txt"]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--null"], "--null is about the list of --files-from, which is missing"),
        (["--src", "e", "--files-from", "list"], "--files-from: its paths are relative to --src"),
        (["--files-from", "."], "--files-from: cannot read '.': Is a directory"),
        (["--min-size", "2", "--max-size", "1"], "--min-size is above --max-size"),
        (["--newer-than", "1h", "--older-than", "7d"], "--newer-than is not before --older-than"),
        (["--newer-than", "1h", "--older-than", "2020-01-01"], "--newer-than is not before"),
        (["--include", "!a"], "--include: '!a' begins with !"),
        (["--exclude", "#a"], "--exclude: '#a' matches nothing"),
        (["--exclude-from", "bad"], r"--exclude-from: 'bad', line 2: '\[b-a\]' is no pattern"),
        (["--exclude-from", "."], "--exclude-from: cannot read '.': Is a directory"),
        (["--src", "none"], "'none' cannot be scanned: No such file or directory"),
        (["--prefix", "\udcff"], "the prefix '.udcff' is not valid UTF-8"),
    ],
)
def test_what_makes_no_sense_is_refused(options: list[str], problem: str) -> None:
    Path("bad").write_text("a\n[b-a]\n")
    Path("list").touch()
    with pytest.raises(UsageError, match=f"^{problem}"):
        choice("--src", "d", *options).entries()


def test_a_file_of_patterns_may_begin_with_a_mark() -> None:
    """Windows' editors write one, to say that the file is UTF-8."""
    Path("patterns").write_text("*.jpg\n", encoding="utf-8-sig")
    assert files("--src", "d", "--exclude-from", "patterns") == ["d/x/c.txt"]


def test_a_list_needs_a_directory() -> None:
    Path("list").touch()
    with pytest.raises(UsageError, match="^--files-from: --src 'e/f' is no directory"):
        choice("--src", "e/f", "--files-from", "list")


def test_two_files_for_one_object_are_refused() -> None:
    Path("e/x").mkdir()
    Path("e/x/b.jpg").touch()
    with pytest.raises(UsageError, match="^--src: 'd/x/b.jpg' and 'e/x/b.jpg' would become one"):
        choice("--src", "d", "--src", "e").check_keys()
    choice("--src", "d", "--src", "e", "--exclude", "*.jpg").check_keys()
    choice("--src", "d", "--src", "e", "--min-size", "1").check_keys()
