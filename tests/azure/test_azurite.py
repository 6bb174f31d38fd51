"""Azure as Microsoft's emulator and library see it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import (
    AccountSasPermissions,
    ContainerSasPermissions,
    ResourceTypes,
    generate_account_sas,
    generate_container_sas,
)

import providers
from providers.base import CloudSettings, Part, Session
from providers.errors import Denied, Fatal, NotFound, Rejected
from providers.source import Source
from tests.servers.azurite import Azurite

METADATA = [("mode", "0100644"), ("mtime", "1.000000000")]
TEXT = "text/plain"


class Here:
    """A new container, a session on it, and what Microsoft's library makes of it."""

    def __init__(self, server: Azurite, container: Any, directory: Path) -> None:
        self.server = server
        self.container = container
        self._directory = directory

    def cloud(self, **settings: Any) -> Any:
        name = self.container.container_name
        return providers.load(CloudSettings("azure_blobs", name, self.server.endpoint, **settings))

    def file(self, content: bytes) -> Source:
        path = self._directory / "file"
        path.write_bytes(content)
        return Source(str(path))

    def put(self, session: Session, key: str = "key", content: bytes = b"content") -> None:
        with self.file(content) as source:
            session.put(key, source, METADATA, TEXT)

    def put_part(self, session: Session, key: str, upload_id: str) -> Part:
        with self.file(b"content") as source:
            return session.put_part(key, upload_id, 1, source, 0, source.size)


@pytest.fixture
def here(azurite: Azurite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Here]:
    for name, value in azurite.variables.items():
        monkeypatch.setenv(name, value)
    with azurite.client() as client:
        container = client.create_container(f"test-{time.time_ns()}")
        yield Here(azurite, container, tmp_path)
        container.delete_container()


@pytest.fixture
def session(here: Here) -> Iterator[Session]:
    with closing(here.cloud().open()) as session:
        yield session


def in_an_hour() -> datetime:
    return datetime.now(timezone.utc) + timedelta(hours=1)


def test_a_blob_has_its_md5_metadata_and_type(here: Here, session: Session) -> None:
    here.put(session)
    found = here.container.get_blob_client("key").get_blob_properties()
    assert found.metadata == dict(METADATA)
    assert found.content_settings.content_type == TEXT
    assert found.content_settings.content_md5.hex() == "9a0364b9e99bb480dd25e1f0284c8555"


@pytest.mark.parametrize("key", ["key", "a +%2B&<ü>/🎉"])
def test_stored_blocks_are_found_again(here: Here, session: Session, key: str) -> None:
    upload_id = session.begin(key, METADATA, TEXT)
    part = here.put_part(session, key, upload_id)
    with here.file(b"content") as source:
        assert session.stored_parts(key, upload_id, source, source.size) == [part]


def test_what_is_left_of_one_upload_goes_with_the_next(here: Here, session: Session) -> None:
    first, second = (session.begin("key", METADATA, TEXT) for _ in range(2))
    here.put_part(session, "key", first)
    session.abort("key", first)
    part = here.put_part(session, "key", second)
    session.complete("key", second, [part], METADATA, TEXT)
    committed, uncommitted = here.container.get_blob_client("key").get_block_list("all")
    assert (len(committed), uncommitted) == (1, [])


def test_an_abort_leaves_the_blob_beside_the_blocks(here: Here, session: Session) -> None:
    here.put(session, content=b"before")
    upload_id = session.begin("key", METADATA, TEXT)
    here.put_part(session, "key", upload_id)
    session.abort("key", upload_id)
    assert here.container.download_blob("key").readall() == b"before"


def test_two_uploads_of_a_key_do_not_mix(here: Here, session: Session) -> None:
    """The one that ends first wins; the other begins again."""
    first, second = (session.begin("key", METADATA, TEXT) for _ in range(2))
    parts = [here.put_part(session, "key", upload_id) for upload_id in (first, second)]
    session.complete("key", second, parts[1:], METADATA, TEXT)
    assert here.container.download_blob("key").readall() == b"content"
    with pytest.raises(NotFound):
        session.complete("key", first, parts[:1], METADATA, TEXT)


def test_blocks_of_another_program_are_left_and_told_of(here: Here, session: Session) -> None:
    here.container.get_blob_client("key").stage_block("short", b"theirs")
    upload_id = session.begin("key", METADATA, TEXT)
    with pytest.raises(Rejected, match="another program"):
        here.put_part(session, "key", upload_id)


def test_blocks_that_azcopy_left_are_no_obstacle(here: Here, session: Session) -> None:
    here.container.get_blob_client("key").stage_block("x" * 48, b"theirs")
    upload_id = session.begin("key", METADATA, TEXT)
    part = here.put_part(session, "key", upload_id)
    session.complete("key", upload_id, [part], METADATA, TEXT)
    assert here.container.download_blob("key").readall() == b"content"


def test_a_public_container_stops_the_run(here: Here) -> None:
    here.container.set_container_access_policy({}, public_access="blob")
    with pytest.raises(Fatal, match="is public"):
        here.cloud().prepare(True)
    assert "is public" in here.cloud(allow_public=True).prepare(True).note


def use_sas(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    monkeypatch.delenv("AZURE_STORAGE_KEY")
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", token)


def test_an_account_sas_is_enough(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    token = generate_account_sas(
        here.server.account,
        here.server.key,
        ResourceTypes(container=True, object=True),
        AccountSasPermissions(read=True, write=True, delete=True, list=True, create=True),
        in_an_hour(),
    )
    use_sas(monkeypatch, token)
    cloud = here.cloud()
    assert cloud.prepare(False).note == ""
    with closing(cloud.open()) as session:
        here.put(session, "a +%/ü")
        upload_id = session.begin("key", METADATA, TEXT)
        part = here.put_part(session, "key", upload_id)
        with here.file(b"content") as source:
            assert session.stored_parts("key", upload_id, source, source.size) == [part]
        container = session.driver.get_container(here.container.container_name)
        assert [found.name for found in container.iterate_objects()] == ["a +%/ü"]


def container_sas(here: Here, **permissions: bool) -> str:
    token: str = generate_container_sas(
        here.server.account,
        here.container.container_name,
        here.server.key,
        permission=ContainerSasPermissions(**permissions),
        expiry=in_an_hour(),
    )
    return token


def test_a_sas_that_may_only_write_will_do(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    use_sas(monkeypatch, container_sas(here, write=True, create=True))
    cloud = here.cloud()
    created, note = cloud.prepare(True)
    assert not created
    assert "could not be checked" in note
    with closing(cloud.open()) as session:
        here.put(session)
        upload_id = session.begin("large", METADATA, TEXT)
        part = here.put_part(session, "large", upload_id)
        session.complete("large", upload_id, [part], METADATA, TEXT)
    assert sorted(here.container.list_blob_names()) == ["key", "large"]


def test_a_sas_that_may_not_write_is_denied(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    use_sas(monkeypatch, container_sas(here, read=True))
    with closing(here.cloud().open()) as session, pytest.raises(Denied):
        here.put(session)


def test_a_sas_that_has_ended_stops_the_run(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    token = generate_account_sas(
        here.server.account,
        here.server.key,
        ResourceTypes(container=True, object=True),
        AccountSasPermissions(read=True, write=True),
        datetime.now(timezone.utc) - timedelta(hours=1),
    )
    use_sas(monkeypatch, token)
    with pytest.raises(Fatal) as caught:
        here.cloud().prepare(True)
    assert "sig" not in str(caught.value).replace("signature", "")
