"""The options that only S3 has: one entry is a new option."""

from __future__ import annotations

from dataclasses import dataclass

from ..options import one_of, option, pair, plain, switch

AUTO = "auto"
_KMS = ("aws:kms", "aws:kms:dsse")
_CANNED_ACLS = (
    "private",
    "public-read",
    "public-read-write",
    "authenticated-read",
    "aws-exec-read",
    "bucket-owner-read",
    "bucket-owner-full-control",
)
"""https://docs.aws.amazon.com/AmazonS3/latest/userguide/acl-overview.html#canned-acl"""
_MOST_TAGS, _LONGEST_TAG_NAME, _LONGEST_TAG_VALUE = 10, 128, 256
"""https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html"""


def tag(text: str) -> tuple[str, str]:
    """One NAME=VALUE of an object's tags."""
    name, value = pair(text)
    if len(name) > _LONGEST_TAG_NAME or len(value) > _LONGEST_TAG_VALUE:
        most = f"{_LONGEST_TAG_NAME} characters of name and {_LONGEST_TAG_VALUE} of value"
        raise ValueError(f"{name[:20]!r} is too long: a tag has {most} at most")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{text!r} is not valid UTF-8") from None
    return name, value


def media_type(text: str) -> str:
    """``auto`` or a Content-Type."""
    kind, slash, subtype = plain(text).partition("/")
    if text != AUTO and not (kind and slash and subtype):
        raise ValueError(f"{text!r} is no type: give one like text/plain, or {AUTO}")
    return text


@dataclass(frozen=True)
class S3Options:
    """How a run speaks to an S3 service."""

    addressing: str | None = option(
        None,
        "where the service finds the bucket: path, virtual (in the host name), or auto: in the "
        "host name on AWS where the bucket's name allows it",
        flag="--addressing",
        env=("UPLOADER_ADDRESSING",),
        parse=one_of("auto", "path", "virtual"),
        metavar="STYLE",
        shown="the profile's, or auto",
    )
    profile: str | None = option(
        None,
        "profile in ~/.aws that gives credentials, region and endpoint",
        flag="--profile",
        metavar="NAME",
        shown="AWS's own order: environment, AWS_PROFILE, default",
    )
    checksum: str | None = option(
        None,
        "what proves that the content arrived: crc64nvme, crc32c, crc32 or md5",
        flag="--checksum",
        env=("UPLOADER_CHECKSUM",),
        parse=one_of("crc64nvme", "crc32c", "crc32", "md5"),
        metavar="KIND",
        shown="crc64nvme; md5 where a service is known to take nothing else",
    )
    unsigned_payload: bool = option(
        False,
        "over plain HTTP leave the content out of the signature, as is done over TLS: half the "
        "CPU for large files, where nobody on the network would change them",
        flag="--unsigned-payload",
        env=("UPLOADER_UNSIGNED_PAYLOAD",),
        parse=switch,
    )

    storage_class: str | None = option(
        None,
        "storage class of the objects, such as STANDARD_IA or GLACIER_IR",
        flag="--storage-class",
        env=("UPLOADER_STORAGE_CLASS",),
        parse=plain,
        metavar="CLASS",
        describes=True,
        shown="the service's",
    )
    sse: str | None = option(
        None,
        "encryption by the service: AES256, aws:kms or aws:kms:dsse",
        flag="--sse",
        env=("UPLOADER_SSE",),
        parse=one_of("AES256", *_KMS),
        metavar="ALGORITHM",
        describes=True,
        shown="the bucket's",
    )
    sse_kms_key_id: str | None = option(
        None,
        "KMS key that encrypts, with --sse aws:kms or aws:kms:dsse",
        flag="--sse-kms-key-id",
        env=("UPLOADER_SSE_KMS_KEY_ID",),
        parse=plain,
        metavar="ID",
        describes=True,
        shown="the account's for S3",
    )
    acl: str | None = option(
        None,
        "canned ACL of the objects: " + ", ".join(_CANNED_ACLS) + " (a bucket that the run creates "
        "takes public ones with --allow-public only)",
        flag="--acl",
        env=("UPLOADER_ACL",),
        parse=one_of(*_CANNED_ACLS),
        metavar="ACL",
        describes=True,
        shown="none is sent: private",
    )
    tag: tuple[tuple[str, str], ...] = option(
        (),
        f"tag of the objects, {_MOST_TAGS} at most; may be repeated",
        flag="--tag",
        env=("UPLOADER_TAG",),
        parse=tag,
        metavar="NAME=VALUE",
        shown="none",
        repeated=True,
        describes=True,
    )
    cache_control: str | None = option(
        None,
        "Cache-Control of the objects, such as max-age=3600",
        flag="--cache-control",
        env=("UPLOADER_CACHE_CONTROL",),
        parse=plain,
        metavar="TEXT",
        describes=True,
        shown="none",
    )
    content_type: str = option(
        AUTO,
        "Content-Type of the objects; auto: by their names",
        flag="--content-type",
        env=("UPLOADER_CONTENT_TYPE",),
        parse=media_type,
        metavar="TYPE",
        describes=True,
    )
    request_payer: bool = option(
        False,
        "agree to pay for the requests to somebody's requester-pays bucket",
        flag="--request-payer",
        env=("UPLOADER_REQUEST_PAYER",),
        parse=switch,
    )
    if_none_match: bool = option(
        False,
        "create only: a file whose object exists is skipped, where the service knows "
        "If-None-Match: AWS, Ceph, MinIO, R2, Scaleway and OVH do; refused where it is known to be "
        "of no use; a service that ignores it replaces objects",
        flag="--if-none-match",
        env=("UPLOADER_IF_NONE_MATCH",),
        parse=switch,
    )

    def __post_init__(self) -> None:
        """Raises ``ValueError`` in one line when options do not go together."""
        if self.sse_kms_key_id and self.sse not in _KMS:
            raise ValueError(f"--sse-kms-key-id needs --sse {' or '.join(_KMS)}")
        if len(self.tag) > _MOST_TAGS:
            raise ValueError(f"--tag: {len(self.tag)} are too many: an object has {_MOST_TAGS}")
        if len({name for name, _ in self.tag}) < len(self.tag):
            raise ValueError("--tag: a name is given twice")


OPTIONS = S3Options
