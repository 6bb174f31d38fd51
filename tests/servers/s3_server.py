"""What every S3 server of the tests offers: an endpoint, one user, a boto3 client."""

from __future__ import annotations

from functools import cache
from typing import Any

from bench.process import Server


@cache
def _session() -> Any:
    """It reads what boto3 knows of S3 once, and takes nothing from the environment later."""
    from boto3.session import Session  # type: ignore[import-untyped]

    return Session()


class S3Server(Server):
    """A server that speaks S3 to one user."""

    endpoint = ""
    access_key = "testaccesskey"
    secret_key = "testsecretkey"

    def boto3(self, *, secret_key: str | None = None) -> Any:
        """Return a new boto3 client for this server, with another secret if one is given."""
        from botocore.config import Config

        return _session().client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=self.access_key,
            aws_secret_access_key=secret_key or self.secret_key,
            config=Config(
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                connect_timeout=2,
                read_timeout=30,
                retries={"total_max_attempts": 3},
                proxies={},
            ),
        )
