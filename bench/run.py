"""Runs scenarios: python -m bench.run SCENARIO...|all

Every scenario is one command: this one.  See bench/README.md for what is measured and how.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
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

from . import chart, data, measure, neighbour, report, services
from .clients import CLIENTS, HOME, NAMES, Client, Task
from .data import Tree
from .errors import BenchError
from .network import Network
from .process import ServerError
from .results import Neighbour, Outcome, Run, Verdict, judge
from .scenarios import SCENARIOS, Contender, Scenario
from .services import Counted, Service
from .slowdisk import SlowDisk

EXIT_FAILED, EXIT_USAGE = 1, 2
NOBODY_FIRST = {"UPLOADER_NICE": "0"}
"""The server stands for a machine elsewhere, but is on the same processors: who let it go first
would be interrupted by each request."""
HOUR = 3600.0
RUN_TIMEOUT = 900.0
"""Seconds that one run may take: some clients try for minutes what cannot succeed."""
ON_DISK = Path("/var/tmp")
"""Where files lie that are to be read from a disk: $TMPDIR may be in memory."""
PAGE_CACHE = Path("/proc/sys/vm/drop_caches")
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
                print(f"{scenario.name:18} {scenario.title}")
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
        self,
        scenario: Scenario,
        service: Service,
        options: Options,
        workspace: Path,
        sources: Mapping[str, Path],
    ) -> None:
        self._scenario = scenario
        self._service = service
        self._workspace = workspace
        self._sources = sources
        self._rounds = min(options.runs, scenario.most_runs)
        self._contenders = options.contenders(scenario)
        self._trees = _trees(scenario, options)
        self._expected = {
            name: Counted(0, 0) if scenario.again else Counted(tree.count, tree.total)
            for name, tree in self._trees.items()
        }
        self.outcomes = {
            each.label: Outcome(
                each.label, CLIENTS[each.client].name, CLIENTS[each.client].parameter
            )
            for each in self._contenders
        }

    def run(self) -> None:
        """Warms up, lets the contenders take turns, and looks at their memory at the end."""
        slow = self._scenario.slow
        watched = slow and not (self._scenario.neighbour or self._scenario.one_processor)
        for contender in self._contenders:
            self._warm_up(contender)
        if self._scenario.changed:
            self._change_files()
        for number in range(self._rounds):
            for contender in self._healthy():
                self._note(contender, f"round {number + 1} of {self._rounds}")
                value = self._outcome(contender).value
                self._keep(contender, self._once(contender, value, sample=watched))
        for contender in [] if slow else self._healthy():
            self._note(contender, "memory")
            outcome = self._outcome(contender)
            run = self._once(contender, outcome.value, sample=True)
            outcome.sampled = run
            outcome.problem = run.problem

    def _change_files(self) -> None:
        """Some get another content, others other permissions."""
        for name, tree in self._trees.items():
            changed = max(1, round(tree.count * self._scenario.changed))
            described = max(1, round(tree.count * self._scenario.described))
            for number, (path, size) in enumerate(tree.files()):
                if number < changed:
                    (self._sources[name] / path).write_bytes(os.urandom(size))
                elif number < changed + described:
                    (self._sources[name] / path).chmod(0o600)
            self._expected[name] = Counted(changed, changed * tree.size)

    def verdicts(self) -> list[Verdict]:
        """The targets of the scenario."""
        return list(judge(self._scenario, self.outcomes))

    def _warm_up(self, contender: Contender) -> None:
        """One run that does not count, or one for each value of the parameter to find the best."""
        outcome = self._outcome(contender)
        if self._scenario.again:
            self._note(contender, "warm-up")
            self._once(contender, None)  # may send everything
            return
        if self._scenario.slow:
            # The first value is the only one, or the one to take.
            outcome.value = contender.values[0] if contender.values else None
            return
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
        task = Task(
            source=self._sources[contender.tree],
            bucket="calm" if contender.undisturbed else service.bucket,
            endpoint=service.url,
            ca_file=service.ca_file,
            value=value,
            program=contender.program or HOME,
        )
        if self._scenario.disk.cold:
            self._cool_down(client, task)
        service.reset()
        server_before = service.cpu()
        seen = Neighbour()
        with self._beside(seen, contender) as wrapper:
            usage, words = self._command(client, task, sample=sample, wrapper=wrapper)
        server_cpu = service.cpu() - server_before
        counted = service.counted()
        traffic = service.traffic()
        first = service.first_put()
        expected = self._expected[contender.tree] if client.uploads else Counted(0, 0)
        link = self._scenario.link
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
            problem=_problem(usage, counted, expected, words, rough=self._scenario.rough),
            failed=expected.objects - counted.objects,
            code=usage.code,
            sent=traffic.sent / expected.bytes if traffic and expected.bytes else None,
            link=counted.bytes / link.rate / usage.wall if link else None,
            busy=traffic.sent / link.rate / traffic.seconds
            if traffic and link and traffic.seconds
            else None,
            resets=traffic.resets if traffic else None,
            resumed=traffic.resumed if traffic else None,
            pause=traffic.pause if traffic and traffic.resumed is not None else None,
            cpus=1 if self._scenario.one_processor else len(os.sched_getaffinity(0)),
            neighbour=seen,
        )

    @contextlib.contextmanager
    def _beside(self, seen: Neighbour, contender: Contender) -> Iterator[Sequence[str]]:
        """Who else is on the machine; gives a command that the client is run by."""
        wrapper = neighbour.first_processor() if self._scenario.one_processor else []
        if self._scenario.neighbour == "computes":
            with neighbour.computing(seen, lambda: self._service.first_put() is not None):
                yield wrapper
        elif self._scenario.neighbour == "caches":
            with neighbour.caching(seen) as enter:
                yield [*wrapper, *enter]
        elif self._scenario.neighbour == "measures":
            asked = int(contender.client.removeprefix("rate-").removesuffix("M")) * 2**20
            with neighbour.measuring(seen, asked, self._sent):
                yield wrapper
        else:
            yield wrapper

    def _sent(self) -> int:
        traffic = self._service.traffic()
        return traffic.sent if traffic else 0

    def _command(
        self, client: Client, task: Task, *, sample: bool = False, wrapper: Sequence[str] = ()
    ) -> tuple[measure.Usage, str]:
        """Runs a client; what it took, and what it printed."""
        with tempfile.TemporaryDirectory(prefix="run-", dir=self._workspace) as scratch:
            output = Path(scratch) / "output"
            usage = measure.run(
                [*wrapper, *client.argv(task)],
                environment={
                    **self._service.environment,
                    **client.environment(task),
                    "XDG_STATE_HOME": self._state(scratch),
                    **({} if self._scenario.neighbour == "computes" else NOBODY_FIRST),
                },
                directory=Path(scratch),
                output=output,
                timeout=RUN_TIMEOUT,
                sample=sample,
            )
            return usage, output.read_text(errors="replace")

    def _state(self, scratch: str) -> str:
        """Where ours keeps its journal: that of the run before would make the next one skip every
        file, but of a warm-up it is what each later run begins with."""
        if not self._scenario.again:
            return scratch
        kept = self._workspace / "state"
        if not kept.exists():
            return str(kept)
        return str(shutil.copytree(kept, Path(scratch) / "state"))

    def _cool_down(self, client: Client, task: Task) -> None:
        """Empties the page cache of all but the client's own program."""
        os.sync()
        PAGE_CACHE.write_text("3\n")
        with tempfile.TemporaryDirectory(prefix="other-", dir=self._workspace) as other:
            (Path(other) / "file").write_bytes(b"content")
            self._command(client, dataclasses.replace(task, source=Path(other)))

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


def _problem(
    usage: measure.Usage, counted: Counted, expected: Counted, words: str, *, rough: bool
) -> str:
    """Why a run is no result; empty when it is one."""
    last = (words.strip().splitlines() or ["it said nothing"])[-1][:200]
    if usage.timed_out:
        return f"took longer than {RUN_TIMEOUT:g} s: {last}"
    if rough and counted.objects:
        return ""
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
        if reason := _unavailable(scenario, options):
            print(f"{scenario.name}: left out: {reason}", end="\n\n", flush=True)
            continue
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
        workspace = Path(tempfile.mkdtemp(prefix="bench-", dir=_directory(scenario)))
        if options.keep:
            cleanup.callback(print, f"kept: {workspace}", file=sys.stderr)
        else:
            cleanup.callback(shutil.rmtree, workspace)
        sources = {}
        for name in {each.tree for each in options.contenders(scenario)}:
            sources[name] = workspace / name
            # s5cmd sends what is not older than its object.
            age = HOUR if scenario.again else 0.0
            data.make(_trees(scenario, options)[name], sources[name], age)
            if delay := scenario.disk.delay:
                disk = cleanup.enter_context(SlowDisk(sources[name], delay=delay))
                sources[name] = disk.path
        (workspace / "home").mkdir()
        clients = [CLIENTS[each.client] for each in options.contenders(scenario)]
        kind = scenario.server
        if scenario.again and not kind.shelf:
            tree = _trees(scenario, options)["files"]
            kind = dataclasses.replace(kind, holds=tree.count, size=tree.size)
        if any(client.wants_md5 for client in clients):
            kind = dataclasses.replace(kind, etag="md5")
        serving = services.serving(
            kind,
            scenario.link,
            options.endpoint_url,
            options.port,
            str(workspace / "home"),
            next(iter(sources.values())),
        )
        service = cleanup.enter_context(serving)
        if scenario.neighbour or scenario.one_processor:
            neighbour.leave_to_clients(service.pids(), first_processor=scenario.one_processor)
        bench = Bench(scenario, service, options, workspace, sources)
        bench.run()
        return bench


def _trees(scenario: Scenario, options: Options) -> Mapping[str, Tree]:
    return {name: tree.scaled(options.scale) for name, tree in scenario.trees.items()}


def _directory(scenario: Scenario) -> Path:
    return ON_DISK if scenario.disk.cold else Path(tempfile.gettempdir())


def _unavailable(scenario: Scenario, options: Options) -> str | None:
    """Why this scenario cannot be had here; None when it can."""
    if options.endpoint_url and (
        scenario.link
        or scenario.server.distinct
        or scenario.again
        or scenario.server.shelf
        or scenario.neighbour == "computes"
    ):
        return "it needs the sink, so no --endpoint-url"
    if scenario.link and (reason := Network.missing()):
        return reason
    if scenario.disk.delay and (reason := SlowDisk.missing()):
        return reason
    if scenario.one_processor and len(os.sched_getaffinity(0)) < 2:
        return "the server needs a processor of its own"
    if scenario.neighbour == "caches" and (reason := neighbour.no_groups()):
        return reason
    if scenario.disk.cold and not os.access(PAGE_CACHE, os.W_OK):
        return "only root on Linux can empty the page cache"
    return None


def _check(options: Options) -> None:
    """Raises ``BenchError`` for whatever would stop the bench later."""
    services.check(options.endpoint_url, options.port)
    if options.chart:
        chart.require()
    for path in (options.json, options.chart):
        if path and not path.absolute().parent.is_dir():
            raise BenchError(f"{path.parent} is no directory")
    for scenario in options.scenarios:
        if _unavailable(scenario, options):
            continue
        contenders = options.contenders(scenario)
        if not contenders:
            raise BenchError(f"{scenario.name}: none of these clients takes part in it")
        for contender in contenders:
            if missing := CLIENTS[contender.client].missing():
                raise BenchError(missing)
        trees = _trees(scenario, options)
        used = [trees[name] for name in {each.tree for each in contenders}]
        data.check_disk(used, _directory(scenario))


def _options(parsed: argparse.Namespace) -> Options:
    if not parsed.scenario:
        raise BenchError(f"name a scenario, or all: {', '.join(SCENARIOS)}")
    scenarios = [scenario for name in parsed.scenario for scenario in _named(name)]
    if parsed.program:
        program = parsed.program.resolve()
        if not (program / "uploader.py").is_file():
            raise BenchError(f"--program: {parsed.program} has no uploader.py")
        scenarios = [scenario.beside(program) for scenario in scenarios]
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
        scenarios=scenarios,
        clients=clients,
        runs=parsed.runs,
        scale=parsed.scale,
        endpoint_url=parsed.endpoint_url,
        port=parsed.port,
        json=parsed.json,
        chart=parsed.chart,
        keep=parsed.keep,
    )


def _named(name: str) -> list[Scenario]:
    """One scenario, a family of them by what their names begin with, or all."""
    if name == "all":
        return list(SCENARIOS.values())
    found = [s for s in SCENARIOS.values() if s.name == name or s.name.startswith(f"{name}-")]
    if not found:
        raise BenchError(f"unknown scenario {name!r}: there are {', '.join(SCENARIOS)}, all")
    return found


def _parser() -> _Parser:
    parser = _Parser(prog="python -m bench.run", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("scenario", nargs="*", help="scenarios (--list shows them), families (outage), or all")
    add("--list", action="store_true", help="show the scenarios and exit")
    add("--runs", type=int, default=5, metavar="N", help="timed rounds (default: 5)")
    add("--scale", type=float, default=1.0, metavar="F", help="size of the work (default: 1.0)")
    add("--clients", metavar="A,B", help=f"who takes part, of {', '.join(NAMES)}")
    add("--program", type=Path, metavar="DIR", help="another checkout of ours, beside this one")
    add("--endpoint-url", metavar="URL", help="your server instead of the sink")
    add("--port", type=int, default=0, metavar="N", help="the sink's, and N+1 (default: any)")
    add("--json", type=Path, metavar="FILE", help="write all figures")
    add("--chart", type=Path, metavar="FILE", help="draw the medians (PNG)")
    add("--keep", action="store_true", help="leave the files that were uploaded")
    return parser


if __name__ == "__main__":
    sys.exit(main())
