"""One S3 service: address, account, and what its answers taught."""

from __future__ import annotations

import time
from calendar import timegm
from collections.abc import Callable
from email.utils import parsedate_to_datetime

from ..errors import Fatal
from ..http.connection import Connection
from ..http.endpoint import Endpoint, chosen_endpoint, environment_proxy
from ..http.limit import Timeouts
from ..http.tls import tls_context
from ..traffic import Traffic
from .addressing import locate
from .answers import ServiceError
from .checksums import CRCS
from .endpoints import Variant, endpoint_of
from .headers import Pairs
from .object_headers import ObjectHeaders
from .sigv4 import Credentials, Signer, amz_date


class Service:
    """One S3 service as one process sees it; all sessions share it."""

    def __init__(
        self,
        endpoint_url: str | None,
        region: str,
        credentials: Callable[[], Credentials],
        *,
        ca_bundle: str | None = None,
        client_cert: str | None = None,
        verify_tls: bool = True,
        timeout: float = 60.0,
        checksum: str = "crc64nvme",
        unsigned_payload: bool = False,
        refused: Callable[[str | None], None] | None = None,
        addressing: str = "auto",
        variant: Variant | None = None,
        object_headers: ObjectHeaders | None = None,
        traffic: Traffic | None = None,
        notices: list[str] | None = None,
    ) -> None:
        """``ca_bundle``, ``client_cert``, ``verify_tls``: see ``tls_context``.  ``checksum``: one
        of ``CRCS`` or ``md5``.  ``unsigned_payload`` matters without TLS only.  ``refused`` is
        called with the token that the service refuses as expired.  ``addressing``: see ``locate``.
        ``variant`` of AWS's endpoints: None takes the environment's.  ``notices`` gets lines for
        the user.  ``object_headers``: what the run's options add to requests.

        Raises ``Fatal`` when there is no such endpoint or the CA file cannot be read.
        """
        self._variant = variant or Variant.of_environment()
        self.partition: str | None = None
        """The part of AWS whose endpoint this is; None: an endpoint was given."""
        self.endpoint, self.region = self._place(endpoint_url, region)
        self.credentials = credentials
        self.refused = refused
        self.timeouts = Timeouts.of(timeout)
        self.tls = None
        if self.endpoint.secure:
            self.tls = tls_context(ca_bundle, client_cert=client_cert, verify=verify_tls)
        self.signs_payload = not unsigned_payload and not self.endpoint.secure
        """The signature covers the content.  TLS protects it as well, and costs enough."""
        self.traffic = Traffic() if traffic is None else traffic
        self.notices = [] if notices is None else notices
        self._addressing = "virtual" if self.is_accelerated else addressing
        self._signer = Signer(self.region)
        self._moved_from: str | None = None
        self._clock_offset = 0.0
        self.crc = CRCS.get(checksum)
        """The checksum that proves the content; None: MD5."""
        self.echoes_checksum: bool | None = None if self.crc else False
        """The service echoes the checksum that it was sent; None before the first answer."""
        self.knows_checksum = False
        """It has echoed one."""
        self.object_headers = object_headers or ObjectHeaders()
        self.wants_content_md5 = self.crc is None or self.object_headers.create_only
        """Requests carry a Content-MD5: without it nothing may prove what arrived, and an object
        that must not be there before cannot be sent twice."""
        self.creating: set[str] = set()
        """Buckets whose creation was sent, and neither refused nor reported yet."""

    @property
    def is_accelerated(self) -> bool:
        """The endpoint is that of AWS's transfer acceleration."""
        return self.endpoint.host.startswith("s3-accelerate.")

    def address(self, bucket: str) -> tuple[Endpoint, str]:
        """The endpoint to connect to for a bucket, and the path before its keys.  Raises ``Fatal``
        when no such bucket can exist."""
        is_aws = self.partition is not None
        return locate(self.endpoint, bucket, self._addressing, is_aws)

    def _place(self, endpoint_url: str | None, region: str) -> tuple[Endpoint, str]:
        """The endpoint, and the region that signatures are for.  One that was given is taken as it
        is, whatever variant is asked for."""
        if endpoint_url is not None:
            return chosen_endpoint(endpoint_url), region
        found = endpoint_of(region, self._variant)
        self.partition = found.partition
        return chosen_endpoint(found.url), found.region

    def connection(self, endpoint: Endpoint) -> Connection:
        """A connection, opened by its first request."""
        proxy = environment_proxy(endpoint)
        return Connection(endpoint, self.timeouts, self.tls, proxy, traffic=self.traffic)

    def prove_by_checksum(self) -> None:
        """The service has echoed the checksum: no Content-MD5 is needed."""
        self.knows_checksum = True
        self.wants_content_md5 = False

    def follow(self, error: ServiceError) -> bool:
        """Goes to the region that a refusal names; true when a request may now succeed.

        On AWS the endpoint becomes that of the region; one that was given stays.  Raises ``Fatal``
        at a second redirection: the service may send in circles.
        """
        region = error.region
        if not region or not error.is_elsewhere(self.region):
            return False
        if self._moved_from:
            raise Fatal(
                f"the service sends from region {self._moved_from} to {self.region}, and on to "
                f"{region}: use --region, or the --endpoint-url of the bucket's region"
            )
        self._moved_from = self.region
        self.notices.append(f"the bucket is in region {region}, not {self.region}: going on there")
        if self.partition:
            self.endpoint, self.region = self._place(None, region)
        else:
            self.region = region
        self._signer = Signer(self.region)
        return True

    def prove_by_md5(self) -> None:
        """The service refuses the checksum: later requests have a Content-MD5 instead.  Buckets
        with Object Lock want one of the two.
        https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html, under Content-MD5
        """
        if self.crc:
            self.notices.append(
                f"the service does not know {self.crc.header}: content is proven by MD5 instead"
            )
        self.crc = None
        self.echoes_checksum = False
        self.wants_content_md5 = True

    def sign(
        self, method: str, host: str, path: str, query: str, headers: Pairs, payload_hash: str
    ) -> list[tuple[str, str]]:
        """The headers to send, names in lower case: ``headers``, the signature, and what it covers.

        https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
        """
        credentials = self.credentials()
        date = amz_date(time.time() + self._clock_offset)
        signed = [
            *headers,
            ("host", host),
            ("x-amz-content-sha256", payload_hash),
            ("x-amz-date", date),
        ]
        if credentials.token:
            signed.append(("x-amz-security-token", credentials.token))
        signed.sort()
        authorization = self._signer.authorization(
            credentials, date, method, path, query, signed, payload_hash
        )
        signed.append(("authorization", authorization))
        return signed

    def adopt_clock(self, http_date: str | None, signed_date: str) -> bool:
        """Takes over the service's time from a Date header.

        False when the request was signed with about that time: the clock is not at fault.  The
        offset proves nothing, another request may have corrected it meanwhile.
        """
        try:
            theirs = parsedate_to_datetime(http_date or "").timestamp()
        except (TypeError, ValueError):
            return False
        self._clock_offset = theirs - time.time()
        return abs(theirs - timegm(time.strptime(signed_date, "%Y%m%dT%H%M%SZ"))) > 60
