"""moto and Ceph keep their promises."""

from __future__ import annotations

import contextlib
import http.client
from urllib.parse import urlsplit

import pytest

from tests.servers import require
from tests.servers.ceph import CephRGW
from tests.servers.moto import Moto

botocore_exceptions = pytest.importorskip("botocore.exceptions")


def get_status(url: str) -> int:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=5)
    with contextlib.closing(connection):
        connection.request("GET", parts.path)
        return connection.getresponse().status


def test_moto_stores_an_object_and_forgets_it() -> None:
    require(Moto)
    with Moto() as moto:
        s3 = moto.boto3()
        s3.create_bucket(Bucket="bucket")
        s3.put_object(Bucket="bucket", Key="key", Body=b"body")
        assert s3.get_object(Bucket="bucket", Key="key")["Body"].read() == b"body"
        moto.reset()
        assert s3.list_buckets()["Buckets"] == []


@pytest.fixture(scope="module")
def bucket(ceph: CephRGW) -> str:
    ceph.boto3().create_bucket(Bucket="servers")
    return "servers"


def test_ceph_stores_an_object(ceph: CephRGW, bucket: str) -> None:
    s3 = ceph.boto3()
    s3.put_object(Bucket=bucket, Key="a key/ä", Body=b"body", Metadata={"name": "value"})
    answer = s3.get_object(Bucket=bucket, Key="a key/ä")
    assert answer["Body"].read() == b"body"
    assert answer["Metadata"] == {"name": "value"}


def test_ceph_stores_a_multipart_object(ceph: CephRGW, bucket: str) -> None:
    s3 = ceph.boto3()
    target = {"Bucket": bucket, "Key": "multipart"}
    target["UploadId"] = s3.create_multipart_upload(**target)["UploadId"]
    parts = []
    for number, size in ((1, 5 << 20), (2, 1)):
        etag = s3.upload_part(**target, PartNumber=number, Body=bytes(size))["ETag"]
        parts.append({"PartNumber": number, "ETag": etag})
    s3.complete_multipart_upload(**target, MultipartUpload={"Parts": parts})
    assert s3.head_object(Bucket=bucket, Key="multipart")["ContentLength"] == (5 << 20) + 1


def test_ceph_refuses_a_wrong_secret(ceph: CephRGW, bucket: str) -> None:
    with pytest.raises(botocore_exceptions.ClientError, match="SignatureDoesNotMatch"):
        ceph.boto3(secret_key="wrong").put_object(Bucket=bucket, Key="key", Body=b"")


def test_ceph_hides_a_private_object_from_a_stranger(ceph: CephRGW, bucket: str) -> None:
    ceph.boto3().put_object(Bucket=bucket, Key="private", Body=b"body")
    assert get_status(f"{ceph.endpoint}/{bucket}/private") == 403
    ceph.boto3().put_object_acl(Bucket=bucket, Key="private", ACL="public-read")
    assert get_status(f"{ceph.endpoint}/{bucket}/private") == 200


def test_ceph_keeps_its_objects_over_a_killed_gateway(own_ceph: CephRGW) -> None:
    s3 = own_ceph.boto3()
    s3.create_bucket(Bucket="servers")
    s3.put_object(Bucket="servers", Key="kept", Body=b"body")
    own_ceph.restart_gateway()
    assert own_ceph.boto3().get_object(Bucket="servers", Key="kept")["Body"].read() == b"body"
