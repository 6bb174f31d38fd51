"""A file's attributes become user metadata in several forms, and attributes again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.attributes import (
    FORMS,
    MOST_METADATA,
    ObjectStat,
    check_metadata,
    datasync,
    object_stat,
    ownerless,
    rclone,
)


class File(NamedTuple):
    size: int = 10
    mode: int = 0o100644
    uid: int = 1000
    gid: int = 100
    mtime_ns: int = 1_700_000_000_000_000_500
    atime_ns: int = 1_700_000_001_000_000_000


files = st.builds(
    File,
    size=st.integers(0, 2**63 - 1),
    mode=st.integers(0o100000, 0o107777),
    uid=st.integers(0, 2**32 - 1),
    gid=st.integers(0, 2**32 - 1),
    mtime_ns=st.integers(-(2**63), 2**65),
    atime_ns=st.integers(-(2**63), 2**65),
)


class TestForms:
    @pytest.mark.parametrize(
        ("mtime_ns", "text"),
        [
            (0, "0.000000000"),
            (1, "0.000000001"),
            (1_700_000_000_000_000_000, "1700000000.000000000"),
            (1_700_000_000_123_456_789, "1700000000.123456789"),
            (1_700_000_000_000_000_100, "1700000000.000000100"),
            (2**32 * 1_000_000_000 + 5, "4294967296.000000005"),
            (9_300_000_000 * 1_000_000_000 + 5, "9300000000.000000005"),  # beyond 63 bits
        ],
    )
    def test_mtime_is_seconds_and_nine_digits(self, mtime_ns: int, text: str) -> None:
        assert dict(rclone(File(mtime_ns=mtime_ns)))["mtime"] == text

    @pytest.mark.parametrize(
        ("mtime_ns", "text"),
        [
            (-1_000_000_000, "-1.000000000"),
            (-1, "-0.000000001"),
            (-1_500_000_000, "-1.500000000"),
            (-(2**31) * 1_000_000_000, "-2147483648.000000000"),
        ],
    )
    def test_mtime_before_1970_is_a_negative_number(self, mtime_ns: int, text: str) -> None:
        """As a number: rclone reads sign and digits, not a second and what comes on top of it."""
        assert dict(rclone(File(mtime_ns=mtime_ns)))["mtime"] == text

    @pytest.mark.parametrize(
        ("mode", "text"),
        [
            (0o100644, "0100644"),
            (0o100600, "0100600"),
            (0o104755, "0104755"),
            (0o101777, "0101777"),
        ],
    )
    def test_mode_is_octal_with_a_zero_before_and_the_type_bits(self, mode: int, text: str) -> None:
        assert dict(rclone(File(mode=mode)))["mode"] == text

    def test_size_and_owner_are_plain_numbers(self) -> None:
        described = dict(rclone(File()))
        assert [described[name] for name in ("size", "uid", "gid")] == ["10", "1000", "100"]

    def test_datasync_has_its_own_names_beside_the_others(self) -> None:
        """https://docs.aws.amazon.com/fsx/latest/LustreGuide/posix-metadata-support.html"""
        assert dict(datasync(File())) == {
            "file-permissions": "0100644",
            "file-owner": "1000",
            "file-group": "100",
            "file-mtime": "1700000000000000500ns",
            "file-atime": "1700000001000000000ns",
            **dict(rclone(File())),
        }

    def test_without_owner_are_size_mtime_and_mode(self) -> None:
        wanted = {name: value for name, value in rclone(File()) if name not in ("uid", "gid")}
        assert dict(ownerless(File())) == wanted
        assert wanted.keys() == {"mode", "mtime", "size"}

    @pytest.mark.parametrize("form", FORMS)
    def test_names_are_sorted(self, form: str) -> None:
        """Headers are signed in this order."""
        names = [name for name, _ in FORMS[form](File())]
        assert names == sorted(set(names))


class TestObjectStat:
    @given(files)
    @pytest.mark.parametrize("form", ["rclone", "datasync"])
    def test_what_is_written_is_read(self, form: str, file: File) -> None:
        found = object_stat(dict(FORMS[form](file)))
        assert found == ObjectStat(file.mode, file.uid, file.gid, file.size, file.mtime_ns)

    def test_owners_that_are_not_told_are_left_as_they_are(self) -> None:
        """``os.chown`` takes -1 so."""
        found = object_stat(dict(ownerless(File())))
        assert (found.st_uid, found.st_gid) == (-1, -1)
        assert (found.st_size, found.st_mode) == (10, 0o100644)

    @pytest.mark.parametrize("mtime_ns", [0, 1_700_000_000_123_456_789, 5, -1_500_000_000])
    def test_the_names_and_values_are_those_of_os_stat(self, tmp_path: Path, mtime_ns: int) -> None:
        path = tmp_path / "file"
        path.write_bytes(b"0123456789")
        os.utime(path, ns=(0, mtime_ns))
        status = path.stat()
        wanted = {name: getattr(status, name) for name in (*ObjectStat._fields, "st_mtime")}
        file = File(10, status.st_mode, status.st_uid, status.st_gid, mtime_ns)
        found = object_stat(dict(rclone(file)))
        assert {name: getattr(found, name) for name in wanted} == wanted

    def test_a_reader_can_apply_it(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.touch()
        wanted = object_stat(dict(rclone(File(mode=0o100640, mtime_ns=5))))
        os.chmod(path, wanted.st_mode)
        os.utime(path, ns=(wanted.st_mtime_ns, wanted.st_mtime_ns))
        assert (path.stat().st_mode, path.stat().st_mtime_ns) == (0o100640, 5)

    def test_names_may_come_in_any_case(self) -> None:
        """Some services capitalise them."""
        described = {name.title(): value for name, value in rclone(File())}
        assert object_stat(described) == object_stat(dict(rclone(File())))

    @pytest.mark.parametrize(
        ("text", "nanoseconds"),
        [("1", 10**9), ("0.5", 5 * 10**8), ("-1.5", -15 * 10**8), ("1.000000001", 10**9 + 1)],
    )
    def test_fewer_digits_of_a_second_are_read_as_rclone_writes_them(
        self, text: str, nanoseconds: int
    ) -> None:
        described = {**dict(rclone(File())), "mtime": text}
        assert object_stat(described).st_mtime_ns == nanoseconds

    def test_the_size_may_be_missing(self) -> None:
        """Of what came by standard input in parts, which is not known to have one."""
        described = dict(rclone(File()))
        del described["size"]
        assert object_stat(described).st_size == -1

    @pytest.mark.parametrize("name", ["mtime", "mode"])
    def test_what_is_missing_is_named(self, name: str) -> None:
        described = dict(rclone(File()))
        del described[name]
        with pytest.raises(ValueError, match=f"^the metadata has no {name}$"):
            object_stat(described)

    @pytest.mark.parametrize("name", ["size", "mtime", "mode", "uid", "gid"])
    @pytest.mark.parametrize("text", ["", "x", " 1", "1_0", "+1", "0x1", "9" * 5000, "1\n2", "٣"])
    def test_what_makes_no_sense_is_named_in_one_line(self, name: str, text: str) -> None:
        with pytest.raises(ValueError, match=f"^the metadata {name} is ") as caught:
            object_stat({**dict(rclone(File())), name: text})
        assert "\n" not in str(caught.value)

    def test_a_decimal_mode_is_refused(self) -> None:
        """s3fs writes such: read as octal it would give other permissions."""
        with pytest.raises(ValueError, match="mode is '33188'"):
            object_stat({**dict(rclone(File())), "mode": "33188"})


class TestCheckMetadata:
    @given(files)
    @pytest.mark.parametrize("form", FORMS)
    def test_what_is_allowed_fits_with_any_file(self, form: str, file: File) -> None:
        room = 0
        while True:
            try:
                check_metadata([("a", "x" * (room + 63))], FORMS[form])
            except ValueError:
                break
            room += 64
        own = sum(len(name) + len(value) for name, value in FORMS[form](file))
        assert own + room <= MOST_METADATA
        assert room > MOST_METADATA - 512

    @pytest.mark.parametrize("form", FORMS)
    def test_more_than_an_object_holds_is_refused_with_the_room_there_is(self, form: str) -> None:
        with pytest.raises(ValueError, match=r"^3,001 bytes are too many: an object has room for"):
            check_metadata([("a", "x" * 3000)], FORMS[form])

    @pytest.mark.parametrize(("form", "name"), [("rclone", "mtime"), ("datasync", "file-owner")])
    def test_the_files_own_names_are_taken(self, form: str, name: str) -> None:
        with pytest.raises(ValueError, match=f"'{name}' is the name of a file's own"):
            check_metadata([(name, "1")], FORMS[form])

    def test_a_name_that_the_form_leaves_out_is_free(self) -> None:
        check_metadata([("uid", "1")], ownerless)

    def test_a_name_is_given_once(self) -> None:
        with pytest.raises(ValueError, match="'a' is given twice"):
            check_metadata([("a", "1"), ("b", "1"), ("a", "2")], rclone)

    @pytest.mark.parametrize("name", ["", "a b", "a:b", "ä", "a\nb"])
    def test_a_name_that_no_header_can_have_is_refused(self, name: str) -> None:
        with pytest.raises(ValueError, match="is no name for metadata") as caught:
            check_metadata([(name, "x")], rclone)
        assert "\n" not in str(caught.value)
