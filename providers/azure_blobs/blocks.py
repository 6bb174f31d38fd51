"""Names of uploads and blocks: Azure has none for an upload.  Pure.

A blob has one list of uncommitted blocks, whoever has sent them; the service tells the name and the
size of each.  So a block's name says to which upload it belongs, which part it is, and the CRC-64
of its bytes, which the service checked when it took them: a block whose name has the CRC of the
file's bytes holds these.

https://learn.microsoft.com/en-us/rest/api/storageservices/put-block
"""

from __future__ import annotations

import binascii
import re
import secrets
from collections.abc import Sequence
from typing import NamedTuple

from ..http.xml import local_name, parsed, rows

_UPLOAD = re.compile("[0-9a-f]{24}")
_BLOCK = re.compile(rb"([0-9a-f]{24})\.(\d{6})\.([0-9a-f]{16})")


class Block(NamedTuple):
    """One block that was put by this program."""

    upload_id: str
    number: int
    """From 1."""
    crc: int
    size: int

    @property
    def name(self) -> str:
        """As requests and lists carry it: base64 of 48 bytes.

        All names of a blob's blocks have the same length, or the service refuses them.  48 bytes
        are what AzCopy and Microsoft's .NET library take, so that what they left is no obstacle.
        """
        text = f"{self.upload_id}.{self.number:06d}.{self.crc:016x}"
        return binascii.b2a_base64(text.encode(), newline=False).decode()

    @classmethod
    def parse(cls, name: str, size: str) -> Block | None:
        """Reads a row of a list; None for a block of another program."""
        try:
            found = _BLOCK.fullmatch(binascii.a2b_base64(name))
        except ValueError:
            return None
        if not found or not size.isdecimal():
            return None
        upload_id, number, crc = found.groups()
        return cls(upload_id.decode(), int(number), int(crc, 16), int(size))


def new_upload_id() -> str:
    """A name that no other upload has."""
    return secrets.token_hex(12)


def is_upload_id(text: str) -> bool:
    """Whether ``new_upload_id`` can have made it."""
    return bool(_UPLOAD.fullmatch(text))


def read_list(body: bytes) -> list[Block] | None:
    """The blocks of this program in a list of uncommitted ones; None when it is no such list.

    https://learn.microsoft.com/en-us/rest/api/storageservices/get-block-list
    """
    page = parsed(body)
    if page is None or local_name(page) != "BlockList":
        return None
    found = [row for part in page for row in rows(part, "Block")]
    blocks = [Block.parse(row.get("Name", ""), row.get("Size", "")) for row in found]
    return [block for block in blocks if block]


def commit_list(names: Sequence[str]) -> bytes:
    """The body of a Put Block List.

    ``Latest`` finds a block whether it is committed or not: the same list sent twice, as after a
    lost answer, makes the same blob.
    https://learn.microsoft.com/en-us/rest/api/storageservices/put-block-list
    """
    items = "".join(f"<Latest>{name}</Latest>" for name in names)
    text = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{items}</BlockList>'
    return text.encode()
