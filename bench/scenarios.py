"""What is measured, against whom, and what has to come out: nothing but data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .data import KIB, MIB, Tree


@dataclass(frozen=True)
class ServerKind:
    """The sink that a scenario needs."""

    tls: bool = False
    latency: float = 0.0
    """Seconds between a whole request and its answer."""
    etag: str = "fixed"
    """"md5" where a client insists on it (the bench looks); it costs the server an MD5."""
    distinct: bool = False
    """What is sent twice counts once."""
    errors: float = 0.0
    """Share of the requests that are answered by 500, nothing done."""
    resets: float = 0.0
    """Share of the requests whose connection is reset, nothing done."""
    holds: int = 0
    """Objects that listings name, those of a flat tree."""
    size: int = 0
    """Bytes of each."""
    shelf: bool = False
    """It holds the objects of the scenario's files, and tells what was stored with them."""


@dataclass(frozen=True)
class Outage:
    """The server is out of reach for a while: "refuse" or "silence" (see ``bench.network``)."""

    kind: str
    seconds: float
    after: float = 2.0
    """Seconds from the first connection to its begin."""


@dataclass(frozen=True)
class Link:
    """The network on the way to the server."""

    rate: float
    """Bytes a second that all connections share."""
    latency: float = 0.0
    """Seconds of round trip."""
    reset_share: float = 0.0
    """Share of the connections that are reset."""
    seed: int = 102486
    """With 0.1 % of 1,000 connections the sixth is reset, after 50 kB, and no other: also clients
    that make few connections meet it."""
    outage: Outage | None = None


@dataclass(frozen=True)
class Disk:
    """Where the files lie."""

    delay: float = 0.0
    """Seconds that each open and each read takes (see ``bench.slowdisk``)."""
    cold: bool = False
    """On a disk, and not in the page cache when a run begins."""


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
    undisturbed: bool = False
    """The server answers all its requests."""
    program: Path | None = None
    """Another checkout of ours, for our clients."""


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
    at_least: float | None = None
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
    link: Link | None = None
    disk: Disk = Disk()
    rough: bool = False
    """Files that fail are a figure here, and no end of the comparison."""
    slow: bool = False
    """The network takes the time: no warm-up, and the timed runs are watched for their memory."""
    most_runs: int = 1000
    neighbour: str = ""
    """Who else is on the machine: somebody who "computes", one who "caches" a file, or one who
    "measures" what is sent (see ``bench.neighbour``)."""
    again: bool = False
    """The bucket holds the files, and the warm-up has sent them: nothing is left to be sent but
    what changes after it."""
    changed: float = 0.0
    """Share of the files that get another content after the warm-up."""
    described: float = 0.0
    """Share of the files that get other permissions then."""
    one_processor: bool = False
    """The client runs on one processor, the server on the others."""

    def beside(self, program: Path) -> Scenario:
        """The same, each contender of ours followed by the one of another checkout."""
        contenders: list[Contender] = []
        targets = list(self.targets)
        for each in self.contenders:
            contenders.append(each)
            if each.client in OUR_CLIENTS:
                label = f"{each.label}, in {program.name}"
                contenders.append(replace(each, label=label, program=program))
                targets += [
                    Ratio("wall s", each.label, label, at_most=1.03),
                    # The same program twice differs by up to 2 %.
                    Ratio("peak PSS MB", each.label, label, at_most=1.02),
                ]
        return replace(self, contenders=tuple(contenders), targets=tuple(targets))


OUR_CLIENTS = {
    *("ours", "stdin", "unsigned", "no-journal", "nice-0", "help", "sync", "verify"),
    *("dropin-linear", "dropin-parallel"),
}
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
_TWO_GIB = Tree(count=1, size=2048 * MIB, grows="nothing")
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


def _slow_link(megabytes: float, tree: Tree) -> Scenario:
    name = f"{megabytes:g}"
    return Scenario(
        f"slow-link-{name}",
        f"{tree.count - 1} files of 250 kB and one of {tree.last // 1_000_000} MB, "
        f"an uplink of {name} MB/s",
        f"{tree.count - 1} × 250 kB and {tree.last // 1_000_000} MB, {name} MB/s",
        {"files": tree},
        (OURS, _s5cmd(256), _obstore(64)),
        (
            *_NONE_FAILED,
            Limit("sent x", "ours", at_most=1.02),
            Limit("link %", "ours", at_least=97.1),
            Ratio("wall s", "ours", "s5cmd"),
        ),
        "link %",
        ServerKind(distinct=True),
        Link(megabytes * 1e6),
        rough=True,
        slow=True,
        most_runs=1,
    )


def _outage(kind: str, seconds: int) -> Scenario:
    word = {"refuse": "refuses connections", "silence": "is silent"}[kind]
    return Scenario(
        f"outage-{kind}-{seconds}",
        f"20,000 files of 4 KiB, server {word} for {seconds} s",
        f"20,000 × 4 KiB, {word} for {seconds} s",
        {"files": _SMALL},
        (OURS, _s5cmd(256), _obstore(64)),
        (*_NONE_FAILED, Limit("resumed s", "ours", at_most=2), Limit("pause s", "ours", at_most=2)),
        "wall s",
        ServerKind(distinct=True),
        # So that the work takes longer than the time before the outage.
        Link(20e6, latency=0.02, outage=Outage(kind, seconds)),
        rough=True,
        slow=True,
        most_runs=1,
    )


def _slow_disk(milliseconds: int) -> Scenario:
    return Scenario(
        f"slow-disk-{milliseconds}",
        f"20,000 files of 4 KiB, {milliseconds} ms for each open and each read, HTTP",
        f"20,000 × 4 KiB, disk takes {milliseconds} ms",
        {"files": _SMALL},
        (OURS, _s5cmd(64, 256, 1024), _obstore(64)),
        (
            Ratio("objects/s", "ours", "s5cmd", at_least=2.0),
            Ratio("objects/s", "ours", "obstore"),
        ),
        "objects/s",
        disk=Disk(delay=milliseconds / 1000),
    )


def _cold_disk(name: str, title: str, short: str, metric: str, tree: Tree) -> Scenario:
    return Scenario(
        f"cold-disk-{name}",
        f"{title}, not in the page cache, HTTP",
        f"{short}, cold disk",
        {"files": tree},
        (OURS, _s5cmd(64, 256), _obstore(8, 64)),
        (
            Ratio(metric, "ours", "s5cmd", at_least=1.0),
            Ratio(metric, "ours", "obstore"),
        ),
        metric,
        disk=Disk(cold=True),
    )


def _wan(name: str, title: str, short: str, tree: Tree, obstore: tuple[int, ...]) -> Scenario:
    return Scenario(
        f"wan-{name}",
        f"{title}, 1 Gbit/s, 100 ms round trip, 0.1 % of connections reset",
        f"{short}, 1 Gbit/s, 100 ms",
        {"files": tree},
        (OURS, _s5cmd(64, 256, 1024), _obstore(*obstore)),
        (
            *_NONE_FAILED,
            Limit("busy %", "ours", at_least=95),
            Limit("link %", "ours"),
            Limit("resets", "ours"),
            Ratio("MB/s", "ours", "s5cmd"),
            Ratio("MB/s", "ours", "obstore"),
        ),
        "link %",
        ServerKind(distinct=True),
        Link(125e6, latency=0.1, reset_share=0.001),
        rough=True,
        most_runs=3,
    )


def _max_cpu(name: str, title: str, short: str, tree: Tree, server: ServerKind) -> Scenario:
    shares = (25, 50, 75)
    return Scenario(
        f"neighbour-max-cpu-{name}",
        f"--max-cpu 25%, 50% and 75% of one processor, {title}",
        f"CPU of --max-cpu, {short}",
        {"files": tree},
        tuple(Contender(f"ours, {share}%", f"max-cpu-{share}") for share in shares),
        tuple(
            target
            for share in shares
            for target in (
                Limit("CPU %", f"ours, {share}%", at_least=0.95 * share),
                Limit("CPU %", f"ours, {share}%", at_most=1.05 * share),
            )
        ),
        "CPU %",
        server,
        slow=True,
        most_runs=3,
        one_processor=True,
    )


def _limit_rate(name: str, title: str, short: str, tree: Tree, rates: Sequence[int]) -> Scenario:
    return Scenario(
        f"neighbour-rate-{name}",
        f"--limit-rate {' and '.join(f'{rate}M' for rate in rates)}, {title}",
        f"rate of --limit-rate, {short}",
        {"files": tree},
        tuple(Contender(f"ours, {rate}M", f"rate-{rate}M") for rate in rates),
        tuple(
            target
            for rate in rates
            for target in (
                Limit("rate %", f"ours, {rate}M", at_least=95),
                Limit("least in 2 s %", f"ours, {rate}M", at_least=95),
                Limit("most in 2 s %", f"ours, {rate}M", at_most=105),
            )
        ),
        "rate %",
        link=Link(1.25e9),
        slow=True,
        most_runs=3,
        neighbour="measures",
    )


_NONE_FAILED = (
    Limit("failed files", "ours", at_most=0),
    Limit("exit code", "ours", at_most=0),
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
        "stdin",
        "2 GiB out of a pipe, and the same as a file, HTTP",
        "2 GiB out of a pipe, HTTP",
        {"files": _TWO_GIB},
        (OURS, Contender("ours, stdin", "stdin"), Contender("s5cmd pipe", "s5cmd-pipe")),
        (
            Ratio("MB/s", "ours, stdin", "ours", at_least=0.9),
            Ratio("MB/s", "ours, stdin", "s5cmd pipe"),
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
    _slow_link(1, Tree(count=161, size=250_000, last=60_000_000)),
    _slow_link(0.25, Tree(count=41, size=250_000, last=15_000_000)),
    _slow_link(5, Tree(count=801, size=250_000, last=300_000_000)),
    *(_outage(kind, seconds) for seconds in (5, 15, 60) for kind in ("refuse", "silence")),
    *map(_slow_disk, (2, 10)),
    _cold_disk("small", "20,000 files of 4 KiB", "20,000 × 4 KiB", "objects/s", _SMALL),
    _cold_disk("large", "8 files of 256 MiB", "8 × 256 MiB", "MB/s", _LARGE),
    _wan("large", "8 files of 256 MiB", "8 × 256 MiB", _LARGE, (2, 8)),
    _wan(
        "small",
        "20,000 files of 64 KiB",
        "20,000 × 64 KiB",
        Tree(count=20_000, size=64 * KIB, folders=100),
        (64, 256),
    ),
    Scenario(
        "flaky",
        "20,000 files of 4 KiB, 2 % of requests answered by 500, 1 % by a reset, HTTP",
        "20,000 × 4 KiB, 2 % errors, 1 % resets",
        {"files": _SMALL},
        (
            OURS,
            Contender("ours, undisturbed", "ours", undisturbed=True),
            _s5cmd(64, 256),
            _obstore(64),
        ),
        (
            *_NONE_FAILED,
            Ratio("objects/s", "ours", "ours, undisturbed", at_least=0.9),
            Ratio("objects/s", "ours", "s5cmd"),
        ),
        "objects/s",
        ServerKind(distinct=True, errors=0.02, resets=0.01),
        rough=True,
    ),
    Scenario(
        "sync-same",
        "1,000,000 files that are in the bucket, which takes 50 ms for a page of its listing, HTTP",
        "1,000,000 unchanged files",
        {"files": Tree(count=1_000_000, size=1)},
        (Contender("ours", "sync"), Contender("s5cmd", "s5cmd-sync")),
        (
            Ratio("wall s", "ours", "s5cmd", at_most=0.5),
            Limit("peak PSS MB", "ours", at_most=150),
        ),
        "wall s",
        ServerKind(latency=0.05),
        most_runs=3,
        again=True,
    ),
    Scenario(
        "sync-few",
        "20,000 files of 4 KiB in the bucket, 200 changed since, 20 with other permissions, HTTP",
        "1 % of 20,000 files changed",
        {"files": _SMALL},
        (Contender("ours", "sync"), Contender("s5cmd", "s5cmd-sync")),
        (Ratio("wall s", "ours", "s5cmd", at_most=0.5),),
        "wall s",
        ServerKind(shelf=True),
        again=True,
        changed=0.01,
        described=0.001,
    ),
    *(
        Scenario(
            f"verify-{name}",
            f"{title} that are in the bucket, compared with it, HTTP",
            f"verify {title}",
            {"files": tree},
            (
                Contender("ours", "verify"),
                Contender("rclone check", "rclone-check", values=(8, 32)),
            ),
            (Ratio("wall s", "rclone check", "ours", at_least=2.0),),
            "wall s",
            ServerKind(shelf=True),
        )
        for name, title, tree in (
            ("small", "20,000 files of 4 KiB", _SMALL),
            ("large", "8 files of 256 MiB", _LARGE),
        )
    ),
    Scenario(
        "neighbour-cpu",
        "200,000 files of 4 KiB, HTTP, beside a program that computes on each processor",
        "200,000 × 4 KiB, beside another program",
        {"files": Tree(count=200_000, size=4 * KIB, folders=100)},
        (OURS, Contender("ours, --nice 0", "nice-0"), _s5cmd(256), _obstore(64)),
        (
            Limit("other slower %", "ours", at_most=15),
            Limit("other slower %", "ours, --nice 0"),
        ),
        "other slower %",
        slow=True,
        neighbour="computes",
    ),
    _max_cpu(
        "small",
        "80,000 files of 4 KiB, HTTP",
        "80,000 × 4 KiB",
        Tree(count=80_000, size=4 * KIB, folders=100),
        ServerKind(),
    ),
    _max_cpu(
        "large",
        "24 files of 256 MiB, TLS",
        "24 × 256 MiB, TLS",
        Tree(count=24, size=256 * MIB, grows="size"),
        ServerKind(tls=True),
    ),
    _limit_rate(
        "small",
        "20,000 files of 4 KiB, HTTP",
        "20,000 × 4 KiB",
        Tree(count=20_000, size=4 * KIB, folders=100),
        (5, 20),
    ),
    _limit_rate(
        "large",
        "4 files of 128 MiB, HTTP",
        "4 × 128 MiB",
        Tree(count=4, size=128 * MIB, grows="size"),
        (20, 50),
    ),
    Scenario(
        "neighbour-cache",
        "8 files of 256 MiB, HTTP, not in the page cache, in 512 MiB of memory that hold another "
        "file of 128 MiB",
        "8 × 256 MiB, pages of another file",
        {"files": _LARGE},
        (OURS, _s5cmd(64), _obstore(8)),
        (
            Limit("other cached before %", "ours"),
            Limit("other cached after %", "ours", at_least=99),
        ),
        "other cached after %",
        disk=Disk(cold=True),
        slow=True,
        most_runs=3,
        neighbour="caches",
    ),
)

SCENARIOS = {scenario.name: scenario for scenario in _ALL}
