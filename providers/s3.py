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
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import parse_qsl
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape

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
from ._s3_answers import ServiceError, fields, found, parsed, rows
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
    NotFound,
    Rejected,
    StaleConnection,
    Transient,
)
from .source import BLOCK_SIZE, Source, guess_content_type

Pairs = Sequence[tuple[str, str]]

USER_AGENT = "uploader"
_HEX_MD5 = re.compile("[0-9a-f]{32}")


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
        renewable: bool = False,
    ) -> None:
        """``checksum`` is one of ``CRCS`` or ``md5``; ``unsigned_payload`` counts without TLS only;
        ``renewable``: ``credentials`` gives others some time after they were refused as expired.

        Raises ``Fatal`` when the endpoint is no URL or the CA file cannot be read.
        """
        self._virtual_hosts = endpoint_url is None
        self.endpoint = _endpoint(endpoint_url or f"https://s3.{region}.{_aws_domain(region)}")
        self.region = region
        self.credentials = credentials
        self.renewable = renewable
        self.timeouts = Timeouts(connect=min(10.0, timeout), idle=timeout)
        self.tls = _tls(ca_bundle) if self.endpoint.secure else None
        self.signs_payload = not unsigned_payload and not self.endpoint.secure
        """The content is part of the signature.  TLS protects it as well, and costs enough."""
        self._signer = Signer(region)
        self._clock_offset = 0.0
        self.crc = CRCS.get(checksum)
        """The checksum that proves the content; None: MD5 does."""
        self.echoes_checksum: bool | None = None if self.crc else False
        """The service answers with the checksum it was given; None before the first answer."""
        self.wants_content_md5 = self.crc is None
        """The service's ETags are no MD5s, so only a Content-MD5 proves what arrived."""

    def address(self, bucket: str) -> tuple[Endpoint, str]:
        """Where a bucket is: the endpoint to connect to and the path before the key.

        AWS wants the bucket in the host name, but a dot in it would not match the certificate.
        Of other services only the path style is sure to be understood.
        """
        if self._virtual_hosts and "." not in bucket:
            return self.endpoint._replace(host=f"{bucket}.{self.endpoint.host}"), "/"
        return self.endpoint, f"/{quote_path(bucket)}/"

    def connection(self, endpoint: Endpoint) -> Connection:
        """A connection, opened by its first request."""
        return Connection(endpoint, self.timeouts, self.tls, environment_proxy(endpoint))

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


class _Body(NamedTuple):
    """Bytes of a file ready to be sent, described before the first of them goes out."""

    content: bytes | Callable[[Sender], None]
    size: int
    checksum: int
    payload_hash: str
    md5: bytes | None
    """Only when the service is known to need it."""


def _describe(service: Service, source: Source, offset: int, length: int) -> _Body:
    """Reads the bytes and takes their checksums.

    Up to a block is kept in memory and read once.  More is read a second time while it is sent,
    from the page cache: so no part, however large, takes more memory than a block.
    """
    crc, checksum = service.crc, 0
    sha256 = hashlib.sha256() if service.signs_payload else None
    md5 = hashlib.md5(usedforsecurity=False) if service.echoes_checksum is False else None
    blocks = (
        [source.read(offset, length)] if length <= BLOCK_SIZE else source.blocks(offset, length)
    )
    for block in blocks:
        if crc:
            checksum = crc.update(block, checksum)
        if sha256:
            sha256.update(block)
        if md5:
            md5.update(block)
    source.check_unchanged()
    if isinstance(blocks, list):
        content: bytes | Callable[[Sender], None] = blocks[0]
    else:
        content = _Streamed(source, offset, length).send_to
    payload_hash = sha256.hexdigest() if sha256 else UNSIGNED_PAYLOAD
    return _Body(content, length, checksum, payload_hash, md5.digest() if md5 else None)


class _Streamed(NamedTuple):
    """A body that is read while it is sent.  The file is looked at once more before the last block
    goes out, so that a service that checks nothing does not get a mixture of two versions."""

    source: Source
    offset: int
    length: int

    def send_to(self, sender: Sender) -> None:
        """Sends the body; raises ``SourceChanged`` when the file is no longer what it was."""
        last = min(BLOCK_SIZE, self.length)
        self._send(sender, self.offset, self.length - last)
        self.source.check_unchanged()
        self._send(sender, self.offset + self.length - last, last)

    def _send(self, sender: Sender, offset: int, length: int) -> None:
        if sender.zero_copy:
            try:
                sender.sendfile(self.source.fd, offset, length)
            except OSError as error:
                raise Rejected(f"cannot be read: {error.strerror}") from None
            return
        for block in self.source.blocks(offset, length):
            sender.write(block)


class S3Connection(S3SignatureV4Connection):  # type: ignore[misc]
    """libcloud's side of a connection: our socket under it, our signature on it."""

    conn_class = LibcloudConnection

    def morph_action_hook(self, action: str) -> str:
        """The path as it is: libcloud would resolve ``//`` and ``..``, which are parts of keys."""
        return action

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
        amz = [(k.lower(), str(v)) for k, v in headers.items() if k.lower().startswith("x-amz-")]
        host = headers.pop("Host")
        service: Service = self.driver.service
        signed = service.sign(self.method, host, path, canonical_query(pairs), amz, payload_hash)
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

    def exchange(
        self,
        method: str,
        bucket: str,
        key: str = "",
        query: Pairs = (),
        headers: Pairs = (),
        body: bytes | Callable[[Sender], None] = b"",
        size: int = 0,
        payload_hash: str = EMPTY_SHA256,
    ) -> Response:
        """Sends one signed request and returns its answer, 2xx with no error inside.

        ``headers`` have lower-case names; all of them are signed.  ``size`` is the body's length.
        Raises the ``Failure`` that any other answer, or none, stands for.
        """
        service = self.service
        place = self._place_of(bucket)
        base = place.path
        try:
            path = base + quote_path(key) if key else base.rstrip("/") or "/"
        except UnicodeEncodeError:
            raise Rejected("the key is not valid UTF-8") from None
        question = canonical_query(query)
        signed = service.sign(method, place.host, path, question, headers, payload_hash)
        target = f"{path}?{question}" if question else path
        lines = "".join([f"{name}: {value}\r\n" for name, value in signed])
        head = (
            f"{method} {target} HTTP/1.1\r\n{lines}"
            f"content-length: {size}\r\nuser-agent: {USER_AGENT}\r\n\r\n"
        ).encode()
        ask = partial(place.connection.request, head, body, expects_body=method != "HEAD")
        try:
            response = ask()
        except StaleConnection:
            response = ask()
        # Complete may answer 200 and then fail; the element tells, as text in XML has no brackets.
        # https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html
        if 200 <= response.status < 300 and b"<Error>" not in response.body:
            return response
        raise self._failure(response, signed)

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
        crc = service.crc
        body = _describe(service, source, span.start, len(span))
        while True:
            proof = [(crc.header, crc.text(body.checksum))] if crc else []
            with_md5 = service.wants_content_md5
            if with_md5:
                proof.append(("content-md5", base64(body.md5 or _md5(source, span))))
            response = self.exchange(
                "PUT",
                bucket,
                key,
                query,
                [*headers, *proof],
                body.content,
                body.size,
                body.payload_hash,
            )
            etag = response.headers.get("etag", "").strip('"')
            if not etag:
                raise Transient("the answer has no ETag: it is none of a service that stored")
            echo = response.headers.get(crc.header) if crc else None
            service.echoes_checksum = echo is not None
            if echo is not None:
                if echo != proof[0][1]:
                    raise Transient("the service stored other bytes: its checksum differs")
                return etag, body.checksum
            if _is_md5(etag, response.headers):
                if bytes.fromhex(etag) != (body.md5 or _md5(source, span)):
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
        wanted = {k.lower(): str(v) for k, v in (headers or {}).items()}
        if ex_storage_class:
            wanted.update(self._to_storage_class_headers(ex_storage_class))
        if extra.get("acl"):
            wanted["x-amz-acl"] = extra["acl"]
        kind = extra.get("content_type") or guess_content_type(object_name)
        pairs = [*wanted.items(), *_object_headers(tuple(meta.items()), kind)]
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

    def _failure(self, response: Response, signed: Pairs) -> Failure:
        error = ServiceError.parse(response.status, response.headers, response.body)
        if 200 <= error.status < 300:
            error = error._replace(status=500)
        if error.code == "RequestTimeTooSkewed" and self.service.adopt_clock(
            response.headers.get("date"), dict(signed)["x-amz-date"]
        ):
            return Transient(f"{error.code}: trying again with the service's clock")
        if error.code in ("ExpiredToken", "TokenRefreshRequired"):
            used = dict(signed).get("x-amz-security-token")
            if self.service.credentials().token != used:
                return Transient(f"{error.code}: trying again with renewed credentials")
            if self.service.renewable:
                # botocore lets one greenlet ask for new ones, and gives the others the old.
                return Transient(f"{error.code}: waiting for renewed credentials", after=1.0)
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
        headers = self.driver.exchange("HEAD", self._bucket, key).headers
        prefix = "x-amz-meta-"
        metadata = {k[len(prefix) :]: v for k, v in headers.items() if k.startswith(prefix)}
        return ObjectInfo(
            int(headers.get("content-length", 0)), metadata, headers.get("content-type", "")
        )

    def begin(self, key: str, metadata: Metadata, content_type: str) -> str:
        """https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateMultipartUpload.html"""
        headers = _object_headers(metadata, content_type)
        if crc := self.driver.service.crc:
            headers += [
                ("x-amz-checksum-algorithm", crc.name.upper()),
                ("x-amz-checksum-type", "FULL_OBJECT"),
            ]
        answer = self.driver.exchange("POST", self._bucket, key, [("uploads", "")], headers)
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
        payload_hash = hashlib.sha256(body).hexdigest()
        query = [("uploadId", upload_id)]
        try:
            answer = self.driver.exchange(
                "POST",
                self._bucket,
                key,
                query,
                headers,
                body,
                len(body),
                payload_hash,
            )
        except NotFound:
            if not self._is_there(key, parts):
                raise
            return
        # Ceph 16 leaves the ETag empty.
        if not found(answer.body, "ETag") and not found(answer.body, "Key"):
            raise Transient("the service answered without naming the object that it made")
        echo = found(answer.body, crc.tag) if crc else None
        if echo and echo != checksum:
            raise Corrupted("the service put other bytes together: its checksum differs")

    def abort(self, key: str, upload_id: str) -> None:
        """https://docs.aws.amazon.com/AmazonS3/latest/API/API_AbortMultipartUpload.html"""
        try:
            self.driver.exchange("DELETE", self._bucket, key, [("uploadId", upload_id)])
        except NotFound:
            return

    def uploads(self, prefix: str) -> Iterator[UploadInfo]:
        """https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListMultipartUploads.html"""
        query = [("uploads", "")]
        if prefix:
            query.append(("prefix", prefix))
        for page in self._pages(
            "", query, {"KeyMarker": "key-marker", "UploadIdMarker": "upload-id-marker"}
        ):
            for row in rows(page, "Upload"):
                begun = datetime.fromisoformat(row["Initiated"].replace("Z", "+00:00")).timestamp()
                yield UploadInfo(row["Key"], row["UploadId"], begun)

    def stored_parts(self, key: str, upload_id: str, source: Source, part_size: int) -> list[Part]:
        """https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListParts.html"""
        parts = []
        for page in self._pages(
            key, [("uploadId", upload_id)], {"PartNumberMarker": "part-number-marker"}
        ):
            for row in rows(page, "Part"):
                part = _verified(row, source, part_size, self.driver.service.crc)
                if part:
                    parts.append(part)
        return parts

    def _pages(
        self, key: str, query: list[tuple[str, str]], markers: Mapping[str, str]
    ) -> Iterator[Element]:
        """The answers to a listing; ``markers`` name where each says that the next begins."""
        marked: list[tuple[str, str]] = []
        while True:
            answer = self.driver.exchange("GET", self._bucket, key, [*query, *marked])
            page = parsed(answer.body)
            if page is None:
                raise Transient("the service answered with a listing that is no XML")
            yield page
            told = fields(page)
            following = [(name, told.get(f"Next{tag}", "")) for tag, name in markers.items()]
            if told.get("IsTruncated") != "true" or following == marked:
                return
            marked = following

    def close(self) -> None:
        """Closes the driver's connections."""
        self.driver.close()

    def check(self) -> None:
        """A HEAD of the bucket: a refusal is a sign of life."""
        try:
            self.driver.exchange("HEAD", self._bucket)
        except (Rejected, Fatal):
            return

    def prepare_bucket(self, create: bool) -> Prepared:
        """See ``Cloud.prepare``.

        A HEAD asks, since listing all buckets needs a permission that careful keys lack.
        https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadBucket.html
        """
        try:
            self.driver.exchange("HEAD", self._bucket)
        except NotFound:
            if not create:
                raise Fatal(f"bucket {self._bucket} does not exist") from None
            return self._create_bucket()
        except Rejected:
            self._ask_why()
        return Prepared(False, "")

    def _ask_why(self) -> None:
        """A refused HEAD has no body that says why; a refused listing has.

        A key that may only put objects is refused both, which is no reason to stop.
        """
        query = [("list-type", "2"), ("max-keys", "1")]
        try:
            self.driver.exchange("GET", self._bucket, query=query)
        except Denied:
            return
        except Rejected as failure:
            raise Fatal(f"bucket {self._bucket} cannot be used: {failure}") from None

    def _create_bucket(self) -> Prepared:
        """https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html

        Without an ACL or policy a new bucket is its owner's alone.
        """
        body = b""
        if self.driver.ex_location_name:
            body = (
                '<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
                f"<LocationConstraint>{escape(self.driver.ex_location_name)}</LocationConstraint>"
                "</CreateBucketConfiguration>"
            ).encode()
        payload_hash = hashlib.sha256(body).hexdigest()
        try:
            self.driver.exchange(
                "PUT", self._bucket, body=body, size=len(body), payload_hash=payload_hash
            )
        except Rejected as failure:
            if "BucketAlreadyOwnedByYou" in str(failure):
                return Prepared(False, "")
            raise Fatal(f"bucket {self._bucket} cannot be created: {failure}") from None
        return Prepared(True, f"created bucket {self._bucket}, private to its owner")

    def _is_there(self, key: str, parts: Sequence[Part]) -> bool:
        """The object is the one that these parts make: its ETag is the MD5 of their MD5s."""
        try:
            headers = self.driver.exchange("HEAD", self._bucket, key).headers
            digests = b"".join(bytes.fromhex(part.etag) for part in parts)
        except (NotFound, ValueError):
            return False
        expected = f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(parts)}"
        return headers.get("etag", "").strip('"') == expected


class S3Cloud(Cloud):
    """S3's limits: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html"""

    parts = PartRules(
        threshold=16 * MIB, part_size=8 * MIB, max_part_size=5 * 1024 * MIB, max_parts=10_000
    )

    def __init__(self, settings: CloudSettings) -> None:
        super().__init__(settings)
        account = _aws.resolve(settings)
        self._service = Service(
            account.endpoint_url,
            account.region,
            account.credentials,
            ca_bundle=settings.ca_bundle,
            timeout=settings.timeout,
            checksum=settings.checksum,
            unsigned_payload=settings.unsigned_payload,
            renewable=account.renewable,
        )

    def open(self) -> S3Session:
        """A driver of its own for each session; the service's state is shared."""
        return S3Session(S3Driver(self._service), self.settings.bucket)

    def destination(self) -> str:
        """The endpoint, the account by a hash of its access key, the region and the bucket."""
        service = self._service
        account = hashlib.sha256(service.credentials().access_key.encode()).hexdigest()[:16]
        scheme = "https" if service.endpoint.secure else "http"
        address = f"{scheme}://{service.endpoint.address}"
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
    return [("content-type", content_type), *[(f"x-amz-meta-{k}", v) for k, v in metadata]]


def _combined(parts: Sequence[Part], crc: Crc) -> int:
    """The checksum of the whole object."""
    whole = 0
    for part in parts:
        whole = crc.combine(whole, part.checksum, part.size)
    return whole


def _completion(parts: Sequence[Part], crc: Crc | None) -> bytes:
    elements = []
    for part in parts:
        proof = f"<{crc.tag}>{crc.text(part.checksum)}</{crc.tag}>" if crc else ""
        elements.append(
            f"<Part><PartNumber>{part.number}</PartNumber>"
            f"<ETag>&quot;{escape(part.etag)}&quot;</ETag>{proof}</Part>"
        )
    return (
        '<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"{''.join(elements)}</CompleteMultipartUpload>"
    ).encode()


def _verified(
    row: Mapping[str, str], source: Source, part_size: int, crc: Crc | None
) -> Part | None:
    """The stored part, when its bytes are proven to be those of the file."""
    number = int(row["PartNumber"])
    span = range(source.size)[(number - 1) * part_size : number * part_size]
    etag = row["ETag"].strip('"')
    if int(row["Size"]) != len(span) or not span:
        return None
    checksum, md5 = 0, hashlib.md5(usedforsecurity=False)
    listed = row.get(crc.tag) if crc else None
    for block in source.blocks(span.start, len(span)):
        if crc:
            checksum = crc.update(block, checksum)
        if not listed:
            md5.update(block)
    proven = listed == crc.text(checksum) if crc and listed else etag == md5.hexdigest()
    return Part(number, len(span), etag, checksum) if proven else None


def _is_md5(etag: str, headers: Mapping[str, str]) -> bool:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html, under ETag."""
    encrypted = headers.get("x-amz-server-side-encryption", "AES256") != "AES256"
    own_key = "x-amz-server-side-encryption-customer-algorithm" in headers
    return bool(_HEX_MD5.fullmatch(etag)) and not encrypted and not own_key


def _md5(source: Source, span: range) -> bytes:
    digest = hashlib.md5(usedforsecurity=False)
    for block in source.blocks(span.start, len(span)):
        digest.update(block)
    return digest.digest()


def _aws_domain(region: str) -> str:
    return "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"


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
