"""What happens to the journal during and between runs."""

from __future__ import annotations

import shutil
from collections import Counter

from tests.command import (
    Finished,
    halted,
    needs_root,
    random_bytes,
    shell,
    without_privileges,
)
from tests.end_to_end.world import (
    BUCKET,
    Before,
    World,
    assert_the_next_run_finishes,
    cut_short,
)


def assert_refused(finished: Finished, *words: str) -> None:
    """Exit 3, one line, and nothing uploaded."""
    assert finished.code == 3
    (line,) = finished.complaints
    assert all(word in line for word in words), line
    assert '"uploaded"' not in finished.stdout.replace('"uploaded": 0', "")


def fits(size: str) -> list[str]:
    """A wrapper: the journal lies on a disk of its own, which is copied to ``kept`` at the end."""
    script = (
        'place=$1 kept=$2; shift 2; mkdir -p "$place" "$kept"\n'
        f'mount -t tmpfs -o size={size} none "$place"\n'
        'code=0; "$@" || code=$?\n'
        'cp "$place"/* "$kept"; exit $code'
    )
    return shell(script)


def test_a_disk_that_is_full_stops_the_run_and_loses_nothing(world: World) -> None:
    needs_root()
    place, kept = world.journal.parent, world.journal.parent.with_name("kept")
    names = world.fill(files=400, large=1)
    wrapper = ["unshare", "--mount", *fits("136k"), str(place), str(kept)]
    finished = world.run(wrapper=wrapper)
    assert finished.code == 3, finished.stdout
    (line,) = finished.complaints
    assert str(world.journal) in line and "full" in line
    summary = finished.summary
    assert summary["files"] == summary["uploaded"] + summary["failed"]
    for path in kept.iterdir():
        shutil.copy(path, place)
    world.settle()
    told = set(finished.paths("uploaded"))
    before = Before(world.recorded(), told, Counter(world.server.stored))
    assert 0 < len(told) == summary["uploaded"] < len(names)
    assert_the_next_run_finishes(world, names, before)


def test_a_truncated_journal_stops_the_next_run(world: World) -> None:
    names = cut_short(world)
    world.recorded()  # whoever reads it last moves the log into it
    whole = world.journal.read_bytes()
    world.journal.write_bytes(whole[: len(whole) // 2])
    assert_refused(world.run(), str(world.journal))
    world.journal.write_bytes(whole)
    assert world.run().code == 0
    world.assert_all_there(names)


def test_a_journal_of_noise_stops_the_next_run(world: World) -> None:
    names = cut_short(world)
    world.recorded()
    whole = world.journal.read_bytes()
    world.journal.write_bytes(random_bytes(len(whole), "noise"))
    assert_refused(world.run(), str(world.journal))
    world.journal.write_bytes(whole)
    assert world.run().code == 0
    world.assert_all_there(names)


def test_a_journal_that_is_deleted_in_mid_run_stops_it(world: World) -> None:
    """With it goes the memory of the uploads under way: they have to be asked for."""
    names = world.fill(files=200)
    with world.start() as running:
        world.uploaded_until(running, 10)
        world.journal.unlink()
        finished = running.finish()
    assert finished.code == 3
    (line,) = finished.complaints
    assert "was removed while it was in use" in line
    summary = finished.summary
    assert summary["files"] == summary["uploaded"] + summary["failed"]
    assert set(finished.paths("uploaded")) <= set(world.server.objects(BUCKET))
    world.settle()
    assert world.run("--abort-stale").code == 0
    world.assert_all_there(names)


def test_a_journal_that_cannot_be_written_stops_the_next_run(world: World) -> None:
    names = cut_short(world)
    world.recorded()
    world.journal.chmod(0o400)
    assert_refused(world.run(wrapper=without_privileges()), "Permission denied")
    world.journal.chmod(0o600)
    assert world.run().code == 0
    world.assert_all_there(names)


def test_a_second_run_stops_and_the_first_goes_on(world: World) -> None:
    names = world.fill(files=200)
    with world.start() as running:
        world.uploaded_until(running, 5)
        with halted([running.pid]):
            assert_refused(world.run(), "another run is using the journal")
        finished = running.finish()
    assert (finished.code, finished.stderr) == (0, "")
    world.assert_all_there(names)
    assert max(world.server.stored.values()) == 1
