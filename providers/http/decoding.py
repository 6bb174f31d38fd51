"""Undoes the content encodings of responses: gzip and deflate."""

from __future__ import annotations

import zlib

from ..errors import Transient
from .response import MAX_RESPONSE


def decoded(content: bytes, encodings: str) -> bytes:
    """Undoes the content encodings that libcloud's Accept-Encoding asks for, no others."""
    for encoding in reversed(encodings.lower().replace(" ", "").split(",")):
        if not content or encoding not in ("gzip", "x-gzip", "deflate"):
            break
        # "deflate" is zlib's format (RFC 9110 section 8.4.1.2); some leave out its header.
        headless = encoding == "deflate" and content[0] & 0x0F != zlib.DEFLATED
        content = _inflate(content, -zlib.MAX_WBITS if headless else zlib.MAX_WBITS | 32)
    return content


def _inflate(content: bytes, window_bits: int) -> bytes:
    plain = bytearray()
    try:
        while content:
            inflater = zlib.decompressobj(window_bits)
            plain += inflater.decompress(content, MAX_RESPONSE)
            if inflater.unconsumed_tail or len(plain) > MAX_RESPONSE:
                raise Transient("the answer is too large when it is decompressed")
            if not inflater.eof:
                raise zlib.error("incomplete")
            content = inflater.unused_data
    except zlib.error as error:
        raise Transient(f"the answer cannot be decompressed: {error}") from None
    return bytes(plain)
