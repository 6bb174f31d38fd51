"""A record speaks of one place: another destination, or a bucket made anew, gets all files."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from tests.command import KEYS, Finished, Running, arguments, environment, names_below, run, write
from tests.servers.s3 import FakeS3


@pytest.fixture
def files(data: Path) -> list[str]:
    for name in ("a", "folder/b"):
        write(data, name)
    return ["a", "folder/b"]


def fake(*buckets: str) -> FakeS3:
    server = FakeS3(buckets=buckets)
    server.service.users[KEYS["AWS_ACCESS_KEY_ID"]] = KEYS["AWS_SECRET_ACCESS_KEY"]
    return server


def upload(*options: object, data: Path, env: dict[str, str], **settings: Any) -> Finished:
    return run("--src", data, "--bucket", "bucket", "--json", *options, env=env, **settings)


def with_unreadable(data: Path) -> None:
    """One entry that always fails keeps the journal."""
    (data / "link").symlink_to("nothing")


def test_profile_with_another_endpoint_is_another_destination(
    data: Path, files: list[str], tmp_path: Path
) -> None:
    with_unreadable(data)
    with fake("bucket") as first, fake("bucket") as second:
        config = tmp_path / "config"
        config.write_text(
            f"[profile a]\nendpoint_url = {first.endpoint}\n"
            f"[profile b]\nendpoint_url = {second.endpoint}\n"
        )
        env = environment(AWS_CONFIG_FILE=str(config), **KEYS)
        for profile, server in (("a", first), ("b", second)):
            finished = upload(data=data, env={**env, "AWS_PROFILE": profile})
            assert finished.summary["uploaded"] == 2
            assert set(server.objects("bucket")) == set(files)


def test_same_destination_is_gone_on_with(data: Path, files: list[str]) -> None:
    with_unreadable(data)
    with fake("bucket") as server:
        options = ("--endpoint-url", server.endpoint)
        env = environment(**KEYS)
        assert upload(*options, data=data, env=env).summary["uploaded"] == 2
        summary = upload(*options, data=data, env=env).summary
    assert (summary["uploaded"], summary["skipped"]) == (0, 2)


def test_other_credentials_at_a_compatible_server_are_another_destination(
    data: Path, files: list[str]
) -> None:
    """There a bucket's name may belong to each tenant."""
    with_unreadable(data)
    with fake("bucket") as server:
        options = ("--endpoint-url", server.endpoint)
        for key in ("one", "other"):
            server.service.users[key] = KEYS["AWS_SECRET_ACCESS_KEY"]
            env = environment(**{**KEYS, "AWS_ACCESS_KEY_ID": key})
            assert upload(*options, data=data, env=env).summary["uploaded"] == 2


def test_relative_store_in_another_directory_is_another_destination(
    data: Path, files: list[str], tmp_path: Path
) -> None:
    with_unreadable(data)
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        options = ("--provider", "local", "--endpoint-url", "buckets")
        finished = upload(*options, data=data, env=environment(), cwd=tmp_path / name)
        assert finished.summary["uploaded"] == 2
        assert names_below(tmp_path / name / "buckets" / "bucket") >= set(files)


@pytest.mark.parametrize("provider", ["local", "s3"])
def test_bucket_that_this_run_made_holds_nothing(
    data: Path, files: list[str], tmp_path: Path, provider: str
) -> None:
    with_unreadable(data)
    with fake() as server:
        endpoint = tmp_path / "store" if provider == "local" else server.endpoint
        options = ("--provider", provider, "--endpoint-url", endpoint)
        env = environment(**KEYS)
        assert upload(*options, data=data, env=env).summary["uploaded"] == 2
        server.buckets.clear()
        if provider == "local":
            (tmp_path / "store" / "bucket").rename(tmp_path / "elsewhere")
        summary = upload(*options, data=data, env=env).summary
    assert (summary["uploaded"], summary["skipped"]) == (2, 0)


def test_run_that_is_killed_while_it_makes_the_bucket_leaves_no_records_of_another_one(
    data: Path, files: list[str]
) -> None:
    """The next run finds a bucket, as empty as it was made."""
    with_unreadable(data)
    with fake() as server:
        options = ("--endpoint-url", server.endpoint)
        env = environment(**KEYS)
        assert upload(*options, data=data, env=env).summary["uploaded"] == 2
        server.buckets.clear()
        server.script("create_bucket", "bucket", "mute...")
        with Running(*arguments(data, server.endpoint, "bucket"), env=env) as running:
            running.wait_until(lambda: "bucket" in server.buckets)
            running.signal(signal.SIGKILL)
        summary = upload(*options, data=data, env=env).summary
    assert (summary["uploaded"], summary["skipped"]) == (2, 0)


def test_file_whose_attributes_have_changed_is_sent_again(
    data: Path, files: list[str], tmp_path: Path
) -> None:
    with_unreadable(data)
    options = ("--provider", "local", "--endpoint-url", tmp_path / "store")
    assert upload(*options, data=data, env=environment()).summary["uploaded"] == 2
    (data / "a").chmod(0o600)
    summary = upload(*options, data=data, env=environment()).summary
    assert (summary["uploaded"], summary["skipped"]) == (1, 1)
