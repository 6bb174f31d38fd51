"""Signs and sends requests to Azure on one kept connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..errors import Failure, StaleConnection, Transient
from ..http.connection import Take
from ..http.response import Response
from ..http.sender import Sender
from .answers import ServiceError
from .naming import blob_path
from .service import Service
from .sharedkey import Pairs

USER_AGENT = "uploader"


class AzureRequest(NamedTuple):
    """One request about a container or a blob in it.  Each does no more when it is sent twice."""

    method: str
    container: str
    key: str = ""
    query: Pairs = ()
    headers: Pairs = ()
    """Lower-case names; what has to be signed of them is."""
    body: bytes | Callable[[Sender], None] = b""
    size: int = 0
    """Of the body, in bytes."""


class Transport:
    """Sends the requests of one greenlet."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._connection = service.connection()

    def exchange(self, request: AzureRequest) -> Response:
        """Sends one request and returns its answer, a success of Azure's.

        Raises the ``Failure`` that any other answer, or none, stands for.
        """
        response, signed = self._send(request)
        if 200 <= response.status < 300:
            return _checked(response)
        raise self._failure(ServiceError.of(response), response, signed)

    def download(self, request: AzureRequest, take: Take) -> None:
        """Like ``exchange``, but ``take`` gets the body, as it arrives."""
        response, signed = self._send(request, take)
        if not 200 <= response.status < 300:
            raise self._failure(ServiceError.of(response), response, signed)
        _checked(response)

    def exchange_if_known(self, request: AzureRequest) -> Response | None:
        """Like ``exchange``; None when the service does not know a header of the request."""
        response, signed = self._send(request)
        if 200 <= response.status < 300:
            return _checked(response)
        error = ServiceError.of(response)
        if error.is_about_a_header:
            return None
        raise self._failure(error, response, signed)

    def connect(self) -> None:
        """Connects; raises the ``Failure`` of a request that cannot."""
        self._connection.connect()

    def close(self) -> None:
        """Closes the connection, if it is open."""
        self._connection.close()

    def _send(self, request: AzureRequest, take: Take | None = None) -> tuple[Response, Pairs]:
        """The answer to the request, whatever it is, and the headers that were signed."""
        service, method, size = self._service, request.method, request.size
        path = f"{service.endpoint.path}/{request.container}"
        if request.key:
            path += f"/{blob_path(request.key)}"
        headers = [*request.headers, ("content-length", str(size))] if size else request.headers
        target, signed = service.authorized(method, path, request.query, headers)
        lines = "\r\n".join(map(": ".join, signed))
        unsigned = f"host: {service.endpoint.authority}\r\nuser-agent: {USER_AGENT}\r\n"
        if not size:
            unsigned += "content-length: 0\r\n"
        head = f"{method} {target} HTTP/1.1\r\n{lines}\r\n{unsigned}\r\n".encode()
        send = self._connection.request
        try:
            return send(head, request.body, take), signed
        except StaleConnection:
            return send(head, request.body, take), signed

    def _failure(self, error: ServiceError, response: Response, signed: Pairs) -> Failure:
        service = self._service
        if error.code == "AuthenticationFailed" and service.adopt_clock(
            response.headers.get("date"), dict(signed)["x-ms-date"]
        ):
            return Transient(f"{error.code}: trying again with the service's clock")
        if service.account.is_quoted_in(error.message):
            error = error._replace(message="")
        return error.failure()


def _checked(response: Response) -> Response:
    if "x-ms-request-id" not in response.headers:
        raise Transient("the answer has no x-ms-request-id: so it is not from Azure")
    return response
