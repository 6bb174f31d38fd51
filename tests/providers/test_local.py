"""A directory as a bucket: objects are whole, survive a power cut, and give no rights away."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn

import gevent
import pytest

import providers
from providers import local
from providers.base import Cloud, CloudSettings, Session
from providers.disk import Disk
from providers.errors import Busy, Failure, Fatal, Rejected, SourceChanged, Transient
from providers.local import STEP, LocalDriver
from providers.source import Source
from tests.test_layers import REPO

LEFT = ".uploading-0123456789abcdef-7"
"""What an upload that was killed has left."""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "base"


@pytest.fixture
def bucket(base: Path) -> Path:
    return base / "bucket"


@pytest.fixture
def cloud(base: Path) -> Cloud:
    cloud = providers.load(CloudSettings("local", "bucket", str(base)))
    cloud.prepare(True)
    return cloud


@pytest.fixture
def session(cloud: Cloud) -> Iterator[Session]:
    with closing(cloud.open()) as session:
        yield session


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    return path


def put(session: Session, file: Path, key: str = "key") -> None:
    with Source(str(file)) as source:
        session.put(key, source, (), "")


def names(bucket: Path) -> list[str]:
    return sorted(str(path.relative_to(bucket)) for path in bucket.rglob("*") if path.is_file())


def failing(number: int) -> Callable[..., NoReturn]:
    def fail(*_: object, **__: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    return fail


class TestPowerCut:
    PROGRAM = """
import sys
import providers
from providers.base import CloudSettings
from providers.source import Source
base, file = sys.argv[1:]
cloud = providers.load(CloudSettings("local", "bucket", base))
cloud.prepare(True)
session = cloud.open()
with Source(file) as source:
    session.put("a/b/key", source, (), "")
"""

    def calls(self, base: Path, file: Path, tmp_path: Path) -> list[str]:
        """The calls of an upload that make names and bring them to the disk, in their order; paths
        are below ``base``."""
        if not shutil.which("strace"):
            pytest.skip("needs strace: apt-get install strace")
        trace = tmp_path / "trace"
        options = ["-f", "-y", "-qq", "-e", "trace=fsync,/rename.*,/mkdir.*", "-o", str(trace)]
        program = [sys.executable, "-c", self.PROGRAM, str(base), str(file)]
        done = subprocess.run(["strace", *options, *program], cwd=REPO, timeout=60)
        assert done.returncode == 0
        calls = []
        for line in trace.read_text().splitlines():
            name = re.sub(r"at2?$", "", re.findall(r"\b(\w+)\(", line)[0])
            paths = re.findall(r'[<"]([^<>"]*)[>"]', line)
            below = [os.path.relpath(path, base) for path in paths if str(tmp_path) in path]
            if below:
                calls.append(" ".join([name, *below]))
        return [re.sub(r"\.uploading-\S+", "TEMPORARY", call) for call in calls]

    def test_content_is_on_the_disk_before_its_name_and_names_before_the_end(
        self, base: Path, file: Path, tmp_path: Path
    ) -> None:
        assert self.calls(base, file, tmp_path) == [
            "mkdir .",
            "fsync ..",
            "mkdir bucket",
            "fsync .",
            "mkdir bucket/a",
            "fsync bucket",
            "mkdir bucket/a/b",
            "fsync bucket/a",
            "fsync bucket/a/b/TEMPORARY",
            "rename bucket/a/b/TEMPORARY bucket/a/b/key",
            "fsync bucket/a/b",
        ]

    def test_a_directory_that_another_process_made_is_synced_too(
        self, cloud: Cloud, base: Path, file: Path, tmp_path: Path
    ) -> None:
        """It may not have come so far."""
        (base / "bucket/a/b").mkdir(parents=True)
        calls = self.calls(base, file, tmp_path)
        assert {"fsync bucket", "fsync bucket/a"} <= set(calls[: calls.index("fsync bucket/a/b")])

    def test_a_disk_that_cannot_keep_it_fails_the_upload(
        self, session: Session, bucket: Path, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "fsync", failing(errno.EIO))
        with pytest.raises(Busy, match="^cannot be stored now: Input/output error$"):
            put(session, file)
        assert names(bucket) == []

    @pytest.mark.parametrize("number", [errno.EINVAL, errno.EACCES])
    def test_a_directory_that_cannot_be_synced_does_not(
        self, session: Session, bucket: Path, file: Path, number: int, monkeypatch: Any
    ) -> None:
        sync = os.fsync

        def fsync(descriptor: int) -> None:
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                raise OSError(number, os.strerror(number))
            sync(descriptor)

        monkeypatch.setattr(os, "fsync", fsync)
        put(session, file, "a/key")
        assert names(bucket) == ["a/key"]


class TestLeftovers:
    def left(self, directory: Path) -> Path:
        path = directory / LEFT
        path.write_bytes(b"half")
        return path

    def test_what_a_killed_upload_has_left_goes_with_the_next_one_beside_it(
        self, session: Session, bucket: Path, file: Path
    ) -> None:
        (bucket / "a").mkdir()
        self.left(bucket)
        self.left(bucket / "a")
        put(session, file, "a/key")
        assert names(bucket) == ["a/key"]

    def test_what_another_process_is_writing_stays(
        self, session: Session, bucket: Path, file: Path
    ) -> None:
        path = self.left(bucket)
        holder = subprocess.Popen(
            ["flock", str(path), "-c", "echo locked; cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert holder.stdout
        assert holder.stdout.readline() == b"locked\n"
        put(session, file)
        holder.communicate()
        assert names(bucket) == [LEFT, "key"]

    def test_what_is_being_written_is_locked(self, cloud: Cloud, bucket: Path, file: Path) -> None:
        """A second process, and a first one in mid-copy."""
        file.write_bytes(bytes(2 * STEP))
        other = providers.load(cloud.settings)

        def put_beside(size: int) -> None:
            if len(names(bucket)) == 1:
                with closing(other.open()) as session:
                    put(session, file, "beside")

        writer = local.Writer(Disk(), put_beside)
        with Source(str(file)) as source:
            writer.write(source, str(bucket), str(bucket / "key"))
        assert names(bucket) == ["beside", "key"]

    def test_an_object_cannot_have_the_name_of_an_unfinished_one(
        self, session: Session, bucket: Path, file: Path
    ) -> None:
        """It would be removed one day."""
        with pytest.raises(Rejected, match="the name of an unfinished upload"):
            put(session, file, f"a/{LEFT}")
        assert names(bucket) == []

    def test_an_upload_that_fails_leaves_nothing(
        self, session: Session, bucket: Path, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with Source(str(file)) as source:
            file.write_bytes(b"changed")
            with pytest.raises(SourceChanged):
                session.put("key", source, (), "")
        assert names(bucket) == []


class TestRights:
    @pytest.mark.parametrize("mode", [0o4755, 0o2755, 0o1755, 0o6711, 0o640])
    def test_only_permissions_are_kept(
        self, session: Session, bucket: Path, file: Path, mode: int
    ) -> None:
        """Someone else's program must not run with our rights."""
        file.chmod(mode)
        put(session, file)
        assert stat.S_IMODE((bucket / "key").stat().st_mode) == mode & 0o777

    def test_a_file_is_the_owners_alone_while_it_is_copied(
        self, bucket: Path, cloud: Cloud, file: Path
    ) -> None:
        file.write_bytes(bytes(2 * STEP))
        file.chmod(0o644)
        seen = []

        def look(size: int) -> None:
            seen.extend(stat.S_IMODE(path.stat().st_mode) for path in bucket.iterdir())

        with Source(str(file)) as source:
            local.Writer(Disk(), look).write(source, str(bucket), str(bucket / "key"))
        assert seen == [0o600, 0o644]

    def test_a_link_in_the_bucket_is_replaced_and_not_followed(
        self, session: Session, bucket: Path, file: Path, tmp_path: Path
    ) -> None:
        target = tmp_path / "target"
        target.write_bytes(b"before")
        (bucket / "key").symlink_to(target)
        put(session, file)
        assert (target.read_bytes(), (bucket / "key").is_symlink()) == (b"before", False)


class TestCopy:
    def test_other_greenlets_go_on_while_a_file_is_copied(
        self, session: Session, bucket: Path, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """However long that takes: nobody may think that the worker is dead."""
        reading, writing = os.pipe()
        sync = os.fsync

        def fsync(descriptor: int) -> None:
            os.read(reading, 1)
            sync(descriptor)

        put(session, file, "before")
        monkeypatch.setattr(os, "fsync", fsync)
        copying = gevent.spawn(put, session, file)
        gevent.sleep(0)
        assert not copying.ready()
        os.write(writing, b"xx")
        copying.get(timeout=30)
        os.close(reading)
        os.close(writing)

    @pytest.mark.parametrize("size", [0, 1, STEP, STEP + 1, 3 * STEP])
    def test_the_bytes_copied_are_told_step_by_step(
        self, cloud: Cloud, bucket: Path, file: Path, size: int
    ) -> None:
        file.write_bytes(bytes(size))
        told: list[int] = []
        with Source(str(file)) as source:
            local.Writer(Disk(), told.append).write(source, str(bucket), str(bucket / "key"))
        assert sum(told) == size
        assert max(told) <= STEP
        assert (bucket / "key").stat().st_size == size

    @pytest.mark.parametrize("size", [0, 1, 999, 1000, 1001, 5000])
    def test_a_limit_of_the_rate_says_how_much_goes_next(
        self, cloud: Cloud, session: Session, bucket: Path, file: Path, size: int
    ) -> None:
        asked: list[int] = []

        class Turns:
            share = 1e6
            waiting = False

            def take(self, wanted: int) -> int:
                asked.append(wanted)
                return min(wanted, 1000)

            def give_back(self, unsent: int) -> None:
                raise NotImplementedError

        content = os.urandom(size)
        file.write_bytes(content)
        cloud.traffic.limit = Turns()
        put(session, file)
        assert (bucket / "key").read_bytes() == content
        assert asked == list(range(size, 0, -1000))

    def test_what_a_session_copies_is_traffic(
        self, cloud: Cloud, session: Session, file: Path
    ) -> None:
        put(session, file)
        assert cloud.traffic.sent == file.stat().st_size

    @pytest.mark.parametrize("seconds", [-(2**31), -1, 9_300_000_000])
    def test_any_modification_time_that_the_disk_can_hold_is_kept(
        self, session: Session, bucket: Path, file: Path, seconds: int
    ) -> None:
        """Also after 2262, where nanoseconds need more than 63 bits."""
        time_ns = seconds * 1_000_000_000 + 5
        os.utime(file, ns=(time_ns, time_ns))
        put(session, file)
        assert (bucket / "key").stat().st_mtime_ns == file.stat().st_mtime_ns

    def test_libcloud_call_stores_in_the_same_way(
        self, cloud: Cloud, base: Path, file: Path
    ) -> None:
        driver = LocalDriver(str(base))
        stored = driver.upload_object(str(file), driver.get_container("bucket"), "key")
        assert (stored.name, stored.size) == ("key", 7)


def test_a_deep_tree_is_listed(session: Session, bucket: Path) -> None:
    """Deeper than functions can call each other."""
    depth = sys.getrecursionlimit()
    directory = bucket
    for _ in range(depth):
        directory /= "d"
        directory.mkdir(parents=True)
    (directory / "file").touch()
    (bucket / "after").touch()
    keys = [found.key for found in session.page("").objects]
    (directory / "file").unlink()
    while directory != bucket:  # pytest's own clean-up could not
        directory.rmdir()
        directory = directory.parent
    assert keys == ["after", "d/" * depth + "file"]


class TestFailures:
    @pytest.mark.parametrize(
        ("number", "kind"),
        [
            (errno.ENOSPC, Fatal),
            (errno.EROFS, Fatal),
            (errno.EMFILE, Busy),
            (errno.EIO, Busy),
            (errno.EACCES, Rejected),
        ],
    )
    def test_an_error_of_the_disk_says_what_happens_next(
        self, session: Session, file: Path, number: int, kind: type[Failure], monkeypatch: Any
    ) -> None:
        monkeypatch.setattr(os, "replace", failing(number))
        with pytest.raises(kind, match=os.strerror(number)) as caught:
            put(session, file)
        assert type(caught.value) is kind

    def test_what_cannot_be_looked_at_is_not_called_missing(
        self, session: Session, bucket: Path
    ) -> None:
        """It would be replaced, or deleted with those that have no file."""
        (bucket / "loop").symlink_to("loop")
        with pytest.raises(Rejected, match=os.strerror(errno.ELOOP)):
            session.stat("loop")

    def test_an_object_that_is_replaced_is_not_read_as_another(
        self, session: Session, bucket: Path, file: Path
    ) -> None:
        put(session, file)
        found = session.stat("key")
        put(session, file)
        with pytest.raises(Rejected, match="another object took its place"):
            session.read("key", found, lambda block: None)

    def test_a_directory_that_is_removed_is_made_again(
        self, session: Session, bucket: Path, file: Path
    ) -> None:
        put(session, file, "a/key")
        shutil.rmtree(bucket / "a")
        with pytest.raises(Transient, match="its directory was removed"):
            put(session, file, "a/key")
        put(session, file, "a/key")
        assert names(bucket) == ["a/key"]

    def test_a_bucket_that_is_removed_is_fatal(
        self, session: Session, bucket: Path, file: Path
    ) -> None:
        put(session, file)
        shutil.rmtree(bucket)
        with pytest.raises(Fatal, match="^bucket bucket does not exist$"):
            put(session, file)


def test_a_long_copy_shows_progress(cloud: Cloud, session: Session, file: Path) -> None:
    """Otherwise a run with one long file and one that failed would count as stalled."""
    os.truncate(file, 3 * STEP)
    with Source(str(file)) as source:
        session.put("long", source, [], "")
    assert cloud.traffic.progress == 3
