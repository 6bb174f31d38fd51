"""Reads an S3 service's answers: keys in listings, and what errors mean."""

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

_ENCODED = re.compile(r"(?:[A-Za-z0-9_.~/-]|%[0-9A-F]{2})*")


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
        return cls(
            status,
            body_fields.get("Code", ""),
            " ".join(body_fields.get("Message", "").split()),
            headers.get("x-amz-bucket-region") or body_fields.get("Region"),
            retry_after(headers),
        )

    @property
    def may_be_about_a_header(self) -> bool:
        """Services refuse an unknown header in one of these ways."""
        return self.status == 501 or (self.status == 400 and self.code in _UNKNOWN_HEADER_CODES)

    def failure(self, region: str) -> Failure:
        """What the error means for the upload; ``region``: where the request went."""
        status, code = self.status, self.code
        reason = ": ".join(filter(None, (code, self.message))) or f"the service answered {status}"
        if self.region and self.region != region and status in (301, 307, 400, 403):
            return Fatal(f"the bucket is in region {self.region}, not {region}: use --region")
        if code in _FATAL_CODES or status == 301:
            return Fatal(reason)
        if status in (429, 503, 509) or code in _THROTTLING_CODES:
            return Throttled(reason, after=self.after)
        if (status >= 500 and status != 501) or status in (307, 408) or code in _TRANSIENT_CODES:
            return Transient(reason, after=self.after)
        if status == 404 or code == "InvalidPart":
            return NotFound(reason)
        if status in (401, 403):
            return Denied(reason)
        return Rejected(reason)


_FATAL_CODES = {
    "AccountProblem",
    "AllAccessDisabled",
    "AuthorizationHeaderMalformed",
    "ExpiredToken",
    "IllegalLocationConstraintException",
    "InsufficientStorage",
    "InvalidAccessKeyId",
    "InvalidBucketName",
    "InvalidToken",
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
