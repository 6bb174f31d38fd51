"""How a run can fail; ``providers.errors`` says how a file can.

Each class owns an exit code; ``str()`` is the one line that the user sees.
"""

from __future__ import annotations

from typing import ClassVar

EXIT_OK = 0
"""Every file of the scan is in the bucket."""
EXIT_INCOMPLETE = 1
"""The run came to its end; some files are not in the bucket."""
EXIT_USAGE = 2
"""Wrong usage: nothing was tried."""
EXIT_STOPPED = 3
"""The run could not start, or could not go on."""
EXIT_SIGNAL = 128
"""Added to the number of the signal that ended the run: 130 for Ctrl-C, 143 for SIGTERM."""


class RunError(Exception):
    """The run cannot start or cannot go on."""

    exit_code: ClassVar[int] = EXIT_STOPPED


class UsageError(RunError):
    """The command line or a setting makes no sense."""

    exit_code = EXIT_USAGE
