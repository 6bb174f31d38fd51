"""What the provider suite runs against: one entry for each cloud and server.

A new file in ``providers/`` needs an entry here; what its service cannot do is said here too, as
data with a reason, and never in the suite.

With UPLOADER_TEST_ENDPOINT and UPLOADER_TEST_BUCKET set (and AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_REGION), a real S3 service takes part.  Its bucket has to exist; only
keys below a random prefix are written, and deleted afterwards.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from azure.core.exceptions import ResourceNotFoundError

import providers
from providers.base import Cloud, CloudSettings
from tests.servers.azurite import Azurite
from tests.servers.ceph import CephRGW
from tests.servers.google import Bucket, Google
from tests.servers.s3_server import S3Server

GOOGLE_KEY = "GOOGLE_APPLICATION_CREDENTIALS"
TIMEOUT = 10.0
"""Seconds without progress after which a test's connection gives up."""


class Store:
    """A place for buckets as the tests see it, past the code under test."""

    prefix = ""
    """What each key has to begin with."""

    region: str | None = None

    def __init__(
        self,
        provider: str,
        endpoint: str | None,
        variables: Mapping[str, str] = {},
        ca_file: str | None = None,
    ) -> None:
        self._provider = provider
        self._endpoint = endpoint
        self._variables = variables
        self._ca_file = ca_file

    def cloud(self, bucket: str, **variables: str) -> Cloud:
        """A cloud made as a worker makes it, with these environment variables besides."""
        settings = CloudSettings(
            self._provider, bucket, self._endpoint, self.region, self._ca_file, TIMEOUT
        )
        with pytest.MonkeyPatch.context() as monkeypatch:
            for name, value in {**self._variables, **variables}.items():
                monkeypatch.setenv(name, value)
            return providers.load(settings)

    def unused_name(self) -> str:
        """A name that no bucket has."""
        return f"test-{secrets.token_hex(6)}"

    @cached_property
    def bucket(self) -> str:
        """The bucket for all tests, empty at first."""
        raise NotImplementedError

    def empty(self, bucket: str) -> None:
        """Removes all that is in a bucket."""
        raise NotImplementedError

    def remove(self, bucket: str) -> None:
        """Removes a bucket, which may be missing, with all that is in it."""
        raise NotImplementedError

    def read(self, bucket: str, key: str) -> bytes | None:
        """An object's bytes, None when there is none."""
        raise NotImplementedError

    def keys(self, bucket: str) -> set[str]:
        """The keys of all objects."""
        raise NotImplementedError

    def uploads(self, bucket: str) -> int:
        """How many multipart uploads are unfinished, or files half written."""
        raise NotImplementedError

    def is_private(self, bucket: str, key: str) -> bool:
        """Nobody but the owner can read the object."""
        raise NotImplementedError


class DirectoryStore(Store):
    """Buckets as folders."""

    def __init__(self, base: Path) -> None:
        super().__init__("local", str(base))
        self._base = base

    @cached_property
    def bucket(self) -> str:
        name = self.unused_name()
        (self._base / name).mkdir()
        return name

    def empty(self, bucket: str) -> None:
        self.remove(bucket)
        (self._base / bucket).mkdir()

    def remove(self, bucket: str) -> None:
        shutil.rmtree(self._base / bucket, ignore_errors=True)

    def read(self, bucket: str, key: str) -> bytes | None:
        path = self._base / bucket / key
        return path.read_bytes() if path.exists() else None

    def keys(self, bucket: str) -> set[str]:
        root = self._base / bucket
        return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}

    def uploads(self, bucket: str) -> int:
        return sum(path.name.startswith(".uploading") for path in self._base.rglob("*"))

    def is_private(self, bucket: str, key: str) -> bool:
        return stat.S_IMODE((self._base / bucket).stat().st_mode) == 0o700


class S3Store(Store):
    """Buckets of an S3 service, seen by boto3."""

    def __init__(
        self,
        provider: str,
        endpoint: str | None,
        client: Any,
        variables: Mapping[str, str],
        ca_file: str | None = None,
    ) -> None:
        super().__init__(provider, endpoint, variables, ca_file)
        self._client = client

    @cached_property
    def bucket(self) -> str:
        name = self.unused_name()
        self._client.create_bucket(Bucket=name)
        return name

    def remove(self, bucket: str) -> None:
        with contextlib.suppress(self._client.exceptions.NoSuchBucket):
            self.empty(bucket)
            self._client.delete_bucket(Bucket=bucket)

    def empty(self, bucket: str) -> None:
        for key in self.keys(bucket):
            self._client.delete_object(Bucket=bucket, Key=key)
        for upload in self._uploads(bucket):
            self._client.abort_multipart_upload(
                Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"]
            )

    def read(self, bucket: str, key: str) -> bytes | None:
        try:
            content: bytes = self._client.get_object(Bucket=bucket, Key=key)["Body"].read()
        except self._client.exceptions.NoSuchKey:
            return None
        return content

    def keys(self, bucket: str) -> set[str]:
        pages = self._client.get_paginator("list_objects_v2")
        found = pages.paginate(Bucket=bucket, Prefix=self.prefix)
        return {row["Key"] for page in found for row in page.get("Contents", [])}

    def uploads(self, bucket: str) -> int:
        return len(self._uploads(bucket))

    def _uploads(self, bucket: str) -> list[dict[str, str]]:
        answer = self._client.list_multipart_uploads(Bucket=bucket, Prefix=self.prefix)
        rows: list[dict[str, str]] = answer.get("Uploads", [])
        return rows

    def is_private(self, bucket: str, key: str) -> bool:
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        address = self._client.meta.endpoint_url
        try:
            direct.open(f"{address}/{bucket}/{key}", timeout=TIMEOUT).close()
        except urllib.error.HTTPError as error:
            error.close()
            return error.code == 403
        return False


class AzureStore(Store):
    """Containers of an Azure account, seen by Microsoft's own library."""

    def __init__(self, server: Azurite) -> None:
        super().__init__("azure_blobs", server.endpoint, server.variables)
        self._client = server.client()

    @cached_property
    def bucket(self) -> str:
        name = self.unused_name()
        self._client.create_container(name)
        return name

    def remove(self, bucket: str) -> None:
        with contextlib.suppress(ResourceNotFoundError):
            self._client.delete_container(bucket)

    def empty(self, bucket: str) -> None:
        """Blobs that have no committed block cannot be deleted one by one."""
        self.remove(bucket)
        self._client.create_container(bucket)

    def read(self, bucket: str, key: str) -> bytes | None:
        try:
            content: bytes = self._client.get_blob_client(bucket, key).download_blob().readall()
        except ResourceNotFoundError:
            return None
        return content

    def keys(self, bucket: str) -> set[str]:
        return set(self._client.get_container_client(bucket).list_blob_names())

    def uploads(self, bucket: str) -> int:
        container = self._client.get_container_client(bucket)
        found = [blob.name for blob in container.list_blobs(include=["uncommittedblobs"])]
        lists = [container.get_blob_client(name).get_block_list("uncommitted") for name in found]
        return sum(bool(uncommitted) for _, uncommitted in lists)

    def is_private(self, bucket: str, key: str) -> bool:
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            direct.open(f"{self._endpoint}/{bucket}/{key}", timeout=TIMEOUT).close()
        except urllib.error.HTTPError as error:
            error.close()
            return error.code in (401, 403, 404)
        return False


class GoogleStore(Store):
    """Buckets of the imitation, seen from inside."""

    def __init__(self, server: Google, directory: Path) -> None:
        key = server.write_key(directory / "key.json")
        super().__init__("google_storage", server.endpoint, {GOOGLE_KEY: str(key)})
        self._wrong_key = server.write_key(directory / "wrong.json", right=False)
        self._buckets = server.buckets

    def cloud(self, bucket: str, **variables: str) -> Cloud:
        """Any other key is a wrong one."""
        return super().cloud(bucket, **dict.fromkeys(variables, str(self._wrong_key)))

    @cached_property
    def bucket(self) -> str:
        name = self.unused_name()
        self._buckets[name] = Bucket()
        return name

    def remove(self, bucket: str) -> None:
        self._buckets.pop(bucket, None)

    def empty(self, bucket: str) -> None:
        self._buckets[bucket].objects.clear()

    def read(self, bucket: str, key: str) -> bytes | None:
        found = self._buckets[bucket].objects.get(key)
        return found.content if found else None

    def keys(self, bucket: str) -> set[str]:
        return set(self._buckets[bucket].objects)

    def uploads(self, bucket: str) -> int:
        return 0

    def is_private(self, bucket: str, key: str) -> bool:
        return self._buckets[bucket].configuration["publicAccessPrevention"] == "enforced"


class LiveStore(S3Store):
    """One bucket that is there already, and stays: only keys below the prefix are touched."""

    def __init__(self) -> None:
        from boto3.session import Session

        names = {
            "aws_access_key_id": "AWS_ACCESS_KEY_ID",
            "aws_secret_access_key": "AWS_SECRET_ACCESS_KEY",
            "aws_session_token": "AWS_SESSION_TOKEN",
            "region_name": "AWS_REGION",
        }
        found = {name: _LIVE[variable] for name, variable in names.items() if variable in _LIVE}
        endpoint = _LIVE["UPLOADER_TEST_ENDPOINT"]
        client = Session(**found).client("s3", endpoint_url=endpoint)
        super().__init__("s3", endpoint, client, _LIVE)
        self.region = found.get("region_name")
        self.prefix = f"uploader-test-{secrets.token_hex(6)}/"

    @cached_property
    def bucket(self) -> str:
        return _LIVE["UPLOADER_TEST_BUCKET"]

    def remove(self, bucket: str) -> None:
        assert bucket != self.bucket, "the bucket is not the tests' to remove"
        super().remove(bucket)


class Target(NamedTuple):
    """One entry: a cloud on a service."""

    name: str
    provider: str
    store: Callable[[pytest.FixtureRequest], Store]
    wrong_credentials: Mapping[str, str] = {}
    """Environment variables that hold a secret which the service does not know."""
    parts: bool = False
    """Large files go in parts."""
    keeps_metadata: bool = True
    keeps_content_type: bool = True
    refused_keys: Mapping[str, str] = {}
    """Odd keys, by their names in the suite, that are refused; and why."""
    renamed_keys: Mapping[str, str] = {}
    """Odd keys that are stored under another one."""
    note: str = ""
    """What is said of a bucket that is there and private, and why that is not known."""
    without: Mapping[str, str] = {}
    """Rules of the suite that this service cannot show; and why."""


def _server(name: str) -> Callable[[pytest.FixtureRequest], Store]:
    def store(request: pytest.FixtureRequest) -> Store:
        server: S3Server = request.getfixturevalue(name)
        return S3Store("s3", server.endpoint, server.boto3(), _aws_keys(server))

    return store


def _aws_keys(server: S3Server) -> dict[str, str]:
    return {"AWS_ACCESS_KEY_ID": server.access_key, "AWS_SECRET_ACCESS_KEY": server.secret_key}


def _ceph_over_tls(request: pytest.FixtureRequest) -> Store:
    server: CephRGW = request.getfixturevalue("ceph")
    return S3Store("s3", server.https, server.boto3(), _aws_keys(server), server.ca_file)


def _ceph_as_google(request: pytest.FixtureRequest) -> Store:
    """What Google's interoperable API has in common with S3: its keys, its region, its proof."""
    server: CephRGW = request.getfixturevalue("ceph")
    variables = {
        "GS_ACCESS_KEY_ID": server.google_key,
        "GS_SECRET_ACCESS_KEY": server.secret_key,
    }
    return S3Store("google_storage", server.endpoint, server.boto3(), variables)


def _ceph_by_swift(request: pytest.FixtureRequest) -> Store:
    server: CephRGW = request.getfixturevalue("ceph")
    variables = {
        "ST_AUTH": f"{server.endpoint}/auth/v1.0",
        "ST_USER": server.swift_user,
        "ST_KEY": server.secret_key,
    }
    return S3Store("openstack_swift", None, server.boto3(), variables)


def _ceph_as_rackspace(request: pytest.FixtureRequest) -> Store:
    server: CephRGW = request.getfixturevalue("ceph")
    request.getfixturevalue("rackspace")
    variables = {"UPLOADER_KEY": server.swift_user, "UPLOADER_SECRET": server.secret_key}
    return S3Store("cloudfiles", None, server.boto3(), variables)


def _google(request: pytest.FixtureRequest) -> Store:
    directory = request.getfixturevalue("tmp_path_factory").mktemp("google")
    return GoogleStore(request.getfixturevalue("google"), directory)


def _azurite(request: pytest.FixtureRequest) -> Store:
    return AzureStore(request.getfixturevalue("azurite"))


def _directory(request: pytest.FixtureRequest) -> Store:
    return DirectoryStore(request.getfixturevalue("tmp_path_factory").mktemp("buckets"))


def _live(request: pytest.FixtureRequest) -> Store:
    return LiveStore()


_LIVE = {
    name: os.environ[name] for name in os.environ if name.startswith(("AWS_", "UPLOADER_TEST"))
}
"""Taken before the tests' environment is made bare."""

_NO_EMPTY_STEPS = "a path has no empty, . or .. steps"
_UTF8 = "S3's keys are UTF-8"
_ONE_BUCKET = "there is one bucket, given to the tests"
_BLOCKS_EXPIRE = (
    "Azure has no call that removes blocks: they expire, or go when the blob is written"
)
_NO_CONTROL = "Azure's names have no control characters"
_NO_UPLOADS = "Azure knows blocks only, no uploads: tests/azure has what takes its place"
_NO_CREDENTIALS = "a directory knows no credentials"
_NO_SIGNATURES = "moto verifies no signature"
_DRIVER_READS = "libcloud's driver reads the file itself: a change is seen once it is stored"

TARGETS = [
    Target(
        "local",
        "local",
        _directory,
        keeps_metadata=False,
        keeps_content_type=False,
        refused_keys={
            "double slash": _NO_EMPTY_STEPS,
            "leading slash": _NO_EMPTY_STEPS,
            "trailing slash": _NO_EMPTY_STEPS,
            "dots": _NO_EMPTY_STEPS,
            "1024 bytes in one step": "file systems take 255 bytes in a name",
        },
        without={
            "test_wrong_credentials_are_fatal": _NO_CREDENTIALS,
            "test_a_put_with_wrong_credentials_is_fatal": _NO_CREDENTIALS,
        },
    ),
    Target(
        "s3-moto",
        "s3",
        _server("moto"),
        parts=True,
        refused_keys={"newline": "moto's routes end at a newline: 404", "not UTF-8": _UTF8},
        without={
            "test_wrong_credentials_are_fatal": _NO_SIGNATURES,
            "test_a_put_with_wrong_credentials_is_fatal": _NO_SIGNATURES,
            "test_a_created_bucket_is_private": _NO_SIGNATURES,
            "test_an_upload_says_when_it_was_begun": "moto's uploads all began in 2010",
            "test_an_upload_of_an_odd_key_is_found_again": "moto encodes no such list",
        },
    ),
    Target(
        "s3-ceph",
        "s3",
        _server("ceph"),
        {"AWS_SECRET_ACCESS_KEY": "hunter2hunter2"},
        parts=True,
        refused_keys={"not UTF-8": _UTF8},
    ),
    Target(
        "azure-azurite",
        "azure_blobs",
        _azurite,
        {"AZURE_STORAGE_KEY": "aHVudGVyMmh1bnRlcjI="},
        parts=True,
        refused_keys={
            "punctuation": "Azure makes a slash of a backslash",
            "dots": "Azure resolves them",
            "newline": _NO_CONTROL,
            "control characters": _NO_CONTROL,
            "not UTF-8": "Azure's names are UTF-8",
        },
        without={
            "test_a_part_of_what_was_aborted_is_no_success": _NO_UPLOADS,
            "test_an_upload_under_way_is_listed": _NO_UPLOADS,
            "test_an_upload_says_when_it_was_begun": _NO_UPLOADS,
            "test_an_upload_of_an_odd_key_is_found_again": _NO_CONTROL,
            "test_an_object_whose_name_xml_cannot_hold_is_deleted": _NO_CONTROL,
            "test_abort_leaves_nothing": _BLOCKS_EXPIRE,
            "test_completing_what_was_aborted_is_no_success": _BLOCKS_EXPIRE,
            "test_completing_what_was_aborted_beside_another_object": _BLOCKS_EXPIRE,
        },
    ),
    Target(
        "s3-ceph-tls",
        "s3",
        _ceph_over_tls,
        {"AWS_SECRET_ACCESS_KEY": "hunter2hunter2"},
        parts=True,
        refused_keys={"not UTF-8": _UTF8},
    ),
    Target(
        "google_storage-ceph",
        "google_storage",
        _ceph_as_google,
        {"GS_SECRET_ACCESS_KEY": "hunter2hunter2"},
        parts=True,
        refused_keys={"not UTF-8": _UTF8},
        # Ceph takes the question about the default ACL for one about its objects.
        note=(
            "whether the bucket is public is not known: its default object ACL could not be "
            "checked (the service answers something else), its IAM policy cannot be asked with an "
            "HMAC key"
        ),
    ),
    Target(
        "google_storage-account",
        "google_storage",
        _google,
        {GOOGLE_KEY: "another"},
        refused_keys={"dots": "libcloud's adapter refuses them", "not UTF-8": _UTF8},
        without={
            "test_a_change_midway_leaves_no_object": _DRIVER_READS,
            "test_a_change_midway_leaves_the_object_before_whole": _DRIVER_READS,
        },
    ),
    Target(
        "openstack_swift-ceph",
        "openstack_swift",
        _ceph_by_swift,
        {"ST_KEY": "hunter2hunter2"},
        refused_keys={"dots": "libcloud resolves them", "not UTF-8": _UTF8},
        # libcloud strips slashes: https://github.com/apache/libcloud/issues/1529
        renamed_keys={"double slash": "a/b", "leading slash": "a"},
        without={
            "test_a_change_midway_leaves_no_object": _DRIVER_READS,
            "test_a_change_midway_leaves_the_object_before_whole": _DRIVER_READS,
        },
    ),
]
TARGETS += [
    TARGETS[-1]._replace(
        name="cloudfiles-ceph",
        provider="cloudfiles",
        store=_ceph_as_rackspace,
        wrong_credentials={"UPLOADER_SECRET": "hunter2hunter2"},
        note="whether the bucket is public is not known: libcloud's drivers cannot ask",
    )
]
if {"UPLOADER_TEST_ENDPOINT", "UPLOADER_TEST_BUCKET"} <= _LIVE.keys():
    TARGETS.append(
        Target(
            "s3-live",
            "s3",
            _live,
            {"AWS_SECRET_ACCESS_KEY": "hunter2hunter2"},
            parts=True,
            refused_keys={"not UTF-8": _UTF8},
            without={
                "test_a_missing_bucket_is_created": _ONE_BUCKET,
                "test_a_created_bucket_is_private": _ONE_BUCKET,
            },
        )
    )


ALSO_ON_CEPH = [t for t in TARGETS if "ceph" in t.name and t.name != "s3-ceph"]
"""What Ceph can do besides plain S3.  It answers slowly: two files of tests run side by side."""
