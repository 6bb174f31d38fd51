"""Programs written for the old module, run as they are.

Each is a process of its own, because importing ``uploader`` patches the process.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.conftest import REPO

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


def program_in(base: Path, bucket: str) -> Program:
    """Runs code in the directory ``work`` below ``base``; every warning in it is an error."""
    (base / "work").mkdir()

    def run(code: str, *, quiet: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
        file = base / "program.py"
        file.write_text(code)
        done = subprocess.run(
            [sys.executable, str(file), bucket],
            cwd=base / "work",
            env={
                **os.environ,
                "PYTHONPATH": str(REPO),
                "PYTHONWARNINGS": "error",
                "AWS_EC2_METADATA_DISABLED": "true",
                **variables,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
        assert done.returncode == 0, done.stderr
        assert not quiet or done.stderr == ""
        return done

    return run
