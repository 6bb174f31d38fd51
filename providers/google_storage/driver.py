"""libcloud's Google driver, with our tokens, address and refusals.

A refusal says what it is.
"""

from __future__ import annotations

from typing import Any, NoReturn

from libcloud.common.base import JsonResponse
from libcloud.common.google import GoogleAuthType
from libcloud.storage.drivers.google_storage import (
    GoogleStorageConnection,
    GoogleStorageDriver,
    GoogleStorageJSONConnection,
)
from libcloud.storage.drivers.s3 import BaseS3StorageDriver, S3RawResponse, S3Response

from .answers import failure
from .tokens import Tokens


class _Answer:
    """Raises the failure that a refusal stands for: libcloud calls a 403 of one object bad
    credentials, and a 404 or 409 a success."""

    status: int
    connection: Any

    def success(self) -> bool:
        return 200 <= self.status < 300

    def parse_error(self) -> NoReturn:
        answer = self.connection.connection.getresponse()
        raise failure(answer.status_code, answer.content, answer.headers)


class XmlAnswer(_Answer, S3Response):  # type: ignore[misc]
    """Of the XML API."""


class RawXmlAnswer(_Answer, S3RawResponse):  # type: ignore[misc]
    """Of the XML API, to an upload."""


class JsonAnswer(_Answer, JsonResponse):  # type: ignore[misc]
    """Of the JSON API."""


class _ByToken:
    """Shows an access token.  libcloud's own would log in for each connection, and write the token
    to a file of the home directory."""

    def __init__(
        self,
        user_id: str,
        key: str,
        secure: bool = True,
        host: str | None = None,
        port: int | None = None,
        **more: Any,
    ) -> None:
        # HMAC keys are the one kind with which libcloud does not log in.
        kind = GoogleAuthType.GCS_S3
        super().__init__(user_id, key, secure, kind, host=host, port=port, **more)  # type: ignore[call-arg]

    def morph_action_hook(self, action: str) -> str:
        """The path as it is: libcloud would resolve ``//``, which is part of a name."""
        return action

    def pre_connect_hook(
        self, params: dict[str, Any], headers: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Adds the token to the request that libcloud is about to send."""
        driver: GoogleDriver = self.driver  # type: ignore[attr-defined]
        return params, {**headers, "Authorization": f"Bearer {driver.tokens.current()}"}


class XmlConnection(_ByToken, GoogleStorageConnection):  # type: ignore[misc]
    """Speaks the XML API: objects."""

    responseCls = XmlAnswer
    rawResponseCls = RawXmlAnswer


class JsonConnection(_ByToken, GoogleStorageJSONConnection):  # type: ignore[misc]
    """Speaks the JSON API: what buckets are, and who may enter."""

    host = "storage.googleapis.com"
    responseCls = JsonAnswer


class GoogleDriver(GoogleStorageDriver):  # type: ignore[misc]
    """libcloud's driver for a service account.

    Like every libcloud driver it belongs to one greenlet or thread.
    """

    connectionCls = XmlConnection

    def __init__(self, key: str, *, tokens: Tokens, project: str, **address: Any) -> None:
        """``address``: host, port and whether TLS is spoken, of both APIs; Google's by default."""
        self.tokens = tokens
        self.project = project
        # Past libcloud's own, which would log in.
        BaseS3StorageDriver.__init__(self, key, "", **address)
        self.json_connection = JsonConnection(key, "", **address)
        self.json_connection.driver = self
        self.json_connection.conn_class = self.connection.conn_class

    def _to_storage_class_headers(self, storage_class: str | None) -> dict[str, str]:
        """None but what is asked for: libcloud would replace the bucket's own class."""
        if not storage_class:
            return {}
        headers: dict[str, str] = super()._to_storage_class_headers(storage_class)
        return headers
