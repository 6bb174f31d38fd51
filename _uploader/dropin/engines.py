"""Uploads a list of files, in this process or in workers."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from libcloud.storage.base import StorageDriver

from providers.azure_blobs.cloud import AzureCloud
from providers.azure_blobs.driver import AzureDriver
from providers.base import MIB, Cloud, CloudSettings, Prepared, Session
from providers.s3.cloud import S3Cloud
from providers.s3.driver import S3Driver

from ..config import Settings
from ..files.model import INTERRUPTED, Job
from ..processes.fork_server import ForkServer
from ..run import Run
from ..transfer.concurrency import ConcurrencyLimiter
from ..transfer.engine import Engine
from .account import Account
from .failures import Failures, complain
from .sending import POLICY, session_of, with_retries

File = Mapping[str, Any]
"""An entry of ``getFiles``."""

HERE_FILES = 4000
HERE_BYTES = 512 * MIB
"""A list below both is uploaded in this process: starting workers would cost more than it saves."""


def is_short(files: Sequence[File]) -> bool:
    """Whether workers are not worth their start."""
    return len(files) < HERE_FILES and sum(file["size"] for file in files) < HERE_BYTES


def time_metadata() -> tuple[tuple[str, str]]:
    """The metadata that the old classes gave to each object: the time of the upload."""
    return (("dt", str(datetime.datetime.now(datetime.timezone.utc))),)


def upload_here(cloud: Cloud, files: Sequence[File], in_flight: int, failures: Failures) -> None:
    """Uploads the files in this process, ``in_flight`` at a time."""
    unsettled = {job.number: job for job in _jobs(files, failures)}

    def settle(number: int, reason: str) -> None:
        job = unsettled.pop(number)
        if reason:
            failures.add(job.path, reason)

    def stop(reason: str) -> None:
        for number in engine.drain():
            settle(number, reason)

    engine = Engine(
        cloud,
        source_roots=[""],
        key_prefix="",
        policy=POLICY,
        limiter=ConcurrencyLimiter(in_flight, first=in_flight),
        report=lambda result: settle(result.number, result.failure),
        stop_run=stop,
        extra_metadata=time_metadata(),
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
        complain(notice)


def upload_in_workers(
    account: Account, bucket: str, files: Sequence[File], in_flight: int, failures: Failures
) -> None:
    """Uploads the files in worker processes, ``in_flight`` at a time in all of them together."""
    cloud = account.cloud_settings(bucket)
    settings = Settings(
        provider=cloud.provider,
        bucket=cloud.bucket,
        endpoint_url=cloud.endpoint_url,
        region=cloud.region,
        ca_bundle=cloud.ca_bundle,
        concurrency=in_flight,
        no_create=True,
        allow_public=True,  # the old programs never asked
        no_journal=True,
        metadata=time_metadata(),
    )
    fork_server = ForkServer(settings.provider, account.environment())
    run = Run(settings, failures, jobs=_jobs(files, failures), fork_server=fork_server)
    outcome = run.execute()
    if outcome.error:
        missing = len(files) - outcome.summary.uploaded
        complain(f"{outcome.error}: {missing:,} of {len(files):,} files are not uploaded")


def _jobs(files: Sequence[File], failures: Failures) -> Iterator[Job]:
    """The files as jobs; those whose names make no key go to the failures."""
    for number, file in enumerate(files):
        path = file["path"]
        try:
            path.encode()
        except UnicodeEncodeError:
            failures.add(path, "name is not valid UTF-8")
        else:
            yield Job(number, path, file["size"], 0)


def cloud_of(
    provider: str, bucket: str, driver: StorageDriver, new_driver: Callable[[], StorageDriver]
) -> Cloud:
    """An uploader's drivers as a cloud; ``driver`` is the uploader's own."""
    settings = CloudSettings(provider, bucket)
    if isinstance(driver, S3Driver):
        return _S3Drivers(settings, new_driver, driver)
    if isinstance(driver, AzureDriver):
        return _AzureDrivers(settings, new_driver, driver)
    return _Drivers(settings, new_driver)


class _Drivers(Cloud):
    """Gives each session a new driver."""

    def __init__(self, settings: CloudSettings, new_driver: Callable[[], StorageDriver]) -> None:
        super().__init__(settings)
        self._new_driver = new_driver

    def open(self) -> Session:
        return session_of(with_retries(self._new_driver), self.settings.bucket)

    def destination(self) -> str:
        """No journal records it."""
        return f"{self.settings.provider} {self.settings.bucket}"

    def prepare(self, create: bool) -> Prepared:
        """Nothing to do: the uploader has found its bucket."""
        return Prepared(False, "")


class _Direct(_Drivers):
    """Counts what the drivers' own connections move, and tells what they learn."""

    def __init__(
        self,
        settings: CloudSettings,
        new_driver: Callable[[], StorageDriver],
        driver: S3Driver | AzureDriver,
    ) -> None:
        super().__init__(settings, new_driver)
        self.traffic, self.notices = driver.service.traffic, driver.service.notices


class _S3Drivers(_Direct):
    """Sends large files in parts, side by side."""

    parts = S3Cloud.parts


class _AzureDrivers(_Direct):
    """Sends large files in blocks, side by side."""

    parts = AzureCloud.parts
