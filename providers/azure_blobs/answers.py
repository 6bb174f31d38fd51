"""What Azure's errors mean.  Pure.

https://learn.microsoft.com/en-us/rest/api/storageservices/blob-service-error-codes
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ..errors import Denied, Failure, Fatal, NoBucket, NotFound, Rejected, Throttled, Transient
from ..http.response import Response
from ..http.retry_after import retry_after
from ..http.xml import fields, parsed

_TIME_FRAME = re.compile(r"Signature not valid in the specified time frame[^'\"&=]*")
"""The one detail that helps: others quote what was signed."""


class ServiceError(NamedTuple):
    """An answer that is no success."""

    status: int
    code: str
    message: str
    after: float | None
    """Seconds that the service asks to wait."""

    @classmethod
    def of(cls, response: Response) -> ServiceError:
        """The error in an answer; one without a body has its code in a header."""
        page = parsed(response.body)
        body_fields = {} if page is None else fields(page)
        code = response.headers.get("x-ms-error-code") or body_fields.get("Code", "")
        # The first line: request id and time come after it.
        message = body_fields.get("Message", "").strip().partition("\n")[0]
        # Azurite's code for it is that of a lack of permission.
        if message.startswith("Server failed to authenticate the request"):
            code = "AuthenticationFailed"
        if detail := _TIME_FRAME.match(body_fields.get("AuthenticationErrorDetail", "")):
            message = detail[0]
        after = retry_after(response.headers)
        return cls(response.status, code, " ".join(message.split()), after)

    @property
    def is_about_a_header(self) -> bool:
        """The service does not know a header of the request."""
        return self.status == 501 or self.code in _HEADER_CODES

    def failure(self) -> Failure:
        """What the error means for the upload."""
        status, code = self.status, self.code
        reason = ": ".join(filter(None, (code, self.message))) or f"the service answered {status}"
        if code == "ContainerNotFound":
            return NoBucket(reason)
        if code in _FATAL_CODES:
            return Fatal(reason)
        if status in (429, 503) or code == "ServerBusy":
            return Throttled(reason, after=self.after)
        if (status >= 500 and status != 501) or status == 408 or code in _TRANSIENT_CODES:
            return Transient(reason, after=self.after)
        if status == 404 or code == "InvalidBlockList":
            return NotFound(reason)
        if status in (401, 403):
            return Denied(reason)
        return Rejected(f"{reason}{_ADVICE.get(code, '')}")


_FATAL_CODES = {
    "AccountIsDisabled",
    "AuthenticationFailed",
    "AuthorizationProtocolMismatch",
    "AuthorizationServiceMismatch",
    "AuthorizationSourceIPMismatch",
    "ContainerDisabled",
    "FeatureVersionMismatch",
    "InvalidAuthenticationInfo",
    "KeyBasedAuthenticationNotPermitted",
    "NoAuthenticationInformation",
    "PublicAccessNotPermitted",
}
_HEADER_CODES = {"FeatureNotSupported", "UnsupportedHeader"}
_TRANSIENT_CODES = {
    "AccountBeingCreated",
    "ContainerBeingDeleted",
    "ContainerBeingDisabled",
    "Crc64Mismatch",
    "IncompleteBody",
    "Md5Mismatch",
}
_ADVICE = {
    "InvalidBlobOrBlock": (
        ": another program has left blocks there that are named in another way; they expire within "
        "a week, or with the blob when it is written as a whole or deleted"
    ),
}
