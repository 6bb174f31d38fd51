"""AWS's S3 behind a proxy: an endpoint for each region, with certificates of a CA of its own."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
from pathlib import Path

import trustme

from bench.process import Server
from tests.servers.raw import read_exactly, read_head
from tests.servers.s3.messages import Answer, S3Error, error_answer, parse, render, tag
from tests.servers.s3.service import LEAST_PART, Service
from tests.servers.s3.storage import Object

_HOST = re.compile(r"(?:(?P<bucket>[a-z0-9-]+)\.)?s3\.(?P<region>[a-z0-9-]+)\.amazonaws\.com")


class Aws(Server):
    """Speaks as ``[BUCKET.]s3.REGION.amazonaws.com`` to clients whose HTTPS_PROXY it is.

    Each bucket is in one region: requests at another one's endpoint are redirected, and signatures
    for another region than the endpoint's are refused.
    """

    access_key = "AKIDEXAMPLE"
    secret_key = "testsecretkey"

    def __init__(self, **buckets: str) -> None:
        """``buckets``: names and their regions."""
        super().__init__()
        self._regions = buckets
        self._authority = trustme.CA()
        self.service = Service("new", list(buckets), LEAST_PART)
        self.service.users[self.access_key] = self.secret_key
        self.asked: list[tuple[str, int]] = []
        """The host of each request and the status of its answer."""
        self._lock = threading.Lock()

    def objects(self, bucket: str) -> dict[str, Object]:
        """What a bucket holds."""
        return self.service.buckets[bucket].objects

    def _start(self, directory: Path, cleanup: contextlib.ExitStack) -> None:
        self.ca_file = str(directory / "ca.pem")
        self._authority.cert_pem.write_to_path(self.ca_file)
        listener = cleanup.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.proxy = f"http://127.0.0.1:{listener.getsockname()[1]}"
        cleanup.callback(listener.shutdown, socket.SHUT_RDWR)
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = listener.accept()
                threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with contextlib.suppress(OSError, EOFError), peer:
            host = read_head(peer).split()[1].decode().removesuffix(":443")
            if not _HOST.fullmatch(host):
                peer.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
                return
            peer.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._authority.issue_cert(host).configure_cert(context)
            with context.wrap_socket(peer, server_side=True) as secured:
                while True:
                    self._exchange(secured, host)

    def _exchange(self, peer: ssl.SSLSocket, host: str) -> None:
        found = _HOST.fullmatch(host)
        assert found
        head = read_head(peer)
        path = head.split(b" ")[1].partition(b"?")[0].decode()
        if found["bucket"]:
            head = head.replace(b" /", f" /{found['bucket']}/".encode(), 1)
            head = head.replace(b"/ HTTP", b" HTTP") if path == "/" else head
        request = parse(head)._replace(path=path)
        body = read_exactly(peer, request.length)
        region = self._regions.get(request.bucket, found["region"])
        signed_for = request.headers["authorization"].split("/")[2]
        answer: Answer
        if found["region"] != region:
            answer = error_answer(
                S3Error(301, "PermanentRedirect"), **{"x-amz-bucket-region": region}
            )
        elif signed_for != region:
            answer = error_answer(S3Error(400, "AuthorizationHeaderMalformed"))
            told = tag("Region", region).encode()
            answer = answer._replace(body=answer.body.replace(b"</Error>", told + b"</Error>"))
        else:
            with self._lock:
                answer = self.service.answer(request, body, rots=False)
        self.asked.append((host, answer.status))
        peer.sendall(render(answer, request.method == "HEAD"))
