"""Start a server, wait until it answers, and end it with everything it started."""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, TypeVar
from urllib.parse import urlsplit

import psutil

START_TIMEOUT = 60.0
STOP_TIMEOUT = 5.0

_given_ports: set[int] = set()


def descendants(pid: int) -> list[psutil.Process]:
    """The processes below this one, by their parents.

    psutil's own ``children`` compares times of start, which differ by a second when the clock is
    being set, and then finds none.
    """
    below: dict[int, list[psutil.Process]] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess):
            below.setdefault(process.ppid(), []).append(process)
    found = list(below.get(pid, ()))
    for process in found:
        found += below.get(process.pid, ())
    return found


class ServerError(Exception):
    """A server did not start, died, or answered what it should not."""


def free_port() -> int:
    """Return a loopback port that nobody listens on, a new one each time.

    Below the kernel's ephemeral range (32768 and up): while a server is down between two
    starts, a client that keeps trying to connect could otherwise be given this very port as
    its own, connect to itself, and keep the server from coming back.
    """
    for _ in range(1000):
        port = random.randrange(16384, 32768)
        if port in _given_ports:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                _given_ports.add(port)
                return port
    raise ServerError("no free port on 127.0.0.1 between 16384 and 32767")


def find_program(name: str) -> str | None:
    """Return the path of a program, also of one that only root has on PATH."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")


def dying_with_us(argv: Sequence[str], death_signal: str = "KILL") -> list[str]:
    """Return `argv`, ended by the kernel when the thread that starts it ends.

    A test run killed with -9 runs no clean-up code. Note "thread": whoever starts a server
    from a helper thread loses it with that thread. Without setpriv (not Linux) it is `argv`.
    """
    setpriv = shutil.which("setpriv")
    prefix = [setpriv, "--pdeathsig", death_signal, "--"] if setpriv else []
    return [*prefix, find_program(argv[0]) or argv[0], *argv[1:]]


def run(argv: Sequence[str], timeout: float = 30.0) -> str:
    """Run a command to its end and return what it printed; ServerError if it failed."""
    try:
        done = subprocess.run(
            dying_with_us(argv),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired as error:
        raise ServerError(f"{argv[0]} took longer than {timeout:g} s") from error
    if done.returncode != 0:
        raise ServerError(f"{argv[0]} ended with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


def request(method: str, url: str, timeout: float = 5.0) -> bytes:
    """Send one plain HTTP request, past any proxy settings; ServerError unless it answers 200."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    try:
        connection.request(method, parts.path)
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    if response.status != 200:
        raise ServerError(f"{method} {url} answered {response.status}: {body[:200]!r}")
    return body


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


class Daemon:
    """A process in the foreground of its own process group; its output goes to `log`."""

    def __init__(self, argv: Sequence[str], log: Path, *, death_signal: str = "KILL") -> None:
        self.name = Path(argv[0]).name
        self._argv = dying_with_us(argv, death_signal)
        self._log = log
        self.start()

    def start(self) -> None:
        """Start the process, also again after it ended."""
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                self._argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.pid = self._process.pid

    def wait_until_listening(self, port: int, timeout: float = START_TIMEOUT) -> None:
        """Return once `port` accepts connections; ServerError if the process ends first."""
        self.wait_until(lambda: _accepts(port), timeout)

    def wait_until(self, ready: Callable[[], bool], timeout: float = START_TIMEOUT) -> None:
        """Return once `ready()`; ServerError if the process ends first."""
        deadline = time.monotonic() + timeout
        while not ready():
            if self._process.poll() is not None:
                raise ServerError(
                    f"{self.name} ended with {self._process.returncode}{self._tail()}"
                )
            if time.monotonic() > deadline:
                raise ServerError(f"{self.name} not up within {timeout:g} s{self._tail()}")
            time.sleep(0.02)

    def _tail(self) -> str:
        return ":\n" + self._log.read_text(errors="replace")[-2000:]

    def kill(self) -> None:
        """End the whole process group at once, as kill -9 or a power cut would."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait(STOP_TIMEOUT)

    def stop(self) -> None:
        """Ask the process to end; kill what is left of its group after a few seconds."""
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_TIMEOUT)
        self.kill()

    def pids(self) -> list[int]:
        """Return the processes of the group, the first one first."""
        members = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                # The command name may hold spaces and brackets: count from its last bracket.
                fields = stat.read_text().rpartition(")")[2].split()
                if int(fields[2]) == self.pid:
                    members.append(int(stat.parent.name))
        return sorted(members, key=lambda pid: (pid != self.pid, pid))


ServerType = TypeVar("ServerType", bound="Server")


class Server:
    """A server as a context manager: all it started is gone, and its directory, at the end."""

    programs: ClassVar[Sequence[str]] = ()
    packages: ClassVar[str] = ""

    def __init__(self) -> None:
        self._cleanup = contextlib.ExitStack()

    @classmethod
    def missing(cls) -> str | None:
        """Return None, or one line saying what is not installed and how to install it."""
        absent = [name for name in cls.programs if find_program(name) is None]
        if not absent:
            return None
        install = f"apt-get install --no-install-recommends {cls.packages}"
        return f"{cls.__name__} needs {', '.join(absent)}: {install}"

    def start(self) -> None:
        """Return when the server answers; leave nothing behind when it does not come up."""
        with contextlib.ExitStack() as cleanup:
            prefix = f"{type(self).__name__.lower()}-"
            self._start(
                Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix=prefix))), cleanup
            )
            self._cleanup = cleanup.pop_all()

    def stop(self) -> None:
        """End the server; harmless when it does not run."""
        self._cleanup.close()

    def _start(self, directory: Path, cleanup: contextlib.ExitStack) -> None:
        """Start all processes and register how to end each one before starting the next."""
        raise NotImplementedError

    def __enter__(self: ServerType) -> ServerType:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
