"""A failure says what happens next; an answer of S3 becomes the right one, whatever it holds."""

from __future__ import annotations

import pickle
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from _uploader import cli, errors
from _uploader.errors import EXIT_SIGNAL, RunError, UsageError
from providers.errors import (
    Busy,
    Corrupted,
    Denied,
    Exists,
    Failure,
    Fatal,
    Interrupted,
    NoBucket,
    NotFound,
    Rejected,
    SourceChanged,
    StaleConnection,
    Throttled,
    Transient,
    Unchecked,
    Unreachable,
)
from providers.s3.answers import ServiceError
from providers.source import Leased

CODES = {name: value for name, value in vars(errors).items() if name.startswith("EXIT_")}
HERE = "us-east-1"
NAMESPACE = ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


def subclasses(parent: type) -> Iterator[type]:
    for child in parent.__subclasses__():
        yield child
        yield from subclasses(child)


def xml(code: str, message: str = "Told why.", more: str = "", attributes: str = "") -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error{attributes}><Code>{code}</Code><Message>{message}</Message>{more}</Error>"
    ).encode()


def parsed(status: int, body: bytes = b"", **headers: str) -> ServiceError:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return ServiceError.parse(status, names, body)


def failure(status: int, code: str = "", **headers: str) -> Failure:
    return parsed(status, xml(code) if code else b"", **headers).failure(HERE)


class TestExitCodes:
    def test_each_code_means_one_thing(self) -> None:
        assert len(set(CODES.values())) == len(CODES)

    def test_the_codes_are_those_promised(self) -> None:
        """Scripts rely on them."""
        assert CODES == {
            "EXIT_OK": 0,
            "EXIT_INCOMPLETE": 1,
            "EXIT_USAGE": 2,
            "EXIT_STOPPED": 3,
            "EXIT_SIGNAL": 128,
        }

    @pytest.mark.parametrize("kind", [RunError, *subclasses(RunError)], ids=lambda k: k.__name__)
    def test_each_run_error_owns_a_code_that_is_no_success(self, kind: Any) -> None:
        assert kind.exit_code in set(CODES.values()) - {errors.EXIT_OK, EXIT_SIGNAL}

    def test_wrong_usage_and_a_stopped_run_differ(self) -> None:
        assert (UsageError.exit_code, RunError.exit_code) == (2, 3)

    def test_the_help_documents_each_code(self) -> None:
        documented = " ".join(cli.EPILOG.partition("Exit codes")[2].split())
        signals = [EXIT_SIGNAL + number for number in (signal.SIGINT, signal.SIGTERM)]
        plain = [code for code in CODES.values() if code != EXIT_SIGNAL]
        missing = [code for code in [*plain, *signals] if f" {code}" not in documented]
        assert not missing


class TestAnswers:
    """(retry, restart, fatal, throttle) of each class."""

    ANSWERS = {
        Failure: (False, False, False, False),
        Transient: (True, False, False, False),
        Unreachable: (True, False, False, False),
        Unchecked: (True, False, False, False),
        Busy: (True, False, False, False),
        StaleConnection: (True, False, False, False),
        Throttled: (True, False, False, True),
        SourceChanged: (False, True, False, False),
        Corrupted: (False, True, False, False),
        Rejected: (False, False, False, False),
        Denied: (False, False, False, False),
        Exists: (False, False, False, False),
        NotFound: (False, True, False, False),
        Fatal: (False, False, True, False),
        Interrupted: (False, False, False, False),
        NoBucket: (False, False, True, False),
        Leased: (True, False, False, False),
    }

    @pytest.mark.parametrize("kind", ANSWERS, ids=lambda kind: kind.__name__)
    def test_a_failure_answers_four_questions(self, kind: type[Failure]) -> None:
        made = kind("reason")
        assert (made.retry, made.restart, made.fatal, made.throttle) == self.ANSWERS[kind]

    def test_no_class_is_missing_here(self) -> None:
        assert set(self.ANSWERS) == {Failure, *subclasses(Failure)}

    @pytest.mark.parametrize("kind", ANSWERS, ids=lambda kind: kind.__name__)
    def test_the_text_of_a_failure_is_its_reason(self, kind: type[Failure]) -> None:
        assert str(kind("reason", after=1.0)) == "reason"

    def test_a_failure_asks_for_no_pause_unless_told(self) -> None:
        assert (Throttled("busy").after, Throttled("busy", after=2.0).after) == (None, 2.0)

    def test_what_is_fatal_is_never_tried_again(self) -> None:
        assert not any(kind.fatal and kind.retry for kind in self.ANSWERS)

    @pytest.mark.parametrize("kind", ANSWERS, ids=lambda kind: kind.__name__)
    def test_a_failure_survives_pickling(self, kind: type[Failure]) -> None:
        copy = pickle.loads(pickle.dumps(kind("reason", after=2.0)))
        assert (type(copy), str(copy), copy.after) == (kind, "reason", 2.0)


class TestParse:
    @pytest.mark.parametrize("attributes", ["", NAMESPACE], ids=["plain", "namespace"])
    def test_code_and_message_are_read(self, attributes: str) -> None:
        error = parsed(403, xml("AccessDenied", "Access Denied", attributes=attributes))
        assert error == ServiceError(403, "AccessDenied", "Access Denied", None, None)

    def test_a_message_is_one_line(self) -> None:
        assert parsed(400, xml("X", "one\n  two\t three ")).message == "one two three"

    def test_an_empty_element_is_an_empty_text(self) -> None:
        error = parsed(400, b"<Error><Code/><Message></Message></Error>")
        assert (error.code, error.message) == ("", "")

    def test_other_elements_do_no_harm(self) -> None:
        error = parsed(404, xml("NoSuchKey", more="<Key>a</Key><RequestId>1</RequestId>"))
        assert error.code == "NoSuchKey"

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"Service Unavailable",
            b"<html><body><h1>502 Bad Gateway</h1><hr></body></html>",
            b"<Error><Code>SlowDown</Code>",
            b'{"error": "busy"}',
            b"\x00\xff\xfe",
            b"<!DOCTYPE html>",
            b'<?xml version="1.0" encoding="none-such"?><Error/>',
            b'<?xml version="1.0" encoding="utf-7"?><Error/>',
            b'<?xml version="1.0" encoding="idna"?><Error/>',
            b"<Error><Code>\xff</Code></Error>",
        ],
    )
    def test_a_body_that_is_no_error_in_xml_gives_no_code(self, body: bytes) -> None:
        error = parsed(502, body)
        assert (error.status, error.code) == (502, "")

    @given(st.binary())
    @example(b'<?xml version="1.0" encoding="none-such"?><Error/>')
    def test_no_body_makes_parsing_fail(self, body: bytes) -> None:
        assert parsed(500, body).status == 500

    @given(st.text(st.characters(max_codepoint=255)))
    @example("\xb2")
    def test_no_retry_after_makes_parsing_fail(self, text: str) -> None:
        after = parsed(503, retry_after=text).after
        assert after is None or after >= 0

    def test_retry_after_is_read_as_seconds(self) -> None:
        assert parsed(503, retry_after="7").after == 7.0

    @pytest.mark.parametrize("text", ["", "soon", "-1", "1.5", "Wed, 41 Oct 2026 07:28:00 GMT"])
    def test_another_retry_after_is_none(self, text: str) -> None:
        assert parsed(503, retry_after=text).after is None

    @pytest.mark.parametrize(
        ("date", "seconds"),
        [("Wed, 21 Oct 2015 07:27:00 GMT", 60), ("Wed, 21 Oct 2015 07:29:00 GMT", 0), (None, 0)],
    )
    def test_a_date_is_compared_with_the_services_clock_or_ours(
        self, date: str | None, seconds: float
    ) -> None:
        headers = {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}
        if date:
            headers["date"] = date
        assert ServiceError.parse(503, headers, b"").after == seconds

    def test_the_region_is_read_from_the_header(self) -> None:
        assert parsed(301, x_amz_bucket_region="eu-west-1").region == "eu-west-1"

    def test_the_region_is_read_from_the_body(self) -> None:
        body = xml("AuthorizationHeaderMalformed", more="<Region>eu-west-1</Region>")
        assert parsed(400, body).region == "eu-west-1"

    def test_the_region_of_the_header_goes_before_that_of_the_body(self) -> None:
        body = xml("X", more="<Region>body</Region>")
        assert parsed(400, body, x_amz_bucket_region="header").region == "header"


TABLE: list[tuple[int, str, type[Failure]]] = [
    # Nothing known but the status.
    (400, "", Rejected),
    (401, "", Denied),
    (403, "", Denied),
    (404, "", NotFound),
    (405, "", Rejected),
    (408, "", Transient),
    (409, "", Rejected),
    (411, "", Rejected),
    (412, "", Rejected),
    (413, "", Rejected),
    (416, "", Rejected),
    (429, "", Throttled),
    (500, "", Transient),
    (501, "", Rejected),
    (502, "", Transient),
    (503, "", Throttled),
    (504, "", Transient),
    (509, "", Throttled),
    (301, "", Fatal),
    (307, "", Transient),
    # The account or the bucket: no file can succeed.
    (400, "AuthorizationHeaderMalformed", Fatal),
    (400, "ExpiredToken", Fatal),
    (400, "InvalidBucketName", Fatal),
    (400, "InvalidToken", Fatal),
    (400, "IllegalLocationConstraintException", Fatal),
    (403, "AccountProblem", Fatal),
    (403, "AllAccessDisabled", Fatal),
    (403, "InvalidAccessKeyId", Fatal),
    (403, "NotSignedUp", Fatal),
    (403, "RequestTimeTooSkewed", Fatal),
    (403, "SignatureDoesNotMatch", Fatal),
    (403, "UserSuspended", Fatal),
    (403, "QuotaExceeded", Fatal),
    (404, "NoSuchBucket", Fatal),
    (507, "InsufficientStorage", Fatal),
    (507, "XMinioStorageFull", Fatal),
    # The account may not do this; whether it may do anything is for the caller to know.
    (403, "AccessDenied", Denied),
    # Busy, whatever the status.
    (400, "RequestLimitExceeded", Throttled),
    (400, "Throttling", Throttled),
    (400, "ThrottlingException", Throttled),
    (429, "TooManyRequests", Throttled),
    (503, "ServiceUnavailable", Throttled),
    (503, "SlowDown", Throttled),
    # An accident of this attempt.
    (400, "BadDigest", Transient),
    (400, "IncompleteBody", Transient),
    (400, "RequestTimeout", Transient),
    (400, "XAmzContentChecksumMismatch", Transient),
    (400, "XAmzContentSHA256Mismatch", Transient),
    (409, "ConditionalRequestConflict", Transient),
    (409, "OperationAborted", Transient),
    (500, "InternalError", Transient),
    (307, "TemporaryRedirect", Transient),
    # This object only.
    (400, "EntityTooLarge", Rejected),
    (400, "InvalidDigest", Rejected),
    (400, "InvalidRequest", Rejected),
    (400, "KeyTooLongError", Rejected),
    (400, "MetadataTooLarge", Rejected),
    (404, "NoSuchKey", NotFound),
    (400, "InvalidPart", NotFound),
    (404, "NoSuchUpload", NotFound),
    (409, "BucketAlreadyExists", Rejected),
    (409, "BucketAlreadyOwnedByYou", Rejected),
    (412, "PreconditionFailed", Rejected),
    (400, "NeverHeardOf", Rejected),
    (403, "NeverHeardOf", Denied),
    (500, "NeverHeardOf", Transient),
]


class TestFailure:
    @pytest.mark.parametrize(("status", "code", "kind"), TABLE)
    def test_status_and_code_say_what_happens_next(
        self, status: int, code: str, kind: type[Failure]
    ) -> None:
        assert type(failure(status, code)) is kind

    @given(st.integers(300, 599), st.text(), st.text(), st.none() | st.text())
    def test_every_answer_is_some_failure_of_one_line(
        self, status: int, code: str, message: str, region: str | None
    ) -> None:
        made = ServiceError(status, code, " ".join(message.split()), region, None).failure(HERE)
        assert type(made) is not Failure
        assert str(made)

    def test_a_reason_is_code_and_message(self) -> None:
        assert str(failure(403, "AccessDenied")) == "AccessDenied: Told why."

    def test_a_reason_without_a_body_is_the_status(self) -> None:
        assert str(failure(502)) == "the service answered 502"

    @pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (500, "InternalError")])
    def test_a_pause_asked_for_is_passed_on(self, status: int, code: str) -> None:
        assert failure(status, code, retry_after="9").after == 9.0

    def test_a_rejection_asks_for_no_pause(self) -> None:
        assert failure(400, "InvalidRequest", retry_after="9").after is None


class TestRegion:
    @pytest.mark.parametrize("status", [301, 307, 400, 403])
    def test_a_bucket_elsewhere_is_fatal_and_says_where(self, status: int) -> None:
        made = failure(status, x_amz_bucket_region="eu-west-1")
        assert type(made) is Fatal
        assert str(made) == "the bucket is in region eu-west-1, not us-east-1: use --region"

    @pytest.mark.parametrize(("status", "kind"), [(403, Denied), (400, Rejected)])
    def test_the_right_region_changes_nothing(self, status: int, kind: type[Failure]) -> None:
        assert type(failure(status, x_amz_bucket_region=HERE)) is kind

    @pytest.mark.parametrize(("status", "kind"), [(404, NotFound), (503, Throttled)])
    def test_a_region_in_another_answer_changes_nothing(
        self, status: int, kind: type[Failure]
    ) -> None:
        assert type(failure(status, x_amz_bucket_region="eu-west-1")) is kind

    def test_a_redirect_that_names_no_region_is_fatal_too(self) -> None:
        assert type(failure(301, "PermanentRedirect")) is Fatal
