"""Provider and keys of the old classes, as the engine needs them."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from libcloud.storage.base import StorageDriver
from libcloud.storage.types import Provider

from providers.azure_blobs.credentials import resolve
from providers.azure_blobs.driver import AzureDriver
from providers.azure_blobs.service import Service as AzureService
from providers.base import CloudSettings
from providers.libcloud import driver_class
from providers.local import LocalDriver
from providers.s3.credentials import environment_endpoint
from providers.s3.driver import S3Driver
from providers.s3.service import Service
from providers.s3.sigv4 import Credentials

from ..config import Settings

_SIGNED_EITHER_WAY = {
    Provider.DIGITALOCEAN_SPACES,
    Provider.S3_RGW,
    Provider.S3_RGW_OUTSCALE,
}
"""Providers whose drivers take a ``signature_version``, and sign the outdated way without it."""


class Account(NamedTuple):
    """The arguments of ``BaseUpload``, and the environment's part in them.  The representation
    shows no secret."""

    provider: str
    key: str
    secret: str
    factory: Any
    """libcloud's driver class of the provider."""

    def __repr__(self) -> str:
        return f"Account({self.provider!r}, {self.key!r}, ...)"

    @property
    def is_aws(self) -> bool:
        return bool(self.factory.__module__ == "libcloud.storage.drivers.s3")

    def cloud_settings(self, bucket: str) -> CloudSettings:
        """S3's endpoint, region and CA bundle come from the environment, Azure's endpoint from
        UPLOADER_ENDPOINT_URL; ``local`` keeps its buckets in the directory ``key``."""
        if self.provider == Provider.AZURE_BLOBS:
            endpoint = _variable("UPLOADER_ENDPOINT_URL")
            return CloudSettings(self.provider, bucket, endpoint_url=endpoint)
        if not self.is_aws:
            directory = self.key if self.provider == Provider.LOCAL else None
            return CloudSettings(self.provider, bucket, endpoint_url=directory)
        region = self.factory.region_name
        if self.provider == Provider.S3:
            region = _variable("AWS_REGION", "AWS_DEFAULT_REGION") or region
        return CloudSettings(
            "s3",
            bucket,
            endpoint_url=environment_endpoint(),
            region=region,
            ca_bundle=_variable("AWS_CA_BUNDLE"),
        )

    def drivers(self, bucket: str) -> Callable[[], StorageDriver]:
        """Makes drivers, each for one greenlet, that never hang; those of S3 and Azure share what
        the service's answers teach."""
        if self.is_aws:
            return partial(S3Driver, self._service(bucket))
        if self.provider == Provider.AZURE_BLOBS:
            return partial(AzureDriver, self._azure_service(bucket))
        return self._driver

    def _service(self, bucket: str) -> Service:
        settings = self.cloud_settings(bucket)
        assert settings.region
        credentials = Credentials(self.key, self.secret)
        return Service(
            settings.endpoint_url,
            settings.region,
            lambda: credentials,
            ca_bundle=settings.ca_bundle,
            timeout=settings.timeout,
        )

    def _azure_service(self, bucket: str) -> AzureService:
        settings = self.cloud_settings(bucket)
        account = resolve(settings.endpoint_url, self.environment())
        return AzureService(account, timeout=settings.timeout)

    def _driver(self) -> StorageDriver:
        if self.provider == Provider.LOCAL:
            return LocalDriver(self.key)
        factory: Any = driver_class(self.provider, Settings.timeout, None)
        if self.provider in _SIGNED_EITHER_WAY:
            return factory(self.key, self.secret, signature_version="4")
        return factory(self.key, self.secret)

    def environment(self) -> dict[str, str]:
        """The keys as workers find them."""
        if not self.is_aws:
            return {"UPLOADER_KEY": self.key, "UPLOADER_SECRET": self.secret or ""}
        return {
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_SESSION_TOKEN": "",
            "AWS_SECURITY_TOKEN": "",
            # No file can be there: no profile's keys or endpoint replace the caller's.
            "AWS_CONFIG_FILE": os.path.join(os.devnull, "none"),
            "AWS_SHARED_CREDENTIALS_FILE": os.path.join(os.devnull, "none"),
            "AWS_PROFILE": "",
            "AWS_DEFAULT_PROFILE": "",
        }


def _variable(*names: str) -> str | None:
    """The first of the environment variables that is set."""
    return next(filter(None, map(os.environ.get, names)), None)
