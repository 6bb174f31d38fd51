"""The way to a service: direct, through a proxy, over TLS."""

from __future__ import annotations

import ssl
from typing import NamedTuple

import gevent

from ..errors import Busy, Failure, Fatal, Unreachable, one_line
from ..traffic import Traffic
from .dial import SHORTAGES, dial
from .endpoint import Endpoint, Proxy
from .limit import Timeouts
from .response import Lost, Reader
from .stream import NoProgress, Stream
from .tls import TOO_OLD, NotTLS


class Route(NamedTuple):
    """Opens connections to one endpoint; the failures name it in one line."""

    endpoint: Endpoint
    timeouts: Timeouts
    tls: ssl.SSLContext | None
    """Needed for, and only for, a secure endpoint."""
    proxy: Proxy | None

    @property
    def forwards(self) -> bool:
        """The proxy takes the requests themselves, in plain text: no tunnel is needed."""
        return self.proxy is not None and not self.endpoint.secure

    def open(self, traffic: Traffic) -> Stream:
        """A new connection, ready for the first request.

        Raises Unreachable when none can be made, Busy when this machine lacks what one needs,
        Fatal when no attempt can succeed.
        """
        name = self.endpoint.address
        by_way_of = f"proxy {self.proxy.endpoint.address}: " if self.proxy else ""
        limit = self.timeouts.connect
        try:
            with gevent.Timeout(limit, NoProgress):
                return self._connect(traffic)
        except NoProgress:
            reason = f"{by_way_of}not done within {limit:g} s"
            raise Unreachable(f"cannot connect to {name}: {reason}") from None
        except Lost as lost:
            raise Unreachable(f"cannot connect to {name}: {lost}") from None
        except ssl.SSLCertVerificationError as error:
            raise Fatal(f"cannot connect to {name}: certificate: {error.verify_message}") from error
        except NotTLS:
            # A port speaks TLS or it does not: no outage makes a service answer in plain text.
            raise Fatal(f"{name} does not speak TLS: use http:// (or another port)") from None
        except OSError as error:
            if isinstance(error, ssl.SSLError) and error.reason in TOO_OLD:
                raise Fatal(f"{name} speaks no TLS that is safe: 1.2 is the least") from None
            kind = Busy if error.errno in SHORTAGES else Unreachable
            reason = error.strerror or one_line(error)
            raise kind(f"cannot connect to {name}: {by_way_of}{reason}") from error

    def absolute(self, head: bytes) -> bytes:
        """A request as a forwarding proxy wants it (RFC 9112 section 3.2.2)."""
        assert self.proxy is not None
        method, target, rest = head.split(b" ", 2)
        version, fields = rest.split(b"\r\n", 1)
        if self.proxy.authorization:
            fields = f"Proxy-Authorization: {self.proxy.authorization}\r\n".encode() + fields
        address = self.endpoint.authority.encode()
        return b"%b http://%b%b %b\r\n%b" % (method, address, target, version, fields)

    def refusal(self, proxy: Proxy, status: int) -> Failure:
        """The failure that the proxy's own answer stands for."""
        reason = f"proxy {proxy.endpoint.address} answered {status}"
        refused = 400 <= status < 500 and status not in (408, 429)
        kind = Fatal if refused else Unreachable
        return kind(f"cannot connect to {self.endpoint.address}: {reason}")

    def _connect(self, traffic: Traffic) -> Stream:
        first = self.proxy.endpoint if self.proxy else self.endpoint
        stream = Stream(dial(first.host, first.port), self.timeouts.idle, traffic)
        try:
            if self.tls is not None:
                if self.proxy:
                    self._tunnel(stream, self.proxy)
                stream.start_tls(self.tls, self.endpoint.host)
        except BaseException:
            stream.close()
            raise
        return stream

    def _tunnel(self, stream: Stream, proxy: Proxy) -> None:
        """Asks the proxy for a tunnel (RFC 9110 section 9.3.6)."""
        target = self.endpoint.address
        head = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n"
        if proxy.authorization:
            head += f"Proxy-Authorization: {proxy.authorization}\r\n"
        stream.send_all(f"{head}\r\n".encode())
        reader = Reader()
        reader.expect(expects_body=False)
        while not reader.done:
            data = stream.receive()
            if not data:
                raise Lost(f"connection closed by proxy {proxy.endpoint.address}")
            reader.feed(data)
        if not 200 <= reader.status < 300:
            raise self.refusal(proxy, reader.status)
