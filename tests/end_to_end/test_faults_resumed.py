"""Each fault of the list of parts that an earlier run has sent."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.command import (
    Finished,
    arguments,
    environment,
    run,
)
from tests.end_to_end.fault_cases import (
    BUCKET,
    FINAL,
    HARMLESS,
    PASSING,
    REFUSED,
    RETRIES,
    TIMEOUT,
    UNUSABLE,
    Case,
    cases,
    each_case,
)
from tests.hooks import small_parts
from tests.servers.faults import MIB
from tests.servers.s3 import FakeS3

RESUMED = cases(HARMLESS + PASSING + REFUSED + FINAL, ("list_parts",))


class Resumed(NamedTuple):
    """The second of two runs: the first has left one part of each file."""

    server: FakeS3
    run: Finished
    root: Path


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory) -> Resumed:
    base = tmp_path_factory.mktemp("resumed")
    root = base / "data"
    with FakeS3(buckets=[BUCKET], least_part=MIB) as server:
        for case in RESUMED:
            case.write_file(root)
            case.arrange(server)
        more: list[object] = ["--json", "--timeout", TIMEOUT, "--retries", RETRIES]
        more += ["--concurrency", 64, "--journal", base / "journal.sqlite"]
        told = arguments(root, server.endpoint, BUCKET, *more)
        env = environment(server, **small_parts(base))
        assert run(*told, env=env).reasons().keys() == {case.key for case in RESUMED}
        uploads = server.open_uploads(BUCKET)
        assert {upload.key for upload in uploads} == {case.key for case in RESUMED}
        for upload in uploads:
            del upload.parts[2], upload.parts[3]
        finished = run(*told, env=env)
    return Resumed(server, finished, root)


@each_case(RESUMED, arrives=True)
def test_a_resumed_file_arrives_in_spite_of(resumed: Resumed, case: Case) -> None:
    assert resumed.run.reasons().get(case.key) is None
    assert case.key in resumed.server.objects(BUCKET)


@each_case(RESUMED, arrives=False)
def test_a_resumed_file_is_reported_with_the_reason_after(resumed: Resumed, case: Case) -> None:
    assert resumed.run.reasons().get(case.key)
    assert case.key not in resumed.server.objects(BUCKET)


def test_a_run_through_all_faults_of_list_parts_tells_the_truth(resumed: Resumed) -> None:
    summary = resumed.run.summary
    assert (resumed.run.code, resumed.run.complaints) == (1, [])
    assert summary["files"] == summary["uploaded"] + summary["failed"]
    assert summary["failed"] == len(resumed.run.reasons())
    assert resumed.server.wrong(BUCKET, resumed.root) == {}


def test_each_fault_of_list_parts_has_happened(resumed: Resumed) -> None:
    happened = {(seen.kind, seen.key, seen.word) for seen in resumed.server.seen}
    assert {(case.kind, case.key, case.word) for case in RESUMED} <= happened


def test_list_parts_is_not_sent_again_for_ever(resumed: Resumed) -> None:
    requests = resumed.server.requests
    # A kept connection that proves to be stale costs one more that nobody counts.
    assert max(requests["list_parts", case.key] for case in RESUMED) <= 4 * (1 + RETRIES)


def test_parts_that_list_parts_names_are_not_sent_again(resumed: Resumed) -> None:
    usable = {case.key for case in RESUMED if case.arrives() and case.word not in UNUSABLE}
    sent = Counter((seen.key, seen.part) for seen in resumed.server.seen if seen.kind == "part")
    assert {key: sent[key, 1] for key in usable if sent[key, 1] != 1} == {}


def test_only_what_list_parts_never_told_is_left_for_the_next_run(resumed: Resumed) -> None:
    left = sorted(upload.key for upload in resumed.server.open_uploads(BUCKET))
    assert left == sorted(case.key for case in RESUMED if not case.arrives())
