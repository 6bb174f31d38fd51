"""A directory as a bucket store, through libcloud's LOCAL driver: one folder for each bucket.

For trying the program without an account, and for disks.  Objects are files that keep the
source's modification time and permissions; other metadata has no place on a disk and is left out.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

from libcloud.storage.base import Container, Object
from libcloud.storage.drivers.local import LocalStorageDriver

from ._libcloud import DriverSession, calling
from .base import Cloud, CloudSettings, Metadata, ObjectInfo, Prepared
from .errors import Failure, Fatal, NotFound, Rejected
from .source import Source

_TEMPORARY = ".uploading-"
_NOTHING_FITS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


class LocalDriver(LocalStorageDriver):  # type: ignore[misc]
    """libcloud's driver, but for the way an object comes to be: whole or not at all."""

    def store(self, container: Container, key: str, source: Source) -> None:
        """Copies the file beside its place and moves it there; raises ``Failure``."""
        place = self._place(container, key)
        if not Path(self.base_path, container.name).is_dir():
            raise Fatal(f"bucket {container.name} does not exist")
        temporary = place.with_name(f"{_TEMPORARY}{os.getpid()}-{id(source)}")
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._copy(source, temporary)
                os.replace(temporary, place)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            failure = Fatal if error.errno in _NOTHING_FITS else Rejected
            raise failure(f"cannot be stored: {error.strerror}") from None

    def upload_object(
        self,
        file_path: str,
        container: Container,
        object_name: str,
        extra: dict[str, Any] | None = None,
        verify_hash: bool = True,
        headers: dict[str, str] | None = None,
    ) -> Object:
        """libcloud's call, by way of ``store``."""
        with Source(file_path) as source:
            self.store(container, object_name, source)
        return self.get_object(container.name, object_name)

    def _place(self, container: Container, key: str) -> Path:
        """Where the object goes; a key that leads out of its bucket, or that a file system cannot
        tell from another, is refused."""
        steps = key.split("/")
        if any(step in ("", ".", "..") for step in steps) or "\0" in key:
            raise Rejected("a key with empty, . or .. steps cannot be a file")
        return Path(self.base_path, container.name, *steps)

    @staticmethod
    def _copy(source: Source, target: Path) -> None:
        with target.open("xb") as file:
            for block in source.blocks(0, source.size):
                file.write(block)
        source.check_unchanged()
        os.chmod(target, stat.S_IMODE(source.mode))
        os.utime(target, ns=(source.mtime_ns, source.mtime_ns))


class LocalSession(DriverSession):
    """A session on the disk."""

    driver: LocalDriver

    def put(self, key: str, source: Source, metadata: Metadata, content_type: str) -> None:
        """Copies the file; there is no service to prove anything, so the disk's word is taken."""
        self.driver.store(self._container, key, source)

    def stat(self, key: str) -> ObjectInfo:
        """What the disk keeps of an object, in the form of its user metadata."""
        path = self.driver._place(self._container, key)
        try:
            with Source(str(path)) as stored:
                return ObjectInfo(stored.size, dict(stored.metadata()), "")
        except Failure:
            raise NotFound(f"no object {key}") from None

    def check(self, limit: float) -> None:
        """A disk is always there; what it refuses, it refuses at once."""

    def close(self) -> None:
        """Nothing is open."""


class LocalCloud(Cloud):
    """A directory, named by the endpoint."""

    keeps_metadata = False
    keeps_content_type = False

    def __init__(self, settings: CloudSettings) -> None:
        super().__init__(settings)
        if not settings.endpoint_url:
            raise Fatal("provider local needs --endpoint-url DIR, the directory of the buckets")
        self._base = os.path.abspath(settings.endpoint_url)
        if "/" in settings.bucket or settings.bucket in ("", ".", ".."):
            raise Fatal(f"{settings.bucket!r} is no name for a bucket")

    def open(self) -> LocalSession:
        """A driver on the directory."""
        return LocalSession(calling(lambda: LocalDriver(self._base)), self.settings.bucket)

    def destination(self) -> str:
        """The bucket's directory, free of links."""
        return f"local {os.path.realpath(self._base)} {self.settings.bucket}"

    def prepare(self, create: bool) -> Prepared:
        """Makes the directory of the buckets, too, when it may create."""
        bucket = Path(self._base, self.settings.bucket)
        if bucket.is_dir():
            return Prepared(False, "")
        if not create:
            raise Fatal(f"bucket {self.settings.bucket} does not exist in {self._base}")
        try:
            bucket.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise Fatal(f"cannot create {bucket}: {error.strerror}") from None
        return Prepared(True, f"created bucket {self.settings.bucket} in {self._base}")


CLOUD = LocalCloud
