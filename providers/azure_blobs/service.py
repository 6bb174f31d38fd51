"""One storage account: endpoint, credentials, and what its answers have shown."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime

from ..http.connection import Connection
from ..http.endpoint import environment_proxy
from ..http.limit import Timeouts
from ..http.tls import tls_context
from ..traffic import Traffic
from .credentials import Account
from .sharedkey import Pairs, SharedKey, encoded_query, ms_date

VERSION = "2023-11-03"
"""Of the service's interface.  CRC-64 came with 2019-02-02, blocks of 4,000 MiB with 2019-12-12.
https://learn.microsoft.com/en-us/rest/api/storageservices/versioning-for-the-azure-storage-services
"""


class Service:
    """One storage account as one process sees it; all sessions share it."""

    def __init__(
        self,
        account: Account,
        *,
        ca_bundle: str | None = None,
        client_cert: str | None = None,
        verify_tls: bool = True,
        timeout: float = 60.0,
        traffic: Traffic | None = None,
        notices: list[str] | None = None,
    ) -> None:
        """``ca_bundle``, ``client_cert``, ``verify_tls``: see ``tls_context``.  ``timeout`` in
        seconds without progress.  ``notices`` gets lines for the user.  Raises ``Fatal`` when a
        file of certificates cannot be read."""
        self.account = account
        self.endpoint = account.endpoint
        self._key = SharedKey(account.name, account.key) if account.key else None
        self.timeouts = Timeouts.of(timeout)
        self.tls = None
        if self.endpoint.secure:
            self.tls = tls_context(ca_bundle, client_cert=client_cert, verify=verify_tls)
        self.traffic = Traffic() if traffic is None else traffic
        self.notices = [] if notices is None else notices
        self._clock_offset = 0.0
        self.echoes_crc: bool | None = None
        """The service echoes the CRC-64 of a block; None before the first answer."""
        self.was_missing: set[str] = set()
        """Containers that were found missing and not reported as created yet."""

    def connection(self) -> Connection:
        """A connection, opened by its first request."""
        proxy = environment_proxy(self.endpoint)
        return Connection(self.endpoint, self.timeouts, self.tls, proxy, traffic=self.traffic)

    def prove_by_md5(self) -> None:
        """The service ignores the CRC-64: later blocks carry a Content-MD5."""
        if self.echoes_crc is not False:
            self.notices.append(
                "the service does not know x-ms-content-crc64: blocks are proven by MD5 instead"
            )
        self.echoes_crc = False

    def authorized(
        self, method: str, path: str, query: Pairs, headers: Pairs
    ) -> tuple[str, list[tuple[str, str]]]:
        """The target and the headers to send, names in lower case.  ``path`` is percent-encoded.

        With a SAS the target holds a secret.
        """
        signed = [
            *headers,
            ("x-ms-date", ms_date(time.time() + self._clock_offset)),
            ("x-ms-version", VERSION),
        ]
        text = encoded_query(query)
        if self._key:
            signed.append(("authorization", self._key.authorization(method, path, query, signed)))
        else:
            text = "&".join(filter(None, (text, self.account.sas)))
        return (f"{path}?{text}" if text else path), signed

    def adopt_clock(self, http_date: str | None, signed_date: str) -> bool:
        """Takes over the service's time from a Date header.

        False when the request was signed with about that time, or its date is not what gives the
        right: the clock is not at fault.
        """
        try:
            theirs = parsedate_to_datetime(http_date or "").timestamp()
        except (TypeError, ValueError):
            return False
        self._clock_offset = theirs - time.time()
        ours = parsedate_to_datetime(signed_date).timestamp()
        return self._key is not None and abs(theirs - ours) > 60
