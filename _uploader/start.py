"""The command's first moments: imports the rest.

A signal that comes meanwhile ends the command without a traceback.
"""

import os
import signal
from types import FrameType


def main() -> int:
    """Runs the command and returns its exit code."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _exit)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # until the run looks at it, and after
    from . import cli

    return cli.main()


def _exit(number: int, _: FrameType | None) -> None:
    os._exit(128 + number)  # errors.EXIT_SIGNAL may not be imported yet
