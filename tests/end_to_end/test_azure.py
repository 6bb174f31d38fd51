"""The command against Azure's emulator."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import trustme
from azure.storage.blob import (
    BlobServiceClient,
    ContainerSasPermissions,
    generate_container_sas,
)

from tests.command import (
    MIB,
    Running,
    arguments,
    environment,
    names_below,
    new_bucket,
    random_bytes,
    run,
    small_files,
    stopped,
    write,
)
from tests.end_to_end.world import UsageError, end, kill
from tests.hooks import around_calls, on_import
from tests.servers import require
from tests.servers.azurite import Azurite

LARGE = 5 * 8 * MIB + 1
"""Six blocks."""
DIE = """
import os, time

def act(when, nth):
    if (when, nth) != ("after", 4):
        return
    try:
        os.close(os.open({marker!r}, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return  # once is enough
    time.sleep(60)
"""
"""Whoever has stored three blocks waits to be killed; the first goes twice, as Azurite checks no
CRC."""


THREE_A_PAGE = """
def change(module):
    whole = module.ContainerRequests.exchange

    def exchange(self, method, key="", query=(), headers=(), body=None):
        if ("comp", "list") in query:
            query = [*query, ("maxresults", "3")]
        return whole(self, method, key, query, headers, body)

    module.ContainerRequests.exchange = exchange
"""


def options(source: Path, server: Azurite, container: str, *more: object) -> list[object]:
    given = arguments(source, server.endpoint, container, "--provider", "azure_blobs")
    return [*given, "--processes", 1, *more]


def assert_all_there(client: BlobServiceClient, container: str, source: Path) -> None:
    """Each file is a blob with the same bytes, size and time; nothing else is there."""
    found = client.get_container_client(container)
    names = set(found.list_blob_names())
    assert names == names_below(source)
    for name in names:
        blob, path = found.get_blob_client(name), source / name
        assert blob.download_blob().readall() == path.read_bytes()
        metadata = blob.get_blob_properties().metadata
        seconds, nanoseconds = divmod(path.stat().st_mtime_ns, 10**9)
        assert metadata["mtime"] == f"{seconds}.{nanoseconds:09}"
        assert metadata["size"] == str(path.stat().st_size)


def test_command_uploads_small_and_large_files(azurite: Azurite, data: Path) -> None:
    small_files(data, 60)
    write(data, "empty", b"")
    write(data, "odd näme +%20&.txt")
    write(data, "large.bin", random_bytes(17 * MIB, 1))
    container = new_bucket()
    env = environment(**azurite.variables)
    finished = run(*options(data, azurite, container, "--json"), env=env)
    assert (finished.code, finished.stderr) == (0, "")
    assert_all_there(azurite.client(), container, data)
    notes = [event["text"] for event in finished.events if event["event"] == "note"]
    assert f"created container {container}, private to its account" in notes


def test_command_sends_what_has_changed_and_deletes_what_has_no_file(
    azurite: Azurite, data: Path
) -> None:
    names = small_files(data, 30)
    write(data, "large.bin", random_bytes(17 * MIB, 1))
    container = new_bucket()
    mirror = ["--json", "--skip", "unchanged", "--delete"]
    command = options(data, azurite, container, *mirror)
    env = environment(**azurite.variables)
    assert run(*command, env=env).summary["uploaded"] == 31
    assert run(*command, env=env).summary["skipped"] == 31
    write(data, names[0], b"changed")
    (data / names[1]).chmod(0o600)
    for name in names[2:5]:
        (data / name).unlink()
    finished = run(*command, env=env)
    counts = {kind: finished.summary[kind] for kind in ("uploaded", "updated", "deleted")}
    assert counts == {"uploaded": 1, "updated": 1, "deleted": 3}
    assert_all_there(azurite.client(), container, data)
    blob = azurite.client().get_blob_client(container, names[1])
    assert blob.get_blob_properties().metadata["mode"] == "0100600"
    azurite.client().get_blob_client(container, "another").upload_blob(b"")
    verified = run("verify", *options(data, azurite, container), env=env)
    assert (verified.code, "extra: another" in verified.stdout) == (1, True)


def test_command_compares_with_all_pages_of_a_listing(
    azurite: Azurite, data: Path, tmp_path: Path
) -> None:
    names = small_files(data, 12)
    odd = [" first", "last ", "a%41b", "a+b", "a&b<c>", "\u00e4/\u00f6", "A", "a", "x  y"]
    for name in odd:
        write(data, name)
    container = new_bucket()
    hook = on_import(tmp_path, "providers.azure_blobs.session", THREE_A_PAGE)
    env = environment(**azurite.variables, **hook)
    command = options(data, azurite, container, "--json", "--skip", "unchanged", "--delete")
    assert run(*command, env=env).summary["uploaded"] == len(names) + len(odd)
    assert run(*command, env=env).summary["skipped"] == len(names) + len(odd)
    for name in odd[:6:2]:
        (data / name).unlink()
    assert run(*command, env=env).summary["deleted"] == 3
    assert_all_there(azurite.client(), container, data)


def test_command_takes_a_connection_string(azurite: Azurite, data: Path) -> None:
    write(data, "file")
    container = new_bucket()
    text = f"DefaultEndpointsProtocol=http;AccountName={azurite.account};"
    text += f"AccountKey={azurite.key};BlobEndpoint={azurite.endpoint};"
    env = environment(AZURE_STORAGE_CONNECTION_STRING=text)
    common = ["--src", data, "--bucket", container, "--provider", "azure_blobs"]
    assert run(*common, env=env).code == 0
    assert_all_there(azurite.client(), container, data)


def test_command_goes_on_with_the_blocks_that_are_there(
    azurite: Azurite, data: Path, tmp_path: Path
) -> None:
    """Killed by -9; what the next run commits was stored by the one before, but for the rest."""
    container = new_bucket()
    write(data, "large", random_bytes(LARGE, 2))
    marker = tmp_path / "reached"
    session = ("providers.azure_blobs.session", "AzureSession", "put_part")
    hook = around_calls(tmp_path / "hooks", *session, DIE.format(marker=str(marker)))
    env = environment(**azurite.variables, **hook)
    journal = ("--journal", tmp_path / "journal" / "j.sqlite", "--concurrency", 1)
    with Running(*options(data, azurite, container, *journal), env=env) as running:
        running.wait_until(marker.exists)
        running.workers()
        kill(running.pid)
        for pid in running.survivors():
            kill(pid)
        end(running)
    blob = azurite.client().get_blob_client(container, "large")
    _, uncommitted = blob.get_block_list("uncommitted")
    before = {block.id for block in uncommitted}
    assert len(before) == 3
    finished = run(*options(data, azurite, container, *journal, "--json"), env=env)
    assert (finished.code, finished.stderr) == (0, "")
    committed, uncommitted = blob.get_block_list("all")
    assert uncommitted == []
    assert before <= {block.id for block in committed}
    assert_all_there(azurite.client(), container, data)


def test_command_keeps_out_of_a_public_container(azurite: Azurite, data: Path) -> None:
    container = new_bucket()
    client = azurite.client().create_container(container, public_access="container")
    small_files(data, 20)
    line = stopped(*options(data, azurite, container), env=environment(**azurite.variables))
    assert f"container {container} is public" in line
    assert list(client.list_blob_names()) == []


def test_command_goes_to_a_public_container_when_it_is_told_so(
    azurite: Azurite, data: Path
) -> None:
    container = new_bucket()
    client = azurite.client().create_container(container, public_access="blob")
    write(data, "file")
    given = options(data, azurite, container, "--allow-public", "--json")
    finished = run(*given, env=environment(**azurite.variables))
    assert (finished.code, list(client.list_blob_names())) == (0, ["file"])
    notes = [event["text"] for event in finished.events if event["event"] == "note"]
    assert f"container {container} is public: anybody can read its blobs" in notes


def test_command_carries_further_metadata(azurite: Azurite, data: Path) -> None:
    container = new_bucket()
    write(data, "file")
    given = options(data, azurite, container, "--metadata", "Origin_1=Tape 7")
    assert run(*given, env=environment(**azurite.variables)).code == 0
    blob = azurite.client().get_blob_client(container, "file")
    assert blob.get_blob_properties().metadata["origin_1"] == "Tape 7"


@pytest.mark.parametrize("more", [("--metadata", "a-b=c"), ("--posix-metadata", "datasync")])
def test_command_stops_for_metadata_that_azure_cannot_have(
    usage_error: UsageError, data: Path, more: tuple[str, str]
) -> None:
    """Before anything is asked of anybody."""
    common = ["--src", data, "--bucket", "container", "--provider", "azure_blobs"]
    line = usage_error(*common, *more)
    assert line.startswith(f"uploader: {more[0]}")
    assert "on Azure" in line


def test_command_stops_for_a_wrong_key(azurite: Azurite, data: Path) -> None:
    small_files(data, 20)
    env = environment(AZURE_STORAGE_ACCOUNT=azurite.account, AZURE_STORAGE_KEY="aHVudGVyMg==")
    line = stopped(*options(data, azurite, "container"), env=env)
    assert "AuthenticationFailed" in line
    assert "aHVudGVyMg" not in line


def test_command_says_that_it_has_no_credentials(azurite: Azurite, data: Path) -> None:
    write(data, "file")
    line = stopped(*options(data, azurite, "container"), env=environment())
    assert "AZURE_STORAGE_CONNECTION_STRING" in line


# Over TLS, with a SAS.


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[trustme.CA, Path]:
    made = trustme.CA()
    path = tmp_path_factory.mktemp("authority") / "ca.pem"
    made.cert_pem.write_to_path(str(path))
    return made, path


@pytest.fixture(scope="module")
def secure(authority: tuple[trustme.CA, Path]) -> Iterator[Azurite]:
    require(Azurite)
    with Azurite(authority[0]) as server:
        yield server


QUOTING = """
    def change(module):
        def put(self, *arguments):
            raise RuntimeError(f"{vars(self.driver.service)}")
        module.AzureSession.put = put
"""


class Spied:
    """A run with a SAS over TLS, and all places where the secret could have got to."""

    def __init__(self, server: Azurite, ca_file: Path, base: Path) -> None:
        self.container, self.data = new_bucket(), base / "data"
        self.client = server.client(connection_verify=str(ca_file))
        self.client.create_container(self.container)
        small_files(self.data, 300)
        write(self.data, "large", random_bytes(17 * MIB, 3))
        write(self.data, b"bad \xff")
        token = generate_container_sas(
            server.account,
            self.container,
            server.key,
            permission=ContainerSasPermissions(write=True, create=True, delete=True, read=True),
            expiry=datetime.now(timezone.utc) + timedelta(hours=1),
        )
        self.signature = token.partition("sig=")[2].partition("&")[0]
        home = base / "home"
        home.mkdir()
        sas = {"AZURE_STORAGE_ACCOUNT": server.account, "AZURE_STORAGE_SAS_TOKEN": token}
        env = environment(HOME=str(home), **sas)
        more = ("--ca-bundle", ca_file, "--debug", "--verbose")
        with Running(*options(self.data, server, self.container, *more), env=env) as running:
            running.wait_until(lambda: "uploaded  folder" in running.stdout())
            pids = [running.pid, *running.fork_server(), *running.workers()]
            self.commands = "".join(Path(f"/proc/{pid}/cmdline").read_text() for pid in pids)
            variables = "".join(Path(f"/proc/{pid}/environ").read_text() for pid in pids)
            self.finished = running.finish()
        # What the user has set is where the user has set it.
        self.environment = variables.replace(token, "")
        self.output = self.finished.stdout + self.finished.stderr
        # Once more: as JSON, and with an error that nobody expected.
        hook = on_import(base / "hooks", "providers.azure_blobs.session", QUOTING)
        given = options(self.data, server, self.container, "--json", *more, "--restart")
        failed = run(*given, env={**env, **hook})
        assert "Traceback" in failed.stderr
        self.output += failed.stdout + failed.stderr
        files = [path.read_bytes() for path in home.rglob("*") if path.is_file()]
        assert files, "the list of failed files at least"
        self.home = b"".join(files).decode("latin-1")


@pytest.fixture(scope="module")
def spied(
    secure: Azurite, authority: tuple[trustme.CA, Path], tmp_path_factory: pytest.TempPathFactory
) -> Spied:
    return Spied(secure, authority[1], tmp_path_factory.mktemp("spied"))


def test_command_uploads_with_a_sas_over_tls(spied: Spied) -> None:
    assert spied.finished.code == 1  # one file's name is not UTF-8
    os.unlink(os.fsencode(spied.data) + b"/bad \xff")
    assert_all_there(spied.client, spied.container, spied.data)


@pytest.mark.parametrize("place", ["commands", "environment", "output", "home"])
def test_command_keeps_the_sas_out_of(spied: Spied, place: str) -> None:
    text: Any = getattr(spied, place)
    assert len(spied.signature) > 20
    assert spied.signature not in text
    assert "sig=" not in text


def test_command_trusts_anybody_when_it_is_told_so(secure: Azurite, data: Path) -> None:
    write(data, "file")
    given = options(data, secure, new_bucket(), "--no-verify-ssl")
    assert run(*given, env=environment(**secure.variables)).code == 0


def test_command_does_not_trust_another_authority(secure: Azurite, data: Path) -> None:
    write(data, "file")
    line = stopped(*options(data, secure, "container"), env=environment(**secure.variables))
    assert "certificate" in line
