"""Every place where AWS's own tools look for credentials serves a whole run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.command import arguments, environment, run, small_files
from tests.end_to_end.credential_sources import (
    SOURCES,
    Prepare,
    instance,
    role,
    sso,
    web_identity,
)
from tests.servers.issuer import Issuer
from tests.servers.s3 import FakeS3, Seen


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.__name__)
def test_no_file_fails_when_credentials_live_for_seconds(data: Path, source: Prepare) -> None:
    """Every request is signed by keys that were issued, and the last of them by later ones."""
    names = small_files(data, 40)
    with Issuer(life=4.0) as issuer, FakeS3(buckets=["bucket"]) as server:

        def look(when: str, seen: Seen) -> None:
            server.service.users = issuer.secrets
            server.service.expired = issuer.expired

        server.hook = look
        server.script("put", "*", "delay:0.6...")
        options = ("--processes", 2, "--concurrency", 4, "--retries", 2, "--quiet")
        told = arguments(data, server.endpoint, "bucket", *options)
        finished = run(*told, env=environment(**source(issuer)))
        assert (finished.code, finished.stderr) == (0, "")
        stored = server.objects("bucket")
        assert stored.keys() == set(names)
        assert len({it.signer.access_key for it in stored.values()}) > 2


def test_a_metadata_service_that_stumbles_in_one_worker_stops_no_run(data: Path) -> None:
    names = small_files(data, 10)
    with Issuer(stumbles=1) as issuer, FakeS3(buckets=["bucket"]) as server:

        def look(when: str, seen: Seen) -> None:
            server.service.users = issuer.secrets

        server.hook = look
        told = arguments(data, server.endpoint, "bucket", "--processes", 2, "--quiet")
        finished = run(*told, env=environment(**instance(issuer)))
        assert (finished.code, finished.stderr) == (0, "")
        assert server.objects("bucket").keys() == set(names)


def test_keys_of_the_environment_and_their_token(data: Path) -> None:
    names = small_files(data, 3)
    with FakeS3(buckets=["bucket"]) as server:
        env = environment(server, AWS_SESSION_TOKEN="token")
        assert run(*arguments(data, server.endpoint, "bucket"), env=env).code == 0
        assert server.objects("bucket").keys() == set(names)


@pytest.mark.parametrize("source", [role, web_identity, sso], ids=lambda source: source.__name__)
def test_a_run_with_new_temporary_keys_resumes(data: Path, source: Prepare) -> None:
    """On a compatible server, too: the keys are others, their owner is the same."""
    names = small_files(data, 3)
    (data / "link").symlink_to("nothing")  # fails, and keeps the journal
    with Issuer() as issuer, FakeS3(buckets=["bucket"]) as server:

        def look(when: str, seen: Seen) -> None:
            server.service.users = issuer.secrets

        server.hook = look
        told = arguments(data, server.endpoint, "bucket", "--json", "--processes", 1)
        env = environment(**source(issuer))
        assert run(*told, env=env).summary["uploaded"] == len(names)
        summary = run(*told, env=env).summary
        assert (summary["uploaded"], summary["skipped"]) == (0, len(names))
        assert len(issuer.issued) >= 2
