"""Forks workers from a process that has imported everything: the fork server.

A worker's imports cost 0.2 s of CPU, a fork 5 ms, and forks share memory.  The supervisor cannot
fork itself: its caller may have threads, a gevent hub and open sockets, and none of them may leak
into a worker.  So it starts the fork server by exec.
"""

from __future__ import annotations

import _socket  # monkey patching leaves its class alone
import contextlib
import gc
import json
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial

# gevent's os.fork and os.close start an event loop: none may exist before a fork.
from posix import close as _close
from posix import fork as _fork
from typing import NamedTuple, NoReturn

from . import reaper
from .reaper import NUMBER

ANSWER_TIMEOUT = 2.0
"""Seconds after which a fork server that does not answer is killed; its workers live on."""
STDERR_KEPT = 4096
FORK = -1
"""Request: fork a worker; comes with the descriptors of its connection and its stderr, and with one
more if the workers share one.
Non-negative: kill that worker, counted from 0, and reply with its exit code."""
REST = -2
"""Request: become the reaper, which knows the non-negative ones only."""

_HOME = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2)
"""Only the supervisor handles these: systemd and some terminals send them to every process of a
run, but what is in flight should end."""


class End(NamedTuple):
    """How a worker ended."""

    code: int
    """As in ``subprocess``: negative for a signal."""
    stderr_tail: bytes
    """The last words of the fork server, if it has ended too."""


class ForkServer:
    """The supervisor's side: starts the process for all workers, and again when it has died."""

    def __init__(self, provider: str = "", environment: Mapping[str, str] | None = None) -> None:
        """The process imports ``provider`` before the first fork; ``assign`` may name it later.
        ``environment`` extends this process's in the workers; it may hold secrets, and nobody else
        sees it."""
        self._stdin = subprocess.DEVNULL
        self._provider = provider
        self._environment = environment or {}
        self._process: _Process | None = None
        self._resting: _Process | None = None
        self._shared: list[int] = []

    def start(self) -> None:
        """Starts the process unless it runs: its imports take place beside the caller's work.

        Raises OSError when that is impossible.
        """
        self._running()

    def assign(self, provider: str, *, stdin: int = subprocess.DEVNULL) -> None:
        """Names the provider, once, where the constructor was given none.  ``stdin``: the
        descriptor that the workers have as their standard input; a process that runs with another
        one is ended."""
        if stdin != self._stdin:
            self.close()
        self._provider, self._stdin = provider, stdin
        if self._process:
            self._process.instruct(provider, self._environment)

    def share(self, descriptor: int) -> None:
        """Gives this descriptor, too, to each worker that is forked from now on."""
        self._shared = [descriptor]

    def fork(self, connection: socket.socket, stderr: int) -> Callable[[], End]:
        """Starts a worker that serves ``connection`` and writes its stderr to ``stderr``.

        Returns a function that kills the worker unless it is dead, and returns how it ended.  A
        worker whose fork server is dead ends as soon as its connection closes.  Raises OSError when
        no process can be started.
        """
        process = self._running()
        descriptors = [connection.fileno(), stderr, *self._shared]
        try:
            return process.fork(descriptors)
        except OSError:
            process.close()
            self._process = None
            return self._running().fork(descriptors)

    def rest(self) -> None:
        """No more workers are expected: the process gives its memory back.  Another one starts if a
        worker is wanted all the same, and that one stays as it is."""
        if self._resting is None and self._process is not None:
            self._process.rest()
            self._resting, self._process = self._process, None

    def listen(self) -> bytes:
        """What the process has written since the last call.  Call it now and then: once the pipe is
        full the process would hang."""
        return b"".join(process.listen() for process in self._processes())

    def pids(self) -> list[int]:
        """The process's id, and that of the one that rests, if there are any."""
        return [process.pid for process in self._processes()]

    def close(self) -> None:
        """Kills all workers and ends the processes."""
        for process in self._processes():
            process.close()
        self._process = self._resting = None

    def _running(self) -> _Process:
        if self._process is None:
            self._process = _Process(self._stdin)
            if self._provider:
                self._process.instruct(self._provider, self._environment)
        return self._process

    def _processes(self) -> list[_Process]:
        return [process for process in (self._resting, self._process) if process]


class _Process:
    """One process and the conversation with it."""

    def __init__(self, stdin: int) -> None:
        """Starts the process in a session of its own, with the supervisor's signals blocked."""
        self._forks = 0
        self._closed = False
        self._said = b""
        self._control, theirs = socket.socketpair()
        self._control.settimeout(ANSWER_TIMEOUT)
        self._stderr, stderr = os.pipe()
        os.set_blocking(self._stderr, False)
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # inherited until ``serve``
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", boot_code(), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=stdin,
                stdout=stderr,
                stderr=stderr,
                start_new_session=True,
            )
        except BaseException:
            self._control.close()
            os.close(self._stderr)
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
            theirs.close()
            os.close(stderr)
        self.pid = self._process.pid

    def instruct(self, provider: str, environment: Mapping[str, str]) -> None:
        # Not by argv and environ: all programs of a user can read these in /proc.
        text = json.dumps([provider, dict(environment)]).encode()
        try:
            self._control.sendall(NUMBER.pack(len(text)) + text)
        except OSError:
            self._process.kill()  # if it has not died: the next to ask will see

    def fork(self, descriptors: list[int]) -> Callable[[], End]:
        socket.send_fds(self._control, [NUMBER.pack(FORK)], descriptors)
        number = self._forks
        self._forks += 1
        return partial(self._end, number)

    def rest(self) -> None:
        with contextlib.suppress(OSError):  # it has died: the next to ask will see
            self._control.sendall(NUMBER.pack(REST))

    def _end(self, number: int) -> End:
        try:
            self._control.sendall(NUMBER.pack(number))
            answer = self._control.recv(NUMBER.size, socket.MSG_WAITALL)
            return End(NUMBER.unpack(answer)[0], b"")
        except (OSError, struct.error):
            self._process.kill()
            self.close()
            return End(self._process.returncode, self._said)

    def listen(self) -> bytes:
        if self._closed:
            return b""
        try:
            data = os.read(self._stderr, 16 * STDERR_KEPT)
        except BlockingIOError:
            return b""
        self._said = (self._said + data)[-STDERR_KEPT:]
        return data

    def close(self) -> None:
        if self._closed:
            return
        if not self._forks:
            self._process.kill()  # it may still be importing
        try:
            self._control.shutdown(socket.SHUT_WR)
            self._control.recv(1)  # waits for its end; Popen.wait(timeout) would poll
        except BaseException as error:
            self._process.kill()
            if not isinstance(error, OSError):
                raise
        finally:
            self._control.close()
            self._process.wait()
            self.listen()
            self._closed = True
            os.close(self._stderr)


def take_instructions(descriptor: int) -> tuple[str, dict[str, str]]:
    """Takes over the variables that the supervisor sends to the socket ``descriptor``; returns the
    provider's name and the variables of before, which hold none of its secrets.

    The descriptor stays open until the process is dead: its end would tell the supervisor of that.
    """
    before = dict(os.environ)
    control = _connected(descriptor)
    (size,) = NUMBER.unpack(control.recv(NUMBER.size, _socket.MSG_WAITALL))
    provider, variables = json.loads(control.recv(size, _socket.MSG_WAITALL))
    os.environ.update(variables)
    control.detach()
    return provider, before


def serve(
    descriptor: int, work: Callable[..., NoReturn], environment: Mapping[str, str]
) -> NoReturn:
    """Serves the supervisor at the other end of the socket ``descriptor`` until it is gone, then
    kills all workers.

    ``work`` runs a worker, given its connection's descriptor and the one that all share, if any.
    The reaper is started with ``environment``.
    """
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    control = _connected(descriptor)
    gc.freeze()  # pages that the collector never touches stay shared with the forks
    pids: list[int] = []
    while True:
        request, descriptors, *_ = socket.recv_fds(control, NUMBER.size, 3)  # type: ignore[arg-type]
        if not request:
            break
        (number,) = NUMBER.unpack(request)
        if number == FORK:
            pids.append(_start(control, work, *descriptors))
        elif number == REST:
            _become_reaper(descriptor, pids, environment)
        else:
            control.sendall(reaper.reap(pids[number]))
            pids[number] = 0
    reaper.reap_all(pids)
    os._exit(0)


def boot_code() -> str:
    """``python -m _uploader`` with this process's module path, our own modules first.

    The working directory is no part of it: a module there must not replace ours or a library's.
    """
    path = [_HOME, *(os.path.abspath(p) for p in sys.path if isinstance(p, str) and p)]
    return f"""
import runpy, sys
sys.path[:] = {path!r}
runpy.run_module("_uploader", run_name="__main__")
"""


def _connected(descriptor: int) -> _socket.socket:
    control = _socket.socket(fileno=descriptor)
    control.setblocking(True)  # a supervisor with patched sockets has made it non-blocking
    return control


def _start(
    control: _socket.socket,
    work: Callable[..., NoReturn],
    mine: int,
    stderr: int,
    *shared: int,
) -> int:
    """Forks a worker and returns its pid; 0 when that is impossible: its stderr says why."""
    try:
        pid = _fork()
    except OSError as error:
        os.write(stderr, f"{error.strerror}\n".encode())
        pid = 0
    else:
        if not pid:
            control.close()
            os.setsid()
            os.dup2(stderr, 1)
            os.dup2(stderr, 2)
            _close(stderr)
            gc.enable()
            work(mine, *shared)
    for descriptor in (mine, stderr, *shared):
        _close(descriptor)
    return pid


def _become_reaper(descriptor: int, pids: list[int], environment: Mapping[str, str]) -> None:
    """Returns only where that is impossible."""
    if not os.access(reaper.__file__, os.R_OK):  # the package may be a zip file
        return
    os.set_inheritable(descriptor, True)
    command = [sys.executable, "-I", "-S", reaper.__file__, str(descriptor), *map(str, pids)]
    with contextlib.suppress(OSError, ValueError):  # no memory; a variable that Python cannot set
        os.execve(command[0], command, environment)
