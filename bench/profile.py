"""Where the CPU goes, per object and by phase: python -m bench.profile [--files N] [--size BYTES]

A sampling profiler: every few milliseconds of CPU time the kernel interrupts the process, and the
innermost function of ours on its stack gets the sample.  Workers and supervisor run as they are;
the sampler comes in by way of Python's own ``sitecustomize`` and costs below 1 %.  What C code
spends counts for the Python function that called it.
"""

from __future__ import annotations

import argparse
import atexit
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

HOME = Path(__file__).resolve().parent.parent
DIRECTORY_VARIABLE = "BENCH_PROFILE_DIRECTORY"
INTERVAL = 0.001
"""CPU seconds between samples; kernels round it up to their tick, mostly 4 ms."""
SAMPLES_PER_WRITE = 5
"""Workers are killed at the end of a run: what was not written by then is lost."""
STARTING = "start-up, imports"

PHASES: Mapping[str, Mapping[str, str]] = {
    "_uploader/files/": {"": "scan"},
    "_uploader/processes/dispatch.py": {"": "dispatch"},
    "_uploader/processes/fork_server.py": {"": "fork"},
    "_uploader/processes/machine.py": {"": "memory watch"},
    "_uploader/processes/cpu_clock.py": {"": "concurrency"},
    "_uploader/processes/worker.py": {
        "": "message",
        "_report": "result",
        "_send_results": "result",
    },
    "_uploader/processes/": {"": "message"},
    "_uploader/display/": {"": "progress"},
    "_uploader/records/failures.py": {"": "progress"},
    "_uploader/records/": {"": "journal"},
    "_uploader/run.py": {"": "bookkeeping"},
    "_uploader/transfer/memory.py": {"": "memory watch"},
    "_uploader/transfer/concurrency.py": {"": "concurrency"},
    "_uploader/transfer/window.py": {"": "concurrency"},
    "_uploader/transfer/outage.py": {"": "attempts"},
    "_uploader/transfer/attempts.py": {"": "attempts"},
    "_uploader/transfer/slots.py": {"": "slots"},
    "_uploader/transfer/upload.py": {"": "upload", "stored": "result", "describe": "request"},
    "_uploader/transfer/": {"": "upload"},
    "providers/disk.py": {"": "open+read"},
    "providers/source.py": {"": "open+read", "guess_content_type": "request"},
    "providers/attributes.py": {"": "request"},
    "providers/http/dial.py": {"": "connect"},
    "providers/http/connection.py": {"": "send", "_receive": "receive"},
    "providers/http/response.py": {"": "receive"},
    "providers/http/stream.py": {"": "send", "receive": "receive", "receive_now": "receive"},
    "providers/http/": {"": "send"},
    "providers/s3/sigv4.py": {"": "sign"},
    "providers/s3/credentials.py": {"": "sign"},
    "providers/s3/checksums.py": {"": "checksum"},
    "providers/s3/body.py": {"": "checksum"},
    "providers/s3/": {"": "request"},
    "providers/azure_blobs/sharedkey.py": {"": "sign"},
    "providers/azure_blobs/body.py": {"": "checksum"},
    "providers/azure_blobs/": {"": "request"},
}
"""Phase by file or folder, the first that fits, and by function; the empty name stands for all
other functions."""


class Sample(NamedTuple):
    """What one process wrote: its CPU seconds and its samples by phase and function."""

    role: str
    cpu: float
    samples: Mapping[str, int]


def phase_of(stack: Iterable[tuple[str, str]]) -> tuple[str, str]:
    """Phase and function of a stack of (file, function), innermost first."""
    functions = list(stack)
    for file, function in functions:
        if file == "<frozen importlib._bootstrap>":
            return STARTING, "import"
        for ours, names in PHASES.items():
            if f"/{ours}" in file and function != "<module>":
                return names.get(function, names[""]), f"{Path(file).stem}.{function}"
    if any(file.endswith("gevent/hub.py") for file, _ in functions):
        return "event loop", "gevent"
    return "other", functions[0][1] if functions else "?"


def start() -> None:
    """Samples this process from now on, when it is one of ours.  For ``sitecustomize``."""
    arguments = " ".join(sys.orig_argv)
    if "runpy" in arguments and "_uploader" in arguments:
        role = "fork_server"
    elif "uploader.py" in arguments:
        role = "supervisor"
    else:
        return
    _Sampler(os.environ[DIRECTORY_VARIABLE]).start(role)


class _Sampler:
    def __init__(self, directory: str) -> None:
        self._directory = directory

    def start(self, role: str) -> None:
        signal.signal(signal.SIGPROF, self._take)
        # The handler runs late and must not disturb: interrupted calls go on by themselves.
        signal.siginterrupt(signal.SIGPROF, False)
        atexit.register(self._stop)
        os.register_at_fork(after_in_child=lambda: self._begin("worker"))
        self._begin(role)

    def _begin(self, role: str) -> None:
        self._role = role
        self._path = f"{self._directory}/{os.getpid()}.json"
        self._samples: Counter[str] = Counter()
        self._taken = 0
        # A fork does not inherit the timer.
        signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)

    def _take(self, _: int, frame: FrameType | None) -> None:
        self._samples["\t".join(phase_of(_stack(frame)))] += 1
        self._taken += 1
        if self._taken % SAMPLES_PER_WRITE == 0:
            self._write()

    def _stop(self) -> None:
        # Without the handler, which the interpreter removes next, the signal would kill.
        signal.setitimer(signal.ITIMER_PROF, 0)
        self._write()

    def _write(self) -> None:
        text = json.dumps([self._role, time.process_time(), self._samples])
        # Never a half-written file: the process may be killed at any time.
        with open(self._path + ".new", "w") as file:
            file.write(text)
        os.replace(self._path + ".new", self._path)


def _stack(frame: FrameType | None) -> Iterator[tuple[str, str]]:
    while frame:
        yield frame.f_code.co_filename, frame.f_code.co_name
        frame = frame.f_back


def shares(samples: Sequence[Sample], role: str) -> tuple[float, dict[str, Counter[str]]]:
    """CPU seconds of all processes of a role, and its samples by phase and function."""
    phases: dict[str, Counter[str]] = {}
    chosen = [each for each in samples if each.role == role]
    for each in chosen:
        for name, count in each.samples.items():
            phase, _, function = name.partition("\t")
            phases.setdefault(phase, Counter())[function] += count
    return sum(each.cpu for each in chosen), phases


def table(cpu: float, phases: Mapping[str, Counter[str]], objects: int) -> Iterator[str]:
    """One line for each phase, the dearest first: us per object, share, dearest functions."""
    total = sum(counter.total() for counter in phases.values()) or 1
    yield f"  {'phase':18}  us/object  share"
    ranked = sorted(phases.items(), key=lambda item: -item[1].total())
    for phase, counter in ranked:
        share = counter.total() / total
        functions = ", ".join(
            f"{name} {count / total:.0%}" for name, count in counter.most_common(4)
        )
        yield f"  {phase:18}  {cpu * share * 1e6 / objects:9.2f}  {share:5.1%}  {functions}"
    yield f"  {'all':18}  {cpu * 1e6 / objects:9.2f}  of {total} samples"


def profile(files: int, size: int, *, tls: bool = False, latency: float = 0.0) -> list[Sample]:
    """Uploads so many files to a sink and returns what was sampled."""
    from . import data, measure, services
    from .clients import CLIENTS, Task
    from .errors import BenchError
    from .run import NOBODY_FIRST
    from .scenarios import ServerKind

    services.check(None, 0)
    tree = data.Tree(count=files, size=size, folders=100)
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        workspace = Path(name)
        data.check_disk([tree], workspace)
        data.make(tree, workspace / "files")
        (workspace / "samples").mkdir()
        (workspace / "site").mkdir()
        (workspace / "site" / "sitecustomize.py").write_text(
            "from bench.profile import start\nstart()\n"
        )
        with services.serving(ServerKind(tls, latency), None, None, 0, name) as service:
            task = Task(workspace / "files", service.bucket, service.url, service.ca_file, None)
            ours = CLIENTS["ours"]
            environment = {
                **service.environment,
                **ours.environment(task),
                "PYTHONPATH": f"{workspace / 'site'}:{HOME}",
                "XDG_STATE_HOME": name,
                DIRECTORY_VARIABLE: str(workspace / "samples"),
                **NOBODY_FIRST,
            }
            usage = measure.run(
                ours.argv(task),
                environment=environment,
                directory=workspace,
                output=workspace / "output",
                timeout=600.0,
            )
            counted = service.counted().objects
            if usage.code or counted != files:
                words = (workspace / "output").read_text(errors="replace")
                raise BenchError(
                    f"exit code {usage.code}, {counted:,} of {files:,} objects: {words[-300:]}"
                )
        return [Sample(*json.loads(path.read_text())) for path in _written(workspace / "samples")]


def _written(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.json"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the profile and returns the exit code."""
    from .errors import BenchError
    from .process import ServerError
    from .run import stoppable

    parser = argparse.ArgumentParser(prog="python -m bench.profile", description=__doc__)
    add: Any = parser.add_argument
    add("--files", type=int, default=100_000, metavar="N", help="default: 100,000")
    add("--size", type=int, default=4096, metavar="BYTES", help="of each file (default: 4096)")
    add("--tls", action="store_true", help="over TLS, certificate verified")
    add("--latency", type=float, default=0.0, metavar="SECONDS", help="of the server")
    options = parser.parse_args(arguments)
    try:
        with stoppable():
            found = profile(options.files, options.size, tls=options.tls, latency=options.latency)
    except (BenchError, ServerError) as error:
        print(f"bench: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    for role in ("worker", "fork_server", "supervisor"):
        cpu, phases = shares(found, role)
        count = sum(each.role == role for each in found)
        print(f"{count} {role}{'s' if count != 1 else ''}, {cpu:.2f} s of CPU")
        print("\n".join(table(cpu, phases, options.files)), end="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
