"""The house stands as ARCHITECTURE.md draws it: who may import whom, and what a process loads.

Where a test fails for a new file, give the file its place in FLOORS: the lowest floor above all
that it imports.  Files of one floor do not import each other, so there are no cycles.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent

CLOUD = "<a cloud>"
"""Stands for every public file of providers/ that has no place of its own."""
FLOORS: tuple[set[str], ...] = (
    {
        "providers.attributes",
        "providers.errors",
        "providers.options",
        "providers.page_cache",
        "providers.proof",
        "providers.traffic",
    },
    {"providers.source"},
    {"providers.base", "providers.disk"},
    {
        "providers.http",
        "providers.http.dial",
        "providers.http.endpoint",
        "providers.http.idle",
        "providers.http.limit",
        "providers.http.response",
        "providers.http.retry_after",
        "providers.http.tls",
        "providers.http.xml",
        "providers.azure_blobs.metadata",
        "providers.azure_blobs.plan",
        "providers.azure_blobs.sharedkey",
        "providers.google_storage.privacy",
        "providers.s3.checksums",
        "providers.s3.endpoints",
        "providers.s3.headers",
        "providers.s3.names",
        "providers.s3.options",
        "providers.s3.sigv4",
    },
    {
        "providers.azure_blobs.blocks",
        "providers.azure_blobs.headers",
        "providers.azure_blobs.naming",
        "providers.google_storage.account",
        "providers.google_storage.answers",
        "providers.http.decoding",
        "providers.http.stream",
        "providers.s3.object_headers",
        "providers.s3.plan",
    },
    {"providers.http.route", "providers.http.sender"},
    {"providers.http.connection", "providers.http.framing", "providers.http.streamed"},
    {
        "providers.azure_blobs.answers",
        "providers.azure_blobs.body",
        "providers.azure_blobs.credentials",
        "providers.azure_blobs.listing",
        "providers.http.conn_class",
        "providers.s3.addressing",
        "providers.s3.answers",
        "providers.s3.body",
        "providers.s3.credentials",
    },
    {
        "providers.azure_blobs.service",
        "providers.google_storage.tokens",
        "providers.s3.objects",
        "providers.s3.proofs",
        "providers.libcloud",
        "providers.s3.account",
        "providers.s3.service",
        "providers.s3.usage",
    },
    {
        "providers.azure_blobs.transport",
        "providers.google_storage.driver",
        "providers.s3.connection",
        "providers.s3.privacy",
        "providers.s3.transport",
    },
    {
        "providers.azure_blobs.driver",
        "providers.google_storage.cloud",
        "providers.s3.driver",
    },
    {"providers.azure_blobs.container_requests", "providers.s3.bucket_requests"},
    {"providers.azure_blobs.container", "providers.s3.bucket", "providers.s3.multipart"},
    {"providers.azure_blobs.session", "providers.s3.session"},
    {"providers.azure_blobs.cloud", "providers.s3.cloud"},
    {CLOUD, "providers.azure_blobs", "providers.google_storage", "providers.s3"},
    {"providers"},
    {
        "_uploader",
        "_uploader.display",
        "_uploader.files",
        "_uploader.processes",
        "_uploader.records",
        "_uploader.transfer",
    },
    {
        "_uploader.amounts",
        "_uploader.apart",
        "_uploader.files.model",
        "_uploader.interrupts",
        "_uploader.plan",
    },
    {
        "_uploader.display.outlet",
        "_uploader.errors",
        "_uploader.files.rules",
        "_uploader.moments",
        "_uploader.limit_rate",
        "_uploader.processes.reaper",
        "_uploader.records.audience",
        "_uploader.records.counters",
        "_uploader.records.paths",
    },
    {
        "_uploader.config",
        "_uploader.display.rates",
        "_uploader.files.entries",
        "_uploader.files.selection",
        "_uploader.files.sources",
        "_uploader.records.lock",
    },
    {"_uploader.display.text"},
    {"_uploader.display.base", "_uploader.display.plan"},
    {"_uploader.display.json_lines", "_uploader.display.lines", "_uploader.display.terminal"},
    {
        "_uploader.display.choose",
        "_uploader.dropin.account",
        "_uploader.dropin.failures",
        "_uploader.files.listed",
        "_uploader.files.scan",
        "_uploader.files.stream",
        "_uploader.processes.cpu_budget",
        "_uploader.processes.cpu_clock",
        "_uploader.processes.dispatch",
        "_uploader.processes.fork_server",
        "_uploader.processes.sizing",
        "_uploader.processes.wire",
        "_uploader.records.failures",
        "_uploader.records.inventory",
        "_uploader.records.journal",
        "_uploader.records.preview",
        "_uploader.stopping",
        "_uploader.transfer.changes",
        "_uploader.transfer.concurrency",
        "_uploader.transfer.memory",
        "_uploader.transfer.multipart",
        "_uploader.transfer.outage",
        "_uploader.transfer.pacing",
        "_uploader.transfer.ranges",
        "_uploader.transfer.retry",
        "_uploader.transfer.window",
    },
    {
        "_uploader.dropin.functions",
        "_uploader.dropin.sending",
        "_uploader.processes.cpu_pause",
        "_uploader.processes.machine",
        "_uploader.processes.priority",
        "_uploader.processes.shared_rate",
        "_uploader.processes.worker_process",
        "_uploader.transfer.attempts",
        "_uploader.transfer.pacer",
        "_uploader.transfer.slots",
    },
    {
        "_uploader.processes.cpu_cap",
        "_uploader.rate_control",
        "_uploader.records.comparison",
        "_uploader.transfer.deletion",
        "_uploader.transfer.listing",
        "_uploader.transfer.strays",
    },
    {"_uploader.transfer.upload"},
    {"_uploader.transfer.content", "_uploader.transfer.stdin"},
    {"_uploader.transfer.check", "_uploader.transfer.compare"},
    {
        "_uploader.processes.supervisor",
        "_uploader.resources",
        "_uploader.records.ledger",
        "_uploader.state",
        "_uploader.transfer.engine",
    },
    {"_uploader.choice", "_uploader.processes.worker"},
    {"_uploader.intake", "_uploader.surplus"},
    {"_uploader.run"},
    {"_uploader.dropin.engines"},
    {"_uploader.dropin.uploads"},
    {"_uploader.__main__", "_uploader.cli", "_uploader.dropin"},
    {"_uploader.start"},
    {"uploader"},
)
PUBLIC_FACE = {
    *("bench.network", "bench.page_cache", "bench.process", "bench.sink", "bench.slowdisk"),
}
"""What bench offers: servers, a bad network, a slow disk, a look into the page cache."""
PATCHING = {"_uploader/__main__.py", "uploader.py"}
"""The two places where a process is patched."""
HARMLESS = {"import gc"}
"""What may be imported before: it takes no blocking function along."""
PATCH = "from gevent import monkey\nmonkey.patch_all()\n"


def floor_of(module: str) -> int | None:
    """The module's floor, counted from the ground; None when it has no place."""
    for number, names in enumerate(FLOORS):
        if module in names:
            return number
    package, _, name = module.rpartition(".")
    return floor_of(CLOUD) if package == "providers" and not name.startswith("_") else None


def named(files: Iterable[Path]) -> dict[str, Path]:
    """The files by the names of their modules."""
    found = {}
    for file in files:
        parts = file.relative_to(REPO).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


@cache
def modules() -> dict[str, Path]:
    """Every module of the program: its name and its file."""
    files = [REPO / "uploader.py", *REPO.glob("_uploader/**/*.py"), *REPO.glob("providers/**/*.py")]
    return named(files)


@cache
def around() -> dict[str, Path]:
    """Every module of bench and tests."""
    return named([*REPO.glob("bench/**/*.py"), *REPO.glob("tests/**/*.py")])


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(), str(file))


@cache
def imported(module: str) -> tuple[str, ...]:
    """The modules that a module imports anywhere in its file; of the program, by full name."""
    return tuple(_imported(module))


def _imported(module: str) -> Iterator[str]:
    file = modules().get(module) or around()[module]
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *filter(None, [base])])
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                yield whole if whole in modules() or whole in around() else base


def ours(module: str) -> bool:
    return module.split(".")[0] in {"uploader", "_uploader", "providers", "tests", "bench"}


@cache
def loaded(code: str) -> frozenset[str]:
    """The modules that a fresh interpreter holds after ``code``, each with its parents."""
    report = "\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPO), "HOME": os.environ["HOME"]}
    environment |= {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code + report],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return frozenset(json.loads(done.stdout))


def opening(name: str, address: str) -> str:
    """Code that opens a cloud as a worker does."""
    return (
        f"{PATCH}import _uploader.processes.worker, providers\n"
        "from providers.base import CloudSettings\n"
        f"providers.load(CloudSettings({name!r}, 'b', {address!r})).open().close()"
    )


S3 = opening("s3", "http://127.0.0.1:1")
LOCAL = opening("local", str(REPO))


def blocks(node: ast.AST) -> Iterator[list[ast.stmt]]:
    """Every list of statements in a tree."""
    for child in ast.walk(node):
        for _, value in ast.iter_fields(child):
            if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
                yield value


def is_patch(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and ast.unparse(node) == "monkey.patch_all()"


class TestFloors:
    @pytest.mark.parametrize("module", modules())
    def test_each_file_has_its_place(self, module: str) -> None:
        assert floor_of(module) is not None, (
            f"{modules()[module].relative_to(REPO)} is new: give {module} its place in FLOORS of "
            f"{Path(__file__).name}, and ARCHITECTURE.md a line where it is a new job"
        )

    def test_each_place_has_its_file(self) -> None:
        missing = set().union(*FLOORS) - {CLOUD, *modules()}
        assert not missing, f"FLOORS names files that are not there: {sorted(missing)}"

    @pytest.mark.parametrize("module", modules())
    def test_imports_go_down(self, module: str) -> None:
        floor = floor_of(module)
        for other in filter(ours, imported(module)):
            below = floor_of(other)
            assert below is not None, f"{module} imports {other}, which has no place in the house"
            assert floor is not None
            assert below < floor, f"{module} imports {other}, which is not below it"

    def test_clouds_do_not_import_each_other(self) -> None:
        """They share a floor; this is here so that the rule can be found."""
        clouds = [name for name in modules() if floor_of(name) == floor_of(CLOUD)]
        assert "providers.s3" in clouds
        for cloud in clouds:
            assert not set(imported(cloud)) & set(clouds)

    @pytest.mark.parametrize("module", ["_uploader", "providers.errors", "providers.base"])
    def test_what_everything_rests_on_imports_nothing_foreign(self, module: str) -> None:
        names = {name.split(".")[0] for name in imported(module) if not ours(name)}
        assert names <= sys.stdlib_module_names

    @pytest.mark.parametrize(
        "module",
        [
            "display.plan",
            "display.rates",
            "plan",
            "display.text",
            "files.rules",
            "files.selection",
            "moments",
            "processes.cpu_budget",
            "processes.dispatch",
            "processes.sizing",
            "records.counters",
            "stopping",
            "transfer.changes",
            "transfer.memory",
            "transfer.concurrency",
            "transfer.multipart",
            "transfer.outage",
            "transfer.pacing",
            "transfer.ranges",
            "transfer.retry",
            "transfer.window",
        ],
    )
    def test_what_decides_does_not_look_at_the_world(self, module: str) -> None:
        """Time, randomness and samples are arguments, so that tests can give them."""
        looking = {"asyncio", "gevent", "os", "random", "socket", "threading", "time"}
        assert looking.isdisjoint(imported(f"_uploader.{module}"))


class TestAround:
    """bench belongs to the users: it runs without the tests, and the program without both."""

    def test_the_program_knows_neither_bench_nor_tests(self) -> None:
        for module in modules():
            assert not [name for name in imported(module) if name.startswith(("bench", "tests"))]

    def test_bench_does_not_import_tests(self) -> None:
        for module in around():
            if module.startswith("bench"):
                found = [name for name in imported(module) if name.split(".")[0] == "tests"]
                assert not found, f"{module} imports {found}"

    def test_tests_import_the_public_face_of_bench(self) -> None:
        for module in around():
            if module.startswith("tests") and not module.startswith("tests.bench"):
                found = {name for name in imported(module) if name.split(".")[0] == "bench"}
                assert found <= PUBLIC_FACE, f"{module} imports {found - PUBLIC_FACE}"


class TestLight:
    @pytest.mark.parametrize("module", ["cli", "run", "processes.supervisor"])
    def test_the_side_of_the_supervisor_loads_no_network(self, module: str) -> None:
        heavy = {"gevent", "libcloud", "requests", "botocore", "awscrt", "httptools"}
        assert heavy.isdisjoint(loaded(f"import _uploader.{module}"))

    @pytest.mark.parametrize("module", ["attributes", "base", "errors", "source", "traffic"])
    def test_the_contract_of_the_clouds_loads_no_cloud(self, module: str) -> None:
        """Both sides import it."""
        heavy = {"gevent", "libcloud", "requests", "botocore", "awscrt", "httptools", "ssl"}
        assert heavy.isdisjoint(loaded(f"import providers.{module}"))

    @pytest.mark.parametrize("code", [S3, LOCAL], ids=["s3", "local"])
    def test_a_worker_loads_no_journal_and_no_command_line(self, code: str) -> None:
        names = loaded(code)
        assert "_uploader.processes.worker" in names
        assert {"sqlite3", "argparse", "tqdm", "psutil", "_uploader.run"}.isdisjoint(names)

    def test_a_worker_with_keys_in_its_environment_loads_no_botocore(self) -> None:
        names = loaded(S3)
        assert "providers.s3.cloud" in names
        assert "botocore" not in names

    def test_nobody_who_chooses_nothing_loads_what_selects(self) -> None:
        names = loaded("import _uploader.cli, _uploader.run")
        selecting = {"rules", "selection", "listed", "sources"}
        assert {"pathspec", *(f"_uploader.files.{name}" for name in selecting)}.isdisjoint(names)

    def test_a_worker_loads_the_cloud_it_needs_only(self) -> None:
        assert "providers.s3.cloud" not in loaded(LOCAL)


class TestPatching:
    def test_two_places_patch(self) -> None:
        found = {
            str(file.relative_to(REPO))
            for file in modules().values()
            for node in ast.walk(tree(file))
            if isinstance(node, ast.Attribute) and node.attr.startswith("patch_")
        }
        assert found == PATCHING

    @pytest.mark.parametrize("name", sorted(PATCHING))
    def test_nothing_that_blocks_is_imported_before(self, name: str) -> None:
        """What was imported before keeps the blocking functions it took along."""
        [block] = [block for block in blocks(tree(REPO / name)) if any(map(is_patch, block))]
        patch = next(filter(is_patch, block))
        before = block[: block.index(patch)]
        imports = [n for n in before if isinstance(n, (ast.Import, ast.ImportFrom))]
        gevents_own = {"from gevent import events", "from gevent import monkey"}
        assert {ast.unparse(node) for node in imports} - HARMLESS <= gevents_own

    def test_the_package_itself_imports_nothing(self) -> None:
        """It is loaded before its ``__main__``."""
        assert set(imported("_uploader")) <= {"__future__"}

    def test_a_worker_is_patched(self) -> None:
        code = "import _uploader.__main__, gevent.monkey as m; assert m.is_module_patched('socket')"
        assert "_uploader.processes.worker" in loaded(code)
