"""Whether host name or path holds an S3 bucket.  Pure.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html
"""

from __future__ import annotations

import re

from ..errors import Fatal
from ..http.endpoint import Endpoint
from .sigv4 import quote_path

_LABEL = re.compile("[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
"""A bucket's name that fits into one step of a host name, as the certificates of S3 cover it.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
"""
_HOST = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
_LONGEST_HOST = 253
_ADDRESS = re.compile(r"[\d.]+|.*:.*")


def checked(bucket: str) -> str:
    """Returns a bucket's name; raises ``Fatal`` when no bucket can have it."""
    if bucket.startswith("arn:"):
        raise Fatal(f"{bucket!r} is no bucket's name: an access point goes by its alias")
    if "/" in bucket:
        raise Fatal(f"{bucket!r} is no bucket's name: what follows the slash belongs in --prefix")
    if bucket in ("", ".", "..") or " " in bucket or not bucket.isprintable():
        raise Fatal(f"{bucket!r} is no bucket's name")
    return bucket


def locate(endpoint: Endpoint, bucket: str, addressing: str, is_aws: bool) -> tuple[Endpoint, str]:
    """The endpoint to connect to for a bucket, and the path before its keys.

    ``addressing`` is ``path``, ``virtual`` or ``auto``: AWS wants the bucket in the host name where
    DNS and the certificate (one step below the endpoint) allow it; every other service understands
    the path style.  Raises ``Fatal`` when no such bucket or host can exist.
    """
    checked(bucket)
    if addressing == "virtual" or (addressing == "auto" and is_aws and _LABEL.fullmatch(bucket)):
        host = f"{bucket}.{endpoint.host}"
        if not _HOST.fullmatch(bucket) or len(host) > _LONGEST_HOST:
            raise Fatal(f"{bucket!r} cannot be part of a host name: use --addressing path")
        if _ADDRESS.fullmatch(endpoint.host):
            raise Fatal(f"{endpoint.host} has no virtual hosts: use --addressing path")
        return endpoint._replace(host=host), f"{endpoint.path}/"
    return endpoint, f"{endpoint.path}/{quote_path(bucket)}/"
