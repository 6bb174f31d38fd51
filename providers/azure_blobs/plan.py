"""What an upload asks of Azure.

The module imports nothing that takes time: the command line reads it.
"""

from __future__ import annotations

from ..base import MIB, CloudSettings, PartRules, Prices, Requests

PARTS = PartRules(threshold=16 * MIB, part_size=8 * MIB, max_part_size=4000 * MIB, max_parts=50_000)
"""Azure's limits:
https://learn.microsoft.com/en-us/rest/api/storageservices/understanding-block-blobs--append-blobs--and-page-blobs
"""
REQUESTS = Requests("Put Blob", PARTS, ("Put Block List",), "Put Block", copy="Set Blob Metadata")


def prices(settings: CloudSettings) -> Prices | None:
    """None are known: they depend on redundancy and tier."""
    return None
