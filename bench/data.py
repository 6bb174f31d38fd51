"""The files that are uploaded: described in a few numbers, made of real bytes, always the same."""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
import random
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

from .errors import BenchError

KIB, MIB = 2**10, 2**20
DISK_BLOCK = 4 * KIB
SPARE_DISK = 64 * MIB
"""Free space that is left alone: logs, and whatever else runs on the machine."""
SPREAD = 2.0850
"""Sigma of the logarithm of mixed sizes: makes 10,000 files with a median of 32 KiB 3 GB in all."""
_NOISE_SIZE = 4 * MIB


@dataclass(frozen=True)
class Tree:
    """Files below one directory."""

    count: int
    size: int
    """Of each file; the median when sizes are mixed."""
    folders: int = 0
    """Directories over which the files are spread; 0: all lie in the root."""
    largest: int = 0
    """Makes the sizes mixed: log-normal, and this the largest."""
    last: int = 0
    """Size of the last file, where it is another one."""
    grows: str = "count"
    """What ``--scale`` changes: the "count" of files, their "size", or "nothing"."""

    def scaled(self, factor: float) -> Tree:
        """The same tree, larger or smaller; at least one file of at least one byte."""
        if self.grows == "nothing":
            return self
        field = self.grows
        return dataclasses.replace(
            self,
            **{field: max(1, round(getattr(self, field) * factor))},
            largest=round(self.largest * factor),
            last=round(self.last * factor),
        )

    def sizes(self) -> Iterable[int]:
        """The size of each file, the same at each call."""
        if self.last:
            return itertools.chain(itertools.repeat(self.size, self.count - 1), [self.last])
        if not self.largest:
            return itertools.repeat(self.size, self.count)
        normal = NormalDist(math.log(self.size), SPREAD)
        # Evenly spaced quantiles and no dice: the total is right for every seed.
        sizes = [
            round(math.exp(normal.inv_cdf((number + 0.5) / self.count)))
            for number in range(self.count)
        ]
        sizes[-1] = max(self.largest, sizes[-1])
        random.Random(1).shuffle(sizes)
        return sizes

    def files(self) -> Iterator[tuple[str, int]]:
        """Relative path and size of each file."""
        for number, size in enumerate(self.sizes()):
            name = f"{number:07d}.bin"
            yield (f"{number % self.folders:04d}/{name}" if self.folders else name), size

    @property
    def total(self) -> int:
        """Bytes of all files together."""
        return sum(size for _, size in self.files())

    @property
    def disk(self) -> int:
        """Bytes that the files take on a disk, about."""
        blocks = sum(-(-size // DISK_BLOCK) for _, size in self.files())
        return blocks * DISK_BLOCK + self.count * 300


def check_disk(trees: list[Tree], directory: Path) -> None:
    """Raises ``BenchError`` when the disk has no room for these trees at the same time."""
    disk = os.statvfs(directory)
    needed = sum(tree.disk for tree in trees) + SPARE_DISK
    free = disk.f_bavail * disk.f_frsize
    if needed > free:
        raise BenchError(
            f"{directory} has {free / 1e9:.1f} GB free and the files take {needed / 1e9:.1f} GB: "
            "set TMPDIR to a larger disk, or lower --scale"
        )
    files = sum(tree.count + tree.folders for tree in trees)
    if disk.f_files and files > disk.f_favail:
        raise BenchError(
            f"{directory} has room for {disk.f_favail:,} more files, not for {files:,}: "
            "set TMPDIR to another disk, or lower --scale"
        )


def make(tree: Tree, root: Path, age: float = 0.0) -> None:
    """Writes the files below ``root``, which must not exist, and brings them to the disk; last
    modified ``age`` seconds ago."""
    modified = time.time() - age
    noise = memoryview(random.Random(2).randbytes(2 * _NOISE_SIZE))
    root.mkdir()
    for folder in range(tree.folders):
        (root / f"{folder:04d}").mkdir()
    base = os.path.join(root, "")
    for number, (name, size) in enumerate(tree.files()):
        # No two neighbours alike, and nothing that compresses.
        start = number * 4099 % _NOISE_SIZE
        with open(base + name, "wb", buffering=0) as file:
            for offset in range(0, size, _NOISE_SIZE):
                file.write(noise[start : start + min(_NOISE_SIZE, size - offset)])
            if age:
                os.utime(file.fileno(), (modified, modified))
    # Now, so that the disk is not busy with it while clients run.
    os.sync()
