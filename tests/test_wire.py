"""Whatever goes in at one end comes out at the other, however the stream is cut."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _uploader import wire
from _uploader.config import Settings
from _uploader.model import Job, Result

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
messages = st.lists(st.lists(values, max_size=4).map(tuple), max_size=8)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """``data`` cut at these positions; two equal positions make an empty piece."""
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    return [data[start:end] for start, end in zip(edges, edges[1:], strict=False)]


@given(messages, st.lists(st.integers(0, 2000)))
def test_any_split_of_the_stream_gives_the_same_messages(
    sent: list[wire.Message], cuts: list[int]
) -> None:
    stream = b"".join(map(wire.encode, sent))
    decoder = wire.Decoder()
    received = [message for piece in pieces(stream, cuts) for message in decoder.feed(piece)]
    assert received == sent


def test_a_stream_byte_by_byte_gives_a_message_with_its_last_byte() -> None:
    decoder = wire.Decoder()
    stream = wire.encode(("kind", 1))
    assert [decoder.feed(bytes([byte])) for byte in stream[:-1]] == [[]] * (len(stream) - 1)
    assert decoder.feed(stream[-1:]) == [("kind", 1)]


def test_nothing_fed_gives_no_message() -> None:
    assert wire.Decoder().feed(b"") == []


def test_an_empty_message_is_a_message() -> None:
    assert wire.Decoder().feed(wire.encode(())) == [()]


def test_several_messages_in_one_piece_come_in_order() -> None:
    stream = wire.encode(("a",)) + wire.encode(("b",)) + wire.encode(("c",))[:-1]
    assert wire.Decoder().feed(stream) == [("a",), ("b",)]


def test_a_message_larger_than_any_receive_buffer_comes_whole() -> None:
    message = (wire.JOBS, [(number, f"{number:01000}", number, number) for number in range(5000)])
    stream = wire.encode(message)
    assert len(stream) > 2**22
    decoder = wire.Decoder()
    received = []
    for start in range(0, len(stream), 2**18):
        received += decoder.feed(stream[start : start + 2**18])
    assert received == [message]


def test_a_decoder_forgets_what_it_has_given_out() -> None:
    """The buffer of a long run holds no more than an unfinished message."""
    decoder = wire.Decoder()
    for _ in range(100):
        decoder.feed(wire.encode(("x" * 10_000,)))
    assert len(decoder._buffer) == 0


def test_names_that_are_no_utf8_travel() -> None:
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    assert wire.Decoder().feed(wire.encode((name,))) == [(name,)]


def test_jobs_and_results_travel_as_tuples() -> None:
    job = Job(7, "a/b", 2**40, -1)
    result = Result(7, 2**40, -1, "")
    received = wire.Decoder().feed(wire.encode((tuple(job), tuple(result))))
    assert received == [(job, result)]


def test_settings_travel_as_a_dict() -> None:
    settings = Settings(src="data", bucket="b", extra_metadata=(("a", "b"),))
    told = dataclasses.asdict(settings)
    [(received,)] = wire.Decoder().feed(wire.encode((told,)))
    assert Settings(**received) == settings


def test_an_object_does_not_travel() -> None:
    """Only plain values do, so reading a message can run nothing."""
    with pytest.raises(ValueError, match="unmarshallable"):
        wire.encode((object(),))


def test_each_kind_of_message_has_a_name_of_its_own() -> None:
    kinds = [value for name, value in vars(wire).items() if name.isupper() and name[0] != "_"]
    assert len(set(kinds)) == len(kinds) > 1
