"""A short and fast uploader on obstore, as its users write it: ENDPOINT BUCKET DIR IN_FLIGHT CA."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import obstore
from obstore.store import S3Store

WHOLE = 5 * 2**20
"""Up to obstore's own part size a file goes in one PUT."""


def walk(directory: str) -> Iterator[os.DirEntry[str]]:
    """Every file below the directory."""
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from walk(entry.path)
            else:
                yield entry


def store(endpoint: str, bucket: str, ca_file: str) -> S3Store:
    """The bucket, with the credentials of the environment."""
    options: dict[str, Any] = {"allow_http": True}
    if ca_file:
        options["root_certificate"] = Path(ca_file).read_bytes()
    return S3Store(
        bucket,
        endpoint=endpoint,
        virtual_hosted_style_request=False,
        client_options=options,  # type: ignore[arg-type]
    )


async def upload(bucket: S3Store, directory: str, in_flight: int) -> None:
    """Uploads the directory with so many requests at a time."""
    entries = walk(directory)
    start = len(directory) + 1

    async def work() -> None:
        for entry in entries:
            body: bytes | Path = Path(entry.path)
            if entry.stat().st_size <= WHOLE:
                with open(entry.path, "rb", buffering=0) as file:
                    body = file.read()
            await obstore.put_async(bucket, entry.path[start:], body)

    await asyncio.gather(*(work() for _ in range(in_flight)))


if __name__ == "__main__":
    url, name, source, number, ca = sys.argv[1:]
    asyncio.run(upload(store(url, name, ca), source.rstrip("/"), int(number)))
    # Everything is there.  In the interpreter's own end obstore's threads now and then abort it.
    os._exit(0)
