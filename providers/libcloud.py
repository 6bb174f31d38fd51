"""Any libcloud storage driver as a cloud, by its ``Provider`` name.

A libcloud driver stores a whole file in one call.  Here it gets our connection, so that uploads
have time limits, and its errors become ours.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from functools import cache, partial
from typing import Any, ClassVar, TypeVar

import libcloud.security
import requests
from libcloud.common.exceptions import BaseHTTPError, RateLimitReachedError
from libcloud.common.types import InvalidCredsError, LibcloudError, ProviderError
from libcloud.storage.base import Container, StorageDriver
from libcloud.storage.providers import DRIVERS, get_driver
from libcloud.storage.types import (
    ContainerDoesNotExistError,
    InvalidContainerNameError,
    ObjectDoesNotExistError,
    ObjectHashMismatchError,
)

from .base import Cloud, CloudSettings, Facts, Inspected, Metadata, ObjectInfo, Prepared, Session
from .errors import (
    Denied,
    Failure,
    Fatal,
    NoBucket,
    NotFound,
    Rejected,
    Throttled,
    Transient,
    one_line,
)
from .http.conn_class import LibcloudConnection
from .http.endpoint import chosen_endpoint
from .http.limit import Timeouts, within
from .http.tls import tls_context
from .proof import HashProof
from .source import Source
from .traffic import Traffic

T = TypeVar("T")

_MD5 = re.compile("[0-9a-f]{32}")
_STATUS = re.compile(r"(?:status[_ ]code\D{0,3}|HTTP )([1-5]\d\d)", re.IGNORECASE)

_UNUSABLE = {
    "backblaze_b2": "use provider s3 with --endpoint-url https://s3.REGION.backblazeb2.com",
    "dummy": "it keeps nothing",
    "nimbus": "it wants a number of a user, which no option gives",
}
"""libcloud's drivers that cannot do the work: why, or what to use instead."""

_LEARNS_ITS_ADDRESS = {"cloudfiles", "ktucloud"}
"""Drivers that are told their address by an identity service, whose own is built in."""


_TESTED = {"cloudfiles": "Ceph RGW 16.2 behind an imitation of its identity service"}
"""What the drivers without a file of their own were tested against, for README."""


def known_providers() -> set[str]:
    """The names of libcloud's storage drivers."""
    return set(DRIVERS)


def mapped(operation: Callable[[], T]) -> T:
    """Runs a libcloud call; whatever it raises comes out as a ``Failure``."""
    try:
        return operation()
    except Failure:
        raise
    except Exception as error:
        raise failure_of(error) from error


def failure_of(error: Exception) -> Failure:
    """The failure that an exception of libcloud's stands for.

    The status decides where there is one: libcloud raises the same untyped error for a busy service
    and for one that refuses.
    """
    reason = _reason(error)
    if isinstance(error, ContainerDoesNotExistError):
        return Fatal(f"bucket {error.container_name} does not exist")
    if isinstance(error, InvalidContainerNameError):
        return Fatal(f"{error.container_name!r} is no name for a bucket: {reason}")
    if isinstance(error, InvalidCredsError):
        return Fatal(f"the service refuses the credentials: {reason}")
    if isinstance(error, RateLimitReachedError):
        return Throttled(reason, after=float(error.retry_after or 0))
    if isinstance(error, ObjectDoesNotExistError):
        return NotFound(reason)
    if isinstance(error, ObjectHashMismatchError):
        return Transient("the service stored other bytes: its hash differs")
    if isinstance(error, ConnectionError | TimeoutError):
        return Transient(reason)
    if isinstance(error, requests.RequestException):
        # No text: it quotes the URL with the signature.
        return Transient(f"no answer from the service: {type(error).__name__}")
    if isinstance(error, OSError | KeyError | ValueError):
        return Rejected(reason)
    if not isinstance(error, LibcloudError | BaseHTTPError):
        return Rejected(f"libcloud's driver failed: {type(error).__name__}: {reason}")
    status = _status(error)
    if status in (429, 503):
        return Throttled(reason)
    if status in (401, 403):
        return Denied(reason)
    if status is not None and _is_refusal(status):
        return Rejected(reason)
    return Transient(reason)


def _is_refusal(status: int) -> bool:
    """Whether trying again is in vain."""
    return 400 <= status < 500 and status not in (408, 429)


def _reason(error: Exception) -> str:
    if isinstance(error, LibcloudError):  # whose text quotes the driver's representation
        return one_line(error.value) if error.value else type(error).__name__
    return one_line(error)


def _status(error: Exception) -> int | None:
    if isinstance(error, BaseHTTPError):
        return int(error.code)
    if isinstance(error, ProviderError) and error.http_code:
        return int(error.http_code)
    found = _STATUS.search(str(error))
    return int(found[1]) if found else None


class DriverSession(Session):
    """One libcloud driver and the container it uploads to."""

    def __init__(self, driver: StorageDriver, bucket: str) -> None:
        self.driver = driver
        self._container = Container(bucket, None, driver)

    def put(self, key: str, source: Source, metadata: Metadata, content_type: str) -> str:
        """Calls ``upload_object``, which compares the service's hash with the file's."""
        if not {".", ".."}.isdisjoint(key.split("/")):
            raise Rejected("libcloud would store a key with . or .. steps under another one")
        extra = {"meta_data": dict(metadata), "content_type": content_type}
        upload = self.driver.upload_object
        try:
            mapped(lambda: upload(source.path, self._container, key, extra=extra, verify_hash=True))
        except Transient as failure:
            # Some drivers take a refusal for success, and then miss the hash in its answer.
            status = self._last_status()
            if not isinstance(failure.__cause__, LibcloudError) or not _is_refusal(status):
                raise
            kind = {401: Denied, 403: Denied, 404: NotFound}.get(status, Rejected)
            raise kind(f"the service answered {status}") from None
        except Fatal as failure:
            # Drivers of S3's kind call the refusal of one object bad credentials, too.
            cause = failure.__cause__
            if not isinstance(cause, InvalidCredsError) or self._last_status() != 403:
                raise
            raise Denied(_reason(cause)) from None
        source.check_path()
        return ""

    def stat(self, key: str) -> ObjectInfo:
        """Calls ``get_object``."""
        return self.inspect(key).found

    def inspect(self, key: str) -> Inspected:
        """Calls ``get_object``, whose hash is an MD5 if it looks like one."""
        found = mapped(lambda: self.driver.get_object(self._container.name, key))
        metadata = {str(k).lower(): str(v) for k, v in found.meta_data.items()}
        info = ObjectInfo(int(found.size), metadata, found.extra.get("content_type") or "")
        told = str(found.hash or "").strip('"').lower()
        is_md5 = _MD5.fullmatch(told) is not None
        return Inspected(info, HashProof("md5", bytes.fromhex(told)) if is_md5 else None)

    def check(self, limit: float) -> None:
        """Asks for the container; a refusal is a sign of life."""
        ask = partial(self.driver.get_container, self._container.name)
        try:
            within(limit, partial(mapped, ask))
        except (Rejected, Fatal):
            return

    def close(self) -> None:
        """Closes the driver's connection, and that to an identity service, where they are open."""
        connection = self.driver.connection
        self.close_connection(connection)
        if hasattr(connection, "get_auth_class"):
            self.close_connection(connection.get_auth_class())

    @staticmethod
    def close_connection(of: Any) -> None:
        """Closes what is under a connection of libcloud's, if it is open."""
        connection = getattr(of, "connection", None)
        if connection is not None:
            # The close of libcloud's own class closes the last response, and fails without one.
            getattr(connection, "session", connection).close()

    def _last_status(self) -> int:
        response = getattr(self.driver.connection.connection, "response", None)
        return response.status_code if response else 0

    def prepare(self, create: bool) -> Prepared:
        """Makes sure that the container exists; creates it with ``create``."""
        name = self._container.name
        try:
            mapped(lambda: self.driver.get_container(name))
            return Prepared(False, "")
        except Fatal as failure:
            if not isinstance(failure.__cause__, ContainerDoesNotExistError):
                raise
        if not create:
            raise NoBucket(f"bucket {name} does not exist")
        mapped(lambda: self.driver.create_container(name))
        return Prepared(True, f"created bucket {name}")


class LibcloudCloud(Cloud):
    """A cloud that only libcloud knows.

    Key and secret come from UPLOADER_KEY and UPLOADER_SECRET, the address from the endpoint.
    """

    keeps_content_type = False
    body_memory = 16 * 1024 * 1024
    """Drivers cut and buffer as they like; Azure's takes parts of 4 MiB, several others 5."""
    session: ClassVar[type[DriverSession]] = DriverSession
    driver: ClassVar[Any] = None
    """The driver's class; None: libcloud's for the provider."""

    def __init__(self, settings: CloudSettings) -> None:
        super().__init__(settings)
        self.made_with = self.arguments()
        self._factory = driver_class(
            settings.provider,
            settings.timeout,
            settings.ca_bundle,
            self.traffic,
            client_cert=settings.client_cert,
            verify_tls=settings.verify_tls,
            plain=self.driver,
        )
        # A driver may open further connections by itself, such as those that log in.
        libcloud.security.CA_CERTS_PATH = settings.ca_bundle or libcloud.security.CA_CERTS_PATH
        libcloud.security.VERIFY_SSL_CERT = settings.verify_tls

    @classmethod
    def facts(cls, provider: str) -> Facts:
        """The same for all, but for the tests: libcloud's drivers hide what they differ in."""
        return Facts(
            "`UPLOADER_KEY`, `UPLOADER_SECRET`",
            "a hash, where libcloud compares it",
            "none",
            _TESTED.get(provider, "nothing yet"),
        )

    def arguments(self) -> dict[str, Any]:
        """What the driver is made with, ``key`` and ``secret`` among it; raises ``Fatal`` that says
        what is missing."""
        settings = self.settings
        key, secret = os.environ.get("UPLOADER_KEY"), os.environ.get("UPLOADER_SECRET")
        if not key or not secret:
            wanted = "set UPLOADER_KEY and UPLOADER_SECRET"
            raise Fatal(f"no credentials found for {settings.provider}: {wanted}")
        arguments: dict[str, Any] = {"key": key, "secret": secret}
        if settings.region:
            arguments["region"] = settings.region
        if settings.endpoint_url and settings.provider in _LEARNS_ITS_ADDRESS:
            raise Fatal(f"--endpoint-url: {settings.provider} has one address, built in")
        if settings.endpoint_url:
            arguments.update(address_of(settings.endpoint_url))
        return arguments

    def open(self) -> DriverSession:
        """A session with a driver of its own.  Hardly any driver sends a request when it is made:
        an error means wrong settings."""
        try:
            driver = self._factory(**self.made_with)
        except Failure:
            raise
        except requests.RequestException as error:
            raise failure_of(error) from error
        except Exception as error:
            provider = self.settings.provider
            reason = f"libcloud's driver {provider} does not take these settings: {_reason(error)}"
            raise Fatal(reason) from error
        return self.session(driver, self.settings.bucket)

    def account(self) -> tuple[str, ...]:
        """What tells this account from others; ``destination`` shows a hash of it."""
        return (self.made_with["key"],)

    def destination(self) -> str:
        """Provider, address, region, and the account by a hash."""
        account = hashlib.sha256("\n".join(self.account()).encode()).hexdigest()[:16]
        settings = self.settings
        address = settings.endpoint_url or "default"
        region = settings.region or "default"
        return f"{settings.provider} {address} {account} {region} {settings.bucket}"

    def prepare(self, create: bool) -> Prepared:
        """Asks through a session of its own."""
        session = self.open()
        try:
            prepared = session.prepare(create)
            if prepared.created or self.settings.allow_public:
                return prepared
            return prepared._replace(note=self.privacy(session))
        finally:
            session.close()

    def privacy(self, session: DriverSession) -> str:
        """The note for the user on whether the bucket is public; raises ``Fatal`` when it is.

        libcloud has no call for it."""
        return "whether the bucket is public is not known: libcloud's drivers cannot ask"


@cache
def driver_class(
    provider: str,
    timeout: float,
    ca_bundle: str | None,
    traffic: Traffic | None = None,
    *,
    client_cert: str | None = None,
    verify_tls: bool = True,
    plain: type[StorageDriver] | None = None,
) -> type[StorageDriver]:
    """``plain``, or libcloud's driver for ``provider``, on our connection: see
    ``connection_class``."""
    plain = plain or _plain_class(provider)
    if not hasattr(plain.connectionCls, "conn_class"):
        return plain
    socket_class = connection_class(
        timeout, ca_bundle, traffic, client_cert=client_cert, verify_tls=verify_tls
    )
    on_socket = type("Connection", (plain.connectionCls,), {"conn_class": socket_class})

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        plain.__init__(self, *args, **kwargs)
        # Some drivers choose another class by the version of the signature.
        if self.connection.conn_class is not socket_class:
            self.connection.conn_class = socket_class
            self.connection.connect()

    driver: type[StorageDriver] = type(
        plain.__name__, (plain,), {"connectionCls": on_socket, "__init__": init}
    )
    return driver


@cache
def connection_class(
    timeout: float,
    ca_bundle: str | None,
    traffic: Traffic | None = None,
    *,
    client_cert: str | None = None,
    verify_tls: bool = True,
) -> type[LibcloudConnection]:
    """A ``conn_class`` by which no request waits for ever, and ``traffic`` counts what moves; for
    the rest see ``tls_context``."""
    tls = tls_context(ca_bundle, client_cert=client_cert, verify=verify_tls)
    shared = {"timeouts": Timeouts.of(timeout), "tls": tls, "traffic": traffic}
    return type("Connection", (LibcloudConnection,), shared)


def _plain_class(provider: str) -> type[StorageDriver]:
    if provider in _UNUSABLE:
        reason = _UNUSABLE[provider]
        raise Fatal(f"libcloud's driver {provider} cannot be used: {reason}")
    try:
        found: type[StorageDriver] = get_driver(provider)
    except Exception as error:  # libcloud raises a bare one for names that it has given up
        raise Fatal(f"libcloud has no storage driver {provider!r}: {_reason(error)}") from None
    return found


def address_of(endpoint_url: str) -> dict[str, Any]:
    """Host, port and whether TLS is spoken, as libcloud's drivers take them; raises ``Fatal`` when
    the URL is wrong or has a path."""
    endpoint = chosen_endpoint(endpoint_url)
    if endpoint.path:
        raise Fatal("--endpoint-url: this provider takes no path")
    return {"host": endpoint.host, "port": endpoint.port, "secure": endpoint.secure}
