"""Who gives credentials on AWS: instances, containers, STS and SSO, on one port of loopback.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-metadata-security-credentials.html
https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html
https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
https://docs.aws.amazon.com/singlesignon/latest/PortalAPIReference/API_GetRoleCredentials.html
"""

from __future__ import annotations

import itertools
import json
import time
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from tests.servers.threaded import Quiet, Threaded

ACCOUNT = "123456789012"
ROLE_ARN = f"arn:aws:iam::{ACCOUNT}:role/tester"
SOURCE_KEY = "AKIDSOURCE"
INSTANCE_TOKEN = "secret-of-the-instance"
CONTAINER_TOKEN = "secret-of-the-container"
IDENTITY_TOKEN = "secret-of-the-identity"
SSO_TOKEN = "secret-of-the-sign-on"
RELATIVE_URI = "/v2/credentials/tester"
"""Where a container of ECS asks, which shows no token."""

_STS = "https://sts.amazonaws.com/doc/2011-06-15/"


class Issued(NamedTuple):
    """Credentials, and when they end, in seconds since the epoch."""

    access_key: str
    secret_key: str
    token: str
    end: int

    @property
    def expiration(self) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.end))


class Issuer(Threaded):
    """Gives new credentials whenever it is asked the right way; they live for ``life`` seconds."""

    def __init__(self, life: float = 3600.0, *, stumbles: int = 0) -> None:
        """``stumbles``: so many requests are answered by 503 first."""
        self._life = life
        self.stumbles = stumbles
        self._numbers = itertools.count(1)
        self.issued: list[Issued] = []
        self.asked: list[str] = []
        """By which way, of each time that credentials were given."""
        self.regions: list[str] = []
        """What the requests for a role were signed for."""

    def __enter__(self) -> Issuer:
        issuer = self

        class Handler(Quiet, BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                size = int(self.headers.get("content-length", 0))
                status, kind, body = issuer._answer(self, self.rfile.read(size).decode())
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(body)))
                if self.command == "PUT":
                    self.send_header("x-aws-ec2-metadata-token-ttl-seconds", "21600")
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_PUT = do_GET

        self._serve(Handler)
        return self

    @property
    def secrets(self) -> dict[str, str]:
        """Access key -> secret key, of all credentials that were issued."""
        return {it.access_key: it.secret_key for it in self.issued}

    @property
    def expired(self) -> set[str]:
        """The access keys whose time is over."""
        return {it.access_key for it in self.issued if it.end <= time.time()}

    def _answer(self, request: BaseHTTPRequestHandler, body: str) -> tuple[int, str, bytes]:
        """Status, content type and body."""
        parts = urlsplit(request.path)
        headers, form = request.headers, parse_qs(body)
        path, query = parts.path, parse_qs(parts.query)
        if self.stumbles:
            self.stumbles -= 1
            return 503, "text/plain", b""
        if request.command == "PUT" and path == "/latest/api/token":
            return 200, "text/plain", INSTANCE_TOKEN.encode()
        if path.startswith("/latest/meta-data/iam/security-credentials/"):
            if headers["x-aws-ec2-metadata-token"] != INSTANCE_TOKEN:
                return 401, "text/plain", b""
            if path.endswith("/"):
                return 200, "text/plain", b"tester"
            return _json({"Code": "Success", **self._as_document("instance")})
        if path == RELATIVE_URI:
            return _json(self._as_document("container"))
        if path == "/container" and headers["authorization"] == CONTAINER_TOKEN:
            return _json(self._as_document("container"))
        if path == "/federation/credentials" and headers["x-amz-sso_bearer_token"] == SSO_TOKEN:
            assert query == {"role_name": ["tester"], "account_id": [ACCOUNT]}
            return _json({"roleCredentials": self._for_sso()})
        if form.get("RoleArn") == [ROLE_ARN]:
            action = form["Action"][0]
            by_token = form.get("WebIdentityToken") == [IDENTITY_TOKEN]
            signature = headers.get("authorization", "")
            by_key = f"Credential={SOURCE_KEY}/" in signature
            self.regions += signature.split("/")[2:3]
            if by_token if action == "AssumeRoleWithWebIdentity" else by_key:
                return 200, "text/xml", self._by_sts(action)
        return 403, "text/plain", b""

    def _issue(self, way: str) -> Issued:
        number = next(self._numbers)
        end = int(time.time() + self._life)
        made = Issued(f"ASIA{number}", f"issued-secret-{number}", f"issued-token-{number}", end)
        self.issued.append(made)
        self.asked.append(way)
        return made

    def _as_document(self, way: str) -> dict[str, Any]:
        it = self._issue(way)
        return {
            "AccessKeyId": it.access_key,
            "SecretAccessKey": it.secret_key,
            "Token": it.token,
            "Expiration": it.expiration,
        }

    def _for_sso(self) -> dict[str, Any]:
        it = self._issue("sso")
        return {
            "accessKeyId": it.access_key,
            "secretAccessKey": it.secret_key,
            "sessionToken": it.token,
            "expiration": it.end * 1000,
        }

    def _by_sts(self, action: str) -> bytes:
        it = self._issue(action)
        arn = ROLE_ARN.replace(":iam:", ":sts:").replace(":role/", ":assumed-role/")
        text = (
            f'<{action}Response xmlns="{_STS}"><{action}Result>'
            f"<AssumedRoleUser><Arn>{arn}/name</Arn><AssumedRoleId>id:name</AssumedRoleId>"
            f"</AssumedRoleUser><Credentials><AccessKeyId>{it.access_key}</AccessKeyId>"
            f"<SecretAccessKey>{it.secret_key}</SecretAccessKey>"
            f"<SessionToken>{it.token}</SessionToken><Expiration>{it.expiration}</Expiration>"
            f"</Credentials></{action}Result></{action}Response>"
        )
        return text.encode()


def _json(document: dict[str, Any]) -> tuple[int, str, bytes]:
    return 200, "application/json", json.dumps(document).encode()
