"""The old module's classes."""

# ruff: noqa: N802  (the old names)

from __future__ import annotations

import json
import logging
import math
import os
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from functools import cached_property, partial
from types import MappingProxyType
from typing import Any

from gevent.pool import Pool
from libcloud.storage.base import Container, Object, StorageDriver
from libcloud.storage.providers import get_driver
from libcloud.storage.types import ContainerDoesNotExistError

from providers.azure_blobs.driver import AzureDriver
from providers.azure_blobs.session import AzureSession
from providers.base import MIB, Prepared
from providers.errors import Denied, Transient
from providers.local import LocalDriver
from providers.s3.session import S3Session

from ..display.text import printable
from .account import Account
from .engines import File, cloud_of, is_short, time_metadata, upload_here, upload_in_workers
from .failures import Failures, reason_of
from .functions import timed
from .sending import Metadata, send_file, session_of, upload_in_blocks, with_retries

MULTIPART_FROM = 50 * MIB
"""Size from which ``BaseUpload.upload`` sends a file in parts."""
MOST_THREADS = 200
FILES_PER_SECOND = 10_000
"""Most small files that one process can send: more in flight than reach it gain nothing."""

_NONE: Metadata = MappingProxyType({})
_LOG = logging.getLogger("uploader")


class BaseUpload:
    """Uploads files to one bucket, one after the other.

    Each object carries the size, mtime, mode, uid and gid of its file as metadata.
    """

    def __init__(self, provider: str, key: str, secret: str, container_name: str) -> None:
        """Connects, and creates the bucket (private to its owner) when it is missing.

        AWS_REGION and AWS_ENDPOINT_URL set S3's region and endpoint, UPLOADER_ENDPOINT_URL that of
        Azure; for the provider ``local``, ``key`` is the directory of the buckets.
        """
        self.provider = provider
        self.key = key
        self.secret = secret
        self.container_name = container_name
        self.factory: Any = get_driver(provider)
        self.driver: Any = self.initDriver()
        # Connections close with the uploader: the old class had nothing to close.
        weakref.finalize(self, session_of(self.driver, container_name).close)
        self.container: Any = self.initContainer(container_name)

    def initDriver(self) -> StorageDriver:
        """A new driver: libcloud's for the provider, on a faster connection that never hangs."""
        return self._new_driver()

    def initContainer(self, name: str) -> Container:
        """The bucket ``name``, created when it is missing.

        It asks for the bucket by name: careful keys lack the permission to list all buckets.
        """
        session = session_of(self.driver, name)
        prepare: Callable[[], Prepared] | None = None
        if isinstance(session, S3Session):
            prepare = partial(session.prepare_bucket, create=True)
        elif isinstance(session, AzureSession):
            prepare = partial(session.prepare_container, create=True, allow_public=True)
        if prepare:
            if with_retries(prepare).created:
                print("creating container...")
            return Container(name, {}, self.driver)
        try:
            return with_retries(partial(self.driver.get_container, name))
        except ContainerDoesNotExistError:
            print("creating container...")
            return with_retries(partial(self.driver.create_container, name))

    def uploadSimple(
        self, driver: StorageDriver, src: str, dst: str, meta_data: Metadata = _NONE
    ) -> Object:
        """Uploads the file ``src`` as ``dst`` in one request; ``meta_data`` wins over its own."""

        def send(extra: dict[str, Any]) -> Object:
            return driver.upload_object(src, self.container, dst, extra=extra)

        return send_file(src, dst, meta_data, send)

    def uploadMultiPart(
        self, driver: StorageDriver, src: str, dst: str, meta_data: Metadata = _NONE
    ) -> Object:
        """Uploads the file ``src`` as ``dst`` in parts where the provider has them."""
        if isinstance(driver, LocalDriver):
            # A disk has no parts, and from a stream it could not keep mode and time of the file.
            return self.uploadSimple(driver, src, dst, meta_data)

        def send(extra: dict[str, Any]) -> Object:
            if isinstance(driver, AzureDriver):
                return upload_in_blocks(driver, src, self.container, dst, extra)
            with open(src, "rb") as stream:
                return driver.upload_object_via_stream(stream, self.container, dst, extra=extra)

        return send_file(src, dst, meta_data, send)

    def upload(self, src: str, dst: str, meta_data: Metadata = _NONE, filesize: int = 0) -> Object:
        """Uploads the file ``src`` as ``dst``; in parts when it is large."""
        return self._upload_with(self.driver, src, dst, meta_data, filesize)

    def saveMeta(self) -> None:
        """Lists the bucket into ``meta.json``: ``{key: {"size", "modified", "acl": null}}``."""
        path = "meta.json"
        with_retries(partial(self._write_meta, f"{path}.part"))
        os.replace(f"{path}.part", path)

    def _write_meta(self, path: str) -> None:
        """Writes object by object: a bucket may hold more than the memory."""
        with open(path, "w", encoding="ascii") as file:
            before = "{\n"
            for obj in self.driver.iterate_container_objects(self.container):
                modified = obj.extra.get("last_modified")
                entry = {"size": obj.size, "modified": modified, "acl": None}
                file.write(before + json.dumps({obj.name: entry}, indent=4)[2:-2])
                before = ",\n"
            file.write("{}" if before == "{\n" else "\n}")

    def _upload_with(
        self, driver: StorageDriver, src: str, dst: str, meta_data: Metadata, filesize: int
    ) -> Object:
        large = (filesize or os.path.getsize(src)) >= MULTIPART_FROM
        return (self.uploadMultiPart if large else self.uploadSimple)(driver, src, dst, meta_data)

    @property
    def _account(self) -> Account:
        return Account(self.provider, self.key, self.secret, self.factory)

    @cached_property
    def _new_driver(self) -> Callable[[], StorageDriver]:
        """Makes all drivers of this uploader."""
        return self._account.drivers(self.container_name)


class ParallelUpload(BaseUpload):
    """Uploads many files to one bucket at a time.

    A subclass's ``asyncUpload`` or ``initDriver`` is used, in this process.  Without one, a long
    list of files goes through worker processes.
    """

    def makeDummyFile(self, size_mb: float) -> None:
        """Makes ``dummy.dat``, of ``size_mb`` MiB, in the working directory."""
        with open("dummy.dat", "wb") as file:
            file.truncate(int(size_mb * MIB))

    def asyncUpload(self, file: str, filesize: int = 0) -> dict[str, str]:
        """Uploads ``file`` under its own path, with a driver of its own.

        Returns ``{'success': key}``, or ``{'error': file}`` with the reason in the log.
        """
        try:
            driver = self.initDriver()
            with closing(session_of(driver, self.container.name)):
                obj = self._upload_with(driver, file, file, dict(time_metadata()), filesize)
        except Exception as error:
            _LOG.warning("%s", printable(f"{file}: {reason_of(error)}"))
            return {"error": file}
        return {"success": obj.name}

    def findOptimalNoThreads(self, files: Sequence[File]) -> int:
        """How many uploads to run at a time: 1 to 200, at most one for each file.

        The answer follows from the service's response time; nothing is stored to measure it.
        """
        print("findOptimalNoThreads ...")
        wanted = math.ceil(FILES_PER_SECOND * min(self._answer_time() for _ in range(3)))
        return max(1, min(wanted, MOST_THREADS, len(files)))

    @timed
    def uploadFiles(self, files: Sequence[File], poolsize: int) -> None:
        """Uploads ``files`` (as of ``getFiles``), each under its own path, ``poolsize`` at a time.

        Names on stderr the files that retries could not upload.
        """
        print(f"poolsize: {poolsize}")
        in_flight = max(1, poolsize)
        failures = Failures()
        bucket = self.container.name
        if self._overrides("asyncUpload", "uploadSimple", "uploadMultiPart"):
            self._upload_by_override(files, in_flight, failures)
        elif self._overrides("initDriver") or is_short(files):
            cloud = cloud_of(self.provider, bucket, self.driver, self.initDriver)
            upload_here(cloud, files, in_flight, failures)
        else:
            upload_in_workers(self._account, bucket, files, in_flight, failures)
        failures.end()

    def _overrides(self, *names: str) -> bool:
        """Whether a subclass, or this one object, has a method of its own."""
        return any(
            getattr(getattr(self, name), "__func__", None) is not getattr(ParallelUpload, name)
            for name in names
        )

    def _answer_time(self) -> float:
        started = time.perf_counter()
        with suppress(Denied):
            self.driver.get_container(self.container.name)
        return time.perf_counter() - started

    def _upload_by_override(
        self, files: Sequence[File], in_flight: int, failures: Failures
    ) -> None:
        pool = Pool(in_flight)
        try:
            for file in files:
                pool.spawn(self._call_override, file, failures)
            pool.join()
        finally:
            pool.kill()

    def _call_override(self, file: File, failures: Failures) -> None:
        """Calls ``asyncUpload`` with retries, whatever it raises."""

        def attempt() -> None:
            try:
                answer = self.asyncUpload(file["path"], file["size"])
            except Exception as error:
                raise Transient(reason_of(error)) from None
            if isinstance(answer, dict) and "error" in answer:
                raise Transient("asyncUpload returned an error")

        try:
            with_retries(attempt)
        except Transient as failure:
            failures.add(file["path"], str(failure))
