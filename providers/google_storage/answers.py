"""What Google's refusals mean, by its XML and its JSON API.  Pure.

https://cloud.google.com/storage/docs/xml-api/reference-status
https://cloud.google.com/storage/docs/json_api/v1/status-codes
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..errors import Denied, Failure, Fatal, NoBucket, NotFound, Rejected, Throttled, Transient
from ..http.retry_after import retry_after
from ..http.xml import fields, parsed

IS_TAKEN = "conflict"
"""How the text of a refusal begins when a bucket of this name is there."""


def failure(status: int, body: bytes, headers: Mapping[str, str]) -> Failure:
    """The failure that an answer stands for which is no success."""
    code, message = _by_json(body) if body.startswith(b"{") else _by_xml(body)
    reason = ": ".join(filter(None, (code, message))) or f"the service answered {status}"
    if status == 401:
        return Fatal(f"the service refuses the credentials: {reason}")
    if code == "NoSuchBucket":
        return NoBucket(reason)
    if status in (429, 503):
        return Throttled(reason, after=retry_after(headers))
    if status >= 500 or status == 408:
        return Transient(reason, after=retry_after(headers))
    kind = {403: Denied, 404: NotFound}.get(status, Rejected)
    return kind(reason)


def _by_json(body: bytes) -> tuple[str, str]:
    """https://cloud.google.com/storage/docs/json_api/v1/status-codes#errorformat"""
    try:
        error: Any = json.loads(body)["error"]
        return str(error["errors"][0]["reason"]), " ".join(str(error["message"]).split())
    except (ValueError, KeyError, TypeError, IndexError):
        return "", ""


def _by_xml(body: bytes) -> tuple[str, str]:
    """Who lacks which right is in the details."""
    page = parsed(body)
    found = {} if page is None else fields(page)
    texts = (found.get("Message", ""), found.get("Details", ""))
    return found.get("Code", ""), " ".join(" ".join(texts).split())
