"""Google Cloud Storage in the test's own process: tokens, the JSON API, the XML API.

It keeps to the documents, as far as this program asks: no live account is behind it.
https://developers.google.com/identity/protocols/oauth2/service-account#httprest
https://cloud.google.com/storage/docs/json_api/v1/buckets
https://cloud.google.com/storage/docs/xml-api/reference-methods
"""

from __future__ import annotations

import hashlib
import itertools
import json
import time
from base64 import urlsafe_b64decode
from functools import cache
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.servers.threaded import Quiet, Threaded

EMAIL = "robot@project.iam.gserviceaccount.com"
PROJECT = "project"
SCOPE = "https://www.googleapis.com/auth/devstorage.full_control"
_META = "x-goog-meta-"


class Stored(NamedTuple):
    """One object."""

    content: bytes
    content_type: str
    metadata: dict[str, str]
    """Names in lower case."""


class Bucket:
    """A bucket, as private as Google makes them."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        """What it was created with."""
        self.objects: dict[str, Stored] = {}
        self.iam: list[dict[str, Any]] = [
            {"role": "roles/storage.legacyBucketOwner", "members": [f"projectOwner:{PROJECT}"]}
        ]
        self.acl = [{"entity": f"project-owners-{PROJECT}", "role": "OWNER"}]
        self.default_acl = list(self.acl)

    @property
    def configuration(self) -> dict[str, Any]:
        given = self.settings.get("iamConfiguration", {})
        return {
            "publicAccessPrevention": "inherited",
            "uniformBucketLevelAccess": {"enabled": False},
            **given,
        }


class Reply(NamedTuple):
    """An answer."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = {}


class Google(Threaded):
    """The service at ``endpoint``, with one account, whose key is in ``write_key``'s file."""

    def __init__(self, life: int = 3600) -> None:
        """``life`` of a token, in seconds."""
        self._life = life
        self._numbers = itertools.count(1)
        self._tokens: set[str] = set()
        self.buckets: dict[str, Bucket] = {}
        self.tokens_given = 0
        self.denied: set[tuple[str, str]] = set()
        """Method and path, without the query, of what the account may not do."""
        self.clock_offset = 0.0
        """Seconds that the token service's clock is ahead of ours."""

    def __enter__(self) -> Google:
        google = self

        class Handler(Quiet, BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # head and body in one packet: no wait for an acknowledgement

            def do_GET(self) -> None:
                content = self.rfile.read(int(self.headers.get("content-length", 0)))
                reply = google._answer(self, content)
                self.send_response_only(reply.status)
                self.send_header("date", self.date_time_string(int(google._now())))
                for name, value in {"content-length": len(reply.body), **reply.headers}.items():
                    self.send_header(name, str(value))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(reply.body)

            do_HEAD = do_PUT = do_POST = do_DELETE = do_GET

        self._serve(Handler)
        return self

    def write_key(self, path: Path, *, right: bool = True, **changes: str) -> Path:
        """Writes a service account's JSON key; a wrong one is unknown to the service."""
        key = {
            "type": "service_account",
            "project_id": PROJECT,
            "private_key_id": "1",
            "private_key": pem(right),
            "client_email": EMAIL,
            "token_uri": f"{self.endpoint}/token",
            **changes,
        }
        path.write_text(json.dumps(key))
        return path

    def _now(self) -> float:
        return time.time() + self.clock_offset

    def _answer(self, request: BaseHTTPRequestHandler, content: bytes) -> Reply:
        parts = urlsplit(request.path)
        if parts.path == "/token":
            return self._give_token(content)
        is_json = parts.path.startswith("/storage/v1/b")
        refuse = _json_error if is_json else _xml_error
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if token not in self._tokens:
            return refuse(401, "authError", "Invalid Credentials")
        if (request.command, parts.path) in self.denied:
            return refuse(403, "forbidden", f"{EMAIL} does not have access to it")
        if is_json:
            query = parse_qs(parts.query)
            return self._json(request.command, parts.path[len("/storage/v1/b") :], query, content)
        return self._xml(request, unquote(parts.path), content)

    def _give_token(self, content: bytes) -> Reply:
        form = parse_qs(content.decode())
        assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
        text, _, signature = form["assertion"][0].rpartition(".")
        try:
            _key(True).public_key().verify(
                _decoded(signature), text.encode(), padding.PKCS1v15(), hashes.SHA256()
            )
        except InvalidSignature:
            return _grant_error("Invalid JWT Signature.")
        header, claims = (json.loads(_decoded(part)) for part in text.split("."))
        assert (header["alg"], header["kid"]) == ("RS256", "1")
        assert (claims["iss"], claims["scope"]) == (EMAIL, SCOPE)
        assert claims["aud"] == f"{self.endpoint}/token"
        if not claims["iat"] - 60 < self._now() < claims["exp"]:
            return _grant_error("Invalid JWT: Token must be in a reasonable timeframe.")
        token = f"secret-token-{next(self._numbers)}"
        self._tokens.add(token)
        self.tokens_given += 1
        return _json({"access_token": token, "expires_in": self._life, "token_type": "Bearer"})

    def _json(self, method: str, path: str, query: dict[str, list[str]], content: bytes) -> Reply:
        if method == "POST" and not path:
            assert query == {"project": [PROJECT]}
            wanted = json.loads(content)
            name = wanted.pop("name")
            if name in self.buckets:
                return _json_error(409, "conflict", "You already own this bucket.")
            self.buckets[name] = Bucket(**wanted)
            return _json({"kind": "storage#bucket"})
        _, name, *rest = unquote(path).split("/")
        bucket = self.buckets.get(name)
        assert method == "GET"
        if bucket is None:
            return _json_error(404, "notFound", "The specified bucket does not exist.")
        if not rest:
            return _json({"iamConfiguration": bucket.configuration})
        if rest == ["iam"]:
            assert query == {"optionsRequestedPolicyVersion": ["3"]}
            return _json({"kind": "storage#policy", "version": 3, "bindings": bucket.iam})
        if bucket.configuration["uniformBucketLevelAccess"]["enabled"]:
            return _json_error(400, "invalid", "Cannot get legacy ACL for a bucket")
        return _json(
            {"items": {"acl": bucket.acl, "defaultObjectAcl": bucket.default_acl}[rest[0]]}
        )

    def _xml(self, request: BaseHTTPRequestHandler, path: str, content: bytes) -> Reply:
        _, name, *rest = path.split("/", 2)
        bucket, key = self.buckets.get(name), rest[0] if rest else ""
        if bucket is None:
            return _xml_error(404, "NoSuchBucket", "The specified bucket does not exist.")
        if not key:
            assert request.command == "HEAD"
            return Reply(200)
        if request.command == "PUT":
            headers = {k.lower(): v for k, v in request.headers.items()}
            assert "x-goog-storage-class" not in headers, "that is up to the bucket"
            metadata = {k[len(_META) :]: v for k, v in headers.items() if k.startswith(_META)}
            bucket.objects[key] = Stored(content, headers["content-type"], metadata)
        stored = bucket.objects.get(key)
        if stored is None:
            return _xml_error(404, "NoSuchKey", "The specified key does not exist.")
        etag = hashlib.md5(stored.content, usedforsecurity=False).hexdigest()
        headers = {"etag": f'"{etag}"'}
        if request.command == "PUT":
            return Reply(200, b"", headers)
        headers |= {_META + k: v for k, v in stored.metadata.items()}
        headers["content-type"] = stored.content_type
        return Reply(200, stored.content, headers)


@cache
def _key(right: bool) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@cache
def pem(right: bool = True) -> str:
    """A private key: the account's, or another."""
    return (
        _key(right)
        .private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        .decode()
    )


def _decoded(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _json(document: dict[str, Any], status: int = 200) -> Reply:
    body = json.dumps(document).encode()
    return Reply(status, body, {"content-type": "application/json; charset=UTF-8"})


def _json_error(status: int, reason: str, message: str) -> Reply:
    errors = [{"domain": "global", "reason": reason, "message": message}]
    return _json({"error": {"code": status, "message": message, "errors": errors}}, status)


def _grant_error(description: str) -> Reply:
    return _json({"error": "invalid_grant", "error_description": description}, 400)


def _xml_error(status: int, code: str, message: str) -> Reply:
    text = f"<Error><Code>{escape(code)}</Code><Message>{escape(message)}</Message></Error>"
    return Reply(status, text.encode(), {"content-type": "application/xml; charset=UTF-8"})
