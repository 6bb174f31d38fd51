"""S3 as a cloud: its settings, its limits, its sessions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import closing

import gevent

from ..base import MIB, Cloud, CloudSettings, Facts, Prepared
from ..errors import Failure, Fatal, Transient, Unchecked
from .account import account_of
from .credentials import resolve
from .driver import S3Driver
from .names import NAMES, OWN_KEYS, Named
from .object_headers import ObjectHeaders
from .options import S3Options
from .plan import PARTS
from .privacy import BLOCK, QUESTIONS, QUESTIONS_TO_GOOGLE, judge, judge_google
from .service import Service
from .session import S3Session
from .usage import check


class S3Cloud(Cloud):
    """One region's, or a compatible service's."""

    connects_ahead = True
    most_deleted = 1000
    most_described = 5 * 1024 * MIB
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html"""
    parts = PARTS

    def __init__(self, settings: CloudSettings) -> None:
        super().__init__(settings)
        check(settings)
        options: S3Options = settings.options or S3Options()
        named = NAMES.get(settings.provider)
        if named:
            account = account_of(settings, named, options.profile)
        else:
            account, named = resolve(settings, options.profile), Named()
        addressing = options.addressing or account.addressing or "auto"
        if addressing == "auto" and named.virtual_hosts:
            addressing = "virtual"
        self._service = Service(
            account.endpoint_url,
            account.region,
            account.credentials,
            ca_bundle=account.ca_bundle,
            client_cert=settings.client_cert,
            verify_tls=settings.verify_tls,
            timeout=settings.timeout,
            checksum=options.checksum or named.checksum,
            unsigned_payload=options.unsigned_payload,
            refused=account.refused,
            addressing=addressing,
            variant=account.variant,
            object_headers=ObjectHeaders(options),
            traffic=self.traffic,
            notices=self.notices,
        )
        self._service.address(settings.bucket)
        self._has_iam = named.has_iam
        if named.equal_parts:
            self.parts = PARTS._replace(equal=True)
        self._destination = self._describe(account.owner)

    @classmethod
    def facts(cls, provider: str) -> Facts:
        """Those of ``s3`` and of each of ``NAMES``."""
        named = NAMES.get(provider)
        service = named or Named()
        if named is None or named.is_aws:
            credentials = "AWS's own: environment, profiles, roles, SSO, metadata services"
        else:
            pairs = named.keys or (OWN_KEYS,)
            credentials = " or ".join(f"`{key}`, `{secret}`" for key, secret in pairs)
            credentials += "".join(f"; `{name}`" for name in named.account_variables[:1])
        return Facts(
            credentials,
            "MD5" if service.checksum == "md5" else "CRC-64/NVME or MD5",
            service.privacy,
            named.tested if named else "moto; Ceph RGW 16.2, HTTP and TLS; a scripted S3",
        )

    def open(self) -> S3Session:
        """A driver of its own for each session; the service's state is shared."""
        return S3Session(S3Driver(self._service), self.settings.bucket)

    def destination(self) -> str:
        """AWS, where a bucket's name says all; else the endpoint, the owner of the credentials by
        a hash, since each may have a bucket of this name, and the region that was asked for."""
        return self._destination

    def _describe(self, owner: str) -> str:
        bucket, service = self.settings.bucket, self._service
        if service.partition:
            return f"s3 {service.partition} {bucket}"
        endpoint = service.endpoint
        scheme = "https" if endpoint.secure else "http"
        address = f"{scheme}://{endpoint.address}{endpoint.path}"
        account = hashlib.sha256(owner.encode()).hexdigest()[:16]
        return f"s3 {address} {account} {service.region} {bucket}"

    def prepare(self, create: bool) -> Prepared:
        """Finds the bucket, or creates it with ``create``.

        Whether an existing bucket is public is asked at the same time, on connections of their own:
        it costs no wait.  Raises ``Unchecked`` when these questions meet a passing trouble.
        """
        allowed = self.settings.allow_public
        asked = {} if allowed or create else self._ask_all()
        try:
            with closing(self.open()) as session:
                prepared = session.prepare_bucket(create, block_public=not allowed)
            if prepared.created or allowed:
                return prepared
            # With ``create`` there was no bucket to ask about: somebody else has made it meanwhile.
            asked = asked or self._ask_all()
            return prepared._replace(note=self._privacy({k: v.get() for k, v in asked.items()}))
        finally:
            gevent.killall(list(asked.values()))

    def _ask_all(self) -> dict[str, gevent.Greenlet[..., bytes | Failure]]:
        questions = QUESTIONS_TO_GOOGLE if self._has_iam else QUESTIONS
        return {question: gevent.spawn(self._ask, question) for question in questions}

    def _ask(self, question: str) -> bytes | Failure:
        """The answer to one of the questions about the bucket."""
        with closing(self.open()) as session:
            try:
                return session.ask(question)
            except Failure as failure:
                return failure

    def _privacy(self, answers: Mapping[str, bytes | Failure]) -> str:
        """The note for the user; raises ``Fatal`` when the bucket is public."""
        failures = {k: v for k, v in answers.items() if isinstance(v, Failure)}
        for failure in failures.values():
            if failure.fatal:
                raise failure
        passing = {question: failure for question, failure in failures.items() if failure.retry}
        if self._has_iam:
            public, unknown = judge_google(answers)
        else:
            public, unknown = judge(answers, is_aws=self._service.partition is not None)
        if public:
            # A block that is not known may take the effect from what makes it public.
            raise (Transient if BLOCK in passing else Fatal)(
                f"bucket {self.settings.bucket} is public {public}: block its public access, or "
                "give --allow-public if it is meant to be"
            )
        note = f"whether the bucket is public is not known: {unknown}" if unknown else ""
        if unknown and passing:
            after = max(failure.after or 0.0 for failure in passing.values())
            raise Unchecked(note, after=after or None)
        return note
