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
_DIRECTORY_BUCKET = "--x-s3"
"""https://docs.aws.amazon.com/AmazonS3/latest/userguide/directory-bucket-naming-rules.html"""
_INTERFACE_ENDPOINT = "vpce-"
"""Those begin with ``bucket.vpce-``, whatever the bucket is called.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/privatelink-interface-endpoints.html
"""


def checked(bucket: str) -> str:
    """Returns a bucket's name; raises ``Fatal`` when no bucket can have it."""
    if bucket.startswith("arn:"):
        raise Fatal(f"{bucket!r} is no bucket's name: an access point goes by its alias")
    if "/" in bucket:
        raise Fatal(f"{bucket!r} is no bucket's name: what follows the slash belongs in --prefix")
    if bucket in ("", ".", "..") or " " in bucket or not bucket.isprintable():
        raise Fatal(f"{bucket!r} is no bucket's name")
    if bucket.endswith(_DIRECTORY_BUCKET):
        raise Fatal(f"{bucket!r} is a directory bucket (S3 Express One Zone): those are not served")
    return bucket


def locate(endpoint: Endpoint, bucket: str, addressing: str, is_aws: bool) -> tuple[Endpoint, str]:
    """The endpoint to connect to for a bucket, and the path before its keys.

    ``addressing`` is ``path``, ``virtual`` or ``auto``: AWS wants the bucket in the host name where
    DNS and the certificate (one step below the endpoint) allow it; every other service understands
    the path style.  Raises ``Fatal`` when no such bucket or host can exist, and when the endpoint
    is the bucket's own address, as consoles show it: every key would begin with the bucket's name.
    """
    checked(bucket)
    if addressing != "path" and (whole := _without(bucket, endpoint)):
        raise Fatal(
            f"--endpoint-url: leave the bucket out: {whole} (if {endpoint.host} is the whole "
            "service's, add --addressing path)"
        )
    if addressing == "virtual" or (addressing == "auto" and is_aws and _LABEL.fullmatch(bucket)):
        host = f"{bucket}.{endpoint.host}"
        if not _HOST.fullmatch(bucket) or len(host) > _LONGEST_HOST:
            raise Fatal(f"{bucket!r} cannot be part of a host name: use --addressing path")
        if _ADDRESS.fullmatch(endpoint.host):
            raise Fatal(f"{endpoint.host} has no virtual hosts: use --addressing path")
        return endpoint._replace(host=host), f"{endpoint.path}/"
    return endpoint, f"{endpoint.path}/{quote_path(bucket)}/"


def _without(bucket: str, endpoint: Endpoint) -> str:
    """The URL of the whole service, where the endpoint's host begins with the bucket; else empty.

    A bucket that is called like the first step of its service's name looks the same.
    """
    host = endpoint.host
    rest = host.removeprefix(f"{bucket}.")
    if rest in (host, "") or rest.startswith(_INTERFACE_ENDPOINT) or _ADDRESS.fullmatch(host):
        return ""
    return endpoint._replace(host=rest).url
