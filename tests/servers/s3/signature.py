"""Verifies signatures by botocore's own arithmetic."""

from __future__ import annotations

import calendar
import hashlib
import hmac
import re
import time
from collections.abc import Mapping

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from .messages import Request, S3Error
from .storage import Signer

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/s3/aws4_request, ?"
    r"SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})"
)


def verify(request: Request, body: bytes, secrets: Mapping[str, str]) -> Signer:
    """Who signed the request; S3Error when the signature is not right.

    ``secrets`` holds the secret key of each access key.
    """
    headers = request.headers
    found = _AUTHORIZATION.fullmatch(headers.get("authorization", ""))
    if not found:
        raise S3Error(403, "AccessDenied", "not signed")
    access_key, day, region, signed_headers, signature = found.groups()
    if access_key not in secrets:
        raise S3Error(403, "InvalidAccessKeyId")
    signed = signed_headers.split(";")
    if unsigned := {n for n in headers if n == "host" or n.startswith("x-amz-")} - set(signed):
        raise S3Error(403, "AccessDenied", f"not signed: {sorted(unsigned)}")
    expected = _signature(request, signed, region, Credentials(access_key, secrets[access_key]))
    same_day = headers["x-amz-date"].startswith(day)
    if not same_day or not hmac.compare_digest(expected, signature):
        raise S3Error(403, "SignatureDoesNotMatch")
    payload_hash = headers["x-amz-content-sha256"]
    if payload_hash.startswith("STREAMING-"):
        raise S3Error(501, "NotImplemented")
    if payload_hash not in ("UNSIGNED-PAYLOAD", hashlib.sha256(body).hexdigest()):
        raise S3Error(400, "XAmzContentSHA256Mismatch")
    return Signer(access_key, signature)


def _signature(request: Request, signed: list[str], region: str, credentials: Credentials) -> str:
    headers = {name: request.headers.get(name, "") for name in signed}
    url = f"http://{request.headers.get('host')}{request.path}?{request.query}"
    again = AWSRequest(request.method, url, headers)
    again.context["timestamp"] = request.headers["x-amz-date"]
    auth = S3SigV4Auth(credentials, "s3", region)
    text = auth.string_to_sign(again, auth.canonical_request(again))
    return str(auth.signature(text, again))


def skew(request: Request, now: float) -> float:
    """Seconds between the request's date and now."""
    date = time.strptime(request.headers["x-amz-date"], "%Y%m%dT%H%M%SZ")
    return abs(now - calendar.timegm(date))
