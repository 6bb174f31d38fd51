"""``python uploader.py`` as a user starts it: a real process with a bare environment."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import pty
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import psutil
import pytest

from bench.process import descendants
from tests.conftest import REPO
from tests.servers.s3_server import S3Server

TIMEOUT = 60.0
"""Seconds that any command of the tests may take."""
POLL = 0.02
MIB = 2**20


def wait_for(condition: Callable[[], bool], timeout: float = TIMEOUT) -> None:
    """Returns when the condition holds; fails when it does not in time."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(POLL)


# the command


def environment(server: S3Server | None = None, /, **variables: str) -> dict[str, str]:
    """All that the command sees: the way to programs, a home, the server's credentials."""
    bare = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]}
    # Without credentials botocore would ask the address where EC2 has them.
    bare["AWS_EC2_METADATA_DISABLED"] = "true"
    if server:
        bare["AWS_ACCESS_KEY_ID"] = server.access_key
        bare["AWS_SECRET_ACCESS_KEY"] = server.secret_key
    return {**bare, **variables}


KEYS = {"AWS_ACCESS_KEY_ID": "any-access-key", "AWS_SECRET_ACCESS_KEY": "any-secret-key"}
"""Credentials for a server that looks at none."""


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def events(self) -> list[dict[str, Any]]:
        """The JSON objects on stdout; fails when a line is none."""
        return parse_events(self.stdout)

    @property
    def summary(self) -> dict[str, Any]:
        """The last event, which has to be the only summary."""
        *others, last = self.events
        assert last["event"] == "summary"
        assert all(event["event"] != "summary" for event in others)
        return last

    @property
    def complaints(self) -> list[str]:
        """The lines on stderr."""
        return self.stderr.splitlines()

    def paths(self, kind: str) -> list[str]:
        """The files of which an event of this kind was told, in that order."""
        return [event["path"] for event in self.events if event["event"] == kind]

    def reasons(self, kind: str = "failed") -> dict[str, str]:
        """Path -> reason, of the events of this kind."""
        return {e["path"]: e["reason"] for e in self.events if e["event"] == kind}


def parse_events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.split("\n")[:-1]]


RunningType = TypeVar("RunningType", bound="Running")


class Running:
    """A command that was started; killed, with its workers, when the ``with`` ends."""

    def __init__(
        self,
        *arguments: object,
        env: Mapping[str, str],
        cwd: Path | None = None,
        wrapper: Sequence[str] = (),
        stdin: int = subprocess.DEVNULL,
        stdout: int | None = None,
    ) -> None:
        """``wrapper`` is a command that ends in exec'ing the arguments after it."""
        self._directory = Path(tempfile.mkdtemp(prefix="command-"))
        self._out = (self._directory / "stdout").open("w+b")
        self._err = (self._directory / "stderr").open("w+b")
        self._start(
            command(*arguments, wrapper=wrapper),
            env=env,
            cwd=cwd,
            stdin=stdin,
            stdout=self._out if stdout is None else stdout,
            stderr=self._err,
            start_new_session=True,
        )

    def _start(self, argv: list[str], **settings: Any) -> None:
        self._seen: dict[int, psutil.Process] = {}
        self.process = subprocess.Popen(argv, **settings)
        self.pid = self.process.pid

    def __enter__(self: RunningType) -> RunningType:
        return self

    def __exit__(self, *_: object) -> None:
        self.workers()
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait(TIMEOUT)
        for process in self._seen.values():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._close()

    def _close(self) -> None:
        self._out.close()
        self._err.close()
        shutil.rmtree(self._directory)

    def stdout(self) -> str:
        """What it has printed so far."""
        return (self._directory / "stdout").read_text("utf-8", "surrogateescape")

    def stderr(self) -> str:
        return (self._directory / "stderr").read_text("utf-8", "surrogateescape")

    def events(self) -> list[dict[str, Any]]:
        """The JSON objects that it has printed so far."""
        return parse_events(self.stdout())

    def count(self, kind: str) -> int:
        """How many events of this kind it has printed so far."""
        return self.stdout().count(f'{{"event": "{kind}"')

    def sent_bytes(self) -> int:
        """What its last progress event says was sent."""
        told = [e["sent_bytes"] for e in self.events() if e["event"] == "progress"]
        return told[-1] if told else 0

    def workers(self) -> list[int]:
        """Its worker processes that are alive now."""
        return [
            child.pid
            for child in self._below()
            if parent(child) not in (None, self.pid) and alive(child)
        ]

    def fork_server(self) -> list[int]:
        """The process that the workers come from, while it is alive."""
        return [child.pid for child in self._below() if parent(child) == self.pid and alive(child)]

    def _below(self) -> list[psutil.Process]:
        below = []
        for pid in pids_below(self.pid):
            with contextlib.suppress(psutil.NoSuchProcess):
                below.append(self._seen.get(pid) or psutil.Process(pid))
        self._seen.update((child.pid, child) for child in below)
        return below

    def survivors(self) -> list[int]:
        """Workers seen by ``workers`` that are still there, whoever is their parent now."""
        return [process.pid for process in self._seen.values() if alive(process)]

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait_until(self, condition: Callable[[], bool], timeout: float = TIMEOUT) -> None:
        """Returns when the condition holds; fails when it doesn't, or when the command ends."""
        deadline = time.monotonic() + timeout
        while not condition():
            assert self.process.poll() is None, f"ended early: {self.stdout()}{self.stderr()}"
            assert time.monotonic() < deadline, f"too late: {self.stdout()}{self.stderr()}"
            time.sleep(POLL)

    def wait_for(self, kind: str, count: int = 1) -> None:
        """Returns when so many events of this kind were told (``--json``)."""
        self.wait_until(lambda: self.count(kind) >= count)

    def finish(self, timeout: float = TIMEOUT) -> Finished:
        """Waits for its end; fails when that takes too long."""
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            text = f"{self.stdout()[-3000:]}\n{self.stderr()[-3000:]}"
            pytest.fail(f"still running after {timeout:g} s:\n{text}")
        return Finished(code, self.stdout(), self.stderr())


class OnTerminal(Running):
    """A command in the foreground of a terminal of its own, 100 columns wide."""

    def __init__(self, *arguments: object, env: Mapping[str, str]) -> None:
        self._master, terminal = pty.openpty()
        os.set_blocking(self._master, False)
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        self._screen = b""
        try:
            self._start(
                command(*arguments, wrapper=["setsid", "--ctty"]),
                env={"TERM": "xterm", **env},
                stdin=terminal,
                stdout=terminal,
                stderr=terminal,
            )
        finally:
            os.close(terminal)

    def _close(self) -> None:
        os.close(self._master)

    def stdout(self) -> str:
        """All that was drawn so far, stderr included."""
        with contextlib.suppress(OSError):  # nothing there now, or nobody left to write
            while data := os.read(self._master, 65536):
                self._screen += data
        return self._screen.decode("utf-8", "surrogateescape")

    def stderr(self) -> str:
        return ""

    def hang_up(self) -> None:
        """Closes the terminal, as its window or a lost ssh does; nothing more can be read."""
        os.close(self._master)
        self._master = os.open(os.devnull, os.O_RDWR)

    def type(self, keys: bytes) -> None:
        """As if typed on the keyboard."""
        os.write(self._master, keys)

    def finish(self, timeout: float = TIMEOUT) -> Finished:
        """A terminal that nobody reads fills up: so this reads while it waits."""
        deadline = time.monotonic() + timeout
        while self.process.poll() is None and time.monotonic() < deadline:
            self.stdout()
            time.sleep(POLL)
        return super().finish(1)


def command(*arguments: object, wrapper: Sequence[str] = ()) -> list[str]:
    return [*wrapper, sys.executable, str(REPO / "uploader.py"), *map(str, arguments)]


def run(*arguments: object, env: Mapping[str, str], **settings: Any) -> Finished:
    """The command from its start to its end."""
    with Running(*arguments, env=env, **settings) as running:
        return running.finish()


def stopped(*options: object, env: dict[str, str], wrapper: Sequence[str] = ()) -> str:
    """The one line of a run that could not go on.

    ``finish`` waits for half as long as a run without hope would try (--give-up-after).
    """
    finished = run(*options, env=env, wrapper=wrapper)
    assert finished.code == 3, finished
    (line,) = finished.complaints
    assert line.startswith("uploader: ")
    return line


def arguments(source: Path, endpoint: str, bucket: str, *more: object) -> list[object]:
    """``--src --endpoint-url --bucket``, and more."""
    return ["--src", source, "--endpoint-url", endpoint, "--bucket", bucket, *more]


def pids_below(pid: int) -> list[int]:
    """The processes below this one, by their parents.

    Asked in every run: psutil takes three times as long for it.
    """
    if not os.path.exists("/proc/self/stat"):
        return [process.pid for process in descendants(pid)]
    below: dict[int, list[int]] = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{entry}/stat", "rb") as file:
            # The command name may hold spaces and brackets: count from its last bracket.
            parent = int(file.read().rpartition(b")")[2].split()[1])
            below.setdefault(parent, []).append(int(entry))
    found = list(below.get(pid, ()))
    for each in found:
        found += below.get(each, ())
    return found


def alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def parent(process: psutil.Process) -> int | None:
    """The pid of its parent; None when it has ended."""
    try:
        return int(process.ppid())
    except psutil.NoSuchProcess:
        return None


# wrappers


def needs_root() -> None:
    """Skips a test that only root can set up; CI is root."""
    if os.geteuid() == 0 and shutil.which("setpriv") and shutil.which("unshare"):
        return
    if os.environ.get("CI") == "true":
        pytest.fail("CI has to run as root on Linux with util-linux")
    pytest.skip("only root on Linux can set this up")


def without_privileges() -> list[str]:
    """A wrapper: the rights of an ordinary user, who owns what we own.

    Not as another user: the interpreter may lie in a home directory closed to all others.
    """
    if os.geteuid() != 0:
        return []
    needs_root()
    return ["setpriv", "--inh-caps=-all", "--bounding-set=-all"]


def as_unknown_user() -> list[str]:
    """A wrapper: a user id that nobody gave a name or home, as some containers have it."""
    needs_root()
    caps = "-all,+dac_read_search"  # the interpreter may lie in a home directory
    return [
        *("setpriv", "--reuid=54321", "--regid=54321", "--clear-groups"),
        *(f"--inh-caps={caps}", f"--ambient-caps={caps}"),
    ]


def shell(script: str) -> list[str]:
    """A wrapper: ``script`` runs first and ends in ``exec "$@"``."""
    return ["sh", "-euc", script, "sh"]


# files


def write(root: Path, name: str | bytes, content: bytes = b"content") -> str:
    """Writes one file below ``root``, its folders included; returns its path."""
    path = os.path.join(os.fsencode(root), os.fsencode(name))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)
    return os.fsdecode(path)


def small_files(root: Path, count: int, folders: int = 7) -> list[str]:
    """So many small files, no two alike, spread over folders; returns their names."""
    names = [f"folder{number % folders}/{number:05}.txt" for number in range(count)]
    for name in names:
        write(root, name, f"content of {name}".encode())
    return names


def random_bytes(size: int, seed: object) -> bytes:
    return random.Random(str(seed)).randbytes(size)


def names_below(root: Path) -> set[str]:
    """Every regular file below ``root``, relative to it."""
    return {
        os.path.relpath(os.path.join(folder, name), root)
        for folder, _, names in os.walk(root)
        for name in names
    }


# buckets


def new_bucket() -> str:
    """A name that no other test uses."""
    return f"bucket-{uuid.uuid4().hex}"


class Stored(NamedTuple):
    """An object as boto3 reads it."""

    size: int
    sha256: str
    metadata: dict[str, str]
    content_type: str


def keys(server: S3Server, bucket: str) -> list[str]:
    """The keys of a bucket, as the server lists them."""
    pages = server.boto3().get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return [row["Key"] for page in pages for row in page.get("Contents", ())]


def stored(server: S3Server, bucket: str) -> dict[str, Stored]:
    """Every object of a bucket, read back.

    Many at a time: Ceph's answers to small GETs wait some 40 ms for a delayed acknowledgement.
    A client of boto3's keeps ten connections.
    """
    clients = [server.boto3() for _ in range(3)]

    def read(index: int, key: str) -> Stored:
        answer = clients[index % len(clients)].get_object(Bucket=bucket, Key=key)
        digest, size = hashlib.sha256(), 0
        for chunk in answer["Body"].iter_chunks(MIB):
            digest.update(chunk)
            size += len(chunk)
        return Stored(size, digest.hexdigest(), answer["Metadata"], answer["ContentType"])

    listed = keys(server, bucket)
    with ThreadPoolExecutor(10 * len(clients)) as pool:
        return dict(zip(listed, pool.map(read, range(len(listed)), listed), strict=True))


@contextlib.contextmanager
def halted(pids: Sequence[int]) -> Iterator[None]:
    """Processes that are stopped meanwhile: a server that hangs."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
