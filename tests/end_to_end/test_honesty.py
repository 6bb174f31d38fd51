"""Random trees, random faults: the run says of each file what became of it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.command import (
    Finished,
    arguments,
    environment,
    random_bytes,
    run,
    write,
)
from tests.hooks import small_parts
from tests.servers.faults import MIB, REFUSALS, STORM
from tests.servers.s3 import FakeS3

BUCKET = "bucket"

NAMES = st.lists(
    st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1)
    .map(lambda text: text[:30])
    .filter(lambda text: text not in (".", "..")),
    min_size=1,
    max_size=3,
).map("/".join)
SIZES = st.sampled_from([0, 1, 4096, 65_536, 65_537, 262_144, 262_145, 2 * MIB, 2 * MIB + 1])
FINAL = ("403", "413")
WORDS = st.sampled_from((*STORM, *REFUSALS, *FINAL, "ok", "stall", "mute"))
SCRIPTS = st.tuples(
    st.sampled_from(["put", "create", "part", "complete", "abort", "head", "*"]),
    st.lists(WORDS, min_size=1, max_size=3).map(" ".join),
    st.sampled_from(["", "", "..."]),
)
FILE = st.tuples(SIZES, st.lists(SCRIPTS, max_size=2))


def plant(root: Path, tree: dict[str, tuple[int, list[tuple[str, str, str]]]]) -> set[str]:
    """Writes those files of a tree that a file system takes; returns their names."""
    planted = set()
    for name, (size, _) in tree.items():
        try:
            write(root, name, random_bytes(size, name))
        except OSError:  # a step too long, or a file where a folder is needed
            continue
        planted.add(name)
    return planted


@settings(
    max_examples=int(os.environ.get("STORM_EXAMPLES", "10")),
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(tree=st.dictionaries(NAMES, FILE, max_size=12), mode=st.sampled_from(["new", "old", "kms"]))
def test_the_end_is_honest(
    tree: dict[str, tuple[int, list[tuple[str, str, str]]]], mode: str
) -> None:
    """Invariant 5: every file ends as uploaded, skipped or failed, the counts add up, the exit code
    says it; and what is said to be uploaded is on the server with the right bytes."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory) / "data"
        root.mkdir()
        names = plant(root, tree)
        with FakeS3(mode=mode, buckets=[BUCKET], least_part=MIB) as server:
            for name, (_, scripts) in tree.items():
                for kind, words, endless in scripts:
                    if mode == "kms":  # which says nothing about what it stores
                        words = words.replace("rot", "ok")
                    server.script(kind, name.replace("[", "?"), words + endless)
            told = arguments(root, server.endpoint, BUCKET, "--json", "--no-create")
            env = environment(server, **small_parts(Path(directory)))
            finished = run(*told, "--timeout", 1, "--retries", 2, "--concurrency", 16, env=env)
        check_honesty(finished, server, names, root)


def check_honesty(finished: Finished, server: FakeS3, names: set[str], root: Path) -> None:
    summary, failed = finished.summary, finished.reasons()
    uploaded, skipped = set(finished.paths("uploaded")), finished.reasons("skipped")
    assert summary["files"] == summary["uploaded"] + summary["skipped"] + summary["failed"]
    assert (summary["uploaded"], summary["skipped"]) == (len(uploaded), len(skipped))
    assert summary["failed"] == len(failed)
    assert all(failed.values())
    assert not uploaded & failed.keys()
    assert uploaded <= server.objects(BUCKET).keys()
    assert not server.wrong(BUCKET, root).keys() & uploaded
    if finished.code in (0, 1):
        assert uploaded | failed.keys() | skipped.keys() == names
        assert finished.code == bool(failed)
    else:
        # Permission refused before anything was stored ends the run.
        assert (finished.code, len(finished.complaints)) == (3, 1)
