"""Fixtures of the tests of the old module's face."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from tests.command import new_bucket
from tests.conftest import REPO
from tests.dropin.programs import OPENING, TIMEOUT, Program
from tests.servers.moto import Moto


@pytest.fixture
def bucket() -> str:
    return new_bucket()


@pytest.fixture
def program(tmp_path: Path, bucket: str) -> Program:
    """Runs code in the working directory ``work``; every warning in it is an error."""
    (tmp_path / "work").mkdir()

    def run(code: str, *, quiet: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
        file = tmp_path / "program.py"
        file.write_text(code)
        done = subprocess.run(
            [sys.executable, str(file), bucket],
            cwd=tmp_path / "work",
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


@pytest.fixture
def on_moto(program: Program, moto: Moto) -> Program:
    """Runs code after ``OPENING``, with moto as the service."""

    def run(code: str, *, quiet: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
        variables = {"AWS_ENDPOINT_URL": moto.endpoint, **variables}
        return program(OPENING + dedent(code), quiet=quiet, **variables)

    return run


@pytest.fixture
def work(tmp_path: Path, program: Program) -> Path:
    """The working directory of the program."""
    return tmp_path / "work"
