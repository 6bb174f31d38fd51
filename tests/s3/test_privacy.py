"""Whether a bucket is public: the judgement, the requests, and what real servers answer."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

import pytest

import providers
from providers.base import CloudSettings, Prepared
from providers.errors import Denied, Fatal, NoBucket, NotFound, Rejected, Transient, Unchecked
from providers.s3.cloud import S3Cloud
from providers.s3.privacy import (
    ACL,
    BLOCK,
    DEFAULT_ACL,
    POLICY,
    QUESTIONS,
    Verdict,
    blocking_all,
    judge,
    judge_google,
)
from tests.command import arguments, environment, run, stopped, write
from tests.servers.ceph import CephRGW
from tests.servers.moto import Moto
from tests.servers.s3_server import S3Server
from tests.servers.scripted import Request, ScriptedServer, reply

GROUPS = "http://acs.amazonaws.com/groups/global/"
NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
BUCKET = "bucket"


def acl(*grants: tuple[str, str]) -> bytes:
    """The answer to ?acl: the owner's own grant, and those of (group, permission)."""
    xsi = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
    owner = f'<Grantee {xsi} xsi:type="CanonicalUser"><ID>me</ID></Grantee>'
    rows = [f"<Grant>{owner}<Permission>FULL_CONTROL</Permission></Grant>"]
    for group, permission in grants:
        grantee = f'<Grantee {xsi} xsi:type="Group"><URI>{GROUPS}{group}</URI></Grantee>'
        rows.append(f"<Grant>{grantee}<Permission>{permission}</Permission></Grant>")
    listed = f"<AccessControlList>{''.join(rows)}</AccessControlList>"
    return f"<AccessControlPolicy {NAMESPACE}>{listed}</AccessControlPolicy>".encode()


def policy(is_public: str) -> bytes:
    return f"<PolicyStatus {NAMESPACE}><IsPublic>{is_public}</IsPublic></PolicyStatus>".encode()


def block(**settings: str) -> bytes:
    rows = "".join(f"<{name}>{value}</{name}>" for name, value in settings.items())
    root = "PublicAccessBlockConfiguration"
    return f"<{root} {NAMESPACE}>{rows}</{root}>".encode()


PRIVATE_ACL, OPEN_ACL = acl(), acl(("AllUsers", "READ"))
NO_POLICY = NotFound("NoSuchBucketPolicy: The bucket policy does not exist")
NO_BLOCK = NotFound("NoSuchPublicAccessBlockConfiguration: there is none")
DENIED = Denied("AccessDenied")
UNKNOWN = Rejected("NotImplemented")
BY_ACL = "by its ACL, which gives everybody READ"
BY_POLICY = "by its policy, as the service says"
BLOCKED = block(IgnorePublicAcls="true", BlockPublicPolicy="true", RestrictPublicBuckets="true")
LISTING = b"<ListBucketResult><Name>bucket</Name></ListBucketResult>"

Answer = bytes | Rejected


# The judgement.


def verdict(
    acl: Answer, policy: Answer = NO_POLICY, block: Answer = NO_BLOCK, *, is_aws: bool = True
) -> Verdict:
    return judge({ACL: acl, POLICY: policy, BLOCK: block}, is_aws=is_aws)


def test_a_bucket_of_its_owner_alone_is_private() -> None:
    assert verdict(PRIVATE_ACL) == Verdict("", "")
    assert verdict(PRIVATE_ACL, policy("false")) == Verdict("", "")


@pytest.mark.parametrize(
    ("group", "who"),
    [("AllUsers", "everybody"), ("AuthenticatedUsers", "every user of the service")],
)
@pytest.mark.parametrize("permission", ["READ", "WRITE", "READ_ACP", "FULL_CONTROL"])
def test_a_grant_to_the_public_is_told(group: str, who: str, permission: str) -> None:
    found = verdict(acl((group, permission)))
    assert found.public == f"by its ACL, which gives {who} {permission}"


def test_a_grant_to_another_group_makes_nothing_public() -> None:
    assert verdict(acl(("s3/LogDelivery", "WRITE"))) == Verdict("", "")


def test_a_policy_for_everybody_is_told() -> None:
    assert verdict(PRIVATE_ACL, policy("true")).public == BY_POLICY
    assert verdict(PRIVATE_ACL, policy("TRUE")).public == BY_POLICY


def test_all_that_makes_a_bucket_public_is_told() -> None:
    grants = acl(("AllUsers", "READ"), ("AllUsers", "WRITE"))
    found = verdict(grants, policy("true")).public
    assert found.count("its ACL") == 2 and "its policy" in found


def test_acls_that_are_ignored_grant_nothing() -> None:
    assert verdict(OPEN_ACL, block=block(IgnorePublicAcls="true")) == Verdict("", "")
    assert verdict(OPEN_ACL, block=block(IgnorePublicAcls="false")).public
    assert verdict(OPEN_ACL, block=block(BlockPublicAcls="true")).public, (
        "only new ones are blocked"
    )


def test_a_restricted_policy_lets_nobody_in() -> None:
    restricted = block(RestrictPublicBuckets="true")
    assert verdict(PRIVATE_ACL, policy("true"), restricted) == Verdict("", "")
    assert verdict(OPEN_ACL, policy("true"), restricted).public == BY_ACL


def test_only_aws_is_trusted_to_restrict_a_policy() -> None:
    """Older Ceph does nothing of the kind: https://github.com/ceph/ceph/pull/57206"""
    restricted = block(RestrictPublicBuckets="true")
    assert verdict(PRIVATE_ACL, policy("true"), restricted, is_aws=False).public == BY_POLICY


def test_a_block_as_older_ceph_spells_it_is_understood() -> None:
    """https://github.com/ceph/ceph/pull/55652"""
    spelled = block(IgnorePublicAcls="true").replace(b"PublicAcc", b"BlockPublicAcc")
    assert verdict(OPEN_ACL, block=spelled, is_aws=False) == Verdict("", "")


@pytest.mark.parametrize("answer", [DENIED, UNKNOWN, LISTING, b"", b"no XML"])
def test_what_cannot_be_asked_is_not_known(answer: Answer) -> None:
    assert "its ACL could not be checked" in verdict(answer).unknown
    assert "its policy could not be checked" in verdict(PRIVATE_ACL, answer).unknown
    assert verdict(PRIVATE_ACL, block=answer) == Verdict("", ""), "nothing is there to be blocked"


def test_the_services_reason_is_kept() -> None:
    assert "(AccessDenied)" in verdict(PRIVATE_ACL, DENIED).unknown


def test_where_all_is_blocked_nothing_else_needs_to_be_known() -> None:
    blocked = block(IgnorePublicAcls="true", RestrictPublicBuckets="true")
    assert verdict(DENIED, DENIED, blocked) == Verdict("", "")


def test_what_is_public_by_one_answer_is_so_whatever_else_is_not_known() -> None:
    assert verdict(OPEN_ACL, DENIED).public


# Google's ACLs, by its XML API.


def google_acl(*entries: tuple[str, str]) -> bytes:
    """The answer to ?acl and ?defaultObjectAcl: the owner's own entry, and those of (scope,
    permission)."""
    rows = '<Entry><Scope type="GroupById"><ID>me</ID></Scope><Permission>READ</Permission></Entry>'
    for scope, permission in entries:
        rows += f'<Entry><Scope type="{scope}"/><Permission>{permission}</Permission></Entry>'
    owner = "<Owner><ID>me</ID></Owner>"
    listed = f"<AccessControlList>{owner}<Entries>{rows}</Entries></AccessControlList>"
    return f"<?xml version='1.0' encoding='UTF-8'?>{listed}".encode()


NO_IAM = "its IAM policy cannot be asked with an HMAC key"
UNIFORM = Rejected("InvalidArgument: Invalid argument.")
PRIVATE = google_acl()


@pytest.mark.parametrize(
    ("scope", "who"),
    [("AllUsers", "everybody"), ("AllAuthenticatedUsers", "everybody with a Google account")],
)
def test_googles_entry_for_the_public_is_told(scope: str, who: str) -> None:
    given = google_acl((scope, "READ"))
    found = judge_google({ACL: given, DEFAULT_ACL: PRIVATE})
    assert found == (f"by its ACL, which gives {who} READ", NO_IAM)
    found = judge_google({ACL: PRIVATE, DEFAULT_ACL: given})
    assert found == (f"by its default object ACL, which gives {who} READ", NO_IAM)


def test_googles_bucket_without_grants_is_as_private_as_its_policy() -> None:
    assert judge_google({ACL: PRIVATE, DEFAULT_ACL: PRIVATE}) == ("", NO_IAM)


def test_where_googles_access_is_uniform_acls_have_no_effect() -> None:
    assert judge_google({ACL: UNIFORM, DEFAULT_ACL: UNIFORM}) == ("", NO_IAM)


def test_what_of_googles_acls_cannot_be_asked_is_not_known() -> None:
    found = judge_google({ACL: DENIED, DEFAULT_ACL: LISTING})
    assert found == (
        "",
        "its ACL could not be checked (AccessDenied), its default object ACL could not be checked "
        f"(the service answers something else), {NO_IAM}",
    )


# The requests.


def error(status: int, code: str) -> bytes:
    return reply(status, f"<Error><Code>{code}</Code></Error>".encode())


def answering(**answers: bytes) -> Callable[[Request], bytes]:
    """Answers to the questions by name; a private bucket's to those that are not given."""
    private = {
        ACL: reply(body=PRIVATE_ACL),
        POLICY: error(404, "NoSuchBucketPolicy"),
        BLOCK: error(404, "NoSuchPublicAccessBlockConfiguration"),
    }

    def answer(request: Request) -> bytes:
        if request.method == "HEAD":
            return answers.get("head", reply())
        if request.method == "PUT":
            return answers.get("block", reply()) if "?" in request.target else reply()
        question = request.target.removeprefix(f"/{BUCKET}?").removesuffix("=")
        return answers.get(question, private.get(question, reply()))

    return answer


@pytest.fixture
def prepare(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Prepared, list[Request]]]:
    """Prepares a bucket on a scripted server; returns what it gave and the requests."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("GS_ACCESS_KEY_ID", "GOOGkey")
    monkeypatch.setenv("GS_SECRET_ACCESS_KEY", "secret")

    def prepare(
        *, requests: int = 4, allow_public: bool = False, provider: str = "s3", **answers: bytes
    ) -> tuple[Prepared, list[Request]]:
        with ScriptedServer(*[answering(**answers)] * requests) as server:
            settings = CloudSettings(
                provider, BUCKET, server.endpoint, timeout=5, allow_public=allow_public
            )
            return providers.load(settings).prepare(create=False), server.requests

    return prepare


Preparing = Callable[..., tuple[Prepared, list[Request]]]


def test_each_question_is_asked_once(prepare: Preparing) -> None:
    prepared, requests = prepare()
    assert prepared == Prepared(False, "")
    asked = {request.target for request in requests if request.method == "GET"}
    assert asked == {f"/{BUCKET}?{question}=" for question in QUESTIONS}


def test_a_public_bucket_is_fatal_and_the_line_says_why_and_what_to_do(prepare: Preparing) -> None:
    with pytest.raises(Fatal) as caught:
        prepare(acl=reply(body=OPEN_ACL))
    assert str(caught.value) == (
        "bucket bucket is public by its ACL, which gives everybody READ: block its public access, "
        "or give --allow-public if it is meant to be"
    )


def test_google_is_asked_for_its_acls(prepare: Preparing) -> None:
    google = {"provider": "google_storage", "requests": 3}
    private = reply(body=PRIVATE)
    prepared, requests = prepare(**google, acl=private, defaultObjectAcl=private)
    assert prepared == Prepared(False, f"whether the bucket is public is not known: {NO_IAM}")
    asked = {request.target for request in requests if request.method == "GET"}
    assert asked == {f"/{BUCKET}?acl=", f"/{BUCKET}?defaultObjectAcl="}
    public = reply(body=google_acl(("AllUsers", "READ")))
    with pytest.raises(Fatal, match="^bucket bucket is public by its default object ACL"):
        prepare(**google, acl=private, defaultObjectAcl=public)


def test_nothing_is_asked_where_a_public_bucket_is_allowed(prepare: Preparing) -> None:
    prepared, requests = prepare(requests=1, allow_public=True, acl=reply(body=OPEN_ACL))
    assert prepared == Prepared(False, "")
    assert [request.method for request in requests] == ["HEAD"]


def test_what_could_not_be_checked_is_told_in_one_line(prepare: Preparing) -> None:
    prepared, _ = prepare(acl=error(403, "AccessDenied"), policyStatus=error(501, "NotImplemented"))
    assert prepared.note == (
        "whether the bucket is public is not known: its ACL could not be checked (AccessDenied), "
        "its policy could not be checked (NotImplemented)"
    )


@pytest.mark.parametrize("status", [400, 403, 404, 405, 501])
def test_a_question_that_is_refused_stops_nothing(prepare: Preparing, status: int) -> None:
    prepared, _ = prepare(acl=reply(status), policyStatus=reply(status))
    assert prepared.note.count("could not be checked") == 2


@pytest.mark.parametrize("answer", [error(500, "InternalError"), error(503, "SlowDown")])
def test_a_question_that_meets_a_passing_trouble_is_asked_again(
    prepare: Preparing, answer: bytes
) -> None:
    """In the end it could not be checked."""
    told = r"^whether the bucket is public is not known: its ACL could not be checked \("
    with pytest.raises(Unchecked, match=told) as caught:
        prepare(acl=answer)
    assert caught.value.retry


def test_a_public_bucket_is_fatal_whatever_else_could_not_be_asked(prepare: Preparing) -> None:
    with pytest.raises(Fatal, match=BY_POLICY):
        prepare(acl=error(500, "InternalError"), policyStatus=reply(body=policy("true")))


def test_a_block_that_could_not_be_asked_about_may_make_all_the_difference(
    prepare: Preparing,
) -> None:
    with pytest.raises(Transient, match=BY_ACL):
        prepare(acl=reply(body=OPEN_ACL), publicAccessBlock=error(500, "InternalError"))


def test_a_block_that_could_not_be_asked_about_is_no_matter_where_nothing_is_public(
    prepare: Preparing,
) -> None:
    prepared, _ = prepare(publicAccessBlock=error(500, "InternalError"))
    assert prepared == Prepared(False, "")


def test_a_missing_bucket_is_missing_whatever_the_questions_meet(prepare: Preparing) -> None:
    with pytest.raises(NoBucket), ScriptedServer(*[answering(head=reply(404))] * 4) as server:
        S3Cloud(CloudSettings("s3", BUCKET, server.endpoint, timeout=5)).prepare(create=False)


def test_the_questions_follow_a_bucket_to_its_region(monkeypatch: pytest.MonkeyPatch) -> None:
    """All at once, each with a request of its own that went to the wrong one."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    there = answering(policyStatus=reply(body=policy("true")))

    def answer(request: Request) -> bytes:
        if "/eu-west-3/" in request.headers["authorization"]:
            return there(request)
        return reply(301, x_amz_bucket_region="eu-west-3")

    with pytest.raises(Fatal, match=BY_POLICY), ScriptedServer(*[answer] * 8) as server:
        S3Cloud(CloudSettings("s3", BUCKET, server.endpoint, timeout=5)).prepare(create=False)


def test_a_bucket_that_somebody_makes_meanwhile_is_asked_about(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Once it is there."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    there = answering(acl=reply(body=OPEN_ACL))
    script = [reply(404), error(409, "BucketAlreadyOwnedByYou"), *[there] * 3]
    with pytest.raises(Fatal, match=BY_ACL), ScriptedServer(*script) as server:
        S3Cloud(CloudSettings("s3", BUCKET, server.endpoint, timeout=5)).prepare(create=True)


def created(
    monkeypatch: pytest.MonkeyPatch, *, requests: int = 4, **answers: bytes
) -> tuple[Prepared, list[Request]]:
    """Creates the bucket on a scripted server; nothing is asked about it."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    script = [answering(head=reply(404), **answers)] * requests
    with ScriptedServer(*script) as server:
        cloud = S3Cloud(CloudSettings("s3", BUCKET, server.endpoint, timeout=5))
        with closing(cloud.open()) as session:
            return session.prepare_bucket(create=True), server.requests


def test_all_public_access_to_a_created_bucket_is_blocked(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared, (_, _, blocking, _) = created(monkeypatch, **{BLOCK: reply(body=BLOCKED)})
    assert prepared == Prepared(
        True, "created bucket bucket, private to its owner, public access blocked"
    )
    assert (blocking.method, blocking.target) == ("PUT", f"/{BUCKET}?{BLOCK}=")
    assert "content-md5" in blocking.headers, "AWS demands a checksum of this body"
    assert blocking.body.count(b"true") == 3


def test_aws_blocks_public_acls_as_well() -> None:
    """Elsewhere that may block every upload: https://github.com/ceph/ceph/pull/30033"""
    assert b"<BlockPublicAcls>true" in blocking_all("n", is_aws=True)
    assert b"BlockPublicAcls" not in blocking_all("n", is_aws=False)


def test_a_created_bucket_that_may_be_public_is_not_blocked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would refuse the public ACLs that the run is told to send."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with ScriptedServer(*[answering(head=reply(404))] * 2) as server:
        settings = CloudSettings("s3", BUCKET, server.endpoint, timeout=5, allow_public=True)
        prepared = S3Cloud(settings).prepare(create=True)
    assert prepared == Prepared(True, "created bucket bucket, private to its owner")
    assert [request.method for request in server.requests] == ["HEAD", "PUT"]


@pytest.mark.parametrize("answer", [error(501, "NotImplemented"), error(403, "AccessDenied")])
def test_a_service_that_cannot_block_public_access_still_makes_a_private_bucket(
    monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    prepared, _ = created(monkeypatch, requests=3, block=answer)
    assert prepared == Prepared(True, "created bucket bucket, private to its owner")


@pytest.mark.parametrize("answer", [error(404, "NoSuchKey"), reply(body=LISTING), reply()])
def test_a_block_that_the_service_does_not_confirm_is_not_claimed(
    monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    """Some take the request for another creation of the bucket."""
    prepared, _ = created(monkeypatch, **{BLOCK: answer})
    assert prepared == Prepared(True, "created bucket bucket, private to its owner")


# Real servers.


PUBLIC_POLICY = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": "*",
                "Action": ["s3:GetObject"],
                "Resource": ["arn:aws:s3:::BUCKET/*"],
            }
        ],
    }
)


@pytest.fixture(params=["moto", "ceph"])
def server(request: pytest.FixtureRequest) -> S3Server:
    found: S3Server = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def bucket(server: S3Server) -> Iterator[str]:
    name, client = f"test-{secrets.token_hex(6)}", server.boto3()
    client.create_bucket(Bucket=name)
    yield name
    for row in client.list_objects_v2(Bucket=name).get("Contents", []):
        client.delete_object(Bucket=name, Key=row["Key"])
    client.delete_bucket(Bucket=name)


def make_public_by_acl(client: Any, bucket: str) -> None:
    client.put_bucket_acl(Bucket=bucket, ACL="public-read")


def make_public_by_policy(client: Any, bucket: str) -> None:
    client.put_bucket_policy(Bucket=bucket, Policy=PUBLIC_POLICY.replace("BUCKET", bucket))


WAYS: Mapping[str, Callable[[Any, str], None]] = {
    BY_ACL: make_public_by_acl,
    BY_POLICY: make_public_by_policy,
}


@pytest.fixture
def uploading(server: S3Server, data: Path, bucket: str) -> tuple[Any, ...]:
    write(data, "file")
    return arguments(data, server.endpoint, bucket)


@pytest.mark.parametrize("way", WAYS)
def test_command_sends_nothing_to_a_public_bucket(
    server: S3Server, bucket: str, uploading: tuple[Any, ...], way: str
) -> None:
    client = server.boto3()
    WAYS[way](client, bucket)
    line = stopped(*uploading, env=environment(server))
    assert f"bucket {bucket} is public {way}" in line and "--allow-public" in line
    assert not client.list_objects_v2(Bucket=bucket).get("Contents")


def test_command_uploads_to_a_public_bucket_when_told_so(
    server: S3Server, bucket: str, uploading: tuple[Any, ...]
) -> None:
    make_public_by_acl(server.boto3(), bucket)
    assert run(*uploading, "--allow-public", env=environment(server)).code == 0


def test_command_uploads_to_a_bucket_whose_public_grants_are_ignored(
    moto: Moto, data: Path
) -> None:
    """Ceph calls the policy public for the ACL's sake."""
    bucket, client = f"test-{secrets.token_hex(6)}", moto.boto3()
    client.create_bucket(Bucket=bucket)
    make_public_by_acl(client, bucket)
    client.put_public_access_block(
        Bucket=bucket, PublicAccessBlockConfiguration={"IgnorePublicAcls": True}
    )
    write(data, "file")
    assert run(*arguments(data, moto.endpoint, bucket), env=environment(moto)).code == 0


def test_command_says_nothing_of_a_private_bucket(
    server: S3Server, uploading: tuple[Any, ...]
) -> None:
    assert "public" not in run(*uploading, env=environment(server)).stderr


def test_grants_to_everybody_take_no_effect_on_a_created_bucket(
    server: S3Server, data: Path
) -> None:
    bucket, client = f"test-{secrets.token_hex(6)}", server.boto3()
    write(data, "file")
    finished = run(*arguments(data, server.endpoint, bucket), env=environment(server))
    assert finished.code == 0 and "public access blocked" in finished.stderr
    found = client.get_public_access_block(Bucket=bucket)
    assert found["PublicAccessBlockConfiguration"]["IgnorePublicAcls"]


def test_ceph_lets_nobody_into_a_created_bucket_whatever_its_acl(ceph: CephRGW, data: Path) -> None:
    bucket = f"test-{secrets.token_hex(6)}"
    write(data, "file")
    assert run(*arguments(data, ceph.endpoint, bucket), env=environment(ceph)).code == 0
    make_public_by_acl(ceph.boto3(), bucket)
    with pytest.raises(HTTPError, match="403"):
        build_opener(ProxyHandler({})).open(f"{ceph.endpoint}/{bucket}", timeout=10)
