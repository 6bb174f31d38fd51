"""A signal ends bench and all that it started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from bench.process import descendants
from bench.sink import Sink
from tests.conftest import REPO
from tests.servers import require


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_after_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    require(Sink)
    bench = subprocess.Popen(
        [sys.executable, "-m", "bench.run", "seed", "--clients", "old", "--runs", "1000"],
        cwd=REPO,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with bench:
        assert bench.stderr
        for line in bench.stderr:
            if "round 1 of" in line:
                break
        time.sleep(0.3)
        below = descendants(bench.pid)
        assert len(below) >= 3  # nginx and its worker, a client
        bench.send_signal(number)
        bench.send_signal(number)
        assert bench.stderr.read().endswith("bench: stopped\n")
        assert bench.wait(20) == 128 + number
    gone, alive = psutil.wait_procs(below, 5)
    assert not alive
    assert os.listdir(tmp_path) == []
