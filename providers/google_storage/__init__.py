"""Google Cloud Storage with a service account, by libcloud's driver.

An HMAC key (GOOG...) speaks S3: ``s3/names.py`` has that.  Objects go by Google's XML API, which
libcloud speaks; what buckets are and who may enter, its JSON API tells.
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """``CLOUD``, when it is asked for: what imports this package does not always need it."""
    if name != "CLOUD":
        raise AttributeError(name)
    from .cloud import GoogleCloud

    return GoogleCloud
