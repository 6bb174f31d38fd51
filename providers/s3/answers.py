"""Reads an S3 service's answers: keys in listings, what errors and ETags mean."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote, unquote_plus
from xml.etree import ElementTree

from ..errors import Denied, Failure, Fatal, NotFound, Rejected, Throttled, Transient
from ..http.response import Response
from ..http.retry_after import retry_after
from ..http.xml import fields, parsed

REDIRECTIONS = (301, 307, 400, 403)
"""How a service may answer when the bucket is in another region.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/Redirects.html
"""
_ENCODED = re.compile(r"(?:[A-Za-z0-9_.~/-]|%[0-9A-F]{2})*")
_REGION = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""What may go into a signature: no line breaks, whatever the service says."""
_AWS_HOST = re.compile(
    r"(?:.*\.)?s3[.-](?:dualstack\.)?([a-z]+-[a-z-]+-\d+)\.amazonaws\.com[.a-z]*"
)


def decoded(page: ElementTree.Element, key: str) -> str:
    """Decodes a key or marker in a listing that was asked for with ``encoding-type=url``.

    Services that do not know the parameter answer raw.  A space is a plus sign, as in a form.
    """
    return unquote_plus(key) if fields(page).get("EncodingType") == "url" else key


def key_of(page: ElementTree.Element, row: Mapping[str, str], prefix: str) -> str:
    """The key in a row of such a listing; every key begins with ``prefix``.

    Ceph 16.2 encodes keys without saying so: a key that looks encoded, and decoded begins with the
    prefix, is encoded.
    """
    key = row["Key"]
    if _ENCODED.fullmatch(key):
        plain = unquote(key)
        if plain.startswith(prefix):
            return plain
    return decoded(page, key)


class ServiceError(NamedTuple):
    """An answer that is no success.

    https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
    """

    status: int
    code: str
    message: str
    region: str | None
    """Where the bucket is, when the answer says so."""
    after: float | None
    """Seconds that the service asks to wait."""
    endpoint: str | None = None
    """The host that serves the bucket, when the answer says so."""
    is_foreign: bool = False
    """The body is no error of S3's: a proxy on the way has answered, not knowing where to."""

    @classmethod
    def of(cls, response: Response) -> ServiceError:
        """The error in an answer; inside a 2xx it counts as 500."""
        error = cls.parse(response.status, response.headers, response.body)
        return error._replace(status=500) if 200 <= error.status < 300 else error

    @classmethod
    def parse(cls, status: int, headers: Mapping[str, str], body: bytes) -> ServiceError:
        """Reads the error of an answer; a body that is no XML gives an empty code."""
        page = parsed(body)
        body_fields = {} if page is None else fields(page)
        endpoint = "".join(body_fields.get("Endpoint", "").split())
        region = headers.get("x-amz-bucket-region") or body_fields.get("Region")
        return cls(
            status,
            body_fields.get("Code", ""),
            " ".join(body_fields.get("Message", "").split()),
            region if region and _REGION.fullmatch(region) else _region_of(endpoint),
            retry_after(headers),
            endpoint or None,
            is_foreign=bool(body) and "Code" not in body_fields,
        )

    @property
    def may_be_about_a_header(self) -> bool:
        """Services refuse an unknown header in one of these ways, or want a Content-MD5 in its
        place: MinIO and others have codes like ``MissingContentMD5`` for that."""
        unknown = self.code in _UNKNOWN_HEADER_CODES or self.code.startswith("Missing")
        return self.status == 501 or (self.status == 400 and unknown)

    def is_elsewhere(self, region: str) -> bool:
        """The bucket is in another region than the one that the request was signed for."""
        return bool(self.region) and self.region != region and self.status in REDIRECTIONS

    def failure(self, region: str, bucket: str = "") -> Failure:
        """What the error means for the upload; ``region``: where the request went, ``bucket``: what
        it was about."""
        status, code = self.status, self.code
        reason = ": ".join(filter(None, (code, self.message))) or f"the service answered {status}"
        if self.is_elsewhere(region):
            return Fatal(f"the bucket is in region {self.region}, not {region}: use --region")
        if status == 301 and self.endpoint:
            host = self.endpoint.removeprefix(f"{bucket}.")
            return Fatal(f"the bucket is at {host}: use --endpoint-url")
        if code in _FATAL_CODES or status == 301:
            return Fatal(reason)
        if status in (429, 503, 509) or code in _THROTTLING_CODES:
            return Throttled(reason, after=self.after)
        if (status >= 500 and status != 501) or status in (307, 408) or code in _TRANSIENT_CODES:
            return Transient(reason, after=self.after)
        if status == 404 and self.is_foreign:
            return Transient(f"{reason}, and not in the words of S3")
        if status == 404 or code == "InvalidPart":
            return NotFound(reason)
        if status in (401, 403):
            return Denied(reason)
        return Rejected(reason)


def _region_of(endpoint: str) -> str | None:
    """The region in one of AWS's host names."""
    found = _AWS_HOST.fullmatch(endpoint)
    return found and found[1]


_FATAL_CODES = {
    "AccessControlListNotSupported",
    "AccountProblem",
    "AllAccessDisabled",
    "AuthorizationHeaderMalformed",
    "ExpiredToken",
    "IllegalLocationConstraintException",
    "InsufficientStorage",
    "InvalidAccessKeyId",
    "InvalidBucketName",
    "InvalidEncryptionAlgorithmError",
    "InvalidStorageClass",
    "InvalidTag",
    "InvalidToken",
    "KMS.DisabledException",
    "KMS.InvalidKeyUsageException",
    "KMS.KMSInvalidStateException",
    "KMS.NotFoundException",
    "NoSuchBucket",
    "NotSignedUp",
    "PermanentRedirect",
    "QuotaExceeded",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
    "UserSuspended",
    "XMinioStorageFull",
}
_THROTTLING_CODES = {
    "RequestLimitExceeded",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
}
_TRANSIENT_CODES = {
    "BadDigest",
    "ConditionalRequestConflict",
    "IncompleteBody",
    "InternalError",
    "OperationAborted",
    "RequestTimeout",
    "XAmzContentChecksumMismatch",
    "XAmzContentSHA256Mismatch",
}
_UNKNOWN_HEADER_CODES = {"InvalidArgument", "InvalidRequest", "NotImplemented"}


def is_made_of_md5(headers: Mapping[str, str], asked: str | None) -> bool:
    """Whether the ETag in an answer is an MD5, or one of MD5s: with encryption by a key of KMS or
    the customer it is none.  ``asked``: the encryption that the request asked for, or the run asks
    for; an answer may not name it.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html, under ETag.
    """
    encryption = headers.get("x-amz-server-side-encryption") or asked or "AES256"
    own_key = "x-amz-server-side-encryption-customer-algorithm" in headers
    return encryption == "AES256" and not own_key
