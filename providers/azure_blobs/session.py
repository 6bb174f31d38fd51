"""The requests of uploads to Azure: blobs, blocks, listings."""

from __future__ import annotations

import hashlib
from binascii import a2b_base64
from collections.abc import Callable, Iterator, Sequence

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
from ..errors import Fatal, NotFound, Rejected, Transient
from ..http.limit import within
from ..proof import HashProof
from ..source import Source
from .blocks import Block, commit_list, is_upload_id, new_upload_id, read_list
from .body import Body, crc_header, crc_of, md5_header
from .container import Container
from .container_requests import CONTAINER, ContainerRequests
from .driver import AzureDriver
from .headers import META, blob_headers, metadata_headers
from .listing import read_page


class AzureSession(Session):
    """One driver and the container it uploads to."""

    def __init__(self, driver: AzureDriver, container: str) -> None:
        self.driver = driver
        self._service = driver.service
        self._requests = ContainerRequests(driver, container)

    def put(self, key: str, source: Source, metadata: Metadata, content_type: str) -> str:
        """Stores the file with one Put Blob."""
        headers = blob_headers(metadata, content_type)
        return self.driver.store(self._requests.container, key, headers, source)

    def stat(self, key: str) -> ObjectInfo:
        """Asks with one HEAD."""
        return self.inspect(key).found

    def inspect(self, key: str) -> Inspected:
        """Asks with one HEAD; the MD5 is there if whoever stored the blob has sent it.

        https://learn.microsoft.com/en-us/rest/api/storageservices/get-blob-properties
        """
        headers = self._requests.exchange("HEAD", key).headers
        metadata = {k[len(META) :]: v for k, v in headers.items() if k.startswith(META)}
        size = headers.get("content-length", "")
        if not size.isdecimal():
            raise Transient("the service does not tell the blob's size")
        etag, md5 = headers.get("etag", "").strip('"'), headers.get("content-md5", "")
        found = ObjectInfo(int(size), metadata, headers.get("content-type", ""), etag)
        return Inspected(found, HashProof("md5", a2b_base64(md5)) if md5 else None)

    def read(self, key: str, found: ObjectInfo, take: Callable[[bytes | memoryview], None]) -> None:
        """Reads with one GET.

        https://learn.microsoft.com/en-us/rest/api/storageservices/get-blob
        """
        condition = (("if-match", f'"{found.etag}"'),)
        self.driver.transport.download(
            self._requests.request("GET", key, (), condition, None), take
        )

    def page(self, prefix: str, after: str = "", start: str = "") -> Page:
        """Lists with one GET, always from the beginning: the service can begin nowhere else.

        https://learn.microsoft.com/en-us/rest/api/storageservices/list-blobs
        """
        given = {"prefix": prefix, "marker": start}
        query = [CONTAINER, ("comp", "list"), *[pair for pair in given.items() if pair[1]]]
        page = read_page(self._requests.exchange("GET", query=query).body, after)
        self._service.traffic.progress += 1
        return page

    def delete(self, keys: Sequence[str]) -> Deletion:
        """Deletes with one DELETE each.

        https://learn.microsoft.com/en-us/rest/api/storageservices/delete-blob
        """
        failed, hidden = [], 0
        for key in keys:
            try:
                answer = self._requests.exchange("DELETE", key)
            except NotFound:
                continue
            except Rejected as failure:
                failed.append((key, str(failure)))
                continue
            hidden += answer.headers.get("x-ms-delete-type-permanent") == "false"
        self._service.traffic.progress += 1
        return Deletion(failed, hidden)

    def set_metadata(
        self, key: str, found: ObjectInfo, metadata: Metadata, content_type: str
    ) -> str:
        """Replaces the metadata, if the blob's ETag is still the one that was found; it keeps its
        Content-Type.

        https://learn.microsoft.com/en-us/rest/api/storageservices/set-blob-metadata
        """
        headers = [*metadata_headers(metadata), ("if-match", f'"{found.etag}"')]
        answer = self._requests.exchange("PUT", key, (("comp", "metadata"),), headers)
        return answer.headers.get("etag", "").strip('"')

    def begin(self, key: str, metadata: Metadata, content_type: str) -> str:
        """Makes up an id; the service learns of the upload by its first block."""
        blob_headers(metadata, content_type)  # refused now rather than after the last part
        return new_upload_id()

    def put_part(
        self, key: str, upload_id: str, number: int, source: Source, offset: int, length: int
    ) -> Part:
        """Stores one block, whose CRC or MD5 the service checks.

        https://learn.microsoft.com/en-us/rest/api/storageservices/put-block
        """
        if not is_upload_id(upload_id):
            raise NotFound(f"there is no upload {upload_id!r}")
        service, span = self._service, range(offset, offset + length)
        with_md5 = service.echoes_crc is False
        body = Body.describe(source, span, with_crc=True, with_md5=with_md5)
        block = Block(upload_id, number, body.crc, length)
        query = (("comp", "block"), ("blockid", block.name))
        proof = md5_header(body.md5) if with_md5 else crc_header(body.crc)
        request = self._requests.request("PUT", key, query, (proof,), body)
        part = Part(number, length, block.name, body.crc)
        if with_md5:
            self.driver.transport.exchange(request)
            return part
        answer = self.driver.transport.exchange_if_known(request)
        echo = answer.headers.get(proof[0]) if answer else None
        if echo is None:
            # Nothing proves what was stored: once more, with a Content-MD5.
            service.prove_by_md5()
            return self.put_part(key, upload_id, number, source, offset, length)
        service.echoes_crc = True
        if echo != proof[1]:
            raise Transient("the service stored other bytes: their CRC differs")
        return part

    def complete(
        self,
        key: str,
        upload_id: str,
        parts: Sequence[Part],
        metadata: Metadata,
        content_type: str,
    ) -> str:
        """Makes the blob out of its blocks; all others that are not committed are gone then.

        https://learn.microsoft.com/en-us/rest/api/storageservices/put-block-list
        """
        content = commit_list([part.etag for part in parts])
        md5 = hashlib.md5(content, usedforsecurity=False).digest()
        headers = blob_headers(metadata, content_type)
        headers += [("content-type", "application/xml"), md5_header(md5)]
        body = Body(content, len(content), 0, md5)
        answer = self._requests.exchange("PUT", key, (("comp", "blocklist"),), headers, body)
        return answer.headers.get("etag", "").strip('"')

    def abort(self, key: str, upload_id: str) -> None:
        """Does nothing: blocks that are not committed expire within a week, or when their blob is
        written.  The service has no call to remove them sooner; the ways around that write or
        delete a blob under this name, be it for a moment.
        """

    def uploads(self, prefix: str) -> Iterator[UploadInfo]:
        """None: nothing has to be aborted."""
        return iter(())

    def stored_parts(self, key: str, upload_id: str, source: Source, part_size: int) -> list[Part]:
        """Lists the stored blocks, and proves each by the CRC in its name.

        https://learn.microsoft.com/en-us/rest/api/storageservices/get-block-list
        """
        query = (("comp", "blocklist"), ("blocklisttype", "uncommitted"))
        listed = read_list(self._requests.exchange("GET", key, query).body)
        if listed is None:
            raise Transient("the service sent a list of blocks that cannot be read")
        blocks = [block for block in listed if block.upload_id == upload_id]
        if not blocks:
            raise NotFound(f"there is no upload {upload_id!r}")
        parts = {}
        for block in blocks:
            span = range(source.size)[(block.number - 1) * part_size : block.number * part_size]
            if not span or block.size != len(span):
                continue
            if crc_of(source, span) == block.crc:
                parts[block.number] = Part(block.number, block.size, block.name, block.crc)
            self.driver.service.traffic.progress += 1
            gevent.sleep(0)
        return list(parts.values())

    def prepare_container(self, create: bool, allow_public: bool) -> Prepared:
        """See ``Container.prepare``."""
        return Container(self._requests).prepare(create, allow_public)

    def connect(self) -> None:
        """Connects to the service."""
        self.driver.transport.connect()

    def close(self) -> None:
        """Closes the driver's connections."""
        self.driver.close()

    def check(self, limit: float) -> None:
        """Asks for the container; a refusal is a sign of life."""
        try:
            within(limit, Container(self._requests).ask)
        except (Rejected, Fatal):
            return
