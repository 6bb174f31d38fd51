"""Where the clients upload to: a sink of our own, or a server of the user's."""

from __future__ import annotations

import contextlib
import os
import socket
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from .errors import BenchError
from .measure import cpu_seconds
from .network import Network, Traffic
from .process import ServerError
from .scenarios import Link, ServerKind
from .sink import Sink


class Counted(NamedTuple):
    """What has arrived since the last reset."""

    objects: int
    bytes: int


class Service(Protocol):
    """A server that tells what it was sent."""

    @property
    def url(self) -> str:
        """Where it listens."""

    @property
    def bucket(self) -> str:
        """Where the objects go."""

    @property
    def ca_file(self) -> str | None:
        """The CA to trust in place of the system's."""

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment of its clients, credentials included."""

    def reset(self) -> None:
        """Forgets everything that was sent; the next run has the network's luck of the first."""

    def counted(self) -> Counted:
        """What was sent since then; an object in parts counts when it was completed."""

    def first_put(self) -> float | None:
        """When the first object or part had arrived, in seconds of the epoch; None if unknown."""

    def cpu(self) -> float:
        """CPU seconds that the server has used so far; 0 if unknown."""

    def pids(self) -> list[int]:
        """Its processes on this machine."""

    def traffic(self) -> Traffic | None:
        """What passed the network since the last reset; None where there is none between."""


class SinkService:
    """Our sink, in the kind that the scenario wants."""

    bucket = "bench"

    def __init__(
        self, sink: Sink, kind: ServerKind, home: str, network: Network | None, link: Link | None
    ) -> None:
        self._sink = sink
        self._network = network
        self._outage = link.outage if link else None
        self.url = network.url if network else sink.https if kind.tls else sink.http
        self.ca_file = sink.ca_file if kind.tls else None
        self.environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": home,
            "LANG": "C.UTF-8",
            "AWS_ACCESS_KEY_ID": "bench",
            "AWS_SECRET_ACCESS_KEY": "bench",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            # Else some SDKs look for credentials in the cloud's metadata service.
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def reset(self) -> None:
        self._sink.reset()
        if self._network is None:
            return
        self._network.forget()
        if outage := self._outage:
            begin = self._network.refuse if outage.kind == "refuse" else self._network.silence
            begin(outage.seconds, after=outage.after)

    def counted(self) -> Counted:
        counts = self._sink.counts()
        return Counted(counts["puts"] + counts["completes"], counts["bytes"])

    def first_put(self) -> float | None:
        return self._sink.first_put()

    def cpu(self) -> float:
        return cpu_seconds(self._sink.pids())

    def pids(self) -> list[int]:
        return self._sink.pids()

    def traffic(self) -> Traffic | None:
        return self._network.traffic() if self._network else None


class RemoteService:
    """The user's own server: a new bucket there, emptied before each run, removed at the end."""

    ca_file = None

    def __init__(self, url: str) -> None:
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
        from botocore.session import Session

        self.url = url
        self.bucket = f"bench-{uuid.uuid4().hex[:12]}"
        self.environment = dict(os.environ)
        session = Session()
        region = session.get_config_variable("region") or "us-east-1"
        self.environment |= {"AWS_REGION": region, "AWS_DEFAULT_REGION": region}
        self._client: Any = session.create_client("s3", endpoint_url=url, region_name=region)
        try:
            self._client.create_bucket(Bucket=self.bucket)
        except NoCredentialsError:
            raise BenchError(
                "no credentials for --endpoint-url: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            ) from None
        except (BotoCoreError, ClientError, ValueError) as error:
            text = " ".join(str(error).split())
            raise BenchError(f"--endpoint-url {url} cannot be used: {text}") from None

    def reset(self) -> None:
        for page in self._pages():
            rows = [{"Key": row["Key"]} for row in page]
            if rows:
                self._client.delete_objects(Bucket=self.bucket, Delete={"Objects": rows})

    def counted(self) -> Counted:
        sizes = [row["Size"] for page in self._pages() for row in page]
        return Counted(len(sizes), sum(sizes))

    def first_put(self) -> float | None:
        return None

    def cpu(self) -> float:
        return 0.0

    def pids(self) -> list[int]:
        return []

    def traffic(self) -> Traffic | None:
        return None

    def remove(self) -> None:
        """Deletes the bucket and all in it."""
        self.reset()
        self._client.delete_bucket(Bucket=self.bucket)

    def _pages(self) -> Iterator[list[dict[str, Any]]]:
        paginator = self._client.get_paginator("list_objects_v2")
        for page in paginator.paginate(Bucket=self.bucket):
            yield page.get("Contents", [])


@contextlib.contextmanager
def serving(
    kind: ServerKind,
    link: Link | None,
    url: str | None,
    port: int,
    home: str,
    files: Path | None = None,
) -> Iterator[Service]:
    """A service for one scenario: at ``url``, or a sink on ``port`` (0: any) and the next one,
    behind a network where the scenario has one.  ``files``: what the bucket may hold."""
    if url:
        remote = RemoteService(url)
        try:
            yield remote
        finally:
            remote.remove()
        return
    sink = Sink(
        latency=kind.latency,
        etag=kind.etag,
        distinct=kind.distinct,
        errors=kind.errors,
        resets=kind.resets,
        holds=kind.holds,
        size=kind.size,
        shelf=files if kind.shelf else None,
        port=port,
    )
    with contextlib.ExitStack() as cleanup:
        network = None
        try:
            cleanup.enter_context(sink)
            if link:
                network = Network(
                    sink.https if kind.tls else sink.http,
                    rate=link.rate,
                    latency=link.latency,
                    reset_share=link.reset_share,
                    seed=link.seed,
                )
                cleanup.enter_context(network)
        except ServerError as error:
            text = " ".join(str(error).split())[:300]
            raise BenchError(f"the server does not start: {text}") from None
        yield SinkService(sink, kind, home, network, link)


def check(url: str | None, port: int) -> None:
    """Raises ``BenchError`` when there can be no server."""
    if url:
        return
    if missing := Sink.missing():
        raise BenchError(missing)
    for number in (port, port + 1) if port else ():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", number))
            except OSError as error:
                raise BenchError(
                    f"--port: {number} cannot be used ({error.strerror}): give another, or none"
                ) from None
