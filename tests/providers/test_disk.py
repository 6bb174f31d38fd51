"""Disk operations run where they cost least, and never hold up what could go on."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import gevent
import pytest
from gevent.event import Event

from bench.slowdisk import SlowDisk
from providers import disk as disk_module
from providers.disk import MEMORY, PAUSE, SLOW, THREADS, Disk, DiskPace
from providers.errors import Rejected
from providers.source import BLOCK_SIZE, Leased
from tests.servers.lease import lease

CACHED = 20e-6
"""Seconds that a small file takes on the page cache."""
TRIP = 60e-6
"""Seconds that a thread costs."""

Durations = Iterator[float]


def always(seconds: float) -> Durations:
    while True:
        yield seconds


def preempted(chance: float, seconds: float, rng: random.Random) -> Durations:
    """A fast disk, and a machine that takes the CPU away now and then."""
    while True:
        yield CACHED + (seconds if rng.random() < chance else 0)


class Simulated:
    """A loop that does one operation after the other, by its own clock."""

    def __init__(self) -> None:
        self.pace = DiskPace()
        self.now = 0.0
        self.direct = 0
        """Operations on the loop so far."""
        self.held_up = 0.0
        """Seconds that the loop has stood still."""

    def run(self, operations: int, durations: Durations) -> Simulated:
        pace = self.pace
        for seconds, _ in zip(durations, range(operations), strict=False):
            if pace.direct:
                self.now += seconds
                self.direct += 1
                self.held_up += seconds
                pace.took(seconds, self.now)
            else:
                self.now += TRIP
                pace.took_in_thread(seconds, self.now)
        return self


class TestPace:
    def test_a_fast_disk_never_needs_a_thread(self) -> None:
        assert Simulated().run(100_000, always(CACHED)).direct == 100_000

    @pytest.mark.parametrize("seconds", [0.001, 0.004, 0.02])
    def test_a_slow_disk_holds_the_loop_up_for_a_moment_only(self, seconds: float) -> None:
        assert Simulated().run(10_000, always(seconds)).held_up < 2 * MEMORY * SLOW

    def test_a_disk_that_hangs_is_tried_by_threads_only(self) -> None:
        """However long it hangs, no operation on the loop meets it again."""
        loop = Simulated().run(100, always(30.0))
        assert loop.direct == 1

    def test_one_pause_of_the_process_is_no_slow_disk(self) -> None:
        assert Simulated().run(1, always(0.016)).pace.direct

    @pytest.mark.parametrize("seed", range(20))
    def test_a_busy_machine_is_no_slow_disk(self, seed: int) -> None:
        """That takes the CPU away for 4 ms in one of a thousand operations, of 20 us each."""
        rng = random.Random(seed)
        loop = Simulated().run(50_000, preempted(0.001, 0.004, rng))
        assert loop.direct > 0.9 * 50_000

    def test_a_disk_that_got_fast_is_used_directly_again(self) -> None:
        loop = Simulated().run(1000, always(0.004))
        resting = round(PAUSE / TRIP)
        before = loop.direct
        loop.run(resting + 1000, always(CACHED))
        assert loop.direct - before >= 999

    def test_a_trial_of_a_disk_that_is_still_slow_costs_one_operation(self) -> None:
        loop = Simulated().run(1000, always(0.004))
        loop.now += PAUSE
        loop.run(1, always(CACHED))
        assert loop.pace.direct
        before = loop.direct
        loop.run(1000, always(0.004))
        assert loop.direct - before == 1

    @pytest.mark.parametrize("seed", range(5))
    def test_a_cache_that_misses_now_and_then_holds_the_loop_up_little(self, seed: int) -> None:
        """One file in five lies on the disk: threads, but for a trial a second."""
        rng = random.Random(seed)
        loop = Simulated().run(100_000, preempted(0.2, 0.005, rng))
        assert loop.held_up < 0.05 * loop.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    return path


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def slow(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> Disk:
    """A disk that was seen to be slow."""
    monkeypatch.setattr(disk_module, "SLOW", -1.0)
    disk.run(lambda: None)
    return disk


def native_thread() -> int:
    return threading.get_native_id()


class TestRun:
    def test_a_fast_disk_is_used_on_the_loop(self, disk: Disk) -> None:
        assert disk.run(native_thread) == native_thread()

    def test_a_slow_disk_is_used_in_threads(self, slow: Disk) -> None:
        assert slow.run(native_thread) != native_thread()

    def test_what_always_waits_does_so_in_a_thread(self, disk: Disk) -> None:
        assert disk.wait(native_thread) != native_thread()

    @pytest.mark.parametrize("how", [Disk.run, Disk.wait])
    @pytest.mark.parametrize("state", ["disk", "slow"])
    def test_an_exception_comes_out_as_raised(
        self,
        how: Callable[[Disk, Callable[[], None]], None],
        state: str,
        request: pytest.FixtureRequest,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        failure = Rejected("reason")

        def fail() -> None:
            raise failure

        with pytest.raises(Rejected) as caught:
            how(request.getfixturevalue(state), fail)
        assert caught.value is failure
        assert capfd.readouterr() == ("", "")

    @pytest.mark.parametrize(("computing", "direct"), [(True, True), (False, False)])
    def test_computing_is_no_waiting(
        self, disk: Disk, monkeypatch: pytest.MonkeyPatch, computing: bool, direct: bool
    ) -> None:
        """The checksum of a part takes some 10 ms."""
        now = cpu = 0.0

        def operation() -> None:
            nonlocal now, cpu
            now += 0.1
            cpu += 0.1 if computing else 0.0

        monkeypatch.setattr(disk_module, "monotonic", lambda: now)
        monkeypatch.setattr(disk_module, "thread_time", lambda: cpu)
        disk.run(operation)
        assert (disk.run(native_thread) == native_thread()) is direct

    def test_other_greenlets_go_on_meanwhile(self, slow: Disk) -> None:
        """And as many operations overlap as there are threads."""
        barrier = threading.Barrier(THREADS + 1)
        waiting = [gevent.spawn(slow.run, partial(barrier.wait, 30)) for _ in range(THREADS)]
        slow_one = Disk()
        slow_one.wait(partial(barrier.wait, 30))
        gevent.joinall(waiting, raise_error=True)

    def test_each_thread_has_its_own_loop(self, slow: Disk) -> None:
        """A program that imported ours may upload from several."""
        slow.wait(native_thread)
        seen: list[int] = []
        other = threading.Thread(target=lambda: seen.append(slow.wait(native_thread)))
        other.start()
        other.join()
        assert len(seen) == 1


class TestOpen:
    @pytest.mark.parametrize("state", ["disk", "slow"])
    def test_a_small_file_needs_the_disk_no_more(
        self, state: str, path: Path, request: pytest.FixtureRequest
    ) -> None:
        with request.getfixturevalue(state).open(str(path)) as source:
            path.unlink()
            assert source.read(0, source.size) == b"content"
            source.check_unchanged()

    @pytest.mark.parametrize("state", ["disk", "slow"])
    def test_a_large_file_is_read_as_the_disk_wants_it(
        self, state: str, path: Path, request: pytest.FixtureRequest
    ) -> None:
        path.write_bytes(bytes(BLOCK_SIZE + 1))
        with request.getfixturevalue(state).open(str(path)) as source:
            on_the_loop = source.run(native_thread) == native_thread()
            assert on_the_loop == (state == "disk")

    @pytest.mark.parametrize("state", ["disk", "slow"])
    def test_a_missing_file_is_a_failure(
        self, state: str, tmp_path: Path, request: pytest.FixtureRequest
    ) -> None:
        with pytest.raises(Rejected, match="^vanished after the scan$"):
            request.getfixturevalue(state).open(str(tmp_path / "missing"))

    def test_a_slow_volume_gets_many_requests_at_once(self, disk: Disk, tmp_path: Path) -> None:
        if reason := SlowDisk.missing():
            pytest.skip(reason)
        (tmp_path / "files").mkdir()
        names = [str(number) for number in range(10 * THREADS)]
        for name in names:
            (tmp_path / "files" / name).write_bytes(name.encode())
        with SlowDisk(tmp_path / "files", delay=0.02) as volume:

            def read() -> None:
                while names:
                    name = names.pop()
                    with disk.open(str(volume.path / name)) as source:
                        assert source.read(0, source.size) == name.encode()

            gevent.joinall([gevent.spawn(read) for _ in range(THREADS)], raise_error=True)
            assert volume.requests().most_at_once > THREADS / 2

    def test_the_end_of_a_lease_is_waited_for(self, disk: Disk, path: Path) -> None:
        with lease(path, yields=True), disk.open(str(path)) as source:
            assert source.read(0, source.size) == b"content"

    def test_other_greenlets_go_on_while_a_lease_is_waited_for(
        self, disk: Disk, path: Path
    ) -> None:
        with lease(path):
            waiting = gevent.spawn(disk.open, str(path))
            gone_on = Event()
            gevent.spawn(gone_on.set)
            assert gone_on.wait(30)
            assert not waiting.ready()
        assert waiting.get(timeout=30).size == 7

    def test_a_lease_is_not_waited_for_without_end(
        self, disk: Disk, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(disk_module, "LEASE_BREAK", 0)
        with lease(path), pytest.raises(Leased):
            disk.open(str(path))
