"""One server for all who ask, as long as anybody uses it."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import sleep

from bench.process import Server
from tests.command import wait_for
from tests.servers.shared import Shared


class Dummy(Server):
    """Counts how often one was started, and notes those that run."""

    started = 0
    running: list[str] = []

    def _start(self, directory: Path, cleanup: contextlib.ExitStack) -> None:
        Dummy.started += 1
        self.endpoint = str(directory)
        Dummy.running.append(self.endpoint)
        cleanup.callback(Dummy.running.remove, self.endpoint)


def test_the_second_one_gets_the_server_of_the_first(tmp_path: Path) -> None:
    first, second, before = Shared(tmp_path), Shared(tmp_path), Dummy.started
    with contextlib.closing(first), contextlib.closing(second):
        found = [shared.get(Dummy(), "endpoint").endpoint for shared in (first, second)]
        assert Dummy.started == before + 1
        assert found == Dummy.running * 2
    assert Dummy.running == []


def test_a_server_ends_when_its_last_user_has_ended(tmp_path: Path) -> None:
    first, second = Shared(tmp_path), Shared(tmp_path)
    for shared in (first, second):
        shared.get(Dummy(), "endpoint")
    with ThreadPoolExecutor() as pool:
        ending = pool.submit(first.close)
        sleep(0.1)
        assert len(Dummy.running) == 1
        second.close()
        ending.result()
    assert Dummy.running == []


def test_whoever_asks_after_its_end_gets_another_server(tmp_path: Path) -> None:
    for _ in range(2):
        with contextlib.closing(Shared(tmp_path)) as shared:
            endpoint = shared.get(Dummy(), "endpoint").endpoint
            assert Dummy.running == [endpoint]


def test_two_that_wait_for_each_others_server_both_end(tmp_path: Path) -> None:
    class Other(Dummy):
        pass

    first, second = Shared(tmp_path), Shared(tmp_path)
    first.get(Dummy(), "endpoint")
    second.get(Other(), "endpoint")
    first.get(Other(), "endpoint")
    second.get(Dummy(), "endpoint")
    with ThreadPoolExecutor() as pool:
        ending = [pool.submit(shared.close) for shared in (first, second)]
        wait_for(lambda: all(each.done() for each in ending))
    assert Dummy.running == []
