"""S3 as a cloud: its settings, its limits, its sessions."""

from __future__ import annotations

import hashlib

from ..base import MIB, Cloud, CloudSettings, PartRules, Prepared
from .addressing import checked
from .credentials import resolve
from .driver import S3Driver
from .object_headers import ObjectHeaders
from .options import S3Options
from .service import Service
from .session import S3Session


class S3Cloud(Cloud):
    """S3's limits: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html"""

    connects_ahead = True
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
            ca_bundle=settings.ca_bundle,
            timeout=settings.timeout,
            checksum=options.checksum,
            unsigned_payload=options.unsigned_payload,
            refused=account.refused,
            addressing=options.addressing,
            variant=account.variant,
            object_headers=ObjectHeaders(options),
            traffic=self.traffic,
            notices=self.notices,
        )
        self._service.address(settings.bucket)

    def open(self) -> S3Session:
        """A driver of its own for each session; the service's state is shared."""
        return S3Session(S3Driver(self._service), self.settings.bucket)

    def destination(self) -> str:
        """The endpoint, the account by a hash of its access key, the region and the bucket.

        AWS's buckets are known by their names alone, and temporary keys change: no account there.
        """
        service = self._service
        endpoint = service.endpoint
        account = "aws"
        if not service.is_aws:
            account = hashlib.sha256(service.credentials().access_key.encode()).hexdigest()[:16]
        scheme = "https" if endpoint.secure else "http"
        address = f"{scheme}://{endpoint.address}{endpoint.path}"
        return f"s3 {address} {account} {service.region} {self.settings.bucket}"

    def prepare(self, create: bool) -> Prepared:
        """See ``S3Session.prepare_bucket``."""
        session = self.open()
        try:
            return session.prepare_bucket(create)
        finally:
            session.close()
