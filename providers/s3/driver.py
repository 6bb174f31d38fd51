"""libcloud's S3 driver with an upload path of its own.

Each request of an upload is built, signed and sent here, on one kept connection.  What is rare
(listing, deleting, downloading) stays libcloud's own, on the same kind of connection and with the
same signing.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from libcloud.common.aws import AWSDriver
from libcloud.storage.base import Container, Object
from libcloud.storage.drivers.s3 import (
    BaseS3StorageDriver,
    S3RawResponse,
    S3Response,
    S3SignatureV4Connection,
)

from ..base import Metadata
from ..errors import Failure, Rejected, StaleConnection, Transient
from ..http.conn_class import LibcloudConnection
from ..http.connection import Connection
from ..http.response import Response
from ..http.sender import Sender
from ..source import Source, guess_content_type
from .answers import ServiceError, root_of
from .body import Body, md5_of
from .checksums import base64
from .credentials import DEFAULT_REGION
from .headers import META, Pairs, header, metadata_headers, metadata_value
from .service import Service
from .sigv4 import EMPTY_SHA256, UNSIGNED_PAYLOAD, canonical_query, quote_path

USER_AGENT = "uploader"
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


class S3Connection(S3SignatureV4Connection):  # type: ignore[misc]
    """libcloud's side of a connection: our socket under it, our signature on it."""

    conn_class = LibcloudConnection

    def morph_action_hook(self, action: str) -> str:
        """The path as it is, behind that of the endpoint: libcloud would resolve ``//`` and ``..``,
        which are parts of keys."""
        path: str = self.driver.service.endpoint.path
        return path + action

    def add_default_params(self, params: dict[str, str]) -> dict[str, str]:
        """libcloud would add a version and the token to each query; S3 wants neither."""
        return params

    def add_default_headers(self, headers: dict[str, str]) -> dict[str, str]:
        """The token is added where the signature is made."""
        return headers

    def connect(self, *args: Any, **kwargs: Any) -> None:
        """Opens libcloud's connection with this service's trust and time limits."""
        super().connect(*args, **kwargs)
        service: Service = self.driver.service
        self.connection.configure(service.timeouts, service.tls)

    def pre_connect_hook(
        self, params: dict[str, Any], headers: dict[str, str]
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """Signs the request that libcloud is about to send."""
        data = self.data.encode() if isinstance(self.data, str) else self.data
        if not data:
            payload_hash = EMPTY_SHA256
        elif isinstance(data, bytes):
            payload_hash = hashlib.sha256(data).hexdigest()
        else:
            payload_hash = UNSIGNED_PAYLOAD
        path, _, query = self.action.partition("?")
        pairs = parse_qsl(query, keep_blank_values=True)
        pairs += [(name, str(value)) for name, value in params.items()]
        host = headers.pop("Host")
        # Names that differ in their case only are one header: the last one counts.
        amz = dict(_given(k, v) for k, v in headers.items() if k.lower().startswith("x-amz-"))
        service: Service = self.driver.service
        asked = canonical_query(pairs)
        signed = service.sign(self.method, host, path, asked, [*amz.items()], payload_hash)
        others = {k: v for k, v in headers.items() if not k.lower().startswith("x-amz-")}
        return params, {**others, **dict(signed)}


class _FailingResponse:
    """Turns libcloud's untyped errors into ours."""

    def parse_error(self: Any) -> None:
        """Raises the failure that the answer stands for."""
        error = ServiceError.parse(self.status, self.headers, str(self.body or "").encode())
        raise error.failure(self.connection.driver.service.region)


class _Response(_FailingResponse, S3Response):  # type: ignore[misc]
    pass


class _RawResponse(_FailingResponse, S3RawResponse):  # type: ignore[misc]
    pass


S3Connection.responseCls = _Response
S3Connection.rawResponseCls = _RawResponse


class S3Request(NamedTuple):
    """One request about a bucket or an object in it."""

    method: str
    bucket: str
    key: str = ""
    query: Pairs = ()
    headers: Pairs = ()
    """Lower-case names; all of them are signed."""
    body: bytes | Callable[[Sender], None] = b""
    size: int = 0
    """Of the body, in bytes."""
    payload_hash: str = EMPTY_SHA256

    @property
    def is_idempotent(self) -> bool:
        """To be asked twice is the same as once.  Of all requests here only one is not: each call
        begins another multipart upload."""
        return self.method != "POST" or self.query[0][0] != "uploads"


class _Place(NamedTuple):
    """A bucket, and the connection to where it is."""

    bucket: str
    host: str
    path: str
    """What comes before the key."""
    connection: Connection


class S3Driver(AWSDriver, BaseS3StorageDriver):  # type: ignore[misc]
    """libcloud's S3 driver for any S3 service and region, with a direct path for uploads.

    Like every libcloud driver it belongs to one greenlet or thread.
    """

    name = "S3"
    connectionCls = S3Connection

    def __init__(self, service: Service) -> None:
        self.service = service
        self.region_name = service.region
        self.ex_location_name = "" if service.region == DEFAULT_REGION else service.region
        self._place: _Place | None = None
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

    def exchange(self, request: S3Request) -> Response:
        """Sends one signed request and returns its answer, 2xx with no error inside.

        Raises the ``Failure`` that any other answer, or none, stands for.
        """
        response, signed = self._ask(request, request.headers)
        if _is_success(response):
            return response
        raise self._failure(ServiceError.of(response), response, signed)

    def exchange_with_checksum(self, request: S3Request, checksum: Pairs) -> Response:
        """The same with headers that a service may not know.

        When it refuses the request for what may be their sake, it gets it at once without them,
        and if that succeeds, all others as well.
        """
        if not checksum:
            return self.exchange(request)
        response, signed = self._ask(request, [*request.headers, *checksum])
        if _is_success(response):
            return response
        error = ServiceError.of(response)
        if self.service.knows_checksum or not error.may_be_about_a_header:
            raise self._failure(error, response, signed)
        response = self.exchange(request)
        self.service.prove_by_md5()
        return response

    def _ask(self, request: S3Request, headers: Pairs) -> tuple[Response, Pairs]:
        """The answer to a request with these headers, whatever it is, and the headers that were
        signed."""
        place = self._place_of(request.bucket)
        base, key = place.path, request.key
        try:
            path = base + quote_path(key) if key else base.rstrip("/") or "/"
            question = canonical_query(request.query)
        except UnicodeEncodeError:
            raise Rejected("the key is not valid UTF-8") from None
        method = request.method
        signed = self.service.sign(
            method, place.host, path, question, headers, request.payload_hash
        )
        target = f"{path}?{question}" if question else path
        lines = "\r\n".join(map(": ".join, signed))
        head = (
            f"{method} {target} HTTP/1.1\r\n{lines}\r\n"
            f"content-length: {request.size}\r\nuser-agent: {USER_AGENT}\r\n\r\n"
        ).encode()
        expects_body = method != "HEAD"
        send = place.connection.request
        try:
            return send(head, request.body, expects_body=expects_body), signed
        except StaleConnection:
            if not request.is_idempotent:
                raise
        return send(head, request.body, expects_body=expects_body), signed

    def close(self) -> None:
        """Closes the direct connection and libcloud's own, if they are open."""
        if self._place:
            self._place.connection.close()
            self._place = None
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
                md5 = body.md5 or md5_of(source, span)
                request = request._replace(headers=[*headers, ("content-md5", base64(md5))])
            response = self.exchange_with_checksum(request, checksum)
            etag = response.headers.get("etag", "").strip('"')
            if not etag:
                raise Transient("the answer has no ETag: it is none of a service that stored")
            echo = response.headers.get(crc.header) if crc else None
            service.echoes_checksum = echo is not None
            if echo is not None:
                service.knows_checksum = True
                if echo != checksum[0][1]:
                    raise Transient("the service stored other bytes: its checksum differs")
                return etag, body.checksum
            if _is_md5(etag, response.headers):
                if bytes.fromhex(etag) != (body.md5 or md5_of(source, span)):
                    raise Transient("the service stored other bytes: its ETag is not their MD5")
                return etag, body.checksum
            if with_md5:
                return etag, body.checksum
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
        wanted = dict(_given(name, value) for name, value in (headers or {}).items())
        if ours := sorted(wanted.keys() & _OURS):
            raise Rejected(f"the header {ours[0]} is not the caller's to set")
        if ex_storage_class:
            wanted.update(self._to_storage_class_headers(ex_storage_class))
        if extra.get("acl"):
            wanted.update([header("x-amz-acl", str(extra["acl"]))])
        kind = extra.get("content_type") or wanted.get("content-type")
        wanted.update(object_headers(tuple(meta.items()), kind or guess_content_type(object_name)))
        pairs = tuple(wanted.items())
        with Source(file_path) as source:
            etag, _ = self.store(container.name, object_name, (), pairs, source, range(source.size))
            size = source.size
        acl = {"acl": extra.get("acl")}
        return Object(object_name, size, etag, acl, meta, container, self)

    def _place_of(self, bucket: str) -> _Place:
        if self._place is None or self._place.bucket != bucket:
            if self._place:
                self._place.connection.close()
            endpoint, path = self.service.address(bucket)
            connection = self.service.connection(endpoint)
            self._place = _Place(bucket, endpoint.authority, path, connection)
        return self._place

    def _failure(self, error: ServiceError, response: Response, signed: Pairs) -> Failure:
        if error.code == "RequestTimeTooSkewed" and self.service.adopt_clock(
            response.headers.get("date"), dict(signed)["x-amz-date"]
        ):
            return Transient(f"{error.code}: trying again with the service's clock")
        if error.code in ("ExpiredToken", "TokenRefreshRequired"):
            used = dict(signed).get("x-amz-security-token")
            if self.service.refused:
                self.service.refused(used)
            if self.service.credentials().token != used:
                return Transient(f"{error.code}: trying again with renewed credentials")
        return error.failure(self.service.region)


def object_headers(metadata: Metadata, content_type: str) -> list[tuple[str, str]]:
    return [_content_type(content_type), *metadata_headers(metadata)]


@lru_cache(maxsize=256)
def _content_type(value: str) -> tuple[str, str]:
    return header("content-type", value)


def _given(name: str, value: object) -> tuple[str, str]:
    """A header as a caller of libcloud's API gives it, fit to be signed and sent."""
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    if name.lower().startswith(META):
        text = metadata_value(name, text)
    return header(name, text)


def _is_success(response: Response) -> bool:
    """Complete may answer 200 and then fail: what the answer is called tells.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html
    """
    body = response.body
    return 200 <= response.status < 300 and (not body or root_of(body) != "Error")


def _is_md5(etag: str, headers: Mapping[str, str]) -> bool:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html, under ETag."""
    encrypted = headers.get("x-amz-server-side-encryption", "AES256") != "AES256"
    own_key = "x-amz-server-side-encryption-customer-algorithm" in headers
    return bool(_HEX_MD5.fullmatch(etag)) and not encrypted and not own_key
