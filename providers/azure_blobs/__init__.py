"""Azure Blob Storage: block blobs, by Shared Key or SAS.

Proof of content: a blob that goes whole carries its Content-MD5, each block its CRC-64, which the
service checks before it stores them.  A service that does not echo the CRC gets a Content-MD5.
https://learn.microsoft.com/en-us/rest/api/storageservices/put-blob
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """``CLOUD``, when it is asked for: what imports this package does not always need it."""
    if name != "CLOUD":
        raise AttributeError(name)
    from .cloud import AzureCloud

    return AzureCloud
