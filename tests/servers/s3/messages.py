"""S3's requests and answers as bytes."""

from __future__ import annotations

import http
import time
from collections.abc import Mapping, Sequence
from email.utils import formatdate
from typing import NamedTuple
from urllib.parse import unquote_to_bytes
from xml.sax.saxutils import escape

NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'

ON_KEY = (
    *("put", "copy", "create", "part", "complete", "abort", "list_parts"),
    *("head", "get", "delete"),
)
ABOUT_ACCESS = {
    "acl": "acl",
    "policyStatus": "policy_status",
    "publicAccessBlock": "public_access_block",
}
"""Parameters of the query that ask who may use a bucket."""
ON_BUCKET = (
    *("head_bucket", "create_bucket", "list", "list_uploads", "delete_many"),
    *ABOUT_ACCESS.values(),
    "block_public_access",
)
KINDS = (*ON_KEY, *ON_BUCKET)

_CODES = {
    400: "InvalidRequest",
    403: "AccessDenied",
    404: "NoSuchKey",
    408: "RequestTimeout",
    409: "OperationAborted",
    413: "EntityTooLarge",
    429: "TooManyRequests",
    500: "InternalError",
    501: "NotImplemented",
    503: "ServiceUnavailable",
    507: "InsufficientStorage",
}
"""Others are answered as proxies do it, with a page of HTML."""


class S3Error(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, code: str, message: str = "scripted or deserved") -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.message = message


class Request(NamedTuple):
    """The head of a request."""

    method: str
    path: str
    """As sent: it is signed like this."""
    query: str
    """As sent."""
    parameters: Mapping[str, str]
    """Of the query, decoded."""
    headers: Mapping[str, str]
    """Names in lower case."""
    kind: str
    bucket: str
    key: str
    """The bucket's name where the request is for the bucket."""
    part: int

    @property
    def length(self) -> int:
        return int(self.headers.get("content-length", 0))


class Answer(NamedTuple):
    status: int = 200
    headers: Mapping[str, str] = {}
    body: bytes = b""


def parse(head: bytes) -> Request:
    """Reads a request's head, with the empty line at its end."""
    first, *lines = head[:-4].decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    path, _, query = target.partition("?")
    pairs = (pair.partition("=") for pair in query.split("&") if pair)
    parameters = {name: _decoded(value) for name, _, value in pairs}
    bucket, _, key = map(_decoded, path[1:].partition("/"))
    kind = _kind(method, bool(key), parameters)
    if kind == "put" and "x-amz-copy-source" in headers:
        kind = "copy"
    part = int(parameters.get("partNumber", 0))
    return Request(method, path, query, parameters, headers, kind, bucket, key or bucket, part)


def _kind(method: str, on_key: bool, parameters: Mapping[str, str]) -> str:
    if not on_key:
        about_access = next((ABOUT_ACCESS[name] for name in parameters if name in ABOUT_ACCESS), "")
        if about_access:
            return about_access if method == "GET" else "block_public_access"
        if method == "GET":
            return "list_uploads" if "uploads" in parameters else "list"
        return {"HEAD": "head_bucket", "PUT": "create_bucket", "POST": "delete_many"}[method]
    if "uploadId" in parameters:
        return {"PUT": "part", "POST": "complete", "DELETE": "abort", "GET": "list_parts"}[method]
    if method == "POST":
        return "create"
    return {"PUT": "put", "DELETE": "delete", "GET": "get", "HEAD": "head"}[method]


def _decoded(text: str) -> str:
    return unquote_to_bytes(text).decode()


def render(answer: Answer, head_only: bool, clock_offset: float = 0.0) -> bytes:
    """The bytes of an answer; of its head only when it answers a HEAD."""
    try:
        phrase = http.HTTPStatus(answer.status).phrase
    except ValueError:
        phrase = "Unknown"
    headers = {
        "Date": formatdate(time.time() + clock_offset, usegmt=True),
        "x-amz-request-id": "FAKE",
        "Content-Length": str(len(answer.body)),
        **answer.headers,
    }
    if answer.status == 204:
        del headers["Content-Length"]
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {answer.status} {phrase}\r\n{lines}\r\n".encode()
    return head if head_only else head + answer.body


def error_answer(error: S3Error, **headers: str) -> Answer:
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error>{tag('Code', error.code)}{tag('Message', error.message)}</Error>"
    )
    return Answer(error.status, {"Content-Type": "application/xml", **headers}, body.encode())


def refusal(request: Request, status: int, retry_after: float | None) -> Answer:
    """That status, with the code that S3 gives it for such a request."""
    headers = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}
    if status not in _CODES:
        return Answer(status, headers, b"<html><body>Bad <b>Gateway<br></html>")
    of_an_upload = request.kind in ("part", "complete", "abort", "list_parts")
    code = "NoSuchUpload" if status == 404 and of_an_upload else _CODES[status]
    return error_answer(S3Error(status, code), **headers)


def xml_answer(root: str, rows: Sequence[str]) -> Answer:
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<{root} {NAMESPACE}>{"".join(rows)}</{root}>'
    return Answer(200, {"Content-Type": "application/xml"}, body.encode())


def tag(name: str, text: object) -> str:
    return f"<{name}>{escape(str(text))}</{name}>"
