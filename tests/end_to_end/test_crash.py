"""Whatever ends a run, the next one of the same command finishes what is left, nothing twice."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from bench.process import free_port
from tests.command import (
    TIMEOUT,
    Finished,
    OnTerminal,
    Running,
    arguments,
    environment,
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
from tests.servers.fakes3 import KIB, MIB, FakeS3

BUCKET = "bucket"
FILES = 60
LATENCY = 0.02
"""Seconds that each answer takes: a run should last long enough to be killed in its middle."""
LARGE = 16 * MIB + 1
"""Three parts."""
PARTS = 3
WITH_GRACE = 9.0
"""Seconds that a stop may take which lets uploads in flight end: 5, and a busy machine."""


class Server(FakeS3):
    """Begins uploads now, as real services do: what is older is not taken for ours."""

    def _operate(self, request: Any, *rest: Any, **options: Any) -> Any:
        answer = super()._operate(request, *rest, **options)
        if request.kind != "list_uploads":
            return answer
        now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z").encode()
        return answer._replace(body=re.sub(rb"(<Initiated>)[^<]*", rb"\g<1>" + now, answer.body))


class World:
    """A directory, a bucket, and the command that brings the one into the other."""

    def __init__(self, base: Path, server: Server) -> None:
        self.server = server
        self.data = base / "data"
        self.data.mkdir()
        self.journal = base / "journal" / "j.sqlite"
        self._hooks = base / "hooks"

    def options(self, *more: object) -> list[object]:
        """Many requests at a time would leave no middle in which to be killed."""
        common = ["--journal", self.journal, "--json", "--processes", 1, "--concurrency", 8]
        return [*arguments(self.data, self.server.endpoint, BUCKET), *common, *more]

    def environment(self, hook: str = "") -> dict[str, str]:
        """``hook`` is code that each interpreter runs at its start."""
        more = {"AWS_REGION": "us-east-1"}
        if hook:
            write(self._hooks, "sitecustomize.py", hook.encode())
            more["PYTHONPATH"] = str(self._hooks)
        return environment(self.server, **more)

    def start(self, *more: object, hook: str = "", **settings: Any) -> Running:
        return Running(*self.options(*more), env=self.environment(hook), **settings)

    def run(self, *more: object, hook: str = "", **settings: Any) -> Finished:
        return run(*self.options(*more), env=self.environment(hook), **settings)

    def fill(self, files: int = FILES, large: int = 1) -> list[str]:
        names = small_files(self.data, files)
        for number in range(large):
            names.append(f"large{number}")
            path = write(self.data, names[-1], random_bytes(KIB, number))
            with open(path, "r+b") as file:  # full of holes, but no two parts are alike
                for part in range(1, PARTS):
                    file.seek(part * 8 * MIB)
                    file.write(random_bytes(KIB, f"{number}/{part}")[: LARGE - part * 8 * MIB])
                file.truncate(LARGE)
        return names

    def recorded(self) -> set[str]:
        """The files that the journal calls done."""
        if not self.journal.exists():
            return set()
        database = sqlite3.connect(self.journal)
        try:
            if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'done'").fetchone():
                return set()  # it is being made
            return {path for (path,) in database.execute("SELECT path FROM done")}
        finally:
            database.close()

    def settle(self) -> None:
        """Waits for the requests of a run that is gone: they arrive all the same."""
        deadline = time.monotonic() + TIMEOUT
        while self.server.in_flight:
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def assert_all_there(self, names: list[str]) -> None:
        """The bucket is the directory, and nothing is half there."""
        assert sorted(self.server.objects(BUCKET)) == sorted(names)
        assert self.server.wrong(BUCKET, self.data) == {}
        assert self.server.open_uploads(BUCKET) == []

    def uploaded_until(self, running: Running, count: int) -> None:
        running.wait_until(lambda: running.count("uploaded") >= count)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(buckets=[BUCKET]) as server:
        server.script("*", "*", f"delay:{LATENCY}...")
        yield server


@pytest.fixture
def world(tmp_path: Path, server: Server) -> World:
    return World(tmp_path, server)


class Before(NamedTuple):
    """What was there when a run had been cut short."""

    recorded: set[str]
    told: set[str]
    stored: Counter[str]

    @classmethod
    def of(cls, world: World, running: Running) -> Before:
        world.settle()
        told = re.findall(r'"event": "uploaded", "path": "([^"]*)"', running.stdout())
        return cls(world.recorded(), set(told), Counter(world.server.stored))


def assert_the_next_run_finishes(world: World, names: list[str], before: Before) -> None:
    """What was told was recorded, what was recorded is not sent again, the rest is sent once."""
    assert before.told <= before.recorded <= set(before.stored)
    finished = world.run()
    assert (finished.code, finished.stderr) == (0, "")
    world.assert_all_there(names)
    for name in names:
        again = world.server.stored[name] - before.stored[name]
        assert again == (0 if name in before.recorded else 1), name
    assert not world.journal.exists()


def end(running: Running) -> None:
    """Waits until the run and its workers are gone: what they sent has arrived, or never will."""
    running.process.wait(TIMEOUT)
    deadline = time.monotonic() + TIMEOUT
    while running.survivors():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# kill -9 at random moments


@pytest.mark.parametrize("seed", range(30))
def test_kill_at_a_random_moment(world: World, seed: int) -> None:
    chance = random.Random(seed)
    names = world.fill()
    requests = FILES + PARTS + 2
    victim = ("supervisor", "worker", "all")[seed % 3]
    with world.start("--processes", 2) as running:
        after = chance.randrange(1, requests)
        running.wait_until(lambda: len(world.server.seen) >= after)
        time.sleep(chance.random() * 2 * LATENCY)  # the moment is not that of an answer
        workers = running.workers()
        if victim == "worker":
            kill(chance.choice(workers))
            finished = running.finish()
            assert (finished.code, finished.stderr) == (0, "")
            world.assert_all_there(names)
            assert max(world.server.stored.values()) <= 2
            assert sorted(finished.paths("uploaded")) == sorted(names)
            return
        kill(running.pid)
        for pid in workers if victim == "all" else ():
            kill(pid)
        end(running)
        before = Before.of(world, running)
    assert_the_next_run_finishes(world, names, before)


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def test_kill_again_and_again(world: World) -> None:
    """Each run goes on where the one before was killed."""
    names = world.fill()
    for _ in range(4):
        seen = len(world.server.seen)
        with world.start() as running:
            running.wait_until(lambda seen=seen: len(world.server.seen) >= seen + 15)
            running.workers()
            kill(running.pid)
            end(running)
            before = Before.of(world, running)
    assert_the_next_run_finishes(world, names, before)


# kill -9 at named points

POINT = """
import importlib.util, os, sys

def die():
    try:
        os.close(os.open({marker!r}, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return  # once is enough
    for pid in {victims}:
        os.kill(pid, 9)

def wrap(module):
    owner = getattr(module, {owner!r})
    real = getattr(owner, {name!r})
    calls = 0

    def wrapped(*arguments, **options):
        nonlocal calls
        calls += 1
        due = calls >= {nth}
        if due and {before}:
            die()
        result = real(*arguments, **options)
        if due:
            die()
        return result

    setattr(owner, {name!r}, wrapped)

class Hook:
    def find_spec(self, name, path=None, target=None):
        if name != {module!r}:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            wrap(module)

        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Hook())
"""
SESSION, JOURNAL = ("providers.s3.session", "S3Session"), ("_uploader.records.journal", "Journal")
SUPERVISOR = "int(open(f'/proc/{os.getppid()}/stat').read().split()[3])"
"""A worker's parent's parent."""
VICTIMS = {
    "itself": "[os.getpid()]",
    "supervisor": f"[{SUPERVISOR}]",
    "both": f"[{SUPERVISOR}, os.getpid()]",
}


class Point(NamedTuple):
    """A moment in the program, and who dies then."""

    when: str
    where: tuple[str, str]
    name: str
    victim: str
    nth: int = 1

    def __str__(self) -> str:
        nth = f" {self.nth}" if self.nth > 1 else ""
        return f"{self.when} {self.name}{nth} dies {self.victim}"

    def hook(self, marker: Path) -> str:
        module, owner = self.where
        return POINT.format(
            marker=str(marker),
            victims=VICTIMS[self.victim],
            module=module,
            owner=owner,
            name=self.name,
            nth=self.nth,
            before=self.when == "before",
        )


IN_THE_WORKER = [
    *(Point("before", SESSION, "put", victim, 3) for victim in ("itself", "both")),
    *(Point("after", SESSION, "put", victim, 3) for victim in ("itself", "both")),
    Point("before", SESSION, "begin", "both"),
    *(Point("after", SESSION, "begin", victim) for victim in VICTIMS),
    *(Point("after", SESSION, "put_part", victim) for victim in ("itself", "both")),
    *(Point("before", SESSION, "put_part", victim, 3) for victim in ("itself", "supervisor")),
    *(Point("before", SESSION, "complete", victim) for victim in ("itself", "both")),
    *(Point("after", SESSION, "complete", victim) for victim in ("itself", "both")),
]
IN_THE_SUPERVISOR = [
    Point("before", JOURNAL, "add_upload", "itself"),
    Point("after", JOURNAL, "add_upload", "itself"),
    *(Point("before", JOURNAL, "commit", "itself", nth) for nth in (1, 3)),
    *(Point("after", JOURNAL, "commit", "itself", nth) for nth in (1, 3)),
    Point("before", JOURNAL, "close", "itself"),
]


@pytest.mark.parametrize("point", [p for p in IN_THE_WORKER if p.victim == "itself"], ids=str)
def test_a_worker_that_is_killed_costs_no_file(world: World, tmp_path: Path, point: Point) -> None:
    names, marker = world.fill(files=12, large=1), tmp_path / "died"
    finished = world.run(hook=point.hook(marker))
    assert marker.exists()
    assert (finished.code, finished.stderr) == (0, "")
    assert sorted(finished.paths("uploaded")) == sorted(names)
    world.assert_all_there(names)
    assert max(world.server.stored.values()) <= 2


@pytest.mark.parametrize(
    "point", [p for p in IN_THE_WORKER if p.victim != "itself"] + IN_THE_SUPERVISOR, ids=str
)
def test_a_run_that_is_killed_is_finished_by_the_next(
    world: World, tmp_path: Path, point: Point
) -> None:
    names, marker = world.fill(files=12, large=1), tmp_path / "died"
    with world.start(hook=point.hook(marker)) as running:
        while running.process.poll() is None:
            running.workers()
            time.sleep(0.005)
        assert marker.exists()
        assert running.process.returncode == -signal.SIGKILL
        end(running)
        before = Before.of(world, running)
    assert_the_next_run_finishes(world, names, before)


# Signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_run_that_is_stopped_is_finished_by_the_next(world: World, number: int) -> None:
    names = world.fill()
    with world.start() as running:
        world.uploaded_until(running, 5)
        running.signal(number)
        finished = running.finish(WITH_GRACE)
        before = Before.of(world, running)
    assert finished.code == 128 + number
    assert before.told == before.recorded
    assert_the_next_run_finishes(world, names, before)


def test_a_run_whose_terminal_is_closed_is_finished_by_the_next(world: World) -> None:
    names = world.fill()
    options = [option for option in world.options() if option != "--json"]
    with OnTerminal(*options, env=world.environment()) as running:
        running.wait_until(lambda: len(world.recorded()) >= 5)
        running.workers()
        os.close(running._master)
        running._master = os.open(os.devnull, os.O_RDWR)
        code = running.process.wait(WITH_GRACE)
        end(running)
    assert code == 128 + signal.SIGHUP
    world.settle()
    before = Before(world.recorded(), set(), Counter(world.server.stored))
    assert_the_next_run_finishes(world, names, before)


def test_a_worker_that_stands_still_for_longer_than_the_timeout_costs_no_file(
    world: World,
) -> None:
    names = world.fill(files=200)
    with world.start("--timeout", 1, "--processes", 2) as running:
        world.uploaded_until(running, 5)
        worker = running.workers()[0]
        os.kill(worker, signal.SIGSTOP)
        time.sleep(2.5)  # what is tested is that time passes
        os.kill(worker, signal.SIGCONT)
        finished = running.finish()
    assert (finished.code, finished.stderr) == (0, "")
    world.assert_all_there(names)


def test_a_run_that_stands_still_for_longer_than_the_timeout_goes_on(world: World) -> None:
    names = world.fill(files=200)
    with world.start("--timeout", 1) as running:
        world.uploaded_until(running, 5)
        everyone = [running.pid, *running.workers()]
        for pid in everyone:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(2.5)  # what is tested is that time passes
        for pid in everyone:
            os.kill(pid, signal.SIGCONT)
        finished = running.finish()
    assert (finished.code, finished.stderr) == (0, "")
    world.assert_all_there(names)


IMPATIENT = (
    POINT[: POINT.index("def die")]
    + """
def wrap(module):
    module.SILENCE_ALLOWED = 3.0
"""
    + POINT[POINT.index("\nclass Hook") :]
)


def test_a_worker_that_never_moves_again_is_replaced(world: World) -> None:
    names = world.fill(files=200)
    hook = IMPATIENT.format(module="_uploader.processes.supervisor")
    with world.start("--processes", 2, hook=hook) as running:
        world.uploaded_until(running, 5)
        worker = running.workers()[0]
        os.kill(worker, signal.SIGSTOP)
        finished = running.finish()
        assert worker not in running.survivors()
    assert (finished.code, finished.stderr) == (0, "")
    notes = [event["text"] for event in finished.events if event["event"] == "note"]
    assert f"worker {worker} has been silent for too long: replaced" in notes
    world.assert_all_there(names)


# The journal's place


def assert_refused(finished: Finished, *words: str) -> None:
    """Exit 3, one line, and nothing uploaded."""
    assert finished.code == 3
    (line,) = finished.complaints
    assert all(word in line for word in words), line
    assert '"uploaded"' not in finished.stdout.replace('"uploaded": 0', "")


def cut_short(world: World, count: int = 10) -> list[str]:
    """A run that was killed in its middle; returns the names of all files."""
    names = world.fill()
    with world.start() as running:
        running.wait_until(lambda: running.count("uploaded") >= count)
        running.workers()
        kill(running.pid)
        end(running)
    return names


def fits(size: str) -> list[str]:
    """A wrapper: the journal lies on a disk of its own, which is copied to ``kept`` at the end."""
    script = (
        'place=$1 kept=$2; shift 2; mkdir -p "$place" "$kept"\n'
        f'mount -t tmpfs -o size={size} none "$place"\n'
        'code=0; "$@" || code=$?\n'
        'cp "$place"/* "$kept"; exit $code'
    )
    return shell(script)


def test_a_disk_that_is_full_stops_the_run_and_loses_nothing(world: World) -> None:
    needs_root()
    place, kept = world.journal.parent, world.journal.parent.with_name("kept")
    names = world.fill(files=400, large=1)
    wrapper = ["unshare", "--mount", *fits("136k"), str(place), str(kept)]
    finished = world.run(wrapper=wrapper)
    assert finished.code == 3, finished.stdout
    (line,) = finished.complaints
    assert str(world.journal) in line and "full" in line
    summary = finished.summary
    assert summary["files"] == summary["uploaded"] + summary["failed"]
    for path in kept.iterdir():
        shutil.copy(path, place)
    told = set(finished.paths("uploaded"))
    before = Before(world.recorded(), told, Counter(world.server.stored))
    assert 0 < len(told) == summary["uploaded"] < len(names)
    assert_the_next_run_finishes(world, names, before)


def test_a_truncated_journal_stops_the_next_run(world: World) -> None:
    names = cut_short(world)
    world.recorded()  # whoever reads it last moves the log into it
    whole = world.journal.read_bytes()
    world.journal.write_bytes(whole[: len(whole) // 2])
    assert_refused(world.run(), str(world.journal))
    world.journal.write_bytes(whole)
    assert world.run().code == 0
    world.assert_all_there(names)


def test_a_journal_of_noise_stops_the_next_run(world: World) -> None:
    names = cut_short(world)
    world.recorded()
    whole = world.journal.read_bytes()
    world.journal.write_bytes(random_bytes(len(whole), "noise"))
    assert_refused(world.run(), str(world.journal))
    world.journal.write_bytes(whole)
    assert world.run().code == 0
    world.assert_all_there(names)


def test_a_journal_that_is_deleted_in_mid_run_stops_it(world: World) -> None:
    """With it goes the memory of the uploads under way: they have to be asked for."""
    names = world.fill(files=200)
    with world.start() as running:
        world.uploaded_until(running, 10)
        world.journal.unlink()
        finished = running.finish()
    assert finished.code == 3
    (line,) = finished.complaints
    assert "was removed while it was in use" in line
    summary = finished.summary
    assert summary["files"] == summary["uploaded"] + summary["failed"]
    assert set(finished.paths("uploaded")) <= set(world.server.objects(BUCKET))
    world.settle()
    assert world.run("--abort-stale").code == 0
    world.assert_all_there(names)


def test_a_journal_that_cannot_be_written_stops_the_next_run(world: World) -> None:
    names = cut_short(world)
    world.recorded()
    world.journal.chmod(0o400)
    assert_refused(world.run(wrapper=without_privileges()), "Permission denied")
    world.journal.chmod(0o600)
    assert world.run().code == 0
    world.assert_all_there(names)


def test_a_second_run_stops_and_the_first_goes_on(world: World) -> None:
    names = world.fill(files=200)
    world.server.script("put", names[-1], "delay:5,ok")
    with world.start() as running:
        world.uploaded_until(running, 5)
        assert_refused(world.run(), "another run is using the journal")
        finished = running.finish()
    assert (finished.code, finished.stderr) == (0, "")
    world.assert_all_there(names)
    assert max(world.server.stored.values()) == 1


# Going on


def test_one_line_says_that_the_run_goes_on(world: World) -> None:
    cut_short(world)
    done = len(world.recorded())
    finished = world.run()
    (note,) = [event["text"] for event in finished.events if event["event"] == "note"]
    assert note.startswith("going on with the unfinished run of ")
    assert note.endswith(f": {done} files done; --restart begins anew")


def test_what_is_done_is_counted_as_skipped(world: World) -> None:
    names = cut_short(world)
    done = len(world.recorded())
    summary = world.run().summary
    assert (summary["skipped"], summary["uploaded"]) == (done, len(names) - done)
    assert summary["skipped_reasons"] == {"uploaded by an earlier run": done}


def test_a_large_file_goes_on_with_the_parts_that_are_there(world: World) -> None:
    names = world.fill(files=0, large=1)
    world.server.script("part", "large0", "delay:0.3 ok")
    with world.start("--concurrency", 1) as running:
        running.wait_until(lambda: world.server.requests["part", "large0"] == PARTS)
        running.workers()
        kill(running.pid)
        end(running)
    world.settle()
    assert world.server.stored["large0"] == 0
    assert world.run().code == 0
    world.assert_all_there(names)
    assert world.server.requests["create", "large0"] == 1
    assert world.server.requests["part", "large0"] <= PARTS + 1


def test_a_killed_run_against_ceph_is_finished_by_the_next(ceph: CephRGW, tmp_path: Path) -> None:
    """It lists parts without their checksums."""
    data, bucket, s3 = tmp_path / "data", new_bucket(), ceph.boto3()
    s3.create_bucket(Bucket=bucket)
    names = [*small_files(data, 50), "large"]
    content = random_bytes(64 * MIB + 1, "large")
    write(data, "large", content)
    journal = tmp_path / "j.sqlite"
    options = arguments(data, ceph.endpoint, bucket, "--json", "--journal", journal)
    options += ["--concurrency", 2]
    env = environment(ceph, AWS_REGION="us-east-1")

    def parts() -> int:
        uploads = s3.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
        ids = [upload["UploadId"] for upload in uploads]
        listings = [s3.list_parts(Bucket=bucket, Key="large", UploadId=one) for one in ids]
        return sum(len(listing.get("Parts", [])) for listing in listings)

    with Running(*options, env=env) as running:
        running.wait_until(lambda: parts() >= 2)
        running.workers()
        kill(running.pid)
        end(running)
    finished = run(*options, env=env)
    assert (finished.code, finished.stderr) == (0, "")
    assert sorted(keys(ceph, bucket)) == sorted(names)
    assert s3.get_object(Bucket=bucket, Key="large")["Body"].read() == content
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


def test_a_file_that_has_changed_is_uploaded_again(world: World) -> None:
    names = cut_short(world)
    changed = min(world.recorded() - {"large0"})
    write(world.data, changed, b"something else")
    assert world.run().code == 0
    assert world.server.stored[changed] == 2
    world.assert_all_there(names)


def test_a_large_file_that_has_changed_leaves_no_parts_behind(world: World) -> None:
    names = world.fill(files=0, large=1)
    with world.start("--concurrency", 1) as running:
        running.wait_until(lambda: world.server.requests["part", "large0"] >= 2)
        running.workers()
        kill(running.pid)
        end(running)
    os.utime(world.data / "large0", ns=(1, 1))
    assert world.run().code == 0
    world.assert_all_there(names)


def test_a_file_that_failed_is_tried_again(world: World) -> None:
    names = world.fill(large=0)
    world.server.script("put", names[30], "413")
    finished = world.run()
    assert (finished.code, list(finished.reasons())) == (1, [names[30]])
    finished = world.run()
    assert (finished.code, finished.paths("uploaded")) == (0, [names[30]])
    assert set(world.server.stored.values()) == {1}


def test_a_run_that_ended_well_leaves_nothing_to_go_on_with(world: World) -> None:
    names = world.fill(files=5, large=0)
    assert world.run().code == 0
    assert world.run().summary["uploaded"] == len(names)


# Options


def test_no_journal_records_nothing(world: World) -> None:
    names = world.fill(large=0)
    with world.start("--no-journal") as running:
        world.uploaded_until(running, 5)
        running.signal(signal.SIGTERM)
        running.finish(WITH_GRACE)
    assert not world.journal.parent.exists()
    assert world.run("--no-journal").summary["uploaded"] == len(names)


def test_the_journal_is_kept_in_the_state_directory(world: World) -> None:
    world.fill(files=5, large=0)
    world.server.script("put", "folder1/00001.txt", "413")
    own = world.options().index("--journal")
    options = world.options()
    del options[own : own + 2]
    assert run(*options, env=world.environment()).code == 1
    state = Path(os.environ["HOME"]) / ".local" / "state" / "uploader" / "journals"
    assert [path.suffix for path in state.iterdir() if path.suffix != ".lock"] == [".sqlite"]


def test_restart_begins_anew(world: World) -> None:
    names = cut_short(world)
    world.settle()
    finished = world.run("--restart")
    assert (finished.code, finished.summary["uploaded"]) == (0, len(names))
    world.assert_all_there(names)


def test_abort_stale_aborts_what_is_below_the_prefix_and_nothing_else(world: World) -> None:
    s3 = world.server.boto3()
    for key in ("p/a", "p/b", "p/b", "q/c", "P/d", "other"):
        s3.create_multipart_upload(Bucket=BUCKET, Key=key)
    write(world.data, "small")
    finished = world.run("--abort-stale", "--prefix", "p/")
    assert finished.code == 0
    assert sorted(upload.key for upload in world.server.open_uploads(BUCKET)) == [
        "P/d",
        "other",
        "q/c",
    ]
    notes = sorted(event["text"] for event in finished.events if event["event"] == "note")
    assert notes == [f"aborted an unfinished upload of p/{name}" for name in ("a", "b", "b")]


def without_hope(world: World, kill_endpoint: Callable[[], None]) -> Finished:
    world.fill(files=300, large=0)
    with world.start("--give-up-after", 2, "--retries", 50, "--timeout", 1) as running:
        world.uploaded_until(running, 5)
        kill_endpoint()
        began = time.monotonic()
        finished = running.finish()
        assert 1 < time.monotonic() - began < 2 + 6
    return finished


@pytest.mark.parametrize("word", ["reset", "500", "stall"])
def test_a_dead_endpoint_ends_the_run(world: World, word: str) -> None:
    finished = without_hope(world, lambda: world.server.script("put", "*", f"{word}..."))
    assert finished.code == 3
    (line,) = finished.complaints
    assert line.startswith("uploader: nothing has succeeded for 2 s: ")


def test_an_endpoint_that_is_gone_ends_the_run(world: World) -> None:
    finished = without_hope(world, world.server.stop)
    assert finished.code == 3
    (line,) = finished.complaints
    assert line.startswith("uploader: nothing has succeeded for 2 s: ")


def test_a_run_without_hope_is_finished_by_the_next(world: World) -> None:
    finished = without_hope(world, lambda: world.server.script("put", "*", "500..."))
    summary = finished.summary
    assert summary["files"] == summary["uploaded"] + summary["failed"]
    done = set(finished.paths("uploaded"))
    assert done == world.recorded()
    world.server.script("put", "*", "ok...")
    assert world.run().summary["skipped"] == len(done)
    assert set(world.server.stored.values()) <= {1, 2}


def test_an_endpoint_that_never_was_ends_the_run(world: World) -> None:
    write(world.data, "a")
    nowhere = f"http://127.0.0.1:{free_port()}"
    options = arguments(world.data, nowhere, BUCKET, "--retries", 1, "--no-journal")
    finished = run(*options, env=world.environment())
    assert finished.code == 3
    assert len(finished.complaints) == 1
