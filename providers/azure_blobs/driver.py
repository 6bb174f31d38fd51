"""libcloud's Azure driver, with our socket, right and uploads under it."""

from __future__ import annotations

import binascii
from typing import Any
from urllib.parse import parse_qsl

from libcloud.storage.base import Container, Object
from libcloud.storage.drivers.azure_blobs import AzureBlobsConnection, AzureBlobsStorageDriver

from ..errors import Transient
from ..http.conn_class import LibcloudConnection
from ..source import Source, guess_content_type
from .body import Body, md5_header
from .headers import blob_headers
from .service import Service
from .sharedkey import Pairs
from .transport import AzureRequest, Transport


class AzureConnection(AzureBlobsConnection):  # type: ignore[misc]
    """Serves the calls of libcloud's own: list, delete, download."""

    conn_class = LibcloudConnection

    def morph_action_hook(self, action: str) -> str:
        """The path as it is, behind that of the endpoint: libcloud would resolve ``//``, which is
        part of a name."""
        path: str = self.driver.service.endpoint.path
        return path + action

    def connect(self, *args: Any, **kwargs: Any) -> None:
        """Opens libcloud's connection with this service's trust and time limits."""
        super().connect(*args, **kwargs)
        service: Service = self.driver.service
        self.connection.configure(service.timeouts, service.tls)

    def pre_connect_hook(
        self, params: dict[str, Any], headers: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Signs the request that libcloud is about to send, or adds the SAS."""
        service: Service = self.driver.service
        given = {name.lower(): str(value) for name, value in headers.items()}
        host = given.pop("host")
        if given.get("content-length") == "0":  # is signed as if it were not there
            del given["content-length"]
        query = [(name, str(value)) for name, value in params.items()]
        _, signed = service.authorized(self.method, self.action, query, [*given.items()])
        return {**params, **dict(parse_qsl(service.account.sas))}, {"host": host, **dict(signed)}


class AzureDriver(AzureBlobsStorageDriver):  # type: ignore[misc]
    """libcloud's driver for any account and address, with a direct path for uploads.

    Like every libcloud driver it belongs to one greenlet or thread.
    """

    connectionCls = AzureConnection

    def __init__(self, service: Service) -> None:
        self.service = service
        self.transport = Transport(service)
        account, endpoint = service.account, service.endpoint
        super().__init__(
            account.name,
            binascii.b2a_base64(account.key or b"").decode(),
            secure=endpoint.secure,
            host=endpoint.host,
            port=endpoint.port,
        )

    def _ex_connection_class_kwargs(self) -> dict[str, Any]:
        """Nothing: the address is complete."""
        return {}

    def store(self, container: str, key: str, headers: Pairs, source: Source) -> str:
        """Puts the file as one blob; the service checks its MD5 and keeps it.  Returns the ETag.

        https://learn.microsoft.com/en-us/rest/api/storageservices/put-blob
        """
        body = Body.describe(source, range(source.size), with_crc=False, with_md5=True)
        proof = md5_header(body.md5)
        headers = [*headers, ("x-ms-blob-type", "BlockBlob"), proof]
        request = AzureRequest("PUT", container, key, (), headers, body.content, body.size)
        answer = self.transport.exchange(request)
        if answer.headers.get("content-md5", proof[1]) != proof[1]:
            raise Transient("the service stored other bytes: its MD5 differs")
        return answer.headers.get("etag", "").strip('"')

    def upload_object(
        self,
        file_path: str,
        container: Container,
        object_name: str,
        verify_hash: bool = True,
        extra: dict[str, Any] | None = None,
        **more: Any,
    ) -> Object:
        """libcloud's call, on the direct path: one PUT, content proven whatever ``verify_hash``.

        With further arguments (headers, a lease) it is libcloud's own.
        """
        if more:
            return super().upload_object(
                file_path, container, object_name, verify_hash, extra, **more
            )
        extra = extra or {}
        meta = {str(k).lower(): str(v) for k, v in (extra.get("meta_data") or {}).items()}
        kind = extra.get("content_type") or guess_content_type(object_name)
        described = blob_headers(tuple(meta.items()), kind)
        with Source(file_path) as source:
            etag = self.store(container.name, object_name, described, source)
            size = source.size
        return Object(object_name, size, etag, {}, meta, container, self)

    def close(self) -> None:
        """Closes the direct connection and libcloud's own, if they are open."""
        self.transport.close()
        if self.connection.connection:
            self.connection.connection.close()
