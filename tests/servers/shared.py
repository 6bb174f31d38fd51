"""One server of each kind for all processes of a test run: an idle Ceph takes time, too."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TypeVar

import psutil

from bench.process import Server

ServerType = TypeVar("ServerType", bound=Server)


class Shared:
    """Servers that whoever has the same directory uses together.

    The first one to ask starts a server; before that one leaves it waits for the others that have
    asked, as the server ends with the process that has started it.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._users: dict[str, IO[bytes]] = {}
        self._mine: dict[str, Server] = {}

    def get(self, server: ServerType, *shown: str) -> ServerType:
        """The server, started here or elsewhere: then it has but the attributes ``shown``."""
        name = type(server).__name__
        told = self._told(name)
        with self._locked(name):
            users = self._users[name] = (self._directory / f"{name}.users").open("ab")
            fcntl.flock(users, fcntl.LOCK_SH)  # waits until a former one has ended
            if told.exists() and psutil.pid_exists((found := json.loads(told.read_text()))["pid"]):
                vars(server).update(found["shown"])
            else:
                server.start()
                self._mine[name] = server
                attributes = {key: getattr(server, key) for key in shown}
                told.write_text(json.dumps({"pid": os.getpid(), "shown": attributes}))
        return server

    def close(self) -> None:
        """Ends the servers of one's own when nobody uses them any more."""
        with ExitStack() as stack:
            for name, users in self._users.items():
                stack.callback(users.close)
                if name not in self._mine:
                    fcntl.flock(users, fcntl.LOCK_UN)  # before one waits for anybody
            for name, server in self._mine.items():
                fcntl.flock(self._users[name], fcntl.LOCK_EX)
                self._told(name).unlink()
                server.stop()

    def _told(self, name: str) -> Path:
        """The file with what is to be known of a server that runs."""
        return self._directory / f"{name}.json"

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        with (self._directory / f"{name}.lock").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
