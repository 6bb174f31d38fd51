"""Azure alone: what goes over the wire, and what each answer means."""

from __future__ import annotations

import hashlib
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from email.utils import formatdate, parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from awscrt.checksums import crc64nvme
from hypothesis import given
from hypothesis import strategies as st
from libcloud.storage.base import Object

from providers.azure_blobs.answers import ServiceError
from providers.azure_blobs.blocks import Block
from providers.azure_blobs.cloud import AzureCloud
from providers.azure_blobs.credentials import Account
from providers.azure_blobs.driver import AzureDriver
from providers.azure_blobs.service import Service
from providers.azure_blobs.session import AzureSession
from providers.azure_blobs.sharedkey import SharedKey
from providers.base import CloudSettings, Deletion, ObjectInfo, Part, Prepared
from providers.errors import (
    Denied,
    Failure,
    Fatal,
    NoBucket,
    NotFound,
    Rejected,
    Throttled,
    Transient,
)
from providers.http.endpoint import Endpoint
from providers.http.response import Response
from providers.source import BLOCK_SIZE, Source
from tests.servers.scripted import CLOSE, RESET, Answer, Request, ScriptedServer, reply

NAME, KEY = "myaccount", b"any key"
SIGNATURE = "hunter2%2Bhunter2%3D"
SAS = f"sv=2022-11-02&sp=rw&sig={SIGNATURE}"
CONTAINER = "container"
CONTENT = b"The quick brown fox"
METADATA = [("mode", "0100644"), ("mtime", "1.000000000")]
UPLOAD = "65f0c0de0123456789abcdef"
OTHER = "65f0c0de0000000000000000"


def azure(status: int = 200, body: bytes = b"", **headers: str) -> bytes:
    return reply(status, body, x_ms_request_id="id", **headers)


def error(status: int, code: str, message: str = "", more: str = "", **headers: str) -> bytes:
    body = f"<Error><Code>{code}</Code><Message>{message}</Message>{more}</Error>"
    return azure(status, body.encode(), x_ms_error_code=code, **headers)


CREATED = azure(201, etag='"0x1"')


def crc_of(content: bytes) -> str:
    return b64encode(crc64nvme(content).to_bytes(8, "little")).decode()


def md5_of(content: bytes) -> str:
    return b64encode(hashlib.md5(content).digest()).decode()


def echoed(request: Request) -> bytes:
    """A service that checks the CRC accepts what it got."""
    return azure(201, x_ms_content_crc64=crc_of(request.body))


def block_of(content: bytes, number: int = 1, upload_id: str = UPLOAD) -> Block:
    return Block(upload_id, number, crc64nvme(content), len(content))


def block_list(*blocks: Block, others: Sequence[str] = ()) -> bytes:
    rows = [f"<Block><Name>{b.name}</Name><Size>{b.size}</Size></Block>" for b in blocks]
    rows += [f"<Block><Name>{name}</Name><Size>1</Size></Block>" for name in others]
    return azure(
        body=f"<BlockList><UncommittedBlocks>{''.join(rows)}</UncommittedBlocks></BlockList>".encode()
    )


class Conversation:
    """A session with a scripted server, and files to send."""

    def __init__(self, server: ScriptedServer, session: AzureSession, directory: Path) -> None:
        self.server = server
        self.session = session
        self.notices: list[str] = []
        self._path = directory / "file"

    @property
    def requests(self) -> list[Request]:
        return self.server.requests

    @property
    def asked(self) -> list[tuple[str, str]]:
        """Method and target of each request."""
        return [(request.method, request.target) for request in self.requests]

    def source(self, content: bytes) -> Source:
        self._path.write_bytes(content)
        return Source(str(self._path))

    def put(self, content: bytes = CONTENT, key: str = "key") -> None:
        with self.source(content) as source:
            self.session.put(key, source, METADATA, "text/plain")

    def put_part(self, content: bytes = CONTENT, number: int = 1) -> Part:
        with self.source(content) as source:
            return self.session.put_part("key", UPLOAD, number, source, 0, len(content))

    def complete(self, *parts: Part) -> None:
        self.session.complete("key", UPLOAD, parts, METADATA, "text/plain")

    def stored_parts(self, content: bytes, part_size: int) -> list[Part]:
        with self.source(content) as source:
            return self.session.stored_parts("key", UPLOAD, source, part_size)


@pytest.fixture
def talk(tmp_path: Path) -> Callable[..., Any]:
    """Opens a conversation in which the server gives these answers."""

    @contextmanager
    def open_conversation(*answers: Answer, sas: str = "") -> Iterator[Conversation]:
        with ScriptedServer(*answers) as server:
            endpoint = Endpoint.parse(f"{server.endpoint}/{NAME}")
            account = Account(NAME, endpoint, None if sas else KEY, sas)
            notices: list[str] = []
            service = Service(account, timeout=5, notices=notices)
            with closing(AzureSession(AzureDriver(service), CONTAINER)) as session:
                conversation = Conversation(server, session, tmp_path)
                conversation.notices = notices
                yield conversation

    return open_conversation


# The request, over the wire.


def is_signed_right(request: Request) -> bool:
    """The key gives the same signature for what arrived."""
    parts = urlsplit(request.target)
    headers = [pair for pair in request.headers.items() if pair != ("content-length", "0")]
    query = parse_qsl(parts.query, keep_blank_values=True)
    key = SharedKey(NAME, KEY)
    expected = key.authorization(request.method, parts.path, query, headers)
    return request.headers["authorization"] == expected


@pytest.mark.parametrize("key", ["key", "a b+c%~&#?'\"(!)", "/a//b/", "Grüße/🎉", "x" * 1024])
def test_a_put_is_signed_right(talk: Any, key: str) -> None:
    with talk(CREATED) as conversation:
        conversation.put(key=key)
    (request,) = conversation.requests
    assert unquote(request.target) == f"/{NAME}/{CONTAINER}/{key}"
    assert is_signed_right(request)


def test_every_kind_of_request_is_signed_right(talk: Any) -> None:
    answers = [azure(), echoed, CREATED, block_list(block_of(CONTENT)), azure()]
    with talk(*answers) as conversation:
        conversation.session.stat("key")
        conversation.complete(conversation.put_part())
        assert conversation.stored_parts(CONTENT, len(CONTENT))
        conversation.session.check(5)
    assert [request.method for request in conversation.requests] == [
        *("HEAD", "PUT", "PUT", "GET", "GET")
    ]
    assert all(is_signed_right(request) for request in conversation.requests)


def test_a_sas_goes_behind_the_query_and_nothing_is_signed(talk: Any) -> None:
    with talk(CREATED, block_list(block_of(CONTENT)), sas=SAS) as conversation:
        conversation.put()
        conversation.stored_parts(CONTENT, len(CONTENT))
    first, second = conversation.requests
    assert first.target == f"/{NAME}/{CONTAINER}/key?{SAS}"
    assert second.target.endswith(f"?comp=blocklist&blocklisttype=uncommitted&{SAS}")
    assert not any("authorization" in request.headers for request in conversation.requests)


def test_a_put_carries_metadata_type_and_md5(talk: Any) -> None:
    with talk(CREATED) as conversation:
        conversation.put()
    (request,) = conversation.requests
    expected = {
        "content-length": str(len(CONTENT)),
        "content-md5": md5_of(CONTENT),
        "x-ms-blob-content-type": "text/plain",
        "x-ms-blob-type": "BlockBlob",
        "x-ms-meta-mode": "0100644",
        "x-ms-meta-mtime": "1.000000000",
    }
    assert expected.items() <= request.headers.items()
    assert request.body == CONTENT
    assert "x-ms-version" in request.headers


@pytest.mark.parametrize("size", [0, 1, BLOCK_SIZE, BLOCK_SIZE + 1])
def test_a_body_of_any_size_arrives(talk: Any, size: int) -> None:
    with talk(CREATED) as conversation:
        conversation.put(bytes(size))
    (request,) = conversation.requests
    assert (request.body, request.headers["content-length"]) == (bytes(size), str(size))
    assert request.headers["content-md5"] == md5_of(bytes(size))


def test_one_connection_serves_all_requests_of_a_session(talk: Any) -> None:
    with talk(CREATED, CREATED, azure()) as conversation:
        conversation.put()
        conversation.put()
        conversation.session.stat("key")
        assert len(conversation.server.peers) == 1


@pytest.mark.parametrize("sas", ["", SAS], ids=["key", "sas"])
def test_libclouds_own_requests_have_the_right_too(talk: Any, sas: str) -> None:
    listing = azure(body=b"<EnumerationResults><Blobs/><NextMarker/></EnumerationResults>")
    found = azure(etag='"0x1"', last_modified="Fri, 26 Jun 2015 23:39:12 GMT")
    with talk(found, listing, azure(202), sas=sas) as conversation:
        driver = conversation.session.driver
        container = driver.get_container(CONTAINER)
        assert list(driver.iterate_container_objects(container, prefix="a b+c%~&#?é")) == []
        assert driver.delete_object(Object("a//b c", 1, "", {}, {}, container, driver))
    for request in conversation.requests:
        if sas:
            query = dict(parse_qsl(urlsplit(request.target).query))
            assert dict(parse_qsl(sas)).items() <= query.items()
            assert "authorization" not in request.headers
        else:
            assert is_signed_right(request)
    assert conversation.requests[-1].target.startswith(f"/{NAME}/{CONTAINER}/a//b%20c")


# Proof.


def test_an_md5_of_other_bytes_is_no_success(talk: Any) -> None:
    answer = azure(201, content_md5=md5_of(b"other"))
    with talk(answer) as conversation, pytest.raises(Transient, match="MD5 differs"):
        conversation.put()


def test_an_answer_that_is_none_of_azures_is_no_success(talk: Any) -> None:
    with talk(reply(200)) as conversation, pytest.raises(Transient, match="not from Azure"):
        conversation.put()


def test_a_block_carries_its_crc_and_is_named_after_it(talk: Any) -> None:
    with talk(echoed) as conversation:
        part = conversation.put_part(number=3)
    (request,) = conversation.requests
    assert request.headers["x-ms-content-crc64"] == crc_of(CONTENT)
    assert "content-md5" not in request.headers
    block = block_of(CONTENT, 3)
    query = dict(parse_qsl(urlsplit(request.target).query))
    assert query == {"comp": "block", "blockid": block.name}
    assert part == Part(3, len(CONTENT), block.name, crc64nvme(CONTENT))


def test_a_crc_of_other_bytes_is_no_success(talk: Any) -> None:
    answer = azure(201, x_ms_content_crc64=crc_of(b"other"))
    with talk(answer) as conversation, pytest.raises(Transient, match="CRC differs"):
        conversation.put_part()


@pytest.mark.parametrize(
    "ignorant",
    [
        azure(201),
        error(400, "UnsupportedHeader"),
        error(500, "FeatureNotSupported"),
        error(501, "NotImplemented"),
    ],
    ids=["ignored", "unsupported", "as Azurite says it", "not implemented"],
)
def test_a_service_that_does_not_check_the_crc_gets_md5s(talk: Any, ignorant: bytes) -> None:
    with talk(ignorant, CREATED, CREATED) as conversation:
        conversation.put_part()
        conversation.put_part()
    first, *others = conversation.requests
    assert "content-md5" not in first.headers
    for request in others:
        assert request.headers["content-md5"] == md5_of(CONTENT)
        assert "x-ms-content-crc64" not in request.headers
    (notice,) = conversation.notices
    assert "proven by MD5" in notice


# Listing, deleting, describing anew.


def test_a_listing_goes_from_marker_to_marker(talk: Any) -> None:
    body = b"<EnumerationResults><Blobs/><NextMarker>%s</NextMarker></EnumerationResults>"
    with talk(azure(200, body % b"m&amp;1"), azure(200, body % b"")) as conversation:
        first = conversation.session.page("a b/")
        assert not conversation.session.page("a b/", "", first.next).next
    targets = [request.target for request in conversation.requests]
    whole = f"/{NAME}/{CONTAINER}?restype=container&comp=list&prefix=a%20b%2F"
    assert targets == [whole, f"{whole}&marker=m%261"]
    assert all(is_signed_right(request) for request in conversation.requests)


def test_a_deletion_tells_what_is_left_and_what_is_only_hidden(talk: Any) -> None:
    answers = [
        azure(202, x_ms_delete_type_permanent="true"),
        azure(202, x_ms_delete_type_permanent="false"),
        error(404, "BlobNotFound"),
        error(409, "BlobImmutableDueToPolicy", "It is kept."),
    ]
    with talk(*answers) as conversation:
        told = conversation.session.delete(["gone", "hidden", "missing", "kept"])
    assert told == Deletion([("kept", "BlobImmutableDueToPolicy: It is kept.")], 1)
    assert [request.method for request in conversation.requests] == ["DELETE"] * 4


def test_only_the_blob_that_was_found_is_described_anew(talk: Any) -> None:
    found = ObjectInfo(1, {}, "text/plain", "0x8D")
    answers = [azure(200, ETag='"0x8E"'), error(412, "ConditionNotMet")]
    with talk(*answers) as conversation:
        described = ("key", found, METADATA, "text/plain")
        assert conversation.session.set_metadata(*described) == "0x8E"
        with pytest.raises(Rejected):
            conversation.session.set_metadata(*described)
    request = conversation.requests[0]
    assert request.target == f"/{NAME}/{CONTAINER}/key?comp=metadata"
    assert request.headers["if-match"] == '"0x8D"'
    assert request.headers["x-ms-meta-mode"] == "0100644"
    assert is_signed_right(request)


# Parts.


def test_the_blob_is_made_of_its_blocks_and_described_then(talk: Any) -> None:
    first, second = block_of(b"1"), block_of(b"2", 2)
    parts = [Part(b.number, b.size, b.name, b.crc) for b in (first, second)]
    with talk(CREATED) as conversation:
        conversation.complete(*parts)
    (request,) = conversation.requests
    assert request.target == f"/{NAME}/{CONTAINER}/key?comp=blocklist"
    names = f"<Latest>{first.name}</Latest><Latest>{second.name}</Latest>"
    assert names.encode() in request.body
    assert request.headers["content-md5"] == md5_of(request.body)
    assert request.headers["x-ms-blob-content-type"] == "text/plain"
    assert request.headers["x-ms-meta-mode"] == "0100644"


def test_blocks_that_are_gone_begin_the_file_again(talk: Any) -> None:
    with talk(error(400, "InvalidBlockList")) as conversation, pytest.raises(NotFound) as caught:
        conversation.complete()
    assert caught.value.restart


def test_a_part_of_no_upload_is_refused_without_asking(talk: Any) -> None:
    with talk() as conversation, conversation.source(b"") as source, pytest.raises(NotFound):
        conversation.session.put_part("key", "no-such-upload", 1, source, 0, 0)


def test_metadata_that_cannot_be_are_refused_before_any_part(talk: Any) -> None:
    with talk() as conversation, pytest.raises(Fatal, match="'a-b' is no name for metadata"):
        conversation.session.begin("key", [("a-b", "c")], "text/plain")


def test_stored_blocks_are_proven_by_their_names(talk: Any) -> None:
    content = b"aabbc"
    good = [block_of(b"aa", 1), block_of(b"c", 3)]
    bad = [
        block_of(b"xx", 2),
        block_of(b"bb", 1),
        block_of(b"bb", 2, OTHER),
        block_of(b"bb", 3),
        block_of(b"aa", 0),
        block_of(b"", 4),
    ]
    with talk(block_list(*good, *bad, others=["QUFB"])) as conversation:
        parts = conversation.stored_parts(content, 2)
    assert parts == [Part(b.number, b.size, b.name, b.crc) for b in good]


@pytest.mark.parametrize(
    "answer",
    [error(404, "BlobNotFound"), block_list(), block_list(block_of(b"aa", 1, OTHER))],
    ids=["no blob", "no block", "blocks of another"],
)
def test_an_upload_without_a_block_is_gone(talk: Any, answer: bytes) -> None:
    with talk(answer) as conversation, pytest.raises(NotFound):
        conversation.stored_parts(b"aabbc", 2)


@pytest.mark.parametrize("body", [b"", b"<html/>"])
def test_a_list_that_is_none_is_asked_for_again(talk: Any, body: bytes) -> None:
    with talk(azure(body=body)) as conversation, pytest.raises(Transient):
        conversation.stored_parts(b"aabbc", 2)


def test_an_abort_asks_for_nothing(talk: Any) -> None:
    """Each way to remove blocks writes or deletes a blob."""
    with talk() as conversation:
        conversation.session.abort("key", UPLOAD)
        assert list(conversation.session.uploads("")) == []


# What an answer means.


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (error(503, "ServerBusy"), Throttled),
        (azure(503), Throttled),
        (azure(429), Throttled),
        (error(500, "InternalError"), Transient),
        (error(500, "OperationTimedOut"), Transient),
        (azure(408), Transient),
        (error(400, "Md5Mismatch"), Transient),
        (error(400, "Crc64Mismatch"), Transient),
        (error(409, "ContainerBeingDeleted"), Transient),
        (error(404, "ContainerNotFound"), NoBucket),
        (error(404, "BlobNotFound"), NotFound),
        (error(403, "AuthenticationFailed"), Fatal),
        (error(403, "AuthorizationProtocolMismatch"), Fatal),
        (error(403, "AuthorizationSourceIPMismatch"), Fatal),
        (error(403, "AccountIsDisabled"), Fatal),
        (error(403, "KeyBasedAuthenticationNotPermitted"), Fatal),
        (error(401, "NoAuthenticationInformation"), Fatal),
        (error(403, "AuthorizationFailure", "This request is not authorized"), Denied),
        (error(403, "AuthorizationFailure", "Server failed to authenticate the request."), Fatal),
        (error(403, "AuthorizationPermissionMismatch"), Denied),
        (azure(403), Denied),
        (error(409, "BlobImmutableDueToPolicy"), Rejected),
        (error(409, "InvalidBlobType"), Rejected),
        (error(412, "LeaseIdMissing"), Rejected),
        (error(413, "RequestBodyTooLarge"), Rejected),
        (error(400, "InvalidBlobOrBlock"), Rejected),
        (azure(302), Rejected),
        (RESET, Transient),
        (CLOSE, Transient),
        (b"garbage\r\n\r\n", Transient),
    ],
)
def test_the_failure_that_an_answer_stands_for(
    talk: Any, answer: bytes, kind: type[Failure]
) -> None:
    with talk(answer) as conversation, pytest.raises(Failure) as caught:
        conversation.put(bytes(BLOCK_SIZE + 1))
    assert type(caught.value) is kind
    assert str(caught.value)
    assert "\n" not in str(caught.value)


@given(
    status=st.integers(300, 599),
    code=st.text(st.characters(min_codepoint=32, max_codepoint=126)),
    body=st.binary() | st.text().map(lambda text: f"<Error><Message>{text}</Message>".encode()),
)
def test_every_answer_is_some_failure_of_one_line(status: int, code: str, body: bytes) -> None:
    answer = Response(status, {"x-ms-error-code": code}, body)
    failure = ServiceError.of(answer).failure()
    assert str(failure)
    assert len(str(failure).splitlines()) == 1


def test_the_reason_is_code_and_first_line(talk: Any) -> None:
    answer = error(403, "X", "No room.\nRequestId:1\nTime:2")
    with talk(answer) as conversation, pytest.raises(Denied) as caught:
        conversation.put()
    assert str(caught.value) == "X: No room."


def test_retry_after_is_told(talk: Any) -> None:
    answer = error(503, "ServerBusy", retry_after="7")
    with talk(answer) as conversation, pytest.raises(Throttled) as caught:
        conversation.put()
    assert caught.value.after == 7


def test_blocks_of_another_program_get_advice(talk: Any) -> None:
    with talk(error(400, "InvalidBlobOrBlock")) as conversation, pytest.raises(Rejected) as caught:
        conversation.put_part()
    assert "another program has left blocks" in str(caught.value)


def test_a_sas_that_has_ended_is_told(talk: Any) -> None:
    detail = "Signature not valid in the specified time frame: Start [Sun] - Expiry [Mon]"
    more = f"<AuthenticationErrorDetail>{detail}</AuthenticationErrorDetail>"
    answer = error(403, "AuthenticationFailed", "Server failed to authenticate", more)
    with talk(answer, sas=SAS) as conversation, pytest.raises(Fatal) as caught:
        conversation.put()
    assert str(caught.value) == f"AuthenticationFailed: {detail}"


@pytest.mark.parametrize("text", [f"at /?sig={SIGNATURE}", f"sig={unquote(SIGNATURE)} is wrong"])
def test_no_answer_brings_a_sas_into_a_message(talk: Any, text: str) -> None:
    more = f"<AuthenticationErrorDetail>{text}</AuthenticationErrorDetail>"
    escaped = text.replace("&", "&amp;")
    answers = [RESET, error(403, "X", escaped), error(403, "AuthenticationFailed", "No", more)]
    with talk(*answers, sas=SAS) as conversation:
        for _ in answers:
            with pytest.raises(Failure) as caught:
                conversation.put(bytes(BLOCK_SIZE + 1))
            assert "hunter2" not in str(caught.value)


def test_a_refused_signature_is_not_quoted(talk: Any) -> None:
    detail = (
        "<AuthenticationErrorDetail>The MAC signature 'hunter2' is not</AuthenticationErrorDetail>"
    )
    answer = error(403, "AuthenticationFailed", "No", detail)
    with talk(answer) as conversation, pytest.raises(Fatal) as caught:
        conversation.put()
    assert "hunter2" not in str(caught.value)


def test_a_stale_connection_is_replaced_at_once(talk: Any) -> None:
    with talk(CREATED, CLOSE, CREATED) as conversation:
        conversation.put()
        conversation.put()


# The clock.


def skewed(seconds: float) -> bytes:
    date = formatdate(time.time() + seconds, usegmt=True)
    return error(403, "AuthenticationFailed", "Request date header too old", date=date)


def test_the_clock_follows_the_service(talk: Any) -> None:
    with talk(skewed(7200), CREATED) as conversation:
        with pytest.raises(Transient, match="clock"):
            conversation.put()
        conversation.put()
    first, second = [
        parsedate_to_datetime(request.headers["x-ms-date"]).timestamp()
        for request in conversation.requests
    ]
    assert second - first == pytest.approx(7200, abs=10)


def test_a_refusal_by_the_same_clock_is_about_the_key(talk: Any) -> None:
    with talk(skewed(0)) as conversation, pytest.raises(Fatal):
        conversation.put()


def test_no_clock_mends_a_sas(talk: Any) -> None:
    with talk(skewed(7200), sas=SAS) as conversation, pytest.raises(Fatal):
        conversation.put()


# The container.


def prepare(conversation: Conversation, *, create: bool = True, public: bool = False) -> Prepared:
    return conversation.session.prepare_container(create, public)


MISSING = error(404, "ContainerNotFound")


def test_a_private_container_is_used(talk: Any) -> None:
    with talk(azure()) as conversation:
        assert prepare(conversation) == Prepared(False, "")
    assert conversation.asked == [("GET", f"/{NAME}/{CONTAINER}?restype=container")]


def test_a_created_container_is_private(talk: Any) -> None:
    with talk(MISSING, CREATED) as conversation:
        created, note = prepare(conversation)
    assert created
    assert note == f"created container {CONTAINER}, private to its account"
    assert "x-ms-blob-public-access" not in conversation.requests[1].headers


def test_a_missing_container_is_not_created_unasked(talk: Any) -> None:
    with talk(MISSING) as conversation, pytest.raises(NoBucket, match=CONTAINER):
        prepare(conversation, create=False)


def test_a_creation_whose_answer_was_lost_counts(talk: Any) -> None:
    with talk(MISSING, CLOSE, CLOSE, azure()) as conversation:
        with pytest.raises(Transient):
            prepare(conversation)
        assert prepare(conversation).created


def test_a_container_that_somebody_made_meanwhile_is_used(talk: Any) -> None:
    with talk(MISSING, error(409, "ContainerAlreadyExists"), azure()) as conversation:
        assert prepare(conversation).note == ""


def test_a_public_container_that_somebody_made_meanwhile_is_not(talk: Any) -> None:
    public = azure(x_ms_blob_public_access="blob")
    answers = [MISSING, error(409, "ContainerAlreadyExists"), public]
    with talk(*answers) as conversation, pytest.raises(Fatal, match="is public"):
        prepare(conversation)


@pytest.mark.parametrize("level", ["blob", "container"])
def test_a_public_container_stops_the_run(talk: Any, level: str) -> None:
    answer = azure(x_ms_blob_public_access=level)
    with talk(answer, answer) as conversation:
        with pytest.raises(Fatal, match=f"{level}.*--allow-public"):
            prepare(conversation)
        assert "is public" in prepare(conversation, public=True).note


@pytest.mark.parametrize("code", ["AuthorizationFailure", "AuthorizationResourceTypeMismatch"])
def test_what_may_not_be_asked_is_told(talk: Any, code: str) -> None:
    """The SAS of a container never may; that of an account not without the right to containers."""
    with talk(error(403, code), sas=SAS) as conversation:
        created, note = prepare(conversation)
    assert not created
    assert f"could not be checked: {code}" in note


@pytest.mark.parametrize("answers", [[azure(404)], [MISSING, azure(409)], [MISSING, azure(403)]])
def test_a_container_that_cannot_be_used_stops_the_run(talk: Any, answers: list[bytes]) -> None:
    with (
        talk(*answers) as conversation,
        pytest.raises(Fatal, match=f"container {CONTAINER} cannot"),
    ):
        prepare(conversation)


# Signs of life.


@pytest.mark.parametrize(
    "answer", [azure(), azure(403), MISSING, error(403, "AuthenticationFailed")]
)
def test_an_answer_is_a_sign_of_life(talk: Any, answer: bytes) -> None:
    with talk(answer) as conversation:
        conversation.session.check(5)


@pytest.mark.parametrize("answer", [azure(500), azure(503), CLOSE])
def test_trouble_is_none(talk: Any, answer: bytes) -> None:
    with talk(answer) as conversation, pytest.raises(Transient):
        conversation.session.check(5)


# The cloud.


def test_the_website_is_allowed_by_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPLOADER_KEY", NAME)
    monkeypatch.setenv("UPLOADER_SECRET", b64encode(KEY).decode())
    with pytest.raises(Fatal, match="website"):
        AzureCloud(CloudSettings("azure_blobs", "$web"))
    assert AzureCloud(CloudSettings("azure_blobs", "$web", allow_public=True))


def test_the_destination_is_address_and_container(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", NAME)
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", SAS)
    cloud = AzureCloud(CloudSettings("azure_blobs", CONTAINER))
    expected = f"azure_blobs https://{NAME}.blob.core.windows.net:443 {CONTAINER}"
    assert cloud.destination() == expected


def test_blocks_are_as_azure_takes_them() -> None:
    rules = AzureCloud.parts
    assert rules
    largest = 50_000 * 4000 * 1024 * 1024
    assert rules.size_for(largest) == 4000 * 1024 * 1024
    with pytest.raises(Rejected):
        rules.size_for(largest + 1)
    assert len(b64decode(Block(UPLOAD, rules.max_parts, 0, 1).name)) == 48
