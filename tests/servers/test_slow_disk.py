"""The slow disk keeps its promises."""

from __future__ import annotations

import contextlib
import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench.slowdisk import SlowDisk
from tests.command import write


def read(path: Path) -> bytes:
    with path.open("rb", buffering=0) as file:
        return file.read()


def test_it_shows_what_is_there(slow_disk: SlowDisk, data: Path) -> None:
    shown = [path.relative_to(slow_disk.path) for path in slow_disk.path.rglob("*")]
    assert set(shown) == {path.relative_to(data) for path in data.rglob("*")}
    assert os.readlink(slow_disk.path / "link") == "folder0"
    for path in shown:
        before, behind = (data / path).lstat(), (slow_disk.path / path).lstat()
        assert (before.st_size, before.st_mtime_ns, before.st_mode, before.st_ino) == (
            *(behind.st_size, behind.st_mtime_ns, behind.st_mode, behind.st_ino),
        )
        if (data / path).is_file():
            assert read(slow_disk.path / path) == read(data / path)


def test_nothing_can_be_written(slow_disk: SlowDisk) -> None:
    with pytest.raises(OSError) as caught:
        (slow_disk.path / "new").write_bytes(b"")
    assert caught.value.errno == errno.EROFS


def test_each_open_and_each_read_asks_the_disk(slow_disk: SlowDisk) -> None:
    path = next(path for path in slow_disk.path.rglob("*.txt"))
    for _ in range(3):
        read(path)
    opens, reads, most = slow_disk.requests()
    assert opens == 3
    assert reads >= 3
    assert most == 1


def test_a_change_of_the_file_is_seen(slow_disk: SlowDisk, data: Path) -> None:
    name = write(data, "changing", b"before")
    assert read(slow_disk.path / "changing") == b"before"
    Path(name).write_bytes(b"and after")
    assert read(slow_disk.path / "changing") == b"and after"


def test_requests_wait_side_by_side(slow_disk: SlowDisk) -> None:
    paths = list(slow_disk.path.rglob("*.txt"))
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(read, paths))
    assert slow_disk.requests().most_at_once > 8


def test_it_is_gone_at_the_end(data: Path) -> None:
    if reason := SlowDisk.missing():
        pytest.skip(reason)
    with SlowDisk(data) as slow_disk, contextlib.suppress(FileNotFoundError):
        read(slow_disk.path / "none")
    assert not slow_disk.path.exists()
    assert data.is_dir()
