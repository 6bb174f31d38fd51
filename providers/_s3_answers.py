"""What an S3 service's answers say: the XML of listings and errors, and what an error means."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple
from xml.etree import ElementTree

from .errors import Denied, Failure, Fatal, NotFound, Rejected, Throttled, Transient


def parsed(body: bytes) -> ElementTree.Element | None:
    """The root of an XML answer, None when it is no XML."""
    try:
        return ElementTree.fromstring(body)
    except (ElementTree.ParseError, LookupError, ValueError):
        # The last two for encodings that Python does not know or expat does not want.
        return None


def fields(node: ElementTree.Element) -> dict[str, str]:
    """The texts of an element's children by their names."""
    return {_local(child.tag): child.text or "" for child in node}


def rows(page: ElementTree.Element, name: str) -> Iterator[dict[str, str]]:
    """The fields of each child that is called ``name``."""
    return (fields(node) for node in page if _local(node.tag) == name)


def found(body: bytes, name: str) -> str | None:
    """The text of the first element called ``name``; None when there is none."""
    page = parsed(body)
    nodes = [] if page is None else page.iter()
    return next((node.text for node in nodes if _local(node.tag) == name), None)


def _local(tag: str) -> str:
    """An element's name without its namespace, which some services leave out."""
    return tag.rpartition("}")[2]


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

    @classmethod
    def parse(cls, status: int, headers: Mapping[str, str], body: bytes) -> ServiceError:
        """Reads the error out of an answer; a body that is no XML gives an empty code."""
        page = parsed(body)
        told = {} if page is None else fields(page)
        region = headers.get("x-amz-bucket-region") or told.get("Region")
        after = headers.get("retry-after", "")
        return cls(
            status,
            told.get("Code", ""),
            " ".join(told.get("Message", "").split()),
            region,
            float(after) if after.isdecimal() else None,
        )

    def failure(self, region: str) -> Failure:
        """What the error means for the upload; ``region`` is the one that the request was for."""
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
