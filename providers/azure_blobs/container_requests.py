"""Sends the requests of one session about its container and the blobs in it."""

from __future__ import annotations

from ..http.response import Response
from .body import Body
from .driver import AzureDriver
from .sharedkey import Pairs
from .transport import AzureRequest

CONTAINER = ("restype", "container")
"""In the query of a request about the container itself."""


class ContainerRequests:
    """Requests on one driver about one container."""

    def __init__(self, driver: AzureDriver, container: str) -> None:
        self.driver = driver
        self.container = container

    def request(
        self,
        method: str,
        key: str = "",
        query: Pairs = (),
        headers: Pairs = (),
        body: Body | None = None,
    ) -> AzureRequest:
        """A request, not sent yet; about the container when ``key`` is empty."""
        content, size = (body.content, body.size) if body else (b"", 0)
        return AzureRequest(method, self.container, key, query, headers, content, size)

    def exchange(
        self,
        method: str,
        key: str = "",
        query: Pairs = (),
        headers: Pairs = (),
        body: Body | None = None,
    ) -> Response:
        """Sends it; see ``Transport.exchange``."""
        request = self.request(method, key, query, headers, body)
        return self.driver.transport.exchange(request)
