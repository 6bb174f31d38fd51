"""The fake S3 speaks as S3 does."""

from __future__ import annotations

from functools import partial

import pytest

from tests.servers.s3 import FakeS3

BUCKET = "bucket"


def test_the_server_refuses_a_wrong_signature() -> None:
    with (
        FakeS3(buckets=[BUCKET]) as server,
        pytest.raises(Exception, match="SignatureDoesNotMatch"),
    ):
        server.boto3(secret_key="wrong").put_object(Bucket=BUCKET, Key="key", Body=b"")


def test_the_server_keeps_what_boto3_gives_it() -> None:
    key = "a b/~+é%&=?#"
    with FakeS3(buckets=[BUCKET]) as server:
        client = server.boto3()
        client.put_object(Bucket=BUCKET, Key=key, Body=b"body", Metadata={"name": "value"})
        assert client.get_object(Bucket=BUCKET, Key=key)["Body"].read() == b"body"
        assert client.head_object(Bucket=BUCKET, Key=key)["Metadata"] == {"name": "value"}
        assert [row["Key"] for row in client.list_objects_v2(Bucket=BUCKET)["Contents"]] == [key]


def test_the_server_pages_its_lists() -> None:
    with FakeS3(buckets=[BUCKET]) as server:
        client = server.boto3()
        for number in range(5):
            client.put_object(Bucket=BUCKET, Key=f"key{number}", Body=b"")
        pages = client.get_paginator("list_objects_v2").paginate(
            Bucket=BUCKET, PaginationConfig={"PageSize": 2}
        )
        sizes = [len(page["Contents"]) for page in pages]
        assert sizes == [2, 2, 1]


def test_the_server_shows_open_uploads_and_their_parts() -> None:
    with FakeS3(buckets=[BUCKET]) as server:
        client = server.boto3()
        upload = client.create_multipart_upload(Bucket=BUCKET, Key="key")["UploadId"]
        part = partial(client.upload_part, Bucket=BUCKET, Key="key", UploadId=upload)
        for number in (1, 2, 3):
            part(PartNumber=number, Body=b"x" * number)
        listed = client.list_parts(Bucket=BUCKET, Key="key", UploadId=upload, MaxParts=2)
        assert [row["Size"] for row in listed["Parts"]] == [1, 2]
        assert listed["NextPartNumberMarker"] == 2
        uploads = client.list_multipart_uploads(Bucket=BUCKET)["Uploads"]
        assert [row["UploadId"] for row in uploads] == [upload]
