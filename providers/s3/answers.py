"""Reads an S3 service's answers: XML, and what errors mean."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple
from urllib.parse import unquote, unquote_plus
from xml.etree import ElementTree

from ..errors import Denied, Failure, Fatal, NotFound, Rejected, Throttled, Transient
from ..http.response import Response

_UNREADABLE = (ElementTree.ParseError, LookupError, ValueError)
"""LookupError and ValueError: encodings that Python does not know or expat refuses."""
_FIRST_BYTES = 1024
"""Any answer's root element begins within these."""
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]|&#(?:0*(\d{1,2})|x0*([0-9A-Fa-f]{1,2}));")
"""Characters that XML 1.0 cannot hold, raw or by number, and other small numbers."""
_ENCODED = re.compile(r"(?:[A-Za-z0-9_.~/-]|%[0-9A-F]{2})*")


def parsed(body: bytes) -> ElementTree.Element | None:
    """The root of an XML answer, None when it is no XML.

    Services put keys into answers raw: characters that XML forbids become U+FFFD here.
    """
    try:
        return ElementTree.fromstring(body)
    except _UNREADABLE:
        pass
    try:
        return ElementTree.fromstring(_CONTROL.sub(_replaced, body))
    except _UNREADABLE:
        return None


def root_of(body: bytes) -> str | None:
    """The name of an XML answer's root element, None without one.  Reads no further than that."""
    parser: Any = ElementTree.XMLPullParser(["start"])
    try:
        for start in range(0, len(body), _FIRST_BYTES):
            parser.feed(body[start : start + _FIRST_BYTES])
            for _, node in parser.read_events():
                return local_name(node)
    except _UNREADABLE:
        pass
    return None


def fields(node: ElementTree.Element) -> dict[str, str]:
    """The texts of an element's children, by name."""
    return {local_name(child): child.text or "" for child in node}


def rows(page: ElementTree.Element, name: str) -> Iterator[dict[str, str]]:
    """The fields of each child that is called ``name``."""
    return (fields(node) for node in page if local_name(node) == name)


def found(body: bytes, name: str) -> str | None:
    """The text of the first element called ``name``; None without one."""
    page = parsed(body)
    nodes = [] if page is None else page.iter()
    return next((node.text for node in nodes if local_name(node) == name), None)


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


def local_name(node: ElementTree.Element) -> str:
    """An element's name without the namespace, which some services leave out."""
    return node.tag.rpartition("}")[2]


def _replaced(match: re.Match[bytes]) -> bytes:
    decimal, hexadecimal = match.groups()
    number = int(decimal) if decimal else int(hexadecimal, 16) if hexadecimal else 0
    return match[0] if number >= 32 or number in (9, 10, 13) else "\ufffd".encode()


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
            _pause(headers.get("retry-after", ""), headers.get("date")),
        )

    @property
    def may_be_about_a_header(self) -> bool:
        """Services refuse an unknown header in one of these ways, or want a Content-MD5 in its
        place: MinIO and others have codes like ``MissingContentMD5`` for that."""
        unknown = self.code in _UNKNOWN_HEADER_CODES or self.code.startswith("Missing")
        return self.status == 501 or (self.status == 400 and unknown)

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


def _pause(after: str, date: str | None) -> float | None:
    """The seconds that a Retry-After asks for.  Its date, if it has one, is measured from the
    answer's own Date where there is one.

    https://www.rfc-editor.org/rfc/rfc9110#field.retry-after
    """
    if after.isdecimal():
        return float(after)
    end = _epoch(after)
    if end is None:
        return None
    now = _epoch(date or "")
    return max(0.0, end - (time.time() if now is None else now))


def _epoch(http_date: str) -> float | None:
    try:
        return parsedate_to_datetime(http_date).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None


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
