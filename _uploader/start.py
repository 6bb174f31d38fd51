"""The command's first moments: starts the fork server, and imports the rest beside its imports.

A signal that comes meanwhile ends the command without a traceback.
"""

import gc
import os
import signal
import sys
from types import FrameType

_RUNS_NO_WORKER = {"-h", "--help", "--version", "--dry-run"}

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
    _open_missing_streams()
    import contextlib

    from .processes.fork_server import ForkServer

    try:
        with contextlib.closing(ForkServer()) as fork_server:
            if _RUNS_NO_WORKER.isdisjoint(sys.argv):
                with contextlib.suppress(Exception):  # it is tried again when a worker is needed
                    fork_server.start()
            from . import cli

            return cli.main(fork_server=fork_server)
    finally:
        gc.freeze()  # at its end the interpreter would search all objects again, for 8 ms


def _open_missing_streams() -> None:
    """Standard streams that the caller has closed lead nowhere, in place of a file or socket of
    ours: each ``open`` takes the lowest descriptor, which is that of the stream."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115  (stays open)


def _exit(number: int, _: FrameType | None) -> None:
    os._exit(128 + number)  # errors.EXIT_SIGNAL may not be imported yet
