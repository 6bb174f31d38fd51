"""Our connection where libcloud's drivers expect ``requests``.

``Connection.conn_class`` of a libcloud driver (libcloud/common/base.py) names the class that does
the HTTP.  This one has the methods of libcloud/http.py that libcloud calls.  It keeps its
connection, limits every wait and raises the failures of providers.errors for the network's; the
driver judges what a status means.
"""

from __future__ import annotations

import http.client
import re
import ssl
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, ClassVar, NamedTuple
from urllib.parse import quote, urljoin

import libcloud.security
from requests.structures import CaseInsensitiveDict

from ..errors import StaleConnection
from ..traffic import Traffic
from .connection import Connection
from .decoding import decoded
from .endpoint import Endpoint, Proxy, environment_proxy
from .framing import framed_body
from .limit import Timeouts
from .tls import tls_context

_IDEMPOTENT = ("GET", "HEAD", "PUT", "DELETE", "OPTIONS")
"""RFC 9110 section 9.2.2."""
_CHARSET = re.compile(r"charset=\"?([^\s;\"]+)", re.IGNORECASE)


class Request(NamedTuple):
    """The request that a response answers."""

    method: str
    url: str


class Response:
    """A complete response, with what libcloud reads of it."""

    def __init__(
        self, status_code: int, headers: Mapping[str, str], content: bytes, request: Request
    ) -> None:
        self.status_code = status_code
        self.reason = http.client.responses.get(status_code, "")
        self.headers = CaseInsensitiveDict(headers)
        self.content = content
        """The body, decoded."""
        self.request = request

    @property
    def text(self) -> str:
        """The body as text, in the charset that its type declares, else UTF-8."""
        declared = _CHARSET.search(self.headers.get("content-type", ""))
        try:
            return self.content.decode(declared[1] if declared else "utf-8", "replace")
        except LookupError:
            return self.content.decode("utf-8", "replace")

    def iter_content(self, chunk_size: int | None = 1) -> Iterator[bytes]:
        """The body in pieces of ``chunk_size`` bytes; None: as a whole."""
        size = chunk_size or len(self.content) or 1
        for start in range(0, len(self.content), size):
            yield self.content[start : start + size]

    def close(self) -> None:
        """Does nothing: the body has been read."""


class LibcloudConnection:
    """A ``conn_class`` for any libcloud driver.

    Responses are read as a whole, even with ``stream=True``, and may have 64 MiB.  The caller
    follows redirects.  When the kept connection proves stale, an idempotent request whose body is
    bytes is sent once more.
    """

    tls: ClassVar[ssl.SSLContext | None] = None
    """Trust of all connections of a subclass; None: libcloud.security's."""
    timeouts: ClassVar[Timeouts] = Timeouts()
    traffic: ClassVar[Traffic | None] = None
    """Counts what all connections of a subclass move."""

    def __init__(
        self,
        host: str,
        port: int,
        secure: bool | None = None,
        timeout: float | None = None,
        proxy_url: str | None = None,
    ) -> None:
        """``timeout`` in seconds replaces the idle limit.  Port 443 is secure whatever ``secure``
        says, as in libcloud."""
        self._endpoint = Endpoint(bool(secure) or port == 443, host.strip("[]"), port)
        self._tls = self.tls
        self._timeouts = self.timeouts._replace(idle=timeout) if timeout else self.timeouts
        self._proxy = Proxy.parse(proxy_url) if proxy_url else environment_proxy(self._endpoint)
        self._connection: Connection | None = None
        self.response: Response | None = None
        scheme = "https" if self._endpoint.secure else "http"
        self.host = f"{scheme}://{self._endpoint.authority}"

    def configure(self, timeouts: Timeouts, tls: ssl.SSLContext | None) -> None:
        """Replaces the limits and the trust of this connection."""
        self.close()
        self._timeouts = timeouts
        self._tls = tls

    def set_http_proxy(self, proxy_url: str) -> None:
        """Goes through the proxy ``http://[user:password@]host:port`` from now on."""
        self.close()
        self._proxy = Proxy.parse(proxy_url)

    def request(
        self,
        method: str,
        url: str,
        body: Any = None,
        headers: Mapping[str, Any] | None = None,
        raw: bool = False,
        stream: bool = False,
        hooks: Any = None,
    ) -> None:
        """Sends a request and keeps the response for ``getresponse``.

        ``url`` is an absolute path with its query.  ``body`` is None, text, bytes, a file that is
        read from its position, or any iterable of bytes.  A file or iterable goes with the
        Content-Length among ``headers`` (SourceChanged when that is not its length), else with the
        length of the file, else chunked.
        """
        method = method.upper()
        fields = {str(name): value for name, value in (headers or {}).items() if value is not None}
        framed = framed_body(method, body, fields)
        lines = "".join(f"{_field(name)}: {_field(value)}\r\n" for name, value in fields.items())
        if not any(name.lower() == "host" for name in fields):
            lines = f"Host: {self._endpoint.authority}\r\n{lines}"
        head = f"{method} {_target(url)} HTTP/1.1\r\n{lines}\r\n".encode()
        connection = self._connected()
        try:
            response = connection.request(head, framed)
        except StaleConnection:
            if callable(framed) or method not in _IDEMPOTENT:
                raise
            response = connection.request(head, framed)
        content = decoded(response.body, response.headers.get("content-encoding", ""))
        request = Request(method, urljoin(self.host, url))
        self.response = Response(response.status, response.headers, content, request)

    def prepared_request(
        self,
        method: str,
        url: str,
        body: Any = None,
        headers: Mapping[str, Any] | None = None,
        raw: bool = False,
        stream: bool = False,
    ) -> None:
        """Like ``request``; libcloud uploads and downloads this way."""
        self.request(method, url, body, headers)

    def getresponse(self) -> Response:
        """The response to the last request."""
        assert self.response is not None
        return self.response

    def getheaders(self) -> CaseInsensitiveDict[str]:
        """The headers of the last response, without that of the encoding, which is undone."""
        headers = self.getresponse().headers
        headers.pop("content-encoding", None)
        return headers

    @property
    def status(self) -> int:
        return self.getresponse().status_code

    @property
    def reason(self) -> str:
        return self.getresponse().reason

    def read(self) -> bytes:
        """The body of the last response."""
        return self.getresponse().content

    def connect(self) -> None:
        """Does nothing: the first request connects."""

    def close(self) -> None:
        """Closes the connection; the next request opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> Connection:
        if self._connection is None:
            tls = None
            if self._endpoint.secure:
                tls = self._tls or _libcloud_trust(
                    libcloud.security.CA_CERTS_PATH, libcloud.security.VERIFY_SSL_CERT
                )
            self._connection = Connection(
                self._endpoint, self._timeouts, tls, self._proxy, self.traffic
            )
        return self._connection


@cache
def _libcloud_trust(ca_path: str | None, verify: bool) -> ssl.SSLContext:
    return tls_context(ca_path, verify=verify)


def _target(url: str) -> str:
    """Encodes in ``url`` what a request line cannot hold, and nothing twice."""
    if not url.startswith("/"):
        raise ValueError("the URL of a request begins with a slash")
    return quote(url, safe="!$%&'()*+,/:;=?@[]~")


def _field(value: Any) -> str:
    text = value.decode() if isinstance(value, bytes) else str(value)
    if "\r" in text or "\n" in text:
        raise ValueError("a header must not contain a line break")
    return text.strip()
