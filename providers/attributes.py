"""A file's attributes as user metadata, and back.  Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

Pairs = Sequence[tuple[str, str]]

MOST_METADATA = 2048
"""Bytes of all user metadata of an object, names and values: the least that any service takes, S3.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html
"""
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
"""https://www.rfc-editor.org/rfc/rfc9110#section-5.6.2, in lower case"""
_ATIME = "file-atime"
_NUMBERS = {8: re.compile("[0-7]{1,20}"), 10: re.compile("[0-9]{1,20}")}
_SECONDS = re.compile(r"(-?)(\d{1,19})(?:\.(\d{1,9}))?", re.ASCII)


class Attributes(Protocol):
    """What is written down of a file; a ``Source`` has it."""

    @property
    def size(self) -> int: ...
    @property
    def mode(self) -> int: ...
    @property
    def uid(self) -> int: ...
    @property
    def gid(self) -> int: ...
    @property
    def mtime_ns(self) -> int: ...
    @property
    def atime_ns(self) -> int: ...


def rclone(file: Attributes) -> list[tuple[str, str]]:
    """Size, modification time, type and permissions, owner and group.

    ``mode`` is octal with a leading zero and type bits, ``mtime`` always has nine digits:
    rclone and s3fs both read this right.
    """
    seconds, nanoseconds = divmod(abs(file.mtime_ns), 1_000_000_000)
    sign = "-" if file.mtime_ns < 0 else ""
    return [
        ("gid", str(file.gid)),
        ("mode", f"0{file.mode:o}"),
        ("mtime", f"{sign}{seconds}.{nanoseconds:09d}"),
        ("size", str(file.size)),
        ("uid", str(file.uid)),
    ]


def datasync(file: Attributes) -> list[tuple[str, str]]:
    """The form ``rclone``, and what AWS DataSync, FSx for Lustre and File Gateway restore.

    https://docs.aws.amazon.com/fsx/latest/LustreGuide/posix-metadata-support.html
    """
    return [
        (_ATIME, f"{file.atime_ns}ns"),
        ("file-group", str(file.gid)),
        ("file-mtime", f"{file.mtime_ns}ns"),
        ("file-owner", str(file.uid)),
        ("file-permissions", f"0{file.mode:o}"),
        *rclone(file),
    ]


def ownerless(file: Attributes) -> list[tuple[str, str]]:
    """The form ``rclone`` without owner and group, which may mean nothing elsewhere."""
    return [pair for pair in rclone(file) if pair[0] not in ("gid", "uid")]


Form = Callable[[Attributes], list[tuple[str, str]]]
"""Writes a file's attributes as user metadata, sorted by name."""
FORMS: Mapping[str, Form] = {"rclone": rclone, "datasync": datasync, "none": ownerless}


class _Longest:
    """No file's attributes are longer to write."""

    size = 2**63 - 1
    mode = 0o177777
    uid = gid = 2**32 - 1
    mtime_ns = atime_ns = -(2**63) * 10**9


def longest(form: Form) -> list[tuple[str, str]]:
    """What a form makes of a file whose attributes are as long to write as any."""
    return form(_Longest)


def check_metadata(metadata: Pairs, form: Form) -> None:
    """Raises ``ValueError`` in one line unless every object can carry ``metadata`` beside its
    file's attributes in this form: names that HTTP allows, each once, within ``MOST_METADATA``."""
    own = longest(form)
    names = [name for name, _ in metadata]
    for name in names:
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"{name!r} is no name for metadata")
        if name in dict(own):
            raise ValueError(f"{name!r} is the name of a file's own metadata")
        if names.count(name) > 1:
            raise ValueError(f"{name!r} is given twice")
    size, room = _size(metadata), MOST_METADATA - _size(own)
    if size > room:
        raise ValueError(f"{size:,} bytes are too many: an object has room for {room:,}")


def _size(metadata: Pairs) -> int:
    return sum(len(name) + len(value) for name, value in metadata)


class ObjectStat(NamedTuple):
    """The attributes of the file that an object was made of, named like ``os.stat_result``'s."""

    st_mode: int
    """Type and permissions."""
    st_uid: int
    """Owner; -1 when the object does not tell, which ``os.chown`` takes for no change."""
    st_gid: int
    st_size: int
    """Bytes; -1 when the object does not tell, as it came by standard input in parts."""
    st_mtime_ns: int
    """Modification time, nanoseconds since the epoch."""

    @property
    def st_mtime(self) -> float:
        """Modification time, seconds since the epoch, rounded as ``os.stat`` does."""
        seconds, nanoseconds = divmod(self.st_mtime_ns, 1_000_000_000)
        return seconds + 1e-9 * nanoseconds


def object_stat(meta_data: Mapping[str, str]) -> ObjectStat:
    """The attributes of a file, out of its object's user metadata in any form of ours.

    ``meta_data`` as libcloud's ``Object.meta_data`` or boto3's ``Metadata`` have it.  A reader
    applies them with ``os.chown``, then ``os.chmod``, then ``os.utime``.  Raises ``ValueError`` in
    one line when one is missing or makes no sense.
    """
    found = {name.lower(): str(value) for name, value in meta_data.items()}
    return ObjectStat(
        _number(found, "mode", base=8),
        _number(found, "uid") if "uid" in found else -1,
        _number(found, "gid") if "gid" in found else -1,
        _number(found, "size") if "size" in found else -1,
        _nanoseconds(found, "mtime"),
    )


def same_attributes(wanted: Mapping[str, str], found: Mapping[str, str]) -> bool:
    """Whether an object has all of the user metadata that a file's should have.  The time of access
    does not count: each comparison that reads the file changes it."""
    return all(found.get(name) == value for name, value in wanted.items() if name != _ATIME)


def differences(wanted: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """Names of the user metadata in which an object differs from what a file's should have, but
    for the size, which the object itself tells, and the time of access."""
    names = [
        name
        for name, value in wanted.items()
        if name not in (_ATIME, "size") and found.get(name) != value
    ]
    if "mtime" in names and same_time(wanted, found):
        names.remove("mtime")
    return names


def same_time(wanted: Mapping[str, str], found: Mapping[str, str]) -> bool:
    """Whether two objects' metadata name the same modification time, in whatever form."""
    try:
        return _nanoseconds(wanted, "mtime") == _nanoseconds(found, "mtime")
    except ValueError:
        return False


def _number(metadata: Mapping[str, str], name: str, base: int = 10) -> int:
    text = _text(metadata, name)
    if not _NUMBERS[base].fullmatch(text):
        raise ValueError(f"the metadata {name} is {text!r}, which is no number to the base {base}")
    return int(text, base)


def _nanoseconds(metadata: Mapping[str, str], name: str) -> int:
    text = _text(metadata, name)
    match = _SECONDS.fullmatch(text)
    if not match:
        raise ValueError(f"the metadata {name} is {text!r}, which is no number of seconds")
    sign, seconds, fraction = match.groups("")
    return int(f"{sign}{seconds}{fraction:0<9}")


def _text(metadata: Mapping[str, str], name: str) -> str:
    if name not in metadata:
        raise ValueError(f"the metadata has no {name}")
    return metadata[name]
