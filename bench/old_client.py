"""What the old uploader did, in its own words, on the stock libcloud driver: DIR BUCKET.

The same names as the old module, as far as its README's examples use them, and the same work: a
new driver for each upload in parallel, its bucket found by listing all, a gevent pool.  Left out
is what was wrong with it: files that failed were sent again for ever.
"""

from gevent import monkey

monkey.patch_all()

import datetime  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from typing import Any  # noqa: E402
from urllib.parse import urlsplit  # noqa: E402

import libcloud.security  # noqa: E402
from gevent.pool import Pool  # noqa: E402
from libcloud.storage.providers import get_driver  # noqa: E402
from libcloud.storage.types import Provider  # noqa: E402

__all__ = ["BaseUpload", "ParallelUpload", "Provider", "getFiles", "timed"]

POOL_SIZE = 20


def getFiles(directory: str) -> list[dict[str, Any]]:  # noqa: N802
    """Every file below the directory, as the old module described it."""
    files = []
    for folder, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(folder, name)
            files.append({"path": path, "name": name, "size": os.path.getsize(path)})
    return files


def timed(function: Callable[..., Any]) -> Callable[..., Any]:
    """Prints how long the call took."""

    def run(*arguments: Any) -> Any:
        began = time.time()
        result = function(*arguments)
        print(f"{function.__name__}:", round((time.time() - began) * 1000), "ms")
        return result

    return run


class BaseUpload:
    """Uploads one file after the other with one driver."""

    def __init__(self, provider: str, key: str, secret: str, container_name: str) -> None:
        self.credentials = {"key": key, "secret": secret}
        self.factory = get_driver(provider)
        self.driver = self.initDriver()
        containers = {one.name: one for one in self.driver.list_containers()}
        self.container = containers.get(container_name) or self.driver.create_container(
            container_name
        )

    def initDriver(self) -> Any:  # noqa: N802
        """A driver for the server of the environment: the one thing that the old one could not."""
        url = urlsplit(os.environ["AWS_ENDPOINT_URL"])
        address = {"host": url.hostname, "port": url.port, "secure": url.scheme == "https"}
        if "AWS_CA_BUNDLE" in os.environ:
            libcloud.security.CA_CERTS_PATH = os.environ["AWS_CA_BUNDLE"]
        return self.factory(**self.credentials, signature_version="4", **address)

    def upload(self, source: str, key: str, meta: dict[str, str], _size: int = 0) -> Any:
        """Uploads one file."""
        return self.driver.upload_object(source, self.container, key, extra={"meta_data": meta})

    def saveMeta(self) -> None:  # noqa: N802
        """Lists the bucket into ``meta.json``."""
        rows = {
            each.name: {"size": each.size, "modified": each.extra["last_modified"], "acl": None}
            for each in self.driver.iterate_container_objects(self.container)
        }
        with open("meta.json", "w") as file:
            json.dump(rows, file, indent=4)


class ParallelUpload(BaseUpload):
    """Uploads in a gevent pool, each file with a driver of its own."""

    def asyncUpload(self, path: str) -> None:  # noqa: N802
        """Uploads one file under its own path."""
        meta = {"dt": str(datetime.datetime.now(datetime.timezone.utc))}
        driver = self.initDriver()
        driver.upload_object(path, self.container, path, extra={"meta_data": meta})

    @timed
    def uploadFiles(self, files: list[dict[str, Any]], poolsize: int) -> None:  # noqa: N802
        """Uploads them all; what went wrong is raised at the end."""
        pool = Pool(poolsize)
        uploads = [pool.spawn(self.asyncUpload, file["path"]) for file in files]
        for upload in uploads:
            upload.get()


if __name__ == "__main__":
    source_directory, bucket = sys.argv[1:]
    key_id, secret_key = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
    uploader = ParallelUpload(Provider.S3, key_id, secret_key, bucket)
    uploader.uploadFiles(getFiles(source_directory), POOL_SIZE)
