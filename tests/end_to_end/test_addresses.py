"""Where the service listens."""

from __future__ import annotations

from pathlib import Path

from tests.command import arguments, environment, run, small_files
from tests.servers.s3 import FakeS3


def test_command_takes_an_ipv6_address(data: Path) -> None:
    names = small_files(data, 5)
    with FakeS3(buckets=["bucket"], host="::1") as server:
        assert server.endpoint.startswith("http://[::1]:")
        finished = run(*arguments(data, server.endpoint, "bucket"), env=environment(server))
        assert (finished.code, finished.stderr) == (0, "")
        assert server.objects("bucket").keys() == set(names)
