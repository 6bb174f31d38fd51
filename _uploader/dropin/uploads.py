"""The public face of the old ``uploader`` module, on the new engine.

``uploader`` patches the process and then takes every name in ``__all__`` from here; the names of
libraries are among them because callers got them from ``from uploader import *``.
"""

# ruff: noqa: N802  (the old names are what this module is for)

from __future__ import annotations

import datetime
import json
import logging
import math
import os
import random
import sys
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from functools import cached_property, partial, wraps
from itertools import count
from types import MappingProxyType
from typing import Any, ParamSpec, TypeVar

import gevent
import libcloud
from gevent import monkey
from gevent.pool import Pool
from libcloud.common.exceptions import BaseHTTPError
from libcloud.common.types import LibcloudError
from libcloud.storage.base import Container, Object, StorageDriver
from libcloud.storage.providers import get_driver
from libcloud.storage.types import ContainerDoesNotExistError, Provider

from providers.base import MIB, Cloud, CloudSettings, Prepared, Session
from providers.errors import Denied, Failure, Transient
from providers.libcloud import DriverSession, driver_class, failure_of
from providers.local import LocalDriver, LocalSession
from providers.s3.cloud import S3Cloud
from providers.s3.driver import S3Driver
from providers.s3.service import Service
from providers.s3.session import S3Session
from providers.s3.sigv4 import Credentials
from providers.source import Source, guess_content_type

from ..config import Settings
from ..display.base import Display
from ..display.text import printable
from ..files.model import INTERRUPTED, Job
from ..processes.fork_server import ForkServer
from ..records.counters import Counters, Summary
from ..run import Run
from ..transfer.concurrency import ConcurrencyLimiter
from ..transfer.engine import Engine
from ..transfer.retry import RetryPolicy

__all__ = [
    "BaseUpload",
    "ParallelUpload",
    "Pool",
    "Provider",
    "current_milli_time",
    "datetime",
    "get_driver",
    "getFiles",
    "gevent",
    "json",
    "libcloud",
    "math",
    "monkey",
    "os",
    "time",
    "timed",
]

P = ParamSpec("P")
T = TypeVar("T")
File = Mapping[str, Any]
Metadata = Mapping[str, Any]

MULTIPART_FROM = 50 * MIB
"""Size from which ``BaseUpload.upload`` sends a file in parts."""
MOST_THREADS = 200
FILES_PER_SECOND = 10_000
"""What one process can send of small files; more in flight than keeps it at that is in vain."""
FAILURES_SHOWN = 20
HERE_FILES = 4000
HERE_BYTES = 512 * MIB
"""Below both, a list is uploaded in this process: starting others costs more than they bring."""

_SIGNED_EITHER_WAY = {
    Provider.DIGITALOCEAN_SPACES,
    Provider.S3_RGW,
    Provider.S3_RGW_OUTSCALE,
}
"""Providers whose drivers take a ``signature_version``, and sign the outdated way without it."""
_POLICY = RetryPolicy(Settings.retries)
_NONE: Metadata = MappingProxyType({})
_LOG = logging.getLogger("uploader")


def getFiles(dir: str) -> list[dict[str, Any]]:
    """Every file below ``dir`` as ``{'path', 'name', 'size'}``; ``path`` begins with ``dir``.

    A directory's own files come before those of its subdirectories.  Links to files count as
    files, links to directories are not followed.  A directory that cannot be read is told on
    stderr and left out.
    """
    files: list[dict[str, Any]] = []
    directories = [os.fspath(dir)]
    while directories:
        below: list[str] = []
        try:
            with os.scandir(directories.pop()) as entries:
                for entry in entries:
                    # What vanishes, or is a loop of links, is no file.
                    with suppress(OSError):
                        if entry.is_file():
                            path = entry.path.replace("\\", "/")
                            size = entry.stat().st_size
                            files.append({"path": path, "name": entry.name, "size": size})
                        elif entry.is_dir(follow_symlinks=False):
                            below.append(entry.path)
        except OSError as error:
            _complain(f"getFiles: {error.filename}: {error.strerror}")
        directories += reversed(below)
    return files


def current_milli_time() -> int:
    """Milliseconds since the epoch."""
    return round(time.time() * 1000)


def timed(function: Callable[P, T]) -> Callable[P, T]:
    """Decorator: prints ``NAME: N ms`` after each call."""

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        started = time.perf_counter()
        result = function(*args, **kwargs)
        milliseconds = round((time.perf_counter() - started) * 1000)
        print(f"{function.__name__}: {milliseconds} ms")
        return result

    return wrapper


class BaseUpload:
    """Uploads files to one bucket, one after the other.

    Each object carries the size, mtime, mode, uid and gid of its file as metadata.
    """

    def __init__(self, provider: str, key: str, secret: str, container_name: str) -> None:
        """Connects, and creates the bucket (private to its owner) when it is missing.

        S3's region and endpoint are those of AWS_REGION and AWS_ENDPOINT_URL where they are set;
        ``key`` is the directory of the buckets for the provider ``local``.
        """
        self.provider = provider
        self.key = key
        self.secret = secret
        self.container_name = container_name
        self.factory: Any = get_driver(provider)
        self.driver: Any = self.initDriver()
        # Whoever drops the uploader drops its connections, also without closing anything.
        weakref.finalize(self, _session(self.driver, container_name).close)
        self.container: Any = self.initContainer(container_name)

    def initDriver(self) -> StorageDriver:
        """A new driver: libcloud's for the provider, on a faster connection that never hangs."""
        if self._is_aws:
            return S3Driver(self._service)
        if self.provider == Provider.LOCAL:
            return LocalDriver(self.key)
        factory: Any = driver_class(self.provider, Settings.timeout, None)
        if self.provider in _SIGNED_EITHER_WAY:
            return factory(self.key, self.secret, signature_version="4")
        return factory(self.key, self.secret)

    def initContainer(self, name: str) -> Container:
        """The bucket ``name``, created when it is missing.

        It is asked for by its name: to list all buckets takes a permission that careful keys lack.
        """
        if isinstance(self.driver, S3Driver):
            session = S3Session(self.driver, name)
            if _with_retries(partial(session.prepare_bucket, create=True)).created:
                print("creating container...")
            return Container(name, {}, self.driver)
        try:
            return _with_retries(partial(self.driver.get_container, name))
        except ContainerDoesNotExistError:
            print("creating container...")
            return _with_retries(partial(self.driver.create_container, name))

    def uploadSimple(
        self, driver: StorageDriver, src: str, dst: str, meta_data: Metadata = _NONE
    ) -> Object:
        """Uploads the file ``src`` as ``dst`` in one request; ``meta_data`` wins over its own."""

        def send(extra: dict[str, Any]) -> Object:
            return driver.upload_object(src, self.container, dst, extra=extra)

        return _described(src, dst, meta_data, send)

    def uploadMultiPart(
        self, driver: StorageDriver, src: str, dst: str, meta_data: Metadata = _NONE
    ) -> Object:
        """Uploads the file ``src`` as ``dst`` in parts where the provider has them."""
        if isinstance(driver, LocalDriver):
            # A disk has no parts, and a stream no mode and time for it to keep.
            return self.uploadSimple(driver, src, dst, meta_data)

        def send(extra: dict[str, Any]) -> Object:
            with open(src, "rb") as stream:
                return driver.upload_object_via_stream(stream, self.container, dst, extra=extra)

        return _described(src, dst, meta_data, send)

    def upload(self, src: str, dst: str, meta_data: Metadata = _NONE, filesize: int = 0) -> Object:
        """Uploads the file ``src`` as ``dst``; in parts when it is large."""
        return self._upload_with(self.driver, src, dst, meta_data, filesize)

    def saveMeta(self) -> None:
        """Lists the bucket into ``meta.json``: ``{key: {"size", "modified", "acl": null}}``."""
        path = "meta.json"
        _with_retries(partial(self._write_meta, f"{path}.part"))
        os.replace(f"{path}.part", path)

    def _write_meta(self, path: str) -> None:
        """Object by object, as a bucket may hold more than the memory."""
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
    def _is_aws(self) -> bool:
        return bool(self.factory.__module__ == "libcloud.storage.drivers.s3")

    @property
    def _place(self) -> CloudSettings:
        """Where the objects go, as the engine wants to be told."""
        if self._is_aws:
            region = self.factory.region_name
            if self.provider == Provider.S3:
                region = _environment("AWS_REGION", "AWS_DEFAULT_REGION") or region
            return CloudSettings(
                "s3",
                self.container_name,
                endpoint_url=_environment("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
                region=region,
                ca_bundle=_environment("AWS_CA_BUNDLE"),
            )
        directory = self.key if self.provider == Provider.LOCAL else None
        return CloudSettings(self.provider, self.container_name, endpoint_url=directory)

    @cached_property
    def _service(self) -> Service:
        """Shared by all drivers of this uploader."""
        place = self._place
        assert place.region
        credentials = Credentials(self.key, self.secret)
        return Service(
            place.endpoint_url,
            place.region,
            lambda: credentials,
            ca_bundle=place.ca_bundle,
            timeout=place.timeout,
        )


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

        Returns ``{'success': key}``, or ``{'error': file}`` after telling why in the log.
        """
        try:
            driver = self.initDriver()
            with closing(_session(driver, self.container.name)):
                obj = self._upload_with(driver, file, file, dict(_now()), filesize)
        except Exception as error:
            _LOG.warning("%s", printable(f"{file}: {_reason(error)}"))
            return {"error": file}
        return {"success": obj.name}

    def findOptimalNoThreads(self, files: Sequence[File]) -> int:
        """How many uploads to run at a time: 1 to 200, at most one for each file.

        The answer follows from how long the service takes to answer; nothing is stored for it.
        """
        print("findOptimalNoThreads ...")
        wanted = math.ceil(FILES_PER_SECOND * min(self._answer_time() for _ in range(3)))
        return max(1, min(wanted, MOST_THREADS, len(files)))

    @timed
    def uploadFiles(self, files: Sequence[File], poolsize: int) -> None:
        """Uploads ``files`` (as of ``getFiles``), each under its own path, ``poolsize`` at a time.

        Files that could not be uploaded, after retries, are told on stderr.
        """
        print(f"poolsize: {poolsize}")
        in_flight = max(1, poolsize)
        failures = _Failures()
        if self._overrides("asyncUpload", "uploadSimple", "uploadMultiPart"):
            self._upload_by_override(files, in_flight, failures)
        elif self._overrides("initDriver") or _is_short(files):
            self._upload_here(files, in_flight, failures)
        else:
            self._upload_by_processes(files, in_flight, failures)
        failures.tell_rest()

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
        self, files: Sequence[File], in_flight: int, failures: _Failures
    ) -> None:
        pool = Pool(in_flight)
        try:
            for file in files:
                pool.spawn(self._call_override, file, failures)
            pool.join()
        finally:
            pool.kill()

    def _call_override(self, file: File, failures: _Failures) -> None:
        for attempt in count():
            reason = "asyncUpload returned an error"
            try:
                answer = self.asyncUpload(file["path"], file["size"])
            except Exception as error:
                reason = _reason(error)
            else:
                if not isinstance(answer, dict) or "error" not in answer:
                    return
            pause = _POLICY.delay(Transient(reason), attempt, random.random())
            if pause is None:
                failures.add(file["path"], reason)
                return
            gevent.sleep(pause)

    def _upload_here(self, files: Sequence[File], in_flight: int, failures: _Failures) -> None:
        unsettled = {job.number: job for job in _jobs(files, failures)}

        def settle(number: int, reason: str) -> None:
            job = unsettled.pop(number)
            if reason:
                failures.add(job.path, reason)

        def stop(reason: str) -> None:
            for number in engine.drain():
                settle(number, reason)

        cloud = _S3Drivers(self) if isinstance(self.driver, S3Driver) else _Drivers(self)
        engine = Engine(
            cloud,
            source_root="",
            key_prefix="",
            policy=_POLICY,
            limiter=ConcurrencyLimiter(in_flight, first=in_flight),
            report=lambda result: settle(result.number, result.failure),
            stop_run=stop,
            extra_metadata=_now(),
            give_up_after=Settings.give_up_after,
        )
        engine.submit(list(unsettled.values()))
        try:
            engine.close()
        except BaseException:
            engine.drain()
            raise
        for job in unsettled.values():
            failures.add(job.path, INTERRUPTED)
        for notice in cloud.notices:
            _complain(notice)

    def _upload_by_processes(
        self, files: Sequence[File], in_flight: int, failures: _Failures
    ) -> None:
        place = self._place
        settings = Settings(
            provider=place.provider,
            bucket=self.container.name,
            endpoint_url=place.endpoint_url,
            region=place.region,
            ca_bundle=place.ca_bundle,
            concurrency=in_flight,
            no_create=True,
            no_journal=True,
            extra_metadata=_now(),
        )
        environment = {"UPLOADER_KEY": self.key, "UPLOADER_SECRET": self.secret or ""}
        if self._is_aws:
            environment = {
                "AWS_ACCESS_KEY_ID": self.key,
                "AWS_SECRET_ACCESS_KEY": self.secret,
                "AWS_SESSION_TOKEN": "",
                "AWS_SECURITY_TOKEN": "",
                # No file can be there: no profile's keys or endpoint take the place of ours.
                "AWS_CONFIG_FILE": os.path.join(os.devnull, "none"),
            }
        fork_server = ForkServer(settings.provider, environment)
        run = Run(settings, failures, jobs=_jobs(files, failures), fork_server=fork_server)
        outcome = run.execute()
        if outcome.error:
            missing = len(files) - outcome.summary.uploaded
            _complain(f"{outcome.error}: {missing:,} of {len(files):,} files are not uploaded")


class _Drivers(Cloud):
    """The drivers of an uploader's ``initDriver`` as a cloud."""

    def __init__(self, uploader: ParallelUpload) -> None:
        super().__init__(CloudSettings(uploader.provider, uploader.container.name))
        self._make = uploader.initDriver

    def open(self) -> Session:
        """A driver of its own for each session."""
        return _session(_with_retries(self._make), self.settings.bucket)

    def destination(self) -> str:
        """Nothing is recorded of it."""
        return f"{self.settings.provider} {self.settings.bucket}"

    def prepare(self, create: bool) -> Prepared:
        """The uploader has found its bucket before."""
        return Prepared(False, "")


class _S3Drivers(_Drivers):
    """The same, where large files go in parts that are sent side by side."""

    parts = S3Cloud.parts

    def __init__(self, uploader: ParallelUpload) -> None:
        super().__init__(uploader)
        service = uploader.driver.service
        self.traffic, self.notices = service.traffic, service.notices


class _Failures(Display):
    """Tells on stderr which files failed, up to a number, and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self._count = 0
        self._listed: str | None = None

    def add(self, path: str, reason: str) -> None:
        """A file is not in the bucket."""
        self._count += 1
        if self._count <= FAILURES_SHOWN:
            _complain(f"{path}: {reason}")

    def tell_rest(self) -> None:
        """The end of the list."""
        if self._count > FAILURES_SHOWN:
            _complain(f"... and {self._count - FAILURES_SHOWN:,} more")
        if self._listed:
            _complain(f"listed in {self._listed}")

    def file_event(self, kind: str, path: str, detail: str = "") -> None:
        """Of a run in worker processes."""
        if kind == "failed":
            self.add(path, detail)

    def update(self, counters: Counters, now: float) -> None:
        """Not told."""

    def _show(self, counters: Counters) -> None:
        """Not told."""

    def note(self, text: str) -> None:
        """Not told."""

    def finish(self, summary: Summary) -> None:
        """Only the file that names all of them is told."""
        self._listed = summary.failed_list


def _session(driver: Any, bucket: str) -> Session:
    """The engine's way to use a driver."""
    if isinstance(driver, S3Driver):
        return S3Session(driver, bucket)
    if isinstance(driver, LocalDriver):
        return LocalSession(driver, bucket)
    return DriverSession(driver, bucket)


def _described(
    src: str, dst: str, meta_data: Metadata, send: Callable[[dict[str, Any]], Object]
) -> Object:
    """Sends a file with its metadata, again where that may help, unless it changes meanwhile."""
    os.stat(src)  # a missing file is a FileNotFoundError, as callers know it
    with Source(src) as source:
        given = {name.lower() for name in meta_data}
        own = {name: value for name, value in source.metadata() if name not in given}
        extra = {"meta_data": {**own, **meta_data}, "content_type": guess_content_type(dst)}
        stored = _with_retries(partial(send, extra))
        source.check_unchanged()
    return stored


def _with_retries(operation: Callable[[], T]) -> T:
    """Runs an operation until it succeeds or another attempt makes no sense; raises its error."""
    for attempt in count():
        try:
            return operation()
        except (Failure, LibcloudError, BaseHTTPError, OSError) as error:
            failure = error if isinstance(error, Failure) else failure_of(error)
            pause = _POLICY.delay(failure, attempt, random.random())
            if pause is None:
                raise
            gevent.sleep(pause)
    raise AssertionError("unreachable")


def _jobs(files: Sequence[File], failures: _Failures) -> Iterator[Job]:
    """The files in the engine's form; one whose name makes no key goes to the failures."""
    for number, file in enumerate(files):
        path = file["path"]
        try:
            path.encode()
        except UnicodeEncodeError:
            failures.add(path, "name is not valid UTF-8")
        else:
            yield Job(number, path, file["size"], 0)


def _is_short(files: Sequence[File]) -> bool:
    return len(files) < HERE_FILES and sum(file["size"] for file in files) < HERE_BYTES


def _now() -> tuple[tuple[str, str]]:
    return (("dt", str(datetime.datetime.now(datetime.timezone.utc))),)


def _environment(*names: str) -> str | None:
    """The first of the variables that is set."""
    return next(filter(None, map(os.environ.get, names)), None)


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, Failure) else f"{type(error).__name__}: {error}"


def _complain(text: str) -> None:
    print(printable(text), file=sys.stderr)
