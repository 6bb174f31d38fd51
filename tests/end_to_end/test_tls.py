"""Whom the program trusts."""

from __future__ import annotations

from pathlib import Path

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


def test_command_ca_bundle_that_cannot_be_read_stops(sink: Sink, full: Path) -> None:
    options = arguments(full, sink.https, "bucket", "--ca-bundle", "/no/such/file")
    assert "/no/such/file" in stopped(*options, env=environment(**KEYS))
