"""Tables for people, JSON for programs, and a description of the machine."""

from __future__ import annotations

import dataclasses
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timezone
from typing import Any

import psutil

from .clients import CLIENTS
from .process import find_program
from .results import METRICS, Outcome, Verdict
from .scenarios import Scenario

COLUMNS = (
    "objects/s",
    "MB/s",
    "CPU us/object",
    "CPU s/GB",
    "peak PSS MB",
    "wall s",
    "server us/object",
)
ALL_METRICS = (*METRICS, "peak PSS MB")
EXTRA_COLUMNS = (
    *("first PUT s", "example s"),
    *("failed files", "exit code", "sent x", "link %", "busy %", "resets", "resumed s", "pause s"),
    *("CPU %", "other slower %", "other cached before %", "other cached after %"),
    *("rate %", "least in 2 s %", "most in 2 s %"),
)
"""Shown where somebody has a target for them."""


def table(
    scenario: Scenario, scale: float, outcomes: Sequence[Outcome], verdicts: Sequence[Verdict]
) -> str:
    """The figures of one scenario, the medians of its rounds, then the comparisons."""
    wanted = {target.metric for target in scenario.targets}
    columns = [*COLUMNS, *(name for name in EXTRA_COLUMNS if name in wanted)]
    rows = [["client", *columns]]
    for outcome in outcomes:
        if outcome.problem:
            continue
        medians = [outcome.median(name) for name in columns]
        rows.append([outcome.title, *map(number, medians)])
    scaled = "" if scale == 1 else f"; --scale {scale:g}, only a trial"
    lines = [f"{scenario.name}: {scenario.title}{scaled}", *_aligned(rows)]
    lines += [f"{each.title}: no result: {each.problem}" for each in outcomes if each.problem]
    if verdicts:
        lines += ["", *_aligned([["", "min", "median", "max", "target", ""], *_rows(verdicts)])]
    return "\n".join(lines)


def number(value: float | None) -> str:
    """Three digits that matter."""
    if value is None:
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def as_json(
    scenario: Scenario, outcomes: Iterable[Outcome], verdicts: Iterable[Verdict]
) -> dict[str, Any]:
    """All that was measured in one scenario."""
    return {
        "name": scenario.name,
        "title": scenario.title,
        "short": scenario.short,
        "shown": scenario.shown,
        "clients": [
            {
                **dataclasses.asdict(outcome),
                "title": outcome.title,
                "figures": {name: outcome.figures(name) for name in ALL_METRICS},
                "medians": {name: outcome.median(name) for name in ALL_METRICS},
            }
            for outcome in outcomes
        ],
        "targets": [dataclasses.asdict(verdict) for verdict in verdicts],
    }


def machine(clients: Iterable[str]) -> dict[str, Any]:
    """What the figures were measured on, and with which versions."""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "cpu": _cpu_model(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory": psutil.virtual_memory().total,
        "kernel": platform.release(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "nginx": _nginx_version(),
        "clients": {
            name: next(c for c in CLIENTS.values() if c.name == name).program() for name in clients
        },
    }


def machine_line(facts: dict[str, Any]) -> str:
    """The machine in one line."""
    clients = ", ".join(f"{name} {version}" for name, version in facts["clients"].items())
    return (
        f"{facts['cpus']} x {facts['cpu']}, {facts['memory'] / 2**30:.0f} GiB, "
        f"Linux {facts['kernel']}, Python {facts['python']}, {facts['nginx']}; {clients}"
    )


def _rows(verdicts: Iterable[Verdict]) -> Iterator[list[str]]:
    words = {True: "met", False: "NOT MET", None: ""}
    for verdict in verdicts:
        values = (verdict.least, verdict.median, verdict.most)
        figures = [f"{number(value)}{verdict.unit}" for value in values]
        yield [verdict.text, *figures, verdict.target or "-", words[verdict.met]]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *rest in rows:
        cells = [text.rjust(width) for text, width in zip(rest, widths[1:], strict=True)]
        lines.append("  ".join(["  " + first.ljust(widths[0]), *cells]).rstrip())
    return lines


def _cpu_model() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.machine()


def _nginx_version() -> str:
    nginx = find_program("nginx")
    if sys.platform != "linux" or nginx is None:
        return "no nginx"
    done = subprocess.run([nginx, "-v"], capture_output=True, text=True)
    return done.stderr.strip().rpartition(" ")[2]
