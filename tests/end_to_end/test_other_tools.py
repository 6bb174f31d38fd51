"""What users meet who look at the bucket with the tools that they know."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.command import arguments, environment, new_bucket, random_bytes, run, write
from tests.servers.ceph import CephRGW

MTIME_NS = 1_234_567_890_123_456_789
FILES = {
    "plain.txt": (100, 0o640),
    "dir/program": (4096, 0o755),
    "dir/sub/large": (20_000_000, 0o600),
}
"""Name -> size and permissions."""
OWNER, GROUP = (1234, 4321) if os.geteuid() == 0 else (os.geteuid(), os.getegid())


class Uploaded(NamedTuple):
    """A directory and the bucket that holds it."""

    root: Path
    bucket: str
    environment: dict[str, str]
    """For tools that know AWS's variables."""
    endpoint: str

    def tool(self, name: str, *words: str) -> str:
        """What a program prints; skips the test where it is not installed, but in CI."""
        beside = Path(sys.executable).with_name(name)
        program = str(beside) if beside.exists() else shutil.which(name)
        if not program:
            reason = f"{name} is not installed"
            pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
        done = subprocess.run(
            [program, *words], env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def uploaded(ceph: CephRGW, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Uploaded]:
    root, home = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("home")
    for name, (size, mode) in FILES.items():
        write(root, name, random_bytes(size, name))
        path = root / name
        path.chmod(mode)
        os.chown(path, OWNER, GROUP)
        os.utime(path, ns=(MTIME_NS, MTIME_NS))
    bucket, known = new_bucket(), environment(ceph)
    assert run(*arguments(root, ceph.endpoint, bucket), env=known).code == 0
    remote = {
        "RCLONE_CONFIG": os.devnull,
        "RCLONE_CONFIG_S3_TYPE": "s3",
        "RCLONE_CONFIG_S3_PROVIDER": "Ceph",
        "RCLONE_CONFIG_S3_ENV_AUTH": "true",
        "RCLONE_CONFIG_S3_ENDPOINT": ceph.endpoint,
    }
    known = {**known, "HOME": str(home), "AWS_DEFAULT_REGION": "us-east-1", **remote}
    yield Uploaded(root, bucket, known, ceph.endpoint)


def test_aws_shows_size_time_and_permissions(uploaded: Uploaded) -> None:
    for name, (size, mode) in FILES.items():
        words = ("s3api", "head-object", "--bucket", uploaded.bucket, "--key", name)
        shown = json.loads(uploaded.tool("aws", "--endpoint-url", uploaded.endpoint, *words))
        assert shown["ContentLength"] == size
        assert shown["Metadata"] == {
            "size": str(size),
            "mtime": "1234567890.123456789",
            "mode": f"0{stat.S_IFREG | mode:o}",
            "uid": str(OWNER),
            "gid": str(GROUP),
        }


def test_s5cmd_lists_names_and_sizes(uploaded: Uploaded) -> None:
    words = ("--endpoint-url", uploaded.endpoint, "--json", "ls", f"s3://{uploaded.bucket}/*")
    rows = [json.loads(line) for line in uploaded.tool("s5cmd", *words).splitlines()]
    prefix = f"s3://{uploaded.bucket}/"
    found = {row["key"].removeprefix(prefix): row["size"] for row in rows}
    assert found == {name: size for name, (size, _) in FILES.items()}


def test_rclone_lists_sizes_times_and_permissions(uploaded: Uploaded) -> None:
    words = ("lsjson", "--recursive", "--files-only", "--metadata", f"s3:{uploaded.bucket}")
    rows: list[dict[str, Any]] = json.loads(uploaded.tool("rclone", *words))
    assert {row["Path"] for row in rows} == set(FILES)
    for row in rows:
        size, mode = FILES[row["Path"]]
        assert row["Size"] == size
        assert row["ModTime"].startswith("2009-02-13T23:31:30.123456789")
        assert row["Metadata"]["mode"] == f"0{stat.S_IFREG | mode:o}"
        assert (row["Metadata"]["uid"], row["Metadata"]["gid"]) == (str(OWNER), str(GROUP))


def test_rclone_brings_back_the_same_files(uploaded: Uploaded, tmp_path: Path) -> None:
    uploaded.tool("rclone", "copy", "--metadata", f"s3:{uploaded.bucket}", str(tmp_path))
    for name, (_, mode) in FILES.items():
        copy = tmp_path / name
        assert copy.read_bytes() == (uploaded.root / name).read_bytes()
        status = copy.stat()
        assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns) == (mode, MTIME_NS)
        assert (status.st_uid, status.st_gid) == (OWNER, GROUP)
