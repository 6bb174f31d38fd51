"""Whom the program trusts."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

import pytest
import trustme

from bench.sink import Sink
from tests.command import (
    KEYS,
    MIB,
    arguments,
    environment,
    random_bytes,
    run,
    stopped,
    write,
)
from tests.servers.raw import old_context, server_context
from tests.servers.scripted import ScriptedServer, reply


def test_command_ca_bundle_names_whom_to_trust(sink: Sink, data: Path) -> None:
    write(data, "small"), write(data, "large", random_bytes(20 * MIB, seed=1))
    sink.reset()
    options = arguments(data, sink.https, "bucket", "--ca-bundle", sink.ca_file)
    assert run(*options, env=environment(**KEYS)).code == 0
    assert sink.counts()["bytes"] == len(b"content") + 20 * MIB


def test_command_takes_the_ca_bundle_from_the_environment(sink: Sink, data: Path) -> None:
    write(data, "small")
    env = environment(**KEYS, AWS_CA_BUNDLE=sink.ca_file)
    assert run(*arguments(data, sink.https, "bucket"), env=env).code == 0


def test_command_does_not_trust_a_certificate_that_nobody_vouches_for(
    sink: Sink, full: Path
) -> None:
    line = stopped(*arguments(full, sink.https, "bucket"), env=environment(**KEYS))
    assert "certificate" in line


def test_command_sends_nothing_to_a_server_that_it_does_not_trust(sink: Sink, full: Path) -> None:
    sink.reset()
    run(*arguments(full, sink.https, "bucket"), env=environment(**KEYS))
    assert sink.counts()["puts"] == 0


def test_command_ca_bundle_that_holds_no_certificate_stops(sink: Sink, full: Path) -> None:
    options = arguments(full, sink.https, "bucket", "--ca-bundle", __file__)
    assert __file__ in stopped(*options, env=environment(**KEYS))


NOT_FOUND = reply(404)
NOTHING_ELSE = ("--no-create", "--allow-public")
"""With these one request finds that there is no bucket."""
LONG_AGO = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
A_DAY = datetime.timedelta(days=1)
AUTHORITY = trustme.CA()
EXPIRED = "certificate has expired"
UNTRUSTWORTHY = {
    EXPIRED: server_context(AUTHORITY, not_before=LONG_AGO, not_after=LONG_AGO + A_DAY),
    "IP address mismatch": server_context(AUTHORITY, "other.example"),
    "unable to get local issuer certificate": server_context(trustme.CA()),
    "speaks no TLS that is safe: 1.2 is the least": old_context(AUTHORITY),
}


@pytest.mark.parametrize(
    ("provider", "reason"),
    [*(("s3", reason) for reason in UNTRUSTWORTHY), ("minio", EXPIRED), ("azure_blobs", EXPIRED)],
)
def test_command_tells_in_one_line_why_it_trusts_no_server(
    full: Path, tmp_path: Path, provider: str, reason: str
) -> None:
    """The reasons are those of the one connection that all providers have."""
    ca_file = tmp_path / "ca.pem"
    AUTHORITY.cert_pem.write_to_path(str(ca_file))
    env = environment(**KEYS, UPLOADER_KEY="key", UPLOADER_SECRET="c2VjcmV0")
    with ScriptedServer(tls=UNTRUSTWORTHY[reason]) as server:
        options = arguments(full, server.endpoint, "bucket", "--ca-bundle", ca_file)
        line = stopped(*options, "--provider", provider, env=env)
    assert reason in line
    assert server.endpoint.removeprefix("https://") in line


UNVERIFIED = "uploader: no certificate is verified (--no-verify-ssl): whoever is on the way can "


@pytest.mark.parametrize("more", [(), ("--quiet",), ("--json",)])
def test_command_trusts_anybody_when_told_so_and_says_it_aloud(
    sink: Sink, full: Path, more: tuple[str, ...]
) -> None:
    options = arguments(full, sink.https, "bucket", "--no-verify-ssl", *more)
    finished = run(*options, env=environment(**KEYS))
    assert finished.code == 0
    assert finished.complaints[0].startswith(UNVERIFIED)  # on a slow machine progress follows


def test_command_other_providers_trust_anybody_when_told_so(full: Path) -> None:
    env = environment(UPLOADER_KEY="key", UPLOADER_SECRET="secret", UPLOADER_NO_VERIFY_SSL="1")
    with ScriptedServer(NOT_FOUND, tls=server_context(trustme.CA())) as server:
        options = arguments(full, server.endpoint, "bucket", *NOTHING_ELSE)
        finished = run(*options, "--provider", "minio", env=env)
    warning, reason = finished.complaints
    assert warning.startswith(UNVERIFIED)
    assert reason == "uploader: bucket bucket does not exist"


def test_command_shows_its_client_certificate(full: Path, tmp_path: Path) -> None:
    ca_file, client_cert = tmp_path / "ca.pem", tmp_path / "client.pem"
    AUTHORITY.cert_pem.write_to_path(str(ca_file))
    AUTHORITY.issue_cert("me@example").private_key_and_cert_chain_pem.write_to_path(
        str(client_cert)
    )
    context = server_context(AUTHORITY)
    AUTHORITY.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    with ScriptedServer(NOT_FOUND, tls=context) as server:
        options = arguments(full, server.endpoint, "bucket", *NOTHING_ELSE)
        more = ("--ca-bundle", ca_file, "--client-cert", client_cert)
        line = stopped(*options, *more, env=environment(**KEYS))
    assert line == "uploader: bucket bucket does not exist"


def test_command_client_certificate_that_is_none_stops(sink: Sink, full: Path) -> None:
    options = arguments(full, sink.https, "bucket", "--client-cert", __file__)
    line = stopped(*options, env=environment(**KEYS))
    assert f"cannot use the client certificate in {__file__}: it takes a PEM file" in line
