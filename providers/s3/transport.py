"""Signs and sends S3 requests on one kept connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..errors import Exists, Failure, Rejected, StaleConnection, Transient
from ..http.connection import Connection, Take
from ..http.response import Response
from ..http.sender import Sender
from ..http.xml import root_of
from .answers import REDIRECTIONS, ServiceError
from .headers import Pairs
from .object_headers import CREATE_ONLY, EXISTS
from .service import Service
from .sigv4 import EMPTY_SHA256, canonical_query, quote_path

USER_AGENT = "uploader"


class S3Request(NamedTuple):
    """One request about a bucket or an object in it."""

    method: str
    bucket: str
    key: str = ""
    query: Pairs = ()
    headers: Pairs = ()
    """Lower-case names; all of them are signed."""
    body: bytes | Callable[[Sender], None] = b""
    size: int = 0
    """Of the body, in bytes."""
    payload_hash: str = EMPTY_SHA256

    @property
    def is_idempotent(self) -> bool:
        """Sending it twice does no more than sending it once.  The exceptions: each
        CreateMultipartUpload begins another upload, and the second answer to a CreateBucket does
        not say who has created it."""
        if self.method == "POST":
            return self.query[0][0] != "uploads"
        return self.method != "PUT" or bool(self.key or self.query)


class _BucketConnection(NamedTuple):
    """A connection to where a bucket is."""

    bucket: str
    host: str
    path: str
    """What comes before the key."""
    region: str
    """Where the bucket was thought to be."""
    connection: Connection


class Transport:
    """Sends requests of one greenlet; connects to the bucket that the latest one is about."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._current: _BucketConnection | None = None

    def exchange(self, request: S3Request) -> Response:
        """Sends one signed request and returns its answer, 2xx with no error inside.

        Raises the ``Failure`` that any other answer, or none, stands for.
        """
        response, signed = self._send(request, request.headers)
        if _is_success(response):
            return response
        error = ServiceError.of(response)
        if self.finds_bucket(error):
            return self.exchange(request)
        raise self._failure(error, response, signed)

    def download(self, request: S3Request, take: Take) -> None:
        """Like ``exchange``, but ``take`` gets the body, as it arrives."""
        response, signed = self._send(request, request.headers, take)
        if 200 <= response.status < 300:
            return
        error = ServiceError.of(response)
        if self.finds_bucket(error):
            self.download(request, take)
            return
        raise self._failure(error, response, signed)

    def offer(self, request: S3Request, checksum: Pairs) -> Response | None:
        """Sends the request with ``checksum``, headers that a service may not know.

        Returns None when the service may have refused these headers.  The caller sends the request
        without them and, when that succeeds, calls ``Service.prove_by_md5``.
        """
        if not checksum:
            return self.exchange(request)
        response, signed = self._send(request, [*request.headers, *checksum])
        if _is_success(response):
            return response
        error = ServiceError.of(response)
        if self.finds_bucket(error):
            return self.offer(request, checksum)
        if self._service.knows_checksum or not error.may_be_about_a_header:
            raise self._failure(error, response, signed)
        return None

    def connect(self, bucket: str) -> None:
        """Connects to where the bucket is; raises the ``Failure`` of a request that cannot."""
        self.connection_to(bucket).connection.connect()

    def close(self) -> None:
        """Closes the connection, if one is open."""
        if self._current:
            self._current.connection.close()
            self._current = None

    def _send(
        self, request: S3Request, headers: Pairs, take: Take | None = None
    ) -> tuple[Response, Pairs]:
        """The answer to the request, whatever it is, and the headers that were signed."""
        to = self.connection_to(request.bucket)
        base, key = to.path, request.key
        try:
            path = base + quote_path(key) if key else base.rstrip("/") or "/"
            query = canonical_query(request.query)
        except UnicodeEncodeError:
            raise Rejected("the key is not valid UTF-8") from None
        method = request.method
        signed = self._service.sign(method, to.host, path, query, headers, request.payload_hash)
        target = f"{path}?{query}" if query else path
        lines = "\r\n".join(map(": ".join, signed))
        head = (
            f"{method} {target} HTTP/1.1\r\n{lines}\r\n"
            f"content-length: {request.size}\r\nuser-agent: {USER_AGENT}\r\n\r\n"
        ).encode()
        send = to.connection.request
        try:
            return send(head, request.body, take), signed
        except StaleConnection:
            if not request.is_idempotent:
                raise
        return send(head, request.body, take), signed

    def connection_to(self, bucket: str) -> _BucketConnection:
        """The connection that the bucket's requests go by; another bucket's is closed."""
        current = self._current
        if current is None or current.bucket != bucket:
            self.close()
            service = self._service
            endpoint, path = service.address(bucket)
            connection = service.connection(endpoint)
            current = _BucketConnection(
                bucket, endpoint.authority, path, service.region, connection
            )
            self._current = current
        return current

    def finds_bucket(self, error: ServiceError) -> bool:
        """Whether the bucket is in another region than this connection was made for, which the
        service has learnt from this answer, or from another greenlet's."""
        current, service = self._current, self._service
        assert current
        if error.status not in REDIRECTIONS:
            return False
        if current.region == service.region and not service.follow(error):
            return False
        self.close()
        return True

    def _failure(self, error: ServiceError, response: Response, signed: Pairs) -> Failure:
        if error.code == "RequestTimeTooSkewed" and self._service.adopt_clock(
            response.headers.get("date"), dict(signed)["x-amz-date"]
        ):
            return Transient(f"{error.code}: trying again with the service's clock")
        if error.code in ("ExpiredToken", "TokenRefreshRequired"):
            used = dict(signed).get("x-amz-security-token")
            if self._service.refused:
                self._service.refused(used)
            if self._service.credentials().token != used:
                return Transient(f"{error.code}: trying again with renewed credentials")
        if error.status == 412 and CREATE_ONLY in signed:
            return Exists(EXISTS)
        assert self._current
        return error.failure(self._service.region, self._current.bucket)


def _is_success(response: Response) -> bool:
    """CompleteMultipartUpload may answer 200 and then fail: the root element tells.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html
    """
    body = response.body
    return 200 <= response.status < 300 and (not body or root_of(body) != "Error")
