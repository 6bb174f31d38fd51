"""Several sources are one run, and no two of their files become one object."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from _uploader.errors import UsageError
from _uploader.files.model import Failed, Job
from _uploader.files.scan import root_of
from _uploader.files.sources import check_keys, joined


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes files below the working directory."""
    monkeypatch.chdir(tmp_path)

    def make(*names: str) -> None:
        for name in names:
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).touch()

    return make


def check(*sources: str, follow: bool = False, without: str = "") -> None:
    check_keys(
        sources,
        follow_symlinks=follow,
        takes=lambda path, status: path != without,
        enters=lambda path: path != without,
    )


@pytest.mark.parametrize(
    ("source", "root"), [("d", "d/"), ("d/", "d/"), ("d/file", "d/"), ("top", "")]
)
def test_a_root_comes_before_the_paths(tree: Callable[..., None], source: str, root: str) -> None:
    tree("d/file", "top")
    assert root_of(source) == root


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("none", "'none' cannot be scanned: No such file"),
        ("", "'' cannot be scanned: No such file"),
        ("a\0b", "cannot be scanned: embedded null byte"),
        ("fifo", "'fifo' cannot be uploaded: it is a FIFO"),
    ],
)
def test_what_is_no_source_is_refused(tree: Callable[..., None], source: str, problem: str) -> None:
    os.mkfifo("fifo")
    with pytest.raises(UsageError, match=problem):
        root_of(source)


def test_entries_of_all_sources_are_in_one_numbering() -> None:
    streams = [[Job(0, "a", 1, 2)], [Failed("f", "x"), None], [Job(0, "b", 1, 2)]]
    assert list(joined(streams)) == [
        Job(0, "a", 1, 2, source=0),
        Failed("f", "x"),
        None,
        Job(1, "b", 1, 2, source=2),
    ]


def test_sources_may_have_the_same_directories(tree: Callable[..., None]) -> None:
    tree("one/a/x", "one/a/b/y", "two/a/z", "two/a/b/w", "three/v")
    check("one", "two", "three")


def test_a_file_may_be_called_as_a_directory_elsewhere(tree: Callable[..., None]) -> None:
    tree("one/a", "two/a/b")
    check("one", "two")


@pytest.mark.parametrize(
    ("sources", "files", "key"),
    [
        (("one", "two"), "'one/a/b/x' and 'two/a/b/x'", "'a/b/x'"),
        (("one", "three", "two"), "'one/a/b/x' and 'two/a/b/x'", "'a/b/x'"),
        (("one", "x"), "'x' and 'one/x'", "'x'"),
        (("x", "two/a/b/x"), "'x' and 'two/a/b/x'", "'x'"),
        (("three", "three/"), "'three/v' and 'three/v'", "'v'"),
    ],
)
def test_files_that_would_become_one_object_are_refused(
    tree: Callable[..., None], sources: tuple[str, ...], files: str, key: str
) -> None:
    tree("one/a/b/x", "one/x", "two/a/b/x", "three/v", "x")
    with pytest.raises(UsageError, match=f"^--src: {files} would become one object, {key}"):
        check(*sources)


@pytest.mark.parametrize("without", ["a", "a/x"])
def test_what_is_left_out_does_not_matter(tree: Callable[..., None], without: str) -> None:
    tree("one/a/x", "two/a/x")
    check("one", "two", without=without)


def test_directories_behind_links_matter_when_they_are_followed(tree: Callable[..., None]) -> None:
    tree("one/a/x", "elsewhere/x")
    Path("two").mkdir()
    Path("two/a").symlink_to("../elsewhere")
    check("one", "two")
    with pytest.raises(UsageError, match="would become one object, 'a/x'"):
        check("one", "two", follow=True)


@pytest.mark.parametrize("target", [".", ".."])
def test_loops_of_links_end(tree: Callable[..., None], target: str) -> None:
    """The scan enters no directory below itself."""
    tree("one/a/x", "two/a/y")
    for name in ("one/a", "two/a"):
        for number in range(4):
            Path(name, f"loop{number}").symlink_to(target)
    check("one", "two", follow=True)


def test_what_vanishes_meanwhile_is_left_to_the_scan(tree: Callable[..., None]) -> None:
    tree("one/a/x", "one/b", "two/a/x", "two/b")

    def takes(path: str, status: os.stat_result) -> bool:
        for source in ("one", "two"):
            Path(source, path).unlink(missing_ok=True)
        return False

    check_keys(["one", "two"], follow_symlinks=False, takes=takes, enters=lambda path: True)


def test_a_link_that_vanishes_meanwhile_is_left_to_the_scan(
    tree: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    tree("one/a/x", "elsewhere/x")
    Path("two").mkdir()
    Path("two/a").symlink_to("../elsewhere")
    samefile = os.path.samefile

    def vanishing(first: str, second: str) -> bool:
        Path("two/a").unlink(missing_ok=True)
        return samefile(first, second)

    monkeypatch.setattr(os.path, "samefile", vanishing)
    check("one", "two", follow=True)


def test_directories_that_only_one_source_has_are_not_listed(
    tree: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    tree("one/a/x", "one/b/c/x", "two/a/y", "two/d/y")
    listed: list[str] = []
    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: listed.append(path) or listdir(path))
    check("one", "two")
    assert sorted(listed) == ["one", "one/a", "two", "two/a"]
