"""What is measured, against whom, and what has to come out: nothing but data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .data import KIB, MIB, Tree


@dataclass(frozen=True)
class ServerKind:
    """The sink that a scenario needs."""

    tls: bool = False
    latency: float = 0.0
    """Seconds between a whole request and its answer."""
    etag: str = "fixed"
    """"md5" where a client insists on it (the bench looks); it costs the server an MD5."""


@dataclass(frozen=True)
class Contender:
    """A client with what it is given to do."""

    label: str
    client: str
    """Its name in ``clients.CLIENTS``."""
    tree: str = "files"
    values: tuple[int, ...] = ()
    """Of the client's own parameter: each is tried once, the best one takes part."""
    optional: bool = False
    """Takes part only when ``--clients`` names it."""


@dataclass(frozen=True)
class Ratio:
    """A contender's figure divided by another's, round by round; the median counts."""

    metric: str
    label: str
    peer: str
    at_least: float | None = None
    at_most: float | None = None


@dataclass(frozen=True)
class Limit:
    """The median of a contender's figure, or by how much it is above another's."""

    metric: str
    label: str
    above: str = ""
    at_most: float | None = None


@dataclass(frozen=True)
class Scenario:
    """One comparison.  ``shown`` is the metric that tells it best: the chart draws that one."""

    name: str
    title: str
    short: str
    """The title in the chart."""
    trees: Mapping[str, Tree]
    contenders: tuple[Contender, ...]
    targets: tuple[Ratio | Limit, ...]
    shown: str
    server: ServerKind = ServerKind()
    most_runs: int = 1000


OURS = Contender("ours", "ours")


def _s5cmd(*workers: int) -> Contender:
    return Contender("s5cmd", "s5cmd", values=workers)


def _obstore(*in_flight: int) -> Contender:
    return Contender("obstore", "obstore", values=in_flight)


_SLOW = (
    Contender("aws cli", "aws", optional=True),
    Contender("old uploader", "old", optional=True),
)
_SMALL = Tree(count=20_000, size=4 * KIB, folders=100)
_LARGE = Tree(count=8, size=256 * MIB, grows="size")
_MIXED = Tree(count=10_000, size=32 * KIB, folders=100, largest=256 * MIB)
_SEED = Tree(count=20, size=4 * KIB, grows="nothing")
_ONE = Tree(count=1, size=4 * KIB, grows="nothing")


def _memory(name: str, where: str, folders: int) -> Scenario:
    return Scenario(
        name,
        f"1,000,000 files of 1 byte {where}, HTTP",
        f"peak memory, files {where}",
        {
            "million": Tree(count=1_000_000, size=1, folders=folders),
            "tenth": Tree(count=100_000, size=1, folders=folders),
        },
        (
            Contender("ours, 1,000,000 files", "ours", tree="million"),
            Contender("ours, 100,000 files", "ours", tree="tenth"),
        ),
        (
            Limit(
                "peak PSS MB", "ours, 1,000,000 files", above="ours, 100,000 files", at_most=10.0
            ),
            Limit("peak PSS MB", "ours, 1,000,000 files", at_most=160.0),
            Limit("first PUT s", "ours, 1,000,000 files", at_most=2.0),
        ),
        "peak PSS MB",
        most_runs=3,
    )


_ALL = (
    Scenario(
        "small-http",
        "20,000 files of 4 KiB in 100 folders, HTTP",
        "20,000 × 4 KiB, HTTP",
        {"files": _SMALL},
        (OURS, _s5cmd(16, 64, 256), _obstore(16, 64, 256), *_SLOW),
        (
            Ratio("objects/s", "ours", "s5cmd", at_least=3.0),
            Ratio("CPU us/object", "ours", "s5cmd", at_most=0.45),
            Ratio("objects/s", "ours", "obstore", at_least=2.0),
        ),
        "objects/s",
    ),
    Scenario(
        "small-tls",
        "20,000 files of 4 KiB in 100 folders, TLS, certificate verified",
        "20,000 × 4 KiB, TLS",
        {"files": _SMALL},
        (OURS, _s5cmd(16, 64, 256), _obstore(16, 64, 256)),
        (
            Ratio("objects/s", "ours", "s5cmd", at_least=5.0),
            Ratio("objects/s", "ours", "obstore", at_least=2.0),
        ),
        "objects/s",
        ServerKind(tls=True),
    ),
    Scenario(
        "small-latency",
        "20,000 files of 4 KiB in 100 folders, HTTP, server answers after 30 ms",
        "20,000 × 4 KiB, 30 ms latency",
        {"files": _SMALL},
        (OURS, _s5cmd(256, 512, 1024), _obstore(128, 256, 512, 1024)),
        (
            Ratio("objects/s", "ours", "s5cmd", at_least=2.5),
            Ratio("objects/s", "ours", "obstore", at_least=2.0),
        ),
        "objects/s",
        ServerKind(latency=0.03),
    ),
    Scenario(
        "large-http",
        "8 files of 256 MiB, HTTP",
        "8 × 256 MiB, HTTP",
        {"files": _LARGE},
        (
            OURS,
            _s5cmd(4, 8, 256),
            _obstore(1, 2, 4, 8),
            # After those whose bars are compared with the one above them.
            Contender("ours, unsigned payload", "unsigned"),
            *_SLOW[:1],
        ),
        (
            Ratio("MB/s", "ours", "s5cmd", at_least=2.5),
            Ratio("CPU s/GB", "ours", "s5cmd", at_most=0.4),
            Ratio("MB/s", "ours", "obstore", at_least=2.0),
            Ratio("MB/s", "ours, unsigned payload", "s5cmd"),
            Ratio("CPU s/GB", "ours, unsigned payload", "s5cmd"),
            Ratio("MB/s", "ours, unsigned payload", "obstore"),
        ),
        "MB/s",
    ),
    Scenario(
        "large-tls",
        "8 files of 256 MiB, TLS, certificate verified",
        "8 × 256 MiB, TLS",
        {"files": _LARGE},
        (OURS, _s5cmd(4, 8, 256), _obstore(1, 2, 4, 8)),
        (
            Ratio("MB/s", "ours", "s5cmd", at_least=1.5),
            Ratio("MB/s", "ours", "obstore"),
        ),
        "MB/s",
        ServerKind(tls=True),
    ),
    Scenario(
        "mixed",
        "10,000 files, log-normal sizes, median 32 KiB, largest 256 MiB, 3 GB in all, HTTP",
        "10,000 files up to 256 MiB, 3 GB, HTTP",
        {"files": _MIXED},
        (OURS, _s5cmd(16, 64, 256), _obstore(8, 32, 128)),
        (
            Ratio("MB/s", "ours", "s5cmd", at_least=2.0),
            Ratio("MB/s", "ours", "obstore"),
        ),
        "MB/s",
    ),
    Scenario(
        "seed",
        "20 files by the drop-in classes, HTTP, server answers after 150 ms",
        "20 files, drop-in classes, 150 ms latency",
        {"files": _SEED},
        (
            Contender("ours, parallel", "dropin-parallel"),
            Contender("old, parallel", "old-parallel"),
            Contender("ours, linear", "dropin-linear"),
            Contender("old, linear", "old-linear"),
        ),
        (
            Ratio("objects/s", "ours, parallel", "old, parallel", at_least=2.0),
            Ratio("example s", "ours, parallel", "old, parallel"),
            Ratio("objects/s", "ours, linear", "old, linear"),
            Ratio("objects/s", "ours, linear", "old, parallel"),
        ),
        "wall s",
        ServerKind(latency=0.15),
    ),
    Scenario(
        "journal",
        "20,000 files of 4 KiB in 100 folders, HTTP, with the journal and without",
        "20,000 × 4 KiB, cost of the journal",
        {"files": _SMALL},
        (OURS, Contender("ours, no journal", "no-journal")),
        (
            Ratio("wall s", "ours", "ours, no journal"),
            Ratio("CPU us/object", "ours", "ours, no journal"),
        ),
        "objects/s",
    ),
    Scenario(
        "one-file",
        "one file of 4 KiB, whole command, HTTP",
        "1 × 4 KiB, whole command",
        {"files": _ONE},
        (OURS, Contender("aws cli", "aws"), Contender("ours --help", "help")),
        (
            Ratio("wall s", "ours", "aws cli", at_most=1.0),
            Limit("wall s", "ours --help", at_most=0.15),
        ),
        "wall s",
    ),
    _memory("memory-flat", "in one directory", 0),
    _memory("memory-tree", "in 1,000 directories", 1000),
)

SCENARIOS = {scenario.name: scenario for scenario in _ALL}
