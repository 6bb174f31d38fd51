"""Sends requests with libcloud's drivers: with metadata and retries."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping
from functools import partial
from itertools import count
from typing import Any, TypeVar

import gevent
from libcloud.common.exceptions import BaseHTTPError
from libcloud.common.types import LibcloudError
from libcloud.storage.base import Container, Object

from providers.attributes import rclone
from providers.azure_blobs.cloud import AzureCloud
from providers.azure_blobs.driver import AzureDriver
from providers.azure_blobs.session import AzureSession
from providers.base import Session
from providers.errors import Failure
from providers.libcloud import DriverSession, failure_of
from providers.local import LocalDriver, LocalSession
from providers.s3.driver import S3Driver
from providers.s3.session import S3Session
from providers.source import Source, guess_content_type

from ..config import Settings
from ..transfer.retry import RetryPolicy

T = TypeVar("T")
Metadata = Mapping[str, Any]

POLICY = RetryPolicy(Settings.retries)


def session_of(driver: Any, bucket: str) -> Session:
    """The engine's session on a driver."""
    if isinstance(driver, S3Driver):
        return S3Session(driver, bucket)
    if isinstance(driver, AzureDriver):
        return AzureSession(driver, bucket)
    if isinstance(driver, LocalDriver):
        return LocalSession(driver, bucket)
    return DriverSession(driver, bucket)


def send_file(
    src: str, dst: str, meta_data: Metadata, send: Callable[[dict[str, Any]], Object]
) -> Object:
    """Calls ``send`` with libcloud's ``extra`` for the file, with retries.

    ``meta_data`` wins over the file's own.  Raises ``SourceChanged`` when the file changes
    meanwhile.
    """
    os.stat(src)  # callers know FileNotFoundError, not the failure that Source raises
    with Source(src) as source:
        given = {name.lower() for name in meta_data}
        own = {name: value for name, value in rclone(source) if name not in given}
        extra = {"meta_data": {**own, **meta_data}, "content_type": guess_content_type(dst)}
        stored = with_retries(partial(send, extra))
        source.check_unchanged()
    return stored


def upload_in_blocks(
    driver: AzureDriver, src: str, container: Container, dst: str, extra: Mapping[str, Any]
) -> Object:
    """Uploads the file to Azure as the engine's blocks, one after the other: libcloud's have other
    names, and what is left of them would stand in the way of later uploads."""
    session = AzureSession(driver, container.name)
    meta = {str(k).lower(): str(v) for k, v in extra["meta_data"].items()}
    described = tuple(meta.items()), extra["content_type"]
    with Source(src) as source:
        step = AzureCloud.parts.size_for(source.size)
        upload_id = session.begin(dst, *described)
        parts = [
            session.put_part(dst, upload_id, number, source, start, min(step, source.size - start))
            for number, start in enumerate(range(0, source.size, step), 1)
        ]
        session.complete(dst, upload_id, parts, *described)
        return Object(dst, source.size, "", {}, meta, container, driver)


def with_retries(operation: Callable[[], T]) -> T:
    """Repeats an operation as the policy allows; raises its last error as it came.

    ``transfer.attempts`` knows failures only; callers of the old classes expect libcloud's errors.
    """
    for attempt in count():
        try:
            return operation()
        except (Failure, LibcloudError, BaseHTTPError, OSError) as error:
            failure = error if isinstance(error, Failure) else failure_of(error)
            pause = POLICY.delay(failure, attempt, random.random())
            if pause is None:
                raise
            gevent.sleep(pause)
    raise AssertionError("unreachable")
