"""libcloud's S3 driver with an upload path of its own.

Uploads go through ``Transport``.  What is rare (listing, deleting, downloading) stays libcloud's
own, on the same kind of connection and with the same signature.
"""

from __future__ import annotations

import re
from typing import Any

from libcloud.common.aws import AWSDriver
from libcloud.storage.base import Container, Object
from libcloud.storage.drivers.s3 import BaseS3StorageDriver

from ..errors import Rejected, Transient
from ..source import Source, guess_content_type
from .answers import is_made_of_md5
from .body import Body, md5_of
from .checksums import base64
from .connection import S3Connection
from .endpoints import DEFAULT_REGION
from .headers import Pairs, given_header, header
from .service import Service
from .transport import S3Request, Transport

ANY_REGION = "auto"
"""What services without regions of S3's kind call theirs: Google's, Cloudflare's."""
_HEX_MD5 = re.compile("[0-9a-f]{32}")
_OURS = {
    "authorization",
    "connection",
    "content-length",
    "content-md5",
    "expect",
    "host",
    "transfer-encoding",
    "user-agent",
    "x-amz-content-sha256",
    "x-amz-date",
    "x-amz-security-token",
}
"""Headers that a caller of libcloud's API cannot set."""


class S3Driver(AWSDriver, BaseS3StorageDriver):  # type: ignore[misc]
    """libcloud's S3 driver for any S3 service and region, with a direct path for uploads.

    Like every libcloud driver it belongs to one greenlet or thread.
    """

    name = "S3"
    connectionCls = S3Connection

    def __init__(self, service: Service) -> None:
        self.service = service
        self.transport = Transport(service)
        self.region_name = service.region
        endpoint = service.endpoint
        credentials = service.credentials()
        super().__init__(
            credentials.access_key,
            credentials.secret_key,
            secure=endpoint.secure,
            host=endpoint.host,
            port=endpoint.port,
            region=service.region,
            token=credentials.token,
        )

    @property
    def ex_location_name(self) -> str:
        """Where libcloud creates buckets; empty for AWS's first region, which has no name there."""
        region = self.service.region
        return "" if region in (DEFAULT_REGION, ANY_REGION) else region

    def close(self) -> None:
        """Closes the direct connection and libcloud's own, if they are open."""
        self.transport.close()
        if self.connection.connection:
            self.connection.connection.close()

    def store(
        self, bucket: str, key: str, query: Pairs, headers: Pairs, source: Source, span: range
    ) -> tuple[str, int]:
        """Puts the bytes ``span`` of a file, as an object or (by ``query``) as a part of one.

        Returns the ETag, without quotes, and the checksum, once the content is proven.
        """
        service = self.service
        body = Body.describe(
            source,
            span,
            service.crc,
            with_sha256=service.signs_payload,
            with_md5=service.echoes_checksum is False,
        )
        request = S3Request(
            "PUT", bucket, key, query, headers, body.content, body.size, body.payload_hash
        )
        while True:
            crc = service.crc
            checksum = [(crc.header, crc.text(body.checksum))] if crc else []
            with_md5 = service.wants_content_md5
            if with_md5:
                request = request._replace(headers=[*headers, _content_md5(body, source, span)])
            response = self.transport.offer(request, checksum)
            if response is None:
                request = request._replace(headers=[*headers, _content_md5(body, source, span)])
                response = self.transport.exchange(request)
                service.prove_by_md5()
                with_md5 = True
            etag = response.headers.get("etag", "").strip('"')
            if not etag:
                raise Transient(
                    "the answer has no ETag, so nothing proves that the object was stored"
                )
            echo = response.headers.get(crc.header) if crc else None
            service.echoes_checksum = echo is not None
            if echo is not None:
                if not service.knows_checksum:
                    service.prove_by_checksum()
                if echo != checksum[0][1]:
                    raise Transient("the service stored other bytes: its checksum differs")
                return etag, body.checksum
            asked = service.object_headers.encryption
            if _HEX_MD5.fullmatch(etag) and is_made_of_md5(response.headers, asked):
                if bytes.fromhex(etag) != (body.md5 or md5_of(source, span)):
                    raise Transient("the service stored other bytes: its ETag is not their MD5")
                return etag, body.checksum
            if with_md5:
                return etag, body.checksum
            # Nothing proves what was stored: once more, with a Content-MD5.
            service.wants_content_md5 = True

    def upload_object(
        self,
        file_path: str,
        container: Container,
        object_name: str,
        extra: dict[str, Any] | None = None,
        verify_hash: bool = True,
        headers: dict[str, str] | None = None,
        ex_storage_class: str | None = None,
    ) -> Object:
        """libcloud's call, on the direct path: one PUT, content proven whatever ``verify_hash``."""
        extra = extra or {}
        meta = {str(k).lower(): str(v) for k, v in (extra.get("meta_data") or {}).items()}
        wanted = dict(given_header(name, value) for name, value in (headers or {}).items())
        if ours := sorted(wanted.keys() & _OURS):
            raise Rejected(f"the header {ours[0]} is not the caller's to set")
        if ex_storage_class:
            wanted.update(self._to_storage_class_headers(ex_storage_class))
        if extra.get("acl"):
            wanted.update([header("x-amz-acl", str(extra["acl"]))])
        kind = extra.get("content_type") or wanted.get("content-type")
        kind = kind or guess_content_type(object_name)
        wanted.update(self.service.object_headers.of_put(tuple(meta.items()), kind))
        pairs = tuple(wanted.items())
        with Source(file_path) as source:
            etag, _ = self.store(container.name, object_name, (), pairs, source, range(source.size))
            size = source.size
        acl = {"acl": extra.get("acl")}
        return Object(object_name, size, etag, acl, meta, container, self)


def _content_md5(body: Body, source: Source, span: range) -> tuple[str, str]:
    return "content-md5", base64(body.md5 or md5_of(source, span))
