"""A run goes on where the one before stopped."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.command import (
    Running,
    arguments,
    environment,
    keys,
    new_bucket,
    random_bytes,
    run,
    small_files,
    write,
)
from tests.end_to_end.world import (
    BUCKET,
    PARTS,
    WITH_GRACE,
    World,
    cut_short,
    end,
    kill,
)
from tests.servers.ceph import CephRGW
from tests.servers.faults import MIB


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
