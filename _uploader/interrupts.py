"""Counts the signals to a run."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any


class Interrupts:
    """Counts signals while it is entered; the run looks at the counts.

    Most ask it to stop; SIGUSR2 turns the limit of its rate off and on, as with rclone's --bwlimit.
    SIGHUP counts like SIGTERM: the terminal is gone, but bucket and report should still agree.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self.count = 0
        """Signals that ask to stop."""
        self.first: int | None = None
        """The signal that came first."""
        self.toggles = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        for number in self.SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._note)
        self._before[signal.SIGUSR2] = signal.signal(signal.SIGUSR2, self._toggle)
        return self

    def __exit__(self, *_: object) -> None:
        """After a run that was stopped the signals are ignored: one more Ctrl-C on the way out must
        not change how the process ends.  (Python itself removes its handlers before it exits.)
        """
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_IGN if self.count else handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.count += 1
        self.first = self.first or number

    def _toggle(self, _: int, __: FrameType | None) -> None:
        self.toggles += 1
