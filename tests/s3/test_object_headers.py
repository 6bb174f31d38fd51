"""What options add to requests: which headers, on which requests, with which outcome."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from providers.base import Part
from providers.errors import Exists, Failure, Fatal, NotFound, Transient
from providers.s3.driver import S3Driver
from providers.s3.object_headers import ObjectHeaders
from providers.s3.options import S3Options, media_type, tag
from providers.s3.service import Service
from providers.s3.session import S3Session
from providers.s3.sigv4 import Credentials
from providers.source import Source
from tests.servers.scripted import Answer, Request, ScriptedServer, reply

METADATA = [("mode", "0100644")]
CONTENT = b"The quick brown fox"
MD5 = hashlib.md5(CONTENT).digest()
CRC = "x-amz-checksum-crc64nvme"
BEGUN = reply(body=b"<R><UploadId>id</UploadId></R>")
COMPLETED = reply(body=b"<R><Key>key</Key><ETag>&quot;e-1&quot;</ETag></R>")
PLAIN = {"content-type": "text/plain", "x-amz-meta-mode": "0100644"}


def error(status: int, code: str) -> bytes:
    return reply(status, f"<Error><Code>{code}</Code><Message>words</Message></Error>".encode())


PRECONDITION_FAILED = error(412, "PreconditionFailed")


def stored(request: Request) -> bytes:
    """A service that knows the checksum, and whose ETag is no MD5."""
    return reply(etag='"e"', **{CRC.replace("-", "_"): request.headers[CRC]})


def stored_by_md5(request: Request) -> bytes:
    return reply(etag=f'"{hashlib.md5(request.body).hexdigest()}"')


class Conversation:
    """A session with a scripted server, and a file to send."""

    def __init__(self, server: ScriptedServer, session: S3Session, directory: Path) -> None:
        self.requests = server.requests
        self.session = session
        self._path = directory / "file"
        self._path.write_bytes(CONTENT)

    def put(self) -> None:
        with Source(str(self._path)) as source:
            self.session.put("key", source, METADATA, "text/plain")

    def begin(self) -> str:
        return self.session.begin("key", METADATA, "text/plain")

    def put_part(self) -> Part:
        with Source(str(self._path)) as source:
            return self.session.put_part("key", "id", 1, source, 0, len(CONTENT))


Talk = Callable[..., Any]


@pytest.fixture
def talk(tmp_path: Path) -> Talk:
    """Opens a conversation in which the server gives these answers."""

    @contextmanager
    def open_conversation(*answers: Answer, **options: Any) -> Iterator[Conversation]:
        with ScriptedServer(*answers) as server:
            service = Service(
                server.endpoint,
                "us-east-1",
                lambda: Credentials("key", "secret"),
                timeout=5,
                object_headers=ObjectHeaders(S3Options(**options)),
                checksum=options.get("checksum", "crc64nvme"),
            )
            with closing(S3Session(S3Driver(service), "bucket")) as session:
                yield Conversation(server, session, tmp_path)

    return open_conversation


def headers(**options: Any) -> ObjectHeaders:
    return ObjectHeaders(S3Options(**options))


class TestHeaders:
    def test_without_options_there_are_type_and_metadata(self) -> None:
        plain = headers()
        assert dict(plain.of_put(METADATA, "text/plain")) == PLAIN
        assert dict(plain.of_upload(METADATA, "text/plain")) == PLAIN
        assert (plain.of_any, plain.of_completion, plain.create_only) == ((), (), False)

    @pytest.mark.parametrize(
        ("options", "name", "value"),
        [
            ({"storage_class": "GLACIER_IR"}, "x-amz-storage-class", "GLACIER_IR"),
            ({"sse": "AES256"}, "x-amz-server-side-encryption", "AES256"),
            ({"sse": "aws:kms:dsse"}, "x-amz-server-side-encryption", "aws:kms:dsse"),
            (
                {"sse": "aws:kms", "sse_kms_key_id": "arn:aws:kms:eu-west-1:1:key/a"},
                "x-amz-server-side-encryption-aws-kms-key-id",
                "arn:aws:kms:eu-west-1:1:key/a",
            ),
            ({"acl": "bucket-owner-full-control"}, "x-amz-acl", "bucket-owner-full-control"),
            ({"cache_control": "no-store, private"}, "cache-control", "no-store, private"),
            ({"content_type": "text/x-mine"}, "content-type", "text/x-mine"),
            ({"request_payer": True}, "x-amz-request-payer", "requester"),
            ({"tag": (("a", "b"), ("c", ""))}, "x-amz-tagging", "a=b&c="),
            ({"tag": (("a b", "c&d=e+f/ü"),)}, "x-amz-tagging", "a%20b=c%26d%3De%2Bf%2F%C3%BC"),
        ],
    )
    def test_each_option_goes_with_whole_objects_and_uploads(
        self, options: dict[str, Any], name: str, value: str
    ) -> None:
        made = headers(**options)
        for found in (made.of_put(METADATA, "text/plain"), made.of_upload(METADATA, "text/plain")):
            assert dict(found)[name] == value
            assert len(dict(found)) == len(found)
            assert PLAIN.items() - {("content-type", "text/plain")} <= dict(found).items()

    def test_the_condition_goes_with_what_makes_an_object(self) -> None:
        """Beginning an upload takes none."""
        made = headers(if_none_match=True)
        assert ("if-none-match", "*") in made.of_put((), "text/plain")
        assert made.of_completion == (("if-none-match", "*"),)
        assert "if-none-match" not in dict(made.of_upload((), "text/plain"))


class TestOptions:
    def test_a_kms_key_needs_kms(self) -> None:
        for sse in (None, "AES256"):
            with pytest.raises(ValueError, match="^--sse-kms-key-id needs --sse aws:kms"):
                S3Options(sse=sse, sse_kms_key_id="id")
        S3Options(sse="aws:kms:dsse", sse_kms_key_id="id")

    def test_tags_are_ten_at_most_and_unique(self) -> None:
        S3Options(tag=tuple((str(n), "") for n in range(10)))
        with pytest.raises(ValueError, match="^--tag: 11 are too many"):
            S3Options(tag=tuple((str(n), "") for n in range(11)))
        with pytest.raises(ValueError, match="^--tag: a name is given twice"):
            S3Options(tag=(("a", "1"), ("a", "2")))

    @pytest.mark.parametrize("text", ["", "a", "=b", "x" * 129 + "=", "x=" + "y" * 257, "a=\udcff"])
    def test_what_is_no_tag_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError):
            tag(text)

    @pytest.mark.parametrize("text", ["a=", "a=b=c", "ä ö=ü", "x" * 128 + "=" + "y" * 256])
    def test_a_tag_is_a_name_and_a_value(self, text: str) -> None:
        assert "=".join(tag(text)) == text

    @pytest.mark.parametrize("text", ["text", "/", "text/", "/plain", "", "text/pläin"])
    def test_what_is_no_content_type_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError):
            media_type(text)

    @pytest.mark.parametrize("text", ["auto", "text/html; charset=utf-8"])
    def test_a_content_type(self, text: str) -> None:
        assert media_type(text) == text


class TestRequests:
    def test_a_put_carries_and_signs_them(self, talk: Talk) -> None:
        options = {"sse": "aws:kms", "tag": (("a", "b c"),), "if_none_match": True}
        with talk(stored, **options) as conversation:
            conversation.put()
        [sent] = conversation.requests
        signed = sent.headers["authorization"].split("SignedHeaders=")[1].split(",")[0].split(";")
        wanted = {
            "if-none-match": "*",
            "x-amz-server-side-encryption": "aws:kms",
            "x-amz-tagging": "a=b%20c",
        }
        assert wanted.items() <= sent.headers.items()
        assert wanted.keys() <= set(signed)

    def test_a_part_describes_no_object(self, talk: Talk) -> None:
        with talk(stored, sse="AES256", acl="private", if_none_match=True) as conversation:
            conversation.put_part()
        assert not {"x-amz-acl", "x-amz-server-side-encryption", "if-none-match"} & {
            *conversation.requests[0].headers
        }

    def test_who_pays_is_said_in_every_request(self, talk: Talk) -> None:
        answers = [
            reply(),
            stored,
            BEGUN,
            stored,
            COMPLETED,
            reply(),
            reply(204),
            reply(body=b"<R/>"),
        ]
        with talk(*answers, request_payer=True) as conversation:
            session = conversation.session
            session.prepare_bucket(create=False)
            conversation.put()
            conversation.begin()
            session.complete("key", "id", [conversation.put_part()])
            session.stat("key")
            session.abort("key", "id")
            list(session.uploads(""))
        assert len(conversation.requests) == len(answers)
        for sent in conversation.requests:
            assert sent.headers["x-amz-request-payer"] == "requester"


class TestCreateOnly:
    def test_an_object_that_is_there_stays(self, talk: Talk) -> None:
        there = pytest.raises(Exists, match="^an object of this name exists$")
        with talk(PRECONDITION_FAILED, if_none_match=True) as conversation, there:
            conversation.put()

    def test_a_conflict_with_another_writer_is_tried_again(self, talk: Talk) -> None:
        conflict = error(409, "ConditionalRequestConflict")
        with talk(conflict, if_none_match=True) as conversation, pytest.raises(Transient):
            conversation.put()

    def test_an_upload_is_not_begun_for_an_object_that_is_there(self, talk: Talk) -> None:
        with talk(reply(), if_none_match=True) as conversation, pytest.raises(Exists):
            conversation.begin()
        assert [sent.method for sent in conversation.requests] == ["HEAD"]

    @pytest.mark.parametrize("status", [404, 403, 400])
    def test_an_upload_is_begun_where_no_object_is_seen(self, talk: Talk, status: int) -> None:
        """A key that may only put objects sees none."""
        with talk(reply(status), BEGUN, if_none_match=True) as conversation:
            assert conversation.begin() == "id"

    def test_without_the_option_nothing_is_asked(self, talk: Talk) -> None:
        with talk(BEGUN) as conversation:
            conversation.begin()

    def test_an_object_that_came_meanwhile_stays(self, talk: Talk) -> None:
        other = reply(etag='"another"')
        with talk(stored, PRECONDITION_FAILED, other, if_none_match=True) as conversation:
            part = conversation.put_part()
            with pytest.raises(Exists):
                conversation.session.complete("key", "id", [part])
        assert conversation.requests[1].headers["if-none-match"] == "*"

    def test_an_object_that_an_earlier_attempt_made_is_ours(self, talk: Talk) -> None:
        """The answer to that attempt was lost."""
        ours = reply(etag=f'"{hashlib.md5(MD5).hexdigest()}-1"')
        answers = [stored_by_md5, PRECONDITION_FAILED, ours]
        with talk(*answers, if_none_match=True) as conversation:
            part = conversation.put_part()
            conversation.session.complete("key", "id", [part])

    def test_a_conflict_at_the_end_asks_for_the_whole_file_again(self, talk: Talk) -> None:
        """S3 has forgotten the upload then."""
        answers = [stored, error(409, "ConditionalRequestConflict"), error(404, "NoSuchUpload")]
        with talk(*answers, reply(404), if_none_match=True) as conversation:
            parts = [conversation.put_part()]
            with pytest.raises(Transient):
                conversation.session.complete("key", "id", parts)
            with pytest.raises(NotFound) as caught:
                conversation.session.complete("key", "id", parts)
            assert caught.value.restart

    def test_the_first_request_has_its_proof_with_it(self, talk: Talk) -> None:
        """An object that proves nothing could not be sent a second time."""
        answer = reply(etag='"no-md5"')
        with talk(answer, answer, if_none_match=True) as conversation:
            conversation.put()
            conversation.put()
        wanted = b64encode(MD5).decode()
        assert [sent.headers["content-md5"] for sent in conversation.requests] == [wanted] * 2

    def test_a_service_that_knows_the_checksum_gets_no_md5(self, talk: Talk) -> None:
        with talk(stored, stored, if_none_match=True) as conversation:
            conversation.put()
            conversation.put()
        assert ["content-md5" in sent.headers for sent in conversation.requests] == [True, False]


class TestProof:
    @pytest.mark.parametrize("sse", ["aws:kms", "aws:kms:dsse"])
    @pytest.mark.parametrize("told", [True, False])
    def test_with_kms_an_etag_proves_nothing(self, talk: Talk, sse: str, told: bool) -> None:
        """Even when the answer does not say that it was used."""
        told_by = {"x_amz_server_side_encryption": sse} if told else {}
        answer = reply(etag=f'"{"0" * 32}"', **told_by)
        with talk(answer, answer, sse=sse) as conversation:
            conversation.put()
        carried = ["content-md5" in sent.headers for sent in conversation.requests]
        assert carried == [False, True]

    @pytest.mark.parametrize("sse", [None, "AES256"])
    def test_with_s3s_own_keys_an_etag_has_to_be_the_md5(self, talk: Talk, sse: str | None) -> None:
        answer = reply(etag=f'"{"0" * 32}"')
        with talk(answer, sse=sse) as conversation, pytest.raises(Transient, match="ETag"):
            conversation.put()

    @pytest.mark.parametrize("sse", [None, "AES256", "aws:kms", "aws:kms:dsse"])
    def test_an_echo_proves_whatever_the_encryption(self, talk: Talk, sse: str | None) -> None:
        with talk(stored, sse=sse) as conversation:
            conversation.put()

    @pytest.mark.parametrize("checksum", ["crc64nvme", "md5"])
    def test_each_object_and_part_has_a_checksum_or_an_md5(self, talk: Talk, checksum: str) -> None:
        """Object Lock wants one, also of a service that refuses the checksum.
        https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html
        """
        answers: list[Answer] = [stored_by_md5] * 4
        if checksum != "md5":
            answers.insert(1, error(400, "InvalidRequest"))
        with talk(*answers, checksum=checksum) as conversation:
            conversation.put()
            conversation.put()
            conversation.put()
            conversation.put_part()
        wanted = {CRC, "content-md5"}
        assert all(wanted & {*sent.headers} for sent in conversation.requests)
        assert not any(wanted <= {*sent.headers} for sent in conversation.requests)


@pytest.mark.parametrize(
    "code",
    [
        "AccessControlListNotSupported",
        "InvalidEncryptionAlgorithmError",
        "InvalidStorageClass",
        "InvalidTag",
        "KMS.DisabledException",
        "KMS.NotFoundException",
    ],
)
def test_what_is_wrong_with_every_object_stops_the_run(talk: Talk, code: str) -> None:
    with talk(error(400, code)) as conversation, pytest.raises(Failure) as caught:
        conversation.put()
    assert isinstance(caught.value, Fatal)
    assert code in str(caught.value)
