"""What an answer to a List Blobs says."""

from __future__ import annotations

import pytest

from providers.azure_blobs.listing import read_page
from providers.base import Listed, Page
from providers.errors import Transient


def blob(name: str, properties: str = "", size: str = "7", encoded: str = "") -> str:
    length = f"<Content-Length>{size}</Content-Length>"
    about = f"<Properties><Etag>0x8D</Etag>{length}{properties}</Properties>"
    return f"<Blob><Name{encoded}>{name}</Name>{about}</Blob>"


def page(*blobs: str, following: str = "<NextMarker/>") -> bytes:
    text = f"<EnumerationResults><Blobs>{''.join(blobs)}</Blobs>{following}</EnumerationResults>"
    return f'<?xml version="1.0" encoding="utf-8"?>{text}'.encode()


def test_a_row_is_key_size_and_etag() -> None:
    assert read_page(page(blob("a&amp;b%20c")), "") == Page([Listed("a&b%20c", 7, "0x8D")], "")


def test_it_goes_on_at_the_marker() -> None:
    assert read_page(page(following="<NextMarker>2!8&lt;</NextMarker>"), "") == Page([], "2!8<")


def test_a_key_is_decoded_where_the_answer_says_that_it_is_encoded() -> None:
    listed = read_page(page(blob("a%EF%BF%BFb", encoded=' Encoded="true"')), "").objects
    assert [found.key for found in listed] == ["a\uffffb"]


def test_what_comes_before_is_left_out() -> None:
    listed = read_page(page(blob("a"), blob("b"), blob("c")), "b").objects
    assert [found.key for found in listed] == ["c"]


def test_directories_are_no_objects() -> None:
    kind = "<ResourceType>directory</ResourceType>"
    listed = read_page(page(blob("d", kind, size="0"), blob("d/f")), "").objects
    assert [found.key for found in listed] == ["d/f"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"<Error/>",
        page(following=""),
        page(blob("")),
        page(blob("a", size="")),
        page(blob("a", size="-1")),
        page(blob("a", size="9" * 19)),
        page("<Blob><Name>a</Name></Blob>"),
        page("<Blob><Properties><Content-Length>1</Content-Length></Properties></Blob>"),
    ],
)
def test_what_does_not_look_complete_is_asked_for_again(body: bytes) -> None:
    with pytest.raises(Transient):
        read_page(body, "")
