"""What every cloud has to keep to: one rule a test, the same for all targets.

The files ``test_conformance*.py`` run it over ``tests/targets.py``.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import gevent
import pytest

import providers
from providers.attributes import rclone
from providers.base import MIB, Deletion, Listed, Metadata, Part, PartRules, Prepared, Session
from providers.errors import Failure, Fatal, NoBucket, NotFound, Rejected, SourceChanged, Transient
from providers.source import BLOCK_SIZE, Source
from tests.targets import TIMEOUT, Store, Target

NO_METADATA: Metadata = ()
BINARY = "application/octet-stream"
LONG_AGO_NS = 1_577_836_800_123_456_789
"""Modification time of the tests' files: whoever writes to one changes it."""

ODD_KEYS = {
    "space": "a b/c d",
    "plus": "a+b",
    "percent": "100%/%41%2F",
    "tilde": "~a~",
    "ampersand": "a&b=c",
    "hash": "a#b",
    "question mark": "a?b=c",
    "quotes": "'a' and \"b\"",
    "brackets": "<a>[b]{c}(d)",
    "punctuation": "a!$*,:;=@\\^`|-_.",
    "unicode": "Grüße/日本語/🎉",
    "decomposed": "Gru\u0308ße",
    "double slash": "a//b",
    "leading slash": "/a",
    "trailing slash": "a/",
    "dots": "a/../b/./c",
    "newline": "a\nb",
    "control characters": "a\x01\x1f\x7fb",
    "not UTF-8": os.fsdecode(b"a\xffb"),
    "1024 bytes": ("ü" * 63 + "/") * 8 + "x" * 8,
    "1024 bytes in one step": "x" * 1024,
}


def each_rule(targets: Sequence[Target]) -> Callable[[pytest.Metafunc], None]:
    """A test file's ``pytest_generate_tests``: each rule once for each target that can show it."""

    def generate(metafunc: pytest.Metafunc) -> None:
        if "target" not in metafunc.fixturenames:
            return
        assert metafunc.cls
        rule, parts_only = metafunc.function.__name__, issubclass(metafunc.cls, PartsSuite)
        chosen = [t for t in targets if rule not in t.without and (t.parts or not parts_only)]
        if issubclass(metafunc.cls, CompareSuite):
            chosen = [target for target in chosen if providers.comparable(target.provider)]
        metafunc.parametrize("target", chosen, ids=[target.name for target in chosen])

    return generate


class Place:
    """An empty bucket for one test, and a session on it."""

    def __init__(self, store: Store, directory: Path) -> None:
        self.store = store
        self.bucket = store.bucket
        self.cloud = store.cloud(self.bucket)
        self.session = self.cloud.open()
        self._directory = directory

    def key(self, name: str) -> str:
        """The whole key of an object; a name of 1024 bytes makes a key of 1024 bytes."""
        whole = self.store.prefix + name
        return whole if len(os.fsencode(name)) < 1024 else whole[: len(name)]

    def file(self, content: bytes, name: str = "file") -> Path:
        """A file on the disk, last changed long ago."""
        path = self._directory / name
        path.write_bytes(content)
        os.utime(path, ns=(LONG_AGO_NS, LONG_AGO_NS))
        return path

    def put(
        self,
        name: str,
        content: bytes,
        metadata: Metadata = NO_METADATA,
        content_type: str = BINARY,
        session: Session | None = None,
    ) -> None:
        """Uploads a file with this content."""
        file = self.file(content, f"file-{id(session)}")
        with Source(str(file)) as source:
            (session or self.session).put(self.key(name), source, metadata, content_type)

    def read(self, name: str) -> bytes | None:
        """The object as the service has it."""
        return self.store.read(self.bucket, self.key(name))

    def is_empty(self) -> bool:
        """Nothing is stored, neither whole nor in part."""
        return not self.store.keys(self.bucket) and not self.store.uploads(self.bucket)


@pytest.fixture(scope="session")
def stores() -> dict[str, Store]:
    """The stores that tests have asked for, by target."""
    return {}


@pytest.fixture
def store(target: Target, stores: dict[str, Store], request: pytest.FixtureRequest) -> Store:
    if target.name not in stores:
        stores[target.name] = target.store(request)
    return stores[target.name]


@pytest.fixture
def place(store: Store, tmp_path: Path) -> Iterator[Place]:
    place = Place(store, tmp_path)
    yield place
    place.session.close()
    store.empty(place.bucket)


@pytest.fixture
def no_bucket(store: Store) -> Iterator[str]:
    """The name of a bucket that is missing, removed in case that it was made."""
    name = store.unused_name()
    yield name
    store.remove(name)


def content_of(size: int) -> bytes:
    """Bytes in which no two blocks are alike."""
    return random.Random(size).randbytes(size)


# What can happen to a file, and when.


def shrink(path: Path, source: Source) -> None:
    os.truncate(path, 10)


def grow(path: Path, source: Source) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def rewrite(path: Path, source: Source) -> None:
    with path.open("r+b") as file:
        file.write(bytes(source.size))


def replace(path: Path, source: Source) -> None:
    """By a file that looks just the same."""
    other = path.with_name("other")
    other.write_bytes(bytes(source.size))
    os.utime(other, ns=(LONG_AGO_NS, LONG_AGO_NS))
    other.replace(path)


def vanish(path: Path, source: Source) -> None:
    path.unlink()


def break_down(path: Path, source: Source) -> None:
    """Reading is an error from now on, as it is when a disk fails."""
    unreadable = os.open(path, os.O_WRONLY)
    os.dup2(unreadable, source.fd)
    os.close(unreadable)


Change = Callable[[Path, Source], None]

CHANGES: list[Change] = [shrink, grow, rewrite, replace, vanish]

AT_FIRST_BLOCK = "at the first block"
BEFORE_CHECK = "before the check"
AFTER_CHECK = "after the check"
"""For a cloud that describes a body before it sends it: when the first byte goes out."""
MOMENTS = [AT_FIRST_BLOCK, BEFORE_CHECK, AFTER_CHECK]


class ChangingSource(Source):
    """A file that meets with a change, once, at a chosen moment."""

    __slots__ = ("_change", "_moment")

    def __init__(self, path: Path, change: Change, moment: str) -> None:
        super().__init__(str(path))
        self._change: Change | None = change
        self._moment = moment

    def read(self, offset: int, length: int) -> bytes:
        data = super().read(offset, length)
        self._reach(AT_FIRST_BLOCK)
        return data

    def blocks(self, offset: int, length: int) -> Iterator[memoryview]:
        for block in super().blocks(offset, length):
            yield block
            self._reach(AT_FIRST_BLOCK)

    def check_path(self) -> None:
        self._reach(BEFORE_CHECK)
        super().check_path()
        self._reach(AFTER_CHECK)

    def _reach(self, moment: str) -> None:
        if moment == self._moment and self._change:
            change, self._change = self._change, None
            change(Path(self.path), self)


def put_while(place: Place, change: Change, moment: str, name: str = "key") -> bool:
    """Uploads a file of several blocks that changes; true when that was called a success.

    Then the object is the file as it was before the change: a mixture is no success.
    """
    content = content_of(3 * BLOCK_SIZE + 1)
    with ChangingSource(place.file(content), change, moment) as source:
        try:
            place.session.put(place.key(name), source, NO_METADATA, BINARY)
        except (SourceChanged, Rejected):
            return False
    assert place.read(name) == content
    return True


def tells_no_secret(failure: Failure, target: Target) -> bool:
    """The failure is one line without any of the credentials."""
    reason = str(failure)
    return "\n" not in reason and not any(s in reason for s in target.wrong_credentials.values())


class ProviderSuite:
    """Rules for every cloud."""

    # What is stored.

    @pytest.mark.parametrize(
        "size", [0, 1, BLOCK_SIZE - 1, BLOCK_SIZE, BLOCK_SIZE + 1, 3 * BLOCK_SIZE]
    )
    def test_the_bytes_read_back(self, place: Place, size: int) -> None:
        content = content_of(size)
        place.put("key", content)
        assert place.read("key") == content

    def test_an_object_is_overwritten(self, place: Place) -> None:
        place.put("key", b"a longer first version")
        place.put("key", b"second")
        assert place.read("key") == b"second"

    @pytest.mark.parametrize("oddity", ODD_KEYS)
    def test_an_odd_key_is_kept_or_refused(self, target: Target, place: Place, oddity: str) -> None:
        name = ODD_KEYS[oddity]
        if oddity in target.refused_keys:
            with pytest.raises((Rejected, Transient)):  # moto's router answers like any proxy
                place.put(name, b"odd")
            assert place.is_empty()
        else:
            place.put(name, b"odd")
            stored = target.renamed_keys.get(oddity, name)
            assert place.store.keys(place.bucket) == {place.key(stored)}
            assert place.session.stat(place.key(name)).size == 3

    def test_keys_that_differ_in_case_or_normal_form_are_two(self, place: Place) -> None:
        names = ["\u00fc", "u\u0308", "U\u0308"]
        for name in names:
            place.put(name, name.encode())
        assert [place.read(name) for name in names] == [name.encode() for name in names]

    def test_stat_tells_the_size(self, place: Place) -> None:
        place.put("key", b"12345")
        assert place.session.stat(place.key("key")).size == 5

    def test_stat_of_a_missing_object(self, place: Place) -> None:
        with pytest.raises(NotFound):
            place.session.stat(place.key("missing"))

    # Abilities are as declared.

    def test_inspect_of_a_missing_object(self, place: Place) -> None:
        with pytest.raises(NotFound):
            place.session.inspect(place.key("missing"))

    @pytest.mark.parametrize("size", [0, 1, BLOCK_SIZE + 1])
    def test_a_proof_is_that_of_the_bytes_and_no_others(self, place: Place, size: int) -> None:
        content = content_of(size)
        place.put("key", content)
        for tried, expected in ((content, True), (content + b"x", False)):
            found, proof = place.session.inspect(place.key("key"))
            assert found == place.session.stat(place.key("key"))
            if proof:
                proof.update(tried)
                assert proof.holds() is expected

    @pytest.mark.parametrize("size", [0, 1, BLOCK_SIZE + 1, 5_000_000])
    def test_an_object_is_read_in_blocks_if_at_all(self, place: Place, size: int) -> None:
        content = content_of(size)
        place.put("key", content)
        found = place.session.stat(place.key("key"))
        blocks: list[bytes] = []
        try:
            place.session.read(place.key("key"), found, lambda block: blocks.append(bytes(block)))
        except Rejected as failure:
            assert "cannot be read back" in str(failure)
            return
        assert b"".join(blocks) == content
        assert max(map(len, blocks), default=0) <= MIB

    def test_what_is_done_with_the_bytes_of_an_object_may_fail(self, place: Place) -> None:
        """The session stays usable."""

        def stumble(block: bytes | memoryview) -> None:
            raise EOFError

        place.put("key", content_of(2 * BLOCK_SIZE))
        found = place.session.stat(place.key("key"))
        with pytest.raises((EOFError, Rejected)):
            place.session.read(place.key("key"), found, stumble)
        assert place.session.stat(place.key("key")) == found

    def test_metadata_comes_back_exactly_if_kept(self, target: Target, place: Place) -> None:
        with Source(str(place.file(b"content"))) as source:
            metadata = sorted([*rclone(source), ("origin", "Tape 7; box=3")])
            place.session.put(place.key("key"), source, metadata, BINARY)
        kept = place.session.stat(place.key("key")).metadata == dict(metadata)
        assert kept == target.keeps_metadata
        assert kept or not place.cloud.keeps_metadata

    def test_content_type_comes_back_if_kept(self, target: Target, place: Place) -> None:
        place.put("key.html", b"content", content_type="text/x-test; charset=utf-8")
        found = place.session.stat(place.key("key.html")).content_type
        kept = found == "text/x-test; charset=utf-8"
        assert kept == target.keeps_content_type
        assert kept or not place.cloud.keeps_content_type

    def test_parts_are_declared(self, target: Target, place: Place) -> None:
        has_calls = type(place.session).begin is not Session.begin
        assert (place.cloud.parts is not None) == has_calls == target.parts

    # The file changes.

    @pytest.mark.parametrize("change", CHANGES)
    @pytest.mark.parametrize("size", [100, BLOCK_SIZE + 1])
    def test_a_changed_file_is_no_success(self, place: Place, change: Change, size: int) -> None:
        file = place.file(content_of(size))
        with ChangingSource(file, change, BEFORE_CHECK) as source, pytest.raises(SourceChanged):
            place.session.put(place.key("key"), source, NO_METADATA, BINARY)

    @pytest.mark.parametrize("change", [*CHANGES, break_down])
    @pytest.mark.parametrize("moment", MOMENTS)
    def test_a_change_midway_leaves_no_object(
        self, place: Place, change: Change, moment: str
    ) -> None:
        stored = put_while(place, change, moment)
        assert stored or place.is_empty()

    @pytest.mark.parametrize("change", [*CHANGES, break_down])
    def test_a_change_midway_leaves_the_object_before_whole(
        self, place: Place, change: Change
    ) -> None:
        place.put("key", b"before")
        stored = put_while(place, change, AFTER_CHECK)
        assert stored or place.read("key") == b"before"

    @pytest.mark.parametrize("change", CHANGES)
    def test_a_session_is_usable_after_a_change_midway(self, place: Place, change: Change) -> None:
        put_while(place, change, AFTER_CHECK, "changing")
        place.put("key", b"content")
        assert place.read("key") == b"content"

    # The bucket and the account.

    def test_prepare_says_nothing_of_a_bucket_that_is_there(
        self, target: Target, place: Place
    ) -> None:
        """But for what a service cannot be asked."""
        found = [place.cloud.prepare(create) for create in (False, True)]
        assert found == [Prepared(False, target.note), Prepared(False, target.note)]

    def test_a_missing_bucket_is_fatal(self, store: Store, no_bucket: str) -> None:
        with pytest.raises(NoBucket, match=no_bucket):
            store.cloud(no_bucket).prepare(False)

    def test_a_missing_bucket_is_created(
        self, target: Target, store: Store, no_bucket: str
    ) -> None:
        cloud = store.cloud(no_bucket)
        made = cloud.prepare(True)
        assert made.created
        assert no_bucket in made.note
        assert cloud.prepare(True) == Prepared(False, target.note)
        assert store.keys(no_bucket) == set()

    def test_a_created_bucket_is_private(
        self, store: Store, no_bucket: str, tmp_path: Path
    ) -> None:
        cloud = store.cloud(no_bucket)
        cloud.prepare(True)
        (tmp_path / "file").write_bytes(b"private")
        with closing(cloud.open()) as session, Source(str(tmp_path / "file")) as source:
            session.put("key", source, NO_METADATA, BINARY)
        assert store.is_private(no_bucket, "key")

    def test_a_put_into_a_missing_bucket(
        self, store: Store, no_bucket: str, tmp_path: Path
    ) -> None:
        (tmp_path / "file").write_bytes(b"content")
        with (
            closing(store.cloud(no_bucket).open()) as session,
            Source(str(tmp_path / "file")) as source,
            pytest.raises((Fatal, NotFound)),
        ):
            session.put("key", source, NO_METADATA, BINARY)

    def test_wrong_credentials_are_fatal(self, target: Target, place: Place) -> None:
        cloud = place.store.cloud(place.bucket, **target.wrong_credentials)
        with pytest.raises(Fatal) as caught:
            cloud.prepare(False)
        assert tells_no_secret(caught.value, target)

    def test_a_put_with_wrong_credentials_is_fatal(self, target: Target, place: Place) -> None:
        cloud = place.store.cloud(place.bucket, **target.wrong_credentials)
        with closing(cloud.open()) as session, pytest.raises(Fatal) as caught:
            place.put("key", b"content", session=session)
        assert tells_no_secret(caught.value, target)

    def test_a_service_that_works_gives_a_sign_of_life(self, place: Place) -> None:
        place.session.check(TIMEOUT)

    def test_a_refusal_is_a_sign_of_life(
        self, target: Target, store: Store, no_bucket: str
    ) -> None:
        variables = target.wrong_credentials
        with closing(store.cloud(no_bucket, **variables).open()) as session:
            session.check(TIMEOUT)

    # Sessions.

    def test_a_session_is_usable_after_a_failure(self, place: Place) -> None:
        with pytest.raises(NotFound):
            place.session.stat(place.key("key"))
        place.put("key", b"content")
        assert place.session.stat(place.key("key")).size == 7

    def test_two_sessions_are_independent(self, place: Place) -> None:
        def upload(number: int) -> None:
            session = place.cloud.open()
            for round_ in range(4):
                content = content_of(BLOCK_SIZE * round_ + number)
                place.put(f"{number}-{round_}", content, session=session)
                session.stat(place.key(f"{number}-{round_}"))
            session.close()

        greenlets = [gevent.spawn(upload, number) for number in (1, 2)]
        gevent.get_hub().loop.update_now()  # joinall counts from the last turn of the loop
        gevent.joinall(greenlets, timeout=2 * TIMEOUT, raise_error=True)
        for number in (1, 2):
            for round_ in range(4):
                expected = content_of(BLOCK_SIZE * round_ + number)
                assert place.read(f"{number}-{round_}") == expected

    def test_closing_twice_is_no_error(self, place: Place) -> None:
        place.put("key", b"content")
        place.session.close()
        place.session.close()

    def test_a_closed_session_connects_anew(self, place: Place) -> None:
        place.put("key", b"first")
        place.session.close()
        place.put("key", b"second")
        assert place.read("key") == b"second"

    def test_a_session_that_did_nothing_closes(self, place: Place) -> None:
        place.cloud.open().close()


class Upload:
    """A multipart upload of one file, in the making."""

    DESCRIBED = ([("mtime", "1.000000000")], "text/x-test")

    def __init__(self, place: Place, size: int, name: str = "key") -> None:
        rules = place.cloud.parts
        assert rules
        self.place = place
        self.content = content_of(size)
        self.key = place.key(name)
        self.source = Source(str(place.file(self.content, name)))
        self.session = place.session
        step = rules.size_for(size)
        self.spans = [range(start, min(start + step, size)) for start in range(0, size, step)]
        self.id = self.session.begin(self.key, *self.DESCRIBED)

    def put(self, number: int, session: Session | None = None) -> Part:
        """Stores the part ``number``."""
        span = self.spans[number - 1]
        put_part = (session or self.session).put_part
        return put_part(self.key, self.id, number, self.source, span.start, len(span))

    def put_all(self) -> list[Part]:
        """Stores all parts, in order."""
        return [self.put(number) for number in range(1, len(self.spans) + 1)]

    def complete(self, parts: Sequence[Part]) -> None:
        """Makes the object."""
        self.session.complete(self.key, self.id, parts, *self.DESCRIBED)

    def stored_parts(self) -> list[Part]:
        """What the service has of it."""
        step = len(self.spans[0])
        return self.session.stored_parts(self.key, self.id, self.source, step)

    def abort(self) -> None:
        """Gives up."""
        self.session.abort(self.key, self.id)


@pytest.fixture
def rules(place: Place) -> PartRules:
    assert place.cloud.parts
    return place.cloud.parts


@pytest.fixture
def upload(place: Place, rules: PartRules) -> Iterator[Upload]:
    """An upload of two parts, the second of one byte."""
    upload = Upload(place, rules.part_size + 1)
    yield upload
    upload.source.close()


class PartsSuite:
    """Rules for clouds that take large files in parts."""

    @pytest.mark.parametrize(
        "size",
        [
            lambda rules: rules.threshold + 1,
            lambda rules: 2 * rules.part_size,
            lambda rules: 2 * rules.part_size - 1,
            lambda rules: 100,
        ],
        ids=["threshold and a byte", "whole parts", "last part short", "one part"],
    )
    def test_the_bytes_read_back(
        self, place: Place, rules: PartRules, size: Callable[[PartRules], int]
    ) -> None:
        upload = Upload(place, size(rules))
        with upload.source:
            upload.complete(upload.put_all())
        assert place.read("key") == upload.content
        assert not place.store.uploads(place.bucket)

    def test_metadata_and_content_type_are_kept(self, place: Place, upload: Upload) -> None:
        upload.complete(upload.put_all())
        found = place.session.stat(upload.key)
        assert found[:3] == (len(upload.content), {"mtime": "1.000000000"}, "text/x-test")

    def test_a_part_says_what_it_is(self, upload: Upload) -> None:
        parts = upload.put_all()
        sizes = [len(span) for span in upload.spans]
        assert [(part.number, part.size) for part in parts] == list(enumerate(sizes, 1))
        upload.abort()

    def test_parts_come_in_any_order(self, place: Place, upload: Upload) -> None:
        second, first = upload.put(2), upload.put(1)
        upload.complete([first, second])
        assert place.read("key") == upload.content

    def test_parts_come_side_by_side_from_two_sessions(self, place: Place, upload: Upload) -> None:
        sessions = [place.cloud.open(), place.cloud.open()]
        greenlets = [gevent.spawn(upload.put, n, s) for n, s in enumerate(sessions, 1)]
        gevent.get_hub().loop.update_now()  # joinall counts from the last turn of the loop
        gevent.joinall(greenlets, timeout=2 * TIMEOUT, raise_error=True)
        upload.complete([greenlet.value for greenlet in greenlets])
        for session in sessions:
            session.close()
        assert place.read("key") == upload.content

    def test_a_part_is_sent_again(self, place: Place, upload: Upload) -> None:
        upload.put(1)
        upload.complete(upload.put_all())
        assert place.read("key") == upload.content

    def test_nothing_is_there_before_complete(self, place: Place, upload: Upload) -> None:
        upload.put_all()
        assert place.read("key") is None
        upload.abort()

    def test_an_object_is_overwritten_by_complete_alone(self, place: Place, upload: Upload) -> None:
        place.put("key", b"before")
        parts = upload.put_all()
        assert place.read("key") == b"before"
        upload.complete(parts)
        assert place.read("key") == upload.content

    def test_abort_leaves_nothing(self, place: Place, upload: Upload) -> None:
        upload.put(1)
        upload.abort()
        assert place.is_empty()

    def test_aborting_twice_is_no_error(self, upload: Upload) -> None:
        upload.abort()
        upload.abort()

    def test_completing_twice_is_no_error(self, place: Place, upload: Upload) -> None:
        parts = upload.put_all()
        upload.complete(parts)
        upload.complete(parts)
        assert place.read("key") == upload.content

    # What is right is NotFound, but moto and Ceph answer some of the next three with a 500.

    def test_completing_what_was_aborted_is_no_success(self, place: Place, upload: Upload) -> None:
        parts = upload.put_all()
        upload.abort()
        with pytest.raises((NotFound, Transient)):
            upload.complete(parts)
        assert place.is_empty()

    def test_completing_what_was_aborted_beside_another_object(
        self, place: Place, upload: Upload
    ) -> None:
        place.put("key", b"another")
        parts = upload.put_all()
        upload.abort()
        with pytest.raises((NotFound, Transient)):
            upload.complete(parts)
        assert place.read("key") == b"another"

    def test_a_part_of_what_was_aborted_is_no_success(self, place: Place, upload: Upload) -> None:
        upload.abort()
        with pytest.raises((NotFound, Transient)):
            upload.put(1)
        assert place.is_empty()

    @pytest.mark.parametrize("change", [*CHANGES, break_down])
    @pytest.mark.parametrize("moment", [BEFORE_CHECK, AFTER_CHECK])
    def test_a_change_midway_fails_the_part(
        self, place: Place, upload: Upload, change: Change, moment: str
    ) -> None:
        path = Path(upload.source.path)
        upload.source.close()
        upload.source = ChangingSource(path, change, moment)
        with pytest.raises((SourceChanged, Rejected)):
            upload.put(1)
        upload.abort()
        assert place.is_empty()

    def test_a_session_is_usable_after_a_failed_part(self, place: Place, upload: Upload) -> None:
        with pytest.raises(Failure):
            place.session.put_part(upload.key, "no-such-upload", 1, upload.source, 0, 100)
        upload.complete(upload.put_all())
        assert place.read("key") == upload.content

    # What an earlier run left behind.

    def test_an_upload_under_way_is_listed(self, place: Place, upload: Upload) -> None:
        found = list(place.session.uploads(place.key("")))
        assert [(row.key, row.upload_id) for row in found] == [(upload.key, upload.id)]
        upload.abort()

    def test_an_upload_says_when_it_was_begun(self, place: Place, upload: Upload) -> None:
        (found,) = place.session.uploads(place.key(""))
        assert found.begun == pytest.approx(time.time(), abs=60)
        upload.abort()

    def test_an_upload_of_an_odd_key_is_found_again(self, place: Place) -> None:
        """XML cannot hold its characters."""
        upload = Upload(place, 100, "a\x01 +%2B\x1fü")
        try:
            upload.put(1)
            assert [part.number for part in upload.stored_parts()] == [1]
            (found,) = place.session.uploads(place.key("a"))
            assert (found.key, found.upload_id) == (upload.key, upload.id)
        finally:
            upload.abort()
            upload.source.close()

    def test_uploads_of_other_keys_are_not_listed(self, place: Place, upload: Upload) -> None:
        assert list(place.session.uploads(place.key("another"))) == []
        upload.abort()

    def test_an_upload_that_is_over_is_not_listed(self, place: Place, upload: Upload) -> None:
        upload.complete(upload.put_all())
        assert list(place.session.uploads(place.key(""))) == []

    def test_stored_parts_are_the_parts_that_were_put(self, upload: Upload) -> None:
        parts = upload.put_all()
        assert upload.stored_parts() == parts
        upload.abort()

    def test_an_upload_is_completed_with_its_stored_parts(
        self, place: Place, upload: Upload
    ) -> None:
        upload.put(2)
        stored = upload.stored_parts()
        assert [part.number for part in stored] == [2]
        upload.complete([upload.put(1), *stored])
        assert place.read("key") == upload.content

    def test_a_stored_part_that_the_file_no_longer_has_is_left_out(self, upload: Upload) -> None:
        upload.put_all()
        with open(upload.source.path, "r+b") as file:
            file.write(b"other bytes")
        upload.source.close()
        upload.source = Source(upload.source.path)
        assert [part.number for part in upload.stored_parts()] == [2]
        upload.abort()

    def test_stored_parts_of_an_upload_that_is_gone(self, upload: Upload) -> None:
        upload.abort()
        with pytest.raises(NotFound):
            upload.stored_parts()


def listing(place: Place, prefix: str = "", after: str = "") -> list[Listed]:
    """The whole listing of the keys with ``prefix``, page by page."""
    found: list[Listed] = []
    start = ""
    while True:
        page = place.session.page(place.key(prefix), after and place.key(after), start)
        found += page.objects
        start = page.next
        if not start:
            return found


class CompareSuite:
    """Rules for clouds whose objects can be listed, deleted and described anew."""

    def test_an_empty_bucket_has_an_empty_listing(self, place: Place) -> None:
        assert listing(place) == []

    def test_a_listing_tells_key_size_and_etag(self, place: Place) -> None:
        place.put("key", b"12345")
        (found,) = listing(place)
        assert (found.key, found.size) == (place.key("key"), 5)
        assert found.etag == place.session.stat(place.key("key")).etag

    def test_put_returns_the_etag_of_the_listing_or_none(self, place: Place) -> None:
        with Source(str(place.file(b"content"))) as source:
            etag = place.session.put(place.key("key"), source, NO_METADATA, BINARY)
        assert etag in ("", listing(place)[0].etag)

    def test_a_listing_is_in_the_order_of_keys_whatever_they_are(
        self, target: Target, place: Place
    ) -> None:
        refused = {*target.refused_keys, "not UTF-8", *target.renamed_keys}
        names = [name for oddity, name in ODD_KEYS.items() if oddity not in refused]
        names += ["a", "a-b", "a.b", "a0", "ab", "b/c", "b.c", "b0c"]
        names = [name for name in names if name != "a" or target.provider != "local"]
        for name in names:
            place.put(name, b"odd")
        assert [found.key for found in listing(place)] == sorted(map(place.key, names))

    def test_a_listing_is_of_the_prefix_only(self, place: Place) -> None:
        for name in ("a/1", "a/b/2", "a0", "b"):
            place.put(name, b"content")
        assert [found.key for found in listing(place, "a/")] == [
            place.key("a/1"),
            place.key("a/b/2"),
        ]
        assert [found.key for found in listing(place, "a/b")] == [place.key("a/b/2")]

    @pytest.mark.parametrize("after", ["a", "a/1", "a/5", "a/b/9", "a0", "zz"])
    def test_a_listing_begins_after_a_key(self, place: Place, after: str) -> None:
        names = ["a/1", "a/b/2", "a/c", "a0", "b"]
        for name in names:
            place.put(name, b"content")
        assert [found.key for found in listing(place, "", after)] == [
            place.key(name) for name in names if name > after
        ]

    def test_deleted_objects_are_gone_and_no_others(self, place: Place) -> None:
        for name in ("d/a", "d/b c", "d/\u00fc&<", "other"):
            place.put(name, b"content")
        keys = [place.key(name) for name in ("d/a", "d/b c", "d/\u00fc&<")]
        assert place.session.delete(keys[: place.cloud.most_deleted]).failed == []
        for key in keys[place.cloud.most_deleted :]:
            assert place.session.delete([key]).failed == []
        assert place.store.keys(place.bucket) == {place.key("other")}

    def test_an_object_whose_name_xml_cannot_hold_is_deleted(self, place: Place) -> None:
        place.put("a\x01\x1fb", b"content")
        assert place.session.delete([place.key("a\x01\x1fb")]).failed == []
        assert place.is_empty()

    def test_deleting_what_is_not_there_is_no_error(self, place: Place) -> None:
        assert place.session.delete([place.key("missing")]) == Deletion([], 0)

    def test_an_object_is_described_anew(self, place: Place) -> None:
        place.put("a b+\u00fc", b"content")
        key = place.key("a b+\u00fc")
        with Source(str(place.file(b"content"))) as source:
            os.fchmod(source.fd, 0o600)
        with Source(source.path) as source:
            metadata = rclone(source)
        found = place.session.stat(key)
        etag = place.session.set_metadata(key, found, metadata, BINARY)
        told = place.session.stat(key)
        kept = place.cloud.kept(metadata)
        assert {name: told.metadata.get(name) for name in kept} == kept
        assert (told.etag, told.size) == (etag, found.size)
        assert place.read("a b+\u00fc") == b"content"

    def test_what_has_been_replaced_meanwhile_is_not_described(
        self, target: Target, place: Place
    ) -> None:
        place.put("key", b"content")
        with Source(str(place.file(b"content"))) as source:
            metadata = rclone(source)
        found = place.session.stat(place.key("key"))
        place.put("key", b"another")
        with pytest.raises(Rejected):
            place.session.set_metadata(place.key("key"), found, metadata, BINARY)
