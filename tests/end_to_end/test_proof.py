"""Content is proven whatever the server can check."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.command import (
    arguments,
    environment,
    run,
    small_files,
)
from tests.end_to_end.fault_cases import (
    BUCKET,
    RETRIES,
    TIMEOUT,
    Case,
)
from tests.hooks import small_parts
from tests.servers.faults import MIB
from tests.servers.s3 import FakeS3


@pytest.mark.parametrize("mode", ["new", "old", "refusing", "kms"])
def test_content_is_proven_on_a_server_that_is(mode: str, tmp_path: Path) -> None:
    words = ["ok", "corrupt", "lost", "500", "reset@64K", "blank", "truncated", "wrong-checksum"]
    group = [Case(kind, word, False) for kind in ("put", "part") for word in words]
    if mode != "kms":  # which has checked the Content-MD5 and says no more
        group += [Case(kind, "rot", always) for kind in ("put", "part") for always in (False, True)]
    group += [Case("complete", word, False) for word in ("lost", "error200", "blank")]
    root = tmp_path / "data"
    with FakeS3(mode=mode, buckets=[BUCKET], least_part=MIB) as server:
        for case in group:
            case.write_file(root)
            case.arrange(server)
        more = ["--json", "--timeout", TIMEOUT, "--retries", RETRIES]
        told = arguments(root, server.endpoint, BUCKET, *more)
        finished = run(*told, env=environment(server, **small_parts(tmp_path)))
        failed = {case.key for case in group if case.always}
        assert finished.reasons().keys() == failed
        assert server.wrong(BUCKET, root).keys() <= failed
        assert server.objects(BUCKET).keys() >= {case.key for case in group} - failed


def test_a_key_that_may_only_put_objects_survives_a_lost_complete(tmp_path: Path) -> None:
    """Whether the object was made cannot be seen: the file is sent again."""
    small_files(tmp_path, 3)
    (tmp_path / "large").write_bytes(bytes(3 * MIB))
    with FakeS3(buckets=[BUCKET], least_part=MIB) as server:
        server.script("complete", "large", "lost")
        server.script("head", "*", "403...")
        server.script("list_uploads", "*", "403...")
        told = arguments(tmp_path, server.endpoint, BUCKET)
        home = tmp_path.with_name("home")
        home.mkdir()
        assert run(*told, env=environment(server, **small_parts(home))).code == 0
        assert server.stored["large"] == 2
        assert server.wrong(BUCKET, tmp_path) == {}


@pytest.mark.parametrize("mode", ["old", "refusing", "kms"])
def test_what_a_server_proves_is_learned_once(mode: str, tmp_path: Path) -> None:
    names = small_files(tmp_path, 200)
    with FakeS3(mode=mode, buckets=[BUCKET]) as server:
        told = arguments(tmp_path, server.endpoint, BUCKET, "--concurrency", 4, "--processes", 2)
        assert run(*told, env=environment(server)).code == 0
        assert server.stored.total() <= len(names) + 4


def test_another_proof_of_the_content_is_told_once(tmp_path: Path) -> None:
    """Not by each worker that finds out."""
    small_files(tmp_path, 400)
    with FakeS3(mode="refusing", buckets=[BUCKET]) as server:
        more = ["--json", "--processes", 2, "--concurrency", 4]
        told = arguments(tmp_path, server.endpoint, BUCKET, *more)
        finished = run(*told, env=environment(server))
        notes = [event["text"] for event in finished.events if event["event"] == "note"]
        assert [note for note in notes if "MD5" in note] == notes[:1]
        assert "x-amz-checksum-crc64nvme" in notes[0]
