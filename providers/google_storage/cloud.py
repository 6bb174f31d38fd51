"""Google Cloud Storage as a cloud: its settings, its sessions, its buckets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from typing import Any
from urllib.parse import quote, urlencode

from ..base import CloudSettings, Facts, Prepared
from ..errors import Denied, Fatal, NoBucket, NotFound, Rejected, Transient
from ..libcloud import DriverSession, LibcloudCloud, address_of, connection_class, mapped
from .account import resolve
from .answers import IS_TAKEN
from .driver import GoogleDriver
from .privacy import IAM, PREVENTED, judge, questions
from .tokens import Tokens

_BUCKETS = "/storage/v1/b"
_SETTINGS = "?fields=iamConfiguration"
_VERSION = "?optionsRequestedPolicyVersion=3"
"""A policy with conditions is not told to those who ask for less.
https://cloud.google.com/iam/docs/policies#versions
"""


class GoogleSession(DriverSession):
    """Has two connections: one for each of Google's APIs."""

    def ask(self, path: str, method: str = "GET", body: Mapping[str, Any] | None = None) -> Any:
        """The object in an answer of the JSON API to a question about buckets."""
        connection, data = self.driver.json_connection, json.dumps(body) if body else None
        answer = mapped(lambda: connection.request(_BUCKETS + path, method=method, data=data))
        if not isinstance(answer.object, dict):
            raise Transient("the service answered with something else than a JSON object")
        return answer.object

    def close(self) -> None:
        """Closes both."""
        super().close()
        self.close_connection(self.driver.json_connection)


class GoogleCloud(LibcloudCloud):
    """Google, or where --endpoint-url says: a regional or a private endpoint.

    Keys of other kinds are refused: with those libcloud waits for ever for somebody to log in by a
    browser.
    """

    session = GoogleSession
    driver = GoogleDriver

    def __init__(self, settings: CloudSettings) -> None:
        super().__init__(settings)
        self._was_missing = False

    @classmethod
    def facts(cls, provider: str) -> Facts:
        """Those of a service account."""
        return Facts(
            "`GOOGLE_APPLICATION_CREDENTIALS`: a service account's JSON key",
            "MD5",
            "public access prevention, IAM policy, ACL, default object ACL",
            "an imitation of Google's two APIs",
        )

    def arguments(self) -> dict[str, Any]:
        """What libcloud's driver is made with; raises ``Fatal`` that says what is missing."""
        account, settings = resolve(), self.settings
        connect = connection_class(
            settings.timeout,
            settings.ca_bundle,
            self.traffic,
            client_cert=settings.client_cert,
            verify_tls=settings.verify_tls,
        )
        tokens = Tokens(account, connect)
        arguments = {"key": account.email, "project": account.project, "tokens": tokens}
        return arguments | (address_of(settings.endpoint_url) if settings.endpoint_url else {})

    def prepare(self, create: bool) -> Prepared:
        """Asks the JSON API, which tells whether the bucket is public, too."""
        name, note = self.settings.bucket, ""
        session = self.open()
        assert isinstance(session, GoogleSession)
        with closing(session):
            try:
                note = self._look(session)
            except Denied as failure:
                # It may put objects all the same.
                note = f"whether the bucket is public is not known: {failure}"
            except NotFound:
                if not create:
                    raise NoBucket(f"bucket {name} does not exist") from None
                # Remembered: it is a new one even when the answer to its creation gets lost.
                self._was_missing = True
                note = self._create(session)
            except Rejected as failure:
                raise Fatal(f"bucket {name} cannot be used: {failure}") from None
        created, self._was_missing = self._was_missing, False
        return Prepared(created, note)

    def _look(self, session: GoogleSession) -> str:
        """The note on a bucket that is there; raises ``Fatal`` when it is public."""
        name = self.settings.bucket
        path = f"/{quote(name, safe='')}"
        settings = session.ask(path + _SETTINGS)
        if self.settings.allow_public:
            return ""
        answers: dict[str, Mapping[str, Any] | Rejected] = {}
        for question in questions(settings):
            version = _VERSION if question == IAM else ""
            try:
                answers[question] = session.ask(f"{path}/{question}{version}")
            except Rejected as failure:
                answers[question] = failure
        public, unknown = judge(answers)
        if public:
            raise Fatal(
                f"bucket {name} is public {public}: enforce its public access prevention, or give "
                "--allow-public if it is meant to be"
            )
        return f"whether the bucket is public is not known: {unknown}" if unknown else ""

    def _create(self, session: GoogleSession) -> str:
        """Creates the bucket; returns the note for the user.

        https://cloud.google.com/storage/docs/json_api/v1/buckets/insert
        """
        settings = self.settings
        wanted: dict[str, Any] = {"name": settings.bucket}
        if settings.region:
            wanted["location"] = settings.region
        if not settings.allow_public:
            wanted["iamConfiguration"] = PREVENTED
        project = self.made_with["project"]
        if not project:
            raise Fatal(
                f"bucket {settings.bucket} cannot be created: set GOOGLE_CLOUD_PROJECT to the "
                "project that it will belong to"
            )
        try:
            session.ask(f"?{urlencode({'project': project})}", "POST", wanted)
        except Rejected as failure:
            if str(failure).startswith(IS_TAKEN):  # somebody was faster
                return self._look(session)
            raise Fatal(f"bucket {settings.bucket} cannot be created: {failure}") from None
        blocked = "" if settings.allow_public else ", public access blocked"
        return f"created bucket {settings.bucket}, private to its project{blocked}"
