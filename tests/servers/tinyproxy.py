"""tinyproxy: a real HTTP proxy in C, which tunnels by CONNECT and forwards plain requests."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from bench.process import Daemon, Server, free_port

CONFIG = """\
Port {port}
Listen 127.0.0.1
Timeout 60
MaxClients 1000
LogLevel Connect
LogFile "{directory}/log"
"""


class TinyProxy(Server):
    """A proxy at ``address``; with a password it passes on for ``user`` only."""

    programs = ("tinyproxy",)
    packages = "tinyproxy"
    user = "someone"

    def __init__(self, password: str | None = None) -> None:
        super().__init__()
        self._password = password

    def _start(self, directory: Path, cleanup: contextlib.ExitStack) -> None:
        port = free_port()
        config = CONFIG.format(port=port, directory=directory)
        if self._password:
            config += f"BasicAuth {self.user} {self._password}\n"
        (directory / "tinyproxy.conf").write_text(config)
        self._log = directory / "log"
        daemon = Daemon(
            ["tinyproxy", "-d", "-c", str(directory / "tinyproxy.conf")], directory / "output"
        )
        cleanup.callback(daemon.kill)
        daemon.wait_until_listening(port)
        self.address = f"127.0.0.1:{port}"

    @property
    def asked(self) -> list[str]:
        """The method and target of each request, as the log has them."""
        return re.findall(r"Request \(file descriptor \d+\): (\S+ \S+) HTTP", self._log.read_text())
