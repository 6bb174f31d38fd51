"""Amounts of bytes as users write them.  Pure."""

from __future__ import annotations

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def amount(text: str) -> float:
    """The bytes that ``512M`` stands for: a number above 0 with its unit, a power of 1024.

    Raises ``ValueError``, whose text is not for the user.
    """
    number, unit = text.strip(), ""
    if number and not number[-1].isdigit():
        number, unit = number[:-1], number[-1].upper()
    value = float(number) * _UNITS.get(unit, 0)
    if not 0 < value < float("inf"):
        raise ValueError(text)
    return value
