"""One row of an option table: flag, environment variable, validation and help.

``_uploader.config`` has the rows of every run.  A cloud declares options of its own in
``providers/<cloud>/options.py``, as a frozen dataclass under the name ``OPTIONS``, and gets an
instance of it in ``CloudSettings.options``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import field
from typing import Any

MOST_SECONDS = 1_000_000
"""Twelve days: poll(2) can wait for 24 at most."""

SEPARATOR = ","
"""Between the values of a repeated option in its environment variable."""

Parser = Callable[[str], Any]
"""Turns an option's text into its value; raises ``ValueError`` that says in one line what is wrong.
"""
_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"", "0", "false", "no", "off"}


def at_least(minimum: int) -> Parser:
    """A parser of whole numbers from ``minimum`` on."""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise ValueError(f"{text!r} is not a whole number") from None
        if number < minimum:
            raise ValueError(f"{number} is too small: {minimum} is the least")
        return number

    return parse


def between(least: int, most: int) -> Parser:
    """A parser of whole numbers from ``least`` to ``most``."""

    def parse(text: str) -> int:
        number: int = at_least(least)(text)
        if number > most:
            raise ValueError(f"{number} is too large: {most} is the most")
        return number

    return parse


def seconds(text: str) -> float:
    """A positive number of seconds."""
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number of seconds") from None
    if not 0 < number <= MOST_SECONDS:
        raise ValueError(f"{text} seconds make no sense: give more than 0, {MOST_SECONDS} at most")
    return number


def one_of(*names: str) -> Parser:
    """A parser that takes these names only."""

    def parse(text: str) -> str:
        if text not in names:
            raise ValueError(f"{text!r} is none of {', '.join(names)}")
        return text

    return parse


def plain(text: str) -> str:
    """A text that every HTTP header carries as it is: printable ASCII, single spaces inside."""
    if not text or not (text.isascii() and text.isprintable()):
        raise ValueError(f"{text!r} cannot be sent: give printable ASCII characters")
    if "  " in text or text != text.strip():
        raise ValueError(f"{text!r} cannot be sent: give single spaces, and none at the ends")
    return text


def pair(text: str) -> tuple[str, str]:
    """A name and a value, with the first equals sign between them."""
    name, sign, value = text.partition("=")
    if not name or not sign:
        raise ValueError(f"{text!r} is not NAME=VALUE")
    return name, value


def readable(text: str) -> str:
    """The path of a file or directory that can be read."""
    if not os.access(text, os.R_OK):
        raise ValueError(f"{text!r} is not there, or may not be read")
    return text


def switch(text: str) -> bool:
    """An environment variable as a flag."""
    if text.strip().lower() in _TRUE:
        return True
    if text.strip().lower() in _FALSE:
        return False
    raise ValueError(f"{text!r} is neither true nor false")


def option(
    default: Any,
    help: str,
    *,
    flag: str,
    env: tuple[str, ...] = (),
    parse: Parser = str,
    metavar: str = "",
    shown: str = "",
    opposite: str = "",
    repeated: bool = False,
    undivided: bool = False,
    placed: bool = False,
    short: str = "",
    describes: bool = False,
) -> Any:
    """One row of the table: a dataclass field with its flag, environment, parser and help.

    ``shown`` is how the default reads in the help when it is worked out at run time.  ``opposite``
    is the flag that turns a switch off again, by default ``--no-`` and its name.  A ``repeated``
    one is given any number of times, in a variable with ``SEPARATOR`` between; ``parse`` makes each
    value, and the option's own is a tuple of them.  The variable of an ``undivided`` one holds one
    value, whatever is in it.  Of a ``placed`` one each value comes after its place among all that
    are placed, as the command line has them.  ``short`` is a second flag, of one letter.  One that
    ``describes`` says what objects carry: with another value, what an earlier run stored has to be
    stored again.
    """
    if default is False:
        opposite = opposite or f"--no-{flag[2:]}"
    row = {
        "flag": flag,
        "env": env,
        "parse": parse,
        "metavar": metavar,
        "help": help,
        "shown": shown or str(default),
        "opposite": opposite,
        "repeated": repeated,
        "undivided": undivided,
        "placed": placed,
        "short": short,
        "describes": describes,
    }
    return field(default=default, metadata=row)
