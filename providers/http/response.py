"""HTTP/1.1 responses, parsed by llhttp out of a connection's bytes."""

from __future__ import annotations

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

KIB = 1024
MAX_HEAD = 64 * KIB
MAX_RESPONSE = 64 * 1024 * KIB
"""Head and body together: memory holds them."""
MOST_NAMES = 256
"""Names of headers to remember: a service has some twenty."""


class Lost(BaseException):
    """The connection ended, or its bytes make no sense; one line says how.

    No Exception: it must get through a body callable that handles errors of its own.
    """


class _Names(dict[bytes, str]):
    """Names of headers as they arrive, and in lower case."""

    def __missing__(self, name: bytes) -> str:
        text = name.decode("latin-1").lower()
        if len(self) < MOST_NAMES:
            self[name] = text
        return text


_NAMES = _Names()


class Response:
    """What the service answered."""

    __slots__ = ("status", "headers", "body")

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        """Names in lower case; the values of repeated ones joined by ``", "``."""
        self.body = body


class Reader:
    """Gathers one response after the other from a connection's bytes."""

    def __init__(self) -> None:
        self._parser = HttpResponseParser(self)
        self._parser_is_fresh = True
        """The parser stands before a response: it can go on with the next one."""
        self.expect(expects_body=True)

    def expect(self, expects_body: bool) -> None:
        """Begins the next response."""
        if not self._parser_is_fresh:
            self._parser = HttpResponseParser(self)
            self._parser_is_fresh = True
        self._expects_body = expects_body
        self._received = 0
        self._body: list[bytes] = []
        self.headers: dict[str, str] = {}
        self.status = 0
        """Of the final response; 0 until its head is complete."""
        self.began = False
        self.done = False
        self.keep_alive = False

    def feed(self, data: bytes) -> None:
        """Takes received bytes.  Raises ``Lost`` when they are no acceptable response."""
        self.began = True
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            # Bytes behind a complete response spoil the connection, not the response.
            self.keep_alive = False
            if not self.done:
                raise Lost(f"the answer is not HTTP/1.1 ({error})") from None
        if self._received > (MAX_RESPONSE if self.status else MAX_HEAD):
            raise Lost(f"the answer is too large (over {self._received // KIB} KiB)")

    def end(self) -> bool:
        """Takes the end of the connection; true when it completes the response.

        httptools has no call for the end of the input: this is RFC 9112 section 6.3.
        """
        self.done = (
            self.status > 0
            and "content-length" not in self.headers
            and "chunked" not in self.headers.get("transfer-encoding", "").lower()
        )
        return self.done

    def take_body(self) -> bytes:
        """What has arrived of the body since the last call; it is neither kept nor counted."""
        body = b"".join(self._body)
        self._body.clear()
        self._received = 0
        return body

    def response(self) -> Response:
        """The complete response."""
        return Response(self.status, self.headers, b"".join(self._body))

    # The parser calls these.  An exception in one of them ends the parsing.

    def on_message_begin(self) -> None:
        if self.done:
            raise ValueError("data after the response")
        self._parser_is_fresh = False

    def on_header(self, name: bytes, value: bytes) -> None:
        key = _NAMES[name]
        text = value.decode("latin-1")
        headers = self.headers
        headers[key] = f"{headers[key]}, {text}" if key in headers else text

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if 100 <= status < 200:
            self.headers = {}
            return
        self.status = status
        self.keep_alive = self._parser.should_keep_alive()
        # The parser cannot be told that no body follows: it is abandoned where it stands.
        self.done = not self._expects_body

    def on_body(self, data: bytes) -> None:
        if self.done:
            self.keep_alive = False
            return
        self._body.append(data)

    def on_message_complete(self) -> None:
        self._parser_is_fresh = True
        self.done = self.status > 0
