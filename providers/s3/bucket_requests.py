"""Sends the requests of one session about its bucket and what is in it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from xml.etree.ElementTree import Element

from ..errors import Transient
from ..http.response import Response
from ..http.xml import fields, parsed
from .answers import decoded
from .driver import S3Driver
from .headers import Pairs
from .sigv4 import EMPTY_SHA256
from .transport import S3Request

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
"""Of the XML in requests."""


class BucketRequests:
    """Requests on one driver about one bucket."""

    def __init__(self, driver: S3Driver, bucket: str) -> None:
        self.driver = driver
        self.bucket = bucket
        self.headers = driver.service.object_headers

    def exchange(
        self, method: str, key: str = "", query: Pairs = (), headers: Pairs = (), body: bytes = b""
    ) -> Response:
        """Sends a request about the bucket, its body signed.  ``headers``: by default those that
        any request has."""
        payload_hash = hashlib.sha256(body).hexdigest() if body else EMPTY_SHA256
        headers = headers or self.headers.of_any
        request = S3Request(method, self.bucket, key, query, headers, body, len(body), payload_hash)
        return self.driver.transport.exchange(request)

    def pages(
        self, key: str, query: list[tuple[str, str]], markers: Mapping[str, str]
    ) -> Iterator[Element]:
        """The pages of a listing.  ``markers``: the elements of a page that say where the next
        begins, and the query's names for them."""
        marked: tuple[tuple[str, str], ...] = ()
        seen = {marked}
        while True:
            answer = self.exchange("GET", key, [*query, *marked])
            page = parsed(answer.body)
            if page is None:
                raise Transient("the service answered with a listing that is no XML")
            yield page
            answered = fields(page)
            following = {name: answered.get(f"Next{tag}", "") for tag, name in markers.items()}
            if "key-marker" in following:
                following["key-marker"] = decoded(page, following["key-marker"])
            marked = tuple(following.items())
            if answered.get("IsTruncated") != "true" or marked in seen:
                return
            seen.add(marked)
