"""The profile sees where the CPU goes."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from bench import profile
from bench.profile import PHASES, phase_of
from bench.sink import Sink
from tests.conftest import REPO
from tests.servers import require


def test_a_sample_belongs_to_our_innermost_function() -> None:
    stack = [
        ("/x/gevent/hub.py", "switch"),
        ("/r/providers/http/stream.py", "receive_now"),
        ("/r/providers/s3/driver.py", "store"),
        ("/r/_uploader/transfer/upload.py", "begin"),
    ]
    assert phase_of(stack) == ("receive", "stream.receive_now")
    assert phase_of(stack[2:]) == ("request", "driver.store")
    assert phase_of(stack[:1]) == ("event loop", "gevent")


@pytest.mark.parametrize("place", PHASES)
def test_the_phases_name_functions_that_exist(place: str) -> None:
    assert (REPO / place).exists()
    for function in filter(None, PHASES[place]):
        assert f"def {function}(" in (REPO / place).read_text(), function


def test_the_profile_sees_workers_and_supervisor(
    temporary: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require(Sink)
    assert profile.main(["--files", "2000"]) == 0
    printed = capsys.readouterr().out
    workers, fork_server, supervisor = re.split(r"\n\n(?=\d)", printed.strip())
    assert re.match(r"\d workers?, ", workers) and "  send  " in workers
    assert fork_server.startswith("1 fork_server, ") and "start-up, imports" in fork_server
    assert supervisor.startswith("1 supervisor, ") and "  scan  " in supervisor
    assert os.listdir(temporary) == []
