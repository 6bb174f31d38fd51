"""What ``--limit-rate`` says: a rate, ``off``, or the file of one."""

from __future__ import annotations

import os

from .amounts import amount

FILE = "@"
"""Comes before the path of a file."""
OFF = "off"
LEAST_RATE = 64 * 1024
"""Bytes a second: a part of 8 MiB takes two minutes then.  With less a lost connection costs more
than that, and a signed request may grow older than services accept (S3: 15 minutes)."""
MOST_READ = 64
"""Bytes of the file that are looked at."""


def limit_rate(text: str) -> str:
    """Checks the option's value and returns it as given."""
    rate_of(current(text))
    return text


def current(option: str) -> str:
    """What the option stands for now: itself, or the content of its file.  Raises ``ValueError``
    when that cannot be read."""
    if not option.startswith(FILE):
        return option.strip()
    path = option.removeprefix(FILE)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a FIFO would wait for a writer
        try:
            return os.read(descriptor, MOST_READ).decode(errors="replace").strip()
        finally:
            os.close(descriptor)
    except OSError as error:
        wanted = "the file holds a rate such as 10M, or off"
        raise ValueError(f"cannot read {path!r}: {error.strerror} ({wanted})") from None


def rate_of(text: str) -> float:
    """Bytes a second; 0 for ``off``: no limit."""
    if text.lower() == OFF:
        return 0.0
    try:
        rate = amount(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is no rate: give bytes a second such as 10M or 512K, or off"
        ) from None
    if rate < LEAST_RATE:
        raise ValueError(
            f"{text!r} is too low a rate for parts of 8 MiB: give {LEAST_RATE // 1024}K or more, "
            "such as 1M"
        )
    return rate
