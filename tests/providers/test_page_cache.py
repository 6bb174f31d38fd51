"""Files that are read leave the page cache as it was, where that is wanted."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.page_cache import cached_pages, cached_share, forget
from providers.disk import Disk
from providers.source import BLOCK_SIZE, Source

PART = 32 * BLOCK_SIZE
"""As large as the parts of S3, and no larger than what some kernels read ahead."""
LARGE = 3 * PART + 1000
"""Its last page is no whole one."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A large file, not in the cache."""
    return uncached(tmp_path / "large", LARGE)


@pytest.fixture
def disk() -> Disk:
    made = Disk()
    made.drops_pages = True
    return made


def uncached(path: Path, size: int) -> Path:
    path.write_bytes(bytes(size))
    forget(path)
    if cached_share(path):
        pytest.skip("the files of these tests are in memory: set TMPDIR to a disk")
    return path


def assert_dropped(read: Callable[[], object], path: Path, pages: slice = slice(None)) -> None:
    """After the read the file's pages are not cached.  At each of several attempts the disk may
    have been so quick that they seemed to be there before."""
    for _ in range(5):
        forget(path)
        read()
        if not any(cached_pages(path)[pages]):
            return
    pytest.fail("the pages stay in the cache")


def read(source: Source, offset: int, length: int) -> None:
    for _ in source.blocks(offset, length):
        pass


def read_whole(disk: Disk, path: Path) -> None:
    with disk.open(str(path)) as source, disk.reading(source, 0, source.size):
        read(source, 0, source.size)


def read_in_parts(disk: Disk, path: Path) -> None:
    with disk.open(str(path)) as source:
        for offset in range(0, source.size, PART):
            length = min(PART, source.size - offset)
            with disk.reading(source, offset, length):
                read(source, offset, length)


@pytest.mark.parametrize("size", [1, mmap.PAGESIZE, mmap.PAGESIZE + 1, BLOCK_SIZE])
class TestSmall:
    """Files that are loaded."""

    def test_what_was_read_is_dropped(self, disk: Disk, tmp_path: Path, size: int) -> None:
        path = uncached(tmp_path / "small", size)
        assert disk.open(str(path)).read(0, size) == bytes(size)
        assert_dropped(lambda: disk.open(str(path)), path)

    def test_what_was_there_before_stays(self, disk: Disk, tmp_path: Path, size: int) -> None:
        path = uncached(tmp_path / "small", size)
        path.read_bytes()
        disk.open(str(path))
        assert cached_share(path) == 1

    def test_what_was_read_stays_where_nobody_asked(self, tmp_path: Path, size: int) -> None:
        path = uncached(tmp_path / "small", size)
        Disk().open(str(path))
        assert cached_share(path) == 1


class TestLarge:
    def test_what_was_read_is_dropped(self, disk: Disk, file: Path) -> None:
        assert_dropped(lambda: read_whole(disk, file), file)

    def test_what_counts_is_what_was_there_when_it_was_opened(self, disk: Disk, file: Path) -> None:
        """Later the kernel has read what this process asked for at other places."""

        def read_after_others() -> None:
            with disk.open(str(file)) as source:
                file.read_bytes()
                with disk.reading(source, 0, source.size):
                    read(source, 0, source.size)

        assert_dropped(read_after_others, file)

    def test_what_was_there_before_stays(self, disk: Disk, file: Path) -> None:
        file.read_bytes()
        read_whole(disk, file)
        assert cached_share(file) == 1

    def test_what_was_read_stays_where_nobody_asked(self, file: Path) -> None:
        read_whole(Disk(), file)
        assert cached_share(file) == 1

    def test_what_a_failed_attempt_has_read_is_dropped(self, disk: Disk, file: Path) -> None:
        def fail() -> None:
            with (
                disk.open(str(file)) as source,
                pytest.raises(ValueError, match="failed"),
                disk.reading(source, 0, LARGE),
            ):
                read(source, 0, PART)
                raise ValueError("failed")

        assert_dropped(fail, file)

    def test_each_part_is_dropped_when_it_is_done(self, disk: Disk, file: Path) -> None:
        """The parts beside it are in flight: they are read a second time from the cache."""
        pages = PART // mmap.PAGESIZE
        second_left = []

        def read_both() -> None:
            with disk.open(str(file)) as source, disk.reading(source, 0, PART):
                with disk.reading(source, PART, PART):
                    read(source, 0, PART)
                    read(source, PART, PART)
                cached = cached_pages(file)
                assert all(cached[:pages])
                second_left.append(any(cached[pages : 2 * pages]))

        assert_dropped(read_both, file, slice(2 * pages))
        assert not second_left[-1]

    def test_a_part_that_was_there_before_stays(self, disk: Disk, file: Path) -> None:
        pages = slice(PART // mmap.PAGESIZE, 2 * PART // mmap.PAGESIZE)

        def read_beside_another() -> None:
            with Source(str(file)) as other:
                os.posix_fadvise(other.fd, 0, 0, os.POSIX_FADV_RANDOM)  # reads nothing ahead
                read(other, PART, PART)
            read_in_parts(disk, file)
            assert all(cached_pages(file)[pages])

        assert_dropped(read_beside_another, file, slice(pages.start))

    def test_parts_that_the_kernel_has_read_ahead_are_dropped_too(
        self, disk: Disk, file: Path
    ) -> None:
        assert_dropped(lambda: read_in_parts(disk, file), file)

    def test_looking_and_dropping_hold_up_no_loop(
        self, disk: Disk, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A slow disk has them done in threads, as ``run`` decides."""
        monkeypatch.setattr(disk, "run", disk.wait)
        assert_dropped(lambda: read_whole(disk, file), file)
