"""A server that refuses everything and records who asked."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler

from tests.servers.threaded import Quiet, Threaded


class Recorder(Threaded):
    """Answers 403; ``asked`` holds the Authorization header of each request."""

    def __enter__(self) -> Recorder:
        asked: list[str] = []

        class Handler(Quiet, BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                asked.append(self.headers.get("authorization", ""))
                self.send_response(403)
                self.send_header("content-length", "0")
                self.end_headers()

            do_GET = do_PUT = do_HEAD

        self.asked = asked
        self._serve(Handler)
        return self
