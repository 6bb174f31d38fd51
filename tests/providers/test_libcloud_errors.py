"""Whatever a driver of libcloud raises says what happens next."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn

import pytest
import requests
from libcloud.common.exceptions import (
    BaseHTTPError,
    RateLimitReachedError,
    exception_from_message,
)
from libcloud.common.types import (
    InvalidCredsError,
    LibcloudError,
    MalformedResponseError,
    ProviderError,
    ServiceUnavailableError,
)
from libcloud.storage.types import (
    ContainerAlreadyExistsError,
    ContainerDoesNotExistError,
    InvalidContainerNameError,
    ObjectDoesNotExistError,
    ObjectHashMismatchError,
)

import providers
from providers.base import CloudSettings
from providers.errors import Denied, Failure, Fatal, NotFound, Rejected, Throttled, Transient
from providers.http.conn_class import LibcloudConnection
from providers.libcloud import DriverSession, driver_class, failure_of, known_providers, mapped
from providers.source import Source
from tests.servers.scripted import ScriptedServer, reply

DRIVER = object()

STATUSES: list[tuple[int, type[Failure]]] = [
    (400, Rejected),
    (401, Denied),
    (403, Denied),
    (404, Rejected),
    (408, Transient),
    (409, Rejected),
    (413, Rejected),
    (429, Throttled),
    (500, Transient),
    (502, Transient),
    (503, Throttled),
    (504, Transient),
]

TABLE: list[tuple[Exception, type[Failure]]] = [
    (ContainerDoesNotExistError(None, DRIVER, "b"), Fatal),
    (InvalidContainerNameError("too long", DRIVER, "b"), Fatal),
    (InvalidCredsError("denied", DRIVER), Fatal),
    (RateLimitReachedError(), Throttled),
    (ServiceUnavailableError("busy", DRIVER), Throttled),
    (ObjectDoesNotExistError(None, DRIVER, "key"), NotFound),
    (ObjectHashMismatchError("MD5 hash abc", DRIVER, "key"), Transient),
    (ContainerAlreadyExistsError("taken", DRIVER, "b"), Transient),
    (MalformedResponseError("no JSON", body="<html>", driver=DRIVER), Transient),
    (LibcloudError("something", DRIVER), Transient),
    (ConnectionResetError("reset"), Transient),
    (TimeoutError("timed out"), Transient),
    (PermissionError(13, "Permission denied"), Rejected),
    (FileNotFoundError(2, "No such file or directory"), Rejected),
    (ValueError("bad name"), Rejected),
    (KeyError("etag"), Rejected),
]


@pytest.mark.parametrize(("error", "kind"), TABLE, ids=[type(e).__name__ for e, _ in TABLE])
def test_the_type_says_what_happens_next(error: Exception, kind: type[Failure]) -> None:
    assert type(failure_of(error)) is kind


@pytest.mark.parametrize(("status", "kind"), STATUSES)
class TestStatus:
    """The status decides, wherever a driver has put it."""

    def test_of_an_http_error(self, status: int, kind: type[Failure]) -> None:
        assert type(failure_of(BaseHTTPError(status, "message"))) is kind

    def test_of_what_libcloud_makes_of_an_answer(self, status: int, kind: type[Failure]) -> None:
        assert type(failure_of(exception_from_message(status, "message", {}))) is kind

    def test_of_a_provider_error(self, status: int, kind: type[Failure]) -> None:
        assert type(failure_of(ProviderError("message", status, DRIVER))) is kind

    @pytest.mark.parametrize(
        "text",
        [
            "Unexpected status code: {}",
            "Unknown error. Status code: {}.",
            "Unexpected status code, {}",
            "status_code={}",
            "HTTP {} from the service",
        ],
    )
    def test_in_the_text_of_an_untyped_error(
        self, status: int, kind: type[Failure], text: str
    ) -> None:
        error = LibcloudError(text.format(status), DRIVER)
        assert type(failure_of(error)) is kind


@pytest.mark.parametrize("text", ["upload of 500 bytes failed", "HTTP/2", "code 403"])
def test_another_number_in_the_text_is_no_status(text: str) -> None:
    assert type(failure_of(LibcloudError(text, DRIVER))) is Transient


class TestPause:
    def test_a_pause_asked_for_is_passed_on(self) -> None:
        error = exception_from_message(429, "busy", {"retry-after": "7"})
        assert failure_of(error).after == 7.0

    def test_no_pause_asked_for_is_none_to_keep(self) -> None:
        assert not failure_of(RateLimitReachedError()).after


class TestReason:
    @pytest.mark.parametrize("error", [error for error, _ in TABLE])
    def test_a_reason_is_one_line_without_the_address_of_a_driver(self, error: Exception) -> None:
        """Each greenlet has a driver of its own, and equal reasons are counted together."""
        reason = str(failure_of(error))
        assert reason
        assert "\n" not in reason
        assert "object at 0x" not in reason

    def test_a_reason_of_several_lines_becomes_one(self) -> None:
        assert str(failure_of(LibcloudError("one\n two", DRIVER))) == "one two"

    def test_an_error_without_text_goes_by_its_name(self) -> None:
        assert str(failure_of(LibcloudError("", DRIVER))) == "LibcloudError"

    def test_a_missing_bucket_is_named(self) -> None:
        error = ContainerDoesNotExistError(None, DRIVER, "my-bucket")
        assert str(failure_of(error)) == "bucket my-bucket does not exist"

    def test_refused_credentials_say_so(self) -> None:
        reason = str(failure_of(InvalidCredsError("Invalid key", DRIVER)))
        assert reason == "the service refuses the credentials: Invalid key"


class TestCalling:
    def raising(self, error: Exception) -> Any:
        def operation() -> NoReturn:
            raise error

        return operation

    def test_a_result_is_passed_on(self) -> None:
        assert mapped(lambda: 7) == 7

    def test_a_failure_of_ours_is_passed_on_as_it_is(self) -> None:
        """Our connection raises them below libcloud."""
        failure = Throttled("busy", after=3)
        with pytest.raises(Throttled) as caught:
            mapped(self.raising(failure))
        assert caught.value is failure

    def test_the_cause_is_kept(self) -> None:
        error = ObjectDoesNotExistError(None, DRIVER, "key")
        with pytest.raises(NotFound) as caught:
            mapped(self.raising(error))
        assert caught.value.__cause__ is error

    @pytest.mark.parametrize(
        "error", [AttributeError("strip"), TypeError("strip"), Exception("strip")]
    )
    def test_whatever_a_driver_stumbles_over_is_the_failure_of_one_file(
        self, error: Exception
    ) -> None:
        reason = f"^libcloud's driver failed: {type(error).__name__}: strip$"
        with pytest.raises(Rejected, match=reason):
            mapped(self.raising(error))

    @pytest.mark.parametrize("kind", [requests.ConnectionError, requests.Timeout])
    def test_a_request_past_our_connection_may_be_tried_again(
        self, kind: type[requests.RequestException]
    ) -> None:
        """Its text has the URL, and that a signature."""
        with pytest.raises(Transient) as caught:
            mapped(self.raising(kind("Max retries exceeded with url: /b?Signature=secret")))
        assert str(caught.value) == f"no answer from the service: {kind.__name__}"


@pytest.mark.parametrize(("status", "kind"), [(403, Denied), (401, Fatal)])
def test_only_a_401_is_about_the_credentials(
    tmp_path: Path, status: int, kind: type[Failure]
) -> None:
    """libcloud raises the same for both, be it one object that is refused."""
    (tmp_path / "file").write_bytes(b"content")
    with ScriptedServer(reply(status, b"<Error/>")) as server:
        host, port = server.endpoint.removeprefix("http://").split(":")
        driver = driver_class("s3_rgw", 5, None)(
            "key", "secret", host=host, port=int(port), secure=False, signature_version="4"
        )
        with (
            closing(DriverSession(driver, "b")) as session,
            Source(str(tmp_path / "file")) as source,
            pytest.raises(Failure) as caught,
        ):
            session.put("key", source, (), "text/plain")
    assert type(caught.value) is kind


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPLOADER_KEY", "key")
    monkeypatch.setenv("UPLOADER_SECRET", "secret")


def is_left_to_libcloud(provider: str) -> bool:
    return providers.home(provider) == "libcloud"


class TestSettings:
    @pytest.mark.parametrize("endpoint", [None, "http://127.0.0.1:1"])
    @pytest.mark.parametrize("provider", sorted(filter(is_left_to_libcloud, known_providers())))
    def test_a_provider_opens_on_our_connection_or_says_why_not(
        self, keys: None, provider: str, endpoint: str | None
    ) -> None:
        """It never asks on the terminal, and no request waits for ever."""
        try:
            session = providers.load(CloudSettings(provider, "b", endpoint)).open()
        except Fatal as failure:
            reason = str(failure)
            assert provider in reason
            assert "\n" not in reason
            return
        assert isinstance(session, DriverSession)
        assert isinstance(session.driver.connection.connection, LibcloudConnection)
        session.close()

    @pytest.mark.parametrize("provider", ["cloudfiles_us", "s3_eu_west_3"])
    def test_a_name_without_a_driver_is_unknown(self, keys: None, provider: str) -> None:
        with pytest.raises(Fatal, match=f"^unknown provider '{provider}'"):
            providers.load(CloudSettings(provider, "b"))

    @pytest.mark.parametrize("name", ["UPLOADER_KEY", "UPLOADER_SECRET"])
    def test_credentials_are_two(
        self, keys: None, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        monkeypatch.delenv(name)
        with pytest.raises(Fatal, match="set UPLOADER_KEY and UPLOADER_SECRET$"):
            providers.load(CloudSettings("ninefold", "b", "http://127.0.0.1:1"))

    @pytest.mark.parametrize("provider", ["cloudfiles", "ktucloud"])
    def test_an_address_that_is_built_in_is_not_replaced(self, keys: None, provider: str) -> None:
        with pytest.raises(Fatal, match=f"^--endpoint-url: {provider} has one address"):
            providers.load(CloudSettings(provider, "b", "http://127.0.0.1:1"))

    @pytest.mark.parametrize("content", [None, "no certificate"])
    def test_certificates_that_cannot_be_read_are_fatal(
        self, keys: None, tmp_path: Path, content: str | None
    ) -> None:
        bundle = tmp_path / "bundle"
        if content:
            bundle.write_text(content)
        settings = CloudSettings("cloudfiles", "b", ca_bundle=str(bundle))
        with pytest.raises(Fatal, match=f"^cannot read the CA certificates in {bundle}: "):
            providers.load(settings)

    def test_what_moves_is_counted(self, keys: None) -> None:
        """Or the run would take a long upload for an outage."""
        cloud = providers.load(CloudSettings("ninefold", "b", "http://127.0.0.1:1"))
        session = cloud.open()
        assert isinstance(session, DriverSession)
        assert session.driver.connection.connection.traffic is cloud.traffic
