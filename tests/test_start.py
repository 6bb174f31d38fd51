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
ForkServer.assign = lambda self, provider, stdin: print("assigned", provider, flush=True)
from _uploader import start
sys.exit(start.main())
"""


def told_by(*options: str) -> list[str]:
    """What the command prints with these options."""
    command = [sys.executable, "-c", CODE, *options]
    return subprocess.run(command, cwd=REPO, capture_output=True, text=True).stdout.splitlines()


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
    assert (told_by(*options)[:1] == ["started"]) is starts


def test_the_fork_server_learns_the_provider() -> None:
    told = told_by("--src", ".", "--bucket", "b", "--provider", "azure_blobs")
    assert told[:2] == ["started", "assigned azure_blobs"]
