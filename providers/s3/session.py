"""A session with an S3 service: objects as a whole, and what a bucket holds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from ..base import (
    Deletion,
    Inspected,
    Metadata,
    ObjectInfo,
    Page,
    Prepared,
)
from ..errors import REPLACED, Denied, Fatal, NotFound, Rejected, Transient
from ..http.limit import within
from ..http.xml import fields, parsed
from ..source import Source
from .bucket import Bucket
from .bucket_requests import NAMESPACE
from .checksums import base64
from .headers import META
from .multipart import MultipartSession
from .objects import deletion, fits_xml, read_deletion, read_page
from .proofs import ASK, proof_in
from .sigv4 import quote_path
from .transport import S3Request


class S3Session(MultipartSession):
    """One driver and the bucket it uploads to."""

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
        return _info(self._requests.exchange("HEAD", key).headers)

    def inspect(self, key: str) -> Inspected:
        """Asks with one HEAD; with more for the sizes of its parts, where they are needed.

        https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html
        """
        headers = self._requests.exchange("HEAD", key, (), [*ASK, *self._headers.of_any]).headers
        found = _info(headers)
        asked = self._headers.encryption
        proof = proof_in(headers, found.size, asked, partial(self._part_size, key, found.etag))
        return Inspected(found, proof)

    def _part_size(self, key: str, etag: str, number: int) -> int | None:
        """Bytes of a part of the object, where the service says so."""
        condition = ("if-match", f'"{etag}"')
        query, headers = [("partNumber", str(number))], [condition, *self._headers.of_any]
        try:
            answer = self._requests.exchange("HEAD", key, query, headers)
        except Rejected:
            return None
        told = answer.headers.get("content-length", "")
        return int(told) if told.isdecimal() else None

    def read(self, key: str, found: ObjectInfo, take: Callable[[bytes | memoryview], None]) -> None:
        """Reads with one GET.

        https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
        """
        headers = [("if-match", f'"{found.etag}"'), *self._headers.of_any]
        self.driver.transport.download(S3Request("GET", self._bucket, key, (), headers), take)

    def page(self, prefix: str, after: str = "", start: str = "") -> Page:
        """Lists with one GET.

        https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html
        """
        query = [("list-type", "2"), ("encoding-type", "url")]
        given = {"prefix": prefix, "start-after": after, "continuation-token": start}
        query += [(name, value) for name, value in given.items() if value]
        page = read_page(self._requests.exchange("GET", query=query).body, prefix, after)
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
                answer = self._requests.exchange("POST", "", [("delete", "")], headers, body)
            except Denied:
                raise
            except Rejected:
                alone = list(keys)
            else:
                result = read_deletion(answer.body, together)
        for key in alone:
            try:
                headers_of_answer = self._requests.exchange("DELETE", key).headers
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
        page = parsed(self._requests.exchange("PUT", key, (), headers).body)
        etag = "" if page is None else fields(page).get("ETag", "").strip('"')
        if not etag:
            raise Transient("the service answered without naming the copy that it made")
        if etag != found.etag and self.driver.service.partition is None:
            raise Rejected(REPLACED)
        return etag

    def prepare_bucket(self, create: bool, *, block_public: bool = True) -> Prepared:
        """See ``Bucket.prepare``."""
        return Bucket(self._requests).prepare(create, block_public=block_public)

    def ask(self, question: str) -> bytes:
        """See ``Bucket.ask``."""
        return Bucket(self._requests).ask(question)

    def connect(self) -> None:
        """Connects to where the bucket is."""
        self.driver.transport.connect(self._bucket)

    def close(self) -> None:
        """Closes the driver's connections."""
        self.driver.close()

    def check(self, limit: float) -> None:
        """Sends a HEAD of the bucket; a refusal is a sign of life."""
        try:
            within(limit, lambda: self._requests.exchange("HEAD"))
        except (Rejected, Fatal):
            return


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
