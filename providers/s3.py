"""Amazon S3 and the servers that speak its protocol.

A libcloud S3 driver whose upload path is direct: each request is built, signed and sent here, on
one kept connection.  What is rare (listing, deleting, downloading) stays libcloud's own, on the
same kind of connection and with the same signing.

Proof of content: each object and part carries its CRC-64/NVME.  A service that knows the header
checks it and echoes it.  One that does not is asked by MD5: either its ETag is the MD5 of the
bytes, or (encryption makes it something else) the bytes go with a Content-MD5 that it must check.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html
"""

from __future__ import annotations

import hashlib
import re
import time
from calendar import timegm
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import parse_qsl
from xml.etree.ElementTree import Element, SubElement, tostring

import gevent
from libcloud.common.aws import AWSDriver
from libcloud.storage.base import Container, Object
from libcloud.storage.drivers.s3 import (
    BaseS3StorageDriver,
    S3RawResponse,
    S3Response,
    S3SignatureV4Connection,
)

from . import _aws
from ._conn_class import LibcloudConnection
from ._crc import CRCS, Crc, base64
from ._http import Connection, Endpoint, Response, Sender, Timeouts, environment_proxy, tls_context
from ._limit import within
from ._s3_addressing import checked, locate
from ._s3_answers import ServiceError, decoded, fields, found, key_of, parsed, root_of, rows
from ._s3_body import Body, md5_of, proven_part
from ._s3_headers import META, Pairs, header, metadata_headers, metadata_value
from ._sigv4 import (
    EMPTY_SHA256,
    UNSIGNED_PAYLOAD,
    Credentials,
    Signer,
    amz_date,
    canonical_query,
    quote_path,
)
from .base import (
    MIB,
    Cloud,
    CloudSettings,
    Metadata,
    ObjectInfo,
    Part,
    PartRules,
    Prepared,
    Session,
    UploadInfo,
)
from .errors import (
    Corrupted,
    Denied,
    Failure,
    Fatal,
    NoBucket,
    NotFound,
    Rejected,
    StaleConnection,
    Transient,
)
from .source import Source, guess_content_type
from .traffic import Traffic

USER_AGENT = "uploader"
NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
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


class Service:
    """One S3 service as one process sees it: address, account, and what was learned about it."""

    def __init__(
        self,
        endpoint_url: str | None,
        region: str,
        credentials: Callable[[], Credentials],
        *,
        ca_bundle: str | None = None,
        timeout: float = 60.0,
        checksum: str = "crc64nvme",
        unsigned_payload: bool = False,
        refused: Callable[[str | None], None] | None = None,
        addressing: str = "auto",
        variant: _aws.Variant | None = None,
        traffic: Traffic | None = None,
        notices: list[str] | None = None,
    ) -> None:
        """``checksum`` is one of ``CRCS`` or ``md5``; ``unsigned_payload`` counts without TLS only;
        ``refused`` is told the token of credentials that the service refuses as expired;
        ``addressing`` as in ``CloudSettings``; ``variant`` of AWS's endpoints, None: what the
        environment says; ``notices`` gets lines for the user.

        Raises ``Fatal`` when there is no such endpoint or the CA file cannot be read.
        """
        variant = variant or _aws.Variant.of_environment()
        self.is_aws = endpoint_url is None
        """No endpoint was given: it is AWS's own."""
        if endpoint_url is None:
            endpoint_url, region = _aws.endpoint_of(region, variant)
        elif any(variant):
            raise Fatal(
                "AWS_USE_FIPS_ENDPOINT and AWS_USE_DUALSTACK_ENDPOINT do not go with an endpoint "
                "that is given by its URL"
            )
        self.endpoint = _endpoint(endpoint_url)
        self.region = region
        self.credentials = credentials
        self.refused = refused
        self.timeouts = Timeouts(connect=min(10.0, timeout), idle=timeout)
        self.tls = _tls(ca_bundle) if self.endpoint.secure else None
        self.signs_payload = not unsigned_payload and not self.endpoint.secure
        """The content is part of the signature.  TLS protects it as well, and costs enough."""
        self.traffic = Traffic() if traffic is None else traffic
        self.notices = [] if notices is None else notices
        self._addressing = addressing
        self._signer = Signer(region)
        self._clock_offset = 0.0
        self.crc = CRCS.get(checksum)
        """The checksum that proves the content; None: MD5 does."""
        self.echoes_checksum: bool | None = None if self.crc else False
        """The service answers with the checksum it was given; None before the first answer."""
        self.knows_checksum = False
        """It has done so once."""
        self.wants_content_md5 = self.crc is None
        """The service's ETags are no MD5s, so only a Content-MD5 proves what arrived."""
        self.was_missing: set[str] = set()
        """Buckets that were not there when they were first looked for."""

    def address(self, bucket: str) -> tuple[Endpoint, str]:
        """Where a bucket is: the endpoint to connect to and the path before the key.  Raises
        ``Fatal`` when there can be no such bucket."""
        return locate(self.endpoint, bucket, self._addressing, self.is_aws)

    def connection(self, endpoint: Endpoint) -> Connection:
        """A connection, opened by its first request."""
        proxy = environment_proxy(endpoint)
        return Connection(endpoint, self.timeouts, self.tls, proxy, traffic=self.traffic)

    def prove_by_md5(self) -> None:
        """The service refuses the checksum: from now on it is asked without."""
        if self.crc:
            self.notices.append(
                f"the service does not know {self.crc.header}: content is proven by MD5 instead"
            )
        self.crc = None
        self.echoes_checksum = False

    def sign(
        self, method: str, host: str, path: str, query: str, headers: Pairs, payload_hash: str
    ) -> list[tuple[str, str]]:
        """The headers to send, names in lower case: those given, the signature, and what it needs.

        https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
        """
        credentials = self.credentials()
        date = amz_date(time.time() + self._clock_offset)
        signed = [
            *headers,
            ("host", host),
            ("x-amz-content-sha256", payload_hash),
            ("x-amz-date", date),
        ]
        if credentials.token:
            signed.append(("x-amz-security-token", credentials.token))
        signed.sort()
        authorization = self._signer.authorization(
            credentials, date, method, path, query, signed, payload_hash
        )
        signed.append(("authorization", authorization))
        return signed

    def adopt_clock(self, http_date: str | None, signed_date: str) -> bool:
        """Takes over the service's time from a Date header; False when the request was signed with
        that very time (what others have learned meanwhile does not count)."""
        try:
            theirs = parsedate_to_datetime(http_date or "").timestamp()
        except (TypeError, ValueError):
            return False
        self._clock_offset = theirs - time.time()
        return abs(theirs - timegm(time.strptime(signed_date, "%Y%m%dT%H%M%SZ"))) > 60


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
        self.ex_location_name = "" if service.region == _aws.DEFAULT_REGION else service.region
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
        wanted.update(_object_headers(tuple(meta.items()), kind or guess_content_type(object_name)))
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


class S3Session(Session):
    """One driver and the bucket it uploads to."""

    def __init__(self, driver: S3Driver, bucket: str) -> None:
        self.driver = driver
        self._bucket = bucket

    def put(self, key: str, source: Source, metadata: Metadata, content_type: str) -> None:
        """One PUT.  https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html"""
        headers = _object_headers(metadata, content_type)
        self.driver.store(self._bucket, key, (), headers, source, range(source.size))

    def stat(self, key: str) -> ObjectInfo:
        """One HEAD.  https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html"""
        headers = self._exchange("HEAD", key).headers
        metadata = {k[len(META) :]: v for k, v in headers.items() if k.startswith(META)}
        size = headers.get("content-length", "")
        if not size.isdecimal():
            raise Transient("the service does not tell the object's size")
        return ObjectInfo(int(size), metadata, headers.get("content-type", ""))

    def begin(self, key: str, metadata: Metadata, content_type: str) -> str:
        """https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateMultipartUpload.html"""
        headers = _object_headers(metadata, content_type)
        crc = self.driver.service.crc
        checksum = []
        if crc:
            checksum = [
                ("x-amz-checksum-algorithm", crc.name.upper()),
                ("x-amz-checksum-type", "FULL_OBJECT"),
            ]
        request = S3Request("POST", self._bucket, key, [("uploads", "")], headers)
        answer = self.driver.exchange_with_checksum(request, checksum)
        upload_id = found(answer.body, "UploadId")
        if not upload_id:
            raise Transient("the service began a multipart upload without naming it")
        return upload_id

    def put_part(
        self, key: str, upload_id: str, number: int, source: Source, offset: int, length: int
    ) -> Part:
        """https://docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPart.html"""
        query = [("partNumber", str(number)), ("uploadId", upload_id)]
        span = range(offset, offset + length)
        etag, checksum = self.driver.store(self._bucket, key, query, (), source, span)
        return Part(number, length, etag, checksum)

    def complete(self, key: str, upload_id: str, parts: Sequence[Part]) -> None:
        """https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html

        When an earlier attempt had in truth succeeded, the upload is gone and the object there:
        that counts as success.
        """
        service = self.driver.service
        crc = service.crc if service.echoes_checksum else None
        body = _completion(parts, crc)
        headers = [("content-type", "application/xml")]
        checksum = None
        if crc:
            checksum = crc.text(_combined(parts, crc))
            headers += [
                (crc.header, checksum),
                ("x-amz-checksum-type", "FULL_OBJECT"),
                ("x-amz-mp-object-size", str(sum(part.size for part in parts))),
            ]
        try:
            answer = self._exchange("POST", key, [("uploadId", upload_id)], headers, body)
        except NotFound:
            if not self._is_there(key, parts):
                raise
            return
        page = parsed(answer.body)
        made = {} if page is None else fields(page)
        # Ceph 16 leaves the ETag empty.
        if not made.get("ETag") and not made.get("Key"):
            raise Transient("the service answered without naming the object that it made")
        echo = made.get(crc.tag) if crc else None
        if echo and echo != checksum:
            raise Corrupted("the service put other bytes together: its checksum differs")

    def abort(self, key: str, upload_id: str) -> None:
        """https://docs.aws.amazon.com/AmazonS3/latest/API/API_AbortMultipartUpload.html"""
        try:
            self._exchange("DELETE", key, [("uploadId", upload_id)])
        except NotFound:
            return

    def uploads(self, prefix: str) -> Iterator[UploadInfo]:
        """https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListMultipartUploads.html"""
        query = [("uploads", ""), ("encoding-type", "url")]
        if prefix:
            query.append(("prefix", prefix))
        for page in self._pages(
            "", query, {"KeyMarker": "key-marker", "UploadIdMarker": "upload-id-marker"}
        ):
            for row in rows(page, "Upload"):
                begun = _epoch(row.get("Initiated", ""))
                # What is not said to be ours, and when it was begun, is left alone.
                if begun is not None and row.get("Key") and row.get("UploadId"):
                    yield UploadInfo(key_of(page, row, prefix), row["UploadId"], begun)

    def stored_parts(self, key: str, upload_id: str, source: Source, part_size: int) -> list[Part]:
        """https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListParts.html"""
        parts = {}
        for page in self._pages(
            key, [("uploadId", upload_id)], {"PartNumberMarker": "part-number-marker"}
        ):
            for row in rows(page, "Part"):
                part = proven_part(row, source, part_size, self.driver.service.crc)
                if part:
                    parts[part.number] = part
                gevent.sleep(0)
        return list(parts.values())

    def _pages(
        self, key: str, query: list[tuple[str, str]], markers: Mapping[str, str]
    ) -> Iterator[Element]:
        """The answers to a listing; ``markers`` name where each says that the next begins."""
        marked: tuple[tuple[str, str], ...] = ()
        seen = {marked}
        while True:
            answer = self._exchange("GET", key, [*query, *marked])
            page = parsed(answer.body)
            if page is None:
                raise Transient("the service answered with a listing that is no XML")
            yield page
            told = fields(page)
            following = {name: told.get(f"Next{tag}", "") for tag, name in markers.items()}
            if "key-marker" in following:
                following["key-marker"] = decoded(page, following["key-marker"])
            marked = tuple(following.items())
            if told.get("IsTruncated") != "true" or marked in seen:
                return
            seen.add(marked)

    def close(self) -> None:
        """Closes the driver's connections."""
        self.driver.close()

    def check(self, limit: float) -> None:
        """A HEAD of the bucket: a refusal is a sign of life."""
        try:
            within(limit, lambda: self._exchange("HEAD"))
        except (Rejected, Fatal):
            return

    def prepare_bucket(self, create: bool) -> Prepared:
        """See ``Cloud.prepare``.

        A HEAD asks, since listing all buckets needs a permission that careful keys lack.
        https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadBucket.html
        """
        was_missing, note = self.driver.service.was_missing, ""
        try:
            self._exchange("HEAD")
        except NotFound:
            if not create:
                raise NoBucket(f"bucket {self._bucket} does not exist") from None
            # The answer to its creation may be lost: it is new all the same.
            was_missing.add(self._bucket)
            note = self._create_bucket()
        except Rejected:
            self._ask_why()
        created = self._bucket in was_missing
        was_missing.discard(self._bucket)
        return Prepared(created, note)

    def _ask_why(self) -> None:
        """A refused HEAD has no body that says why; a refused listing has.

        A key that may only put objects is refused both, which is no reason to stop.
        """
        query = [("list-type", "2"), ("max-keys", "1")]
        try:
            self._exchange("GET", query=query)
        except Denied:
            return
        except Rejected as failure:
            raise Fatal(f"bucket {self._bucket} cannot be used: {failure}") from None

    def _create_bucket(self) -> str:
        """https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html

        Without an ACL or policy a new bucket is its owner's alone.
        """
        body = b""
        if self.driver.ex_location_name:
            root = Element("CreateBucketConfiguration", xmlns=NAMESPACE)
            SubElement(root, "LocationConstraint").text = self.driver.ex_location_name
            body = tostring(root)
        try:
            self._exchange("PUT", body=body)
        except Rejected as failure:
            if "BucketAlreadyOwnedByYou" in str(failure):
                return ""
            raise Fatal(f"bucket {self._bucket} cannot be created: {failure}") from None
        return f"created bucket {self._bucket}, private to its owner"

    def _is_there(self, key: str, parts: Sequence[Part]) -> bool:
        """The object is the one that these parts make: its ETag is the MD5 of their MD5s.

        A service that refuses to say so (to a key that may only put objects) proves nothing.
        """
        try:
            headers = self._exchange("HEAD", key).headers
            digests = b"".join(bytes.fromhex(part.etag) for part in parts)
        except (Rejected, ValueError):
            return False
        expected = f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(parts)}"
        return headers.get("etag", "").strip('"') == expected

    def _exchange(
        self, method: str, key: str = "", query: Pairs = (), headers: Pairs = (), body: bytes = b""
    ) -> Response:
        """A request about the bucket, its body signed."""
        payload_hash = hashlib.sha256(body).hexdigest() if body else EMPTY_SHA256
        request = S3Request(
            method, self._bucket, key, query, headers, body, len(body), payload_hash
        )
        return self.driver.exchange(request)


class S3Cloud(Cloud):
    """S3's limits: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html"""

    parts = PartRules(
        threshold=16 * MIB, part_size=8 * MIB, max_part_size=5 * 1024 * MIB, max_parts=10_000
    )

    def __init__(self, settings: CloudSettings) -> None:
        super().__init__(settings)
        checked(settings.bucket)
        account = _aws.resolve(settings)
        self._service = Service(
            account.endpoint_url,
            account.region,
            account.credentials,
            ca_bundle=settings.ca_bundle,
            timeout=settings.timeout,
            checksum=settings.checksum,
            unsigned_payload=settings.unsigned_payload,
            refused=account.refused,
            addressing=settings.addressing,
            variant=account.variant,
            traffic=self.traffic,
            notices=self.notices,
        )
        self._service.address(settings.bucket)

    def open(self) -> S3Session:
        """A driver of its own for each session; the service's state is shared."""
        return S3Session(S3Driver(self._service), self.settings.bucket)

    def destination(self) -> str:
        """The endpoint, the account by a hash of its access key, the region and the bucket.

        AWS's buckets are known by their names alone, and temporary keys change: no account there.
        """
        service = self._service
        endpoint = service.endpoint
        account = "aws"
        if not service.is_aws:
            account = hashlib.sha256(service.credentials().access_key.encode()).hexdigest()[:16]
        scheme = "https" if endpoint.secure else "http"
        address = f"{scheme}://{endpoint.address}{endpoint.path}"
        return f"s3 {address} {account} {service.region} {self.settings.bucket}"

    def prepare(self, create: bool) -> Prepared:
        """See ``S3Session.prepare_bucket``."""
        session = self.open()
        try:
            return session.prepare_bucket(create)
        finally:
            session.close()


CLOUD = S3Cloud


def _object_headers(metadata: Metadata, content_type: str) -> list[tuple[str, str]]:
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


def _epoch(text: str) -> float | None:
    """Seconds since 1970 of a time in a listing; None when it is none."""
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
        return moment.replace(tzinfo=moment.tzinfo or timezone.utc).timestamp()
    except (OverflowError, ValueError):
        return None


def _combined(parts: Sequence[Part], crc: Crc) -> int:
    """The checksum of the whole object."""
    whole = 0
    for part in parts:
        whole = crc.combine(whole, part.checksum, part.size)
    return whole


def _completion(parts: Sequence[Part], crc: Crc | None) -> bytes:
    root = Element("CompleteMultipartUpload", xmlns=NAMESPACE)
    for part in parts:
        element = SubElement(root, "Part")
        SubElement(element, "PartNumber").text = str(part.number)
        SubElement(element, "ETag").text = f'"{part.etag}"'
        if crc:
            SubElement(element, crc.tag).text = crc.text(part.checksum)
    return bytes(tostring(root))


def _is_md5(etag: str, headers: Mapping[str, str]) -> bool:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html, under ETag."""
    encrypted = headers.get("x-amz-server-side-encryption", "AES256") != "AES256"
    own_key = "x-amz-server-side-encryption-customer-algorithm" in headers
    return bool(_HEX_MD5.fullmatch(etag)) and not encrypted and not own_key


def _endpoint(url: str) -> Endpoint:
    try:
        return Endpoint.parse(url)
    except ValueError as error:
        raise Fatal(f"--endpoint-url: {error}") from None


def _tls(ca_bundle: str | None) -> Any:
    try:
        return tls_context(ca_bundle)
    except OSError as error:
        raise Fatal(f"cannot read the CA certificates in {ca_bundle}: {error.strerror}") from None
