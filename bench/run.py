"""Runs scenarios: python -m bench.run SCENARIO...|all

Every scenario is one command: this one.  See bench/README.md for what is measured and how.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from tests.servers.process import ServerError

from . import chart, data, measure, report, services
from .clients import CLIENTS, NAMES, Task
from .data import Tree
from .errors import BenchError
from .results import Outcome, Run, Verdict, judge
from .scenarios import SCENARIOS, Contender, Scenario
from .services import Counted, Service

EXIT_FAILED, EXIT_USAGE = 1, 2
RUN_TIMEOUT = 900.0
"""Seconds that one run may take: some clients try for minutes what cannot succeed."""
_EXAMPLE_TIME = re.compile(r"^test_\w+: (\d+) ms$", re.MULTILINE)


@dataclass(frozen=True)
class Options:
    """The command line."""

    scenarios: Sequence[Scenario]
    clients: frozenset[str] | None
    """Those that take part; None: all but the optional ones."""
    runs: int
    scale: float
    endpoint_url: str | None
    port: int
    json: Path | None
    chart: Path | None
    keep: bool

    def contenders(self, scenario: Scenario) -> list[Contender]:
        """Who takes part in a scenario."""
        if self.clients is None:
            return [each for each in scenario.contenders if not each.optional]
        return [c for c in scenario.contenders if CLIENTS[c.client].name in self.clients]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line instead of the usage."""
        raise BenchError(f"{message} (--help lists the options)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the bench and returns its exit code."""
    try:
        parsed = _parser().parse_args(arguments)
        if parsed.list:
            for scenario in SCENARIOS.values():
                print(f"{scenario.name:14} {scenario.title}")
            return 0
        options = _options(parsed)
        _check(options)
        return _run(options)
    except (BenchError, ServerError) as error:
        print(f"bench: {' '.join(str(error).split())}", file=sys.stderr)
        return EXIT_USAGE
    except _Stopped as stopped:
        print("bench: stopped", file=sys.stderr)
        return 128 + stopped.signal


class _Stopped(BaseException):
    """A signal has asked for the end."""

    def __init__(self, number: int) -> None:
        self.signal = number


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP end what is inside by ``_Stopped``, once; then they are ignored,
    so that a second Ctrl-C does not keep the clean-up from its work."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def stop(number: int, _: FrameType | None) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        raise _Stopped(number)

    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Bench:
    """One scenario at work: its files, its server, its contenders."""

    def __init__(
        self, scenario: Scenario, service: Service, options: Options, workspace: Path
    ) -> None:
        self._scenario = scenario
        self._service = service
        self._workspace = workspace
        self._rounds = min(options.runs, scenario.most_runs)
        self._contenders = options.contenders(scenario)
        self._trees = _trees(scenario, options)
        self._expected = {
            name: Counted(tree.count, tree.total) for name, tree in self._trees.items()
        }
        self.outcomes = {
            each.label: Outcome(
                each.label, CLIENTS[each.client].name, CLIENTS[each.client].parameter
            )
            for each in self._contenders
        }

    def run(self) -> None:
        """Warms up, lets the contenders take turns, and looks at their memory at the end."""
        for contender in self._contenders:
            self._warm_up(contender)
        for number in range(self._rounds):
            for contender in self._healthy():
                self._note(contender, f"round {number + 1} of {self._rounds}")
                self._keep(contender, self._once(contender, self._outcome(contender).value))
        for contender in self._healthy():
            self._note(contender, "memory")
            outcome = self._outcome(contender)
            run = self._once(contender, outcome.value, sample=True)
            outcome.sampled = run
            outcome.problem = run.problem

    def verdicts(self) -> list[Verdict]:
        """The targets of the scenario."""
        return list(judge(self._scenario, self.outcomes))

    def _warm_up(self, contender: Contender) -> None:
        """One run that does not count, or one for each value of the parameter to find the best."""
        outcome = self._outcome(contender)
        if not contender.values:
            self._note(contender, "warm-up")
            outcome.problem = self._once(contender, None).problem
            return
        for value in contender.values:
            self._note(contender, f"trying {value} {outcome.parameter}")
            outcome.probes[value] = self._once(contender, value)
        good = {value: run for value, run in outcome.probes.items() if not run.problem}
        if good:
            outcome.value = min(good, key=lambda value: good[value].wall)
        else:
            outcome.problem = outcome.probes[contender.values[0]].problem

    def _once(self, contender: Contender, value: int | None, *, sample: bool = False) -> Run:
        """One run, checked against what the server counted."""
        client = CLIENTS[contender.client]
        service = self._service
        source = self._workspace / contender.tree
        task = Task(source, service.bucket, service.url, service.ca_file, value)
        service.reset()
        server_before = service.cpu()
        with tempfile.TemporaryDirectory(prefix="run-", dir=self._workspace) as scratch:
            output = Path(scratch) / "output"
            usage = measure.run(
                client.argv(task),
                environment={
                    **service.environment,
                    **client.environment(task),
                    # A journal of the run before would make the next one skip every file.
                    "XDG_STATE_HOME": scratch,
                },
                directory=Path(scratch),
                output=output,
                timeout=RUN_TIMEOUT,
                sample=sample,
            )
            words = output.read_text(errors="replace")
        server_cpu = service.cpu() - server_before
        counted = service.counted()
        first = service.first_put()
        expected = self._expected[contender.tree] if client.uploads else Counted(0, 0)
        example = _EXAMPLE_TIME.search(words)
        return Run(
            wall=usage.wall,
            user=usage.user,
            system=usage.system,
            server_cpu=server_cpu,
            objects=counted.objects,
            bytes=counted.bytes,
            first_put=first - usage.began if first else None,
            example=int(example[1]) / 1000 if example else None,
            peak_pss=usage.peak_pss,
            problem=_problem(usage, counted, expected, words),
        )

    def _keep(self, contender: Contender, run: Run) -> None:
        outcome = self._outcome(contender)
        outcome.rounds.append(run)
        outcome.problem = run.problem

    def _healthy(self) -> list[Contender]:
        return [each for each in self._contenders if not self._outcome(each).problem]

    def _outcome(self, contender: Contender) -> Outcome:
        return self.outcomes[contender.label]

    def _note(self, contender: Contender, text: str) -> None:
        print(f"{self._scenario.name}: {contender.label}: {text}", file=sys.stderr, flush=True)


def _problem(usage: measure.Usage, counted: Counted, expected: Counted, words: str) -> str:
    """Why a run is no result; empty when it is one."""
    last = (words.strip().splitlines() or ["it said nothing"])[-1][:200]
    if usage.timed_out:
        return f"took longer than {RUN_TIMEOUT:g} s: {last}"
    if usage.code:
        return f"exit code {usage.code}: {last}"
    if counted != expected:
        return (
            f"the server counted {counted.objects:,} objects and {counted.bytes:,} bytes, "
            f"not {expected.objects:,} and {expected.bytes:,}"
        )
    return ""


def _run(options: Options) -> int:
    names = dict.fromkeys(
        CLIENTS[each.client].name
        for scenario in options.scenarios
        for each in options.contenders(scenario)
    )
    results: dict[str, Any] = {
        "machine": report.machine(names),
        "runs": options.runs,
        "scale": options.scale,
        "endpoint_url": options.endpoint_url,
        "scenarios": [],
    }
    print(report.machine_line(results["machine"]), end="\n\n", flush=True)
    failed = False
    for scenario in options.scenarios:
        bench = _measure(scenario, options)
        outcomes, verdicts = list(bench.outcomes.values()), bench.verdicts()
        failed = failed or any(outcome.problem for outcome in outcomes)
        print(report.table(scenario, options.scale, outcomes, verdicts), end="\n\n", flush=True)
        results["scenarios"].append(report.as_json(scenario, outcomes, verdicts))
        if options.json:
            # After each scenario: a long run that is stopped has not been for nothing.
            options.json.write_text(json.dumps(results, indent=1) + "\n")
    if options.chart:
        chart.draw(results, options.chart)
    return EXIT_FAILED if failed else 0


def _measure(scenario: Scenario, options: Options) -> Bench:
    """Makes the files, starts the server, lets everybody run, and clears everything away."""
    with stoppable(), contextlib.ExitStack() as cleanup:
        workspace = Path(tempfile.mkdtemp(prefix="bench-"))
        if options.keep:
            cleanup.callback(print, f"kept: {workspace}", file=sys.stderr)
        else:
            cleanup.callback(shutil.rmtree, workspace)
        for name in {each.tree for each in options.contenders(scenario)}:
            data.make(_trees(scenario, options)[name], workspace / name)
        (workspace / "home").mkdir()
        clients = [CLIENTS[each.client] for each in options.contenders(scenario)]
        kind = scenario.server
        if any(client.wants_md5 for client in clients):
            kind = dataclasses.replace(kind, etag="md5")
        serving = services.serving(
            kind, options.endpoint_url, options.port, str(workspace / "home")
        )
        bench = Bench(scenario, cleanup.enter_context(serving), options, workspace)
        bench.run()
        return bench


def _trees(scenario: Scenario, options: Options) -> Mapping[str, Tree]:
    return {name: tree.scaled(options.scale) for name, tree in scenario.trees.items()}


def _check(options: Options) -> None:
    """Raises ``BenchError`` for whatever would stop the bench later."""
    services.check(options.endpoint_url, options.port)
    if options.chart:
        chart.require()
    for path in (options.json, options.chart):
        if path and not path.absolute().parent.is_dir():
            raise BenchError(f"{path.parent} is no directory")
    for scenario in options.scenarios:
        contenders = options.contenders(scenario)
        if not contenders:
            raise BenchError(f"{scenario.name}: none of these clients takes part in it")
        for contender in contenders:
            if missing := CLIENTS[contender.client].missing():
                raise BenchError(missing)
        trees = _trees(scenario, options)
        used = [trees[name] for name in {each.tree for each in contenders}]
        data.check_disk(used, Path(tempfile.gettempdir()))


def _options(parsed: argparse.Namespace) -> Options:
    names = list(SCENARIOS) if parsed.scenario == ["all"] else parsed.scenario
    if not names:
        raise BenchError(f"name a scenario, or all: {', '.join(SCENARIOS)}")
    for name in names:
        if name not in SCENARIOS:
            raise BenchError(f"unknown scenario {name!r}: there are {', '.join(SCENARIOS)}, all")
    clients = frozenset(parsed.clients.split(",")) if parsed.clients else None
    for client in sorted(clients or ()):
        if client not in NAMES:
            raise BenchError(f"--clients: unknown client {client!r}: there are {', '.join(NAMES)}")
    if parsed.runs < 1:
        raise BenchError("--runs: give 1 or more")
    if not 0 < parsed.scale < float("inf"):
        raise BenchError("--scale: give a number above 0")
    if parsed.port and not 1 <= parsed.port <= 65534:
        raise BenchError("--port: give 1 to 65534")
    return Options(
        scenarios=[SCENARIOS[name] for name in names],
        clients=clients,
        runs=parsed.runs,
        scale=parsed.scale,
        endpoint_url=parsed.endpoint_url,
        port=parsed.port,
        json=parsed.json,
        chart=parsed.chart,
        keep=parsed.keep,
    )


def _parser() -> _Parser:
    parser = _Parser(prog="python -m bench.run", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("scenario", nargs="*", help="names of scenarios (--list shows them), or all")
    add("--list", action="store_true", help="show the scenarios and exit")
    add("--runs", type=int, default=5, metavar="N", help="timed rounds (default: 5)")
    add("--scale", type=float, default=1.0, metavar="F", help="size of the work (default: 1.0)")
    add("--clients", metavar="A,B", help=f"who takes part, of {', '.join(NAMES)}")
    add("--endpoint-url", metavar="URL", help="your server instead of the sink")
    add("--port", type=int, default=0, metavar="N", help="the sink's, and N+1 (default: any)")
    add("--json", type=Path, metavar="FILE", help="write all figures")
    add("--chart", type=Path, metavar="FILE", help="draw the medians (PNG)")
    add("--keep", action="store_true", help="leave the files that were uploaded")
    return parser


if __name__ == "__main__":
    sys.exit(main())
