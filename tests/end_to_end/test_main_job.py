"""One big run against a server that checks signatures, looked at from all sides."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from tests.command import (
    MIB,
    Finished,
    Stored,
    arguments,
    environment,
    keys,
    names_below,
    new_bucket,
    random_bytes,
    run,
    stored,
    write,
)
from tests.servers.ceph import CephRGW

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
LARGE = (5 * MIB - 1, 5 * MIB, 5 * MIB + 1, 24 * MIB)
FILES = 500
"""Enough for every combination of size, mode, owner and time."""


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
    count = FILES - len(names_below(root))
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


def test_command_uploads_all_files_and_exits_0(upload: Upload) -> None:
    assert len(names_below(upload.source)) == FILES
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
    assert counts == [FILES, FILES, 0, 0]


def test_command_summary_counts_the_bytes_of_the_files(upload: Upload) -> None:
    size = sum((upload.source / name).stat().st_size for name in names_below(upload.source))
    assert upload.finished.summary["bytes"] == size


def test_command_summary_tells_the_peak_of_the_memory(upload: Upload) -> None:
    assert MIB < upload.finished.summary["peak_memory"] < 2**30


def test_command_tells_of_each_file_once(upload: Upload) -> None:
    told = upload.finished.paths("uploaded")
    assert len(told) == FILES
    assert set(told) == names_below(upload.source)


def test_command_tells_that_it_created_the_bucket(upload: Upload) -> None:
    notes = [event["text"] for event in upload.finished.events if event["event"] == "note"]
    assert notes == [f"created bucket {upload.bucket}, private to its owner, public access blocked"]


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
