"""The way to the service by a proxy that the environment names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from bench.sink import Sink
from tests.command import KEYS, arguments, environment, run, small_files, stopped
from tests.servers import require
from tests.servers.s3 import FakeS3
from tests.servers.tinyproxy import TinyProxy

PASSWORD = "pass_word"


@pytest.fixture(scope="module")
def proxy() -> Iterator[TinyProxy]:
    require(TinyProxy)
    with TinyProxy() as server:
        yield server


@pytest.fixture(scope="module")
def closed_proxy() -> Iterator[TinyProxy]:
    """For one user only."""
    require(TinyProxy)
    with TinyProxy(PASSWORD) as server:
        yield server


def url_of(proxy: TinyProxy, password: str = PASSWORD) -> str:
    return f"http://{proxy.user}:{password}@{proxy.address}"


def upload(sink: Sink, data: Path, **variables: str) -> list[object]:
    """Sends 20 files over TLS; returns the end of the run."""
    small_files(data, 20)
    sink.reset()
    options = arguments(data, sink.https, "bucket", "--ca-bundle", sink.ca_file)
    finished = run(*options, env=environment(**KEYS, **variables))
    return [finished.code, finished.stderr, sink.counts()["puts"]]


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_command_goes_through_the_proxys_tunnel(
    sink: Sink, proxy: TinyProxy, data: Path, variable: str
) -> None:
    before = len(proxy.asked)
    assert upload(sink, data, **{variable: f"http://{proxy.address}"}) == [0, "", 20]
    assert {*proxy.asked[before:]} == {f"CONNECT {urlsplit(sink.https).netloc}"}


def test_command_tells_the_proxy_who_it_is(sink: Sink, closed_proxy: TinyProxy, data: Path) -> None:
    assert upload(sink, data, HTTPS_PROXY=url_of(closed_proxy)) == [0, "", 20]


@pytest.mark.parametrize("password", [None, "wrong_word"])
@pytest.mark.parametrize("provider", ["s3", "minio"])
def test_command_that_the_proxy_refuses_stops_and_keeps_the_password_to_itself(
    sink: Sink, closed_proxy: TinyProxy, full: Path, password: str | None, provider: str
) -> None:
    address = closed_proxy.address
    url = url_of(closed_proxy, password) if password else f"http://{address}"
    keys = {**KEYS, "UPLOADER_KEY": "key", "UPLOADER_SECRET": "secret"}
    more = ("--ca-bundle", sink.ca_file, "--provider", provider)
    line = stopped(
        *arguments(full, sink.https, "bucket", *more), env=environment(**keys, HTTPS_PROXY=url)
    )
    assert f"proxy {address} answered 40" in line
    assert "wrong_word" not in line


def test_command_asks_no_proxy_for_what_no_proxy_names(
    sink: Sink, proxy: TinyProxy, data: Path
) -> None:
    before = len(proxy.asked)
    variables = {"HTTPS_PROXY": f"http://{proxy.address}", "NO_PROXY": "example.com,127.0.0.0/8"}
    assert upload(sink, data, **variables) == [0, "", 20]
    assert len(proxy.asked) == before


def test_command_lets_the_proxy_forward_plain_requests(closed_proxy: TinyProxy, data: Path) -> None:
    """The server gets them signed right."""
    names = small_files(data, 20)
    before = len(closed_proxy.asked)
    with FakeS3(buckets=["bucket"]) as server:
        env = environment(server, HTTP_PROXY=url_of(closed_proxy))
        finished = run(*arguments(data, server.endpoint, "bucket"), env=env)
        assert (finished.code, finished.stderr) == (0, "")
        assert server.objects("bucket").keys() == set(names)
        target = f"{server.endpoint}/bucket/{names[0]}"
    assert f"PUT {target}" in closed_proxy.asked[before:]
