"""Azure as a cloud: its settings, its limits, its sessions."""

from __future__ import annotations

from ..base import Cloud, CloudSettings, Facts, Prepared
from .credentials import resolve
from .driver import AzureDriver
from .naming import checked
from .plan import PARTS
from .service import Service
from .session import AzureSession


class AzureCloud(Cloud):
    """One account of Azure's."""

    connects_ahead = True
    lists_from_anywhere = False
    parts = PARTS

    def __init__(self, settings: CloudSettings) -> None:
        super().__init__(settings)
        checked(settings.bucket, allow_public=settings.allow_public)
        self._service = Service(
            resolve(settings.endpoint_url),
            ca_bundle=settings.ca_bundle,
            client_cert=settings.client_cert,
            verify_tls=settings.verify_tls,
            timeout=settings.timeout,
            traffic=self.traffic,
            notices=self.notices,
        )

    @classmethod
    def facts(cls, provider: str) -> Facts:
        """Those of Azure Blob Storage."""
        return Facts(
            "`AZURE_STORAGE_ACCOUNT` with `AZURE_STORAGE_KEY` or `AZURE_STORAGE_SAS_TOKEN`; "
            "`AZURE_STORAGE_CONNECTION_STRING`",
            "MD5, CRC-64",
            "public access level",
            "Azurite 3.35, HTTP and TLS; CRC-64: a scripted Azure",
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
        """Asks, or creates, through a session of its own."""
        session = self.open()
        try:
            return session.prepare_container(create, self.settings.allow_public)
        finally:
            session.close()
