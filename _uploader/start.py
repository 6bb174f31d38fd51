"""The command's first moments: imports the rest.

A signal that comes meanwhile ends the command without a traceback.
"""

import gc
import os
import signal
from types import FrameType

GC_THRESHOLD = 50_000
"""Objects to make between two searches for garbage in cycles.  Imports and jobs leave none: with
Python's 700 the supervisor searches for 4 ms at the start, and for as long on 20,000 files."""


def main() -> int:
    """Runs the command and returns its exit code."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _exit)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # until the run looks at it, and after
    gc.set_threshold(GC_THRESHOLD)
    from . import cli

    try:
        return cli.main()
    finally:
        gc.freeze()  # at its end the interpreter would search all objects again, for 8 ms


def _exit(number: int, _: FrameType | None) -> None:
    os._exit(128 + number)  # errors.EXIT_SIGNAL may not be imported yet
