"""Where a service listens, and the proxy on the way to it."""

from __future__ import annotations

import base64
import os
import re
from ipaddress import ip_address, ip_network
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from ..errors import Fatal

_PROXY_VARIABLES = (
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
)
_HOST = re.compile(r"[A-Za-z0-9._:-]+")
_PATH = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*")
"""RFC 3986 section 3.3."""
_EXCEPTION = re.compile(r"\[?(?P<host>[^\[\]]*?)\]?(?::(?P<port>\d+))?")


class Endpoint(NamedTuple):
    """Where a service listens."""

    secure: bool
    host: str
    """Name or address, without brackets."""
    port: int
    path: str = ""
    """Comes before every path of the service: ``/storage/v1/s3``, percent-encoded."""

    @classmethod
    def parse(cls, url: str) -> Endpoint:
        """Reads ``http[s]://host[:port][/path]``; raises a ValueError of one line for all else."""
        parts = _split(url)
        if parts.query or parts.fragment:
            raise ValueError("an endpoint is http[s]://host[:port][/path], with nothing after it")
        if "@" in parts.netloc:
            raise ValueError("an endpoint must not contain a user name or password")
        if not _PATH.fullmatch(parts.path):
            raise ValueError("the path of an endpoint is ASCII, all else percent-encoded")
        return cls._of(parts)._replace(path=parts.path.rstrip("/"))

    @classmethod
    def _of(cls, parts: SplitResult) -> Endpoint:
        if parts.scheme not in ("http", "https"):
            raise ValueError("an endpoint begins with http:// or https://")
        host = parts.hostname or ""
        if not _HOST.fullmatch(host):
            raise ValueError("an endpoint needs a host name, in ASCII")
        try:
            port = parts.port
        except ValueError:
            port = 0
        if port == 0:
            raise ValueError("the port of an endpoint is a number from 1 to 65535")
        secure = parts.scheme == "https"
        return cls(secure, host, port or _default_port(secure))

    @property
    def authority(self) -> str:
        """The value of the Host header: without the port when it is the default one."""
        return self._bracketed if self.port == _default_port(self.secure) else self.address

    @property
    def address(self) -> str:
        """``host:port``, for messages and CONNECT."""
        return f"{self._bracketed}:{self.port}"

    @property
    def url(self) -> str:
        """What ``parse`` reads, without a default port."""
        return f"{'https' if self.secure else 'http'}://{self.authority}{self.path}"

    @property
    def _bracketed(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host


def _default_port(secure: bool) -> int:
    return 443 if secure else 80


def _split(url: str) -> SplitResult:
    """Does what urlsplit does; but its errors quote the password."""
    try:
        return urlsplit(url)
    except ValueError:
        raise ValueError("not a valid URL") from None


def chosen_endpoint(url: str) -> Endpoint:
    """The endpoint that the user chose; raises ``Fatal`` when its URL is wrong."""
    try:
        return Endpoint.parse(url)
    except ValueError as error:
        raise Fatal(f"--endpoint-url: {error}") from None


class Proxy(NamedTuple):
    """An HTTP proxy.  The representation hides the password."""

    endpoint: Endpoint
    authorization: str | None = None
    """Value of the Proxy-Authorization header."""

    def __repr__(self) -> str:
        return f"Proxy({self.endpoint.address})"

    @classmethod
    def parse(cls, url: str) -> Proxy:
        """Reads ``[http://][user:password@]host[:port]``; raises a ValueError for all else."""
        parts = _split(url if "://" in url else f"http://{url}")
        if parts.scheme != "http":
            raise ValueError("only proxies with http:// URLs are supported")
        authorization = None
        if parts.username is not None:
            user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            authorization = f"Basic {base64.b64encode(user.encode()).decode()}"
        return cls(Endpoint._of(parts), authorization)


def environment_proxy(endpoint: Endpoint) -> Proxy | None:
    """The proxy for ``endpoint`` by HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, in upper or
    lower case.

    NO_PROXY holds names (of a host or a domain), addresses, blocks of addresses (``10.0.0.0/8``)
    and ``*``, with or without a port.  Raises Fatal when the proxy's URL is wrong.
    """
    # Usually there is none: this finds it in 2 us, a look through the whole environment in 40.
    if not any(name in os.environ for name in _PROXY_VARIABLES):
        return None
    # Takes 20 ms, which the command line need not wait for.
    from urllib.request import getproxies_environment

    proxies = getproxies_environment()
    url = proxies.get("https" if endpoint.secure else "http") or proxies.get("all")
    if not url:
        return None
    exceptions = re.split(r"[,\s]+", proxies.get("no", ""))
    if any(_is_excepted(endpoint, exception) for exception in exceptions):
        return None
    try:
        return Proxy.parse(url)
    except ValueError as error:
        raise Fatal(f"the proxy named by the environment: {error}") from None


def _is_excepted(endpoint: Endpoint, exception: str) -> bool:
    """Whether one entry of NO_PROXY covers the endpoint, by the rules that curl and Go share."""
    if "/" in exception:
        return _in_block(endpoint.host, exception)
    if _is_address(exception):  # the last group of an IPv6 address is no port
        return _same_address(endpoint.host, exception)
    entry = _EXCEPTION.fullmatch(exception)
    if entry is None or (entry["port"] and int(entry["port"]) != endpoint.port):
        return False
    if entry["host"] == "*" or _same_address(endpoint.host, entry["host"]):
        return True
    name = entry["host"].lower().removeprefix("*").strip(".")
    host = endpoint.host.lower().rstrip(".")
    return bool(name) and f".{host}".endswith(f".{name}")


def _in_block(host: str, block: str) -> bool:
    try:
        return ip_address(host) in ip_network(block, strict=False)
    except ValueError:
        return False


def _same_address(host: str, other: str) -> bool:
    try:
        return ip_address(host) == ip_address(other)
    except ValueError:
        return False


def _is_address(text: str) -> bool:
    return _same_address(text, text)
