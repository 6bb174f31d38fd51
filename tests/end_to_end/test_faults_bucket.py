"""Each fault while the bucket is looked for and made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest

import providers
from _uploader.transfer.retry import RetryPolicy
from providers.base import CloudSettings
from providers.errors import Failure
from tests.command import (
    arguments,
    environment,
    run,
    small_files,
)
from tests.end_to_end.fault_cases import (
    FINAL,
    HARMLESS,
    PASSING,
    REFUSED,
    RETRIES,
    TIMEOUT,
)
from tests.servers.s3 import FakeS3


@pytest.fixture(scope="module")
def buckets() -> Iterator[dict[tuple[str, str, bool], str]]:
    """(kind, word, always) -> how preparing a bucket failed; empty when it did not."""
    with pytest.MonkeyPatch.context() as patch, FakeS3() as server:
        for name, value in environment(server).items():
            patch.setenv(name, value)
        outcomes: dict[tuple[str, str, bool], str] = {}

        def prepare(case: tuple[str, str, bool], name: str) -> None:
            settings = CloudSettings("s3", name, server.endpoint, timeout=TIMEOUT)
            policy, cloud = RetryPolicy(RETRIES), providers.load(settings)
            for attempt in range(10):
                try:
                    cloud.prepare(True)
                except Failure as failure:
                    pause = policy.delay(failure, attempt, 0.5)
                    if pause is None:
                        outcomes[case] = str(failure)
                        return
                    gevent.sleep(pause)
                else:
                    there = name in server.buckets
                    outcomes[case] = "" if there else "said to be there, and is not"
                    return

        tasks: list[gevent.Greenlet[..., None]] = []
        for kind in ("head_bucket", "create_bucket"):
            for word in HARMLESS + PASSING + REFUSED + FINAL:
                for always in (False, True):
                    name = f"bucket-{len(tasks)}"
                    server.script(kind, name, word + "..." * always)
                    tasks.append(gevent.spawn(prepare, (kind, word, always), name))
        # joinall counts from the loop's last turn, which may be another test's, minutes ago.
        gevent.get_hub().loop.update_now()
        gevent.joinall(tasks, timeout=60, raise_error=True)
        yield outcomes


LIES = {("head_bucket", "blank"), ("head_bucket", "error200"), ("create_bucket", "blank")}
"""Answers that cannot be told from good ones; the first upload will show."""
UNLIKELY = {("head_bucket", "409"), ("create_bucket", "404")}
"""Answers that no service gives to these requests, or without a body that says that they pass."""


@pytest.mark.parametrize("word", HARMLESS + PASSING + REFUSED)
@pytest.mark.parametrize("kind", ["head_bucket", "create_bucket"])
def test_a_bucket_is_made_in_spite_of(
    buckets: dict[tuple[str, str, bool], str], kind: str, word: str
) -> None:
    if (kind, word) in LIES | UNLIKELY:
        return
    assert buckets[kind, word, False] == ""


@pytest.mark.parametrize("word", ["500", "503", "reset", "stall", "garbage", "delay:0.7,400"])
@pytest.mark.parametrize("kind", ["head_bucket", "create_bucket"])
def test_a_bucket_that_cannot_be_made_is_told(
    buckets: dict[tuple[str, str, bool], str], kind: str, word: str
) -> None:
    assert buckets[kind, word, True]


@pytest.mark.parametrize("question", ["acl", "policy_status"])
def test_command_goes_on_when_a_question_about_privacy_fails_for_ever(
    data: Path, question: str
) -> None:
    names = small_files(data, 3)
    with FakeS3(buckets=["bucket"]) as server:
        server.script(question, "bucket", "500...")
        told = arguments(data, server.endpoint, "bucket", "--retries", 1, "--json")
        finished = run(*told, env=environment(server))
        assert finished.code == 0
        (note,) = [event["text"] for event in finished.events if event["event"] == "note"]
        assert note.startswith("whether the bucket is public is not known: its ")
        assert server.objects("bucket").keys() == set(names)
