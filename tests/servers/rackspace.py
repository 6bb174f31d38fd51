"""Rackspace's identity service, of Cloud Files, before Ceph's gateway, which speaks Swift.

https://docs-ospc.rackspace.com/cloud-files/v1/getting-started/authenticate
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.servers.threaded import Quiet, Threaded

REGION = "ORD"


class Rackspace(Threaded):
    """Gives for user and key what the gateway's own authentication, version 1, gives for them."""

    def __init__(self, gateway: str) -> None:
        """``gateway``: the address of Ceph's."""
        self._gateway = gateway

    def __enter__(self) -> Rackspace:
        rackspace = self

        class Handler(Quiet, BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v2.0/tokens"
                asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
                status, document = rackspace._answer(asked)
                body = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self._serve(Handler)
        return self

    def _answer(self, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        given = asked["auth"]["RAX-KSKEY:apiKeyCredentials"]
        headers = {"X-Auth-User": given["username"], "X-Auth-Key": given["apiKey"]}
        request = urllib.request.Request(f"{self._gateway}/auth/v1.0", headers=headers)
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(request, timeout=10) as answer:
                token, url = answer.headers["X-Auth-Token"], answer.headers["X-Storage-Url"]
        except urllib.error.HTTPError as error:
            error.close()
            return 401, {"unauthorized": {"code": 401, "message": "Unable to authenticate"}}
        catalog = [
            {"name": name, "type": kind, "endpoints": [{"region": REGION, "publicURL": url}]}
            for name, kind in (("cloudFiles", "object-store"), ("cloudFilesCDN", "rax:object-cdn"))
        ]
        made = {"id": token, "expires": "2099-01-01T00:00:00.000Z"}
        return 200, {"access": {"token": made, "serviceCatalog": catalog, "user": {}}}
