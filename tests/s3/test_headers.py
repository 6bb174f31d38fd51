"""Headers that callers give: fit to be signed and sent, or refused."""

from __future__ import annotations

from email.header import decode_header, make_header

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.attributes import MOST_METADATA
from providers.errors import Rejected
from providers.s3.headers import header, metadata_headers


def test_plain_metadata_goes_as_it_is() -> None:
    given = [("mode", "0100644"), ("origin", "Tape 7; box=3")]
    assert list(metadata_headers(given)) == [
        ("x-amz-meta-mode", "0100644"),
        ("x-amz-meta-origin", "Tape 7; box=3"),
    ]


def test_no_metadata_is_no_header() -> None:
    assert not metadata_headers([])


@given(st.lists(st.text(max_size=40), max_size=4))
def test_what_is_sent_is_plain_and_stands_for_what_was_given(values: list[str]) -> None:
    try:
        headers = metadata_headers([(f"n{i}", value) for i, value in enumerate(values)])
    except Rejected:
        assert any(ord(c) < 32 or 127 <= ord(c) < 160 for value in values for c in value)
        return
    for (_, sent), value in zip(headers, values, strict=True):
        assert sent.isascii() and sent.isprintable()
        assert sent == " ".join(sent.split())
        if "=?" not in value:
            assert str(make_header(decode_header(sent))) == value.strip(" ")


@pytest.mark.parametrize("character", ["\r", "\n", "\0", "\t", "\x7f", "\x85", "\udcff"])
def test_a_control_character_in_a_value_is_refused_and_its_name_told(character: str) -> None:
    with pytest.raises(Rejected, match="'origin'") as caught:
        metadata_headers([("origin", f"a{character}b")])
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a\nb", "ä", "a\r\nx-amz-acl: public-read\r\n"])
def test_a_name_that_is_no_token_is_refused(name: str) -> None:
    with pytest.raises(Rejected) as caught:
        metadata_headers([(name, "x")])
    with pytest.raises(Rejected):
        header(name, "x")
    assert str(caught.value).isprintable()


def test_names_are_lower_case_and_unique() -> None:
    assert list(metadata_headers([("Origin", "x")])) == [("x-amz-meta-origin", "x")]
    with pytest.raises(Rejected, match="twice"):
        metadata_headers([("Origin", "x"), ("origin", "y")])


def test_metadata_has_a_limit() -> None:
    metadata_headers([("a", "x" * (MOST_METADATA - 3)), ("b", "y")])
    with pytest.raises(Rejected, match="2,049 bytes of user metadata"):
        metadata_headers([("a", "x" * (MOST_METADATA - 3)), ("b", "yy")])


def test_runs_of_spaces_in_a_header_become_one() -> None:
    assert header("Cache-Control", "  no-store,   private ") == (
        "cache-control",
        "no-store, private",
    )


@pytest.mark.parametrize("value", ["a\r\nb", "ü", "\0"])
def test_a_header_that_cannot_be_sent_is_refused(value: str) -> None:
    with pytest.raises(Rejected, match="content-disposition"):
        header("content-disposition", value)
