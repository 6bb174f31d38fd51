"""Azure as a cloud: its settings, its limits, its sessions."""

from __future__ import annotations

from ..base import MIB, Cloud, CloudSettings, PartRules, Prepared
from .credentials import resolve
from .driver import AzureDriver
from .naming import checked
from .service import Service
from .session import AzureSession


class AzureCloud(Cloud):
    """Azure's limits:
    https://learn.microsoft.com/en-us/rest/api/storageservices/understanding-block-blobs--append-blobs--and-page-blobs
    """

    parts = PartRules(
        threshold=16 * MIB, part_size=8 * MIB, max_part_size=4000 * MIB, max_parts=50_000
    )

    def __init__(self, settings: CloudSettings) -> None:
        super().__init__(settings)
        checked(settings.bucket)
        self._service = Service(
            resolve(settings.endpoint_url),
            ca_bundle=settings.ca_bundle,
            timeout=settings.timeout,
            traffic=self.traffic,
            notices=self.notices,
        )

    def open(self) -> AzureSession:
        """A driver of its own for each session; the service's state is shared."""
        return AzureSession(AzureDriver(self._service), self.settings.bucket)

    def destination(self) -> str:
        """The endpoint, whose host or path names the account, and the container."""
        endpoint = self._service.endpoint
        scheme = "https" if endpoint.secure else "http"
        address = f"{scheme}://{endpoint.address}{endpoint.path}"
        return f"azure_blobs {address} {self.settings.bucket}"

    def prepare(self, create: bool) -> Prepared:
        """See ``AzureSession.prepare_container``."""
        session = self.open()
        try:
            return session.prepare_container(create, self.settings.allow_public)
        finally:
            session.close()
