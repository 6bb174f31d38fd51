"""Keeps the limit of the rate: by option, file and SIGUSR2."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from .display.text import bytes_text
from .errors import RunError, UsageError
from .interrupts import Interrupts
from .limit_rate import FILE, current, rate_of
from .processes.fork_server import ForkServer

if TYPE_CHECKING:
    from .processes.shared_rate import SharedRate

LOOKS = 1.0
"""Seconds between two looks at the file."""


class RateChoice:
    """Decides what the rate is: by the option, what it stands for later, and a toggle.  Pure."""

    def __init__(self, text: str) -> None:
        """``text``: what the option stands for at first; raises ``ValueError`` like ``rate_of``."""
        self._text = text
        self._limit = rate_of(text)
        """The latest that was a limit; 0: none was."""
        self.rate = self._limit
        """Bytes a second; 0: no limit."""
        self._wrong = ""
        self._told = ""

    def toggle(self) -> None:
        """Turns the limit off, or on again."""
        self.rate = 0.0 if self.rate else self._limit

    def change(self, look: Callable[[], str]) -> str:
        """Takes what the option stands for now; returns what is wrong with it, once.

        A wrong value has to be seen twice in a row: ``echo 10M > FILE`` empties the file first.
        """
        try:
            text = look()
            rate = rate_of(text)
        except ValueError as error:
            before, self._wrong = self._wrong, str(error)
            if self._wrong != before or self._wrong == self._told:
                return ""
            self._told = self._wrong
            return self._wrong
        self._wrong = self._told = ""
        if text != self._text:
            self._text, self.rate = text, rate
            self._limit = rate or self._limit
        return ""


class RateControl:
    """Tells the workers the rate, and the user each change of it."""

    def __init__(
        self, option: str | None, interrupts: Interrupts, note: Callable[[str], None]
    ) -> None:
        """``option``: that of ``--limit-rate``, if it was given.  ``interrupts`` counts toggles.

        Raises ``UsageError`` when the option has become wrong since it was checked.
        """
        self._option = option or ""
        try:
            self._choice = RateChoice(current(option)) if option else None
        except ValueError as error:
            raise UsageError(f"--limit-rate: {error}") from None
        self._interrupts = interrupts
        self._toggles = 0
        self._note = note
        self._next_look = 0.0
        self._shared: SharedRate | None = None

    @property
    def rate(self) -> float:
        """Bytes a second; 0: no limit."""
        return self._choice.rate if self._choice else 0.0

    def begin(self, fork_server: ForkServer, processes: int) -> None:
        """Shares the rate with the workers, so many, that are forked from now on.  Raises
        ``RunError`` when that is impossible."""
        if not self._choice:
            return
        from .processes.shared_rate import SharedRate  # few runs need it, and it takes 2 ms

        try:
            self._shared = SharedRate.create(self._choice.rate, processes)
        except OSError as error:
            raise RunError(f"--limit-rate: no memory can be shared: {error.strerror}") from None
        fork_server.share(self._shared.descriptor)

    def look(self, now: float, busy: int) -> None:
        """Follows the signals and the file, and tells the workers how many are ``busy``, for the
        others leave them their share; call it again and again, once the run has begun."""
        choice, shared = self._choice, self._shared
        toggles = self._interrupts.toggles - self._toggles
        self._toggles += toggles
        if choice is None or shared is None:
            if toggles:
                self._note("SIGUSR2 turns --limit-rate off and on: this run has none")
            return
        shared.set_processes(max(1, busy))
        before = choice.rate
        if toggles % 2:
            choice.toggle()
        if self._option.startswith(FILE) and now >= self._next_look:
            self._next_look = now + LOOKS
            if problem := choice.change(partial(current, self._option)):
                self._note(f"the limit of the rate stays as it is: {problem}")
        if choice.rate != before:
            shared.set_rate(choice.rate)
            self._note(f"limit of the rate: {_text(choice.rate)}")

    def close(self) -> None:
        """Gives up the page; the workers are gone or keep theirs."""
        if self._shared:
            self._shared.close()
            self._shared = None


def _text(rate: float) -> str:
    return f"{bytes_text(rate)}/s" if rate else "off"
