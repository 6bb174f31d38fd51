"""Listings and deletions: what an answer says, and what it has to say."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from providers.base import Deletion, Listed
from providers.errors import Transient
from providers.s3.objects import deletion, fits_xml, read_deletion, read_page

ROW = '<Contents><Key>{}</Key><Size>5</Size><ETag>"e"</ETag></Contents>'
ENDED = "<IsTruncated>false</IsTruncated>"


def page(*parts: str) -> bytes:
    return f"<ListBucketResult>{''.join(parts)}</ListBucketResult>".encode()


def answer(*parts: str) -> bytes:
    return f"<DeleteResult>{''.join(parts)}</DeleteResult>".encode()


class TestListing:
    def test_a_row_is_key_size_and_etag(self) -> None:
        assert read_page(page(ROW.format("a"), ENDED), "", "") == ([Listed("a", 5, "e")], "")

    def test_it_goes_on_at_the_token(self) -> None:
        more = "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"
        assert read_page(page(ROW.format("a"), more), "", "").next == "t"

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"<html>",
            b"<Other/>",
            page(ROW.format("a")),
            page(ROW.format("a"), "<IsTruncated>true</IsTruncated>"),
            page(ROW.format("a"), "<IsTruncated>perhaps</IsTruncated>"),
            page("<Contents><Key>a</Key></Contents>", ENDED),
            page(f"<Contents><Key>a</Key><Size>{2**63}</Size></Contents>", ENDED),
            page(f"<Contents><Key>a</Key><Size>{'1' * 5000}</Size></Contents>", ENDED),
            page("<Contents><Size>5</Size></Contents>", ENDED),
            page(ROW.format("a"), ENDED)[:-9],
        ],
    )
    def test_what_does_not_say_where_it_ends_is_no_listing(self, body: bytes) -> None:
        with pytest.raises(Transient):
            read_page(body, "", "")

    def test_keys_are_decoded_where_the_answer_says_that_they_are_encoded(self) -> None:
        encoded = page("<EncodingType>url</EncodingType>", ROW.format("a+b%2Bc%01"), ENDED)
        raw = page(ROW.format("a+b"), ENDED)
        keys = [read_page(body, "a", "").objects[0].key for body in (encoded, raw)]
        assert keys == ["a b+c\x01", "a+b"]

    def test_what_was_not_asked_for_is_left_out(self) -> None:
        """Some services overlook where to begin, or the prefix."""
        body = page(*map(ROW.format, ("a/1", "a/2", "a/3", "b")), ENDED)
        assert [row.key for row in read_page(body, "a/", "a/1").objects] == ["a/2", "a/3"]


class TestDeletion:
    def test_the_request_names_each_key(self) -> None:
        root = ElementTree.fromstring(deletion(["a<&>", "\u00fc \n"], "http://n/"))
        assert [node.text for node in root.iter("{http://n/}Key")] == ["a<&>", "\u00fc \n"]

    @pytest.mark.parametrize("key", ["a\x00", "a\x1f", "a\r", "\ufffe"])
    def test_xml_cannot_hold_some_keys(self, key: str) -> None:
        assert fits_xml("a b\t\n\u00fc\U0001f389")
        assert not fits_xml(key)

    def test_what_is_deleted_and_what_only_hidden(self) -> None:
        hidden = "<Deleted><Key>b</Key><DeleteMarker>true</DeleteMarker></Deleted>"
        body = answer("<Deleted><Key>a</Key></Deleted>", hidden)
        assert read_deletion(body, ["a", "b"]) == Deletion([], 1)

    def test_each_refusal_has_its_reason(self) -> None:
        error = "<Error><Key>a</Key><Code>AccessDenied</Code><Message>locked</Message></Error>"
        assert read_deletion(answer(error), ["a"]).failed == [("a", "AccessDenied: locked")]

    def test_what_is_not_named_is_not_deleted(self) -> None:
        ((key, reason),) = read_deletion(answer(), ["a"]).failed
        assert key == "a"
        assert reason

    @pytest.mark.parametrize("body", [b"", b"<html>", b"<Other/>", answer()[:-5]])
    def test_another_answer_says_nothing(self, body: bytes) -> None:
        with pytest.raises(Transient):
            read_deletion(body, ["a"])
