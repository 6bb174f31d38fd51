"""``--skip`` and ``--delete``: only what is needed is sent, and only what nobody has is deleted."""

from __future__ import annotations

import os
import shutil
import signal
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.command import (
    MIB,
    Finished,
    arguments,
    environment,
    names_below,
    new_bucket,
    run,
    small_files,
    stored,
    write,
)
from tests.end_to_end.world import BUCKET, UsageError, World, kill
from tests.servers.s3 import FakeS3
from tests.servers.s3_server import S3Server

WRITES = {"put", "copy", "create", "part", "complete", "abort", "delete", "delete_many"}
UNCHANGED = ("--skip", "unchanged")
FAULTS = ("500", "reset", "hangup", "garbage", "truncated", "503")


@pytest.fixture
def server() -> Iterator[FakeS3]:
    with FakeS3(buckets=[BUCKET]) as server:
        yield server


@pytest.fixture
def world(tmp_path: Path, server: FakeS3) -> World:
    return World(tmp_path, server)


def asked(server: FakeS3, since: int = 0) -> Counter[str]:
    """How often each kind of request came, but for the question after the bucket."""
    kinds = Counter(seen.kind for seen in server.seen[since:])
    return Counter(
        {kind: count for kind, count in kinds.items() if kind in {*WRITES, "head", "list"}}
    )


def touch(path: str, seconds: int = 7) -> None:
    """Another modification time."""
    now = os.stat(path).st_mtime_ns + seconds * 10**9
    os.utime(path, ns=(now, now))


def hold(world: World, names: Iterable[str], prefix: str = "", content: bytes = b"older") -> None:
    """Lets the bucket hold objects of these names."""
    client = world.server.boto3()
    for name in names:
        client.put_object(Bucket=BUCKET, Key=prefix + name, Body=content)


class TestSkip:
    def test_the_second_run_asks_for_the_listing_only(self, world: World) -> None:
        """The journal vouches for what the listing confirms."""
        names = world.fill(files=50, large=1)
        assert world.run(*UNCHANGED).summary["uploaded"] == 51
        before = len(world.server.seen)
        again = world.run(*UNCHANGED)
        assert (again.code, again.summary["skipped"]) == (0, 51)
        assert again.summary["skipped_reasons"] == {"is unchanged": 51}
        assert asked(world.server, before) == {"list": 1}
        world.assert_all_there(names)

    def test_what_changed_is_sent_and_what_was_only_described_anew_is_not(
        self, world: World
    ) -> None:
        names = small_files(world.data, 40)
        world.run(*UNCHANGED)
        changed = {"another content": names[:3], "another mode": names[3:5]}
        for name in changed["another content"]:
            write(world.data, name, b"something else")
        for name in changed["another mode"]:
            os.chmod(world.data / name, 0o640)
        before = len(world.server.seen)
        again = world.run(*UNCHANGED)
        assert asked(world.server, before) - Counter(head=9) == {"list": 1, "put": 3, "copy": 2}
        counts = {kind: again.summary[kind] for kind in ("uploaded", "updated", "skipped")}
        assert counts == {"uploaded": 3, "updated": 2, "skipped": 35}
        assert world.server.objects(BUCKET)[names[3]].headers["x-amz-meta-mode"] == "0100640"
        world.assert_all_there(names)
        before = len(world.server.seen)
        assert world.run(*UNCHANGED).summary["skipped"] == 40
        assert asked(world.server, before) == {"list": 1}

    def test_what_the_record_does_not_speak_of_is_sent(self, world: World) -> None:
        """Whatever became of the file or its object: with the same size, too."""
        names = small_files(world.data, 9)
        world.run(*UNCHANGED)
        touched, replaced, gone, *_ = names
        touch(str(world.data / touched))
        size = os.path.getsize(world.data / replaced)
        world.server.boto3().put_object(Bucket=BUCKET, Key=replaced, Body=bytes(size))
        del world.server.objects(BUCKET)[gone]
        sent = world.run(*UNCHANGED).paths("uploaded")
        found = {"touched": touched in sent, "replaced": replaced in sent, "gone": gone in sent}
        assert found == {"touched": True, "replaced": True, "gone": True}
        assert len(sent) == 3
        world.assert_all_there(names)

    def test_without_a_record_each_object_is_asked_for_once(self, world: World) -> None:
        small_files(world.data, 20)
        world.run()
        before = len(world.server.seen)
        assert world.run(*UNCHANGED).summary["skipped"] == 20
        assert asked(world.server, before) == {"list": 1, "head": 20}
        before = len(world.server.seen)
        assert world.run(*UNCHANGED).summary["skipped"] == 20
        assert asked(world.server, before) == {"list": 1}

    def test_a_run_without_the_option_sends_everything(self, world: World) -> None:
        names = small_files(world.data, 5)
        world.run(*UNCHANGED)
        assert world.run().summary["uploaded"] == 5
        assert not world.journal.exists()
        assert all(world.server.stored[name] == 2 for name in names)

    def test_existing_and_same_size_look_at_the_listing_alone(self, world: World) -> None:
        names = small_files(world.data, 3)
        world.run()
        write(world.data, names[0], b"another size")
        os.chmod(world.data / names[1], 0o600)
        before = len(world.server.seen)
        assert world.run("--skip", "existing").summary["skipped"] == 3
        assert asked(world.server, before) == {"list": 1}
        before = len(world.server.seen)
        assert world.run("--skip", "same-size").summary["uploaded"] == 1
        assert asked(world.server, before) == {"list": 1, "put": 1}

    @pytest.mark.parametrize("mode", ["old", "new"])
    def test_checksum_looks_at_the_content(self, tmp_path: Path, mode: str) -> None:
        """By MD5 where the ETag is one, else by the checksum that the service has."""
        with FakeS3(buckets=[BUCKET], mode=mode) as server:
            world = World(tmp_path, server)
            names = [*small_files(world.data, 3), "empty"]
            write(world.data, "empty", b"")
            world.run()
            status = os.stat(world.data / names[0])
            write(world.data, names[0], bytes(status.st_size))
            os.utime(world.data / names[0], ns=(status.st_atime_ns, status.st_mtime_ns))
            touch(str(world.data / names[1]))
            again = world.run("--skip", "checksum")
            counts = {kind: again.summary[kind] for kind in ("uploaded", "updated", "skipped")}
            assert counts == {"uploaded": 1, "updated": 1, "skipped": 2}
            world.assert_all_there(names)

    def test_a_bucket_that_is_made_holds_nothing(self, world: World) -> None:
        small_files(world.data, 3)
        world.run(*UNCHANGED)
        world.server.buckets.clear()
        assert world.run(*UNCHANGED).summary["uploaded"] == 3

    def test_a_bucket_that_may_not_be_listed_ends_the_run(self, world: World) -> None:
        small_files(world.data, 3)
        world.server.script("list", BUCKET, "403...")
        finished = world.run(*UNCHANGED)
        assert finished.code == 3
        (line,) = finished.complaints
        assert "cannot be listed" in line
        assert "AccessDenied" in line

    def test_a_listing_that_fails_is_asked_for_again(self, world: World) -> None:
        names = small_files(world.data, 5)
        world.run(*UNCHANGED)
        write(world.data, "more", b"more")
        words = "500 reset hangup truncated garbage blank error200 503"
        world.server.script("list", BUCKET, words)
        again = world.run(*UNCHANGED, "--delete", "--retries", len(words.split()))
        assert (again.code, again.summary["skipped"], again.summary["uploaded"]) == (0, 5, 1)
        world.assert_all_there([*names, "more"])

    def test_a_long_listing_is_cut_and_complete(self, world: World) -> None:
        names = small_files(world.data, 30)
        world.run(*UNCHANGED)
        found = world.server.objects(BUCKET)
        for number in range(12_000):
            found[f"folder{number % 9}/{number:06}-other"] = found[names[0]]
        again = world.run(*UNCHANGED, "--delete", "--max-delete", "12000")
        assert (again.summary["skipped"], again.summary["deleted"]) == (30, 12_000)
        world.assert_all_there(names)

    def test_what_objects_are_to_carry_counts(self, world: World) -> None:
        names = small_files(world.data, 3)
        world.run(*UNCHANGED)
        again = world.run(*UNCHANGED, "--metadata", "origin=tape")
        assert again.summary["updated"] == 3
        headers = world.server.objects(BUCKET)[names[0]].headers
        assert headers["x-amz-meta-origin"] == "tape"

    def test_a_run_that_stops_while_it_lists_says_so(self, world: World) -> None:
        names = small_files(world.data, 3)
        world.server.script("list", BUCKET, "delay:30")
        with world.start(*UNCHANGED, "--delete") as running:
            running.wait_until(lambda: any(seen.kind == "list" for seen in world.server.seen))
            running.signal(signal.SIGINT)
            running.signal(signal.SIGINT)
            finished = running.finish()
        assert finished.code == 130
        assert finished.summary["failed"] == len(names)

    def test_a_worker_that_dies_while_it_lists_is_replaced(self, world: World) -> None:
        names = small_files(world.data, 3)
        world.run(*UNCHANGED)
        write(world.data, names[0], b"something else")
        world.server.script("list", BUCKET, "delay:5")
        with world.start(*UNCHANGED, "--delete") as running:
            before = len(world.server.seen)
            running.wait_until(
                lambda: any(seen.kind == "list" for seen in world.server.seen[before - 1 :])
            )
            for pid in running.workers():
                kill(pid)
            finished = running.finish()
        assert (finished.code, finished.summary["skipped"]) == (0, 2)
        world.assert_all_there(names)


REFUSED = ("403", "404", "400")


@pytest.fixture(scope="module")
def questioned(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Finished]:
    """Each question after an object of which there is no record has a fault of its own."""
    with FakeS3(buckets=[BUCKET]) as server:
        world = World(tmp_path_factory.mktemp("questioned"), server)
        names = small_files(world.data, len(FAULTS) + len(REFUSED) + 1)
        world.run()
        words = [*FAULTS, *(f"{word}..." for word in REFUSED)]
        for name, word in zip(names, words, strict=False):
            server.script("head", name, word)
        return names, world.run(*UNCHANGED)


class TestQuestions:
    def test_one_that_fails_is_asked_again(self, questioned: tuple[list[str], Finished]) -> None:
        _, finished = questioned
        assert (finished.code, finished.summary["skipped"]) == (0, len(FAULTS) + 1)

    def test_where_nobody_may_ask_the_file_is_sent(
        self, questioned: tuple[list[str], Finished]
    ) -> None:
        names, finished = questioned
        assert sorted(finished.paths("uploaded")) == sorted(names[len(FAULTS) : -1])


@pytest.mark.parametrize("name", ["moto", "ceph"])
def test_real_servers_do_what_the_imitation_does(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    server: S3Server = request.getfixturevalue(name)
    bucket, data = new_bucket(), tmp_path / "data"
    names = [*small_files(data, 30), "gr\u00fc\u00dfe +&%41.txt"]
    write(data, names[-1])
    command = [*arguments(data, server.endpoint, bucket), "--json", *UNCHANGED, "--delete"]
    env = environment(server)
    assert run(*command, env=env).summary["uploaded"] == 31
    assert run(*command, env=env).summary["skipped"] == 31
    write(data, names[0], b"changed")
    (data / names[1]).chmod(0o600)
    (data / names[-1]).unlink()
    finished = run(*command, env=env)
    counts = {kind: finished.summary[kind] for kind in ("uploaded", "updated", "deleted")}
    assert counts == {"uploaded": 1, "updated": 1, "deleted": 1}
    found = stored(server, bucket)
    assert set(found) == set(names[:-1])
    assert found[names[1]].metadata["mode"] == "0100600"


def test_directories_are_compared_as_well(tmp_path: Path) -> None:
    data, buckets = tmp_path / "data", tmp_path / "buckets"
    names = small_files(data, 10)
    (buckets / "bucket").mkdir(parents=True)
    write(buckets / "bucket", b"not utf-8 \xff")  # nobody's key: it stays
    command = [*arguments(data, str(buckets), "bucket", "--provider", "local"), "--json"]
    command += [*UNCHANGED, "--delete"]
    env = environment()
    assert run(*command, env=env).summary["uploaded"] == 10
    assert run(*command, env=env).summary["skipped"] == 10
    write(data, names[0], b"changed")
    (data / names[1]).chmod(0o600)
    (data / names[2]).unlink()
    finished = run(*command, env=env)
    counts = {kind: finished.summary[kind] for kind in ("uploaded", "updated", "deleted")}
    assert counts == {"uploaded": 1, "updated": 1, "deleted": 1}
    found = names_below(buckets / "bucket")
    assert found == {*names[:2], *names[3:], os.fsdecode(b"not utf-8 \xff")}
    assert (buckets / "bucket" / names[1]).stat().st_mode & 0o777 == 0o600


class TestDelete:
    def test_what_the_options_leave_out_stays(self, world: World) -> None:
        """With a file or without one: it is nobody's here."""
        names = ("a.txt", "b.txt", "a.log", "b.log", "logs/c.txt")
        for name in names:
            write(world.data, name, name.encode())
        hold(world, names)
        os.unlink(world.data / "b.txt")
        os.unlink(world.data / "b.log")
        finished = world.run("--delete", "--exclude", "*.log", "--exclude", "logs/")
        assert finished.paths("deleted") == ["b.txt"]
        left = {"a.txt", "a.log", "b.log", "logs/c.txt"}
        assert set(world.server.objects(BUCKET)) == left

    def test_files_of_another_age_stay(self, world: World) -> None:
        names = small_files(world.data, 4)
        hold(world, names)
        os.utime(world.data / names[0], (1, 1))
        os.unlink(world.data / names[1])
        finished = world.run("--delete", "--newer-than", "1d")
        assert finished.paths("deleted") == [names[1]]
        assert names[0] in world.server.objects(BUCKET)

    def test_a_single_file_says_nothing_of_others(self, world: World) -> None:
        names = small_files(world.data, 2)
        told = arguments(world.data / names[0], world.server.endpoint, BUCKET, "--delete")
        finished = run(*told, env=environment(world.server))
        assert finished.code == 2
        assert "is no directory" in finished.complaints[0]

    def test_objects_without_a_file_are_deleted_below_the_prefix_only(self, world: World) -> None:
        names = small_files(world.data, 5)
        hold(world, names, "p/")
        hold(world, names, "other/")
        gone = names.pop()
        os.unlink(world.data / gone)
        finished = world.run("--prefix", "p/", "--delete")
        assert finished.paths("deleted") == [f"p/{gone}"]
        assert (finished.code, finished.summary["deleted"]) == (0, 1)
        left = {f"other/{name}" for name in [*names, gone]} | {f"p/{name}" for name in names}
        assert set(world.server.objects(BUCKET)) == left

    @pytest.mark.parametrize(("most", "code", "left"), [("4", 0, 6), ("3", 1, 10), ("40%", 0, 6)])
    def test_no_more_than_was_allowed(self, world: World, most: str, code: int, left: int) -> None:
        names = small_files(world.data, 10)
        hold(world, names)
        for name in names[:4]:
            os.unlink(world.data / name)
        finished = world.run("--delete", "--max-delete", most)
        assert finished.code == code
        assert len(world.server.objects(BUCKET)) == left
        assert finished.summary["not_deleted"] == (4 if code else 0)
        notes = [e["text"] for e in finished.events if e["event"] == "note"]
        assert any("--max-delete is" in note for note in notes) == bool(code)

    def test_nothing_is_deleted_when_a_file_failed(self, world: World) -> None:
        names = small_files(world.data, 5)
        hold(world, names)
        os.unlink(world.data / names[0])
        world.server.script("put", names[1], "400...")
        finished = world.run("--delete")
        assert finished.code == 1
        assert sorted(world.server.objects(BUCKET)) == sorted(names)

    def test_nothing_is_deleted_when_the_scan_had_an_error(self, world: World) -> None:
        names = small_files(world.data, 5)
        hold(world, names)
        os.unlink(world.data / names[0])
        (world.data / "dangling").symlink_to("nowhere")
        assert world.run("--delete").code == 1
        assert sorted(world.server.objects(BUCKET)) == sorted(names)

    def test_nothing_is_deleted_where_there_is_no_file_at_all(self, world: World) -> None:
        """A disk that is not mounted looks like this."""
        names = small_files(world.data, 5)
        hold(world, names)
        shutil.rmtree(world.data)
        world.data.mkdir()
        finished = world.run("--delete")
        assert (finished.code, finished.summary["not_deleted"]) == (1, 5)
        assert sorted(world.server.objects(BUCKET)) == sorted(names)

    def test_nothing_is_deleted_where_one_source_has_no_file(
        self, world: World, tmp_path: Path
    ) -> None:
        names = small_files(world.data, 2)
        write(tmp_path, "more/file")
        hold(world, [*names, "file"])
        os.unlink(tmp_path / "more/file")
        finished = world.run("--src", tmp_path / "more", "--delete")
        assert (finished.code, finished.summary["not_deleted"]) == (1, 1)
        assert sorted(world.server.objects(BUCKET)) == sorted([*names, "file"])

    def test_what_is_left_out_by_size_stays_when_its_file_is_gone(self, world: World) -> None:
        write(world.data, "small", b"1")
        write(world.data, "large", b"1" * 100)
        write(world.data, "other", b"1" * 100)
        hold(world, ("small",), content=b"1")
        hold(world, ("large", "other"), content=b"1" * 100)
        os.unlink(world.data / "small")
        os.unlink(world.data / "large")
        finished = world.run("--delete", "--min-size", 50)
        assert finished.paths("deleted") == ["large"]

    def test_empty_objects_that_stand_for_directories_stay(self, world: World) -> None:
        write(world.data, "a/b")
        hold(world, ("a/b",))
        world.server.boto3().put_object(Bucket=BUCKET, Key="a/", Body=b"")
        assert world.run("--delete").summary["deleted"] == 0
        assert set(world.server.objects(BUCKET)) == {"a/", "a/b"}

    def test_what_the_scan_leaves_out_stays(self, world: World, tmp_path: Path) -> None:
        names = small_files(world.data, 2)
        hold(world, names)
        hold(world, small_files(tmp_path / "elsewhere", 3), "link/")
        (world.data / "link").symlink_to(tmp_path / "elsewhere")
        finished = world.run("--delete")
        assert finished.summary["deleted"] == 0
        assert len(world.server.objects(BUCKET)) == 5

    def test_a_refusal_is_told_with_its_reason(self, world: World) -> None:
        names = small_files(world.data, 5)
        hold(world, names)
        for name in names[:2]:
            os.unlink(world.data / name)
        world.server.service.locked.add(names[0])
        finished = world.run("--delete")
        assert finished.code == 1
        assert finished.reasons("not deleted") == {names[0]: "AccessDenied: locked"}
        assert (finished.summary["deleted"], finished.summary["not_deleted"]) == (1, 1)

    def test_versions_are_mentioned(self, world: World) -> None:
        names = small_files(world.data, 3)
        hold(world, names)
        os.unlink(world.data / names[0])
        world.server.service.keeps_versions = True
        finished = world.run("--delete")
        notes = [e["text"] for e in finished.events if e["event"] == "note"]
        assert any("1 deleted objects are hidden" in note for note in notes)

    def test_a_deletion_that_fails_is_asked_for_again(self, world: World) -> None:
        names = small_files(world.data, 5)
        hold(world, names)
        os.unlink(world.data / names[0])
        words = "500 reset lost truncated garbage blank"
        world.server.script("delete_many", BUCKET, words)
        assert world.run("--delete", "--retries", len(words.split())).code == 0
        world.assert_all_there(names[1:])

    def test_a_service_that_deletes_one_by_one(self, world: World) -> None:
        names = small_files(world.data, 5)
        hold(world, names)
        os.unlink(world.data / names[0])
        world.server.script("delete_many", BUCKET, "501...")
        assert world.run("--delete").code == 0
        world.assert_all_there(names[1:])

    def test_by_the_thousand(self, world: World) -> None:
        names = small_files(world.data, 3)
        hold(world, names)
        found = world.server.objects(BUCKET)
        for number in range(2500):
            found[f"old/{number}"] = found[names[0]]
        assert world.run("--delete", "--max-delete", "90%").code == 1  # 2500 of 2503 are more
        finished = world.run("--delete", "--max-delete", "100%")
        assert finished.summary["deleted"] == 2500
        assert asked(world.server)["delete_many"] == 3


class TestDryRun:
    def test_it_tells_what_would_be_done_and_does_nothing(self, world: World) -> None:
        names = small_files(world.data, 6)
        world.run(*UNCHANGED)
        write(world.data, names[0], b"changed")
        os.chmod(world.data / names[1], 0o600)
        os.unlink(world.data / names[2])
        write(world.data, "new", bytes(MIB))
        before = len(world.server.seen)
        finished = world.run(*UNCHANGED, "--delete", "--dry-run")
        assert finished.code == 0
        assert sorted(finished.paths("would upload")) == [names[0], "new"]
        assert finished.paths("would update") == [names[1]]
        assert finished.paths("would delete") == [names[2]]
        assert finished.summary["skipped"] == 3
        assert not WRITES & asked(world.server, before).keys()
        assert {seen.kind for seen in world.server.seen[before:]} >= {"list", "head"}

    def test_it_makes_no_bucket(self, world: World) -> None:
        small_files(world.data, 2)
        world.server.buckets.clear()
        assert world.run(*UNCHANGED, "--dry-run").code == 3
        assert world.server.buckets == {}


COPY_FAULTS = ("500", "reset", "lost", "error200", "blank", "truncated")
COPY_REFUSED = ("400", "403", "501")


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> tuple[FakeS3, Finished]:
    """A file for each fault of its copy gets other permissions, and so do the objects."""
    with FakeS3(buckets=[BUCKET]) as server:
        world = World(tmp_path_factory.mktemp("described"), server)
        words = [*COPY_FAULTS, *(f"{word}..." for word in COPY_REFUSED)]
        names = small_files(world.data, len(words))
        world.run(*UNCHANGED)
        for name, word in zip(names, words, strict=True):
            os.chmod(world.data / name, 0o600)
            server.script("copy", name, word)
        return server, world.run(*UNCHANGED)


class TestAttributes:
    def test_a_copy_that_fails_is_asked_for_again(self, described: tuple[FakeS3, Finished]) -> None:
        _, finished = described
        assert finished.summary["updated"] == len(COPY_FAULTS)

    def test_where_the_service_cannot_the_file_is_sent(
        self, described: tuple[FakeS3, Finished]
    ) -> None:
        _, finished = described
        assert finished.summary["uploaded"] == len(COPY_REFUSED)

    def test_all_objects_have_them_in_the_end(self, described: tuple[FakeS3, Finished]) -> None:
        server, finished = described
        modes = {found.headers["x-amz-meta-mode"] for found in server.objects(BUCKET).values()}
        assert (finished.code, modes) == (0, {"0100600"})


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--skip", "some"], "--skip: 'some' is none of"),
        (["--max-delete", "many"], "--max-delete: 'many' is no number of objects"),
        (["--skip", "unchanged", "--if-none-match"], "replaces nothing"),
        (["--delete", "--prefix", "p"], "--delete: the prefix 'p' is that of others"),
        (["--delete", "--files-from", os.devnull], "--delete: a list does not say"),
        (["--delete", "--provider", "google_storage"], "--delete: the objects of google_storage"),
    ],
)
def test_what_makes_no_sense_is_refused(
    world: World, usage_error: UsageError, options: list[str], reason: str
) -> None:
    small_files(world.data, 1)
    assert reason in usage_error(*world.options(*options), **world.environment())
    assert world.server.seen == []
