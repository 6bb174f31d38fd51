"""Every entry of a tree comes out once, with its reason when it is no upload; nothing is held."""

from __future__ import annotations

import json
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from _uploader.errors import UsageError
from _uploader.files.model import Failed, Job, LeftOut, Skipped
from _uploader.files.scan import OPEN_DIRECTORIES, Found, scan

NOBODY = 65534


def found(root: Path | str, follow: bool = False, limit: int = 1024) -> list[Found]:
    return list(scan(str(root), follow_symlinks=follow, max_key_bytes=limit))


def paths(root: Path | str, follow: bool = False) -> list[str]:
    """The paths of all jobs, sorted; anything but a job makes the test fail."""
    entries = found(root, follow)
    assert all(isinstance(entry, Job) for entry in entries), entries
    return sorted(entry.path for entry in entries)


def write(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Callable[[int, str], Path]]:
    """Makes chains of directories that pytest's own clean-up could not remove."""
    start = os.open(".", os.O_RDONLY)
    made: list[tuple[int, str]] = []

    def chain(levels: int, name: str) -> Path:
        made.append((levels, name))
        os.chdir(tmp_path)
        for _ in range(levels):
            os.mkdir(name)
            os.chdir(name)
            Path("file").touch()
        os.fchdir(start)
        return tmp_path

    yield chain
    os.chdir(tmp_path)
    for levels, name in made:
        for _ in range(levels):
            os.chdir(name)
        for _ in range(levels):
            os.unlink("file")
            os.chdir("..")
            os.rmdir(name)
    os.fchdir(start)
    os.close(start)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may read everything: drop that for a moment."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that ``nobody`` can reach, unlike pytest's."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        os.chmod(name, 0o755)
        yield Path(name)


def test_a_job_says_number_path_size_and_times(tmp_path: Path) -> None:
    file = write(tmp_path / "a.txt", b"12345")
    os.utime(file, ns=(0, 1_600_000_000_123_456_789))
    times = (1_600_000_000_123_456_789, file.stat().st_ctime_ns)
    assert found(tmp_path) == [Job(0, "a.txt", 5, *times)]


def test_paths_of_nested_files_are_relative_with_slashes(tmp_path: Path) -> None:
    for name in ("top", "a/one", "a/b/two", "c/three"):
        write(tmp_path / name)
    assert paths(tmp_path) == ["a/b/two", "a/one", "c/three", "top"]


def test_a_slash_behind_the_root_changes_nothing(tmp_path: Path) -> None:
    write(tmp_path / "a/b")
    assert paths(f"{tmp_path}/") == ["a/b"]


def test_jobs_count_from_zero_without_gaps(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name in ("a", "b", "d/c", "d/e/f"):
        write(tmp_path / name)
    numbers = [entry.number for entry in found(tmp_path) if isinstance(entry, Job)]
    assert numbers == [0, 1, 2, 3]


def test_an_empty_tree_gives_nothing(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    assert found(tmp_path) == []


def test_hidden_and_empty_files_are_files(tmp_path: Path) -> None:
    write(tmp_path / ".hidden", b"")
    write(tmp_path / ".dir/x")
    assert paths(tmp_path) == [".dir/x", ".hidden"]


def test_a_link_to_a_file_counts_as_its_target(tmp_path: Path) -> None:
    target = write(tmp_path / "outside", b"123456789")
    os.utime(target, ns=(5, 5))
    (tmp_path / "root").mkdir()
    (tmp_path / "root/link").symlink_to(target)
    assert found(tmp_path / "root") == [Job(0, "link", 9, 5, target.stat().st_ctime_ns)]


def test_a_link_to_a_directory_is_skipped_by_default(tmp_path: Path) -> None:
    write(tmp_path / "outside/x")
    (tmp_path / "root").mkdir()
    (tmp_path / "root/link").symlink_to(tmp_path / "outside")
    assert found(tmp_path / "root") == [Skipped("link", "links to a directory")]


def test_a_link_to_a_directory_is_walked_when_asked(tmp_path: Path) -> None:
    write(tmp_path / "outside/x")
    (tmp_path / "root").mkdir()
    (tmp_path / "root/link").symlink_to(tmp_path / "outside")
    assert paths(tmp_path / "root", follow=True) == ["link/x"]


@pytest.mark.parametrize("target", [".", "..", "../.."])
def test_a_link_to_an_ancestor_is_not_walked_again(tmp_path: Path, target: str) -> None:
    write(tmp_path / "a/b/x")
    (tmp_path / "a/b/loop").symlink_to(target)
    entries = set(found(tmp_path, follow=True))
    assert Skipped("a/b/loop", "links to a directory above itself") in entries
    assert len(entries) == 2


def test_two_directories_that_link_to_each_other_end(tmp_path: Path) -> None:
    for name, other in (("a", "b"), ("b", "a")):
        write(tmp_path / name / "x")
        (tmp_path / name / "link").symlink_to(tmp_path / other)
    entries = found(tmp_path, follow=True)
    jobs = sorted(entry.path for entry in entries if isinstance(entry, Job))
    assert jobs == ["a/link/x", "a/x", "b/link/x", "b/x"]
    assert sum(isinstance(entry, Skipped) for entry in entries) == 2


def test_a_link_to_nothing_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("missing")
    assert found(tmp_path) == [Failed("link", "links to nothing")]


def test_a_link_to_itself_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("link")
    reason = "cannot be read: Too many levels of symbolic links"
    assert found(tmp_path) == [Failed("link", reason)]


def test_a_fifo_is_skipped_also_behind_a_link(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("fifo")
    assert sorted(found(tmp_path)) == [Skipped("fifo", "is a FIFO"), Skipped("link", "is a FIFO")]


def test_a_socket_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the address of a socket may have 107 bytes only
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
    assert found(tmp_path) == [Skipped("socket", "is a socket")]


def test_a_device_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/dev/null")
    assert found(tmp_path) == [Skipped("link", "is a device")]


OWN = "belongs to this run"


def test_the_files_of_the_run_are_skipped(tmp_path: Path) -> None:
    journal, other = write(tmp_path / "a/j.sqlite"), tmp_path / "a/j.sqlite-wal"
    write(tmp_path / "b/j.sqlite")
    entries = list(scan(str(tmp_path), follow_symlinks=False, own=[journal, other]))
    assert set(entries) - {Skipped("a/j.sqlite", OWN)} == {
        entry for entry in entries if isinstance(entry, Job)
    }
    assert [entry.path for entry in entries if isinstance(entry, Job)] == ["b/j.sqlite"]


@pytest.mark.parametrize("follow", [False, True])
def test_a_directory_of_the_run_is_skipped_whatever_leads_to_it(
    tmp_path: Path, follow: bool
) -> None:
    write(tmp_path / "tree/state/uploader/j.sqlite")
    (tmp_path / "tree/link").symlink_to(tmp_path / "tree/state/uploader")
    (tmp_path / "other").symlink_to(tmp_path / "tree")
    own = [tmp_path / "other/state/uploader"]
    entries = list(scan(str(tmp_path / "tree"), follow_symlinks=follow, own=own))
    assert set(entries) == {
        Skipped("state/uploader", OWN),
        Skipped("link", OWN if follow else "links to a directory"),
    }


def test_what_the_run_creates_during_the_scan_is_skipped(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / f"{number}")
    own = tmp_path / "state/uploader"
    entries = scan(str(tmp_path), follow_symlinks=False, own=[own])
    write(own / "j.sqlite")
    assert Skipped("state/uploader", OWN) in set(entries)


def test_an_unreadable_directory_is_one_failure(open_directory: Path) -> None:
    write(open_directory / "a/x")
    write(open_directory / "locked/y")
    os.chmod(open_directory / "locked", 0)
    with as_nobody():
        entries = found(open_directory)
    os.chmod(open_directory / "locked", 0o755)
    assert [entry.path for entry in entries if isinstance(entry, Job)] == ["a/x"]
    assert Failed("locked", "cannot be read: Permission denied", is_directory=True) in entries
    assert len(entries) == 2


def test_a_directory_that_lists_but_does_not_open_fails_file_by_file(open_directory: Path) -> None:
    write(open_directory / "listed/x")
    write(open_directory / "listed/y")
    os.chmod(open_directory / "listed", 0o444)
    with as_nobody():
        entries = found(open_directory)
    os.chmod(open_directory / "listed", 0o755)
    reason = "cannot be read: Permission denied"
    assert sorted(entries) == [Failed("listed/x", reason), Failed("listed/y", reason)]


def test_a_directory_that_cannot_be_looked_at_is_known_as_one(open_directory: Path) -> None:
    write(open_directory / "listed/a/x")
    write(open_directory / "listed/b/x")
    os.chmod(open_directory / "listed", 0o444)
    with as_nobody():
        entries = list(scan(str(open_directory), follow_symlinks=False, enters="listed/a".__ne__))
    os.chmod(open_directory / "listed", 0o755)
    reason = "cannot be read: Permission denied"
    failed = Failed("listed/b", reason, is_directory=True)
    assert sorted(entries, key=lambda entry: entry.path) == [LeftOut("listed/a"), failed]


def test_a_file_that_vanishes_during_the_scan_fails_alone(tmp_path: Path) -> None:
    for name in "abc":
        write(tmp_path / name)
    stream = scan(str(tmp_path), follow_symlinks=False)
    first = next(stream)
    gone = next(name for name in "abc" if name != first.path)
    (tmp_path / gone).unlink()
    rest = list(stream)
    assert Failed(gone, "vanished during the scan") in rest
    assert sum(isinstance(entry, Job) for entry in rest) == 1


def test_a_directory_that_vanishes_during_the_scan_fails_alone(tmp_path: Path) -> None:
    for name in "abc":
        write(tmp_path / name / "x")
    stream = scan(str(tmp_path), follow_symlinks=False)
    first = next(stream).path[0]
    gone = next(name for name in "abc" if name != first)
    (tmp_path / gone / "x").unlink()
    (tmp_path / gone).rmdir()
    rest = list(stream)
    assert Failed(gone, "vanished during the scan", is_directory=True) in rest
    assert sum(isinstance(entry, Job) for entry in rest) == 1


def test_a_directory_that_breaks_midway_fails_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "broken/x")
    write(tmp_path / "good/y")
    scandir = os.scandir

    class Breaking:
        def __init__(self, path: str) -> None:
            self.path, self.entries = path, scandir(path)

        def __iter__(self) -> Breaking:
            return self

        def __next__(self) -> os.DirEntry[str]:
            try:
                return next(self.entries)
            except StopIteration:
                if self.path.endswith("broken"):
                    raise OSError(5, "Input/output error") from None
                raise

        def close(self) -> None:
            self.entries.close()

    monkeypatch.setattr(os, "scandir", Breaking)
    entries = found(tmp_path)
    assert sorted(entry.path for entry in entries if isinstance(entry, Job)) == [
        "broken/x",
        "good/y",
    ]
    assert Failed("broken", "cannot be read: Input/output error", is_directory=True) in entries


def test_a_name_that_is_not_utf8_is_a_failure_fit_for_json(tmp_path: Path) -> None:
    write(tmp_path / "é", b"")
    (tmp_path / os.fsdecode(b"caf\xe9-\xc3\xa9")).touch()
    failures = [entry for entry in found(tmp_path) if isinstance(entry, Failed)]
    assert failures == [Failed("caf\\xe9-é", "name is not valid UTF-8")]
    assert json.dumps(failures[0].path, ensure_ascii=False).encode() == '"caf\\\\xe9-é"'.encode()


def test_files_below_a_name_that_is_not_utf8_fail_one_by_one(tmp_path: Path) -> None:
    bad = tmp_path / os.fsdecode(b"\xff")
    write(bad / "a")
    os.mkfifo(bad / "b")
    assert sorted(found(tmp_path)) == [
        Failed("\\xff/a", "name is not valid UTF-8"),
        Skipped("\\xff/b", "is a FIFO"),
    ]


@pytest.mark.parametrize("name", ["new\nline", "tab\t", "\x1b[31m", " ", "a\\b", "漢字", "%2F"])
def test_odd_names_are_kept_as_they_are(tmp_path: Path, name: str) -> None:
    write(tmp_path / name / name)
    assert paths(tmp_path) == [f"{name}/{name}"]


@pytest.mark.parametrize("name", ["a" * 10, "é" * 5, "漢" * 3 + "a"])
def test_a_key_of_exactly_the_limit_is_a_job(tmp_path: Path, name: str) -> None:
    write(tmp_path / name)
    stream = scan(str(tmp_path), follow_symlinks=False, max_key_bytes=14, prefix="pé/")
    assert isinstance(next(stream), Job)


@pytest.mark.parametrize("name", ["a" * 11, "é" * 5 + "a", "漢" * 3 + "é"])
def test_a_key_one_byte_above_the_limit_is_a_failure(tmp_path: Path, name: str) -> None:
    write(tmp_path / name)
    stream = scan(str(tmp_path), follow_symlinks=False, max_key_bytes=14, prefix="pé/")
    assert list(stream) == [Failed(name, "key is 15 bytes long: 14 is the most")]


def test_the_length_of_a_key_counts_the_whole_path(tmp_path: Path) -> None:
    name = "d" * 205
    write(tmp_path.joinpath(*[name] * 5))
    reason = "key is 1,029 bytes long: 1,024 is the most"
    assert found(tmp_path) == [Failed("/".join([name] * 5), reason)]


def test_the_first_job_comes_before_the_directory_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(10_000):
        (tmp_path / str(number)).touch()
    scandir, given = os.scandir, 0

    def counting(path: str) -> object:
        def entries() -> Iterator[os.DirEntry[str]]:
            nonlocal given
            with scandir(path) as stream:
                for entry in stream:
                    given += 1
                    yield entry

        return entries()

    monkeypatch.setattr(os, "scandir", counting)
    stream = scan(str(tmp_path), follow_symlinks=False)
    next(stream)
    assert given == 1


def test_a_tree_of_1500_levels_is_walked(deep: Callable[[int, str], Path]) -> None:
    root = deep(1500, "d")
    entries = found(root, limit=4096)
    assert [len(entry.path) for entry in entries if isinstance(entry, Job)] == [
        2 * level + 4 for level in range(1, 1501)
    ]
    assert len(entries) == 1500


def test_descriptors_are_bounded_however_deep_the_tree(deep: Callable[[int, str], Path]) -> None:
    before = descriptors()
    most = max(
        descriptors() - before
        for _ in scan(str(deep(300, "d")), follow_symlinks=False, max_key_bytes=4096)
    )
    assert most <= OPEN_DIRECTORIES + 1


def test_below_the_open_directories_nothing_is_lost(tmp_path: Path) -> None:
    bottom = tmp_path.joinpath(*"d" * (OPEN_DIRECTORIES + 2))
    for name in ("a/x", "b/y", "c/e/z", "file"):
        write(bottom / name)
    (bottom / "link").symlink_to("file")
    tails = [path.rpartition("d/")[2] for path in paths(tmp_path)]
    assert sorted(tails) == ["a/x", "b/y", "c/e/z", "file", "link"]


def test_paths_too_long_for_the_system_fail_at_that_directory(
    deep: Callable[[int, str], Path],
) -> None:
    name = "n" * 250
    root = deep(20, name)
    write(root / "beside")
    entries = found(root, limit=10_000)
    failed = [entry for entry in entries if isinstance(entry, Failed)]
    assert [entry.reason for entry in failed] == ["cannot be read: File name too long"]
    assert "beside" in [entry.path for entry in entries if isinstance(entry, Job)]


@pytest.mark.parametrize("levels", [3, OPEN_DIRECTORIES + 5])
def test_a_scan_given_up_leaves_no_descriptor(
    deep: Callable[[int, str], Path], levels: int
) -> None:
    before = descriptors()
    stream = scan(str(deep(levels, "d")), follow_symlinks=False)
    for _ in range(levels):
        next(stream)
    assert descriptors() > before
    stream.close()  # type: ignore[attr-defined]
    assert descriptors() == before


def test_a_missing_root_is_wrong_usage_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"missing' cannot be scanned: No such file or directory$"):
        scan(str(tmp_path / "missing"), follow_symlinks=False)


def test_a_file_as_root_is_wrong_usage_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Not a directory$"):
        scan(str(write(tmp_path / "file")), follow_symlinks=False)


def test_an_unreadable_root_is_wrong_usage_at_once(open_directory: Path) -> None:
    os.chmod(open_directory, 0o711)
    with as_nobody(), pytest.raises(UsageError, match=r"Permission denied$"):
        scan(str(open_directory), follow_symlinks=False)


def test_a_root_behind_a_link_is_walked(tmp_path: Path) -> None:
    write(tmp_path / "real/x")
    (tmp_path / "link").symlink_to("real")
    assert paths(tmp_path / "link") == ["x"]


def test_a_prefix_that_is_not_utf8_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not valid UTF-8"):
        scan(str(tmp_path), follow_symlinks=False, prefix=os.fsdecode(b"\xff"))
