"""What is no plain file, what cannot be read, and what is the program's own."""

from __future__ import annotations

import json
import os
import re
import socket
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
    small_files,
    without_privileges,
    write,
)
from tests.servers.ceph import CephRGW


def test_command_follows_links_to_files_only(sink: Sink, data: Path, tmp_path: Path) -> None:
    write(tmp_path, "elsewhere/inside")
    target = write(tmp_path, "target", b"behind the link")
    (data / "file-link").symlink_to(target)
    (data / "directory-link").symlink_to(tmp_path / "elsewhere")
    finished = run(*arguments(data, sink.http, "bucket", "--json"), env=environment(**KEYS))
    assert finished.paths("uploaded") == ["file-link"]
    assert finished.reasons("skipped") == {"directory-link": "links to a directory"}


def test_command_follow_symlinks_enters_directories_but_no_loops(
    sink: Sink, data: Path, tmp_path: Path
) -> None:
    write(tmp_path, "elsewhere/inside")
    (data / "link").symlink_to(tmp_path / "elsewhere")
    (data / "loop").symlink_to(data)
    options = arguments(data, sink.http, "bucket", "--json", "--follow-symlinks")
    finished = run(*options, env=environment(**KEYS))
    assert finished.paths("uploaded") == ["link/inside"]
    assert finished.reasons("skipped") == {"loop": "links to a directory above itself"}


def test_command_skips_fifos_and_sockets_and_counts_them(sink: Sink, data: Path) -> None:
    write(data, "file")
    os.mkfifo(data / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(data / "socket"))
        finished = run(*arguments(data, sink.http, "bucket", "--json"), env=environment(**KEYS))
    assert finished.code == 0
    assert finished.summary["skipped_reasons"] == {"is a FIFO": 1, "is a socket": 1}


def test_command_goes_on_after_files_that_cannot_be_uploaded(ceph: CephRGW, data: Path) -> None:
    bucket = new_bucket()
    long = "/".join(["n" * 200] * 6)
    write(data, b"not utf-8 \xff")
    write(data, long)
    (data / "dangling").symlink_to(data / "nowhere")
    good = small_files(data, 50)
    finished = run(*arguments(data, ceph.endpoint, bucket, "--json"), env=environment(ceph))
    assert finished.code == 1
    assert finished.reasons() == {
        "not utf-8 \\xff": "name is not valid UTF-8",
        long: "key is 1,205 bytes long: 1,024 is the most",
        "dangling": "links to nothing",
    }
    assert set(keys(ceph, bucket)) == set(good)


def test_command_uploads_a_key_of_1024_bytes(ceph: CephRGW, data: Path) -> None:
    bucket = new_bucket()
    name = "/".join(["é" * 100] * 5) + "/" + "x" * 19
    assert len(name.encode()) == 1024
    write(data, name)
    assert run(*arguments(data, ceph.endpoint, bucket), env=environment(ceph)).code == 0
    assert keys(ceph, bucket) == [name]


def test_command_lists_the_failed_files_in_a_file_of_json_lines(sink: Sink, data: Path) -> None:
    write(data, "good")
    write(data, b"bad \xff")
    (data / "dangling").symlink_to("nowhere")
    finished = run(*arguments(data, sink.http, "bucket", "--json"), env=environment(**KEYS))
    with open(finished.summary["failed_list"], encoding="utf-8") as file:
        listed = {row["path"]: row["reason"] for row in map(json.loads, file)}
    assert listed == finished.reasons()
    assert len(listed) == 2


def test_command_names_the_list_of_failed_files_on_stdout(sink: Sink, data: Path) -> None:
    (data / "dangling").symlink_to("nowhere")
    finished = run(*arguments(data, sink.http, "bucket"), env=environment(**KEYS))
    name = re.search(r"listed in (.+)", finished.stdout)
    assert name and Path(name[1]).is_file()


def test_command_fails_a_file_that_it_may_not_read_and_uploads_the_others(
    ceph: CephRGW, data: Path
) -> None:
    bucket = new_bucket()
    os.chmod(write(data, "secret"), 0)
    write(data, "closed/inside")
    (data / "closed").chmod(0)
    write(data, "public")
    finished = run(
        *arguments(data, ceph.endpoint, bucket, "--json"),
        env=environment(ceph),
        wrapper=without_privileges(),
    )
    (data / "closed").chmod(0o700)
    denied = "cannot be read: Permission denied"
    assert (finished.code, finished.reasons()) == (1, {"secret": denied, "closed": denied})
    assert keys(ceph, bucket) == ["public"]


def test_command_fails_files_that_vanish_and_uploads_the_others(
    slow_sink: Sink, data: Path
) -> None:
    names = small_files(data, 1500)
    options = arguments(data, slow_sink.http, "bucket", "--json", "--concurrency", 50)
    with Running(*options, env=environment(**KEYS)) as running:
        running.wait_for("uploaded", 100)
        for name in names[::2]:
            (data / name).unlink()
        finished = running.finish()
    ended = [*finished.paths("uploaded"), *finished.paths("failed")]
    assert sorted(ended) == sorted(names)
    assert 0 < finished.summary["failed"] <= 750
    assert set(finished.reasons().values()) <= {
        "vanished after the scan",
        "vanished while it was read",
    }
    assert set(finished.paths("failed")) <= set(names[::2])


@pytest.mark.parametrize("journal", [(), ("--journal", "j.sqlite")], ids=["default", "given"])
def test_command_uploads_nothing_of_its_own(
    sink: Sink, data: Path, journal: tuple[str, ...]
) -> None:
    """Two runs of which the first leaves its journal and its list of failed files."""
    write(data, "a")
    (data / "dangling").symlink_to("nowhere")
    options = [*arguments(data, sink.http, "bucket", "--json"), *journal]
    for _ in range(2):
        finished = run(*options, env=environment(**KEYS, HOME=str(data)), cwd=data)
        assert finished.code == 1
    own = {path for path, why in finished.reasons("skipped").items() if "this run" in why}
    files = {"j.sqlite", "j.sqlite-wal", "j.sqlite-shm", "j.sqlite.lock"} if journal else set()
    assert ".local/state/uploader" in own <= {".local/state/uploader", *files}
    assert finished.summary["files"] == 2 + len(own)
