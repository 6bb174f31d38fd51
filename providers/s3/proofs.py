"""What the answer to a HEAD tells of an object's content.  Pure."""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Mapping

from ..base import MIB
from ..proof import HashProof, PartsProof, Proof
from .answers import is_made_of_md5
from .checksums import CRCS, Crc

ASK: tuple[tuple[str, str], ...] = (("x-amz-checksum-mode", "ENABLED"),)
"""Without it no answer has a checksum.
https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html
"""
_HASHES = ("sha256", "sha1")
_MD5 = re.compile("[0-9a-f]{32}")
_MD5_OF_PARTS = re.compile("([0-9a-f]{32})-([1-9][0-9]{0,4})")
_USUAL = (5, 8, 10, 15, 16, 20, 25, 32, 50, 64, 100, 128, 256, 512, 1024)
"""MiB of the parts that programs make: rclone 5, the AWS CLI and boto3 8, MinIO's 16, s5cmd 50."""


class CrcProof:
    """The service tells a CRC of all bytes."""

    def __init__(self, crc: Crc, told: str) -> None:
        self._crc = crc
        self._told = told
        self._value = 0

    def update(self, block: bytes | memoryview, /) -> None:
        """The next bytes."""
        self._value = self._crc.update(block, self._value)

    def holds(self) -> bool:
        """The CRCs are the same."""
        return self._crc.text(self._value) == self._told


def proof_in(
    headers: Mapping[str, str],
    size: int,
    asked: str | None,
    part_size: Callable[[int], int | None],
) -> Proof | None:
    """The proof in the headers of an object of ``size`` bytes; None when there is none.

    ``asked``: the encryption that the run asks for; an answer may not name it.  ``part_size`` asks
    the service how long a part of the object is, by its number; it may not know.
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html
    """
    if headers.get("x-amz-checksum-type", "FULL_OBJECT") == "FULL_OBJECT":
        for crc in CRCS.values():
            if told := _of_all_bytes(headers, crc.header):
                return CrcProof(crc, told)
        for name in _HASHES:
            if told := _of_all_bytes(headers, f"x-amz-checksum-{name}"):
                return HashProof(name, _bytes(told))
    etag = headers.get("etag", "").strip('"')
    if not is_made_of_md5(headers, asked):
        return None
    if _MD5.fullmatch(etag):
        return HashProof("md5", bytes.fromhex(etag))
    if match := _MD5_OF_PARTS.fullmatch(etag):
        digest, count = bytes.fromhex(match[1]), int(match[2])
        known = part_size(1)
        if known and -(-size // known) == count and (known < size or count == 1):
            # Parts may be of any sizes; whoever makes them of equal ones has the rest at the end.
            equal = count == 1 or part_size(count) == size - known * (count - 1)
            return PartsProof(digest, [known], certain=equal)
        return PartsProof(digest, likely_sizes(size, count), certain=False)
    return None


def likely_sizes(size: int, count: int) -> list[int]:
    """What the parts may have had, in bytes, if there were ``count``: usual sizes, and the least
    whole number of MiB."""
    size = max(1, size)  # a part may be empty
    sizes = {mib * MIB for mib in (*_USUAL, -(-size // (count * MIB)))}
    return sorted(each for each in sizes if -(-size // each) == count)


def _of_all_bytes(headers: Mapping[str, str], name: str) -> str:
    """The value of a checksum; empty for one of the checksums of parts, which ends in their
    number."""
    told = headers.get(name, "")
    return "" if "-" in told else told


def _bytes(told: str) -> bytes:
    try:
        return binascii.a2b_base64(told)
    except ValueError:
        return b""
