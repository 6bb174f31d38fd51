"""Real processes that are killed, interrupted, starved and misled: the end stays honest."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from _uploader.processes.priority import FURTHER, LAST
from bench.sink import Sink
from tests.command import (
    KEYS,
    MIB,
    POLL,
    TIMEOUT,
    Finished,
    OnTerminal,
    Running,
    arguments,
    as_unknown_user,
    environment,
    halted,
    keys,
    needs_root,
    new_bucket,
    random_bytes,
    run,
    shell,
    small_files,
    without_privileges,
    write,
)
from tests.servers.ceph import CephRGW


def assert_each_file_ends_once(finished: Finished, names: list[str]) -> None:
    """Every file has one end, and the summary counts just those."""
    uploaded, failed = finished.paths("uploaded"), finished.paths("failed")
    assert sorted([*uploaded, *failed]) == sorted(names)
    summary = finished.summary
    assert (summary["uploaded"], summary["failed"]) == (len(uploaded), len(failed))
    assert summary["files"] == summary["uploaded"] + summary["skipped"] + summary["failed"]


def wait_for_the_end_of_all(running: Running) -> None:
    """Returns when no process of the run is left; fails when that takes too long."""
    deadline = time.monotonic() + TIMEOUT
    while survivors := running.survivors():
        if time.monotonic() > deadline:
            pytest.fail(f"still there: {survivors}")
        time.sleep(POLL)


# Killed workers


def test_worker_killed_in_mid_run_costs_no_file(ceph: CephRGW, data: Path) -> None:
    names, bucket = small_files(data, 1500), new_bucket()
    options = arguments(data, ceph.endpoint, bucket, "--json", "--processes", 2)
    with Running(*options, env=environment(ceph)) as running:
        running.wait_for("uploaded", 100)
        os.kill(running.workers()[0], signal.SIGKILL)
        finished = running.finish()
    assert (finished.code, finished.stderr) == (0, "")
    assert_each_file_ends_once(finished, names)
    assert finished.summary["uploaded"] == 1500
    assert sorted(keys(ceph, bucket)) == sorted(names)


def test_worker_killed_in_mid_run_is_told(sink: Sink, data: Path) -> None:
    small_files(data, 300)
    options = arguments(data, sink.http, "b", "--json", "--processes", 2)
    with Running(*options, env=environment(**KEYS)) as running, halted(sink.pids()):
        running.wait_until(lambda: len(running.workers()) == 2)
        pid = running.workers()[1]
        os.kill(pid, signal.SIGKILL)
        running.wait_for("note")
        events = running.events()
    (note,) = [event["text"] for event in events if event["event"] == "note"]
    # Killed before its first message, it has no number yet.
    assert str(pid) in note or note.startswith("a new worker")
    assert "killed by signal 9" in note


def test_worker_killed_while_it_uploads_a_large_file_costs_no_file(
    ceph: CephRGW, data: Path
) -> None:
    bucket, content, s3 = new_bucket(), random_bytes(128 * MIB, seed="large"), ceph.boto3()
    s3.create_bucket(Bucket=bucket)
    write(data, "large", content)
    options = arguments(data, ceph.endpoint, bucket, "--json", "--concurrency", 2)
    with Running(*options, env=environment(ceph)) as running:
        running.wait_until(lambda: "Uploads" in s3.list_multipart_uploads(Bucket=bucket))
        (worker,) = running.workers()
        os.kill(worker, signal.SIGKILL)
        finished = running.finish()
    assert (finished.code, finished.paths("uploaded")) == (0, ["large"])
    assert s3.get_object(Bucket=bucket, Key="large")["Body"].read() == content
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


def test_all_workers_killed_again_and_again_leave_an_honest_end(ceph: CephRGW, data: Path) -> None:
    """Files that were alone in a worker when it died for the second time may be given up."""
    names, bucket, kills = small_files(data, 1200), new_bucket(), 0
    options = arguments(data, ceph.endpoint, bucket, "--json", "--processes", 2)
    with Running(*options, env=environment(ceph)) as running:
        for uploaded in (50, 200, 350):
            running.wait_for("uploaded", uploaded)
            running.wait_until(lambda: len(running.workers()) == 2)
            for pid in running.workers():
                os.kill(pid, signal.SIGKILL)
                kills += 1
        finished = running.finish()
    assert_each_file_ends_once(finished, names)
    assert set(finished.paths("uploaded")) <= set(keys(ceph, bucket))
    assert finished.summary["failed"] <= kills
    assert all("killed by signal 9" in reason for reason in finished.reasons().values())
    assert finished.code == (1 if finished.summary["failed"] else 0)


def test_the_fork_server_killed_costs_no_file_and_a_worker_after_it_is_replaced(
    ceph: CephRGW, data: Path
) -> None:
    names, bucket = small_files(data, 1200), new_bucket()
    options = arguments(data, ceph.endpoint, bucket, "--json", "--processes", 2)
    with Running(*options, env=environment(ceph)) as running:
        running.wait_for("uploaded", 50)
        (fork_server,) = running.fork_server()
        worker = running.workers()[0]
        os.kill(fork_server, signal.SIGKILL)
        running.wait_for("uploaded", 200)
        os.kill(worker, signal.SIGKILL)
        finished = running.finish()
        wait_for_the_end_of_all(running)  # workers without their fork server end by themselves
    assert (finished.code, finished.stderr) == (0, "")
    assert_each_file_ends_once(finished, names)
    assert sorted(keys(ceph, bucket)) == sorted(names)


def test_once_all_workers_run_the_fork_server_rests(slow_sink: Sink, data: Path) -> None:
    names = small_files(data, 1500)
    options = arguments(data, slow_sink.http, "b", "--json", "--processes", 2, "--concurrency", 16)
    with Running(*options, env=environment(**KEYS)) as running:
        running.wait_for("uploaded", 50)

        def rests(pid: int) -> bool:
            return any("reaper" in word for word in psutil.Process(pid).cmdline())

        running.wait_until(lambda: any(map(rests, running.fork_server())))
        os.kill(running.workers()[0], signal.SIGKILL)
        running.wait_until(lambda: len(running.fork_server()) == 2)
        running.wait_until(lambda: len(running.workers()) == 2)
        finished = running.finish()
        assert running.survivors() == []
    assert (finished.code, finished.stderr) == (0, "")
    assert_each_file_ends_once(finished, names)


def test_supervisor_killed_takes_its_workers_along(sink: Sink, data: Path) -> None:
    """Even while they wait for a server that hangs."""
    small_files(data, 2000)
    options = arguments(data, sink.http, "b", "--json", "--processes", 2)
    with Running(*options, env=environment(**KEYS)) as running:
        running.wait_for("uploaded", 10)
        with halted(sink.pids()):
            assert len(running.workers()) == 2
            os.kill(running.pid, signal.SIGKILL)
            wait_for_the_end_of_all(running)


def test_run_leaves_no_process_behind(sink: Sink, data: Path) -> None:
    small_files(data, 500)
    options = arguments(data, sink.http, "b", "--json", "--processes", 2)
    with Running(*options, env=environment(**KEYS)) as running:
        running.wait_for("uploaded")
        running.workers()
        running.finish()
        assert running.survivors() == []


# Signals


def interrupted(ceph: CephRGW, data: Path, number: int, bucket: str) -> tuple[Finished, list[str]]:
    """A run that got a signal in its middle: its end, and its files."""
    names = small_files(data, 2500)
    options = arguments(data, ceph.endpoint, bucket, "--json", "--processes", 2)
    with Running(*options, env=environment(ceph)) as running:
        running.wait_for("uploaded", 200)
        running.workers()
        running.signal(number)
        finished = running.finish()
        assert running.survivors() == []
    return finished, names


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_signal_stops_the_run_and_tells_what_is_there(
    ceph: CephRGW, data: Path, number: int, code: int
) -> None:
    bucket = new_bucket()
    finished, names = interrupted(ceph, data, number, bucket)
    assert (finished.code, finished.stderr) == (code, "")
    assert_each_file_ends_once(finished, names)
    assert finished.summary["failed"] > 0
    assert set(finished.paths("uploaded")) <= set(keys(ceph, bucket))


def test_ctrl_c_once_stops_the_run_while_a_server_hangs(sink: Sink, data: Path) -> None:
    small_files(data, 1500)
    options = arguments(data, sink.http, "b", "--json")
    with Running(*options, env=environment(**KEYS)) as running:
        running.wait_for("uploaded", 10)
        with halted(sink.pids()):
            running.signal(signal.SIGINT)
            finished = running.finish()
    assert finished.code == 130
    assert finished.summary["uploaded"] + finished.summary["failed"] == 1500


def test_ctrl_c_twice_stops_the_run(sink: Sink, data: Path) -> None:
    small_files(data, 1500)
    options = arguments(data, sink.http, "b", "--json")
    with Running(*options, env=environment(**KEYS)) as running:
        running.wait_for("uploaded", 10)
        with halted(sink.pids()):
            running.signal(signal.SIGINT)
            running.wait_for("note")
            running.signal(signal.SIGINT)
            finished = running.finish()
    assert finished.code == 130
    assert finished.summary["uploaded"] + finished.summary["failed"] == 1500


def test_ctrl_c_twice_before_the_bucket_was_looked_at_stops_the_run(sink: Sink, data: Path) -> None:
    small_files(data, 100)
    options = arguments(data, sink.http, "b", "--json")
    with halted(sink.pids()), Running(*options, env=environment(**KEYS)) as running:
        running.wait_until(lambda: bool(running.workers()))
        running.signal(signal.SIGINT)
        running.wait_for("note")
        running.signal(signal.SIGINT)
        finished = running.finish()
    assert finished.code == 130
    assert finished.summary["failed"] == 100


def test_ctrl_c_on_a_terminal_ends_with_the_summary(slow_sink: Sink, data: Path) -> None:
    small_files(data, 2000)
    options = arguments(data, slow_sink.http, "b", "--concurrency", 20)
    with OnTerminal(*options, env=environment(**KEYS)) as running:
        running.wait_until(lambda: "% " in running.stdout())
        running.type(b"\x03")
        finished = running.finish()
    assert finished.code == 130
    assert "stopping" in finished.stdout
    assert "interrupted before its end" in finished.stdout
    assert "Traceback" not in finished.stdout


def test_signal_that_the_caller_ignores_is_ignored(slow_sink: Sink, data: Path) -> None:
    """As with ``nohup`` and SIGHUP."""
    small_files(data, 200)
    options = arguments(data, slow_sink.http, "b", "--json", "--concurrency", 20)
    wrapper = shell("trap '' HUP; exec \"$@\"")
    with Running(*options, env=environment(**KEYS), wrapper=wrapper) as running:
        running.wait_for("uploaded", 10)
        running.signal(signal.SIGHUP)
        assert running.finish().code == 0


# Workers that die of something.  What kills them is put into Python's start-up, not into the
# program: ``sitecustomize`` is imported by every interpreter that finds it on PYTHONPATH.

POISON = """
import os

real = os.open

def lethal(path, *arguments, **options):
    if str(path).endswith("poison"):
        os.kill(os.getpid(), 9)
    return real(path, *arguments, **options)

os.open = lethal
"""
BROKEN = """
import sys

class Broken:
    def find_spec(self, name, *_):
        if name == {name!r}:
            raise ImportError("it is broken on this machine")

sys.meta_path.insert(0, Broken())
"""


def sitecustomize(folder: Path, code: str) -> str:
    write(folder, "sitecustomize.py", code.encode())
    return str(folder)


def test_file_that_kills_workers_fails_alone(ceph: CephRGW, data: Path, tmp_path: Path) -> None:
    bucket, names = new_bucket(), small_files(data, 300)
    write(data, "folder1/poison")
    env = environment(ceph, PYTHONPATH=sitecustomize(tmp_path / "hook", POISON))
    finished = run(*arguments(data, ceph.endpoint, bucket, "--json"), env=env)
    assert finished.code == 1
    assert finished.reasons() == {
        "folder1/poison": "worker processes died of it: killed by signal 9"
    }
    assert sorted(keys(ceph, bucket)) == sorted(names)
    assert_each_file_ends_once(finished, [*names, "folder1/poison"])


def test_directory_of_files_that_kill_workers_stops_the_run(
    sink: Sink, data: Path, tmp_path: Path
) -> None:
    for number in range(100):
        write(data, f"{number}.poison")
    env = environment(**KEYS, PYTHONPATH=sitecustomize(tmp_path / "hook", POISON))
    finished = run(*arguments(data, sink.http, "b", "--json"), env=env)
    assert finished.code == 3
    assert "worker processes have died" in finished.stderr
    assert finished.summary["failed"] == 100


@pytest.mark.parametrize("library", ["gevent", "libcloud", "awscrt", "httptools"])
def test_worker_that_cannot_import_a_library_stops_the_run_with_the_reason(
    sink: Sink, data: Path, tmp_path: Path, library: str
) -> None:
    small_files(data, 10)
    code = BROKEN.format(name=library)
    env = environment(**KEYS, PYTHONPATH=sitecustomize(tmp_path / "hook", code))
    finished = run(*arguments(data, sink.http, "b"), env=env)
    assert finished.code == 3
    (line,) = finished.complaints
    assert "it is broken on this machine" in line


# A machine that is short of something


def test_full_shared_memory_and_temporary_folder_do_no_harm(
    sink: Sink, data: Path, tmp_path: Path
) -> None:
    needs_root()
    names = small_files(data, 50)
    write(data, "large", random_bytes(20 * MIB, seed=1))
    (tmp_path / "tmp").mkdir()
    sink.reset()
    fill = " && ".join(
        f"mount -t tmpfs -o size=64k none {place} && ! cat /dev/zero 2>/dev/null >{place}/zeros"
        for place in ("/dev/shm", "$TMPDIR")
    )
    finished = run(
        *arguments(data, sink.http, "b", "--json"),
        env=environment(**KEYS, TMPDIR=str(tmp_path / "tmp")),
        wrapper=["unshare", "--mount", *shell(f'{fill} && exec "$@"')],
    )
    assert (finished.code, finished.stderr) == (0, "")
    assert finished.summary["uploaded"] == len(names) + 1


def test_state_directory_that_cannot_be_written_costs_only_the_list(sink: Sink, data: Path) -> None:
    write(data, "good")
    (data / "dangling").symlink_to("nowhere")
    Path(os.environ["HOME"]).chmod(0o500)
    finished = run(
        *arguments(data, sink.http, "b", "--json", "--no-journal"),
        env=environment(**KEYS),
        wrapper=without_privileges(),
    )
    assert finished.code == 1
    assert finished.reasons() == {"dangling": "links to nothing"}
    assert finished.summary["failed_list"] is None
    notes = [event["text"] for event in finished.events if event["event"] == "note"]
    assert notes == ["the list of failed files could not be created: Permission denied"]


def test_journal_that_has_no_place_stops_the_run(sink: Sink, data: Path) -> None:
    write(data, "good")
    Path(os.environ["HOME"]).chmod(0o500)
    options = arguments(data, sink.http, "b")
    finished = run(*options, env=environment(**KEYS), wrapper=without_privileges())
    assert finished.code == 3
    (line,) = finished.complaints
    assert "journal" in line and "Permission denied" in line


@pytest.mark.parametrize("limit", [64, 256])
@pytest.mark.parametrize("concurrency", [(), ("--concurrency", 400)])
def test_few_file_descriptors_cost_no_file(
    sink: Sink, data: Path, limit: int, concurrency: tuple[object, ...]
) -> None:
    names = small_files(data, 500)
    finished = run(
        *arguments(data, sink.http, "b", "--json", *concurrency),
        env=environment(**KEYS),
        wrapper=["prlimit", f"--nofile={limit}:{limit}"],
    )
    assert finished.reasons() == {}
    assert (finished.code, finished.summary["uploaded"]) == (0, len(names))


def test_run_without_home_in_the_environment_uploads(sink: Sink, data: Path) -> None:
    names = small_files(data, 20)
    env = environment(**KEYS)
    del env["HOME"]
    finished = run(*arguments(data, sink.http, "b", "--json"), env=env)
    assert (finished.code, finished.summary["uploaded"]) == (0, len(names))


def test_run_of_a_user_without_name_and_home_uploads_and_reports(sink: Sink, data: Path) -> None:
    """As in a container that was given a number for its user."""
    write(data, "good")
    (data / "dangling").symlink_to("nowhere")
    env = environment(**KEYS)
    del env["HOME"]
    options = arguments(data, sink.http, "b", "--json", "--no-journal")
    finished = run(*options, env=env, wrapper=as_unknown_user())
    assert (finished.code, finished.stderr) == (1, "")
    assert finished.paths("uploaded") == ["good"]
    assert finished.reasons() == {"dangling": "links to nothing"}


def test_run_of_a_user_without_home_asks_for_a_place_for_its_journal(
    sink: Sink, data: Path
) -> None:
    env = environment(**KEYS)
    del env["HOME"]
    finished = run(*arguments(data, sink.http, "b"), env=env, wrapper=as_unknown_user())
    assert finished.code == 3
    (line,) = finished.complaints
    assert "--journal" in line and "--no-journal" in line


# A working directory that is not to be trusted

IMPOSTORS = ("providers", "_uploader", "gevent", "socket", "json", "libcloud", "ssl")


def test_modules_in_the_working_directory_are_not_imported(
    sink: Sink, data: Path, tmp_path: Path
) -> None:
    here, trace = tmp_path / "here", tmp_path / "imported"
    for name in IMPOSTORS:
        write(here, f"{name}.py", f"open({str(trace)!r}, 'a').write({name!r})".encode())
    small_files(data, 5)
    options = arguments(data, sink.http, "b", "--json")
    finished = run(*options, env=environment(**KEYS), cwd=here)
    assert (finished.code, trace.exists()) == (0, False)


def test_working_directory_that_was_deleted_does_no_harm(sink: Sink, data: Path) -> None:
    small_files(data, 5)
    gone = data.parent / "gone"
    gone.mkdir()
    options = arguments(data, sink.http, "b", "--json")
    wrapper = shell('rmdir "$PWD"; exec "$@"')
    finished = run(*options, env=environment(**KEYS), cwd=gone, wrapper=wrapper)
    assert finished.code == 0


# Neighbours


def session_niceness(pid: int) -> int | None:
    """That of the process's session; None where Linux does not weigh sessions."""
    file = Path(f"/proc/{pid}/autogroup")
    return int(file.read_text().split()[-1]) if file.exists() else None


@pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="only Linux has batch scheduling")
@pytest.mark.parametrize(("niceness", "disk"), [(10, 7), (0, 0)])
def test_workers_let_others_go_first(sink: Sink, data: Path, niceness: int, disk: int) -> None:
    small_files(data, 300)
    options = arguments(data, sink.http, "b", "--nice", niceness)
    with Running(*options, env=environment(**KEYS)) as running, halted(sink.pids()):
        running.wait_until(lambda: len(running.workers()) == 2)
        policy = os.SCHED_BATCH if niceness else os.SCHED_OTHER
        running.wait_until(
            lambda: all(
                psutil.Process(pid).nice() == niceness and os.sched_getscheduler(pid) == policy
                for pid in running.workers()
            )
        )
        wanted = {None, niceness and min(niceness + FURTHER, LAST)}
        running.wait_until(
            lambda: all(session_niceness(pid) in wanted for pid in running.workers())
        )
        # The worker that prepares the bucket is not ready: it waits for the sink.
        running.wait_until(
            lambda: disk in {psutil.Process(pid).ionice().value for pid in running.workers()}
        )
