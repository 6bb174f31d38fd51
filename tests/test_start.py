"""The command's first moments."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import REPO

CODE = """
import sys
from _uploader.processes.fork_server import ForkServer
ForkServer.start = lambda self: print("started", flush=True)
from _uploader import start
sys.exit(start.main())
"""


@pytest.mark.parametrize(
    ("options", "starts"),
    [
        (["--help"], False),
        (["--version"], False),
        (["--src", ".", "--bucket", "b", "--dry-run"], False),
        (["--src", "."], True),
    ],
)
def test_what_only_tells_something_starts_no_fork_server(options: list[str], starts: bool) -> None:
    command = [sys.executable, "-c", CODE, *options]
    told = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
    assert (told.stdout.splitlines()[:1] == ["started"]) is starts
