"""Where the service listens."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from tests.command import arguments, environment, run, small_files
from tests.hooks import on_import
from tests.servers.s3 import FakeS3


def test_command_takes_an_ipv6_address(data: Path) -> None:
    names = small_files(data, 5)
    with FakeS3(buckets=["bucket"], host="::1") as server:
        assert server.endpoint.startswith("http://[::1]:")
        finished = run(
            *arguments(data, server.endpoint, "bucket", "--quiet"), env=environment(server)
        )
        assert (finished.code, finished.stderr) == (0, "")
        assert server.objects("bucket").keys() == set(names)


def test_command_uses_all_addresses_of_a_name_but_dead_ones(data: Path, tmp_path: Path) -> None:
    """Two servers with one name; at its third address nobody listens."""
    names = small_files(data, 200)
    code = """
        def change(module):
            import gevent.socket
            def getaddrinfo(host, port, *more):
                assert host == "service.test"
                return [(2, 1, 6, "", (f"127.0.0.{n}", port)) for n in (2, 1, 3)]
            gevent.socket.getaddrinfo = getaddrinfo
    """
    hook = on_import(tmp_path / "hooks", "providers.http.dial", code)
    with (
        FakeS3(buckets=["bucket"]) as first,
        FakeS3(buckets=["bucket"], host="127.0.0.3", port=urlsplit(first.endpoint).port) as third,
    ):
        endpoint = first.endpoint.replace("127.0.0.1", "service.test")
        finished = run(
            *arguments(data, endpoint, "bucket", "--quiet"), env=environment(first, **hook)
        )
        assert (finished.code, finished.stderr) == (0, "")
        stored = [set(server.objects("bucket")) for server in (first, third)]
    assert all(stored), "each has some"
    assert stored[0] | stored[1] == set(names)
