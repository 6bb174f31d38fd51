"""Servers start whole, and leave nothing behind."""

from __future__ import annotations

import contextlib
import errno
import http.client
import os
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from bench.network import Network
from bench.process import Daemon, Server, ServerError, free_port
from bench.sink import Sink
from bench.slowdisk import SlowDisk
from tests.command import wait_for
from tests.conftest import REPO
from tests.servers import require
from tests.servers.azurite import Azurite
from tests.servers.ceph import CephRGW
from tests.servers.moto import Moto
from tests.servers.tinyproxy import TinyProxy


def get_status(url: str) -> int:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=5)
    with contextlib.closing(connection):
        connection.request("GET", parts.path)
        return connection.getresponse().status


@pytest.mark.parametrize("server", [Azurite, CephRGW, Moto, Network, Sink, SlowDisk, TinyProxy])
def test_a_server_that_misses_a_program_says_how_to_get_it(
    server: type[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.process.find_program", lambda name: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    reason = server.missing()
    assert reason is not None
    assert "install" in reason
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="install"):
        require(server)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="install"):
        require(server)


def test_a_program_that_ends_at_once_is_reported_with_its_words(tmp_path: Path) -> None:
    daemon = Daemon(["sh", "-c", "echo no luck; exit 3"], tmp_path / "log")
    with pytest.raises(ServerError, match="(?s)sh ended with 3.*no luck"):
        daemon.wait_until_listening(free_port(), timeout=5)


def test_a_start_that_fails_half_way_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require(CephRGW)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    started: list[Daemon] = []

    def fail(daemon: Daemon, port: int) -> None:
        started.append(daemon)
        if daemon.name == "radosgw":
            raise ServerError("no gateway")

    monkeypatch.setattr(Daemon, "wait_until_listening", fail)
    with pytest.raises(ServerError, match="no gateway"):
        CephRGW().start()
    assert [daemon.name for daemon in started] == ["ceph-mon", "radosgw"]
    assert [daemon.pids() for daemon in started] == [[], []]
    assert list(tmp_path.glob("cephrgw-*")) == []


def living_with(text: str) -> list[str]:
    """Return the processes that have `text` in their arguments or environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            told = (path / "cmdline").read_bytes() + (path / "environ").read_bytes()
            if text.encode() in told:
                found.append(path.name)
    return found


def refuses_connections(url: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", urlsplit(url).port or 0)) == errno.ECONNREFUSED


@pytest.mark.parametrize("server", [Azurite, CephRGW, Moto, Sink])
def test_a_server_ends_when_the_tests_are_killed(server: type[Server], tmp_path: Path) -> None:
    require(server)
    code = f"from {server.__module__} import {server.__name__} as S; import time; s = S()"
    code += "; s.start(); print(getattr(s, 'endpoint', '') or s.http, flush=True); time.sleep(60)"
    environment = {**os.environ, "PYTHONPATH": str(REPO), "TMPDIR": str(tmp_path)}
    argv = [sys.executable, "-c", code]
    with subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        url = run.stdout.readline().decode().strip()
        assert get_status(url) in (200, 400, 403, 405)
        assert len(living_with(str(tmp_path))) > 1
        run.kill()
    wait_for(lambda: not living_with(str(tmp_path)) and refuses_connections(url))
