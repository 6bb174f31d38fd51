"""Storms on a real server: harm on the wire, and a gateway that is killed in mid-run."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.command import (
    Finished,
    Running,
    arguments,
    environment,
    new_bucket,
    random_bytes,
    small_files,
    stored,
    write,
)
from tests.servers.ceph import CephRGW
from tests.servers.faults import MIB
from tests.servers.proxy import Proxy

SEED = int(os.environ.get("STORM_SEED", "20260101"))
FILES = 300
LARGE = {"large/odd": 16 * MIB + 1, "large/exact": 24 * MIB}
PATIENCE = 120.0
"""Seconds that a run may take; a fifth of that here."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("storm")
    small_files(root, FILES)
    for name, size in LARGE.items():
        write(root, name, random_bytes(size, name))
    return root


@pytest.fixture(scope="module")
def blown(ceph: CephRGW, root: Path) -> Iterator[tuple[Proxy, Finished, str]]:
    """A run in which 30 % of the requests or their answers are reset, cut or stalled."""
    bucket = new_bucket()
    ceph.boto3().create_bucket(Bucket=bucket)
    with Proxy(ceph.endpoint, probability=0.3, seed=SEED) as proxy:
        told = arguments(root, proxy.endpoint, bucket, "--json", "--retries", 20, "--timeout", 2)
        with Running(*told, "--concurrency", 32, env=environment(ceph)) as running:
            finished = running.finish(PATIENCE)
    yield proxy, finished, bucket


def contents(root: Path) -> dict[str, str]:
    """Name -> SHA-256 of every file."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file()
    }


def received(ceph: CephRGW, bucket: str) -> dict[str, str]:
    """Key -> SHA-256 of every object."""
    return {key: found.sha256 for key, found in stored(ceph, bucket).items()}


def open_parts(ceph: CephRGW, bucket: str) -> list[str]:
    """Keys of unfinished multipart uploads that hold parts."""
    client = ceph.boto3()
    uploads = client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    return [
        row["Key"]
        for row in uploads
        if client.list_parts(Bucket=bucket, Key=row["Key"], UploadId=row["UploadId"]).get("Parts")
    ]


def test_a_storm_on_the_wire_ends_well(blown: tuple[Proxy, Finished, str]) -> None:
    _, finished, _ = blown
    assert (finished.code, finished.reasons()) == (0, {})


def test_a_storm_on_the_wire_was_one(blown: tuple[Proxy, Finished, str]) -> None:
    proxy, _, _ = blown
    assert 0.2 < proxy.strikes / proxy.harms.total() < 0.4


def test_a_storm_on_the_wire_leaves_the_right_contents(
    blown: tuple[Proxy, Finished, str], ceph: CephRGW, root: Path
) -> None:
    _, _, bucket = blown
    assert received(ceph, bucket) == contents(root)


def test_a_storm_on_the_wire_leaves_no_parts_behind(
    blown: tuple[Proxy, Finished, str], ceph: CephRGW
) -> None:
    _, _, bucket = blown
    assert open_parts(ceph, bucket) == []


def test_a_gateway_killed_in_mid_run_costs_no_file(own_ceph: CephRGW, root: Path) -> None:
    bucket = new_bucket()
    own_ceph.boto3().create_bucket(Bucket=bucket)
    told = arguments(root, own_ceph.endpoint, bucket, "--json", "--retries", 20, "--timeout", 5)
    with Running(*told, "--concurrency", 8, env=environment(own_ceph)) as running:
        running.wait_for("uploaded", FILES // 6)
        own_ceph.restart_gateway()
        finished = running.finish(PATIENCE)
    assert (finished.code, finished.reasons()) == (0, {})
    assert received(own_ceph, bucket) == contents(root)
