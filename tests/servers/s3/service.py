"""What a good S3 server does: it checks a request, and stores what came."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import unquote
from xml.etree import ElementTree

from awscrt.checksums import crc64nvme

from tests.servers.faults import MIB

from .listings import list_objects, list_parts, list_uploads
from .messages import Answer, Request, S3Error, error_answer, tag, xml_answer
from .signature import skew, verify
from .storage import Bucket, Object, Piece, Signer, Upload, base64_text, crc_text, md5

KEPT = MIB
"""Objects up to this size are kept as bytes; of larger ones only what proves them."""
LEAST_PART = 5 * MIB
"""S3's own limit, for all parts but the last."""
CRC = "x-amz-checksum-crc64nvme"
MOST_DELETED = 1000
"""Keys in a DeleteObjects."""


class Service:
    """Buckets, and the users who may use them.

    ``mode`` is ``new`` (checks and echoes x-amz-checksum-crc64nvme), ``old`` (does not know it, its
    ETag is the MD5), ``refusing`` (``old``, and refuses what it does not know) or ``kms`` (does not
    know it either, and says that it encrypts).  Only in ``old`` and ``refusing`` is the ETag an
    MD5, so that nobody relies on it elsewhere.  All check Content-MD5.
    """

    def __init__(self, mode: str, buckets: Sequence[str], least_part: int) -> None:
        self.mode = mode
        self.least_part = least_part
        self.users: dict[str, str] = {}
        """Access key -> secret key."""
        self.expired: set[str] = set()
        """Access keys that were good once: ExpiredToken."""
        self.clock_offset = 0.0
        """Seconds that the server's clock is ahead."""
        self.longest_skew: float | None = None
        """Seconds that a request's date may be off; None: not looked at."""
        self.buckets: dict[str, Bucket] = {name: Bucket() for name in buckets}
        self.stored: Counter[str] = Counter()
        """Key -> how often an object was stored there."""
        self.described: Counter[str] = Counter()
        """Key -> how often an object got other metadata there."""
        self.locked: set[str] = set()
        """Keys that may not be deleted."""
        self.keeps_versions = False
        """Deleting hides an object."""
        self._ids = itertools.count(1)

    def answer(self, request: Request, body: bytes, *, rots: bool) -> Answer:
        """Does the work; with ``rots`` a bit of the body changes after the checks."""
        try:
            return self._operate(request, body, self._signer(request, body), rots=rots)
        except S3Error as error:
            return error_answer(error)

    def _signer(self, request: Request, body: bytes) -> Signer:
        signer = verify(request, body, self.users)
        if signer.access_key in self.expired:
            raise S3Error(400, "ExpiredToken")
        now = time.time() + self.clock_offset
        if self.longest_skew is not None and skew(request, now) > self.longest_skew:
            raise S3Error(403, "RequestTimeTooSkewed")
        return signer

    def _operate(self, request: Request, body: bytes, signer: Signer, *, rots: bool) -> Answer:
        if self.mode == "refusing" and any("checksum" in name for name in request.headers):
            raise S3Error(400, "InvalidArgument", "Unsupported header received for this API call")
        if request.kind == "create_bucket":
            if request.bucket in self.buckets:
                raise S3Error(409, "BucketAlreadyOwnedByYou")
            self.buckets[request.bucket] = Bucket()
            return Answer()
        bucket = self.buckets.get(request.bucket)
        if bucket is None:
            raise S3Error(404, "NoSuchBucket")
        match request.kind:
            case "head_bucket":
                return Answer()
            case "block_public_access":
                bucket.blocks_public_access = True
                return Answer()
            case "acl":
                return xml_answer("AccessControlPolicy", ["<AccessControlList/>"])
            case "policy_status":
                raise S3Error(404, "NoSuchBucketPolicy")
            case "public_access_block" if bucket.blocks_public_access:
                names = ("IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
                rows = [tag(name, "true") for name in names]
                return xml_answer("PublicAccessBlockConfiguration", rows)
            case "public_access_block":
                raise S3Error(404, "NoSuchPublicAccessBlockConfiguration")
            case "copy":
                return self._copy(request, bucket)
            case "delete_many":
                return self._delete_many(request, body, bucket)
            case "put":
                return self._put(request, body, bucket, signer, rots=rots)
            case "create":
                upload_id = f"upload-{next(self._ids)}"
                bucket.uploads[upload_id] = Upload(request.key, _described(request))
                return xml_answer("InitiateMultipartUploadResult", [tag("UploadId", upload_id)])
            case "list":
                return list_objects(request, bucket)
            case "list_uploads":
                return list_uploads(request, bucket)
            case "head" | "get" | "delete":
                return self._about_object(request, bucket)
            case _:
                return self._on_upload(request, body, bucket, signer, rots=rots)

    def _put(
        self, request: Request, body: bytes, bucket: Bucket, signer: Signer, *, rots: bool
    ) -> Answer:
        piece, headers = self._accept(request, body, rots=rots)
        content = body if len(body) <= KEPT else None
        made = Object([piece], piece.etag, _described(request), signer, content)
        bucket.objects[request.key] = made
        self.stored[request.key] += 1
        return Answer(headers=headers)

    def _about_object(self, request: Request, bucket: Bucket) -> Answer:
        if request.kind == "delete":
            bucket.objects.pop(request.key, None)
            return Answer(204)
        stored = bucket.objects.get(request.key)
        if stored is None:
            raise S3Error(404, "NoSuchKey")
        headers = {**stored.headers, "ETag": f'"{stored.etag}"', "Content-Length": str(stored.size)}
        if self.mode == "new" and "x-amz-checksum-mode" in request.headers:
            headers[CRC] = crc_text(stored.crc)
        if self.mode == "kms":
            headers["x-amz-server-side-encryption"] = "aws:kms"
        if request.kind == "head":
            if "partNumber" in request.parameters:
                headers["Content-Length"] = str(stored.pieces[request.part - 1].size)
            return Answer(200, headers)
        if stored.content is None:
            raise S3Error(501, "NotImplemented", "too large to be kept")
        return Answer(200, headers, stored.content)

    def _copy(self, request: Request, bucket: Bucket) -> Answer:
        """Of an object onto itself, with other metadata."""
        source = unquote(request.headers["x-amz-copy-source"])
        found = bucket.objects.get(request.key)
        if found is None or source != f"/{request.bucket}/{request.key}":
            raise S3Error(404, "NoSuchKey")
        if request.headers.get("x-amz-copy-source-if-match") != f'"{found.etag}"':
            raise S3Error(412, "PreconditionFailed")
        bucket.objects[request.key] = replace(found, headers=_described(request))
        self.described[request.key] += 1
        return xml_answer("CopyObjectResult", [tag("ETag", f'"{found.etag}"')])

    def _delete_many(self, request: Request, body: bytes, bucket: Bucket) -> Answer:
        if request.headers.get("content-md5") != base64_text(md5(body)):
            raise S3Error(400, "BadDigest")
        keys = [node.text or "" for node in ElementTree.fromstring(body).iter() if not len(node)]
        if len(keys) > MOST_DELETED:
            raise S3Error(400, "MalformedXML")
        rows = []
        for key in keys:
            if key in self.locked:
                told = tag("Key", key) + tag("Code", "AccessDenied") + tag("Message", "locked")
                rows.append(f"<Error>{told}</Error>")
                continue
            bucket.objects.pop(key, None)
            marker = tag("DeleteMarker", "true") if self.keeps_versions else ""
            rows.append(f"<Deleted>{tag('Key', key)}{marker}</Deleted>")
        return xml_answer("DeleteResult", rows)

    def _on_upload(
        self, request: Request, body: bytes, bucket: Bucket, signer: Signer, *, rots: bool
    ) -> Answer:
        upload_id = request.parameters.get("uploadId", "")
        upload = bucket.uploads.get(upload_id)
        if upload is None or upload.key != request.key:
            raise S3Error(404, "NoSuchUpload")
        if request.kind == "part":
            upload.parts[request.part], headers = self._accept(request, body, rots=rots)
            return Answer(headers=headers)
        if request.kind == "list_parts":
            return list_parts(request, upload)
        if request.kind == "abort":
            del bucket.uploads[upload_id]
            return Answer(204)
        made = self._completed(request, body, upload, signer)
        del bucket.uploads[upload_id]
        bucket.objects[request.key] = made
        self.stored[request.key] += 1
        rows = [tag("Key", request.key), tag("ETag", f'"{made.etag}"')]
        if self.mode == "new":
            rows.append(tag("ChecksumCRC64NVME", crc_text(made.crc)))
        return xml_answer("CompleteMultipartUploadResult", rows)

    def _accept(self, request: Request, body: bytes, *, rots: bool) -> tuple[Piece, dict[str, str]]:
        """Checks the body's checksums; returns what is stored, and the headers that say so."""
        crc, claimed = crc64nvme(body), request.headers.get("content-md5")
        if claimed is not None and claimed != base64_text(md5(body)):
            raise S3Error(400, "BadDigest", "The Content-MD5 did not match what we received")
        checks = self.mode == "new" and CRC in request.headers
        if checks and request.headers[CRC] != crc_text(crc):
            raise S3Error(400, "BadDigest", "The CRC64NVME did not match what we received")
        if rots:
            body = damaged(body)
            crc = crc64nvme(body)
        sha256 = hashlib.sha256(body).digest()
        etag = md5(body).hex() if self.mode in ("old", "refusing") else sha256.hex()[:32]
        headers = {"ETag": f'"{etag}"', **({CRC: crc_text(crc)} if checks else {})}
        if self.mode == "kms":
            headers["x-amz-server-side-encryption"] = "aws:kms"
        return Piece(len(body), sha256, crc, etag), headers

    def _completed(self, request: Request, body: bytes, upload: Upload, signer: Signer) -> Object:
        """The object that a CompleteMultipartUpload makes; S3Error when it names other parts."""
        pieces = _named_parts(body, upload)
        if any(piece.size < self.least_part for piece in pieces[:-1]):
            raise S3Error(400, "EntityTooSmall")
        digests = b"".join(bytes.fromhex(piece.etag) for piece in pieces)
        etag = f"{md5(digests).hex()}-{len(pieces)}"
        made = Object(pieces, etag, upload.headers, signer, None)
        if request.headers.get(CRC, crc_text(made.crc)) != crc_text(made.crc):
            raise S3Error(400, "BadDigest")
        if int(request.headers.get("x-amz-mp-object-size", made.size)) != made.size:
            raise S3Error(400, "InvalidRequest", "x-amz-mp-object-size is another")
        return made


def _named_parts(body: bytes, upload: Upload) -> list[Piece]:
    """The parts that the body of a CompleteMultipartUpload names."""
    pieces, numbers = [], []
    try:
        for element in ElementTree.fromstring(body):
            row = {child.tag.rpartition("}")[2]: child.text or "" for child in element}
            numbers.append(int(row["PartNumber"]))
            piece = upload.parts[numbers[-1]]
            if row["ETag"].strip('"') != piece.etag:
                raise S3Error(400, "InvalidPart", f"part {numbers[-1]} has another ETag")
            if row.get("ChecksumCRC64NVME", crc_text(piece.crc)) != crc_text(piece.crc):
                raise S3Error(400, "InvalidPart", f"part {numbers[-1]} has another checksum")
            pieces.append(piece)
    except (ElementTree.ParseError, ValueError):
        raise S3Error(400, "MalformedXML") from None
    except KeyError as missing:
        raise S3Error(400, "InvalidPart", f"no {missing}") from None
    if numbers != sorted(set(numbers)) or not pieces:
        raise S3Error(400, "InvalidPartOrder")
    return pieces


def _described(request: Request) -> dict[str, str]:
    return {
        name: value
        for name, value in request.headers.items()
        if name == "content-type" or name.startswith("x-amz-meta-")
    }


def damaged(body: bytes) -> bytes:
    """The body with one bit changed."""
    return bytes([body[0] ^ 1]) + body[1:] if body else body
