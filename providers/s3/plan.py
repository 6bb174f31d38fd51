"""What an upload asks of S3, and what AWS takes for it.

The module imports nothing that takes time: the command line reads it.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..base import MIB, CloudSettings, PartRules, Prices, Requests
from .names import NAMES
from .options import S3Options

PARTS = PartRules(
    threshold=16 * MIB, part_size=8 * MIB, max_part_size=5 * 1024 * MIB, max_parts=10_000
)
"""S3's limits: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html"""
REQUESTS = Requests(
    "PutObject",
    PARTS,
    ("CreateMultipartUpload", "CompleteMultipartUpload"),
    "UploadPart",
    "CopyObject",
)
DATE = "2025-06"
"""When the prices below were AWS's."""
_PRICES: Mapping[str, tuple[float, float]] = {
    "STANDARD": (0.005, 0.023),
    "INTELLIGENT_TIERING": (0.005, 0.023),
    "STANDARD_IA": (0.01, 0.0125),
    "ONEZONE_IA": (0.01, 0.01),
    "GLACIER_IR": (0.02, 0.004),
}
"""Storage class -> dollars for 1,000 requests, and for 2**30 bytes a month (the first 50 TB).  The
other classes have prices of further kinds.  https://aws.amazon.com/s3/pricing/, us-east-1."""


def prices(settings: CloudSettings) -> Prices | None:
    """AWS's in us-east-1, whatever the region or endpoint; None for other services by name, and for
    storage classes that have no place in the table."""
    named = NAMES.get(settings.provider)
    options: S3Options = settings.options or S3Options()
    kind = options.storage_class or "STANDARD"
    if kind not in _PRICES or (named and not named.is_aws):
        return None
    return Prices(*_PRICES[kind], f"AWS, us-east-1, {kind}, {DATE}")
