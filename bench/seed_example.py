"""The old README's examples on the old classes or ours: MODULE linear|parallel DIR BUCKET.

Ours find the server in AWS_ENDPOINT_URL.
"""

from __future__ import annotations

import datetime
import importlib
import os
import sys

COUNT = 20
POOL_SIZE = 20

module_name, way, directory, container_name = sys.argv[1:]
# First of all: the import patches the process.
old = importlib.import_module(module_name)


@old.timed  # type: ignore[untyped-decorator]
def test_linear_upload(provider: str, key: str, secret: str, container_name: str) -> None:
    """One file after the other."""
    uploader = old.BaseUpload(provider, key, secret, container_name)
    for file in old.getFiles(directory)[:COUNT]:
        path = file["path"]
        meta = {"dt": str(datetime.datetime.now(datetime.timezone.utc))}
        uploader.upload(path, path, meta, file["size"])
    uploader.saveMeta()


@old.timed  # type: ignore[untyped-decorator]
def test_parallel_upload(provider: str, key: str, secret: str, container_name: str) -> None:
    """Twenty at a time."""
    files = old.getFiles(directory)[:COUNT]
    uploader = old.ParallelUpload(provider, key, secret, container_name)
    uploader.uploadFiles(files, POOL_SIZE)
    uploader.saveMeta()


if __name__ == "__main__":
    example = {"linear": test_linear_upload, "parallel": test_parallel_upload}[way]
    example(
        old.Provider.S3,
        os.environ["AWS_ACCESS_KEY_ID"],
        os.environ["AWS_SECRET_ACCESS_KEY"],
        container_name,
    )
