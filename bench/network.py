"""A bad network between clients and a server: a slow uplink, a far server, outages, resets.

The proxy itself is `network.c`: it has to carry a gigabit a second beside server and client.
"""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from .process import STOP_TIMEOUT, Server, ServerError, dying_with_us, free_port, run

_SOURCE = Path(__file__).with_name("network.c")


class Traffic(NamedTuple):
    """What has passed since the start or the last `forget`."""

    connections: int
    sent: int
    """Bytes that clients sent, headers and repetitions included."""
    received: int
    resets: int
    """Connections that the network reset, those of an outage included."""
    seconds: float
    """From the first byte that clients sent to the last one."""
    resumed: float | None
    """Seconds from the end of the last outage to the next answer; None when there was none."""
    pause: float
    """Longest time between two answers since the end of the last outage, in seconds."""


class Network(Server):
    """A TCP proxy to `upstream` as a process of its own, listening at `url`.

    `rate` is the bytes a second that all clients together can send, fairly divided; answers are
    small and not limited. `latency` is the round trip in seconds. A share of `reset_share` of the
    connections is reset after a random number of bytes, the same ones for the same `seed`.
    """

    programs = ("gcc",)
    packages = "gcc libc6-dev"

    def __init__(
        self,
        upstream: str,
        *,
        rate: float | None = None,
        latency: float = 0.0,
        reset_share: float = 0.0,
        seed: int = 1,
    ) -> None:
        super().__init__()
        self._upstream = urlsplit(upstream)
        self._settings = [rate or 0.0, latency, reset_share, seed]

    def _start(self, directory: Path, cleanup: contextlib.ExitStack) -> None:
        program = directory / "network"
        run(["gcc", "-O2", "-o", str(program), str(_SOURCE)])
        self.port = free_port()
        self.url = f"{self._upstream.scheme}://127.0.0.1:{self.port}"
        arguments = [self.port, self._upstream.port, *self._settings]
        self._process = subprocess.Popen(
            dying_with_us([str(program), *map(str, arguments)]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        cleanup.callback(self._end)
        self.pid = self._process.pid
        self._expect("ready")

    def traffic(self) -> Traffic:
        """Return what has passed so far."""
        words = self._ask("counts").split()
        connections, sent, received, resets = map(int, words[:4])
        seconds, resumed, pause = map(float, words[4:])
        since = None if resumed < 0 else resumed
        return Traffic(connections, sent, received, resets, seconds, since, pause)

    def forget(self) -> None:
        """Zero the counts, call off a planned outage, and let chance start anew."""
        self._tell("forget")

    def refuse(self, seconds: float, *, after: float = 0.0) -> None:
        """Reset all connections and refuse new ones, for so long.

        The outage begins at once, or `after` seconds after the next connection.
        """
        self._tell(f"refuse {seconds} {after}")

    def silence(self, seconds: float, *, after: float = 0.0) -> None:
        """Keep all connections and let nothing through, either way; see `refuse`."""
        self._tell(f"silence {seconds} {after}")

    def reset_all(self) -> None:
        """Reset all connections of this moment."""
        self._tell("reset")

    def _tell(self, command: str) -> None:
        self._say(command)
        self._expect("ok")

    def _ask(self, command: str) -> str:
        self._say(command)
        return self._read()

    def _say(self, command: str) -> None:
        assert self._process.stdin
        try:
            self._process.stdin.write(f"{command}\n")
        except OSError as error:
            raise ServerError(f"the network has ended: {error}") from error

    def _expect(self, answer: str) -> None:
        if (line := self._read()) != answer:
            raise ServerError(f"the network said {line!r}, not {answer!r}")

    def _read(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().strip()

    def _end(self) -> None:
        """The end of its input is the program's end."""
        with self._process as process:
            assert process.stdin
            with contextlib.suppress(OSError):
                process.stdin.close()
            try:
                process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
