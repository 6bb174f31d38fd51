"""Programs written for the old module, run as they are.

Each is a process of its own, because importing ``uploader`` patches the process.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

TIMEOUT = 60.0
OPENING = """\
import sys
from uploader import *
bucket, = sys.argv[1:]
ACCOUNT = (Provider.S3, 'testaccesskey', 'testsecretkey', bucket)
"""
"""What most programs here begin with."""
THROUGH_PROCESSES = """\
import _uploader.dropin.engines
_uploader.dropin.engines.HERE_FILES = 50
"""
"""Makes a list of 60 files a long one."""

Program = Callable[..., subprocess.CompletedProcess[str]]


def make_files(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        (folder / f"{number:03}.txt").write_bytes(b"x" * number)
