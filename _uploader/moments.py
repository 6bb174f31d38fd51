"""Moments as users write them: an age, a date or a time.  Pure."""

from __future__ import annotations

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_NANOSECONDS = 1_000_000_000
_MOST_AGE = 100_000 * 86400
"""Seconds: older than any file."""


def moment(text: str) -> str:
    """An age (``7d``), a date or a time (ISO 8601); returned as given, checked."""
    moment_ns(text, 0)
    return text


def fixed(text: str, now_ns: int) -> str:
    """The same moment in a text that means it at any time."""
    if _age(text.strip()) is None:
        return text
    from datetime import datetime, timezone

    return datetime.fromtimestamp(moment_ns(text, now_ns) / _NANOSECONDS, timezone.utc).isoformat()


def moment_ns(text: str, now_ns: int) -> int:
    """The moment in nanoseconds since the epoch.  A date is its first moment; what names no zone is
    local time.

    Raises ``ValueError`` for a text that ``moment`` refuses.
    """
    age = _age(text.strip())
    if age is not None:
        return now_ns - int(age * _NANOSECONDS)
    from datetime import datetime  # few runs need it

    try:
        # Python 3.10 does not know the Z.
        seconds = datetime.fromisoformat(text.strip().replace("Z", "+00:00")).timestamp()
    except (ValueError, OverflowError, OSError):
        raise ValueError(
            f"{text!r} is no moment: give an age like 7d, 12h or 30m, or a date or time like "
            "2026-01-31 or 2026-01-31T18:00"
        ) from None
    return round(seconds * 1_000_000) * 1000


def _age(text: str) -> float | None:
    """The seconds that ``7d`` stands for; None when it is no age."""
    unit = _SECONDS.get(text[-1:].lower(), 0)
    try:
        seconds = float(text[:-1]) * unit
    except ValueError:
        return None
    return seconds if unit and 0 <= seconds <= _MOST_AGE else None
