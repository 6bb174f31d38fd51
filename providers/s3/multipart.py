"""S3's multipart uploads: begun, sent, completed, found again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from xml.etree.ElementTree import Element, SubElement, tostring

import gevent

from ..base import Metadata, Part, Session, UploadInfo
from ..errors import Corrupted, Exists, NotFound, Rejected, Transient
from ..http.xml import fields, found, parsed, rows
from ..source import Source
from .answers import key_of
from .body import proven_part
from .bucket_requests import NAMESPACE, BucketRequests
from .checksums import Crc
from .driver import S3Driver
from .object_headers import EXISTS
from .transport import S3Request


class MultipartSession(Session):
    """The half of a session that sends objects in parts."""

    def __init__(self, driver: S3Driver, bucket: str) -> None:
        self.driver = driver
        self._bucket = bucket
        self._headers = driver.service.object_headers
        self._requests = BucketRequests(driver, bucket)

    def begin(self, key: str, metadata: Metadata, content_type: str) -> str:
        """Begins a multipart upload; returns its id.

        The service refuses to replace an object at the end only: an object that was to be created
        is looked for here, before its parts are sent in vain.
        https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateMultipartUpload.html
        """
        if self._headers.create_only and self._exists(key):
            raise Exists(EXISTS)
        headers = self._headers.of_upload(metadata, content_type)
        crc = self.driver.service.crc
        checksum = []
        if crc:
            checksum = [
                ("x-amz-checksum-algorithm", crc.name.upper()),
                ("x-amz-checksum-type", "FULL_OBJECT"),
            ]
        request = S3Request("POST", self._bucket, key, [("uploads", "")], headers)
        answer = self.driver.transport.offer(request, checksum)
        if answer is None:
            answer = self.driver.transport.exchange(request)
            self.driver.service.prove_by_md5()
        upload_id = found(answer.body, "UploadId")
        if not upload_id:
            raise Transient("the service began a multipart upload without naming it")
        return upload_id

    def put_part(
        self, key: str, upload_id: str, number: int, source: Source, offset: int, length: int
    ) -> Part:
        """Uploads one part.

        https://docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPart.html
        """
        query = [("partNumber", str(number)), ("uploadId", upload_id)]
        span = range(offset, offset + length)
        etag, checksum = self.driver.store(
            self._bucket, key, query, self._headers.of_any, source, span
        )
        return Part(number, length, etag, checksum)

    def complete(
        self,
        key: str,
        upload_id: str,
        parts: Sequence[Part],
        metadata: Metadata = (),
        content_type: str = "",
    ) -> str:
        """Makes the object out of its parts; ``begin`` has sent what describes it.

        When the upload is gone, or must not replace an object, but the object of these parts is
        there, an earlier attempt has succeeded and its answer was lost: that is success.
        https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html
        """
        service = self.driver.service
        crc = service.crc if service.echoes_checksum else None
        body = _completion(parts, crc)
        headers = [("content-type", "application/xml"), *self._headers.of_completion]
        checksum = None
        if crc:
            checksum = crc.text(_combined(parts, crc))
            headers += [
                (crc.header, checksum),
                ("x-amz-checksum-type", "FULL_OBJECT"),
                ("x-amz-mp-object-size", str(sum(part.size for part in parts))),
            ]
        try:
            answer = self._requests.exchange("POST", key, [("uploadId", upload_id)], headers, body)
        except (NotFound, Exists):
            if not self._is_there(key, parts):
                raise
            return _etag_of(parts)
        page = parsed(answer.body)
        answered = {} if page is None else fields(page)
        # Ceph 16 leaves the ETag empty.
        if not answered.get("ETag") and not answered.get("Key"):
            raise Transient("the service answered without naming the object that it made")
        echo = answered.get(crc.tag) if crc else None
        if echo and echo != checksum:
            raise Corrupted("the service put other bytes together: its checksum differs")
        return answered.get("ETag", "").strip('"')

    def abort(self, key: str, upload_id: str) -> None:
        """Deletes a multipart upload and its parts.

        https://docs.aws.amazon.com/AmazonS3/latest/API/API_AbortMultipartUpload.html
        """
        try:
            self._requests.exchange("DELETE", key, [("uploadId", upload_id)])
        except NotFound:
            return

    def uploads(self, prefix: str) -> Iterator[UploadInfo]:
        """Lists the multipart uploads below ``prefix``.

        https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListMultipartUploads.html
        """
        query = [("uploads", ""), ("encoding-type", "url")]
        if prefix:
            query.append(("prefix", prefix))
        for page in self._requests.pages(
            "", query, {"KeyMarker": "key-marker", "UploadIdMarker": "upload-id-marker"}
        ):
            for row in rows(page, "Upload"):
                begun = _epoch(row.get("Initiated", ""))
                # A row without key, id or time may be anybody's: it is left alone.
                if begun is not None and row.get("Key") and row.get("UploadId"):
                    yield UploadInfo(key_of(page, row, prefix), row["UploadId"], begun)

    def stored_parts(self, key: str, upload_id: str, source: Source, part_size: int) -> list[Part]:
        """Lists the stored parts and proves each against the file.

        https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListParts.html
        """
        parts = {}
        for page in self._requests.pages(
            key, [("uploadId", upload_id)], {"PartNumberMarker": "part-number-marker"}
        ):
            for row in rows(page, "Part"):
                part = proven_part(row, source, part_size, self.driver.service.crc)
                if part:
                    parts[part.number] = part
                self.driver.service.traffic.progress += 1
                gevent.sleep(0)
        return list(parts.values())

    def _exists(self, key: str) -> bool:
        """Whether there is an object, as far as the credentials may ask."""
        try:
            self._requests.exchange("HEAD", key)
        except Rejected:
            return False
        return True

    def _is_there(self, key: str, parts: Sequence[Part]) -> bool:
        """Whether the object is the one that these parts make: its ETag is the MD5 of their MD5s.

        A refusal (the key may only put objects) proves nothing.
        """
        try:
            headers = self._requests.exchange("HEAD", key).headers
            expected = _etag_of(parts)
        except (Rejected, ValueError):
            return False
        return headers.get("etag", "").strip('"') == expected


def _epoch(text: str) -> float | None:
    """The seconds since 1970 of a time in a listing; None when it is no time."""
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
        return moment.replace(tzinfo=moment.tzinfo or timezone.utc).timestamp()
    except (OverflowError, ValueError):
        return None


def _etag_of(parts: Sequence[Part]) -> str:
    """The ETag of the object that the parts make: the MD5 of their MD5s.  Raises ``ValueError``
    where those are none."""
    digests = b"".join(bytes.fromhex(part.etag) for part in parts)
    return f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(parts)}"


def _combined(parts: Sequence[Part], crc: Crc) -> int:
    """The checksum of the whole object, out of those of its parts."""
    whole = 0
    for part in parts:
        whole = crc.combine(whole, part.checksum, part.size)
    return whole


def _completion(parts: Sequence[Part], crc: Crc | None) -> bytes:
    """The body of a CompleteMultipartUpload."""
    root = Element("CompleteMultipartUpload", xmlns=NAMESPACE)
    for part in parts:
        element = SubElement(root, "Part")
        SubElement(element, "PartNumber").text = str(part.number)
        SubElement(element, "ETag").text = f'"{part.etag}"'
        if crc:
            SubElement(element, crc.tag).text = crc.text(part.checksum)
    return bytes(tostring(root))
