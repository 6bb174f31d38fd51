"""S3 as a cloud: its settings, its limits, its sessions."""

from __future__ import annotations

import hashlib

from ..base import MIB, Cloud, CloudSettings, PartRules, Prepared
from .addressing import checked
from .credentials import resolve
from .driver import S3Driver
from .options import S3Options
from .service import Service
from .session import S3Session


class S3Cloud(Cloud):
    """S3's limits: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html"""

    parts = PartRules(
        threshold=16 * MIB, part_size=8 * MIB, max_part_size=5 * 1024 * MIB, max_parts=10_000
    )

    def __init__(self, settings: CloudSettings) -> None:
        super().__init__(settings)
        checked(settings.bucket)
        options: S3Options = settings.options or S3Options()
        account = resolve(settings, options.profile)
        self._service = Service(
            account.endpoint_url,
            account.region,
            account.credentials,
            ca_bundle=account.ca_bundle,
            client_cert=settings.client_cert,
            verify_tls=settings.verify_tls,
            timeout=settings.timeout,
            checksum=options.checksum,
            unsigned_payload=options.unsigned_payload,
            refused=account.refused,
            addressing=options.addressing or account.addressing or "auto",
            variant=account.variant,
            traffic=self.traffic,
            notices=self.notices,
        )
        self._service.address(settings.bucket)
        self._destination = self._describe(account.owner)

    def open(self) -> S3Session:
        """A driver of its own for each session; the service's state is shared."""
        return S3Session(S3Driver(self._service), self.settings.bucket)

    def destination(self) -> str:
        """AWS, where a bucket's name says all; else the endpoint, the owner of the credentials by
        a hash, since each may have a bucket of this name, and the region that was asked for."""
        return self._destination

    def _describe(self, owner: str) -> str:
        bucket, service = self.settings.bucket, self._service
        if service.partition:
            return f"s3 {service.partition} {bucket}"
        endpoint = service.endpoint
        scheme = "https" if endpoint.secure else "http"
        address = f"{scheme}://{endpoint.address}{endpoint.path}"
        account = hashlib.sha256(owner.encode()).hexdigest()[:16]
        return f"s3 {address} {account} {service.region} {bucket}"

    def prepare(self, create: bool) -> Prepared:
        """See ``S3Session.prepare_bucket``."""
        session = self.open()
        try:
            return session.prepare_bucket(create)
        finally:
            session.close()
