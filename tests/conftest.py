"""Fixtures for all tests: a bare environment, and servers started when first asked for.

By default the random tests are short.  These variables make them look at more:

    EXAMPLES=1000         of each property, in place of 50
    KILL_SEEDS=30         moments at which a run is killed, in place of 9
    SYNC_SEEDS=30         trees that are compared with a bucket, in place of 6
    STORM_FILES=5000      in the large storm, in place of 1,500
    STORM_EXAMPLES=100    small trees in a storm, in place of 10
    STORM_SEED=1          another storm
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# The repository's root: PYTHONPATH and working directory of every `python uploader.py`.
REPO = Path(__file__).resolve().parent.parent
if str(REPO) not in sys.path:
    sys.path.insert(0, str(REPO))

from bench.sink import Sink  # noqa: E402  (needs the line above)
from bench.slowdisk import SlowDisk  # noqa: E402
from tests.servers import require  # noqa: E402
from tests.servers.azurite import Azurite  # noqa: E402
from tests.servers.ceph import CephRGW  # noqa: E402
from tests.servers.google import Google  # noqa: E402
from tests.servers.moto import Moto  # noqa: E402
from tests.servers.rackspace import Rackspace  # noqa: E402
from tests.servers.shared import Shared  # noqa: E402

# Deadlines fail on a busy machine.
settings.register_profile("suite", deadline=None, max_examples=int(os.environ.get("EXAMPLES", 50)))
settings.load_profile("suite")


FIRST = ("dropin", "bench", "providers", "end_to_end", "processes", "servers")
"""The folders whose files take longest: run side by side, none of them should be the last."""


def pytest_configure(config: pytest.Config) -> None:
    # pytest-xdist would begin with the files that have most tests: the longest have few.
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collecting makes a million objects that stay: no garbage collection looks at them, ever."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {name: number for number, name in enumerate(FIRST)}
    items.sort(key=lambda item: order.get(item.path.parent.name, len(order)))


OTHERS = ("AWS_", "AZURE_", "GOOGLE_", "GS_", "OS_", "ST_", "UPLOADER_", "XDG_")
"""What the names of variables begin with that speak of the developer's accounts."""


def set_home(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("CONFIG", "CACHE", "DATA", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(home / name.lower()))


@pytest.fixture(scope="session", autouse=True)
def bare_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Hide the developer's credentials, settings and proxies, from the servers as well."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name in list(os.environ):
            if name.startswith(OTHERS) or name.lower().endswith("_proxy"):
                monkeypatch.delenv(name)
        # Whoever finds no credentials would ask the network's metadata service for some.
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        base = tmp_path_factory.mktemp("session")
        # To read all authorities of the system takes 25 ms, for each context; none is asked here.
        (base / "authorities").touch()
        monkeypatch.setenv("SSL_CERT_FILE", str(base / "authorities"))
        set_home(monkeypatch, base / "home")
        yield


@pytest.fixture(scope="session")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Directories that are not there yet; pytest's own way would look through all of them."""
    base = tmp_path_factory.mktemp("homes")
    return (base / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def own_home(homes: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test an empty home directory."""
    set_home(monkeypatch, next(homes))


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    base = tmp_path_factory.getbasetemp()
    with contextlib.closing(
        Shared(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base)
    ) as it:
        yield it


@pytest.fixture(scope="session")
def azurite(shared: Shared) -> Azurite:
    require(Azurite)
    return shared.get(Azurite(), "endpoint")


@pytest.fixture(scope="session")
def ceph(shared: Shared) -> CephRGW:
    require(CephRGW)
    return shared.get(CephRGW(), "endpoint", "https", "ca_file", "config")


@pytest.fixture(scope="session")
def rackspace(ceph: CephRGW) -> Iterator[Rackspace]:
    """Rackspace's identity service; libcloud has its address built in."""
    from libcloud.storage.drivers.cloudfiles import CloudFilesConnection

    with Rackspace(ceph.endpoint) as server, pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(CloudFilesConnection, "auth_url", server.endpoint)
        yield server


@pytest.fixture
def own_ceph() -> Iterator[CephRGW]:
    """One that nobody else uses, for whoever kills it."""
    require(CephRGW)
    with CephRGW() as server:
        yield server


@pytest.fixture(scope="session")
def google() -> Iterator[Google]:
    with Google() as server:
        yield server


@pytest.fixture(scope="session")
def moto(shared: Shared) -> Moto:
    require(Moto)
    return shared.get(Moto(), "endpoint")


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    require(Sink)
    with Sink() as server:
        yield server


@pytest.fixture(scope="module")
def slow_sink() -> Iterator[Sink]:
    """Answers after a tenth of a second."""
    require(Sink)
    with Sink(latency=0.1) as server:
        yield server


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The directory to upload, empty."""
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


SLOW_FILES = 200


@pytest.fixture
def slow_disk(data: Path) -> Iterator[SlowDisk]:
    """``SLOW_FILES`` small files, and a link, on a disk that takes 5 ms."""
    if reason := SlowDisk.missing():
        # In CI, too: not every container is given the device.
        pytest.skip(reason)
    from tests.command import small_files  # imports this file

    small_files(data, SLOW_FILES)
    os.symlink("folder0", data / "link")
    with SlowDisk(data, delay=0.005) as disk:
        yield disk
