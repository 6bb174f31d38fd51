"""A file is described exactly, and whatever happens to it while it is read is noticed."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from providers.base import MIB, PartRules
from providers.errors import Busy, Failure, Rejected, SourceChanged, Transient
from providers.source import BLOCK_SIZE, Leased, Source, guess_content_type, loaded
from tests.servers.lease import lease

CONTENT = b"0123456789"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "file"
    file.write_bytes(CONTENT)
    return file


@pytest.fixture
def source(path: Path) -> Iterator[Source]:
    with Source(str(path)) as opened:
        yield opened


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


def failing(number: int) -> object:
    def fail(*_: object, **__: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    return fail


class TestOpen:
    def test_a_file_is_described_by_its_status(self, path: Path, source: Source) -> None:
        status = path.stat()
        described = (source.size, source.mtime_ns, source.mode, source.uid, source.gid)
        assert described == (
            len(CONTENT),
            status.st_mtime_ns,
            status.st_mode,
            status.st_uid,
            status.st_gid,
        )

    def test_a_link_stands_for_its_file(self, path: Path) -> None:
        link = path.with_name("link")
        link.symlink_to(path)
        with Source(str(link)) as source:
            assert source.read(0, source.size) == CONTENT

    def test_a_missing_file_vanished_after_the_scan(self, tmp_path: Path) -> None:
        with pytest.raises(Rejected, match=r"^vanished after the scan$"):
            Source(str(tmp_path / "missing"))

    def test_a_file_below_what_is_no_directory_cannot_be_read(self, path: Path) -> None:
        with pytest.raises(Rejected, match="^cannot be read: Not a directory$"):
            Source(str(path / "below"))

    @pytest.mark.parametrize("number", [errno.EACCES, errno.ELOOP, errno.ENAMETOOLONG])
    def test_a_file_that_cannot_be_opened_is_refused(
        self, monkeypatch: pytest.MonkeyPatch, path: Path, number: int
    ) -> None:
        monkeypatch.setattr(os, "open", failing(number))
        with pytest.raises(Rejected, match=f"^cannot be read: {os.strerror(number)}$"):
            Source(str(path))

    @pytest.mark.parametrize(
        "number",
        [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ETIMEDOUT, errno.ENOTCONN],
    )
    def test_trouble_of_the_machine_or_a_network_volume_is_tried_again(
        self, monkeypatch: pytest.MonkeyPatch, path: Path, number: int
    ) -> None:
        monkeypatch.setattr(os, "open", failing(number))
        with pytest.raises(Busy, match=f"^cannot be read now: {os.strerror(number)}$"):
            Source(str(path))

    def test_a_handle_that_a_server_no_longer_knows_is_opened_again(
        self, monkeypatch: pytest.MonkeyPatch, source: Source
    ) -> None:
        monkeypatch.setattr(os, "pread", failing(errno.ESTALE))
        with pytest.raises(SourceChanged, match="^was replaced on its server"):
            source.read(0, 1)

    def test_a_leased_file_is_tried_again(self, path: Path) -> None:
        """Samba's oplock is such a lease.  To open the file asks for its end."""
        with lease(path), pytest.raises(Leased, match="another program holds a lease"):
            Source(str(path))
        with Source(str(path)) as source:
            assert source.read(0, source.size) == CONTENT

    def test_no_reason_names_the_path(self, tmp_path: Path) -> None:
        """The report has it already; equal reasons are counted together."""
        with pytest.raises(Failure) as caught:
            Source(str(tmp_path / "missing"))
        assert str(tmp_path) not in str(caught.value)

    def test_a_fifo_in_the_place_of_the_file_does_not_hang(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "fifo")
        with pytest.raises(Rejected, match="^is no longer a regular file$"):
            Source(str(tmp_path / "fifo"))

    def test_a_directory_in_the_place_of_the_file_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(Rejected, match="^is no longer a regular file$"):
            Source(str(tmp_path))

    def test_a_device_in_the_place_of_the_file_is_refused(self) -> None:
        with pytest.raises(Rejected, match="^is no longer a regular file$"):
            Source("/dev/null")

    def test_a_socket_in_the_place_of_the_file_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("socket")
            with pytest.raises(Rejected, match="^cannot be read: No such device or address$"):
                Source("socket")

    def test_what_is_refused_is_not_left_open(self, tmp_path: Path) -> None:
        before = descriptors()
        with pytest.raises(Rejected):
            Source(str(tmp_path))
        assert descriptors() == before


class TestClose:
    def test_a_closed_file_gives_its_descriptor_back(self, path: Path) -> None:
        before = descriptors()
        with Source(str(path)):
            assert descriptors() == before + 1
        assert descriptors() == before

    def test_closing_twice_closes_once(self, path: Path) -> None:
        """The number may belong to another file by then."""
        source = Source(str(path))
        source.close()
        with Source(str(path)) as other:
            source.close()
            assert other.read(0, 1) == b"0"

    def test_a_file_is_closed_when_its_upload_fails(self, path: Path) -> None:
        before = descriptors()
        with pytest.raises(Transient), Source(str(path)):
            raise Transient("reset")
        assert descriptors() == before

    def test_programs_that_are_started_do_not_inherit_it(self, source: Source) -> None:
        assert not os.get_inheritable(source.fd)


class TestAttributes:
    def test_they_are_those_of_the_file(self, path: Path) -> None:
        status = path.stat()
        with Source(str(path)) as source:
            assert (source.size, source.mode) == (status.st_size, status.st_mode)
            assert (source.uid, source.gid) == (status.st_uid, status.st_gid)
            assert source.mtime_ns == status.st_mtime_ns

    def test_reading_changes_no_access_time(self, path: Path) -> None:
        """The one that counts is of whoever read the file before."""
        os.utime(path, ns=(5, 7))
        with Source(str(path)) as source:
            source.read(0, 10)
            assert source.atime_ns == 5


class TestRead:
    def test_any_part_can_be_read_in_any_order(self, source: Source) -> None:
        assert [source.read(5, 5), source.read(0, 2), source.read(9, 1)] == [b"56789", b"01", b"9"]

    def test_nothing_of_an_empty_file_is_read(self, tmp_path: Path) -> None:
        (tmp_path / "empty").touch()
        with Source(str(tmp_path / "empty")) as source:
            assert source.read(0, 0) == b""
            assert list(source.blocks(0, 0)) == []

    def test_a_short_read_means_that_the_file_changed(self, path: Path, source: Source) -> None:
        os.truncate(path, 9)
        with pytest.raises(SourceChanged, match="^shrank while it was read$"):
            source.read(0, source.size)

    def test_a_disk_that_fails_is_the_failure_of_the_file(
        self, monkeypatch: pytest.MonkeyPatch, source: Source
    ) -> None:
        monkeypatch.setattr(os, "pread", failing(errno.EBADMSG))
        with pytest.raises(Rejected, match="^cannot be read: Bad message$"):
            source.read(0, 1)

    def test_a_network_volume_that_is_gone_for_the_moment_is_tried_again(
        self, monkeypatch: pytest.MonkeyPatch, source: Source
    ) -> None:
        monkeypatch.setattr(os, "pread", failing(errno.EIO))
        with pytest.raises(Busy, match="^cannot be read now: Input/output error$"):
            source.read(0, 1)

    def test_content_past_the_end_means_that_the_file_grew(
        self, path: Path, source: Source
    ) -> None:
        grow(path)
        with pytest.raises(SourceChanged, match="^grew while it was read$"):
            source.read(5, 5)

    def test_a_part_before_the_end_does_not_care(self, path: Path, source: Source) -> None:
        grow(path)
        assert source.read(0, 5) == CONTENT[:5]

    def test_an_empty_file_that_is_written_to_grew(self, tmp_path: Path) -> None:
        (tmp_path / "empty").touch()
        with Source(str(tmp_path / "empty")) as source:
            grow(tmp_path / "empty")
            with pytest.raises(SourceChanged, match="^grew while it was read$"):
                source.read(0, 0)

    def test_a_file_that_hides_its_size_is_refused_instead_of_stored_empty(self) -> None:
        with Source("/proc/version") as source:
            assert source.size == 0
            with pytest.raises(Rejected, match="^has content, but reports a size of 0"):
                source.read(0, 0)


class TestLoad:
    def test_a_loaded_file_is_read_from_memory(self, path: Path) -> None:
        with loaded(str(path)) as source:
            path.unlink()
            assert source.read(0, source.size) == CONTENT
            assert source.read(3, 4) == CONTENT[3:7]
            assert [bytes(block) for block in source.blocks(0, 10)] == [CONTENT]
            assert [bytes(block) for block in source.blocks(2, 5)] == [CONTENT[2:7]]
            source.check_unchanged()

    def test_a_loaded_file_is_closed(self, path: Path) -> None:
        before = descriptors()
        with loaded(str(path)):
            assert descriptors() == before

    def test_who_reads_a_loaded_file_by_its_path_can_look_at_it(self, path: Path) -> None:
        """A driver of libcloud does."""
        with loaded(str(path)) as source:
            source.check_path()
            grow(path)
            with pytest.raises(SourceChanged):
                source.check_path()

    @pytest.mark.parametrize("size", [0, 1, BLOCK_SIZE])
    def test_a_file_of_a_block_is_loaded(self, path: Path, size: int) -> None:
        content = os.urandom(size)
        path.write_bytes(content)
        with loaded(str(path)) as source:
            path.unlink()
            assert source.read(0, size) == content
            assert b"".join(source.blocks(0, size)) == content

    def test_a_larger_file_stays_on_the_disk(self, path: Path) -> None:
        path.write_bytes(bytes(BLOCK_SIZE + 1))
        with loaded(str(path)) as source:
            os.truncate(path, 0)
            with pytest.raises(SourceChanged):
                source.read(0, 1)

    def test_what_is_loaded_is_one_version(self, path: Path) -> None:
        """Two writes may have met the read, and the second has set the time back."""
        source = Source(str(path))
        path.write_bytes(bytes(len(CONTENT)))
        os.utime(path, ns=(source.mtime_ns, source.mtime_ns))
        with source, pytest.raises(SourceChanged, match="^changed while it was read$"):
            source.load()

    def test_a_volume_that_is_gone_for_the_moment_is_tried_again(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = descriptors()
        with monkeypatch.context() as patched, pytest.raises(Busy):
            patched.setattr(os, "fstat", failing(errno.ENOTCONN))
            loaded(str(path))
        assert descriptors() == before

    def test_a_file_that_cannot_be_loaded_is_not_left_open(self) -> None:
        before = descriptors()
        with pytest.raises(Rejected):
            loaded("/proc/version")
        assert descriptors() == before


class TestBlocks:
    SIZE = 2 * BLOCK_SIZE + 10

    @pytest.fixture
    def large(self, tmp_path: Path) -> Iterator[Source]:
        path = tmp_path / "large"
        path.write_bytes(os.urandom(self.SIZE))
        with Source(str(path)) as source:
            yield source

    @pytest.mark.parametrize(
        ("offset", "length"),
        [
            (0, SIZE),
            (0, BLOCK_SIZE),
            (0, BLOCK_SIZE + 1),
            (1, BLOCK_SIZE),
            (BLOCK_SIZE, BLOCK_SIZE + 10),
            (SIZE - 1, 1),
            (7, 0),
        ],
    )
    def test_blocks_are_the_bytes_asked_for(self, large: Source, offset: int, length: int) -> None:
        got = b"".join(bytes(block) for block in large.blocks(offset, length))
        assert got == large.read(offset, length)

    def test_no_block_is_larger_than_a_block(self, large: Source) -> None:
        sizes = [len(block) for block in large.blocks(0, large.size)]
        assert sizes == [BLOCK_SIZE, BLOCK_SIZE, 10]

    def test_a_short_range_takes_no_whole_block_of_memory(self, large: Source) -> None:
        [block] = large.blocks(0, 10)
        assert block.obj is not None
        assert len(memoryview(block.obj)) == 10

    def test_all_blocks_are_one_buffer(self, large: Source) -> None:
        blocks = large.blocks(0, large.size)
        first = next(blocks)
        begin = bytes(first)
        next(blocks)
        assert bytes(first) != begin

    def test_a_file_that_shrinks_meanwhile_has_changed(self, large: Source) -> None:
        blocks = large.blocks(0, large.size)
        next(blocks)
        os.truncate(large.path, BLOCK_SIZE)
        with pytest.raises(SourceChanged, match="^shrank while it was read$"):
            next(blocks)

    def test_a_file_cut_inside_a_block_gives_what_is_there_and_then_fails(
        self, large: Source
    ) -> None:
        os.truncate(large.path, BLOCK_SIZE + 5)
        blocks = large.blocks(0, large.size)
        assert [len(next(blocks)), len(next(blocks))] == [BLOCK_SIZE, 5]
        with pytest.raises(SourceChanged):
            next(blocks)

    def test_a_disk_that_fails_is_the_failure_of_the_file(
        self, monkeypatch: pytest.MonkeyPatch, large: Source
    ) -> None:
        monkeypatch.setattr(os, "preadv", failing(errno.EBADMSG))
        with pytest.raises(Rejected, match="^cannot be read: Bad message$"):
            next(large.blocks(0, 1))

    def test_content_past_the_end_means_that_the_file_grew(
        self, tmp_path: Path, large: Source
    ) -> None:
        grow(tmp_path / "large")
        with pytest.raises(SourceChanged, match="^grew while it was read$"):
            list(large.blocks(0, large.size))

    def test_a_file_that_hides_its_size_is_refused_instead_of_stored_empty(self) -> None:
        with (
            Source("/proc/version") as source,
            pytest.raises(Rejected, match="^has content, but reports a size of 0"),
        ):
            list(source.blocks(0, 0))


class TestChange:
    def refused(self, source: Source, reason: str) -> None:
        with pytest.raises(SourceChanged, match=f"^{reason} while it was read$"):
            source.check_unchanged()

    def test_a_file_left_alone_is_unchanged(self, source: Source) -> None:
        source.read(0, source.size)
        source.check_unchanged()

    def test_a_file_that_was_only_read_is_unchanged(self, path: Path, source: Source) -> None:
        path.read_bytes()
        source.check_unchanged()

    def test_a_file_that_grew_changed(self, path: Path, source: Source) -> None:
        grow(path)
        self.refused(source, "changed")

    def test_a_file_that_shrank_changed(self, path: Path, source: Source) -> None:
        os.truncate(path, 3)
        self.refused(source, "changed")

    def test_a_file_that_shrank_changed_even_with_its_old_time(
        self, path: Path, source: Source
    ) -> None:
        os.truncate(path, 3)
        os.utime(path, ns=(source.mtime_ns, source.mtime_ns))
        self.refused(source, "changed")

    def test_a_file_that_was_touched_changed(self, path: Path, source: Source) -> None:
        """Its bytes may be others; whoever wrote the same ones costs one more attempt."""
        os.utime(path, ns=(0, source.mtime_ns + 1))
        self.refused(source, "changed")

    def test_a_file_that_was_written_to_changed_even_with_its_old_time(
        self, path: Path, source: Source
    ) -> None:
        path.write_bytes(bytes(len(CONTENT)))
        os.utime(path, ns=(source.mtime_ns, source.mtime_ns))
        self.refused(source, "changed")

    def test_a_file_of_another_mode_changed(self, path: Path, source: Source) -> None:
        """The mode is stored with it."""
        path.chmod(0o400)
        self.refused(source, "changed")

    def test_a_volume_that_is_gone_for_the_moment_is_no_change(
        self, monkeypatch: pytest.MonkeyPatch, source: Source
    ) -> None:
        monkeypatch.setattr(os, "stat", failing(errno.EIO))
        with pytest.raises(Busy):
            source.check_unchanged()

    def test_a_file_with_another_in_its_place_was_replaced(
        self, path: Path, source: Source
    ) -> None:
        other = path.with_name("other")
        other.write_bytes(CONTENT)
        os.utime(other, ns=(source.mtime_ns, source.mtime_ns))
        other.replace(path)
        self.refused(source, "was replaced")

    def test_a_file_that_is_gone_vanished(self, path: Path, source: Source) -> None:
        path.unlink()
        self.refused(source, "vanished")

    def test_a_directory_in_its_place_means_replaced(self, path: Path, source: Source) -> None:
        path.unlink()
        path.mkdir()
        self.refused(source, "was replaced")

    def test_a_link_that_leads_elsewhere_means_replaced(self, path: Path) -> None:
        link = path.with_name("link")
        link.symlink_to(path)
        with Source(str(link)) as source:
            other = path.with_name("other")
            other.write_bytes(CONTENT)
            link.unlink()
            link.symlink_to(other)
            self.refused(source, "was replaced")

    def test_a_change_says_to_start_over_and_not_to_repeat_the_request(
        self, path: Path, source: Source
    ) -> None:
        path.unlink()
        with pytest.raises(SourceChanged) as caught:
            source.check_unchanged()
        assert (caught.value.retry, caught.value.fatal) == (False, False)


class TestContentType:
    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("a.txt", "text/plain"),
            ("a.html", "text/html"),
            ("a.json", "application/json"),
            ("a.jpg", "image/jpeg"),
            ("a.png", "image/png"),
            ("a.pdf", "application/pdf"),
            ("a.css", "text/css"),
            ("a.csv", "text/csv"),
            ("a.mp4", "video/mp4"),
            ("a.tar", "application/x-tar"),
            ("a.zip", "application/zip"),
        ],
    )
    def test_a_known_suffix_says_the_type(self, name: str, kind: str) -> None:
        assert guess_content_type(name) == kind

    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("a.tar.gz", "application/gzip"),
            ("a.tgz", "application/gzip"),
            ("a.gz", "application/gzip"),
            ("a.txt.gz", "application/gzip"),
            ("a.tar.bz2", "application/x-bzip2"),
            ("a.tar.xz", "application/x-xz"),
        ],
    )
    def test_what_is_compressed_is_of_the_compressors_type(self, name: str, kind: str) -> None:
        """A browser must not unpack what is meant to be stored packed."""
        assert guess_content_type(name) == kind

    def test_another_compression_is_just_bytes(self) -> None:
        assert guess_content_type("a.tar.Z") == "application/octet-stream"

    @pytest.mark.parametrize(
        "name", ["a", "", "a.", "a.unknownsuffix", "a.tar.unknownsuffix", ".", ".."]
    )
    def test_no_known_suffix_means_just_bytes(self, name: str) -> None:
        assert guess_content_type(name) == "application/octet-stream"

    @pytest.mark.parametrize("name", [".profile", ".gitignore", "dir.txt/.hidden"])
    def test_a_hidden_file_has_no_suffix(self, name: str) -> None:
        assert guess_content_type(name) == "application/octet-stream"

    def test_a_hidden_file_may_have_a_suffix(self) -> None:
        assert guess_content_type(".settings.json") == "application/json"

    @pytest.mark.parametrize("name", [".txt", ".json", "..txt"])
    def test_a_name_that_is_all_suffix_has_none(self, name: str) -> None:
        assert guess_content_type(name) == "application/octet-stream"

    @pytest.mark.parametrize("name", ["A.TXT", "a.Txt", "A.B.TXT"])
    def test_the_case_of_a_suffix_does_not_matter(self, name: str) -> None:
        assert guess_content_type(name) == "text/plain"

    def test_only_the_last_suffix_counts(self) -> None:
        assert guess_content_type("a.png.txt") == "text/plain"

    @pytest.mark.parametrize("name", ["a.txt/b", "dir.d/x.png/readme"])
    def test_a_directorys_suffix_does_not_count(self, name: str) -> None:
        assert guess_content_type(name) == "application/octet-stream"

    @pytest.mark.parametrize("name", ["http:x.txt", "data:,x.txt", "a b.txt", "é.txt", "#?.txt"])
    def test_a_name_is_no_url(self, name: str) -> None:
        assert guess_content_type(name) == "text/plain"


class TestPartRules:
    RULES = PartRules(threshold=16 * MIB, part_size=8 * MIB, max_part_size=5120 * MIB, max_parts=10)

    @pytest.mark.parametrize(
        ("size", "part_size"), [(17 * MIB, 8 * MIB), (80 * MIB, 8 * MIB), (80 * MIB + 1, 9 * MIB)]
    )
    def test_parts_grow_only_when_there_would_be_too_many(self, size: int, part_size: int) -> None:
        assert self.RULES.size_for(size) == part_size

    def test_a_file_that_no_parts_can_hold_is_refused(self) -> None:
        assert self.RULES.size_for(10 * 5120 * MIB) == 5120 * MIB
        with pytest.raises(Rejected, match="larger than 10 parts"):
            self.RULES.size_for(10 * 5120 * MIB + 1)
