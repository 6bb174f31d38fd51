"""Headers of the requests that make objects, by the run's options.  Pure."""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import quote, urlencode

from ..base import Metadata
from .headers import Pairs, header, metadata_headers
from .options import AUTO, S3Options

CREATE_ONLY = ("if-none-match", "*")
"""The header of a request that is to replace nothing.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
"""
EXISTS = "an object of this name exists"
"""Why such a request is refused."""
_PAYS = ("x-amz-request-payer", "requester")
_TYPES = 256
"""Content types to remember."""


class ObjectHeaders:
    """What describes an object, and on what condition it is made.

    All that objects share is put together once for each content type.
    """

    def __init__(self, options: S3Options | None = None) -> None:
        options = options or S3Options()
        self.create_only = options.if_none_match
        """An object that is there stays."""
        self.encryption = options.sse
        """The encryption that is asked for; None leaves it to the bucket."""
        self.of_any: Pairs = (_PAYS,) if options.request_payer else ()
        """Of every request about an object, an upload or a part.
        https://docs.aws.amazon.com/AmazonS3/latest/userguide/ObjectsinRequesterPaysBuckets.html
        """
        condition = (CREATE_ONLY,) if self.create_only else ()
        self.of_completion: Pairs = (*self.of_any, *condition)
        """Of the request that makes an object out of parts."""
        given = {
            "cache-control": options.cache_control,
            "x-amz-acl": options.acl,
            "x-amz-server-side-encryption": options.sse,
            "x-amz-server-side-encryption-aws-kms-key-id": options.sse_kms_key_id,
            "x-amz-storage-class": options.storage_class,
            "x-amz-tagging": urlencode(options.tag, quote_via=quote, safe=""),
        }
        described = [header(name, value) for name, value in given.items() if value]

        @lru_cache(maxsize=_TYPES)
        def shared(content_type: str) -> Pairs:
            if options.content_type != AUTO:
                content_type = options.content_type
            return (header("content-type", content_type), *described, *self.of_any)

        @lru_cache(maxsize=_TYPES)
        def shared_by_puts(content_type: str) -> Pairs:
            return (*shared(content_type), *condition)

        self._shared = shared
        self._shared_by_puts = shared_by_puts

    def of_put(self, metadata: Metadata, content_type: str) -> list[tuple[str, str]]:
        """Of the request that stores an object as a whole; ``content_type``: the guessed one."""
        return [*self._shared_by_puts(content_type), *metadata_headers(metadata)]

    def of_upload(self, metadata: Metadata, content_type: str) -> list[tuple[str, str]]:
        """Of the request that begins a multipart upload; it takes no condition.
        https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes-enforce.html
        """
        return [*self._shared(content_type), *metadata_headers(metadata)]
