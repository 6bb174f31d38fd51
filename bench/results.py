"""What came out: figures of runs, ratios, and whether the targets are met.  Pure."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from .scenarios import Limit, Ratio, Scenario


@dataclass
class Neighbour:
    """What somebody else on the machine has noticed of a run; None where nobody was there."""

    slower: float | None = None
    """By which share the other's work took longer than alone."""
    cached_before: float | None = None
    """Share of the other's file in the page cache."""
    cached_after: float | None = None
    rate: float | None = None
    """Bytes that were sent, of what the limit of the rate allows: from the second second on."""
    rate_least: float | None = None
    rate_most: float | None = None
    """The same of the two seconds with the fewest and with the most."""


@dataclass(frozen=True)
class Run:
    """One run of a contender."""

    wall: float
    user: float
    system: float
    server_cpu: float
    objects: int
    """As the server counted them, like ``bytes``."""
    bytes: int
    first_put: float | None
    """Seconds from the start of the command to the first object at the server."""
    example: float | None
    """Seconds that an example of the old README says it took."""
    peak_pss: int
    problem: str = ""
    """Why it is no result."""
    failed: int | None = None
    """Files that the server does not have."""
    code: int | None = None
    """The exit code."""
    sent: float | None = None
    """Bytes on the link for each byte of the files."""
    link: float | None = None
    """Share of the link's rate that became objects, over the whole run."""
    busy: float | None = None
    """Share of the rate that was sent, from the first byte to the last one."""
    resets: int | None = None
    """Connections that the network reset."""
    resumed: float | None = None
    """Seconds from the end of an outage to the next answer."""
    pause: float | None = None
    """Longest time between two answers since then, in seconds."""
    cpus: int = 1
    """Processors that the client might use."""
    neighbour: Neighbour = field(default_factory=Neighbour)

    @property
    def cpu(self) -> float:
        """CPU seconds of the client."""
        return self.user + self.system


@dataclass
class Outcome:
    """All that is known of a contender in a scenario."""

    label: str
    client: str
    parameter: str = ""
    value: int | None = None
    probes: dict[int, Run] = field(default_factory=dict)
    """The runs that found ``value``."""
    rounds: list[Run] = field(default_factory=list)
    sampled: Run | None = None
    """The run that was not timed but watched for its memory."""
    problem: str = ""

    @property
    def title(self) -> str:
        """The label and the value of the parameter."""
        return self.label if self.value is None else f"{self.label} ({self.value} {self.parameter})"

    def figures(self, metric: str) -> list[float]:
        """One for each round; none where there is nothing to know."""
        if metric == "peak PSS MB":
            watched = [self.sampled] if self.sampled else self.rounds
            return [run.peak_pss / 1e6 for run in watched if run.peak_pss]
        figures = [METRICS[metric](run) for run in self.rounds]
        return [figure for figure in figures if figure is not None]

    def median(self, metric: str) -> float | None:
        """The median of the rounds."""
        figures = self.figures(metric)
        return statistics.median(figures) if figures else None


def _per(amount: float, of: float) -> float | None:
    return amount / of if of else None


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


METRICS: dict[str, Callable[[Run], float | None]] = {
    "objects/s": lambda run: _per(run.objects, run.wall) or None,
    "MB/s": lambda run: _per(run.bytes / 1e6, run.wall) or None,
    "CPU us/object": lambda run: _per(run.cpu * 1e6, run.objects),
    "CPU s/GB": lambda run: _per(run.cpu, run.bytes / 1e9),
    "wall s": lambda run: run.wall,
    "first PUT s": lambda run: run.first_put,
    "example s": lambda run: run.example,
    "server us/object": lambda run: _per(run.server_cpu * 1e6, run.objects),
    "failed files": lambda run: run.failed,
    "exit code": lambda run: run.code,
    "sent x": lambda run: run.sent,
    "link %": lambda run: _percent(run.link),
    "busy %": lambda run: _percent(run.busy),
    "resets": lambda run: run.resets,
    "resumed s": lambda run: run.resumed,
    "pause s": lambda run: run.pause,
    "CPU %": lambda run: 100 * run.cpu / run.wall / run.cpus,
    "other slower %": lambda run: _percent(run.neighbour.slower),
    "other cached before %": lambda run: _percent(run.neighbour.cached_before),
    "other cached after %": lambda run: _percent(run.neighbour.cached_after),
    "rate %": lambda run: _percent(run.neighbour.rate),
    "least in 2 s %": lambda run: _percent(run.neighbour.rate_least),
    "most in 2 s %": lambda run: _percent(run.neighbour.rate_most),
}
"""Figures of one run by name; "peak PSS MB" comes from a run of its own, mostly."""


@dataclass(frozen=True)
class Verdict:
    """One comparison or limit, and whether it is what it should be."""

    text: str
    least: float
    median: float
    most: float
    unit: str
    target: str
    """Empty when it is only reported, like ``met`` None."""
    met: bool | None


def judge(scenario: Scenario, outcomes: dict[str, Outcome]) -> Iterator[Verdict]:
    """The targets of a scenario; those left out whose contenders did not take part or failed."""
    for target in scenario.targets:
        values = _ratios(target, outcomes) if isinstance(target, Ratio) else _own(target, outcomes)
        if not values:
            continue
        text = f"{target.metric}, {target.label}"
        if isinstance(target, Ratio):
            text += f" : {target.peer}"
        elif target.above:
            text += f", above {target.above}"
        median = statistics.median(values)
        unit = "x" if isinstance(target, Ratio) else f" {target.metric.split()[-1]}"
        met, wanted = _compare(target, median, unit)
        yield Verdict(text, min(values), median, max(values), unit, wanted, met)


def _compare(target: Ratio | Limit, median: float, unit: str) -> tuple[bool | None, str]:
    if target.at_least is not None:
        return median >= target.at_least, f"at least {target.at_least:g}{unit}"
    if target.at_most is not None:
        return median <= target.at_most, f"at most {target.at_most:g}{unit}"
    return None, ""


def _ratios(target: Ratio, outcomes: dict[str, Outcome]) -> list[float]:
    pair = outcomes.get(target.label), outcomes.get(target.peer)
    if pair[0] is None or pair[1] is None or pair[0].problem or pair[1].problem:
        return []
    figures = pair[0].figures(target.metric), pair[1].figures(target.metric)
    if len(figures[0]) != len(figures[1]):
        return []  # somebody stored nothing in one of the rounds
    return [ours / theirs for ours, theirs in zip(*figures, strict=True) if theirs]


def _own(target: Limit, outcomes: dict[str, Outcome]) -> list[float]:
    outcome = outcomes.get(target.label)
    if outcome is None or outcome.problem:
        return []
    figures = outcome.figures(target.metric)
    if not target.above:
        return figures
    base = outcomes.get(target.above)
    level = None if base is None or base.problem else base.median(target.metric)
    return [] if level is None else [figure - level for figure in figures]
