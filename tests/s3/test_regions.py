"""The bucket's region is found, and followed once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from providers.base import Prepared
from providers.errors import Fatal, Rejected
from providers.s3.answers import ServiceError
from providers.s3.driver import S3Driver
from providers.s3.endpoints import Variant
from providers.s3.service import Service
from providers.s3.session import S3Session
from tests.servers.scripted import Answer, Request, ScriptedServer, reply

from .test_s3 import BUCKET, CONTENT, KEYS, Conversation, error, stored

ELSEWHERE = reply(301, x_amz_bucket_region="eu-west-3")
MALFORMED = error(400, "AuthorizationHeaderMalformed", fields="<Region>eu-west-3</Region>")
NOTICE = "the bucket is in region eu-west-3, not us-east-1: going on there"


def regions(requests: list[Request]) -> list[str]:
    """What each request was signed for."""
    return [request.headers["authorization"].split("/")[2] for request in requests]


@contextmanager
def conversation(tmp_path: Path, *answers: Answer) -> Iterator[tuple[Service, Conversation]]:
    with ScriptedServer(*answers) as server:
        service = Service(server.endpoint, "us-east-1", lambda: KEYS, timeout=5)
        with closing(S3Session(S3Driver(service), BUCKET)) as session:
            yield service, Conversation(server, session, tmp_path)


@pytest.mark.parametrize(
    "answers",
    [
        [ELSEWHERE],
        [reply(307, x_amz_bucket_region="eu-west-3")],
        [reply(400, x_amz_bucket_region="eu-west-3")],
        [reply(403, x_amz_bucket_region="eu-west-3")],
        [reply(400), MALFORMED],
    ],
    ids=["301", "307", "400", "403", "only a body tells"],
)
def test_the_look_at_the_bucket_finds_its_region(tmp_path: Path, answers: list[bytes]) -> None:
    with conversation(tmp_path, *answers, reply()) as (service, talk):
        assert talk.session.prepare_bucket(create=False) == Prepared(False, "")
    assert service.notices == [NOTICE]
    assert regions(talk.requests) == [*["us-east-1"] * len(answers), "eu-west-3"]


@pytest.mark.parametrize(
    "answer",
    [
        error(301, "PermanentRedirect", fields="<Region>eu-west-3</Region>"),
        error(
            301,
            "PermanentRedirect",
            fields="<Endpoint>bucket.s3-eu-west-3.amazonaws.com</Endpoint>",
        ),
        error(
            307,
            "TemporaryRedirect",
            fields="<Endpoint>bucket.s3.dualstack.eu-west-3.amazonaws.com</Endpoint>",
        ),
        MALFORMED,
    ],
)
def test_a_put_that_is_sent_elsewhere_goes_there(tmp_path: Path, answer: bytes) -> None:
    """In a worker that has not looked at the bucket."""
    with conversation(tmp_path, answer, stored, stored) as (service, talk):
        talk.put()
        talk.put()
    assert service.notices == [NOTICE]
    assert regions(talk.requests) == ["us-east-1", "eu-west-3", "eu-west-3"]
    assert [request.body for request in talk.requests[1:]] == [CONTENT, CONTENT]


def test_a_second_redirection_is_fatal(tmp_path: Path) -> None:
    again = reply(301, x_amz_bucket_region="ap-south-1")
    told = "^the service sends from region us-east-1 to eu-west-3, and on to ap-south-1: use "
    with conversation(tmp_path, ELSEWHERE, again) as (_, talk), pytest.raises(Fatal, match=told):
        talk.put()


def test_a_redirection_to_another_host_is_fatal_and_names_it(tmp_path: Path) -> None:
    """A signature for the right region does not make an endpoint that was given the right one."""
    answer = error(301, "PermanentRedirect", fields="<Endpoint>s3.other.example</Endpoint>")
    told = "^the bucket is at s3.other.example: use --endpoint-url$"
    with conversation(tmp_path, answer) as (_, talk), pytest.raises(Fatal, match=told):
        talk.put()


def test_the_host_that_a_redirection_names_is_told_without_the_bucket(tmp_path: Path) -> None:
    """As AWS names it; with the bucket in its host an endpoint is refused."""
    answer = error(301, "PermanentRedirect", fields="<Endpoint>bucket.s3.other.example</Endpoint>")
    told = "^the bucket is at s3.other.example: use --endpoint-url$"
    with conversation(tmp_path, answer) as (_, talk), pytest.raises(Fatal, match=told):
        talk.put()


def test_a_refusal_that_names_the_right_region_is_a_refusal(tmp_path: Path) -> None:
    answer = error(403, "AccessDenied", x_amz_bucket_region="us-east-1")
    with conversation(tmp_path, answer) as (service, talk), pytest.raises(Rejected):
        talk.put()
    assert service.notices == []


def test_a_refusal_is_a_refusal_whatever_the_region_is_called(tmp_path: Path) -> None:
    with ScriptedServer(error(403, "AccessDenied")) as server:
        service = Service(server.endpoint, "a/b", lambda: KEYS, timeout=5)
        with closing(S3Session(S3Driver(service), BUCKET)) as session, pytest.raises(Rejected):
            Conversation(server, session, tmp_path).put()


@pytest.mark.parametrize("region", ["eu\r\nx-injected: 1", "", "a b", "é"])
def test_what_is_no_region_is_not_followed(region: str) -> None:
    body = f"<Error><Region>{region}</Region></Error>".encode()
    assert ServiceError.parse(400, {}, body).region is None


def test_answers_that_come_after_the_move_are_followed_too(tmp_path: Path) -> None:
    """Requests of several sessions were under way."""
    with conversation(tmp_path, MALFORMED, stored) as (service, talk):

        def late(request: Request) -> bytes:
            service.follow(ServiceError.parse(301, {"x-amz-bucket-region": "eu-west-3"}, b""))
            return MALFORMED

        talk.server.answers[0] = late
        talk.put()
    assert service.notices == [NOTICE]
    assert regions(talk.requests) == ["us-east-1", "eu-west-3"]


def test_a_bucket_that_is_missing_in_the_right_region_is_created_there(tmp_path: Path) -> None:
    missing = error(404, "NoSuchBucket")
    answers = [reply(400), MALFORMED, missing, reply(404), reply(), error(501, "NotImplemented")]
    with conversation(tmp_path, *answers) as (_, talk):
        assert talk.session.prepare_bucket(create=True).created
    assert b"<LocationConstraint>eu-west-3</LocationConstraint>" in talk.requests[-2].body


def moved(service: Service, **answer: Any) -> bool:
    return service.follow(ServiceError.parse(301, {}, b"")._replace(**answer))


class TestOnAws:
    @pytest.mark.parametrize("region", ["eu-west-3", "xx-newest-7"])
    def test_the_regions_endpoint_is_used(self, region: str) -> None:
        service = Service(None, "us-east-1", lambda: KEYS)
        assert moved(service, region=region)
        assert service.address("bucket")[0].host == f"bucket.s3.{region}.amazonaws.com"
        assert service.region == region

    def test_the_variant_of_the_endpoint_stays(self) -> None:
        service = Service(None, "us-east-1", lambda: KEYS, variant=Variant(dualstack=True))
        assert moved(service, region="eu-west-3")
        assert service.endpoint.host == "s3.dualstack.eu-west-3.amazonaws.com"

    @pytest.mark.parametrize("region", ["evil.example/", "evil.example", "a@b", "a b"])
    def test_a_region_cannot_lead_to_another_host(self, region: str) -> None:
        service = Service(None, "us-east-1", lambda: KEYS)
        with pytest.raises(Fatal, match="no such endpoint in region"):
            moved(service, region=region)

    def test_a_moved_session_connects_to_the_new_host(self) -> None:
        service = Service(None, "us-east-1", lambda: KEYS)
        transport = S3Session(S3Driver(service), BUCKET).driver.transport
        assert transport.connection_to(BUCKET).host == "bucket.s3.us-east-1.amazonaws.com"
        answer = ServiceError.parse(301, {"x-amz-bucket-region": "eu-west-3"}, b"")
        assert transport.finds_bucket(answer)
        assert transport.connection_to(BUCKET).host == "bucket.s3.eu-west-3.amazonaws.com"

    @pytest.mark.parametrize(
        ("endpoint", "region"),
        [
            ("bucket.s3.eu-west-3.amazonaws.com", "eu-west-3"),
            ("bucket.s3-eu-west-3.amazonaws.com", "eu-west-3"),
            ("s3.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
            ("b.s3.cn-north-1.amazonaws.com.cn", "cn-north-1"),
            ("bucket.s3-external-1.amazonaws.com", None),
            ("s3.eu-west-3.example", None),
        ],
    )
    def test_a_host_of_aws_tells_the_region(self, endpoint: str, region: str | None) -> None:
        body = f"<Error><Endpoint>{endpoint}</Endpoint></Error>".encode()
        assert ServiceError.parse(301, {}, body).region == region
