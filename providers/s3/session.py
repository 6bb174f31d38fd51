"""The S3 requests of uploads: objects, parts, listings, the bucket."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from functools import partial
from xml.etree.ElementTree import Element, SubElement, tostring

import gevent

from ..base import (
    Deletion,
    Inspected,
    Metadata,
    ObjectInfo,
    Page,
    Part,
    Prepared,
    Session,
    UploadInfo,
)
from ..errors import Corrupted, Denied, Exists, Fatal, NoBucket, NotFound, Rejected, Transient
from ..http.limit import within
from ..http.response import Response
from ..http.xml import fields, found, parsed, rows
from ..source import Source
from .answers import decoded, key_of
from .body import proven_part
from .checksums import Crc, base64
from .driver import S3Driver
from .headers import META, Pairs
from .object_headers import EXISTS
from .objects import deletion, fits_xml, read_deletion, read_page
from .privacy import BLOCK, blocking_all, is_blocked
from .proofs import ASK, proof_in
from .sigv4 import EMPTY_SHA256, quote_path
from .transport import S3Request

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_NOT_ACCELERATED = (
    "bucket {} does not exist, and a new one takes no accelerated transfers: create it and turn on "
    "its acceleration first, or turn off use_accelerate_endpoint"
)
"""https://docs.aws.amazon.com/AmazonS3/latest/userguide/transfer-acceleration.html"""


class S3Session(Session):
    """One driver and the bucket it uploads to."""

    def __init__(self, driver: S3Driver, bucket: str) -> None:
        self.driver = driver
        self._bucket = bucket
        self._headers = driver.service.object_headers

    def put(self, key: str, source: Source, metadata: Metadata, content_type: str) -> str:
        """Stores the file with one PUT; raises ``Exists`` when the object was to be created only.

        https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html
        """
        headers = self._headers.of_put(metadata, content_type)
        etag, _ = self.driver.store(self._bucket, key, (), headers, source, range(source.size))
        return etag

    def stat(self, key: str) -> ObjectInfo:
        """Asks with one HEAD.

        https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html
        """
        return _info(self._exchange("HEAD", key).headers)

    def inspect(self, key: str) -> Inspected:
        """Asks with one HEAD; with a second one for the size of the parts, where that is needed.

        https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html
        """
        headers = self._exchange("HEAD", key, (), [*ASK, *self._headers.of_any]).headers
        found = _info(headers)
        asked = self._headers.encryption
        proof = proof_in(headers, found.size, asked, partial(self._part_size, key, found.etag))
        return Inspected(found, proof)

    def _part_size(self, key: str, etag: str) -> int | None:
        """Bytes of the object's first part, where the service says so."""
        condition = ("if-match", f'"{etag}"')
        query, headers = [("partNumber", "1")], [condition, *self._headers.of_any]
        try:
            told = self._exchange("HEAD", key, query, headers).headers.get("content-length", "")
        except Rejected:
            return None
        return int(told) if told.isdecimal() else None

    def read(self, key: str, found: ObjectInfo, take: Callable[[bytes | memoryview], None]) -> None:
        """Reads with one GET.

        https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
        """
        headers = [("if-match", f'"{found.etag}"'), *self._headers.of_any]
        self.driver.transport.download(S3Request("GET", self._bucket, key, (), headers), take)

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
            answer = self._exchange("POST", key, [("uploadId", upload_id)], headers, body)
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
            self._exchange("DELETE", key, [("uploadId", upload_id)])
        except NotFound:
            return

    def uploads(self, prefix: str) -> Iterator[UploadInfo]:
        """Lists the multipart uploads below ``prefix``.

        https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListMultipartUploads.html
        """
        query = [("uploads", ""), ("encoding-type", "url")]
        if prefix:
            query.append(("prefix", prefix))
        for page in self._pages(
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
        for page in self._pages(
            key, [("uploadId", upload_id)], {"PartNumberMarker": "part-number-marker"}
        ):
            for row in rows(page, "Part"):
                part = proven_part(row, source, part_size, self.driver.service.crc)
                if part:
                    parts[part.number] = part
                self.driver.service.traffic.progress += 1
                gevent.sleep(0)
        return list(parts.values())

    def page(self, prefix: str, after: str = "", start: str = "") -> Page:
        """Lists with one GET.

        https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html
        """
        query = [("list-type", "2"), ("encoding-type", "url")]
        given = {"prefix": prefix, "start-after": after, "continuation-token": start}
        query += [(name, value) for name, value in given.items() if value]
        page = read_page(self._exchange("GET", query=query).body, prefix, after)
        self.driver.service.traffic.progress += 1
        return page

    def delete(self, keys: Sequence[str]) -> Deletion:
        """Deletes with one POST, and with one DELETE each those whose names XML cannot hold; all of
        them where the service knows no such POST.

        https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html
        """
        together = [key for key in keys if fits_xml(key)]
        alone = [key for key in keys if not fits_xml(key)]
        result = Deletion([], 0)
        if together:
            body = deletion(together, NAMESPACE)
            digest = base64(hashlib.md5(body, usedforsecurity=False).digest())
            headers = [("content-md5", digest), *self._headers.of_any]
            try:
                answer = self._exchange("POST", "", [("delete", "")], headers, body)
            except Denied:
                raise
            except Rejected:
                alone = list(keys)
            else:
                result = read_deletion(answer.body, together)
        for key in alone:
            try:
                headers_of_answer = self._exchange("DELETE", key).headers
            except NotFound:
                continue
            except Rejected as failure:
                result.failed.append((key, str(failure)))
                continue
            kept = headers_of_answer.get("x-amz-delete-marker") == "true"
            result = result._replace(hidden=result.hidden + kept)
        self.driver.service.traffic.progress += 1
        return result

    def set_metadata(
        self, key: str, found: ObjectInfo, metadata: Metadata, content_type: str
    ) -> str:
        """Copies the object onto itself, within the service, if its ETag is still the one that was
        found; it stays in its storage class unless the options name another.

        Ceph overlooks the condition: outside of AWS the copy has to have the same ETag.
        https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html
        """
        headers = self._headers.of_upload(metadata, content_type)
        names = {name for name, _ in headers}
        headers += [
            ("x-amz-copy-source", f"/{self._bucket}/{quote_path(key)}"),
            ("x-amz-copy-source-if-match", f'"{found.etag}"'),
            ("x-amz-metadata-directive", "REPLACE"),
        ]
        if "x-amz-tagging" in names:
            headers.append(("x-amz-tagging-directive", "REPLACE"))
        if found.storage_class and "x-amz-storage-class" not in names:
            headers.append(("x-amz-storage-class", found.storage_class))
        page = parsed(self._exchange("PUT", key, (), headers).body)
        etag = "" if page is None else fields(page).get("ETag", "").strip('"')
        if not etag:
            raise Transient("the service answered without naming the copy that it made")
        if etag != found.etag and self.driver.service.partition is None:
            raise Rejected("another object took its place meanwhile")
        return etag

    def _pages(
        self, key: str, query: list[tuple[str, str]], markers: Mapping[str, str]
    ) -> Iterator[Element]:
        """The pages of a listing.  ``markers``: the elements of a page that say where the next
        begins, and the query's names for them."""
        marked: tuple[tuple[str, str], ...] = ()
        seen = {marked}
        while True:
            answer = self._exchange("GET", key, [*query, *marked])
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

    def connect(self) -> None:
        """Connects to where the bucket is."""
        self.driver.transport.connect(self._bucket)

    def close(self) -> None:
        """Closes the driver's connections."""
        self.driver.close()

    def check(self, limit: float) -> None:
        """Sends a HEAD of the bucket; a refusal is a sign of life."""
        try:
            within(limit, lambda: self._exchange("HEAD"))
        except (Rejected, Fatal):
            return

    def prepare_bucket(self, create: bool, *, block_public: bool = True) -> Prepared:
        """Makes sure that the bucket exists, or creates it with ``create``; ``block_public``: a
        created bucket cannot be made public.

        It asks with a HEAD: listing all buckets needs a permission that careful keys lack.
        https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadBucket.html
        """
        creating, note = self.driver.service.creating, ""
        try:
            self._find_bucket()
        except NotFound:
            if self.driver.service.is_accelerated:
                raise Fatal(_NOT_ACCELERATED.format(self._bucket)) from None
            if not create:
                raise NoBucket(f"bucket {self._bucket} does not exist") from None
            note = self._create_bucket()
        created = self._bucket in creating
        if created and block_public and self._block_public_access():
            note = f"{note}, public access blocked" if note else ""
        creating.discard(self._bucket)
        return Prepared(created, note)

    def _find_bucket(self) -> None:
        """Raises ``NotFound`` when there is no bucket, ``Fatal`` when it cannot be used."""
        service = self.driver.service
        region = service.region
        try:
            self._exchange("HEAD")
        except NotFound:
            raise
        except Rejected:
            try:
                self._ask_why()
            except Fatal:
                if service.region == region:
                    raise
                # It was refused for its region, which only an answer with a body told.
                self._exchange("HEAD")

    def ask(self, question: str) -> bytes:
        """The answer to one of ``privacy.QUESTIONS`` about the bucket; raises ``Rejected`` when the
        service does not know the question or the credentials may not ask."""
        return self._exchange("GET", query=[(question, "")]).body

    def _block_public_access(self) -> bool:
        """Blocks all public access to the bucket.

        False when the service refuses, or does not say afterwards that it did: without a grant to
        anybody the bucket is private all the same.
        """
        body = blocking_all(NAMESPACE, is_aws=self.driver.service.partition is not None)
        digest = base64(hashlib.md5(body, usedforsecurity=False).digest())
        try:
            self._exchange("PUT", "", [(BLOCK, "")], [("content-md5", digest)], body)
            # A service that overlooks the query has taken this for the creation of a bucket.
            return is_blocked(self.ask(BLOCK))
        except Rejected:
            return False

    def _ask_why(self) -> None:
        """Raises ``Fatal`` with the reason of a refused HEAD, which has no body; a listing has one.

        Both are refused to a key that may only put objects: no reason to stop.
        """
        query = [("list-type", "2"), ("max-keys", "1")]
        try:
            self._exchange("GET", query=query)
        except Denied:
            return
        except Rejected as failure:
            raise Fatal(f"bucket {self._bucket} cannot be used: {failure}") from None

    def _create_bucket(self) -> str:
        """Creates the bucket; returns the note for the user.

        Without an ACL or policy a new bucket is its owner's alone.  When the answer gets lost, the
        bucket that is found then is the one that was made here.
        https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html
        """
        creating = self.driver.service.creating
        may_be_ours = self._bucket in creating
        body = b""
        if self.driver.ex_location_name:
            root = Element("CreateBucketConfiguration", xmlns=NAMESPACE)
            SubElement(root, "LocationConstraint").text = self.driver.ex_location_name
            body = tostring(root)
        creating.add(self._bucket)
        try:
            self._exchange("PUT", body=body)
        except Rejected as failure:
            owned = "BucketAlreadyOwnedByYou" in str(failure)
            if not (owned and may_be_ours):
                creating.discard(self._bucket)
            if owned:
                return ""
            raise Fatal(f"bucket {self._bucket} cannot be created: {failure}") from None
        return f"created bucket {self._bucket}, private to its owner"

    def _exists(self, key: str) -> bool:
        """Whether there is an object, as far as the credentials may ask."""
        try:
            self._exchange("HEAD", key)
        except Rejected:
            return False
        return True

    def _is_there(self, key: str, parts: Sequence[Part]) -> bool:
        """Whether the object is the one that these parts make: its ETag is the MD5 of their MD5s.

        A refusal (the key may only put objects) proves nothing.
        """
        try:
            headers = self._exchange("HEAD", key).headers
            expected = _etag_of(parts)
        except (Rejected, ValueError):
            return False
        return headers.get("etag", "").strip('"') == expected

    def _exchange(
        self, method: str, key: str = "", query: Pairs = (), headers: Pairs = (), body: bytes = b""
    ) -> Response:
        """Sends a request about the bucket, its body signed.  ``headers``: by default those that
        any request has."""
        payload_hash = hashlib.sha256(body).hexdigest() if body else EMPTY_SHA256
        headers = headers or self._headers.of_any
        request = S3Request(
            method, self._bucket, key, query, headers, body, len(body), payload_hash
        )
        return self.driver.transport.exchange(request)


def _info(headers: Mapping[str, str]) -> ObjectInfo:
    """The object that an answer describes."""
    metadata = {k[len(META) :]: v for k, v in headers.items() if k.startswith(META)}
    size = headers.get("content-length", "")
    if not size.isdecimal():
        raise Transient("the service does not tell the object's size")
    return ObjectInfo(
        int(size),
        metadata,
        headers.get("content-type", ""),
        headers.get("etag", "").strip('"'),
        headers.get("x-amz-storage-class", ""),
    )


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
