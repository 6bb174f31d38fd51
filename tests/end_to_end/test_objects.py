"""What objects look like to boto3: as the options say, on servers of two kinds."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from providers.attributes import object_stat
from tests.command import (
    MIB,
    Finished,
    arguments,
    environment,
    keys,
    new_bucket,
    random_bytes,
    run,
    stored,
    write,
)
from tests.servers.ceph import CephRGW
from tests.servers.moto import Moto
from tests.servers.s3_server import S3Server

SMALL, LARGE = "small.txt", "large.bin"
FILES = {SMALL: b"content", LARGE: random_bytes(17 * MIB, seed=1)}
"""One that goes as a whole, and one that goes in parts."""

on_both = pytest.mark.parametrize("kind", ["moto", "ceph"])


@pytest.fixture
def server(kind: str, request: pytest.FixtureRequest) -> S3Server:
    server: S3Server = request.getfixturevalue(kind)
    return server


@pytest.fixture
def files(data: Path) -> Path:
    for name, content in FILES.items():
        write(data, name, content)
        (data / name).chmod(0o640)
        if os.geteuid() == 0:
            os.chown(data / name, 1234, 5678)
        os.utime(data / name, ns=(1_600_000_000_000_000_001, 1_700_000_000_000_000_500))
    return data


def upload(server: S3Server, source: Path, bucket: str, *options: object) -> Finished:
    told = arguments(source, server.endpoint, bucket, "--json", *options)
    return run(*told, env=environment(server))


def uploaded(server: S3Server, source: Path, *options: object) -> str:
    """The bucket to which all files went."""
    bucket = new_bucket()
    finished = upload(server, source, bucket, *options)
    assert (finished.code, finished.stderr) == (0, "")
    return bucket


def heads(server: S3Server, bucket: str) -> list[dict[str, Any]]:
    client = server.boto3()
    return [client.head_object(Bucket=bucket, Key=key) for key in FILES]


def test_objects_are_stored_and_encrypted_as_asked(moto: Moto, files: Path) -> None:
    bucket = uploaded(
        moto,
        files,
        *("--storage-class", "STANDARD_IA", "--sse", "aws:kms", "--sse-kms-key-id", "alias/mine"),
    )
    for head in heads(moto, bucket):
        assert head["StorageClass"] == "STANDARD_IA"
        assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", "alias/mine")
    contents = {key: (found.size, found.sha256) for key, found in stored(moto, bucket).items()}
    plain = stored(moto, uploaded(moto, files))
    assert contents == {key: (found.size, found.sha256) for key, found in plain.items()}


@on_both
def test_objects_have_the_tags_and_headers_asked_for(server: S3Server, files: Path) -> None:
    bucket = uploaded(
        server,
        files,
        *("--tag", "project=a b+c", "--tag", "empty=", "--cache-control", "max-age=60, private"),
        *("--content-type", "text/x-mine; charset=utf-8"),
    )
    client, tagged = server.boto3(), set(FILES)
    if isinstance(server, CephRGW):
        tagged.remove(LARGE)  # Ceph 16.2 forgets the tags of what comes in parts
    for head in heads(server, bucket):
        assert head["CacheControl"] == "max-age=60, private"
        assert head["ContentType"] == "text/x-mine; charset=utf-8"
    for key in tagged:
        tags = client.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]
        assert {row["Key"]: row["Value"] for row in tags} == {"project": "a b+c", "empty": ""}


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ([], 403),
        (["--acl", "private"], 403),
        (["--allow-public"], 403),
        (["--acl", "public-read", "--allow-public"], 200),
    ],
)
def test_objects_are_private_unless_an_acl_says_otherwise(
    ceph: CephRGW, files: Path, options: list[str], status: int
) -> None:
    bucket = uploaded(ceph, files, *options)
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for key in FILES:
        try:
            with direct.open(f"{ceph.endpoint}/{bucket}/{key}", timeout=10) as answer:
                found = answer.status
        except urllib.error.HTTPError as error:
            error.close()
            found = error.code
        assert found == status


@on_both
def test_create_only_leaves_what_is_there(server: S3Server, files: Path) -> None:
    client, bucket = server.boto3(), new_bucket()
    client.create_bucket(Bucket=bucket)
    for key in FILES:
        client.put_object(Bucket=bucket, Key=key, Body=b"theirs")
    write(files, "new", b"ours")
    finished = upload(server, files, bucket, "--if-none-match")
    assert (finished.code, finished.stderr) == (0, "")
    assert finished.paths("uploaded") == ["new"]
    assert finished.reasons("skipped") == dict.fromkeys(FILES, "an object of this name exists")
    summary = finished.summary
    assert (summary["uploaded"], summary["skipped"], summary["failed"]) == (1, 2, 0)
    for key in FILES:
        assert client.get_object(Bucket=bucket, Key=key)["Body"].read() == b"theirs"


@on_both
def test_create_only_creates(server: S3Server, files: Path) -> None:
    assert sorted(keys(server, uploaded(server, files, "--if-none-match"))) == sorted(FILES)


@on_both
def test_a_bucket_with_object_lock_takes_all_files(server: S3Server, files: Path) -> None:
    client, bucket = server.boto3(), new_bucket()
    client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}
    client.put_object_lock_configuration(
        Bucket=bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
    )
    finished = upload(server, files, bucket)
    assert (finished.code, finished.summary["uploaded"]) == (0, len(FILES))
    locks = [head.get("ObjectLockMode") for head in heads(server, bucket)]
    # moto locks nothing that comes in parts.
    assert locks == ["GOVERNANCE", None if isinstance(server, Moto) else "GOVERNANCE"]


@on_both
@pytest.mark.parametrize("form", ["rclone", "datasync", "none"])
def test_sizes_times_and_modes_are_read_right(server: S3Server, files: Path, form: str) -> None:
    bucket = uploaded(server, files, "--posix-metadata", form, "--metadata", "Origin=Tape 7; a=b")
    for key, head in zip(FILES, heads(server, bucket), strict=True):
        status, found = (files / key).stat(), head["Metadata"]
        assert head["ContentLength"] == status.st_size == int(found["size"])
        assert found["origin"] == "Tape 7; a=b"
        # rclone takes the mode as octal, s3fs as C does: octal for the leading zero. Of the time
        # rclone reads a decimal fraction, s3fs what follows the point as nanoseconds.
        assert found["mode"][0] == "0" and int(found["mode"], 8) == status.st_mode
        seconds, nanoseconds = found["mtime"].split(".")
        assert int(seconds) * 10**9 + int(nanoseconds) == status.st_mtime_ns
        assert len(nanoseconds) == 9
        read = object_stat(found)
        assert (read.st_size, read.st_mode) == (status.st_size, status.st_mode)
        assert read.st_mtime_ns == status.st_mtime_ns
        owner = (-1, -1) if form == "none" else (status.st_uid, status.st_gid)
        assert (read.st_uid, read.st_gid) == owner
        others = found.keys() - {"size", "mode", "mtime", "uid", "gid", "origin"}
        if form != "datasync":
            assert not others
            continue
        assert {name: found[name] for name in others} == {
            "file-permissions": f"0{status.st_mode:o}",
            "file-owner": str(status.st_uid),
            "file-group": str(status.st_gid),
            "file-mtime": f"{status.st_mtime_ns}ns",
            "file-atime": "1600000000000000001ns",
        }
