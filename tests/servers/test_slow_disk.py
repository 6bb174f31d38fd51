"""The slow disk keeps its promises."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench.slowdisk import SlowDisk
from tests.command import small_files, write

FILES = 200


@pytest.fixture
def disk(data: Path) -> Iterator[SlowDisk]:
    if reason := SlowDisk.missing():
        # In CI, too: not every container is given the device.
        pytest.skip(reason)
    small_files(data, FILES)
    os.symlink("folder0", data / "link")
    with SlowDisk(data, delay=0.005) as disk:
        yield disk


def read(path: Path) -> bytes:
    with path.open("rb", buffering=0) as file:
        return file.read()


def test_it_shows_what_is_there(disk: SlowDisk, data: Path) -> None:
    shown = [path.relative_to(disk.path) for path in disk.path.rglob("*")]
    assert set(shown) == {path.relative_to(data) for path in data.rglob("*")}
    assert os.readlink(disk.path / "link") == "folder0"
    for path in shown:
        before, behind = (data / path).lstat(), (disk.path / path).lstat()
        assert (before.st_size, before.st_mtime_ns, before.st_mode, before.st_ino) == (
            *(behind.st_size, behind.st_mtime_ns, behind.st_mode, behind.st_ino),
        )
        if (data / path).is_file():
            assert read(disk.path / path) == read(data / path)


def test_nothing_can_be_written(disk: SlowDisk) -> None:
    with pytest.raises(OSError) as caught:
        (disk.path / "new").write_bytes(b"")
    assert caught.value.errno == errno.EROFS


def test_each_open_and_each_read_asks_the_disk(disk: SlowDisk) -> None:
    path = next(path for path in disk.path.rglob("*.txt"))
    for _ in range(3):
        read(path)
    opens, reads, most = disk.requests()
    assert opens == 3
    assert reads >= 3
    assert most == 1


def test_a_change_of_the_file_is_seen(disk: SlowDisk, data: Path) -> None:
    name = write(data, "changing", b"before")
    assert read(disk.path / "changing") == b"before"
    Path(name).write_bytes(b"and after")
    assert read(disk.path / "changing") == b"and after"


def test_requests_wait_side_by_side(disk: SlowDisk) -> None:
    paths = list(disk.path.rglob("*.txt"))
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(read, paths))
    assert disk.requests().most_at_once > 8


def test_it_is_gone_at_the_end(data: Path) -> None:
    if reason := SlowDisk.missing():
        pytest.skip(reason)
    with SlowDisk(data) as disk, contextlib.suppress(FileNotFoundError):
        read(disk.path / "none")
    assert not disk.path.exists()
    assert data.is_dir()
