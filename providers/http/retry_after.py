"""How long an answer asks to wait."""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that the Retry-After among an answer's headers (lower-case names) asks to wait;
    None without one.  Its date, if it has one, is measured from the answer's own Date where there
    is one.

    https://www.rfc-editor.org/rfc/rfc9110#field.retry-after
    """
    after = headers.get("retry-after", "")
    if after.isdecimal():
        return float(after)
    end = _epoch(after)
    if end is None:
        return None
    now = _epoch(headers.get("date", ""))
    return max(0.0, end - (time.time() if now is None else now))


def _epoch(http_date: str) -> float | None:
    try:
        return parsedate_to_datetime(http_date).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
