"""Clocks that are off, credentials that expire."""

from __future__ import annotations

import os
import shlex
import time
from pathlib import Path

import pytest

from tests.command import (
    arguments,
    environment,
    run,
    small_files,
    write,
)
from tests.end_to_end.fault_cases import (
    BUCKET,
)
from tests.servers.s3 import FakeS3, Seen


def test_a_clock_that_is_hours_off_is_corrected(tmp_path: Path) -> None:
    names = small_files(tmp_path, 300)
    with FakeS3(buckets=[BUCKET]) as server:
        server.service.clock_offset, server.service.longest_skew = 7200.0, 900.0
        options = ("--processes", 2, "--retries", 3, "--quiet")
        told = arguments(tmp_path, server.endpoint, BUCKET, *options)
        finished = run(*told, env=environment(server))
        assert (finished.code, finished.stderr) == (0, "")
        assert server.objects(BUCKET).keys() == set(names)


def test_a_clock_that_stays_wrong_ends_the_run(tmp_path: Path) -> None:
    small_files(tmp_path, 20)
    with FakeS3(buckets=[BUCKET]) as server:
        # No Date that it gives is ever near what it wants.
        server.service.longest_skew = -1.0
        told = arguments(tmp_path, server.endpoint, BUCKET, "--retries", 3)
        finished = run(*told, env=environment(server))
        assert finished.code == 3
        assert "RequestTimeTooSkewed" in finished.stderr


@pytest.mark.parametrize(
    "minutes",
    [
        9,
        11,  # while one greenlet asks for new ones, the others are given the old
    ],
)
def test_credentials_that_expire_in_mid_run_are_renewed(tmp_path: Path, minutes: int) -> None:
    # botocore renews them from 15 minutes before on, and waits for that from 10 minutes before on.
    names = small_files(tmp_path / "data", 200)
    current = tmp_path / "current"

    def issue(number: int) -> None:
        end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 60 * minutes))
        text = (
            f'{{"Version": 1, "AccessKeyId": "key-{number}", "SecretAccessKey": "s-{number}", '
            f'"SessionToken": "token-{number}", "Expiration": "{end}"}}'
        )
        (tmp_path / "next").write_text(text)
        os.replace(tmp_path / "next", current)

    def hook(when: str, seen: Seen) -> None:
        if when == "after" and server.stored.total() == 100 and not server.service.expired:
            issue(2)
            server.service.expired.add("key-1")

    issue(1)
    text = f"[default]\ncredential_process = /bin/cat {shlex.quote(str(current))}\n"
    config = write(tmp_path, "config", text.encode())
    with FakeS3(buckets=[BUCKET]) as server:
        server.service.users = {"key-1": "s-1", "key-2": "s-2"}
        server.hook = hook
        bare = {**environment(), "AWS_CONFIG_FILE": config, "AWS_REGION": "us-east-1"}
        told = arguments(tmp_path / "data", server.endpoint, BUCKET, "--retries", 1)
        assert run(*told, env=bare).code == 0
        stored = server.objects(BUCKET)
        assert stored.keys() == set(names)
        assert {it.signer.access_key for it in stored.values()} == {"key-1", "key-2"}
