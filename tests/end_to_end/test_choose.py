"""Several sources, patterns and lists, through the whole command."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from bench.sink import Sink
from tests.command import (
    KEYS,
    Running,
    arguments,
    environment,
    keys,
    new_bucket,
    run,
    shell,
    small_files,
    stored,
    write,
)
from tests.end_to_end.world import BUCKET, World, end, kill
from tests.servers.ceph import CephRGW


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "fifo")
    return tmp_path / "fifo"


def test_command_uploads_what_patterns_choose(ceph: CephRGW, data: Path) -> None:
    for name in ("a.jpg", "x/b.jpg", "x/c.txt", "raw/d.jpg"):
        write(data, name)
    bucket = new_bucket()
    options = ["--include", "*.jpg", "--exclude", "/raw/", "--json"]
    finished = run(*arguments(data, ceph.endpoint, bucket, *options), env=environment(ceph))
    assert (finished.code, keys(ceph, bucket)) == (0, ["a.jpg", "x/b.jpg"])
    counts = {name: finished.summary[name] for name in ("files", "uploaded", "left_out")}
    assert counts == {"files": 2, "uploaded": 2, "left_out": 2}


def test_command_uploads_several_sources_each_with_its_own_paths(
    ceph: CephRGW, data: Path, tmp_path: Path
) -> None:
    write(data, "x/a", b"1")
    write(tmp_path, "more/x/b", b"22")
    single = tmp_path / write(tmp_path, "elsewhere/single", b"333")
    bucket = new_bucket()
    options = arguments(data, ceph.endpoint, bucket, "--src", tmp_path / "more", "--src", single)
    assert run(*options, env=environment(ceph)).code == 0
    sizes = {key: there.size for key, there in stored(ceph, bucket).items()}
    assert sizes == {"x/a": 1, "x/b": 2, "single": 3}


def test_nothing_is_sent_when_two_files_would_become_one_object(
    world: World, tmp_path: Path
) -> None:
    for name in ("data/x/a", "data/b", "more/x/a"):
        write(tmp_path, name)
    finished = world.run("--src", tmp_path / "more")
    assert (finished.code, world.server.requests.total()) == (2, 0)
    (complaint,) = finished.complaints
    assert "would become one object, 'x/a'" in complaint


def test_command_uploads_the_files_that_find_names(sink: Sink, data: Path) -> None:
    names = small_files(data, 300)
    write(data, "line\nfeed.jpg")
    options = arguments(data, sink.http, "bucket", "--files-from", "-", "--null", "--json")
    find = shell(f'find {data} -type f -print0 | exec "$@"')
    finished = run(*options, env=environment(**KEYS), wrapper=find)
    assert finished.code == 0
    assert sorted(finished.paths("uploaded")) == sorted([*names, "line\nfeed.jpg"])


def test_a_listed_file_that_is_missing_has_failed(sink: Sink, data: Path, tmp_path: Path) -> None:
    write(data, "a")
    (tmp_path / "list").write_text("a\nb\n../list\n")
    options = arguments(data, sink.http, "bucket", "--files-from", tmp_path / "list", "--json")
    finished = run(*options, env=environment(**KEYS))
    assert (finished.code, finished.paths("uploaded")) == (1, ["a"])
    assert finished.reasons() == {
        "b": "is not there",
        "../list": "has .. in its path: it may lead out of --src",
    }


def test_files_of_a_list_go_while_it_is_still_written(sink: Sink, data: Path, fifo: Path) -> None:
    write(data, "a")
    write(data, "b")
    options = arguments(data, sink.http, "bucket", "--files-from", fifo, "--json")
    with Running(*options, env=environment(**KEYS)) as running, fifo.open("w") as names:
        for count, name in enumerate(("a", "b"), 1):
            print(name, file=names, flush=True)
            running.wait_for("uploaded", count)
        names.close()
        assert running.finish().code == 0


def test_a_run_that_waits_for_its_list_can_be_stopped(sink: Sink, data: Path, fifo: Path) -> None:
    write(data, "a")
    options = arguments(data, sink.http, "bucket", "--files-from", fifo, "--json")
    with Running(*options, env=environment(**KEYS)) as running, fifo.open("w") as names:
        print("a", file=names, flush=True)
        running.wait_for("uploaded")
        running.signal(signal.SIGINT)
        assert running.finish().code == 130


def test_a_run_whose_list_nobody_writes_can_be_stopped(sink: Sink, data: Path, fifo: Path) -> None:
    options = arguments(data, sink.http, "bucket", "--files-from", fifo, "--json")
    with Running(*options, env=environment(**KEYS)) as running:
        running.wait_for("progress")
        running.signal(signal.SIGINT)
        assert running.finish().code == 130


@pytest.mark.parametrize("kind", ["list", "sources"])
def test_a_run_goes_on_with_what_it_was_given(world: World, tmp_path: Path, kind: str) -> None:
    names = world.fill()
    if kind == "list":
        (tmp_path / "list").write_text("\n".join(names))
        more = ["--files-from", str(tmp_path / "list")]
    else:
        write(tmp_path, "more/file")
        more = ["--src", str(tmp_path / "more")]
    with world.start(*more) as running:
        running.wait_until(lambda: running.count("uploaded") >= 10)
        running.workers()
        kill(running.pid)
        end(running)
    world.settle()
    done = world.recorded()
    finished = world.run(*more)
    assert finished.code == 0
    assert set(finished.paths("skipped")) == done
    added = [] if kind == "list" else ["file"]
    assert sorted(world.server.objects(BUCKET)) == sorted([*names, *added])
    assert not world.journal.exists()


def test_a_run_goes_on_whatever_is_chosen_of_its_source(world: World) -> None:
    names = world.fill(large=0)
    with world.start() as running:
        running.wait_until(lambda: running.count("uploaded") >= 10)
        running.workers()
        kill(running.pid)
        end(running)
    world.settle()
    done = world.recorded()
    finished = world.run("--exclude", names[0], "--min-size", 0)
    assert set(finished.paths("skipped")) == done - {names[0]}
