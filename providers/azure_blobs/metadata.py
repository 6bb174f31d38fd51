"""What user metadata may be called on Azure.  Pure.

https://learn.microsoft.com/en-us/rest/api/storageservices/setting-and-retrieving-properties-and-metadata-for-blob-resources
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_IDENTIFIER = re.compile("[A-Za-z_][A-Za-z0-9_]*")
"""A C# identifier in ASCII, the alphabet of header names."""


def check_names(names: Iterable[str]) -> None:
    """Raises ``ValueError`` in one line when no blob can have metadata of one of these names."""
    for name in names:
        if not _IDENTIFIER.fullmatch(name):
            raise ValueError(
                f"{name!r} is no name for metadata on Azure: letters, digits and underscores "
                "make one, and no digit begins it"
            )
