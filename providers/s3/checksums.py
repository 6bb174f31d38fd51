"""S3's CRC checksums, by awscrt at memory speed.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html
"""

from __future__ import annotations

import binascii
from collections.abc import Callable

from awscrt import checksums


class Crc:
    """One kind of checksum."""

    def __init__(
        self,
        name: str,
        size: int,
        update: Callable[[bytes | memoryview, int], int],
        combine: Callable[[int, int, int], int],
    ) -> None:
        self.name = name
        self.header = f"x-amz-checksum-{name}"
        """The header that carries a value."""
        self.tag = f"Checksum{name.upper()}"
        """The XML element that carries a value."""
        self.update = update
        """(bytes, value so far) -> value; begin with 0."""
        self.combine = combine
        """(value of the first bytes, value of the rest, length of the rest) -> value of both."""
        self._size = size

    def text(self, value: int) -> str:
        """A value as headers and elements carry it."""
        return base64(value.to_bytes(self._size, "big"))


CRCS = {
    crc.name: crc
    for crc in (
        Crc("crc64nvme", 8, checksums.crc64nvme, checksums.combine_crc64nvme),
        Crc("crc32c", 4, checksums.crc32c, checksums.combine_crc32c),
        Crc("crc32", 4, checksums.crc32, checksums.combine_crc32),
    )
}
"""An object's checksum combines out of those of its parts (``FULL_OBJECT``)."""


def base64(data: bytes) -> str:
    """``data`` in base64, without a line end."""
    return binascii.b2a_base64(data, newline=False).decode()
