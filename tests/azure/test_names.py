"""What may be called how: containers, blobs, metadata, blocks."""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode

import pytest
from awscrt.checksums import crc64nvme

from providers.azure_blobs.blocks import (
    Block,
    commit_list,
    is_upload_id,
    new_upload_id,
    read_list,
)
from providers.azure_blobs.body import crc_header
from providers.azure_blobs.headers import MOST_METADATA, blob_headers
from providers.azure_blobs.naming import blob_path, checked
from providers.errors import Fatal, Rejected

UPLOAD = "65f0c0de0123456789abcdef"
BLOCK = Block(UPLOAD, 7, 0xAE8B14860A799888, 9)


# Containers and blobs.


@pytest.mark.parametrize("name", ["abc", "a-b-c", "0" * 63, "$root"])
def test_a_container_may_be_called(name: str) -> None:
    assert checked(name) == name


@pytest.mark.parametrize(
    "name", ["", "ab", "a" * 64, "Abc", "a--b", "-abc", "abc-", "a_b", "abc\n"]
)
def test_no_container_is_called(name: str) -> None:
    with pytest.raises(Fatal, match="no container's name"):
        checked(name)


def test_what_the_website_shows_to_everybody_is_refused_unless_it_is_allowed() -> None:
    with pytest.raises(Fatal, match=r"\$web.*--allow-public"):
        checked("$web")
    assert checked("$web", allow_public=True) == "$web"


def test_the_services_own_logs_are_no_place_to_upload_to() -> None:
    with pytest.raises(Fatal, match=r"nobody can upload to \$logs"):
        checked("$logs", allow_public=True)


def test_a_path_in_place_of_a_container_gets_advice() -> None:
    with pytest.raises(Fatal, match="--prefix"):
        checked("container/folder")


@pytest.mark.parametrize("key", ["a\\b", ".", "..", "a/./b", "a/../b", "end.", "a./b"])
def test_a_name_that_azure_would_change_is_refused(key: str) -> None:
    with pytest.raises(Rejected, match="another name"):
        blob_path(key)


@pytest.mark.parametrize("key", [".hidden", "a.b", "a..b", "..a/b", "a/.b"])
def test_dots_elsewhere_are_no_trouble(key: str) -> None:
    assert blob_path(key) == key


@pytest.mark.parametrize("key", ["a\nb", "a\x00", "\x7f", "\x81"])
def test_a_control_character_is_refused(key: str) -> None:
    with pytest.raises(Rejected, match="control character"):
        blob_path(key)


def test_a_name_has_1024_characters_at_most() -> None:
    assert blob_path("ü" * 1024) == "%C3%BC" * 1024
    with pytest.raises(Rejected, match="1,024 are the most"):
        blob_path("x" * 1025)


# What describes a blob.


def test_metadata_are_headers_in_lower_case() -> None:
    headers = blob_headers([("Mode", "0100644"), ("origin_2", "Tape 7; box=3")], "text/plain")
    assert headers == [
        ("x-ms-blob-content-type", "text/plain"),
        ("x-ms-meta-mode", "0100644"),
        ("x-ms-meta-origin_2", "Tape 7; box=3"),
    ]


def test_spaces_at_the_ends_of_a_value_are_cut_off() -> None:
    assert blob_headers([("a", " b ")], "x")[1] == ("x-ms-meta-a", "b")


@pytest.mark.parametrize("name", ["a-b", "1a", "", "a b", "ü", "a:b", "a\r\nx"])
def test_a_name_of_metadata_that_is_no_identifier_stops_the_run(name: str) -> None:
    with pytest.raises(Fatal, match="no name for metadata") as caught:
        blob_headers([(name, "value")], "x")
    assert "\n" not in str(caught.value)


def test_a_name_given_twice_stops_the_run() -> None:
    with pytest.raises(Fatal, match="'a' is given twice"):
        blob_headers([("a", "1"), ("A", "2")], "x")


@pytest.mark.parametrize("value", ["ü", "a\r\nx-ms-y: z", "a  b", "\x00", "\x7f"])
def test_a_value_that_cannot_be_sent_is_refused(value: str) -> None:
    with pytest.raises(Rejected, match="'name'"):
        blob_headers([("name", value)], "x")


@pytest.mark.parametrize("value", ["x", "x y"])
def test_metadata_have_a_limit(value: str) -> None:
    room = MOST_METADATA - len("name") - len(value)
    assert blob_headers([("name", value + "z" * room)], "x")
    with pytest.raises(Rejected, match="8,193 bytes of user metadata: 8,192 are the most"):
        blob_headers([("name", value + "z" * (room + 1))], "x")


def test_a_content_type_that_cannot_be_sent_is_refused() -> None:
    with pytest.raises(Rejected, match="Content-Type"):
        blob_headers([], "text/plain\r\nx-ms-y: z")


# Uploads and blocks.


def test_no_two_uploads_have_the_same_name() -> None:
    name = new_upload_id()
    assert is_upload_id(name)
    assert new_upload_id() != name


@pytest.mark.parametrize("text", ["", "no-such-upload", UPLOAD[1:], UPLOAD.upper(), f"{UPLOAD}\n"])
def test_other_texts_are_no_names_of_uploads(text: str) -> None:
    assert not is_upload_id(text)


def test_a_blocks_name_says_what_it_is() -> None:
    assert b64decode(BLOCK.name) == b"65f0c0de0123456789abcdef.000007.ae8b14860a799888"
    assert Block.parse(BLOCK.name, "9") == BLOCK


def test_all_names_of_blocks_have_48_bytes() -> None:
    """The length is AzCopy's: blocks that it left are no obstacle."""
    for number, crc in ((1, 0), (50_000, 2**64 - 1)):
        assert len(b64decode(Block(UPLOAD, number, crc, 1).name)) == 48


@pytest.mark.parametrize(
    ("name", "size"),
    [
        (b64encode(b"x" * 48).decode(), "9"),
        ("no base64", "9"),
        ("", "9"),
        (BLOCK.name, ""),
        (BLOCK.name, "-1"),
    ],
)
def test_a_block_of_another_program_is_none_of_ours(name: str, size: str) -> None:
    assert Block.parse(name, size) is None


def test_a_list_of_blocks_is_read() -> None:
    rows = f"<Block><Name>{BLOCK.name}</Name><Size>9</Size></Block>"
    rows += "<Block><Name>QUFB</Name><Size>1</Size></Block>"
    page = f"<BlockList><UncommittedBlocks>{rows}</UncommittedBlocks></BlockList>".encode()
    assert read_list(page) == [BLOCK]
    assert read_list(b"<BlockList><UncommittedBlocks/></BlockList>") == []


@pytest.mark.parametrize("body", [b"", b"<html/>", b"{}"])
def test_what_is_no_list_of_blocks_is_told_apart(body: bytes) -> None:
    assert read_list(body) is None


def test_a_list_to_commit_takes_the_latest() -> None:
    text = commit_list(["QUFB", "QUFC"]).decode()
    assert text.endswith("<BlockList><Latest>QUFB</Latest><Latest>QUFC</Latest></BlockList>")


def test_the_crc_is_azures() -> None:
    """``calculate_crc64_bytes`` of azure-storage-blob 12.31 gives these eight bytes."""
    name, value = crc_header(crc64nvme(b"123456789"))
    assert (name, binascii.a2b_base64(value).hex()) == ("x-ms-content-crc64", "8898790a86148bae")
