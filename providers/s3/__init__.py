"""Amazon S3 and the servers that speak its protocol.

Proof of content: each object and part carries its CRC-64/NVME.  A service that knows the header
checks it and echoes it.  Otherwise MD5 proves the content: the ETag equals it or, where encryption
makes the ETag something else, the request carries a Content-MD5 that the service checks.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """``CLOUD``, when it is asked for: whoever reads the options only should not load libcloud."""
    if name != "CLOUD":
        raise AttributeError(name)
    from .cloud import S3Cloud

    return S3Cloud
