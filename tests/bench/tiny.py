"""Benchmarks on tiny sizes, with the real clients and the real sink."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from bench import run
from bench.scenarios import SCENARIOS
from bench.sink import Sink
from tests.servers import require

TINY = ("--scale", "0.001", "--runs", "1")
KEYS = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


def once(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Lets each client of these scenarios run once: no warm-up, and none to look at the memory."""
    for name in names:
        monkeypatch.setitem(SCENARIOS, name, replace(SCENARIOS[name], slow=True))


def peers(*names: str) -> None:
    """Skips the test when a peer is not installed; the extra ``bench`` has them all."""
    for client in run.CLIENTS.values():
        if client.name in names and (reason := client.missing()):
            if os.environ.get("CI") == "true":
                pytest.fail(reason)
            pytest.skip(reason)


def measured(
    capsys: pytest.CaptureFixture[str], path: Path, *arguments: str, code: int = 0
) -> list[dict[str, object]]:
    """The scenarios in the JSON of a run, which has to end with this code."""
    require(Sink)
    assert run.main([*arguments, *TINY, "--json", str(path)]) == code, capsys.readouterr().err
    scenarios: list[dict[str, object]] = json.loads(path.read_text())["scenarios"]
    return scenarios
