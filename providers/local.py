"""Directories as buckets, through libcloud's LOCAL driver.

For trying the program without an account, and for disks.  Objects are files that keep the source's
modification time and permissions.  They lose the set-user-id, set-group-id and sticky bits, since
the owner is another, and metadata that has no place on a disk.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import stat
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count
from operator import itemgetter
from posix import close
from time import monotonic
from typing import Any, TypeVar

from libcloud.storage.base import Container, Object
from libcloud.storage.drivers.local import LocalStorageDriver

from .attributes import ObjectStat, object_stat, rclone
from .base import (
    MIB,
    Cloud,
    CloudSettings,
    Deletion,
    Facts,
    Inspected,
    Listed,
    Metadata,
    ObjectInfo,
    Page,
    Prepared,
)
from .disk import Disk
from .errors import REPLACED, Busy, Failure, Fatal, NoBucket, NotFound, Rejected, Transient
from .libcloud import DriverSession, mapped
from .source import BLOCK_SIZE, PASSING, Source

T = TypeVar("T")

STEP = 8 * MIB
"""Most bytes copied between two reports of progress."""
PAGE = 1000
"""Objects in a page of a listing."""
KEPT_MODE = 0o777
"""Permissions that an object keeps."""
KNOWN_DIRECTORIES = 10_000
"""Most paths to remember."""
_TEMPORARY = re.compile(r"\.uploading-[0-9a-f]{16}-\d+")
_NOTHING_FITS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
_NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EACCES}
"""Errors of file systems that cannot sync a directory, or refuse to open it."""


class Writer:
    """Writes files for one process so that they outlive a power cut.

    A file appears whole or not at all.  Its content is on the disk before its name is; and its
    name, with those of the directories above it, before ``write`` returns.  This is as sure as the
    disk's fsync.
    """

    def __init__(
        self,
        disk: Disk,
        moved: Callable[[int], None] = lambda size: None,
        turn: Callable[[int], int] = lambda size: size,
    ) -> None:
        """``moved`` is called with the number of bytes copied; ``turn`` with the number of those to
        copy next: it waits until some may be copied, and returns how many."""
        self._disk = disk
        self._moved = moved
        self._turn = turn
        self._prefix = f".uploading-{secrets.token_hex(8)}-"
        self._numbers = count()
        self._known: set[str] = set()

    def write(self, source: Source, bucket: str, path: str) -> None:
        """Copies the file to ``path`` below the directory ``bucket``; raises ``Failure``."""
        if _TEMPORARY.fullmatch(os.path.basename(path)):
            raise Rejected("this is the name of an unfinished upload")
        left = source.size
        step = [self._step(left)]
        copying = self._copying(source, bucket, path, step)
        try:
            while size := self._disk.wait(partial(next, copying, 0)):
                self._moved(size)
                left -= size
                step[0] = self._step(left)
        except OSError as error:
            raise self._failure(error, bucket) from None
        finally:
            copying.close()
        self._moved(left)

    def _step(self, left: int) -> int:
        """Bytes of the next step; waits for their turn."""
        return self._turn(min(left, STEP)) if left else 0

    def _copying(
        self, source: Source, bucket: str, path: str, step: list[int]
    ) -> Generator[int, None, None]:
        """Copies step by step, each step in a thread and of as many bytes as ``step`` then has;
        yields the bytes of every step but the last."""
        directory, name = os.path.split(path)
        self._enter(bucket, directory)
        temporary = os.path.join(directory, f"{self._prefix}{next(self._numbers)}")
        with open(temporary, "xb", opener=_private) as file:
            try:
                _lock(file.fileno())
                offset = 0
                while True:
                    [size] = step
                    for block in source.blocks(offset, size):
                        file.write(block)
                    offset += size
                    if offset >= source.size:
                        break
                    yield size
                file.flush()
                source.check_unchanged()
                os.utime(file.fileno(), ns=(source.mtime_ns, source.mtime_ns))
                os.fchmod(file.fileno(), source.mode & KEPT_MODE)
                os.fsync(file.fileno())
                os.replace(temporary, path)
            except BaseException:
                with suppress(OSError):
                    os.unlink(temporary)
                raise
        _sync_directory(directory)

    def _enter(self, bucket: str, directory: str) -> None:
        """Makes sure that a directory exists and its name is on the disk: another process may have
        made it, but not synced it yet."""
        if directory in self._known:
            return
        if directory == bucket:
            if not os.path.isdir(bucket):
                raise Fatal(f"bucket {os.path.basename(bucket)} does not exist")
        else:
            above = os.path.dirname(directory)
            self._enter(bucket, above)
            with suppress(FileExistsError):
                os.mkdir(directory)
            _sync_directory(above)
        self._remove_leftovers(directory)
        if len(self._known) >= KNOWN_DIRECTORIES:
            self._known.clear()
        self._known.add(directory)

    def _remove_leftovers(self, directory: str) -> None:
        """Removes the unfinished files of killed processes: those that nobody has locked."""
        for name in os.listdir(directory):
            if _TEMPORARY.fullmatch(name) and not name.startswith(self._prefix):
                path = os.path.join(directory, name)
                with suppress(OSError), open(path, "r+b") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.unlink(path)

    def _failure(self, error: OSError, bucket: str) -> Failure:
        if error.errno in _NOTHING_FITS:
            return Fatal(f"cannot be stored: {error.strerror}")
        if error.errno in PASSING:
            return Busy(f"cannot be stored now: {error.strerror}")
        if error.errno == errno.ENOENT:
            self._known.clear()
            if os.path.isdir(bucket):
                return Transient("cannot be stored: its directory was removed meanwhile")
            return Fatal(f"bucket {os.path.basename(bucket)} does not exist")
        return Rejected(f"cannot be stored: {error.strerror}")


class LocalDriver(LocalStorageDriver):  # type: ignore[misc]
    """libcloud's driver, but its objects appear whole or not at all."""

    def __init__(self, key: str, writer: Writer | None = None) -> None:
        """``key``: the directory of the buckets."""
        super().__init__(key)
        self._writer = writer or Writer(Disk())

    def store(self, container: Container, key: str, source: Source) -> None:
        """Copies the file to its place; raises ``Failure``."""
        bucket = os.path.join(self.base_path, container.name)
        self._writer.write(source, bucket, self.place(container, key))

    def upload_object(
        self,
        file_path: str,
        container: Container,
        object_name: str,
        extra: dict[str, Any] | None = None,
        verify_hash: bool = True,
        headers: dict[str, str] | None = None,
    ) -> Object:
        """libcloud's call, through ``store``."""
        with Source(file_path) as source:
            self.store(container, object_name, source)
        return self.get_object(container.name, object_name)

    def place(self, container: Container, key: str) -> str:
        """The object's path; refuses a key that leads out of its bucket, or that a file system
        cannot tell from another."""
        steps = key.split("/")
        if any(step in ("", ".", "..") for step in steps) or "\0" in key:
            raise Rejected("a key with empty, . or .. steps cannot be a file")
        return os.path.join(self.base_path, container.name, key)

    def page(self, container: Container, prefix: str, after: str) -> Page:
        """Up to ``PAGE`` of the objects with ``prefix`` after the key ``after``."""
        found: list[Listed] = []
        for key, status in _files(os.path.join(self.base_path, container.name), "", prefix, after):
            if len(found) == PAGE:
                return Page(found, found[-1].key)
            found.append(Listed(key, status.st_size, _etag(status)))
        return Page(found, "")

    def remove(self, container: Container, key: str) -> None:
        """Removes a file, which may be gone, and the directories that only it has held."""
        with suppress(FileNotFoundError):
            os.unlink(self.place(container, key))
        while key := os.path.dirname(key):
            try:
                os.rmdir(self.place(container, key))
            except OSError:
                return

    def describe(self, container: Container, key: str, etag: str, wanted: ObjectStat) -> str:
        """Gives a file, if it is still the one of the ``etag``, these permissions and this
        modification time; returns its new ETag."""
        with open(self.place(container, key), "rb") as file:
            descriptor = file.fileno()
            if _etag(os.fstat(descriptor)) != etag:
                raise Rejected(REPLACED)
            os.fchmod(descriptor, wanted.st_mode & KEPT_MODE)
            os.utime(descriptor, ns=(wanted.st_mtime_ns, wanted.st_mtime_ns))
            return _etag(os.fstat(descriptor))


def _etag(status: os.stat_result) -> str:
    """Names a version of a file: no program can set back its change time."""
    return f"{status.st_ino:x}-{status.st_ctime_ns:x}"


def _info(path: str) -> ObjectInfo | None:
    """What a file tells of itself as an object; None when it is none."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return None
    except (FileNotFoundError, NotADirectoryError):
        return None
    with Source(path) as stored:
        etag = _etag(os.fstat(stored.fd))
        return ObjectInfo(stored.size, dict(rclone(stored)), "", etag)


@contextmanager
def _as_failures() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in PASSING:
            raise Busy(f"cannot be reached now: {error.strerror}") from None
        raise Rejected(f"cannot be reached: {error.strerror}") from None


def _files(
    directory: str, above: str, prefix: str, after: str
) -> Iterator[tuple[str, os.stat_result]]:
    """The files below a directory, whose keys begin with ``above``, in the order of their keys:
    those with ``prefix``, after ``after``.  Names that are not UTF-8 are no keys."""
    levels = [_entries(directory, above)]
    while levels:
        for key, entry in levels[-1]:
            if key.endswith("/"):
                within = key.startswith(prefix) or prefix.startswith(key)
                if within and (key > after or after.startswith(key)):
                    levels.append(_entries(entry.path, key))
                    break
            elif key > after and key.startswith(prefix) and not _TEMPORARY.fullmatch(entry.name):
                with suppress(FileNotFoundError):
                    if entry.is_file(follow_symlinks=False):
                        yield key, entry.stat(follow_symlinks=False)
        else:
            levels.pop()


def _entries(directory: str, above: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """The entries of a directory by key, in order; a directory's ends with a slash."""
    with os.scandir(directory) as entries:
        named = [
            (above + entry.name + "/" * entry.is_dir(follow_symlinks=False), entry)
            for entry in entries
            if entry.name.isascii() or _is_utf8(entry.name)
        ]
    return iter(sorted(named, key=itemgetter(0)))


def _is_utf8(name: str) -> bool:
    try:
        return bool(name.encode())
    except UnicodeEncodeError:
        return False


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def _lock(descriptor: int) -> None:
    """Shows that this file's process lives.  Where locks fail, nothing gets removed either."""
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _sync_directory(path: str) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            close(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def _make_directories(path: str) -> None:
    """Makes ``path`` and what is missing above it, for the owner alone, and syncs their names."""
    above = os.path.dirname(path)
    if not os.path.isdir(above):
        _make_directories(above)
    with suppress(FileExistsError):
        os.mkdir(path, 0o700)
    _sync_directory(above)


class LocalSession(DriverSession):
    """A session on the disk."""

    driver: LocalDriver

    def __init__(self, driver: LocalDriver, bucket: str, disk: Disk | None = None) -> None:
        super().__init__(driver, bucket)
        self._disk = disk or Disk()

    def put(self, key: str, source: Source, metadata: Metadata, content_type: str) -> str:
        """Copies the file.  No service proves anything: the disk's word counts."""
        self.driver.store(self._container, key, source)
        return ""

    def stat(self, key: str) -> ObjectInfo:
        """The file's attributes as user metadata, though the disk keeps only some."""
        try:
            path = self.driver.place(self._container, key)
        except Rejected:
            raise NotFound(f"no object {key}") from None
        with _as_failures():
            found = self._disk.run(partial(_info, path))
        if found is None:
            raise NotFound(f"no object {key}")
        return found

    def page(self, prefix: str, after: str = "", start: str = "") -> Page:
        """Walks through the directories from where the last page ended."""
        return self._on_disk(partial(self.driver.page, self._container, prefix, start or after))

    def delete(self, keys: Sequence[str]) -> Deletion:
        """Removes the files, and directories that become empty."""
        failed = []
        for key in keys:
            try:
                self._on_disk(partial(self.driver.remove, self._container, key))
            except Rejected as failure:
                failed.append((key, str(failure)))
        return Deletion(failed, 0)

    def inspect(self, key: str) -> Inspected:
        """A disk tells nothing of the content."""
        return Inspected(self.stat(key), None)

    def read(self, key: str, found: ObjectInfo, take: Callable[[bytes | memoryview], None]) -> None:
        """Reads the file."""
        with self._disk.look(self.driver.place(self._container, key)) as stored:
            if _etag(os.fstat(stored.fd)) != found.etag:
                raise Rejected(REPLACED)
            for start in range(0, stored.size, BLOCK_SIZE):
                length = min(BLOCK_SIZE, stored.size - start)
                take(stored.run(partial(stored.read, start, length)))

    def set_metadata(
        self, key: str, found: ObjectInfo, metadata: Metadata, content_type: str
    ) -> str:
        """Sets permissions and modification time."""
        wanted = object_stat(dict(metadata))
        describe = partial(self.driver.describe, self._container, key, found.etag, wanted)
        return self._on_disk(describe)

    def _on_disk(self, operation: Callable[[], T]) -> T:
        with _as_failures():
            return self._disk.wait(operation)

    def check(self, limit: float) -> None:
        """Does nothing: a disk is always there, and refuses at once."""

    def close(self) -> None:
        """Does nothing: nothing is open."""


class LocalCloud(Cloud):
    """The directory that the endpoint names."""

    keeps_metadata = False
    keeps_content_type = False
    is_near = True

    def __init__(self, settings: CloudSettings) -> None:
        super().__init__(settings)
        if not settings.endpoint_url:
            raise Fatal("provider local needs --endpoint-url DIR, the directory of the buckets")
        self._base = os.path.abspath(settings.endpoint_url)
        if "/" in settings.bucket or settings.bucket in ("", ".", ".."):
            raise Fatal(f"{settings.bucket!r} is no name for a bucket")
        self._disk = Disk()
        self._writer = Writer(self._disk, self._moved, self._turn)

    @classmethod
    def facts(cls, provider: str) -> Facts:
        """A file system's."""
        return Facts("none", "written whole and synced", "none", "the file system")

    def open(self) -> LocalSession:
        """A session with a driver of its own."""
        driver = mapped(lambda: LocalDriver(self._base, self._writer))
        return LocalSession(driver, self.settings.bucket, self._disk)

    def kept(self, metadata: Metadata) -> dict[str, str]:
        """Size, modification time and permissions."""
        found = dict(metadata)
        mode = stat.S_IFREG | int(found["mode"], 8) & KEPT_MODE
        return {"mode": f"0{mode:o}", "mtime": found["mtime"], "size": found["size"]}

    def _turn(self, size: int) -> int:
        limit = self.traffic.limit
        return limit.take(size) if limit else size

    def _moved(self, size: int) -> None:
        self.traffic.sent += size
        self.traffic.moved_at = monotonic()
        self.traffic.progress += size == STEP

    def destination(self) -> str:
        """The bucket's directory, free of links."""
        return f"local {os.path.realpath(self._base)} {self.settings.bucket}"

    def prepare(self, create: bool) -> Prepared:
        """With ``create`` makes the directory of the buckets, too."""
        bucket = os.path.join(self._base, self.settings.bucket)
        if os.path.isdir(bucket):
            return Prepared(False, "")
        if not create:
            raise NoBucket(f"bucket {self.settings.bucket} does not exist in {self._base}")
        try:
            _make_directories(bucket)
        except OSError as error:
            raise Fatal(f"cannot create {bucket}: {error.strerror}") from None
        return Prepared(True, f"created bucket {self.settings.bucket} in {self._base}")


CLOUD = LocalCloud
