"""TLS between memory buffers: trust, handshake, encryption.  No I/O."""

from __future__ import annotations

import os
import ssl

from ..errors import Fatal

OPEN_BLOCK = 64 * 1024
"""Most plaintext that one read takes out."""
ALERT, HANDSHAKE = 21, 22
"""The types that the first record of a TLS server has: RFC 8446 section 5.1."""


TOO_OLD = frozenset({"UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION"})
"""Reasons of OpenSSL's: the peer speaks TLS, but no version that is safe."""


class NotTLS(Exception):
    """The peer answered the handshake with something else."""


def tls_context(
    ca_file: str | None = None, *, client_cert: str | None = None, verify: bool = True
) -> ssl.SSLContext:
    """TLS 1.2 or later, verified, trusting the system's CAs or those in ``ca_file`` only.

    ``ca_file`` may be a directory of hashed certificates.  ``client_cert``: a PEM file of the
    certificate to show to a server that asks for one, and its key without a passphrase.  Without
    ``verify`` any certificate will do.  Raises ``Fatal`` when a file is unusable.  Takes some
    20 ms: build one per process and share it.
    """
    try:
        if ca_file and os.path.isdir(ca_file):
            context = ssl.create_default_context(capath=ca_file)
        else:
            context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        reason = error.strerror or "no certificates"
        raise Fatal(f"cannot read the CA certificates in {ca_file}: {reason}") from None
    if client_cert:
        _show(context, client_cert)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def _show(context: ssl.SSLContext, client_cert: str) -> None:
    wrong = f"cannot use the client certificate in {client_cert}"
    try:
        # An empty passphrase: without one OpenSSL would ask on the terminal.
        context.load_cert_chain(client_cert, password="")
    except ssl.SSLError:
        wanted = "it takes a PEM file of certificate and key, the key without a passphrase"
        raise Fatal(f"{wrong}: {wanted}") from None
    except OSError as error:
        raise Fatal(f"{wrong}: {error.strerror}") from None


class Tls:
    """The client's side of one TLS connection; the caller moves the bytes.

    Memory buffers make waiting the same with TLS and without, and whether or not the ssl module is
    patched.
    """

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        """``host``: the name that the certificate must have."""
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._answered = False
        self.ended = False
        """The peer sends nothing more."""

    def handshake(self) -> bool:
        """Goes on with the handshake; false while it needs bytes of the peer.

        Either way, and when it raises an ssl.SSLError, ``outgoing`` has bytes for the peer.
        """
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def handshake_received(self, data: bytes) -> None:
        """Takes what the peer sent during the handshake.  Raises ``NotTLS``, and an OSError at the
        end of the connection."""
        if not data:
            raise ConnectionResetError("closed during the TLS handshake")
        if not self._answered and data[0] not in (ALERT, HANDSHAKE):
            raise NotTLS
        self._answered = True
        self._incoming.write(data)

    def outgoing(self) -> bytes:
        """The bytes that wait to be sent."""
        return self._outgoing.read()

    def seal(self, data: bytes | memoryview) -> bytes:
        """What to send for ``data``."""
        self._object.write(data)
        return self._outgoing.read()

    def open(self, data: bytes) -> bytes:
        """All plaintext that received ``data`` completes: none stays behind, so that waiting for
        the socket is always right."""
        self._incoming.write(data)
        plain = []
        try:
            while self._incoming.pending or self._object.pending():
                block = self._object.read(OPEN_BLOCK)
                if not block:
                    self.ended = True
                    break
                plain.append(block)
        except ssl.SSLWantReadError:
            pass
        return b"".join(plain)
