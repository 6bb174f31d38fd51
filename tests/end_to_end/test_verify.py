"""``verify`` and ``--verify``: is what is on the disk in the bucket, byte for byte?"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.command import Finished, arguments, environment, run, small_files, write
from tests.end_to_end.world import BUCKET, World
from tests.servers.s3 import FakeS3

WRITES = {"put", "copy", "create", "part", "complete", "abort", "delete", "delete_many"}
PASSING = ("500", "502", "429@1", "slowdown", "reset", "hangup", "garbage", "lost", "truncated")


@pytest.fixture
def server() -> Iterator[FakeS3]:
    with FakeS3(buckets=[BUCKET]) as server:
        yield server


@pytest.fixture
def world(tmp_path: Path, server: FakeS3) -> World:
    return World(tmp_path, server)


def verify(world: World, *more: object) -> Finished:
    """The command ``verify`` on all that the world has."""
    given = arguments(world.data, world.server.endpoint, BUCKET, "--processes", 1, *more)
    return run("verify", *given, "--json", env=world.environment())


def kinds(server: FakeS3, since: int = 0) -> Counter[str]:
    return Counter(seen.kind for seen in server.seen[since:])


def numbers(finished: Finished) -> list[int]:
    """Files that are the same, differ and are missing, and objects too many."""
    return [finished.summary[name] for name in ("same", "differs", "missing", "extra")]


def notes(finished: Finished) -> str:
    return "\n".join(event["text"] for event in finished.events if event["event"] == "note")


class TestVerify:
    def test_what_was_uploaded_is_the_same(self, world: World) -> None:
        """By one HEAD for each file, and nothing that writes."""
        world.fill(files=20, large=1)
        assert world.run().code == 0
        before = len(world.server.seen)
        finished = verify(world)
        assert (finished.code, numbers(finished)) == (0, [21, 0, 0, 0])
        asked = kinds(world.server, before)
        assert (asked["head"], asked["get"]) == (21, 0)
        assert not WRITES & set(asked)

    @pytest.mark.parametrize("mode", ["old", "new"])
    def test_the_content_is_proven_by_md5_or_checksum(self, tmp_path: Path, mode: str) -> None:
        with FakeS3(buckets=[BUCKET], mode=mode) as server:
            world = World(tmp_path, server)
            names = world.fill(files=3, large=1)
            world.run()
            path = str(world.data / names[-1])
            status = os.stat(path)
            with open(path, "r+b") as file:
                file.seek(9 * 2**20)
                file.write(b"another byte")
            os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))
            finished = verify(world)
            assert numbers(finished) == [3, 1, 0, 0]
            assert finished.reasons("differs") == {names[-1]: "content"}

    def test_it_says_how_a_file_differs(self, world: World) -> None:
        names = small_files(world.data, 6)
        world.run()
        times = {name: os.stat(world.data / name).st_mtime_ns for name in names}
        write(world.data, names[0], b"another size")
        os.chmod(world.data / names[1], 0o640)
        os.utime(world.data / names[2], ns=(1, 1))
        write(world.data, names[3], b"X" * os.path.getsize(world.data / names[3]))
        for name in (names[0], names[3]):
            os.utime(world.data / name, ns=(times[name], times[name]))
        finished = verify(world)
        assert finished.code == 1
        assert finished.reasons("differs") == {
            names[0]: "size",
            names[1]: "mode",
            names[2]: "mtime",
            names[3]: "content",
        }

    def test_an_object_that_another_program_stored_has_no_attributes(self, world: World) -> None:
        (name,) = small_files(world.data, 1)
        content = (world.data / name).read_bytes()
        world.server.boto3().put_object(Bucket=BUCKET, Key=name, Body=content)
        finished = verify(world, "--posix-metadata", "none")
        assert finished.reasons("differs") == {name: "mode, mtime"}

    def test_what_is_missing_and_what_is_too_much(self, world: World) -> None:
        """Extra is what is below the prefix and has no file; what the scan skips has one."""
        names = small_files(world.data, 4)
        world.run("--prefix", "a/")
        client = world.server.boto3()
        for key in ("a/nobody", "b/other", "a/pipe"):
            client.put_object(Bucket=BUCKET, Key=key, Body=b"")
        os.mkfifo(world.data / "pipe")
        client.delete_object(Bucket=BUCKET, Key=f"a/{names[2]}")
        finished = verify(world, "--prefix", "a/")
        assert (finished.code, numbers(finished)) == (1, [3, 0, 1, 1])
        assert finished.paths("missing") == [names[2]]
        assert finished.paths("extra") == ["a/nobody"]
        listed = Path(finished.summary["failed_list"]).read_text()
        assert "a/nobody" in listed
        assert names[2] in listed

    def test_without_the_right_to_list_only_extra_objects_are_not_told(self, world: World) -> None:
        small_files(world.data, 2)
        world.run()
        world.server.boto3().put_object(Bucket=BUCKET, Key="nobody", Body=b"")
        world.server.script("list", BUCKET, "403...")
        finished = verify(world)
        assert (finished.code, numbers(finished)) == (0, [2, 0, 0, 0])
        assert "not looked for: the bucket cannot be listed" in notes(finished)

    def test_a_prefix_may_be_that_of_others(self, world: World) -> None:
        small_files(world.data, 2)
        world.run("--prefix", "logs")
        world.server.boto3().put_object(Bucket=BUCKET, Key="logs-old/nobody", Body=b"")
        finished = verify(world, "--prefix", "logs")
        assert (finished.code, numbers(finished)) == (0, [2, 0, 0, 0])
        assert "without a slash at its end" in notes(finished)

    def test_an_extra_object_alone_is_a_difference(self, world: World) -> None:
        small_files(world.data, 1)
        world.run()
        world.server.boto3().put_object(Bucket=BUCKET, Key="nobody", Body=b"")
        finished = verify(world)
        assert (finished.code, numbers(finished)) == (1, [1, 0, 0, 1])

    def test_the_lines_for_people(self, world: World) -> None:
        names = small_files(world.data, 2)
        world.run()
        os.chmod(world.data / names[0], 0o640)
        world.server.boto3().put_object(Bucket=BUCKET, Key="nobody", Body=b"")
        os.remove(world.data / names[1])
        write(world.data, "new")
        given = arguments(world.data, world.server.endpoint, BUCKET)
        lines = run("verify", *given, env=world.environment()).stdout.splitlines()
        assert {f"differs: {names[0]}: mode", "missing: new", "extra: nobody"} < set(lines)
        assert any(line.startswith("not same  2") for line in lines)

    def test_a_missing_bucket_is_not_made(self, tmp_path: Path) -> None:
        with FakeS3(buckets=[]) as server:
            world = World(tmp_path, server)
            small_files(world.data, 1)
            given = arguments(world.data, server.endpoint, BUCKET)
            finished = run("verify", *given, env=world.environment())
            assert finished.code == 3
            assert "does not exist" in finished.complaints[-1]
            assert not server.buckets

    def test_it_needs_no_journal_and_leaves_that_of_an_upload_alone(self, world: World) -> None:
        small_files(world.data, 2)
        world.run()
        verify(world)
        assert not world.journal.exists()


class TestWithoutChecksum:
    """An ETag that is no MD5, and no checksum: nothing but the bytes tells."""

    @pytest.fixture
    def server(self) -> Iterator[FakeS3]:
        with FakeS3(buckets=[BUCKET], mode="kms") as server:
            yield server

    def test_what_cannot_be_proven_does_not_look_the_same(self, world: World) -> None:
        (name,) = small_files(world.data, 1)
        world.run()
        finished = verify(world)
        assert finished.code == 1
        assert finished.reasons("differs") == {name: "content cannot be proven without --download"}

    def test_download_compares_the_bytes(self, world: World) -> None:
        names = small_files(world.data, 3)
        world.run()
        status = os.stat(world.data / names[1])
        write(world.data, names[1], b"Y" * status.st_size)
        os.utime(world.data / names[1], ns=(status.st_mtime_ns, status.st_mtime_ns))
        finished = verify(world, "--download")
        assert numbers(finished) == [2, 1, 0, 0]
        assert finished.reasons("differs") == {names[1]: "content"}

    def test_a_fault_that_passes_makes_no_difference(self, world: World) -> None:
        names = small_files(world.data, len(PASSING))
        world.run()
        for name, word in zip(names, PASSING, strict=True):
            for kind in ("head", "get"):
                world.server.script(kind, name, word)
        world.server.script("list", BUCKET, " ".join(PASSING))
        finished = verify(world, "--download", "--retries", len(PASSING))
        assert (finished.code, numbers(finished)) == (0, [len(PASSING), 0, 0, 0])

    @pytest.mark.parametrize("kind", ["head", "get"])
    def test_a_fault_that_stays_is_no_proof(self, world: World, kind: str) -> None:
        words = ["403", "500", "truncated"]
        names = small_files(world.data, len(words) + 20)
        world.run()
        for name, word in zip(names, words, strict=False):
            world.server.script(kind, name, f"{word}...")
        finished = verify(world, "--download", "--retries", 1)
        assert (finished.code, finished.summary["same"]) == (1, 20)


class TestAfterAnUpload:
    def test_the_bucket_is_verified_once_everything_is_sent(self, world: World) -> None:
        small_files(world.data, 5)
        finished = world.run("--verify")
        assert finished.code == 0
        summaries = [event for event in finished.events if event["event"] == "summary"]
        assert [summaries[0]["uploaded"], summaries[1]["same"]] == [5, 5]
        assert kinds(world.server)["head"] >= 5

    def test_it_tells_what_somebody_else_has_left(self, world: World) -> None:
        small_files(world.data, 1)
        world.server.boto3().put_object(Bucket=BUCKET, Key="nobody", Body=b"")
        finished = world.run("--verify")
        assert finished.code == 1
        assert finished.paths("extra") == ["nobody"]


class TestUsage:
    def test_upload_is_the_name_of_the_command_without_a_word(self, world: World) -> None:
        names = small_files(world.data, 2)
        assert run("upload", *world.options(), env=world.environment()).code == 0
        world.assert_all_there(names)

    @pytest.mark.parametrize(
        "words",
        [
            ["verify", "--delete"],
            ["verify", "--abort-stale"],
            ["verify", "--dry-run"],
            ["verify", "--verify"],
            ["--download"],
            ["--verify", "--dry-run"],
            ["compare"],
        ],
    )
    def test_what_makes_no_sense_is_refused_in_one_line(
        self, world: World, words: list[str]
    ) -> None:
        command = [word for word in words if not word.startswith("--")]
        options = [word for word in words if word.startswith("--")]
        given = arguments(world.data, world.server.endpoint, BUCKET)
        finished = run(*command, *given, *options, env=environment(world.server))
        assert finished.code == 2
        assert len(finished.complaints) == 1
        assert not world.server.seen
