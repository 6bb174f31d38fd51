"""Fixtures of the tests of the old module's face."""

from __future__ import annotations

import subprocess
from pathlib import Path
from textwrap import dedent

import pytest

from tests.command import new_bucket
from tests.dropin.programs import OPENING, Program, program_in
from tests.servers.moto import Moto


@pytest.fixture
def bucket() -> str:
    return new_bucket()


@pytest.fixture
def program(tmp_path: Path, bucket: str) -> Program:
    return program_in(tmp_path, bucket)


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
