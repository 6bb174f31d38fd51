"""libcloud's S3 connection, with our socket under it and our signature."""

from __future__ import annotations

import hashlib
from typing import Any
from urllib.parse import parse_qsl

from libcloud.storage.drivers.s3 import S3RawResponse, S3Response, S3SignatureV4Connection

from ..http.conn_class import LibcloudConnection
from .answers import ServiceError
from .headers import given_header
from .service import Service
from .sigv4 import EMPTY_SHA256, UNSIGNED_PAYLOAD, canonical_query


class _FailingResponse:
    """Turns libcloud's untyped errors into ours."""

    def parse_error(self: Any) -> None:
        """Raises the failure that the answer stands for."""
        error = ServiceError.parse(self.status, self.headers, str(self.body or "").encode())
        raise error.failure(self.connection.driver.service.region)


class _Response(_FailingResponse, S3Response):  # type: ignore[misc]
    pass


class _RawResponse(_FailingResponse, S3RawResponse):  # type: ignore[misc]
    pass


class S3Connection(S3SignatureV4Connection):  # type: ignore[misc]
    """Serves the calls of libcloud's own that ``S3Driver`` keeps: list, delete, download."""

    conn_class = LibcloudConnection
    responseCls = _Response
    rawResponseCls = _RawResponse

    def morph_action_hook(self, action: str) -> str:
        """The path as it is, behind that of the endpoint: libcloud would resolve ``//`` and ``..``,
        which are parts of keys."""
        path: str = self.driver.service.endpoint.path
        return path + action

    def add_default_params(self, params: dict[str, str]) -> dict[str, str]:
        """Adds nothing: libcloud's version and token have no place in S3's queries."""
        return params

    def add_default_headers(self, headers: dict[str, str]) -> dict[str, str]:
        """Adds nothing: the token comes with the signature."""
        return headers

    def connect(self, *args: Any, **kwargs: Any) -> None:
        """Opens libcloud's connection with this service's trust and time limits."""
        super().connect(*args, **kwargs)
        service: Service = self.driver.service
        self.connection.configure(service.timeouts, service.tls)

    def pre_connect_hook(
        self, params: dict[str, Any], headers: dict[str, str]
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """Signs the request that libcloud is about to send."""
        data = self.data.encode() if isinstance(self.data, str) else self.data
        if not data:
            payload_hash = EMPTY_SHA256
        elif isinstance(data, bytes):
            payload_hash = hashlib.sha256(data).hexdigest()
        else:
            payload_hash = UNSIGNED_PAYLOAD
        path, _, query = self.action.partition("?")
        pairs = parse_qsl(query, keep_blank_values=True)
        pairs += [(name, str(value)) for name, value in params.items()]
        host = headers.pop("Host")
        # Names that differ in case only are one header: the last one counts.
        amz = dict(given_header(k, v) for k, v in headers.items() if k.lower().startswith("x-amz-"))
        service: Service = self.driver.service
        sorted_query = canonical_query(pairs)
        signed = service.sign(self.method, host, path, sorted_query, [*amz.items()], payload_hash)
        others = {k: v for k, v in headers.items() if not k.lower().startswith("x-amz-")}
        return params, {**others, **dict(signed)}
