"""A stream in pieces that can be read again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from _uploader.files.stream import Stream
from providers.errors import SourceChanged
from providers.source import Source


@pytest.fixture
def ends() -> Iterator[tuple[int, int]]:
    """Both ends of a pipe; the test closes the one for writing."""
    read_end, write_end = os.pipe()
    yield read_end, write_end
    os.close(read_end)


def pieces(stream: Stream, most: int) -> list[bytes]:
    found = []
    while stream.has_more():
        piece = stream.take(most)
        found.append(Path(piece.path).read_bytes())
        stream.give_back(piece)
    return found


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", []),
        (b"a", [b"a"]),
        (b"abcd", [b"abcd"]),
        (b"abcdefghi", [b"abcd", b"efgh", b"i"]),
    ],
)
def test_the_pieces_are_the_stream(
    ends: tuple[int, int], content: bytes, expected: list[bytes]
) -> None:
    os.write(ends[1], content)
    os.close(ends[1])
    assert pieces(Stream(ends[0]), 4) == expected


def test_a_piece_is_a_regular_file(ends: tuple[int, int]) -> None:
    os.write(ends[1], b"content")
    os.close(ends[1])
    piece = Stream(ends[0]).take(100)
    with Source(piece.path) as source:
        assert (source.size, source.mode, source.read(0, 7)) == (7, 0o100600, b"content")
        source.check_unchanged()
    piece.drop()


def test_who_reads_a_piece_that_is_dropped_learns_it(ends: tuple[int, int]) -> None:
    os.write(ends[1], b"content")
    os.close(ends[1])
    piece = Stream(ends[0]).take(100)
    with Source(piece.path) as source:
        piece.drop()
        with pytest.raises(SourceChanged):
            source.read(0, 7)


def test_a_piece_may_be_larger_than_the_one_before(ends: tuple[int, int]) -> None:
    os.write(ends[1], b"abcdefghi")
    os.close(ends[1])
    stream = Stream(ends[0])
    stream.give_back(stream.take(2))
    assert pieces(stream, 5) == [b"cdefg", b"hi"]


def test_a_stream_that_cannot_be_read_does_not_end(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
    try:
        with pytest.raises(OSError):
            Stream(descriptor).has_more()
    finally:
        os.close(descriptor)
