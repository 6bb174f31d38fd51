"""Signatures are right when botocore and AWS's own documentation come to the same ones."""

from __future__ import annotations

import datetime
import hashlib
import urllib.parse
from unittest import mock

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import botocore.utils
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from providers.s3.sigv4 import (
    EMPTY_SHA256,
    UNSIGNED_PAYLOAD,
    Credentials,
    Signer,
    amz_date,
    canonical_query,
    quote_path,
)

AWS_EXAMPLE = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
AWS_EXAMPLE_TIME = 1369353600  # 2013-05-24 00:00:00 UTC
HOST = "examplebucket.s3.amazonaws.com"

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
keys = text.filter(bool) | st.text("ab /%+&#?~'\"\n.=;:@é漢", min_size=1, max_size=40)
printable = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1)
words = st.lists(printable, min_size=1, max_size=3).map(" ".join)
credentials = st.builds(Credentials, printable, printable, st.none() | printable)
metadata = st.dictionaries(st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1), words)


def botocore_authorization(
    credentials: Credentials,
    region: str,
    time: int,
    method: str,
    path: str,
    params: list[tuple[str, str]],
    headers: dict[str, str],
    body: bytes,
) -> str:
    """What botocore sends as Authorization for the same request at the same moment."""
    request = botocore.awsrequest.AWSRequest(
        method, f"http://{HOST}{path}", headers=headers, data=body, params=params
    )
    signer = botocore.auth.S3SigV4Auth(botocore.credentials.Credentials(*credentials), "s3", region)
    now = datetime.datetime.fromtimestamp(time, datetime.timezone.utc)
    with mock.patch("botocore.auth.get_current_datetime", lambda: now):
        signer.add_auth(request)
    return str(request.headers["Authorization"])


@given(
    credentials=credentials,
    region=st.sampled_from(["us-east-1", "eu-central-1", "auto"]),
    time=st.integers(0, 4_000_000_000),
    method=st.sampled_from(["GET", "PUT", "POST", "HEAD", "DELETE"]),
    key=keys,
    params=st.lists(st.tuples(keys, text), max_size=4),
    metadata=metadata,
    body=st.binary(max_size=20),
)
@example(
    credentials=AWS_EXAMPLE,
    region="us-east-1",
    time=0,
    method="PUT",
    key="//a b+c%20&d#e?f~g'h\"i\nj/../k/./",
    params=[("a-b", "1"), ("a", "2"), ("a", "1"), ("uploads", ""), ("x/y", "é ~")],
    metadata={"a-b": "1", "a": "x y"},
    body=b"",
)
def test_signs_as_botocore(
    credentials: Credentials,
    region: str,
    time: int,
    method: str,
    key: str,
    params: list[tuple[str, str]],
    metadata: dict[str, str],
    body: bytes,
) -> None:
    payload_hash = hashlib.sha256(body).hexdigest()
    given_headers = {f"x-amz-meta-{name}": value for name, value in metadata.items()}
    path = "/" + botocore.utils.percent_encode(key, safe="/~")
    expected = botocore_authorization(
        credentials, region, time, method, path, params, given_headers, body
    )

    date = amz_date(time)
    headers = {
        **given_headers,
        "host": HOST,
        "x-amz-date": date,
        "x-amz-content-sha256": payload_hash,
    }
    if credentials.token is not None:
        headers["x-amz-security-token"] = credentials.token
    assert (
        Signer(region).authorization(
            credentials,
            date,
            method,
            "/" + quote_path(key),
            canonical_query(params),
            sorted(headers.items()),
            payload_hash,
        )
        == expected
    )


@given(keys)
def test_a_path_decodes_to_its_key(key: str) -> None:
    assert urllib.parse.unquote(quote_path(key)) == key


@given(st.lists(st.tuples(keys, text)))
def test_a_query_decodes_to_its_pairs(pairs: list[tuple[str, str]]) -> None:
    decoded = urllib.parse.parse_qsl(canonical_query(pairs), keep_blank_values=True)
    assert sorted(decoded) == sorted(pairs)


def test_a_key_that_has_no_utf8_form_is_an_error() -> None:
    with pytest.raises(UnicodeEncodeError):
        quote_path("a\udcff")


@pytest.mark.parametrize(
    ("method", "path", "query", "headers", "payload_hash", "signature"),
    [
        pytest.param(
            "GET",
            "/test.txt",
            [],
            {"range": "bytes=0-9"},
            EMPTY_SHA256,
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
            id="get object",
        ),
        pytest.param(
            "PUT",
            "/test%24file.text",
            [],
            {"date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"},
            hashlib.sha256(b"Welcome to Amazon S3.").hexdigest(),
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
            id="put object",
        ),
        pytest.param(
            "GET",
            "/",
            [("lifecycle", "")],
            {},
            EMPTY_SHA256,
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
            id="get bucket lifecycle",
        ),
        pytest.param(
            "GET",
            "/",
            [("max-keys", "2"), ("prefix", "J")],
            {},
            EMPTY_SHA256,
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
            id="list objects",
        ),
    ],
)
def test_the_worked_examples_of_the_s3_documentation(
    method: str,
    path: str,
    query: list[tuple[str, str]],
    headers: dict[str, str],
    payload_hash: str,
    signature: str,
) -> None:
    date = amz_date(AWS_EXAMPLE_TIME)
    signed = sorted(
        {
            **headers,
            "host": HOST,
            "x-amz-content-sha256": payload_hash,
            "x-amz-date": date,
        }.items()
    )
    names = ";".join(name for name, _ in signed)
    authorization = Signer("us-east-1").authorization(
        AWS_EXAMPLE, date, method, path, canonical_query(query), signed, payload_hash
    )
    assert authorization == (
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
        f"SignedHeaders={names}, Signature={signature}"
    )


def sign(signer: Signer, credentials: Credentials, date: str) -> str:
    headers = [("host", HOST), ("x-amz-content-sha256", UNSIGNED_PAYLOAD), ("x-amz-date", date)]
    return signer.authorization(credentials, date, "GET", "/k", "", headers, UNSIGNED_PAYLOAD)


def test_the_kept_key_is_renewed_when_the_day_or_the_credentials_change() -> None:
    other_secret = AWS_EXAMPLE._replace(secret_key="other")
    other_name = AWS_EXAMPLE._replace(access_key="other")
    kept = Signer("us-east-1")
    for credentials, date in [
        (AWS_EXAMPLE, "20130524T235959Z"),
        (AWS_EXAMPLE, "20130525T000000Z"),
        (AWS_EXAMPLE, "20130524T235959Z"),
        (other_secret, "20130524T235959Z"),
        (other_name, "20130524T235959Z"),
        (AWS_EXAMPLE, "20130524T235959Z"),
    ]:
        assert sign(kept, credentials, date) == sign(Signer("us-east-1"), credentials, date)


def test_the_date_follows_the_clock() -> None:
    assert amz_date(0.0) == "19700101T000000Z"
    assert amz_date(AWS_EXAMPLE_TIME - 0.001) == "20130523T235959Z"
    assert amz_date(AWS_EXAMPLE_TIME + 0.999) == "20130524T000000Z"
    assert amz_date(AWS_EXAMPLE_TIME + 1) == "20130524T000001Z"
    assert amz_date(0.5) == "19700101T000000Z"


def test_secrets_do_not_show() -> None:
    shown = Credentials("access", "very-secret", "token-secret")
    assert "secret" not in f"{shown} {shown!r} {[shown]}"
    assert "access" in repr(shown)
