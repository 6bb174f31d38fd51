"""One source and destination have one journal."""

from __future__ import annotations

from pathlib import Path

import pytest

from _uploader.config import Settings
from _uploader.records.paths import journal_path, state_directory
from _uploader.state import open_journal


def path_of(*sources: str) -> Path:
    journal = open_journal(Settings(src=sources, bucket="b", prefix="p/"), "s3 b")
    journal.close(complete=True)
    return journal.path


def test_the_journal_of_a_source_is_where_earlier_versions_look_for_it(tmp_path: Path) -> None:
    """The next run goes on with what an earlier version has recorded."""
    assert path_of(str(tmp_path)) == journal_path(state_directory(), str(tmp_path), "s3 b/p/")


def test_however_a_source_is_written_it_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "link").symlink_to("d")
    monkeypatch.chdir(tmp_path)
    assert len({path_of(source) for source in ("d", "d/", "link", "./d", f"{tmp_path}/d")}) == 1


def test_several_sources_have_one_journal_in_whatever_order() -> None:
    assert path_of("/a", "/b") == path_of("/b", "/a")
    assert len({path_of("/a", "/b"), path_of("/a"), path_of("/b"), path_of("/a", "/c")}) == 4
