"""As many processes as the work is worth, and no more than files."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _uploader.processes.sizing import (
    BYTES_EACH,
    CACHE_SHARE,
    FILES_EACH,
    fills_page_cache,
    processes_worth,
)


@pytest.mark.parametrize(
    ("files", "size", "processes"),
    [
        (0, 0, 1),
        (20, 20 * 4096, 1),
        (FILES_EACH, 0, 1),
        (FILES_EACH + 1, 0, 2),
        (10 * FILES_EACH, 0, 10),
        (1, 100 * BYTES_EACH, 1),
        (4, 100 * BYTES_EACH, 4),
        (8, 2 * BYTES_EACH, 2),
        (8, 2 * BYTES_EACH + 1, 3),
    ],
)
def test_processes_are_started_for_many_files_and_for_large_ones(
    files: int, size: int, processes: int
) -> None:
    assert processes_worth(files, size) == processes


@given(st.integers(0, 10**9), st.integers(0, 10**15), st.integers(0, 1000))
def test_more_work_is_never_worth_fewer(files: int, size: int, more: int) -> None:
    few = processes_worth(files, size)
    assert few <= processes_worth(files + more, size)
    assert few <= processes_worth(files, size + more * BYTES_EACH)


def test_only_a_run_that_is_large_for_the_memory_drops_what_it_has_read() -> None:
    most = int(CACHE_SHARE * 2**30)
    assert [fills_page_cache(size, 2**30) for size in (0, most, most + 1)] == [False, False, True]
