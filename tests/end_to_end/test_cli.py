"""The command line, end to end: what a user types, sees and finds in the bucket afterwards."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from _uploader import cli
from _uploader.config import Settings
from bench.process import free_port
from bench.sink import Sink
from tests.command import (
    KEYS,
    MIB,
    Finished,
    OnTerminal,
    Running,
    Stored,
    arguments,
    environment,
    halted,
    keys,
    names_below,
    needs_root,
    new_bucket,
    parse_events,
    random_bytes,
    run,
    shell,
    small_files,
    stored,
    without_privileges,
    write,
)
from tests.conftest import REPO
from tests.servers.ceph import CephRGW

FATAL_WITHIN = 15.0
"""Seconds in which a run that cannot succeed has to end."""


# The main job: one big run against a server that checks signatures, looked at from all sides.

ODD_NAMES = (
    "with space",
    " leading and trailing ",
    "a+b%c&d#e?f~g",
    "100%25%2F%zz",
    'it\'s "quoted"',
    "back\\slash",
    "semi;colon=equals,comma@at:colon!$*()[]{}<>|^`",
    "Grüße",
    "日本語/ファイル.txt",
    "🙂",
    "e\u0301 decomposed",
    "line\nbreak",
    "tab\tand\rreturn",
    ".hidden",
    "...",
    "-rf",
    "dir with space/a&b/c=d.txt",
)
TYPES = {
    "page.html": "text/html",
    "style.css": "text/css",
    "data.json": "application/json",
    "picture.png": "image/png",
    "picture.JPG": "image/jpeg",
    "archive.tar.gz": "application/gzip",
    "document.pdf": "application/pdf",
    "plain.txt": "text/plain",
    "no extension": "application/octet-stream",
    "what.is-this": "application/octet-stream",
}
SMALL = (0, 1, 4096)
LARGE = (5 * MIB - 1, 5 * MIB, 5 * MIB + 1, 64 * MIB)


class Upload(NamedTuple):
    """A run that is over, its source and its bucket."""

    source: Path
    bucket: str
    finished: Finished
    objects: dict[str, Stored]


def write_everything(root: Path) -> None:
    for index, name in enumerate([*ODD_NAMES, *(f"types/{name}" for name in TYPES)]):
        write(root, name, f"content {index}".encode())
    for size in LARGE:
        write(root, f"large/{size}", random_bytes(size, seed=size))
    count = 2000 - len(names_below(root))
    for index in range(count):
        name = f"{index % 10}/{index % 3}/{index % 7}/file {index}.dat"
        write(root, name, random_bytes(SMALL[index % len(SMALL)], seed=index))
    for index, name in enumerate(sorted(names_below(root))):
        path = root / name
        path.chmod((0o644, 0o600, 0o755, 0o4711, 0o444)[index % 5])
        if os.geteuid() == 0:
            os.chown(path, index % 4 * 1000, index % 3 * 100)
        os.utime(path, ns=(0, (1_700_000_000 + index) * 10**9 + index % 3 * 123_456_789))


@pytest.fixture(scope="module")
def upload(ceph: CephRGW, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upload]:
    source, bucket = tmp_path_factory.mktemp("everything"), new_bucket()
    write_everything(source)
    finished = run(*arguments(source, ceph.endpoint, bucket, "--json"), env=environment(ceph))
    yield Upload(source, bucket, finished, stored(ceph, bucket))
    shutil.rmtree(source)


def test_command_uploads_2000_files_and_exits_0(upload: Upload) -> None:
    assert len(names_below(upload.source)) == 2000
    assert (upload.finished.code, upload.finished.stderr) == (0, "")


def test_command_stores_each_file_under_its_relative_path(upload: Upload) -> None:
    assert set(upload.objects) == names_below(upload.source)


def test_command_stores_each_file_s_bytes(upload: Upload) -> None:
    for name, found in upload.objects.items():
        content = (upload.source / name).read_bytes()
        assert (found.size, found.sha256) == (len(content), hashlib.sha256(content).hexdigest())


def test_command_stores_each_file_s_attributes(upload: Upload) -> None:
    for name, found in upload.objects.items():
        status = (upload.source / name).stat()
        seconds, nanoseconds = divmod(status.st_mtime_ns, 10**9)
        assert found.metadata == {
            "size": str(status.st_size),
            "mtime": f"{seconds}.{nanoseconds:09}",
            "mode": f"0100{status.st_mode & 0o7777:03o}"
            if status.st_mode & 0o7777 < 0o1000
            else f"010{status.st_mode & 0o7777:04o}",
            "uid": str(status.st_uid),
            "gid": str(status.st_gid),
        }


def test_command_stores_the_content_type_that_the_name_stands_for(upload: Upload) -> None:
    found = {name: upload.objects[f"types/{name}"].content_type for name in TYPES}
    assert found == TYPES


def test_command_summary_adds_up(upload: Upload) -> None:
    summary = upload.finished.summary
    counts = [summary[name] for name in ("files", "uploaded", "skipped", "failed")]
    assert counts == [2000, 2000, 0, 0]


def test_command_summary_counts_the_bytes_of_the_files(upload: Upload) -> None:
    size = sum((upload.source / name).stat().st_size for name in names_below(upload.source))
    assert upload.finished.summary["bytes"] == size


def test_command_summary_tells_the_peak_of_the_memory(upload: Upload) -> None:
    assert MIB < upload.finished.summary["peak_memory"] < 2**30


def test_command_tells_of_each_file_once(upload: Upload) -> None:
    told = upload.finished.paths("uploaded")
    assert len(told) == 2000
    assert set(told) == names_below(upload.source)


def test_command_tells_that_it_created_the_bucket(upload: Upload) -> None:
    notes = [event["text"] for event in upload.finished.events if event["event"] == "note"]
    assert notes == [f"created bucket {upload.bucket}, private to its owner"]


def test_command_creates_a_bucket_that_strangers_cannot_read(upload: Upload, ceph: CephRGW) -> None:
    for path in (f"/{upload.bucket}", f"/{upload.bucket}/types/plain.txt"):
        parts = urlsplit(ceph.endpoint)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=5)
        with contextlib.closing(connection):
            connection.request("GET", path)
            assert connection.getresponse().status == 403


def test_command_replaces_objects_when_run_again(ceph: CephRGW, data: Path) -> None:
    bucket, env = new_bucket(), environment(ceph)
    write(data, "a", b"old"), write(data, "b", b"same")
    run(*arguments(data, ceph.endpoint, bucket), env=env)
    write(data, "a", b"new and longer")
    finished = run(*arguments(data, ceph.endpoint, bucket, "--json"), env=env)
    assert finished.summary["uploaded"] == 2
    found = {key: value.sha256 for key, value in stored(ceph, bucket).items()}
    assert found == {
        "a": hashlib.sha256(b"new and longer").hexdigest(),
        "b": hashlib.sha256(b"same").hexdigest(),
    }


def test_command_prefix_is_put_before_each_key_as_it_is(ceph: CephRGW, data: Path) -> None:
    bucket = new_bucket()
    write(data, "a"), write(data, "d/b")
    options = arguments(data, ceph.endpoint, bucket, "--prefix", "day 1/x-")
    assert run(*options, env=environment(ceph)).code == 0
    assert keys(ceph, bucket) == ["day 1/x-a", "day 1/x-d/b"]


def test_command_takes_a_source_with_a_slash_at_its_end(ceph: CephRGW, data: Path) -> None:
    bucket = new_bucket()
    write(data, "a")
    run(*arguments(f"{data}/", ceph.endpoint, bucket), env=environment(ceph))  # type: ignore[arg-type]
    assert keys(ceph, bucket) == ["a"]


def test_command_takes_a_source_relative_to_the_working_directory(
    ceph: CephRGW, data: Path
) -> None:
    bucket = new_bucket()
    write(data, "a")
    run(*arguments(Path("data"), ceph.endpoint, bucket), env=environment(ceph), cwd=data.parent)
    assert keys(ceph, bucket) == ["a"]


def test_command_of_an_empty_directory_uploads_nothing_and_exits_0(
    ceph: CephRGW, data: Path
) -> None:
    finished = run(*arguments(data, ceph.endpoint, new_bucket(), "--json"), env=environment(ceph))
    assert (finished.code, finished.summary["files"], finished.summary["complete"]) == (0, 0, True)


# What is no plain file, and what cannot be read


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


# Usage


def usage_error(*options: object, **variables: str) -> str:
    """The one line on stderr of a command that is wrong."""
    finished = run(*options, env=environment(**{**KEYS, **variables}))
    assert (finished.code, finished.stdout) == (2, "")
    (line,) = finished.complaints
    return line


REQUIRED = ("--src", ".", "--bucket", "bucket")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ((*REQUIRED, "--no-such-option"), "--no-such-option"),
        ((*REQUIRED, "extra"), "extra"),
        (("--bucket", "bucket"), "--src"),
        (("--src", "."), "--bucket"),
        ((*REQUIRED, "--prefix"), "--prefix"),
        ((*REQUIRED, "--processes", "many"), "--processes"),
        ((*REQUIRED, "--processes", "0"), "--processes"),
        ((*REQUIRED, "--concurrency", "-1"), "--concurrency"),
        ((*REQUIRED, "--retries", "1.5"), "--retries"),
        ((*REQUIRED, "--timeout", "0"), "--timeout"),
        ((*REQUIRED, "--timeout", "nan"), "--timeout"),
        ((*REQUIRED, "--max-memory", "lots"), "--max-memory"),
        ((*REQUIRED, "--max-memory", "1K"), "--max-memory"),
        ((*REQUIRED, "--max-memory", "200%"), "--max-memory"),
        ((*REQUIRED, "--sr", "."), "--sr"),
        (("--src", "/no/such/directory", "--bucket", "bucket"), "/no/such/directory"),
        (("--src", __file__, "--bucket", "bucket"), __file__),
    ],
)
def test_command_names_what_is_wrong_with_it(options: tuple[str, ...], named: str) -> None:
    assert named in usage_error(*options)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("UPLOADER_PROCESSES", "none"),
        ("UPLOADER_MAX_MEMORY", "1X"),
        ("UPLOADER_JSON", "maybe"),
        ("UPLOADER_TIMEOUT", "-1"),
    ],
)
def test_command_names_the_variable_that_makes_no_sense(variable: str, value: str) -> None:
    assert variable in usage_error(*REQUIRED, **{variable: value})


def test_command_takes_options_from_the_environment(sink: Sink, data: Path) -> None:
    write(data, "a")
    finished = run(
        env=environment(
            **KEYS,
            UPLOADER_SRC=str(data),
            UPLOADER_BUCKET="bucket",
            UPLOADER_JSON="1",
            AWS_ENDPOINT_URL=sink.http,
        )
    )
    assert finished.summary["uploaded"] == 1


def test_command_prefers_options_to_the_environment(sink: Sink, data: Path) -> None:
    write(data, "a")
    env = environment(**KEYS, UPLOADER_ENDPOINT_URL="http://127.0.0.1:1", UPLOADER_SRC="/none")
    assert run(*arguments(data, sink.http, "bucket"), env=env).code == 0


DEFAULTS = {
    "--src": "required",
    "--bucket": "required",
    "--prefix": "none",
    "--provider": "s3",
    "--endpoint-url": "AWS, or the profile's",
    "--region": "the profile's, or us-east-1",
    "--addressing": "auto",
    "--profile": "AWS's own order: environment, AWS_PROFILE, default",
    "--ca-bundle": "the system's",
    "--processes": "the usable CPUs",
    "--concurrency": "found while running",
    "--retries": "5",
    "--checksum": "crc64nvme",
    "--timeout": "60",
    "--unsigned-payload": None,
    "--max-memory": "25%",
    "--follow-symlinks": None,
    "--no-create": None,
    "--journal": "one for each source and destination",
    "--no-journal": None,
    "--restart": None,
    "--abort-stale": None,
    "--give-up-after": "120",
    "--dry-run": None,
    "--quiet": None,
    "--verbose": None,
    "--debug": None,
    "--json": None,
    "--version": None,
}


@pytest.fixture(scope="module")
def help_text() -> str:
    finished = run("--help", env={"PATH": os.defpath, "HOME": "/", "COLUMNS": "1000"})
    assert (finished.code, finished.stderr) == (0, "")
    return finished.stdout


@pytest.mark.parametrize("option", DEFAULTS)
def test_command_help_tells_each_option_and_its_default(help_text: str, option: str) -> None:
    (text,) = re.findall(rf"^  {option}\b.*(?:\n {{5,}}.*)*", help_text, re.MULTILINE)
    default = DEFAULTS[option]
    if default:
        assert f"(default: {default}" in text


def test_command_help_tells_of_no_option_that_is_not_tested(help_text: str) -> None:
    assert set(re.findall(r"^  (--[a-z-]+)", help_text, re.MULTILINE)) == set(DEFAULTS)


def test_command_help_tells_the_exit_codes(help_text: str) -> None:
    for code in ("0", "1", "2", "3", "130", "143"):
        assert re.search(rf"\b{code}\b", help_text.partition("Exit codes")[2])


def test_command_version_prints_name_and_number() -> None:
    finished = run("--version", env=environment())
    assert finished.code == 0
    assert re.fullmatch(r"uploader \d+\.\d+\.\d+\n", finished.stdout)


# What one sees


def test_command_dry_run_lists_the_files(data: Path) -> None:
    write(data, "a", b"12345"), write(data, "d/b c", b"")
    finished = run("--src", data, "--bucket", "b", "--dry-run", "--json", env=environment())
    assert finished.code == 0
    assert finished.reasons("would upload") == {"a": "5 bytes", "d/b c": "0 bytes"}
    assert (finished.summary["files"], finished.summary["uploaded"]) == (2, 0)


def test_command_dry_run_connects_to_nothing(data: Path) -> None:
    write(data, "a")
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        assert run(*arguments(data, endpoint, "b", "--dry-run"), env=environment(**KEYS)).code == 0
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_command_dry_run_tells_failures_as_the_run_would(data: Path) -> None:
    write(data, b"bad \xff")
    assert run("--src", data, "--bucket", "b", "--dry-run", env=environment()).code == 1


def test_command_quiet_prints_nothing_on_success(sink: Sink, data: Path) -> None:
    small_files(data, 20)
    finished = run(*arguments(data, sink.http, "bucket", "--quiet"), env=environment(**KEYS))
    assert finished == Finished(0, "", "", finished.seconds)


def test_command_quiet_prints_the_summary_when_files_failed(sink: Sink, data: Path) -> None:
    (data / "dangling").symlink_to("nowhere")
    finished = run(*arguments(data, sink.http, "bucket", "--quiet"), env=environment(**KEYS))
    assert (finished.code, finished.stdout) == (1, "")
    assert "links to nothing" in finished.stderr


def test_command_verbose_prints_a_line_for_each_file(sink: Sink, data: Path) -> None:
    names = small_files(data, 20)
    finished = run(*arguments(data, sink.http, "bucket", "--verbose"), env=environment(**KEYS))
    assert sorted(re.findall(r"^uploaded  (folder.*)", finished.stdout, re.MULTILINE)) == sorted(
        names
    )


def test_command_without_a_terminal_prints_plain_lines(slow_sink: Sink, data: Path) -> None:
    small_files(data, 50)
    finished = run(
        *arguments(data, slow_sink.http, "bucket", "--concurrency", 4), env=environment(**KEYS)
    )
    assert all(line.isprintable() for line in finished.stdout.splitlines())
    assert re.match(r"uploaded +50 files", finished.stdout)
    assert finished.stderr == ""


def test_command_without_a_terminal_tells_how_far_it_is(slow_sink: Sink, data: Path) -> None:
    small_files(data, 60)
    options = arguments(data, slow_sink.http, "b", "--concurrency", 1, "--processes", 1)
    finished = run(*options, env=environment(**KEYS))
    (line,) = finished.complaints
    assert re.match(r"\d+ of 60 files .* left\b", line)


def test_command_on_a_terminal_redraws_a_bar(slow_sink: Sink, data: Path) -> None:
    small_files(data, 100)
    options = arguments(data, slow_sink.http, "bucket", "--concurrency", 8, "--processes", 2)
    with OnTerminal(*options, env=environment(**KEYS)) as running:
        finished = running.finish()
    frames = [frame for frame in finished.stdout.split("\r") if re.match(r" *\d+% ", frame)]
    assert finished.code == 0
    assert 3 <= len(frames) <= 10 * finished.seconds + 1
    assert "\n" not in "".join(frames[:-1])


def test_command_on_a_terminal_ends_with_the_summary(sink: Sink, data: Path) -> None:
    small_files(data, 10)
    with OnTerminal(*arguments(data, sink.http, "b"), env=environment(**KEYS)) as running:
        last = running.finish().stdout.split("\r")
    assert any(line.startswith("uploaded  10 files") for line in last)


def test_command_on_a_terminal_shows_no_control_characters_of_names(sink: Sink, data: Path) -> None:
    evil = "\x1b[2J\x1b]0;title\x07\x9b31m\nuploaded  forged\u202etxt"
    write(data, evil)
    write(data, b"bad \xff" + evil.encode())
    with OnTerminal(
        *arguments(data, sink.http, "bucket", "--verbose"), env=environment(**KEYS)
    ) as running:
        text = running.finish().stdout
    assert "\\x1b[2J" in text
    assert not re.search("[\x1b\x07\x9b\u202e]", text)
    assert not re.search(r"^uploaded  forged", text, re.MULTILINE)


def test_command_json_prints_nothing_but_json_and_the_summary_last(
    slow_sink: Sink, data: Path
) -> None:
    small_files(data, 60)
    os.mkfifo(data / "fifo")
    write(data, b"bad \xff\n")
    options = arguments(data, slow_sink.http, "b", "--json", "--concurrency", 4)
    finished = run(*options, env=environment(**KEYS))
    summary = finished.summary
    counts = [summary[name] for name in ("files", "uploaded", "skipped", "failed")]
    assert (counts, finished.stderr) == ([62, 60, 1, 1], "")
    assert any(event["event"] == "progress" for event in finished.events)


def test_command_whose_reader_leaves_goes_on_to_its_end(slow_sink: Sink, data: Path) -> None:
    small_files(data, 400)
    slow_sink.reset()
    read_end, write_end = os.pipe()
    options = arguments(data, slow_sink.http, "bucket", "--verbose", "--concurrency", 40)
    with Running(*options, env=environment(**KEYS), stdout=write_end) as running:
        os.close(write_end)
        os.read(read_end, 1)
        os.close(read_end)
        finished = running.finish()
    assert (finished.code, finished.stderr) == (0, "")
    assert slow_sink.counts()["puts"] == 400


@contextlib.contextmanager
def narrow_pipe() -> Iterator[tuple[int, int]]:
    """Both ends of a pipe that holds no more than a page."""
    read_end, write_end = os.pipe()
    fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, 4096)
    try:
        yield read_end, write_end
    finally:
        os.close(read_end)
        os.close(write_end)


@pytest.mark.parametrize("option", ["--verbose", "--json"])
def test_command_whose_reader_does_not_read_goes_on_to_its_end(
    sink: Sink, data: Path, option: str
) -> None:
    small_files(data, 1000)
    sink.reset()
    options = arguments(data, sink.http, "bucket", option)
    with (
        narrow_pipe() as (_, write_end),
        Running(*options, env=environment(**KEYS), stdout=write_end) as running,
    ):
        finished = running.finish()
    assert (finished.code, finished.stderr) == (0, "")
    assert sink.counts()["puts"] == 1000


def test_command_whose_reader_does_not_read_obeys_signals(slow_sink: Sink, data: Path) -> None:
    small_files(data, 2000)
    slow_sink.reset()
    options = arguments(data, slow_sink.http, "bucket", "--verbose", "--concurrency", 20)
    with (
        narrow_pipe() as (_, write_end),
        Running(*options, env=environment(**KEYS), stdout=write_end) as running,
    ):
        running.wait_until(lambda: slow_sink.counts()["puts"] >= 300)
        running.signal(signal.SIGTERM)
        running.signal(signal.SIGTERM)
        assert running.finish().code == 128 + signal.SIGTERM


def test_command_whose_processes_all_get_a_signal_ends_what_is_in_flight(
    slow_sink: Sink, data: Path
) -> None:
    """As systemd sends it when it stops a service."""
    small_files(data, 2000)
    slow_sink.reset()
    options = arguments(data, slow_sink.http, "bucket", "--json", "--concurrency", 20)
    with Running(*options, env=environment(**KEYS)) as running:
        running.wait_until(lambda: slow_sink.counts()["puts"] >= 300)
        for pid in [*running.workers(), *running.fork_server(), running.pid]:
            os.kill(pid, signal.SIGTERM)
        finished = running.finish()
    assert finished.code == 128 + signal.SIGTERM
    assert 300 <= finished.summary["uploaded"] == slow_sink.counts()["puts"] < 2000


def test_command_on_a_terminal_that_was_stopped_goes_on_to_its_end(
    slow_sink: Sink, data: Path
) -> None:
    """With Ctrl-S."""
    small_files(data, 300)
    slow_sink.reset()
    options = arguments(data, slow_sink.http, "bucket", "--verbose", "--concurrency", 20)
    with OnTerminal(*options, env=environment(**KEYS)) as running:
        running.wait_until(lambda: slow_sink.counts()["puts"] >= 20)
        running.type(b"\x13")
        assert running.finish().code == 0
    assert slow_sink.counts()["puts"] == 300


def test_command_json_gives_its_summary_to_a_reader_that_begins_late(
    sink: Sink, data: Path
) -> None:
    small_files(data, 1000)
    with narrow_pipe() as (read_end, write_end):
        os.set_blocking(write_end, False)
        options = arguments(data, sink.http, "bucket", "--json")
        with Running(*options, env=environment(**KEYS), stdout=write_end) as running:
            running.wait_until(lambda: select.select([read_end], [], [], 0)[0] != [])
            text = b""
            while running.process.poll() is None:
                if select.select([read_end], [], [], 0.1)[0]:
                    text += os.read(read_end, 65536)
            finished = running.finish()
        os.set_blocking(read_end, False)
        with contextlib.suppress(BlockingIOError):
            text += os.read(read_end, 65536)
    events = parse_events(text.decode())
    assert (finished.code, events[-1]["event"], events[-1]["uploaded"]) == (0, "summary", 1000)
    assert sum(event["event"] == "uploaded" for event in events) == 1000


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_command_that_is_stopped_while_it_starts_prints_nothing(number: int) -> None:
    code = (
        "import os, runpy, sys\n"
        "class Signals:\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name == '_uploader.cli': os.kill(os.getpid(), {int(number)})\n"
        "sys.meta_path.insert(0, Signals())\n"
        f"runpy.run_path({str(REPO / 'uploader.py')!r}, run_name='__main__')\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=REPO, capture_output=True, timeout=FATAL_WITHIN
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (128 + number, b"", b"")


@pytest.mark.parametrize(
    ("variable", "option", "shown"),
    [("", [], False), ("", ["--debug"], True), ("1", [], True), ("1", ["--no-debug"], False)],
)
def test_command_debug_shows_where_it_failed(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    variable: str,
    option: list[str],
    shown: bool,
) -> None:
    def fail(settings: Settings) -> int:
        raise RuntimeError("boom")

    monkeypatch.setattr(cli, "_run", fail)
    monkeypatch.setenv("UPLOADER_DEBUG", variable)
    assert cli.main([*REQUIRED, *option]) == 3
    told = capfd.readouterr().err
    assert told.endswith("uploader: unexpected RuntimeError: boom (--debug shows where)\n")
    assert ("Traceback" in told) is shown


def test_command_complaint_controls_no_terminal() -> None:
    line = usage_error(*REQUIRED, "\x9b2J\u202e")
    assert line.isprintable() and "\\x9b2J\\u202e" in line


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_command_runs_with_standard_streams_closed(sink: Sink, data: Path, closed: str) -> None:
    names = small_files(data, 30)
    sink.reset()
    options = arguments(data, sink.http, "bucket")
    finished = run(*options, env=environment(**KEYS), wrapper=shell(f'exec "$@" {closed}'))
    assert (finished.code, finished.stderr) == (0, "")
    assert sink.counts()["puts"] == len(names)


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


# Secrets


class Spied(NamedTuple):
    """All places where a secret could have got to in a run."""

    commands: str
    output: str
    home: str


@pytest.fixture(scope="module")
def spied(ceph: CephRGW, tmp_path_factory: pytest.TempPathFactory) -> Spied:
    base = tmp_path_factory.mktemp("spied")
    home, source = base / "home", base / "data"
    home.mkdir()
    small_files(source, 1000)
    write(source, b"bad \xff")
    options = arguments(source, ceph.endpoint, new_bucket(), "--debug", "--verbose")
    commands = ""
    env = environment(ceph, HOME=str(home), AWS_SESSION_TOKEN="")
    with Running(*options, env=env) as running:
        running.wait_until(lambda: "uploaded  folder" in running.stdout())
        for pid in (running.pid, *running.workers()):
            commands += Path(f"/proc/{pid}/cmdline").read_text()
        finished = running.finish()
    assert finished.code == 1
    files = [path.read_bytes() for path in home.rglob("*") if path.is_file()]
    assert files, "the list of failed files at least"
    return Spied(commands, finished.stdout + finished.stderr, b"".join(files).decode("latin-1"))


@pytest.mark.parametrize("place", Spied._fields)
def test_command_keeps_the_secret_key_out_of(spied: Spied, ceph: CephRGW, place: str) -> None:
    assert ceph.secret_key not in getattr(spied, place)


def test_command_keeps_a_refused_secret_to_itself(ceph: CephRGW, data: Path) -> None:
    write(data, "a")
    env = environment(ceph, AWS_SECRET_ACCESS_KEY="no-such-secret", AWS_SESSION_TOKEN="no-token")
    options = arguments(data, ceph.endpoint, new_bucket(), "--debug", "--verbose")
    finished = run(*options, env=env)
    assert finished.code == 3
    assert not re.search("no-such-secret|no-token", finished.stdout + finished.stderr)


# Credentials from ~/.aws


def write_profile(server: CephRGW, name: str, *, config: str = "") -> None:
    """A profile in ~/.aws; ``config`` goes to its section of the configuration file."""
    folder = Path(os.environ["HOME"], ".aws")
    folder.mkdir()
    (folder / "credentials").write_text(
        "[default]\naws_access_key_id = wrong\naws_secret_access_key = wrong\n"
        f"[{name}]\naws_access_key_id = {server.access_key}\n"
        f"aws_secret_access_key = {server.secret_key}\n"
    )
    (folder / "config").write_text(f"[profile {name}]\n{config}\n")


def test_command_profile_gives_the_credentials(ceph: CephRGW, data: Path) -> None:
    write_profile(ceph, "tester")
    bucket = new_bucket()
    write(data, "a")
    options = arguments(data, ceph.endpoint, bucket, "--profile", "tester")
    assert run(*options, env=environment()).code == 0
    assert keys(ceph, bucket) == ["a"]


def test_command_takes_the_profile_from_the_environment(ceph: CephRGW, data: Path) -> None:
    write_profile(ceph, "tester")
    bucket = new_bucket()
    write(data, "a")
    env = environment(AWS_PROFILE="tester")
    assert run(*arguments(data, ceph.endpoint, bucket), env=env).code == 0
    assert keys(ceph, bucket) == ["a"]


def test_command_takes_the_default_profile_when_nothing_is_said(ceph: CephRGW, data: Path) -> None:
    write_profile(ceph, "tester")
    write(data, "a")
    finished = run(*arguments(data, ceph.endpoint, new_bucket()), env=environment())
    assert finished.code == 3  # its keys are wrong
    assert "InvalidAccessKeyId" in finished.stderr


def test_command_profile_gives_the_endpoint(ceph: CephRGW, data: Path) -> None:
    write_profile(ceph, "tester", config=f"endpoint_url = {ceph.endpoint}")
    bucket = new_bucket()
    write(data, "a")
    options = ["--src", data, "--bucket", bucket, "--profile", "tester"]
    assert run(*options, env=environment()).code == 0
    assert keys(ceph, bucket) == ["a"]


class Recorder:
    """A server that answers every request with 403 and keeps what it was asked."""

    def __enter__(self) -> Recorder:
        asked: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                asked.append(self.headers.get("authorization", ""))
                self.send_response(403)
                self.send_header("content-length", "0")
                self.end_headers()

            do_GET = do_PUT = do_HEAD

            def log_message(self, *_: object) -> None:
                pass

        self.asked = asked
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def test_command_profile_gives_the_region(ceph: CephRGW, data: Path) -> None:
    write_profile(ceph, "tester", config="region = eu-north-1")
    write(data, "a")
    with Recorder() as recorder:
        run(*arguments(data, recorder.endpoint, "b", "--profile", "tester"), env=environment())
    assert "/eu-north-1/s3/aws4_request" in recorder.asked[0]


def test_command_region_is_what_it_signs_for(data: Path) -> None:
    write(data, "a")
    with Recorder() as recorder:
        options = arguments(data, recorder.endpoint, "b", "--region", "eu-south-2")
        run(*options, env=environment(**KEYS, AWS_REGION="us-west-1"))
    assert "/eu-south-2/s3/aws4_request" in recorder.asked[0]


def test_command_profile_that_does_not_exist_stops_the_run(ceph: CephRGW, data: Path) -> None:
    write(data, "a")
    options = arguments(data, ceph.endpoint, "bucket", "--profile", "nobody")
    assert "nobody" in stopped(*options, env=environment(ceph))


# Runs that cannot succeed


def stopped(*options: object, env: dict[str, str], wrapper: Sequence[str] = ()) -> str:
    """The one line that a run leaves which could not go on, soon."""
    finished = run(*options, env=env, wrapper=wrapper)
    assert finished.code == 3, finished
    assert finished.seconds < FATAL_WITHIN
    (line,) = finished.complaints
    assert line.startswith("uploader: ")
    return line


@pytest.fixture
def full(data: Path) -> Path:
    """Enough files that failing one by one would show."""
    small_files(data, 500)
    return data


def test_command_with_a_wrong_secret_stops(ceph: CephRGW, full: Path) -> None:
    env = environment(ceph, AWS_SECRET_ACCESS_KEY="wrong")
    line = stopped(*arguments(full, ceph.endpoint, new_bucket()), env=env)
    assert "SignatureDoesNotMatch" in line


def test_command_with_an_unknown_access_key_stops(ceph: CephRGW, full: Path) -> None:
    env = environment(ceph, AWS_ACCESS_KEY_ID="nobody")
    line = stopped(*arguments(full, ceph.endpoint, new_bucket()), env=env)
    assert "InvalidAccessKeyId" in line


def test_command_no_create_stops_when_the_bucket_is_missing(ceph: CephRGW, full: Path) -> None:
    bucket = new_bucket()
    options = arguments(full, ceph.endpoint, bucket, "--no-create")
    line = stopped(*options, env=environment(ceph))
    assert line == f"uploader: bucket {bucket} does not exist"


def test_command_no_create_creates_nothing(ceph: CephRGW, full: Path) -> None:
    bucket = new_bucket()
    run(*arguments(full, ceph.endpoint, bucket, "--no-create"), env=environment(ceph))
    assert bucket not in [row["Name"] for row in ceph.boto3().list_buckets()["Buckets"]]


def test_command_no_create_uploads_to_a_bucket_that_is_there(ceph: CephRGW, data: Path) -> None:
    bucket = new_bucket()
    ceph.boto3().create_bucket(Bucket=bucket)
    write(data, "a")
    options = arguments(data, ceph.endpoint, bucket, "--no-create")
    assert run(*options, env=environment(ceph)).code == 0


def test_command_with_an_impossible_bucket_name_stops(ceph: CephRGW, full: Path) -> None:
    stopped(*arguments(full, ceph.endpoint, "No"), env=environment(ceph))


def test_command_with_an_unreachable_endpoint_stops(full: Path) -> None:
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    line = stopped(*arguments(full, endpoint, "bucket"), env=environment(**KEYS))
    assert str(port) in line


def test_command_with_a_host_that_cannot_be_resolved_stops(full: Path) -> None:
    """In a network of its own, so that no question leaves the machine."""
    needs_root()
    options = arguments(full, "http://no-such-host.invalid", "bucket")
    line = stopped(*options, env=environment(**KEYS), wrapper=["unshare", "--net"])
    assert "no-such-host.invalid" in line


def test_command_with_a_server_that_never_answers_stops(sink: Sink, full: Path) -> None:
    options = arguments(full, sink.http, "bucket", "--timeout", 1, "--retries", 1)
    with halted(sink.pids()):
        stopped(*options, env=environment(**KEYS))


@pytest.mark.parametrize("url", ["localhost", "ftp://127.0.0.1", "http://", "http://[::1"])
def test_command_with_an_endpoint_that_is_no_url_stops(full: Path, url: str) -> None:
    assert "--endpoint-url" in stopped(*arguments(full, url, "b"), env=environment(**KEYS))


def test_command_without_credentials_stops(sink: Sink, full: Path) -> None:
    line = stopped(*arguments(full, sink.http, "bucket"), env=environment())
    assert "AWS_ACCESS_KEY_ID" in line


def test_command_with_an_unknown_provider_stops(full: Path) -> None:
    line = stopped(*arguments(full, "x", "b", "--provider", "nosuch"), env=environment())
    assert "nosuch" in line and "s3" in line


def test_command_with_a_server_that_is_none_stops(full: Path) -> None:
    with Recorder() as recorder:
        assert "403" in stopped(*arguments(full, recorder.endpoint, "b"), env=environment(**KEYS))


def test_command_that_cannot_go_on_still_accounts_for_each_file(ceph: CephRGW, full: Path) -> None:
    env = environment(ceph, AWS_SECRET_ACCESS_KEY="wrong")
    summary = run(*arguments(full, ceph.endpoint, new_bucket(), "--json"), env=env).summary
    counts = [summary[name] for name in ("files", "uploaded", "failed")]
    assert counts == [500, 0, 500]


# TLS


def test_command_ca_bundle_names_whom_to_trust(sink: Sink, data: Path) -> None:
    write(data, "small"), write(data, "large", random_bytes(20 * MIB, seed=1))
    sink.reset()
    options = arguments(data, sink.https, "bucket", "--ca-bundle", sink.ca_file)
    assert run(*options, env=environment(**KEYS)).code == 0
    assert sink.counts()["bytes"] == len(b"content") + 20 * MIB


def test_command_takes_the_ca_bundle_from_the_environment(sink: Sink, data: Path) -> None:
    write(data, "small")
    env = environment(**KEYS, AWS_CA_BUNDLE=sink.ca_file)
    assert run(*arguments(data, sink.https, "bucket"), env=env).code == 0


def test_command_does_not_trust_a_certificate_that_nobody_vouches_for(
    sink: Sink, full: Path
) -> None:
    line = stopped(*arguments(full, sink.https, "bucket"), env=environment(**KEYS))
    assert "certificate" in line


def test_command_sends_nothing_to_a_server_that_it_does_not_trust(sink: Sink, full: Path) -> None:
    sink.reset()
    run(*arguments(full, sink.https, "bucket"), env=environment(**KEYS))
    assert sink.counts()["puts"] == 0


def test_command_ca_bundle_that_cannot_be_read_stops(sink: Sink, full: Path) -> None:
    options = arguments(full, sink.https, "bucket", "--ca-bundle", "/no/such/file")
    assert "/no/such/file" in stopped(*options, env=environment(**KEYS))


# The provider that needs no account


def test_command_provider_local_copies_to_a_folder(data: Path, tmp_path: Path) -> None:
    names = small_files(data, 50)
    options = arguments(data, str(tmp_path / "store"), "bucket", "--provider", "local")
    assert run(*options, env=environment()).code == 0
    assert names_below(tmp_path / "store" / "bucket") == set(names)


def test_command_provider_local_refuses_a_bucket_below_the_source(data: Path) -> None:
    write(data, "a")
    line = usage_error(*arguments(data, str(data / "store"), "b", "--provider", "local"))
    assert "--endpoint-url" in line
