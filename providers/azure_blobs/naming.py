"""What containers and blobs may be called.  Pure.

https://learn.microsoft.com/en-us/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata
"""

from __future__ import annotations

import re

from ..errors import Fatal, Rejected
from .sharedkey import quote_path

LONGEST_NAME = 1024
"""Characters of a blob's name."""
WEBSITE = "$web"
"""Served to everybody where the account's static website is on, whatever its access level says.
https://learn.microsoft.com/en-us/azure/storage/blobs/storage-blob-static-website
"""
_LOGS = "$logs"
"""Only the service writes there.
https://learn.microsoft.com/en-us/azure/storage/common/storage-analytics-logging
"""
_CONTAINER = re.compile(r"(?=.{3,63}$)[a-z0-9]+(-[a-z0-9]+)*|\$root|\$web")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_ALTERED = re.compile(r"\\|(?:^|/)[^/]*\.(?:/|$)")


def checked(container: str, *, allow_public: bool = False) -> str:
    """Returns a container's name; raises ``Fatal`` when no container can have it, nobody can upload
    to it, or it is the website's and may not be public."""
    if container == _LOGS:
        raise Fatal(f"nobody can upload to {_LOGS}: the service keeps its own logs there")
    if container == WEBSITE and not allow_public:
        raise Fatal(
            f"container {WEBSITE} is what the account's static website shows to everybody: take "
            "another, or give --allow-public if it is meant to be"
        )
    if "/" in container:
        raise Fatal(
            f"{container!r} is no container's name: what follows the slash belongs in --prefix"
        )
    if not _CONTAINER.fullmatch(container):
        raise Fatal(
            f"{container!r} is no container's name: 3 to 63 lower-case letters, digits and single "
            "hyphens make one"
        )
    return container


def blob_path(key: str) -> str:
    """The percent-encoded path of a blob; raises ``Rejected`` when the service would store it under
    another name, or cannot have it."""
    if len(key) > LONGEST_NAME:
        raise Rejected(f"its key has {len(key):,} characters: {LONGEST_NAME:,} are the most")
    if _CONTROL.search(key):
        raise Rejected("its key has a control character, which no name on Azure may have")
    if _ALTERED.search(key):
        raise Rejected(
            "Azure would store it under another name: it makes a slash of a backslash, and drops "
            "dots at the end of a step"
        )
    try:
        return quote_path(key)
    except UnicodeEncodeError:
        raise Rejected("the key is not valid UTF-8") from None
