"""Any small tree, any bucket, any kill: after the next run the bucket is the tree."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.command import wait_for, write
from tests.end_to_end.world import BUCKET, World, end, kill
from tests.servers.s3 import FakeS3, Seen

SYNC = ("--skip", "unchanged", "--delete", "--max-delete", "100%", "--prefix", "p/")
WRITES = {"put", "copy", "delete_many"}
ROUNDS = 3
ALWAYS = "always"
"""A file that stays: without any nothing is deleted."""
SEEDS = int(os.environ.get("SYNC_SEEDS", "3"))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with FakeS3(buckets=[BUCKET]) as server:
        yield World(tmp_path, server)


def change(world: World, dice: random.Random, number: int) -> tuple[set[str], set[str], set[str]]:
    """Changes tree and bucket at random; returns which files have to be sent, which only their
    attributes, and which objects have to go."""
    objects = world.server.objects(BUCKET)
    files = {
        os.path.relpath(os.path.join(folder, name), world.data)
        for folder, _, names in os.walk(world.data)
        for name in names
    }
    sent, described, gone = set[str](), set[str](), set[str]()
    for name in sorted(files):
        path, key = world.data / name, f"p/{name}"
        if name == ALWAYS:
            continue
        match dice.choice(["nothing"] * 4 + ["content", "mode", "remove", "lose", "replace"]):
            case "content":
                write(world.data, name, dice.randbytes(dice.choice([0, 3, 3000])))
                touch_on(path, number)
                sent.add(key)
            case "mode":
                path.chmod(0o600 + number)
                described.add(key)
            case "remove":
                path.unlink()
                gone.add(key)
            case "lose":
                objects.pop(key, None)
                sent.add(key)
            case "replace":
                size = path.stat().st_size
                world.server.boto3().put_object(Bucket=BUCKET, Key=key, Body=b"x" * (size + 1))
                sent.add(key)
    for index in range(dice.randrange(6)):
        name = f"{dice.choice('ab')}/new{number}-{index}"
        write(world.data, name, dice.randbytes(dice.choice([0, 5])))
        sent.add(f"p/{name}")
    for index in range(dice.randrange(4)):
        key = f"p/{dice.choice('abc')}/alien{number}-{index}"
        world.server.boto3().put_object(Bucket=BUCKET, Key=key, Body=b"alien")
        gone.add(key)
    return sent, described, gone


class Killer:
    """Kills a process when its server works for the so many-th time."""

    def __init__(self, pid: int, moment: int) -> None:
        self._pid = pid
        self._left = moment

    def __call__(self, when: str, seen: Seen) -> None:
        self._left -= 1
        if self._left == 0:
            kill(self._pid)


def touch_on(path: Path, number: int) -> None:
    """A modification time that the file never had."""
    os.utime(path, ns=(10**18 + number * 10**9, 10**18 + number * 10**9))


def mirrored(world: World) -> None:
    """Below the prefix the bucket is the tree, attributes included, and all else is as it was."""
    objects = world.server.objects(BUCKET)
    names = {
        f"p/{path.relative_to(world.data)}" for path in world.data.rglob("*") if path.is_file()
    }
    assert {key for key in objects if key.startswith("p/")} == names
    assert {key for key in objects if not key.startswith("p/")} == {"p", "p0", "q/other"}
    for key in names:
        status = os.stat(world.data / key.removeprefix("p/"))
        assert objects[key].headers["x-amz-meta-mode"] == f"0{status.st_mode:o}"
        assert objects[key].size == status.st_size
        content = (world.data / key.removeprefix("p/")).read_bytes()
        assert objects[key].content == content


@pytest.mark.parametrize("seed", range(SEEDS))
def test_the_bucket_becomes_the_tree_by_the_fewest_requests(world: World, seed: int) -> None:
    dice = random.Random(seed)
    for key in ("p", "p0", "q/other"):
        world.server.boto3().put_object(Bucket=BUCKET, Key=key, Body=b"another's")
    write(world.data, ALWAYS, b"content")
    sent = {f"p/{ALWAYS}"}
    described, gone = set[str](), set[str]()
    for number in range(1, ROUNDS + 1):
        more = change(world, dice, number)
        sent, described, gone = sent | more[0], described | more[1], gone | more[2]
        sent -= gone
        before = len(world.server.seen)
        assert world.run(*SYNC).code == 0
        mirrored(world)
        writes = [seen for seen in world.server.seen[before:] if seen.kind in WRITES]
        assert {s.key for s in writes if s.kind == "put"} == sent
        assert {s.key for s in writes if s.kind == "copy"} == described - sent - gone
        assert len(writes) == len(sent) + len(described - sent - gone) + bool(
            [s for s in writes if s.kind == "delete_many"]
        )
        asked = sum(seen.kind == "head" for seen in world.server.seen[before:])
        assert asked <= len(sent | described)
        sent, described, gone = set(), set(), set()


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_run_that_was_killed_anywhere_is_made_good_by_the_next(world: World, seed: int) -> None:
    dice = random.Random(1000 + seed)
    for key in ("p", "p0", "q/other"):
        world.server.boto3().put_object(Bucket=BUCKET, Key=key, Body=b"another's")
    write(world.data, ALWAYS, b"content")
    for number in range(1, ROUNDS + 1):
        change(world, dice, number)
        with world.start(*SYNC) as running:
            world.server.hook = Killer(running.pid, dice.randrange(1, 12))
            wait_for(lambda: (running.workers(), running.process.poll() is not None)[1])
            end(running)
        world.server.hook = None
        world.settle()
        assert world.run(*SYNC).code == 0
        mirrored(world)
