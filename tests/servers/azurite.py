"""Azurite: Microsoft's own emulator of Azure Blob Storage, which verifies signatures."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import trustme

from bench.process import Daemon, Server, free_port

VERSION = "3.35.0"


class Azurite(Server):
    """Azurite on loopback with its one account, in plain text or over TLS."""

    programs = ("azurite-blob",)
    account = "devstoreaccount1"
    key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

    def __init__(self, authority: trustme.CA | None = None) -> None:
        """``authority`` vouches for the certificate; without one there is no TLS."""
        super().__init__()
        self._authority = authority
        self.endpoint = ""
        """Of the blob service, the account in its path."""

    @classmethod
    def missing(cls) -> str | None:
        """Return None, or one line saying what is not installed and how to install it."""
        missing = super().missing()
        return missing and f"Azurite needs npm's azurite: npm install --global azurite@{VERSION}"

    def _start(self, directory: Path, cleanup: contextlib.ExitStack) -> None:
        port = free_port()
        argv = ["azurite-blob", "--blobHost", "127.0.0.1", "--blobPort", str(port)]
        argv += ["--inMemoryPersistence", "--silent", "--disableTelemetry"]
        scheme = "http"
        if self._authority:
            scheme, leaf = "https", self._authority.issue_cert("127.0.0.1")
            certificate, key = directory / "certificate.pem", directory / "key.pem"
            leaf.private_key_pem.write_to_path(str(key))
            for blob in leaf.cert_chain_pems:
                blob.write_to_path(str(certificate), append=True)
            argv += ["--cert", str(certificate), "--key", str(key)]
        self.daemon = Daemon(argv, directory / "azurite.log")
        cleanup.callback(self.daemon.kill)
        self.daemon.wait_until_listening(port)
        self.endpoint = f"{scheme}://127.0.0.1:{port}/{self.account}"

    @property
    def variables(self) -> dict[str, str]:
        """The account as Azure's tools find it in the environment."""
        return {"AZURE_STORAGE_ACCOUNT": self.account, "AZURE_STORAGE_KEY": self.key}

    def client(self, **settings: Any) -> Any:
        """Return a new client of Microsoft's own library."""
        from azure.storage.blob import BlobServiceClient

        settings.setdefault("credential", self.key)
        # The library asks for the newest version of the interface, which Azurite learns later.
        version = "2023-11-03"
        return BlobServiceClient(self.endpoint, api_version=version, retry_total=2, **settings)
