"""Workers come from the nursery, are buried by it, and none outlives it or the supervisor.

What the workers do is replaced here by a few lines of Python; the nursery is the real one.
"""

from __future__ import annotations

import ast
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from _uploader import nursery as module
from _uploader.nursery import End, Nursery
from tests.conftest import REPO

PATIENCE = 20.0
"""Seconds after which a test gives up waiting."""
WORK = """
from gevent import monkey
monkey.patch_all()
import os, sys, time, _socket
sys.path.insert(0, {home!r})
from _uploader import nursery

def work(descriptor):
    {work}
    os._exit(0)

{before}
nursery.serve(int(sys.argv[1]), work)
"""
SAY_PID_AND_WAIT = (
    "s = _socket.socket(fileno=descriptor); s.send(str(os.getpid()).encode()); s.recv(1)"
)


class Child:
    """A worker that was asked for."""

    def __init__(self, nursery: Nursery) -> None:
        self.connection, theirs = socket.socketpair()
        self.connection.settimeout(PATIENCE)
        self._words, words = os.pipe()
        self.end = nursery.fork(theirs, words)
        theirs.close()
        os.close(words)

    def pid(self) -> int:
        return int(self.connection.recv(100))

    def words(self) -> str:
        return os.read(self._words, 1000).decode()

    def close(self) -> None:
        self.connection.close()
        os.close(self._words)


@pytest.fixture
def children() -> Iterator[list[Child]]:
    born: list[Child] = []
    yield born
    for child in born:
        child.close()


@pytest.fixture
def nursery_of(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Nursery]]:
    """Makes a nursery whose workers run this code."""
    with contextlib.ExitStack() as cleanup:

        def make(work: str = SAY_PID_AND_WAIT, before: str = "", **settings: str) -> Nursery:
            boot = WORK.format(home=str(Path(__file__).parent.parent), work=work, before=before)
            monkeypatch.setattr(module, "_boot", lambda: boot)
            nursery = Nursery("s3", settings)
            cleanup.callback(nursery.close)
            return nursery

        yield make


def born(nursery: Nursery, children: list[Child]) -> Child:
    children.append(Child(nursery))
    return children[-1]


def gone(pid: int) -> bool:
    """Dead, and buried or a zombie."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


Make = Callable[..., Nursery]
Pair = tuple[socket.socket, socket.socket]


def test_workers_are_forks_of_one_process(nursery_of: Make, children: list[Child]) -> None:
    nursery = nursery_of()
    pids = [born(nursery, children).pid() for _ in range(3)]
    assert len(set(pids)) == 3
    assert [psutil.Process(pid).ppid() for pid in pids] == nursery.pids() * 3


def test_it_waits_for_requests_of_a_caller_with_patched_sockets(
    nursery_of: Make, children: list[Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    """gevent makes both ends of a pair non-blocking."""

    def pair(*, made: Callable[[], Pair] = socket.socketpair) -> Pair:
        ours, theirs = made()
        theirs.setblocking(False)
        return ours, theirs

    nursery = nursery_of()
    with monkeypatch.context() as patched:
        patched.setattr(module.socket, "socketpair", pair)
        nursery.start()
    pids = [born(nursery, children).pid() for _ in range(2)]  # one comes before the other is asked
    assert [psutil.Process(pid).ppid() for pid in pids] == nursery.pids() * 2


def test_a_worker_has_a_session_of_its_own(nursery_of: Make, children: list[Child]) -> None:
    pid = born(nursery_of(), children).pid()
    assert os.getsid(pid) == pid


def test_a_worker_gets_the_environment(nursery_of: Make, children: list[Child]) -> None:
    work = "_socket.socket(fileno=descriptor).send(os.environ['NUMBER'].encode())"
    assert born(nursery_of(work, NUMBER="42"), children).pid() == 42


def test_it_starts_with_the_first_fork_or_before(nursery_of: Make, children: list[Child]) -> None:
    nursery = nursery_of()
    assert nursery.pids() == []
    nursery.start()
    [pid] = nursery.pids()
    nursery.start()
    born(nursery, children).pid()
    assert nursery.pids() == [pid]


def test_to_end_a_worker_kills_it(nursery_of: Make, children: list[Child]) -> None:
    child = born(nursery_of(), children)
    pid = child.pid()
    assert child.end() == End(-signal.SIGKILL, b"")
    assert not psutil.pid_exists(pid)


@pytest.mark.parametrize(
    ("work", "code"),
    [("os._exit(7)", 7), ("os.kill(os.getpid(), 14)", -14), ("", 0)],
)
def test_how_a_worker_ended_is_told(
    nursery_of: Make, children: list[Child], work: str, code: int
) -> None:
    child = born(nursery_of(work or "pass"), children)
    assert child.connection.recv(1) == b""  # it has ended
    assert child.end().code == code


def test_what_a_worker_writes_comes_to_its_own_pipe(
    nursery_of: Make, children: list[Child]
) -> None:
    nursery = nursery_of("print(descriptor, flush=True); print('error', file=sys.stderr)")
    for _ in range(2):
        child = born(nursery, children)
        assert child.connection.recv(1) == b""
        assert re.fullmatch(r"\d+\nerror\n", child.words())


def test_a_stopped_worker_can_be_ended(nursery_of: Make, children: list[Child]) -> None:
    child = born(nursery_of(), children)
    os.kill(child.pid(), signal.SIGSTOP)
    assert child.end().code == -signal.SIGKILL


def test_to_close_it_ends_everybody(nursery_of: Make, children: list[Child]) -> None:
    nursery = nursery_of()
    pids = [born(nursery, children).pid() for _ in range(3)]
    os.kill(pids[1], signal.SIGSTOP)
    everybody = [*pids, *nursery.pids()]
    nursery.close()
    assert not any(map(psutil.pid_exists, everybody))
    nursery.close()


def test_one_that_is_stopped_is_closed_all_the_same(
    nursery_of: Make, children: list[Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANSWER_TIMEOUT", 0.3)
    nursery = nursery_of()
    child = born(nursery, children)
    pid = child.pid()
    [own] = nursery.pids()
    os.kill(own, signal.SIGSTOP)
    assert child.end().code == -signal.SIGKILL
    assert gone(own)
    nursery.close()
    child.connection.shutdown(socket.SHUT_RDWR)
    wait_until(lambda: gone(pid))


@pytest.mark.parametrize("noticed", [False, True])
def test_one_that_died_is_replaced_and_its_workers_live_on(
    nursery_of: Make, children: list[Child], noticed: bool
) -> None:
    nursery = nursery_of()
    old = born(nursery, children)
    old_pid = old.pid()
    [own] = nursery.pids()
    os.kill(own, signal.SIGKILL)
    wait_until(lambda: gone(own))
    if noticed:
        old.end()
        assert nursery.listen() == b""
    new = born(nursery, children)
    assert psutil.Process(new.pid()).ppid() == nursery.pids()[0] != own
    assert not gone(old_pid)
    assert nursery.listen() == b""
    assert old.end().code == -signal.SIGKILL  # how its nursery ended: nobody knows more
    old.connection.shutdown(socket.SHUT_RDWR)
    wait_until(lambda: gone(old_pid))
    assert new.end().code == -signal.SIGKILL


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_supervisor_s_signals_end_neither_it_nor_a_worker(
    nursery_of: Make, children: list[Child], number: int
) -> None:
    nursery = nursery_of("s = _socket.socket(fileno=descriptor)\n    while s.send(s.recv(1)): pass")
    nursery.start()
    [own] = nursery.pids()
    os.kill(own, number)  # before it has imported anything
    child = born(nursery, children)
    child.connection.send(b"a")
    assert child.connection.recv(1) == b"a"
    for process in psutil.Process(own).children():
        process.send_signal(number)
    os.kill(own, number)
    child.connection.send(b"b")
    assert child.connection.recv(1) == b"b"
    assert nursery.pids() == [own] and not gone(own)


def test_the_caller_s_own_signals_are_as_before(nursery_of: Make) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    nursery_of().start()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


def test_modules_are_found_where_the_caller_finds_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As its ``sys.path`` is now; our own come first, and the working directory is no place."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", "lib", "/elsewhere", *sys.path])
    code = module._boot().replace("runpy.run_module", "print(sys.path);(lambda *_, **__: 0)")
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    home, *rest = ast.literal_eval(ended.stdout)
    assert home == str(REPO)
    assert rest[:2] == [str(tmp_path / "lib"), "/elsewhere"]
    assert not {"", str(tmp_path)} & set(rest)


def test_why_it_could_not_start_is_told(nursery_of: Make, children: list[Child]) -> None:
    nursery = nursery_of(before="import sys; sys.exit('no such package')")
    child = born(nursery, children)
    assert child.connection.recv(1) == b""
    assert child.end() == End(1, b"no such package\n")


def test_one_that_says_a_lot_still_starts(nursery_of: Make, children: list[Child]) -> None:
    """More than a pipe holds."""
    nursery = nursery_of(before="print('x' * 500_000)")
    nursery.start()
    said = 0
    while said < 500_000:
        said += len(nursery.listen())
    assert born(nursery, children).pid()


def test_an_interrupt_while_it_is_closed_leaves_nothing(
    nursery_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    nursery = nursery_of(before="import time; time.sleep(60)")
    nursery.start()
    [own] = nursery.pids()
    before = len(os.listdir("/proc/self/fd"))
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    with pytest.raises(KeyboardInterrupt):
        nursery.close()
    assert not psutil.pid_exists(own)
    assert len(os.listdir("/proc/self/fd")) == before - 2


def test_a_fork_that_is_refused_is_told(nursery_of: Make, children: list[Child]) -> None:
    before = "def refuse(): raise BlockingIOError(11, 'Resource temporarily unavailable')\n"
    child = born(nursery_of(before=f"{before}nursery._fork = refuse"), children)
    assert child.connection.recv(1) == b""
    assert child.words() == "Resource temporarily unavailable\n"
    assert child.end() == End(1, b"")


def test_no_process_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.sys, "executable", "/nonexistent")  # type: ignore[attr-defined]
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="No such file"):
        Nursery("s3").start()
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_end_of_the_supervisor_is_the_end_of_all(
    nursery_of: Make, children: list[Child]
) -> None:
    """Its sockets close with it, whatever killed it."""
    nursery = nursery_of()
    pid = born(nursery, children).pid()
    [own] = nursery.pids()
    assert nursery._process
    nursery._process._control.shutdown(socket.SHUT_RDWR)
    wait_until(lambda: gone(own))
    assert gone(pid)
