"""Each fault alone, on each kind of request, once and on every attempt.

Hundreds of faults go through one run of the real command: the name of each file selects what
happens to it.  Faults that would disturb the others (fewer requests asked for, permission refused)
have runs of their own.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.command import (
    Finished,
    Running,
    arguments,
    environment,
    write,
)
from tests.end_to_end.fault_cases import (
    BUCKET,
    FINAL,
    HARMLESS,
    KINDS,
    PASSING,
    REFUSED,
    RETRIES,
    TIMEOUT,
    Case,
    cases,
    each_case,
)
from tests.hooks import small_parts
from tests.servers.faults import MIB
from tests.servers.s3 import FakeS3

CONCURRENCY = 64
PATIENCE = 240.0
"""Seconds that a run through all faults may take: each of them is met in two rounds."""


GROUPS = {
    "passing": cases(HARMLESS + PASSING, ("put", "create", "part")),
    "passing at the end": cases(HARMLESS + PASSING, ("complete", "head", "abort")),
    "refused": cases(REFUSED),
    "final": cases(FINAL),
}
ALL = [case for group in GROUPS.values() for case in group]


class Matrix(NamedTuple):
    """All cases, run."""

    servers: dict[str, FakeS3]
    runs: dict[str, Finished]
    root: Path

    def group(self, case: Case) -> str:
        return next(name for name, group in GROUPS.items() if case in group)

    def server(self, case: Case) -> FakeS3:
        return self.servers[self.group(case)]

    def reason(self, case: Case) -> str | None:
        return self.runs[self.group(case)].reasons().get(case.key)


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Matrix]:
    """All groups at the same time: most of it is waiting."""
    base = tmp_path_factory.mktemp("matrix")
    env = small_parts(base / "hooks")
    servers = {name: FakeS3(buckets=[BUCKET], least_part=MIB) for name in GROUPS}
    with contextlib.ExitStack() as stack:
        running = {}
        for name, group in GROUPS.items():
            server = stack.enter_context(servers[name])
            for case in group:
                case.write_file(base / name)
                case.arrange(server)
            more: list[object] = ["--json", "--retries", RETRIES, "--concurrency", CONCURRENCY]
            if name == "final":
                # A refusal before the first success of a process may end the run, or say that the
                # service knows no checksums.  Files go before directories.
                for number in range(CONCURRENCY):
                    write(base / name, f"first{number}")
                more += ["--processes", 1]
            else:
                more += ["--timeout", TIMEOUT]
            told = arguments(base / name, server.endpoint, BUCKET, *more)
            running[name] = stack.enter_context(Running(*told, env=environment(server, **env)))
        runs = {name: each.finish(PATIENCE) for name, each in running.items()}
    yield Matrix(servers, runs, base)


@pytest.mark.parametrize("group", GROUPS)
def test_a_run_through_all_faults_says_that_files_are_missing(matrix: Matrix, group: str) -> None:
    finished = matrix.runs[group]
    summary = finished.summary
    assert finished.code == 1
    assert summary["files"] == summary["uploaded"] + summary["failed"]
    assert summary["failed"] == len(finished.reasons())


@pytest.mark.parametrize("group", GROUPS)
def test_a_run_through_all_faults_has_no_unexpected_error(matrix: Matrix, group: str) -> None:
    finished = matrix.runs[group]
    assert not [reason for reason in finished.reasons().values() if "unexpected" in reason]
    assert finished.complaints == []


@pytest.mark.parametrize("group", GROUPS)
def test_a_run_through_all_faults_stores_no_wrong_object(matrix: Matrix, group: str) -> None:
    finished, server = matrix.runs[group], matrix.servers[group]
    wrong = server.wrong(BUCKET, matrix.root / group)
    # What was damaged and reported as failed is no lie.
    assert not wrong.keys() - finished.reasons().keys(), wrong


@each_case(ALL, arrives=True)
def test_a_file_arrives_in_spite_of(matrix: Matrix, case: Case) -> None:
    assert matrix.reason(case) is None
    assert case.key in matrix.server(case).objects(BUCKET)


@each_case(ALL, arrives=False)
def test_a_file_is_reported_with_the_reason_after(matrix: Matrix, case: Case) -> None:
    assert matrix.reason(case)


@pytest.mark.parametrize("group", GROUPS)
def test_no_request_is_sent_again_for_ever(matrix: Matrix, group: str) -> None:
    # A file that is started anew, or gets another round, has all attempts again; a kept connection
    # that proves to be stale costs one more that nobody counts.
    most = 4 * (1 + RETRIES) * (1 + RETRIES)
    server = matrix.servers[group]
    asked = [seen for seen in server.seen if seen.kind in KINDS]  # of the bucket, for many files
    often = Counter((seen.kind, seen.key, seen.part) for seen in asked)
    assert {request: count for request, count in often.items() if count > most} == {}


@pytest.mark.parametrize("group", GROUPS)
def test_each_fault_has_happened(matrix: Matrix, group: str) -> None:
    happened = {(seen.kind, seen.key, seen.word) for seen in matrix.servers[group].seen}
    assert {(case.kind, case.key, case.word) for case in GROUPS[group]} <= happened


@pytest.mark.parametrize("group", GROUPS)
def test_parts_are_left_behind_for_the_next_run_only(matrix: Matrix, group: str) -> None:
    # Nothing can be done about a server that does not let go; and an upload whose id never arrived
    # cannot be aborted, but it has no parts.
    held = {case.key for case in GROUPS[group] if case.kind == "abort"}
    left = {upload.key for upload in matrix.servers[group].open_uploads(BUCKET) if upload.parts}
    passing = set() if group == "final" else matrix.runs[group].reasons().keys()
    assert left - held <= passing
