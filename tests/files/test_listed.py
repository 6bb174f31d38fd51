"""A list names files: each comes out once, in its order, with the reason when it is not sent."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _uploader.errors import RunError
from _uploader.files import listed as lists
from _uploader.files.listed import MOST_PATH, listed, names_of
from _uploader.files.model import Failed, Found, Job, Skipped


def found(root: Path, names: Iterable[str | None], follow: bool = False) -> list[Found | None]:
    return list(listed(str(root), iter(names), follow_symlinks=follow))


def paths(entries: Iterable[Found | None]) -> list[str]:
    return [entry.path for entry in entries if isinstance(entry, Job)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("a", "b", "d/c", "d/e/f"):
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path / "root"


def test_a_job_is_that_of_a_scan(root: Path) -> None:
    status = (root / "d/c").stat()
    times = status.st_mtime_ns, status.st_ctime_ns
    assert found(root, ["d/c"]) == [Job(0, "d/c", 3, *times)]


def test_jobs_count_from_zero_without_gaps(root: Path) -> None:
    entries = found(root, ["b", "none", "a", None, "d/c"])
    assert [entry.number for entry in entries if isinstance(entry, Job)] == [0, 1, 2]


def test_a_moment_without_a_name_is_passed_on(root: Path) -> None:
    assert found(root, [None, None]) == [None, None]


@pytest.mark.parametrize("name", ["./d/c", "d//c", "d/./c", "{root}/d/c"])
def test_one_file_has_one_key_however_its_path_is_written(root: Path, name: str) -> None:
    assert paths(found(root, [name.format(root=root)])) == ["d/c"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("none", "is not there"),
        ("a/b", "is not there"),
        ("d", "is a directory"),
        (".", "is a directory"),
        ("fifo", "is a FIFO"),
        ("../outside", "has .. in its path: it may lead out of --src"),
        ("/etc/passwd", "is not below --src"),
        ("link/file", "is behind a link to a directory"),
        ("x" * 300, "cannot be read: File name too long"),
        ("a\0b", "cannot be read: embedded null byte"),
    ],
)
def test_what_is_no_file_below_the_source_has_failed(root: Path, name: str, reason: str) -> None:
    os.mkfifo(root / "fifo")
    (root.parent / "elsewhere").mkdir()
    (root.parent / "elsewhere/file").touch()
    (root / "link").symlink_to(root.parent / "elsewhere")
    entries = found(root, [name, "a"])
    assert entries[0] == Failed(name, reason)
    assert paths(entries) == ["a"]


def test_a_link_to_a_directory_is_followed_when_asked(root: Path) -> None:
    (root / "link").symlink_to("d")
    assert paths(found(root, ["link/c"], follow=True)) == ["link/c"]


def test_a_name_that_is_not_utf8_has_failed(root: Path) -> None:
    (root / os.fsdecode(b"\xff")).touch()
    assert found(root, ["\udcff"]) == [Failed("\\xff", "name is not valid UTF-8")]


def test_a_file_of_the_run_is_skipped(root: Path) -> None:
    entries = listed(str(root), iter(["a"]), follow_symlinks=False, own=[root / "a"])
    assert list(entries) == [Skipped("a", "belongs to this run")]


def test_a_file_that_is_listed_twice_is_sent_once(root: Path) -> None:
    repeated = Skipped("a", "is listed more than once")
    assert found(root, ["a", "b", "./a"])[2] == repeated


def test_what_was_listed_very_long_ago_is_sent_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "REMEMBERED", 2)
    assert paths(found(root, ["a", "b", "a", "d/c", "a"])) == ["a", "b", "d/c", "a"]


def read(data: bytes, end: bytes = b"\n") -> list[str]:
    """The names of a list that a pipe brings."""
    reader, writer = os.pipe()
    os.write(writer, data)
    os.close(writer)
    return [name for name in names_of(reader, end) if name is not None]


@given(st.lists(st.binary(min_size=1).filter(lambda name: b"\n" not in name)), st.booleans())
def test_each_line_is_a_name(names: list[bytes], ended: bool) -> None:
    data = b"\n".join(names) + (b"\n" if ended else b"")
    assert read(data) == [os.fsdecode(name) for name in names]


def test_names_that_end_with_nul_may_have_line_feeds() -> None:
    assert read(b"a\nb\0c\0", b"\0") == ["a\nb", "c"]


def test_empty_lines_are_no_names() -> None:
    assert read(b"\n\na\n\n") == ["a"]


def test_a_list_that_pauses_gives_a_moment_without_a_name() -> None:
    reader, writer = os.pipe()
    names = names_of(reader, b"\n")
    assert next(names) is None
    os.write(writer, b"a\nb")
    assert next(name for name in names if name) == "a"
    assert next(names) is None
    os.close(writer)
    assert [name for name in names if name] == ["b"]


def test_a_line_without_an_end_does_not_fill_the_memory(tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(b"x" * 20 * MOST_PATH + b"\nshort\n")
    long, short = names_of(os.open(tmp_path / "list", os.O_RDONLY), b"\n")
    assert short == "short"
    assert long is not None
    assert MOST_PATH < len(long) <= 3 * MOST_PATH


def test_a_list_that_cannot_be_read_stops_the_run(tmp_path: Path) -> None:
    names = names_of(os.open(tmp_path, os.O_RDONLY), b"\n")
    with pytest.raises(RunError, match="^the list of files cannot be read: Is a directory"):
        next(names)
