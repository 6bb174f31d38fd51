"""Workers come from the fork server, are buried by it, and none outlives it or the supervisor.

What the workers do is replaced here by a few lines of Python; the fork server is the real one.
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

from _uploader.processes import fork_server as module
from _uploader.processes.fork_server import End, ForkServer
from tests.conftest import REPO

PATIENCE = 20.0
"""Seconds after which a test gives up waiting."""
WORK = """
from gevent import monkey
monkey.patch_all()
import os, sys, time, _socket
{before}
sys.path.insert(0, {home!r})
from _uploader.processes import fork_server

def work(descriptor, shared=None):
    {work}
    os._exit(0)

provider, environment = fork_server.take_instructions(int(sys.argv[1]))
fork_server.serve(int(sys.argv[1]), work, environment)
"""
SAY_PID_AND_WAIT = (
    "s = _socket.socket(fileno=descriptor); s.send(str(os.getpid()).encode()); s.recv(1)"
)


class Child:
    """A worker that was asked for."""

    def __init__(self, fork_server: ForkServer) -> None:
        self.connection, theirs = socket.socketpair()
        self.connection.settimeout(PATIENCE)
        self._words, words = os.pipe()
        self.end = fork_server.fork(theirs, words)
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
def fork_server_of(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ForkServer]]:
    """Makes a fork server whose workers run this code."""
    with contextlib.ExitStack() as cleanup:

        def make(
            work: str = SAY_PID_AND_WAIT, before: str = "", provider: str = "s3", **settings: str
        ) -> ForkServer:
            boot = WORK.format(home=str(Path(__file__).parents[2]), work=work, before=before)
            monkeypatch.setattr(module, "boot_code", lambda: boot)
            fork_server = ForkServer(provider, settings)
            cleanup.callback(fork_server.close)
            return fork_server

        yield make


def born(fork_server: ForkServer, children: list[Child]) -> Child:
    children.append(Child(fork_server))
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


Make = Callable[..., ForkServer]
Pair = tuple[socket.socket, socket.socket]


def test_workers_are_forks_of_one_process(fork_server_of: Make, children: list[Child]) -> None:
    fork_server = fork_server_of()
    pids = [born(fork_server, children).pid() for _ in range(3)]
    assert len(set(pids)) == 3
    assert [psutil.Process(pid).ppid() for pid in pids] == fork_server.pids() * 3


def test_workers_share_a_descriptor(fork_server_of: Make, children: list[Child]) -> None:
    """Those of its successor, too, when the fork server has died."""
    fork_server = fork_server_of(
        "os.write(shared, b'.'); _socket.socket(fileno=descriptor).send(b'1')"
    )
    reading, writing = os.pipe()
    fork_server.share(writing)
    for _ in range(2):
        assert born(fork_server, children).pid() == 1
    [own] = fork_server.pids()
    os.kill(own, signal.SIGKILL)
    wait_until(lambda: gone(own))
    assert born(fork_server, children).pid() == 1
    os.close(writing)
    assert os.read(reading, 10) == b"..."
    os.close(reading)


def test_it_waits_for_requests_of_a_caller_with_patched_sockets(
    fork_server_of: Make, children: list[Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    """gevent makes both ends of a pair non-blocking."""

    def pair(*, made: Callable[[], Pair] = socket.socketpair) -> Pair:
        ours, theirs = made()
        theirs.setblocking(False)
        return ours, theirs

    fork_server = fork_server_of()
    with monkeypatch.context() as patched:
        patched.setattr(module.socket, "socketpair", pair)
        fork_server.start()
    pids = [
        born(fork_server, children).pid() for _ in range(2)
    ]  # one comes before the other is asked
    assert [psutil.Process(pid).ppid() for pid in pids] == fork_server.pids() * 2


def test_a_worker_has_a_session_of_its_own(fork_server_of: Make, children: list[Child]) -> None:
    """No terminal signals it, and its priority may be lowered."""
    pid = born(fork_server_of(), children).pid()
    assert os.getsid(pid) == pid


def test_a_worker_gets_the_environment(fork_server_of: Make, children: list[Child]) -> None:
    work = "_socket.socket(fileno=descriptor).send(os.environ['NUMBER'].encode())"
    assert born(fork_server_of(work, NUMBER="42"), children).pid() == 42


@pytest.mark.parametrize("rests", [False, True])
def test_what_the_workers_get_nobody_else_can_read(
    fork_server_of: Make, children: list[Child], rests: bool
) -> None:
    """All processes of a user can read what another one was started with."""
    fork_server = fork_server_of(SAY_PID_AND_WAIT, KEY="hunter2")
    pids = [born(fork_server, children).pid(), *fork_server.pids()]
    if rests:
        fork_server.rest()
        wait_until(lambda: b"reaper" in Path(f"/proc/{pids[1]}/cmdline").read_bytes())
    for pid in pids:
        for place in ("environ", "cmdline"):
            assert b"hunter2" not in Path(f"/proc/{pid}/{place}").read_bytes()


def test_it_starts_with_the_first_fork_or_before(
    fork_server_of: Make, children: list[Child]
) -> None:
    fork_server = fork_server_of()
    assert fork_server.pids() == []
    fork_server.start()
    [pid] = fork_server.pids()
    fork_server.start()
    born(fork_server, children).pid()
    assert fork_server.pids() == [pid]


def test_to_end_a_worker_kills_it(fork_server_of: Make, children: list[Child]) -> None:
    child = born(fork_server_of(), children)
    pid = child.pid()
    assert child.end() == End(-signal.SIGKILL, b"")
    assert not psutil.pid_exists(pid)


@pytest.mark.parametrize(
    ("work", "code"),
    [("os._exit(7)", 7), ("os.kill(os.getpid(), 14)", -14), ("", 0)],
)
def test_how_a_worker_ended_is_told(
    fork_server_of: Make, children: list[Child], work: str, code: int
) -> None:
    child = born(fork_server_of(work or "pass"), children)
    assert child.connection.recv(1) == b""  # it has ended
    assert child.end().code == code


def test_what_a_worker_writes_comes_to_its_own_pipe(
    fork_server_of: Make, children: list[Child]
) -> None:
    fork_server = fork_server_of("print(descriptor, flush=True); print('error', file=sys.stderr)")
    for _ in range(2):
        child = born(fork_server, children)
        assert child.connection.recv(1) == b""
        assert re.fullmatch(r"\d+\nerror\n", child.words())


def test_a_stopped_worker_can_be_ended(fork_server_of: Make, children: list[Child]) -> None:
    child = born(fork_server_of(), children)
    os.kill(child.pid(), signal.SIGSTOP)
    assert child.end().code == -signal.SIGKILL


def test_to_close_it_ends_everybody(fork_server_of: Make, children: list[Child]) -> None:
    fork_server = fork_server_of()
    pids = [born(fork_server, children).pid() for _ in range(3)]
    os.kill(pids[1], signal.SIGSTOP)
    everybody = [*pids, *fork_server.pids()]
    fork_server.close()
    assert not any(map(psutil.pid_exists, everybody))
    fork_server.close()


def test_one_that_is_stopped_is_closed_all_the_same(
    fork_server_of: Make, children: list[Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANSWER_TIMEOUT", 0.3)
    fork_server = fork_server_of()
    child = born(fork_server, children)
    pid = child.pid()
    [own] = fork_server.pids()
    os.kill(own, signal.SIGSTOP)
    assert child.end().code == -signal.SIGKILL
    assert gone(own)
    fork_server.close()
    child.connection.shutdown(socket.SHUT_RDWR)
    wait_until(lambda: gone(pid))


@pytest.mark.parametrize("noticed", [False, True])
def test_one_that_died_is_replaced_and_its_workers_live_on(
    fork_server_of: Make, children: list[Child], noticed: bool
) -> None:
    fork_server = fork_server_of()
    old = born(fork_server, children)
    old_pid = old.pid()
    [own] = fork_server.pids()
    os.kill(own, signal.SIGKILL)
    wait_until(lambda: gone(own))
    if noticed:
        old.end()
        assert fork_server.listen() == b""
    new = born(fork_server, children)
    assert psutil.Process(new.pid()).ppid() == fork_server.pids()[0] != own
    assert not gone(old_pid)
    assert fork_server.listen() == b""
    assert old.end().code == -signal.SIGKILL  # how its fork_server ended: nobody knows more
    old.connection.shutdown(socket.SHUT_RDWR)
    wait_until(lambda: gone(old_pid))
    assert new.end().code == -signal.SIGKILL


def test_one_that_rests_has_the_memory_of_a_bare_interpreter(
    fork_server_of: Make, children: list[Child]
) -> None:
    """It is the same process, and still tells how its workers ended, and ends them."""
    fork_server = fork_server_of(before="ballast = bytes(50_000_000).replace(b'\\0', b'1')")
    first, second, third = (born(fork_server, children) for _ in range(3))
    pids = [child.pid() for child in (first, second, third)]
    [own] = fork_server.pids()
    fork_server.rest()
    fork_server.rest()
    wait_until(lambda: psutil.Process(own).memory_info().rss < 20_000_000)
    assert fork_server.pids() == [own]
    os.kill(pids[1], signal.SIGTERM)
    assert second.end().code == -signal.SIGKILL
    assert first.end().code == -signal.SIGKILL
    assert not gone(pids[2])
    fork_server.close()
    assert not any(map(psutil.pid_exists, [*pids, own]))


def test_one_that_rests_tells_the_code_of_a_worker_that_ended_before(
    fork_server_of: Make, children: list[Child]
) -> None:
    fork_server = fork_server_of("_socket.socket(fileno=descriptor).recv(1); os._exit(7)")
    child = born(fork_server, children)
    fork_server.rest()
    child.connection.send(b".")
    assert child.connection.recv(1) == b""
    assert child.end() == End(7, b"")


def test_a_worker_after_the_rest_comes_from_another_that_stays(
    fork_server_of: Make, children: list[Child]
) -> None:
    fork_server = fork_server_of()
    old_pid = born(fork_server, children).pid()
    [resting] = fork_server.pids()
    fork_server.rest()
    pids = []
    for _ in range(2):
        pids.append(born(fork_server, children).pid())
        fork_server.rest()
    [_, own] = fork_server.pids()
    assert [psutil.Process(pid).ppid() for pid in (old_pid, *pids)] == [resting, own, own]
    fork_server.close()
    assert not any(map(psutil.pid_exists, [old_pid, *pids, resting, own]))


def test_one_without_memory_to_rest_goes_on_as_it_is(
    fork_server_of: Make, children: list[Child]
) -> None:
    before = """
def refuse(*arguments): raise OSError(12, 'Cannot allocate memory')
os.execve = refuse
"""
    fork_server = fork_server_of(before=before)
    child = born(fork_server, children)
    fork_server.rest()
    assert not gone(child.pid())
    assert child.end().code == -signal.SIGKILL


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2])
def test_the_supervisor_s_signals_end_neither_it_nor_a_worker(
    fork_server_of: Make, children: list[Child], number: int
) -> None:
    fork_server = fork_server_of(
        "s = _socket.socket(fileno=descriptor)\n    while s.send(s.recv(1)): pass"
    )
    fork_server.start()
    [own] = fork_server.pids()
    os.kill(own, number)  # before it has imported anything
    child = born(fork_server, children)
    child.connection.send(b"a")
    assert child.connection.recv(1) == b"a"
    for process in psutil.Process(own).children():
        process.send_signal(number)
    os.kill(own, number)
    child.connection.send(b"b")
    assert child.connection.recv(1) == b"b"
    assert fork_server.pids() == [own] and not gone(own)


def test_the_caller_s_own_signals_are_as_before(fork_server_of: Make) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    fork_server_of().start()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


def test_modules_are_found_where_the_caller_finds_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As its ``sys.path`` is now; our own come first, and the working directory is no place."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", "lib", "/elsewhere", *sys.path])
    code = module.boot_code().replace("runpy.run_module", "print(sys.path);(lambda *_, **__: 0)")
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    home, *rest = ast.literal_eval(ended.stdout)
    assert home == str(REPO)
    assert rest[:2] == [str(tmp_path / "lib"), "/elsewhere"]
    assert not {"", str(tmp_path)} & set(rest)


def test_why_it_could_not_start_is_told(fork_server_of: Make, children: list[Child]) -> None:
    fork_server = fork_server_of(before="import sys; sys.exit('no such package')")
    child = born(fork_server, children)
    assert child.connection.recv(1) == b""
    assert child.end() == End(1, b"no such package\n")


def test_one_that_says_a_lot_still_starts(fork_server_of: Make, children: list[Child]) -> None:
    """More than a pipe holds."""
    fork_server = fork_server_of(before="print('x' * 500_000)")
    fork_server.start()
    said = 0
    while said < 500_000:
        said += len(fork_server.listen())
    assert born(fork_server, children).pid()


def test_an_interrupt_while_it_is_closed_leaves_nothing(
    fork_server_of: Make, children: list[Child]
) -> None:
    fork_server = fork_server_of(before="time.sleep(60)")
    born(fork_server, children)  # one day
    [own] = fork_server.pids()
    before = len(os.listdir("/proc/self/fd"))
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    with pytest.raises(KeyboardInterrupt):
        fork_server.close()
    assert not psutil.pid_exists(own)
    assert len(os.listdir("/proc/self/fd")) == before - 2


def test_a_fork_that_is_refused_is_told(fork_server_of: Make, children: list[Child]) -> None:
    before = """
import posix
def refuse(): raise BlockingIOError(11, 'Resource temporarily unavailable')
posix.fork = refuse
"""
    child = born(fork_server_of(before=before), children)
    assert child.connection.recv(1) == b""
    assert child.words() == "Resource temporarily unavailable\n"
    assert child.end() == End(1, b"")


def test_the_provider_may_be_named_after_the_start(
    fork_server_of: Make, children: list[Child]
) -> None:
    say = "_socket.socket(fileno=descriptor).send(f'{provider} {os.environ[\"TOLD\"]}'.encode())"
    fork_server = fork_server_of(say, provider="", TOLD="yes")
    fork_server.start()
    (pid,) = fork_server.pids()
    fork_server.assign("azure")
    assert born(fork_server, children).connection.recv(100) == b"azure yes"
    assert fork_server.pids() == [pid]


def test_another_standard_input_needs_another_process(
    fork_server_of: Make, children: list[Child], tmp_path: Path
) -> None:
    (tmp_path / "input").write_bytes(b"content")
    fork_server = fork_server_of("_socket.socket(fileno=descriptor).send(os.read(0, 100) or b'-')")
    fork_server.start()
    assert born(fork_server, children).connection.recv(100) == b"-"
    (pid,) = fork_server.pids()
    with open(tmp_path / "input") as stdin:
        fork_server.assign("s3", stdin=stdin.fileno())
        assert gone(pid)
        assert born(fork_server, children).connection.recv(100) == b"content"


def test_a_process_that_has_forked_nothing_ends_at_once(fork_server_of: Make) -> None:
    """Wrong options are told at once, though it still imports."""
    fork_server = fork_server_of(before="time.sleep(3600)")
    fork_server.start()
    (pid,) = fork_server.pids()
    fork_server.close()
    assert gone(pid)


def test_a_process_ends_whose_supervisor_died_before_it_named_a_provider() -> None:
    code = (
        "import os\n"
        "from _uploader.processes.fork_server import ForkServer\n"
        "fork_server = ForkServer()\n"
        "fork_server.start()\n"
        "print(*fork_server.pids(), flush=True)\n"
        "os._exit(0)"
    )
    told = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, check=True)
    wait_until(lambda: gone(int(told.stdout)))


def test_no_process_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.sys, "executable", "/nonexistent")  # type: ignore[attr-defined]
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="No such file"):
        ForkServer("s3").start()
    assert len(os.listdir("/proc/self/fd")) == before
