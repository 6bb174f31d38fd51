"""Where credentials come from, and where secrets never go."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.command import (
    KEYS,
    Running,
    arguments,
    environment,
    keys,
    new_bucket,
    pids_below,
    run,
    small_files,
    stopped,
    write,
)
from tests.end_to_end.credential_sources import SOURCE_SECRET, SOURCES, Prepare
from tests.hooks import on_import
from tests.servers.ceph import CephRGW
from tests.servers.issuer import (
    CONTAINER_TOKEN,
    IDENTITY_TOKEN,
    INSTANCE_TOKEN,
    SSO_TOKEN,
    Issuer,
)
from tests.servers.recorder import Recorder
from tests.servers.s3 import FakeS3, Seen


class Spied(NamedTuple):
    """All places where a secret could have got to in a run."""

    commands: str
    output: str
    home: str


@pytest.fixture(scope="module")
def spied(ceph: CephRGW, tmp_path_factory: pytest.TempPathFactory) -> Spied:
    base = tmp_path_factory.mktemp("spied")
    home, source = base / "home", base / "data"
    home.mkdir()
    small_files(source, 1000)
    write(source, b"bad \xff")
    options = arguments(source, ceph.endpoint, new_bucket(), "--debug", "--verbose")
    commands = ""
    env = environment(ceph, HOME=str(home), AWS_SESSION_TOKEN="")
    with Running(*options, env=env) as running:
        running.wait_until(lambda: "uploaded  folder" in running.stdout())
        for pid in (running.pid, *running.workers()):
            commands += Path(f"/proc/{pid}/cmdline").read_text()
        finished = running.finish()
    assert finished.code == 1
    files = [path.read_bytes() for path in home.rglob("*") if path.is_file()]
    assert files, "the list of failed files at least"
    return Spied(commands, finished.stdout + finished.stderr, b"".join(files).decode("latin-1"))


@pytest.mark.parametrize("place", Spied._fields)
def test_command_keeps_the_secret_key_out_of(spied: Spied, ceph: CephRGW, place: str) -> None:
    assert ceph.secret_key not in getattr(spied, place)


def test_command_keeps_a_refused_secret_to_itself(ceph: CephRGW, data: Path) -> None:
    write(data, "a")
    env = environment(ceph, AWS_SECRET_ACCESS_KEY="no-such-secret", AWS_SESSION_TOKEN="no-token")
    options = arguments(data, ceph.endpoint, new_bucket(), "--debug", "--verbose")
    finished = run(*options, env=env)
    assert finished.code == 3
    assert not re.search("no-such-secret|no-token", finished.stdout + finished.stderr)


class Traces(NamedTuple):
    """What a run with secrets from elsewhere leaves and shows."""

    secrets: set[str]
    places: dict[str, str]
    """The text of each place."""


def processes_of(running: Running) -> Iterator[Path]:
    """Where /proc tells of each process of a run."""
    for pid in (running.pid, *pids_below(running.pid)):
        yield Path(f"/proc/{pid}")


def traces(source: Prepare, data: Path, tmp_path: Path, *options: str) -> Traces:
    """Of a run in which files fail, and a worker meets an error that nobody expected."""
    small_files(data, 60)
    write(data, b"bad \xff")
    code = """
        def change(module):
            def put(self, *arguments):
                service = self.driver.service
                raise RuntimeError(f"{vars(service)} {service.credentials()}")
            module.S3Session.put = put
    """
    hook = on_import(tmp_path / "hooks", "providers.s3.session", code) if not options else {}
    commands = environments = ""
    with Issuer() as issuer, FakeS3(buckets=["bucket"]) as server:

        def look(when: str, seen: Seen) -> None:
            server.service.users = issuer.secrets

        server.hook = look
        server.script("put", "*", "delay:0.2...")
        server.script("put", "folder0/00000.txt", "403...")
        given = source(issuer)
        told = arguments(data, server.endpoint, "bucket", "--debug", "--verbose", *options)
        with Running(*told, env=environment(**given, **hook)) as running:
            while running.process.poll() is None:
                for process in processes_of(running):
                    with contextlib.suppress(OSError):
                        commands += (process / "cmdline").read_text()
                        environments += (process / "environ").read_text()
                time.sleep(0.02)
            finished = running.finish()
        assert issuer.issued
        secrets = {*SECRETS, *issuer.secrets.values(), *(it.token for it in issuer.issued)}
    for value in given.values():  # what the user has set is where the user has set it
        environments = environments.replace(value, "")
    assert "uploader.py" in commands
    assert "_uploader" in commands, "a worker"
    home = Path(os.environ["HOME"])
    files = [it for it in home.rglob("*") if it.is_file() and home / ".aws" not in it.parents]
    left = b"".join(path.read_bytes() for path in files).decode("latin-1")
    output = finished.stdout + finished.stderr
    places = {"arguments": commands, "environment": environments, "output": output, "files": left}
    return Traces(secrets, places)


SECRETS = {SOURCE_SECRET, CONTAINER_TOKEN, IDENTITY_TOKEN, INSTANCE_TOKEN, SSO_TOKEN}


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.__name__)
@pytest.mark.parametrize("options", [(), ("--json",)], ids=["traceback", "json"])
def test_secrets_from_elsewhere_leave_no_trace(
    data: Path, tmp_path: Path, source: Prepare, options: tuple[str, ...]
) -> None:
    found = traces(source, data, tmp_path, *options)
    if not options:
        assert "Traceback" in found.places["output"]
    for place, text in found.places.items():
        seen = [secret for secret in found.secrets if secret in text]
        assert not seen, f"{place} shows {seen}"


def write_profile(server: CephRGW, name: str, *, config: str = "") -> None:
    """A profile in ~/.aws; ``config`` goes to its section of the configuration file."""
    folder = Path(os.environ["HOME"], ".aws")
    folder.mkdir()
    (folder / "credentials").write_text(
        "[default]\naws_access_key_id = wrong\naws_secret_access_key = wrong\n"
        f"[{name}]\naws_access_key_id = {server.access_key}\n"
        f"aws_secret_access_key = {server.secret_key}\n"
    )
    (folder / "config").write_text(f"[profile {name}]\n{config}\n")


def test_command_profile_gives_the_credentials(ceph: CephRGW, data: Path) -> None:
    write_profile(ceph, "tester")
    bucket = new_bucket()
    write(data, "a")
    options = arguments(data, ceph.endpoint, bucket, "--profile", "tester")
    assert run(*options, env=environment()).code == 0
    assert keys(ceph, bucket) == ["a"]


def test_command_takes_the_profile_from_the_environment(ceph: CephRGW, data: Path) -> None:
    write_profile(ceph, "tester")
    bucket = new_bucket()
    write(data, "a")
    env = environment(AWS_PROFILE="tester")
    assert run(*arguments(data, ceph.endpoint, bucket), env=env).code == 0
    assert keys(ceph, bucket) == ["a"]


def test_command_takes_the_default_profile_when_nothing_is_said(ceph: CephRGW, data: Path) -> None:
    write_profile(ceph, "tester")
    write(data, "a")
    finished = run(*arguments(data, ceph.endpoint, new_bucket()), env=environment())
    assert finished.code == 3  # its keys are wrong
    assert "InvalidAccessKeyId" in finished.stderr


def test_command_profile_gives_the_endpoint(ceph: CephRGW, data: Path) -> None:
    write_profile(ceph, "tester", config=f"endpoint_url = {ceph.endpoint}")
    bucket = new_bucket()
    write(data, "a")
    options = ["--src", data, "--bucket", bucket, "--profile", "tester"]
    assert run(*options, env=environment()).code == 0
    assert keys(ceph, bucket) == ["a"]


def test_command_profile_gives_the_region(ceph: CephRGW, data: Path) -> None:
    write_profile(ceph, "tester", config="region = eu-north-1")
    write(data, "a")
    with Recorder() as recorder:
        run(*arguments(data, recorder.endpoint, "b", "--profile", "tester"), env=environment())
    assert "/eu-north-1/s3/aws4_request" in recorder.asked[0]


def test_command_region_is_what_it_signs_for(data: Path) -> None:
    write(data, "a")
    with Recorder() as recorder:
        options = arguments(data, recorder.endpoint, "b", "--region", "eu-south-2")
        run(*options, env=environment(**KEYS, AWS_REGION="us-west-1"))
    assert "/eu-south-2/s3/aws4_request" in recorder.asked[0]


def test_command_profile_that_does_not_exist_stops_the_run(ceph: CephRGW, data: Path) -> None:
    write(data, "a")
    options = arguments(data, ceph.endpoint, "bucket", "--profile", "nobody")
    assert "nobody" in stopped(*options, env=environment(ceph))
