"""Amounts of bytes and CPU as users write them.  Pure."""

from __future__ import annotations

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def counted(count: int, noun: str) -> str:
    """``1 file``, ``2,000 files``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def amount(text: str) -> float:
    """The bytes that ``512M`` stands for: a number above 0 with its unit, a power of 1024.

    Raises ``ValueError``, whose text is not for the user.
    """
    number, unit = _number_and_unit(text)
    value = number * _UNITS.get(unit, 0)
    if not 0 < value < float("inf"):
        raise ValueError(text)
    return value


def size(text: str) -> int:
    """The bytes that ``10M`` stands for; 0 is a size, too."""
    number, unit = _number_and_unit(text)
    if unit in _UNITS and 0 <= number * _UNITS[unit] < float("inf"):
        return int(number * _UNITS[unit])
    raise ValueError(f"{text!r} is no size: give bytes such as 4096, 10M or 1.5G")


def memory(text: str) -> str:
    """A share of memory (``25%``) or an amount (``512M``); returned as given, checked."""
    memory_limit(text, 1)
    return text


def memory_limit(text: str, total: int) -> int:
    """What ``--max-memory`` stands for in bytes on a machine (or cgroup) that has ``total``.

    Raises ``ValueError`` for a text that ``memory`` refuses.
    """
    share, unit = _number_and_unit(text)
    try:
        if unit != "%":
            return int(amount(text))
        if 0 < share <= 100:
            return int(total * share / 100)
    except ValueError:
        pass
    raise ValueError(f"{text!r} is no amount of memory: give a share like 25% or a size like 512M")


def objects(text: str) -> str:
    """A number of objects (``1000``) or a share of all (``10%``); returned as given, checked."""
    objects_limit(text, 1)
    return text


def objects_limit(text: str, total: int) -> int:
    """How many of so many objects ``--max-delete`` stands for.

    Raises ``ValueError`` for a text that ``objects`` refuses.
    """
    value, unit = _number_and_unit(text)
    if unit == "%" and 0 <= value <= 100:
        return int(total * value / 100)
    if not unit and 0 <= value < float("inf") and value == int(value):
        return int(value)
    raise ValueError(f"{text!r} is no number of objects: give one like 1000 or a share like 10%")


def cpu(text: str) -> str:
    """A share of the usable CPUs (``50%``) or a number of them (``1.5``); returned as given,
    checked."""
    cpu_limit(text, 1)
    return text


def cpu_limit(text: str, usable: float) -> float:
    """What ``--max-cpu`` stands for in CPUs where so many can be used.

    Raises ``ValueError`` for a text that ``cpu`` refuses.
    """
    value, unit = _number_and_unit(text)
    if unit == "%" and 0 < value <= 100:
        return usable * value / 100
    if not unit and 0 < value < float("inf"):
        return value
    raise ValueError(f"{text!r} is no amount of CPU: give a share like 50% or CPUs like 1.5")


def _number_and_unit(text: str) -> tuple[float, str]:
    """The number, -1 where there is none, and the letter or sign after it."""
    number, unit = text.strip(), ""
    if number and not number[-1].isdigit():
        number, unit = number[:-1], number[-1].upper()
    try:
        return float(number), unit
    except ValueError:
        return -1.0, unit
