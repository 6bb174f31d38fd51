"""The smallest of what the machine and the cgroups grant is what may be used."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from _uploader.processes.machine import (
    MemoryWatch,
    SpareMemory,
    cpu_total,
    cpu_used,
    memory_total,
    usable_cpus,
)
from _uploader.transfer.memory import Room

GIB = 2**30
UNLIMITED_V1 = "9223372036854771712"
V2_MOUNT = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"
V1_MOUNTS = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"""

Tree = Callable[..., Path]


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight processors and 16 GiB, whatever runs the tests."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    memory = SimpleNamespace(total=16 * GIB, available=9 * GIB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Builds a fake ``/``: own groups, mounts, and files below ``/sys/fs/cgroup``."""

    def build(groups: str, mounts: str, files: dict[str, str]) -> Path:
        own = tmp_path / "proc/self"
        own.mkdir(parents=True)
        (own / "cgroup").write_text(groups + "\n")
        (own / "mountinfo").write_text(mounts + "\n")
        for name, content in files.items():
            file = tmp_path / "sys/fs/cgroup" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content + "\n")
        return tmp_path

    return build


def test_without_cgroups_the_machine_is_what_there_is(tmp_path: Path) -> None:
    assert usable_cpus(tmp_path) == 8
    assert memory_total(tmp_path) == 16 * GIB


def test_without_affinity_all_processors_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert usable_cpus(tmp_path) == 3


def test_version_2_limits_count(tree: Tree) -> None:
    files = {"app/cpu.max": "200000 100000", "app/memory.max": str(GIB)}
    root = tree("0::/app", V2_MOUNT, files)
    assert usable_cpus(root) == 2
    assert memory_total(root) == GIB


def test_max_means_no_limit(tree: Tree) -> None:
    root = tree("0::/app", V2_MOUNT, {"app/cpu.max": "max 100000", "app/memory.max": "max"})
    assert usable_cpus(root) == 8
    assert memory_total(root) == 16 * GIB


@pytest.mark.parametrize(
    ("quota", "cpus"),
    [("10000 100000", 1), ("100000 100000", 1), ("150000 100000", 2), ("9000000 100000", 8)],
)
def test_a_quota_is_rounded_up_and_never_adds_processors(tree: Tree, quota: str, cpus: int) -> None:
    assert usable_cpus(tree("0::/app", V2_MOUNT, {"app/cpu.max": quota})) == cpus


def test_a_quota_of_less_than_a_processor_is_what_may_be_used(tree: Tree) -> None:
    assert cpu_total(tree("0::/app", V2_MOUNT, {"app/cpu.max": "50000 100000"})) == 0.5


@pytest.mark.parametrize("tight", ["", "a/", "a/b/"])
def test_the_tightest_of_nested_groups_counts(tree: Tree, tight: str) -> None:
    files = {f"{group}memory.max": str(4 * GIB) for group in ("", "a/", "a/b/")}
    files |= {f"{group}cpu.max": "400000 100000" for group in ("", "a/", "a/b/")}
    files |= {f"{tight}memory.max": str(GIB), f"{tight}cpu.max": "300000 100000"}
    root = tree("0::/a/b", V2_MOUNT, files)
    assert usable_cpus(root) == 3
    assert memory_total(root) == GIB


def test_groups_beside_ours_do_not_count(tree: Tree) -> None:
    files = {"a/memory.max": "max", "b/memory.max": "1000", "a/child/memory.max": "1000"}
    assert memory_total(tree("0::/a", V2_MOUNT, files)) == 16 * GIB


def test_version_1_limits_count(tree: Tree) -> None:
    files = {
        "cpu,cpuacct/jobs/cpu.cfs_quota_us": "250000",
        "cpu,cpuacct/jobs/cpu.cfs_period_us": "100000",
        "cpu,cpuacct/cpu.cfs_quota_us": "-1",
        "cpu,cpuacct/cpu.cfs_period_us": "100000",
        "memory/mem/deep/memory.limit_in_bytes": UNLIMITED_V1,
        "memory/mem/memory.limit_in_bytes": str(2 * GIB),
    }
    root = tree("4:cpu,cpuacct:/jobs\n3:memory:/mem/deep\n1:name=systemd:/", V1_MOUNTS, files)
    assert usable_cpus(root) == 3
    assert memory_total(root) == 2 * GIB


def test_version_1_without_limits_is_the_machine(tree: Tree) -> None:
    files = {
        "cpu,cpuacct/cpu.cfs_quota_us": "-1",
        "cpu,cpuacct/cpu.cfs_period_us": "100000",
        "memory/memory.limit_in_bytes": UNLIMITED_V1,
    }
    root = tree("4:cpu,cpuacct:/\n3:memory:/", V1_MOUNTS, files)
    assert usable_cpus(root) == 8
    assert memory_total(root) == 16 * GIB


def test_in_a_hybrid_both_versions_count(tree: Tree) -> None:
    unified = "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw"
    files = {
        "unified/app/cpu.max": "400000 100000",
        "memory/app/memory.limit_in_bytes": str(GIB),
    }
    root = tree("3:memory:/app\n0::/app", f"{V1_MOUNTS}\n{unified}", files)
    assert usable_cpus(root) == 4
    assert memory_total(root) == GIB


@pytest.mark.parametrize("group", ["/docker/4711", "/../other", "/.."])
def test_a_group_outside_of_the_mount_is_read_at_the_mounts_root(tree: Tree, group: str) -> None:
    files = {"memory.max": str(GIB), "cpu.max": "100000 100000"}
    outside = {"../memory.max": "1000", "../other/memory.max": "1000"}
    root = tree(f"0::{group}", V2_MOUNT, files | outside)
    assert usable_cpus(root) == 1
    assert memory_total(root) == GIB


def test_a_mount_of_a_part_of_the_hierarchy_is_taken_off_the_path(tree: Tree) -> None:
    mount = "35 31 0:32 /docker/4711 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory"
    files = {"memory/inner/memory.limit_in_bytes": str(GIB)}
    assert memory_total(tree("3:memory:/docker/4711/inner", mount, files)) == GIB


def test_a_mount_of_another_part_is_read_at_its_root(tree: Tree) -> None:
    mount = "35 31 0:32 /docker/4711 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory"
    files = {"memory/memory.limit_in_bytes": str(GIB)}
    assert memory_total(tree("3:memory:/elsewhere", mount, files)) == GIB


def test_blanks_in_mount_points_and_empty_sources_are_understood(tree: Tree) -> None:
    mounts = (
        "29 23 0:25 / /mnt rw - fuse.x  rw\n"
        r"30 23 0:26 / /sys/fs/cgroup/my\040groups rw - cgroup2 cgroup2 rw"
    )
    root = tree("0::/a b", mounts, {"my groups/a b/memory.max": str(GIB)})
    assert memory_total(root) == GIB


# What is free

MACHINE = Room("machine", 9 * GIB, 16 * GIB)


def test_without_cgroups_what_the_machine_has_free_counts(tmp_path: Path) -> None:
    assert SpareMemory(tmp_path).sample() == [MACHINE]


def test_version_2_groups_have_free_what_they_do_not_hold_for_good(tree: Tree) -> None:
    """Pages of files that were read are no part of it, nor kernel memory that can be taken back."""
    stat = "anon 600\ninactive_anon 500\nactive_anon 100\nactive_file 7000\nunevictable 30\n"
    stat += "slab_reclaimable 8000\nslab_unreclaimable 4\nsock 3\nkernel_stack 2\npagetables 1"
    root = tree("0::/a", V2_MOUNT, {"a/memory.max": str(GIB), "a/memory.stat": stat})
    assert SpareMemory(root).sample() == [MACHINE, Room("cgroup", GIB - 640, GIB)]


def test_version_1_groups_count_those_below_them_too(tree: Tree) -> None:
    stat = "inactive_anon 1\nactive_anon 2\nunevictable 3\ntotal_inactive_anon 100\n"
    stat += "total_active_anon 200\ntotal_unevictable 300\ntotal_active_file 4000"
    files = {"memory/a/memory.limit_in_bytes": str(GIB), "memory/a/memory.stat": stat}
    root = tree("3:memory:/a", V1_MOUNTS, files | {"memory/memory.limit_in_bytes": UNLIMITED_V1})
    assert SpareMemory(root).sample() == [MACHINE, Room("cgroup", GIB - 600, GIB)]


def test_each_nested_group_counts_and_a_limit_that_changes_too(tree: Tree) -> None:
    files = {"memory.max": str(2 * GIB), "a/memory.max": "max", "a/b/memory.max": str(GIB)}
    spare = SpareMemory(root := tree("0::/a/b", V2_MOUNT, files))
    assert [room.left for room in spare.sample()] == [9 * GIB, GIB, 2 * GIB]
    (root / "sys/fs/cgroup/a/memory.max").write_text("1000")
    assert [room.left for room in spare.sample()] == [9 * GIB, GIB, 1000, 2 * GIB]


def test_a_group_over_its_limit_has_nothing_free(tree: Tree) -> None:
    files = {"a/memory.max": "1000", "a/memory.stat": "active_anon 1500"}
    (_, room) = SpareMemory(tree("0::/a", V2_MOUNT, files)).sample()
    assert room == Room("cgroup", 0, 1000)


@pytest.fixture
def child() -> Iterator[int]:
    code = "import sys; held = bytearray(20_000_000); print(flush=True); sys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as process:  # type: ignore[call-overload]
        process.stdout.readline()
        yield process.pid
        process.stdin.close()


def test_memory_of_other_processes_is_added(child: int) -> None:
    alone = MemoryWatch(list).sample()
    assert alone > 1_000_000
    assert MemoryWatch(lambda: [child]).sample() > alone + 20_000_000


def test_this_process_counts_once_also_when_it_is_named() -> None:
    alone = MemoryWatch(list).sample()
    assert MemoryWatch(lambda: [os.getpid()]).sample() < 1.5 * alone


def test_the_cpu_that_a_process_has_used_grows() -> None:
    before = cpu_used(os.getpid())
    while cpu_used(os.getpid()) == before:
        pass


def test_a_process_that_is_gone_uses_no_cpu(child: int) -> None:
    psutil.Process(child).kill()
    psutil.wait_procs([psutil.Process(child)])
    assert cpu_used(child) == 0.0


def test_processes_that_are_gone_count_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
        assert MemoryWatch(lambda: [process.pid]).sample() > 0


class FakeProcess:
    """One process whose sizes are made up."""

    sizes: dict[int, object]

    def __init__(self, pid: int) -> None:
        self.size = self.sizes.get(pid)

    def memory_full_info(self) -> object:
        if self.size is None:
            raise psutil.AccessDenied
        return self.size

    def memory_info(self) -> object:
        return SimpleNamespace(rss=7)


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> dict[int, object]:
    monkeypatch.setattr(psutil, "Process", FakeProcess)
    FakeProcess.sizes = {os.getpid(): SimpleNamespace(rss=500, pss=100)}
    return FakeProcess.sizes


def test_shared_memory_counts_by_share(sizes: dict[int, object]) -> None:
    sizes[1] = SimpleNamespace(rss=900, pss=20)
    assert MemoryWatch(lambda: [1]).sample() == 120


def test_where_the_share_is_unknown_the_resident_size_counts(sizes: dict[int, object]) -> None:
    sizes[1] = SimpleNamespace(rss=50)
    assert MemoryWatch(lambda: [1]).sample() == 150


def test_where_the_share_is_secret_the_resident_size_counts(sizes: dict[int, object]) -> None:
    assert MemoryWatch(lambda: [1]).sample() == 107


def test_the_peak_is_the_largest_sample(sizes: dict[int, object]) -> None:
    watch = MemoryWatch(list)
    for pss in (100, 300, 200):
        sizes[os.getpid()] = SimpleNamespace(rss=1000, pss=pss)
        watch.sample()
    assert watch.peak == 300
