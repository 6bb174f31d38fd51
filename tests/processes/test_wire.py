"""Whatever goes in at one end comes out at the other, however the stream is cut."""

from __future__ import annotations

import dataclasses
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _uploader.config import Settings
from _uploader.files.model import Job, Outage, Result
from _uploader.processes import wire

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
messages = st.lists(
    st.one_of(
        st.builds(wire.Note, values),
        st.builds(wire.Jobs, st.lists(st.builds(Job))),
        st.builds(wire.Begun, values, values, values),
        st.just(wire.Drain()),
    ),
    max_size=8,
)


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
    stream = wire.encode(wire.Note("text"))
    assert [decoder.feed(bytes([byte])) for byte in stream[:-1]] == [[]] * (len(stream) - 1)
    assert decoder.feed(stream[-1:]) == [wire.Note("text")]


def test_nothing_fed_gives_no_message() -> None:
    assert wire.Decoder().feed(b"") == []


def test_an_empty_message_is_a_message() -> None:
    assert wire.Decoder().feed(wire.encode(wire.Drain())) == [wire.Drain()]


def test_several_messages_in_one_piece_come_in_order() -> None:
    first, second, third = map(wire.Note, "abc")
    stream = wire.encode(first) + wire.encode(second) + wire.encode(third)[:-1]
    assert wire.Decoder().feed(stream) == [first, second]


def test_a_message_larger_than_any_receive_buffer_comes_whole() -> None:
    message = wire.Jobs([Job(number, f"{number:01000}", number, number) for number in range(5000)])
    stream = wire.encode(message)
    assert len(stream) > 2**22
    decoder = wire.Decoder()
    received = []
    for start in range(0, len(stream), 2**18):
        received += decoder.feed(stream[start : start + 2**18])
    assert received == [message]


def test_a_decoder_forgets_what_it_has_given_out() -> None:
    """The buffer of a long run holds no more than an unfinished message."""
    message = wire.encode(wire.Note("x" * 10_000))
    decoder = wire.Decoder()
    tracemalloc.start()
    try:
        for _ in range(100):
            decoder.feed(message)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 2 * len(message)


def test_names_that_are_no_utf8_travel() -> None:
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    assert wire.Decoder().feed(wire.encode(wire.Note(name))) == [wire.Note(name)]


@pytest.mark.parametrize("outage", [None, Outage(1.5, 0.5)])
def test_jobs_results_and_outages_arrive_as_themselves(outage: Outage | None) -> None:
    job = Job(7, "a/b", 2**40, -1)
    result = Result(7, 2**40, -1, -2, "no", denied=True)
    sent = [wire.Jobs([job]), wire.Results([result], 0, 0, 0, 1, "", outage)]
    jobs, results = wire.Decoder().feed(b"".join(map(wire.encode, sent)))
    assert isinstance(jobs, wire.Jobs)
    assert isinstance(results, wire.Results)
    assert (jobs.jobs[0].path, results.results[0].failure) == ("a/b", "no")
    assert outage is None or results.outage.seconds == 1.5
    assert [jobs, results] == sent


def test_settings_travel_as_a_dict() -> None:
    settings = Settings(src=("data",), bucket="b", metadata=(("a", "b"),))
    start = wire.Start(dataclasses.asdict(settings), None, 1, 2, True)
    [received] = wire.Decoder().feed(wire.encode(start))
    assert isinstance(received, wire.Start)
    assert Settings(**received.settings) == settings


def test_an_object_does_not_travel() -> None:
    """Only plain values do, so reading a message can run nothing."""
    with pytest.raises(ValueError, match="unmarshallable"):
        wire.encode(wire.Note(object()))
