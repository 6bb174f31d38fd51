"""Whom a connection trusts, and how it shows who it is."""

from __future__ import annotations

import datetime
import socket
import ssl
from contextlib import closing
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from providers.errors import Fatal
from providers.http.connection import Connection
from providers.http.tls import tls_context
from tests.servers.raw import (
    GET,
    OK,
    PATIENT,
    Handler,
    Server,
    answer,
    old_context,
    over_tls,
    read_request,
    server_context,
)

LONG_AGO = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("authority") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


def status(server: Server, tls: ssl.SSLContext) -> int:
    """Of the answer to one request."""
    with closing(Connection(server.endpoint._replace(secure=True), PATIENT, tls)) as connection:
        return connection.request(GET).status


def refused(context: ssl.SSLContext) -> Handler:
    """A peer whose handshake must not succeed."""

    def handle(peer: socket.socket) -> None:
        with pytest.raises(OSError), context.wrap_socket(peer, server_side=True) as secured:
            read_request(secured)

    return handle


def test_an_expired_certificate_is_fatal(authority: trustme.CA, ca_file: str) -> None:
    expired = server_context(
        authority, not_before=LONG_AGO, not_after=LONG_AGO + datetime.timedelta(days=1)
    )
    told = "certificate: certificate has expired$"
    with Server(refused(expired)) as server, pytest.raises(Fatal, match=told):
        status(server, tls_context(ca_file))


def test_versions_of_tls_that_are_not_safe_are_fatal(authority: trustme.CA, ca_file: str) -> None:
    with Server(refused(old_context(authority))) as server:
        told = f"^{server.address} speaks no TLS that is safe: 1.2 is the least$"
        with pytest.raises(Fatal, match=told):
            status(server, tls_context(ca_file))


def test_a_server_that_answers_in_an_old_version_is_fatal(ca_file: str) -> None:
    """Though the client has offered none."""

    def handle(peer: socket.socket) -> None:
        peer.recv(4096)
        body = b"\x03\x02" + bytes(32) + b"\x00" + b"\xc0\x13" + b"\x00"
        hello = b"\x02" + len(body).to_bytes(3, "big") + body
        peer.sendall(b"\x16\x03\x02" + len(hello).to_bytes(2, "big") + hello)
        peer.recv(4096)

    with Server(handle) as server, pytest.raises(Fatal, match="1.2 is the least$"):
        status(server, tls_context(ca_file))


@pytest.mark.parametrize("name", ["127.0.0.1", "other.example"])
def test_any_certificate_will_do_where_none_is_verified(name: str) -> None:
    with Server(over_tls(trustme.CA(), answer(OK), name)) as server:
        assert status(server, tls_context(verify=False)) == 200


def test_an_ipv6_address_is_what_the_certificate_is_for(
    authority: trustme.CA, ca_file: str
) -> None:
    with Server(over_tls(authority, answer(OK), "::1"), host="::1") as server:
        assert server.address == f"[::1]:{server.port}"
        assert status(server, tls_context(ca_file)) == 200
    other, told = server_context(authority, "::2"), r"^cannot connect to \[::1\]:\d+: certificate: "
    with Server(refused(other), host="::1") as server, pytest.raises(Fatal, match=told):
        status(server, tls_context(ca_file))


@pytest.fixture
def client_cert(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "client.pem"
    authority.issue_cert("me@example").private_key_and_cert_chain_pem.write_to_path(str(path))
    return path


def test_a_client_certificate_is_shown(
    authority: trustme.CA, ca_file: str, client_cert: Path
) -> None:
    context = server_context(authority)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    shown = []

    def handle(peer: socket.socket) -> None:
        with context.wrap_socket(peer, server_side=True) as secured:
            shown.append(secured.getpeercert())
            answer(OK)(secured)

    with Server(handle) as server:
        assert status(server, tls_context(ca_file, client_cert=str(client_cert))) == 200
    assert "me@example" in str(shown[0])


def test_a_client_certificate_that_cannot_be_used_is_fatal_and_named(
    client_cert: Path, tmp_path: Path
) -> None:
    text = client_cert.read_bytes()
    key = load_pem_private_key(text, None)
    secret = key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"passphrase")
    )
    begin = text.index(b"-----BEGIN CERTIFICATE")
    files = {
        "no PEM": b"nothing",
        "no key": text[begin:],
        "no certificate": text[:begin],
        "another's key": trustme.CA().issue_cert("a@b").private_key_pem.bytes() + text[begin:],
        "passphrase": secret + text[begin:],
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(Fatal, match=f"client certificate in {tmp_path}/{name}: it takes a PEM"):
            tls_context(client_cert=str(tmp_path / name))
    with pytest.raises(Fatal, match="in /no/such/file: No such file"):
        tls_context(client_cert="/no/such/file")
