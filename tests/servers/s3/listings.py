"""Pages of what a bucket holds."""

from __future__ import annotations

import time
from urllib.parse import quote

from .messages import Answer, Request, tag, xml_answer
from .storage import Bucket, Upload, crc_text


def list_objects(request: Request, bucket: Bucket) -> Answer:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html"""
    prefix = request.parameters.get("prefix", "")
    after = request.parameters.get("start-after", "")
    after = request.parameters.get("continuation-token", after)
    keys = sorted(key for key in bucket.objects if key.startswith(prefix) and key > after)
    most = int(request.parameters.get("max-keys", "1000"))
    page, rest = keys[:most], keys[most:]
    rows = [
        "<Contents>"
        + tag("Key", _encoded(request, key))
        + tag("Size", bucket.objects[key].size)
        + tag("ETag", f'"{bucket.objects[key].etag}"')
        + "</Contents>"
        for key in page
    ]
    rows += [tag("KeyCount", len(page)), tag("IsTruncated", str(bool(rest)).lower())]
    rows += _encoding(request)
    if rest:
        rows.append(tag("NextContinuationToken", page[-1]))
    return xml_answer("ListBucketResult", rows)


def list_uploads(request: Request, bucket: Bucket) -> Answer:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListMultipartUploads.html"""
    prefix = request.parameters.get("prefix", "")
    marker = tuple(request.parameters.get(f"{n}-marker", "") for n in ("key", "upload-id"))
    found = sorted((upload.key, name) for name, upload in bucket.uploads.items())
    found = [row for row in found if row[0].startswith(prefix) and (row > marker or not marker[0])]
    most = int(request.parameters.get("max-uploads", "1000"))
    page, rest = found[:most], found[most:]
    rows = [
        f"<Upload>{tag('Key', _encoded(request, key))}{tag('UploadId', name)}"
        f"{tag('Initiated', _timestamp(bucket.uploads[name].begun))}</Upload>"
        for key, name in page
    ]
    rows.append(tag("IsTruncated", str(bool(rest)).lower()))
    rows += _encoding(request)
    if rest:
        rows += [tag("NextKeyMarker", _encoded(request, page[-1][0]))]
        rows += [tag("NextUploadIdMarker", page[-1][1])]
    return xml_answer("ListMultipartUploadsResult", rows)


def list_parts(request: Request, upload: Upload) -> Answer:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListParts.html"""
    marker = int(request.parameters.get("part-number-marker", "0"))
    numbers = sorted(number for number in upload.parts if number > marker)
    most = int(request.parameters.get("max-parts", "1000"))
    page, rest = numbers[:most], numbers[most:]
    rows = []
    for number in page:
        piece = upload.parts[number]
        rows.append(
            f"<Part>{tag('PartNumber', number)}{tag('Size', piece.size)}"
            f"{tag('ETag', piece.etag)}{tag('ChecksumCRC64NVME', crc_text(piece.crc))}</Part>"
        )
    rows.append(tag("IsTruncated", str(bool(rest)).lower()))
    if rest:
        rows.append(tag("NextPartNumberMarker", page[-1]))
    return xml_answer("ListPartsResult", rows)


def _timestamp(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(seconds))


def _encoded(request: Request, key: str) -> str:
    return quote(key, safe="/") if request.parameters.get("encoding-type") == "url" else key


def _encoding(request: Request) -> list[str]:
    return [tag("EncodingType", "url")] if "encoding-type" in request.parameters else []
