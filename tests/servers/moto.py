"""moto: an S3 imitation in Python. Easy to start, but it verifies no signature."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from pathlib import Path

from bench.process import Daemon, free_port, request
from tests.servers.s3_server import S3Server


class Moto(S3Server):
    """moto's server as a process of its own: in a thread it would be patched by gevent."""

    @classmethod
    def missing(cls) -> str | None:
        """Return None, or one line saying what is not installed and how to install it."""
        absent = [name for name in ("moto", "flask") if importlib.util.find_spec(name) is None]
        return f"Moto needs {', '.join(absent)}: pip install 'moto[server]'" if absent else None

    def _start(self, directory: Path, cleanup: contextlib.ExitStack) -> None:
        port = free_port()
        argv = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        daemon = Daemon(argv, directory / "moto.log")
        cleanup.callback(daemon.kill)
        daemon.wait_until_listening(port)
        self.endpoint = f"http://127.0.0.1:{port}"

    def reset(self) -> None:
        """Forget all buckets and objects."""
        request("POST", f"{self.endpoint}/moto-api/reset")
