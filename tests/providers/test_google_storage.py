"""Google Cloud Storage: which key speaks which API, and what is asked by a service account."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import gevent
import pytest

import providers
from providers.base import CloudSettings, Prepared
from providers.errors import Denied, Fatal, NoBucket, Throttled, Transient
from providers.google_storage.answers import failure
from providers.google_storage.cloud import GoogleCloud
from providers.s3.cloud import S3Cloud
from providers.source import Source
from tests.command import environment, run, small_files, write
from tests.servers.google import EMAIL, Bucket, Google, pem

HOST = "https://storage.googleapis.com:443"


def load(**settings: Any) -> Any:
    return providers.load(CloudSettings("google_storage", "b", timeout=10, **settings))


@pytest.fixture
def google() -> Iterator[Google]:
    """One for each test: it counts."""
    with Google() as server:
        yield server


@pytest.fixture
def account(google: Google, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A service account's JSON key."""
    path = google.write_key(tmp_path / "account.json")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    return path


# Which key.


@pytest.mark.parametrize(
    "variables", [("UPLOADER_KEY", "UPLOADER_SECRET"), ("GS_ACCESS_KEY_ID", "GS_SECRET_ACCESS_KEY")]
)
def test_an_hmac_key_speaks_s3(monkeypatch: pytest.MonkeyPatch, variables: tuple[str, str]) -> None:
    monkeypatch.setenv(variables[0], "GOOG1EXAMPLE")
    monkeypatch.setenv(variables[1], "secret")
    cloud = load()
    assert isinstance(cloud, S3Cloud)
    assert HOST in cloud.destination()


def test_a_service_account_speaks_googles_own_api(account: Path) -> None:
    cloud = load()
    assert isinstance(cloud, GoogleCloud)
    assert (cloud.made_with["key"], cloud.made_with["project"]) == (EMAIL, "project")
    with closing(cloud.open()) as session:
        for connection in (session.driver.connection, session.driver.json_connection):
            assert (connection.host, connection.secure) == ("storage.googleapis.com", 1)


@pytest.mark.parametrize("is_file", [True, False])
def test_our_own_variables_name_a_service_account(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, is_file: bool
) -> None:
    (tmp_path / "key.pem").write_text(pem())
    monkeypatch.setenv("UPLOADER_KEY", EMAIL)
    monkeypatch.setenv("UPLOADER_SECRET", str(tmp_path / "key.pem") if is_file else pem())
    assert load().made_with["key"] == EMAIL


@pytest.mark.parametrize("key", ["", "key", "1-x.apps.googleusercontent.com"])
def test_google_is_not_asked_by_way_of_a_browser(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("UPLOADER_KEY", key)
    monkeypatch.setenv("UPLOADER_SECRET", "secret")
    with pytest.raises(Fatal, match="^google_storage needs an HMAC key"):
        load()


@pytest.mark.parametrize("content", ["no JSON", "[]", '{"client_email": "x"}'])
def test_a_file_that_is_no_account_is_fatal(account: Path, content: str) -> None:
    account.write_text(content)
    with pytest.raises(Fatal, match="is no service account's JSON key$"):
        load()


def test_a_file_that_cannot_be_read_is_fatal(account: Path) -> None:
    account.unlink()
    with pytest.raises(Fatal, match="^GOOGLE_APPLICATION_CREDENTIALS: .*No such file"):
        load()


def test_a_private_key_that_is_none_is_fatal_and_not_quoted(google: Google, account: Path) -> None:
    google.write_key(account, private_key="-----BEGIN PRIVATE KEY-----\nhunter2\n")
    with pytest.raises(Fatal, match="private key is no RSA key") as caught:
        load()
    assert "hunter2" not in str(caught.value)


def test_what_is_missing_for_signatures_is_named(
    account: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives", None)
    with pytest.raises(Fatal, match="needs the package cryptography: pip install cryptography"):
        load()


# Tokens.


def test_all_sessions_show_one_token_which_no_file_has(google: Google, account: Path) -> None:
    google.buckets["b"] = Bucket()
    cloud = load(endpoint_url=google.endpoint)
    sessions = [cloud.open() for _ in range(5)]
    asked = [gevent.spawn(session.check, 10) for session in sessions]
    gevent.joinall(asked, raise_error=True)
    for session in sessions:
        session.close()
    assert google.tokens_given == 1
    assert not [path for path in Path.home().rglob("*") if path.is_file()]


def test_a_token_is_replaced_before_it_ends(account: Path, tmp_path: Path) -> None:
    with Google(life=0) as google:
        google.write_key(account)
        google.buckets["b"] = Bucket()
        with closing(load(endpoint_url=google.endpoint).open()) as session:
            session.check(10)
            session.check(10)
        assert google.tokens_given == 2


def test_a_clock_that_is_wrong_is_put_right_by_the_token_service(
    google: Google, account: Path
) -> None:
    google.buckets["b"] = Bucket()
    google.clock_offset = 7200.0
    assert load(endpoint_url=google.endpoint).prepare(False) == Prepared(False, "")


def test_a_refused_account_is_fatal(google: Google, account: Path) -> None:
    google.write_key(account, right=False)
    with pytest.raises(Fatal, match="^Google refuses the service account: invalid_grant: Inv"):
        load(endpoint_url=google.endpoint).prepare(False)


# Who may enter.


EVERYBODY = {"entity": "allUsers", "role": "READER"}
ANY_ACCOUNT = {"entity": "allAuthenticatedUsers", "role": "READER"}
VIEWERS = [{"role": "roles/storage.objectViewer", "members": ["user:a@b.c", "allUsers"]}]
UNIFORM = {"uniformBucketLevelAccess": {"enabled": True}}


def bucket(**grants: Any) -> Bucket:
    made = Bucket(iamConfiguration=grants.pop("configuration", {}))
    vars(made).update(grants)
    return made


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (
            bucket(iam=VIEWERS),
            "by its IAM policy, which gives everybody roles/storage.objectViewer",
        ),
        (bucket(iam=VIEWERS, configuration=UNIFORM), "by its IAM policy, which gives everybody"),
        (bucket(acl=[EVERYBODY]), "by its ACL, which gives everybody READER"),
        (bucket(default_acl=[ANY_ACCOUNT]), "by its default object ACL, which gives everybody w"),
    ],
)
def test_a_public_bucket_is_fatal_unless_it_is_allowed(
    google: Google, account: Path, made: Bucket, reason: str
) -> None:
    google.buckets["b"] = made
    with pytest.raises(Fatal, match=f"^bucket b is public {reason}.*--allow-public"):
        load(endpoint_url=google.endpoint).prepare(False)
    cloud = load(endpoint_url=google.endpoint, allow_public=True)
    assert cloud.prepare(False) == Prepared(False, "")


@pytest.mark.parametrize(
    "made",
    [
        bucket(),
        bucket(configuration=UNIFORM, acl=[EVERYBODY]),
        bucket(configuration={"publicAccessPrevention": "enforced"}, iam=VIEWERS, acl=[EVERYBODY]),
    ],
)
def test_a_private_bucket_needs_no_word(google: Google, account: Path, made: Bucket) -> None:
    """No grant, none that counts, or all of them overruled."""
    google.buckets["b"] = made
    assert load(endpoint_url=google.endpoint).prepare(True) == Prepared(False, "")


def test_what_may_not_be_asked_is_told(google: Google, account: Path) -> None:
    google.buckets["b"] = Bucket()
    google.denied = {("GET", "/storage/v1/b/b/iam")}
    note = load(endpoint_url=google.endpoint).prepare(False).note
    assert note.startswith("whether the bucket is public is not known: its IAM policy could not be")
    assert EMAIL in note
    google.denied = {("GET", "/storage/v1/b/b")}
    note = load(endpoint_url=google.endpoint).prepare(False).note
    assert note.startswith("whether the bucket is public is not known: forbidden: ")


def test_a_created_bucket_is_where_it_was_wanted_and_closed_to_the_public(
    google: Google, account: Path
) -> None:
    cloud = load(endpoint_url=google.endpoint, region="europe-west4")
    with pytest.raises(NoBucket):
        cloud.prepare(False)
    made = cloud.prepare(True)
    assert made == Prepared(True, "created bucket b, private to its project, public access blocked")
    assert google.buckets["b"].settings == {
        "location": "europe-west4",
        "iamConfiguration": {"publicAccessPrevention": "enforced"},
    }
    assert cloud.prepare(True) == Prepared(False, "")


def test_a_created_bucket_is_open_to_be_made_public_where_that_is_allowed(
    google: Google, account: Path
) -> None:
    assert load(endpoint_url=google.endpoint, allow_public=True).prepare(True).created
    assert google.buckets["b"].settings == {}


def test_a_bucket_without_a_project_is_not_created(
    google: Google, account: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    google.write_key(account, project_id="")
    with pytest.raises(Fatal, match="set GOOGLE_CLOUD_PROJECT"):
        load(endpoint_url=google.endpoint).prepare(True)
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "project")
    assert load(endpoint_url=google.endpoint).prepare(True).created


# What refusals mean.


def test_a_refusal_of_one_object_stops_no_other(
    google: Google, account: Path, tmp_path: Path
) -> None:
    google.buckets["b"] = Bucket()
    google.denied = {("PUT", "/b/refused")}
    file = write(tmp_path, "file")
    with closing(load(endpoint_url=google.endpoint).open()) as session, Source(str(file)) as source:
        with pytest.raises(Denied, match="^forbidden: robot@project.*does not have access"):
            session.put("refused", source, (), "text/plain")
        session.put("taken", source, (), "text/plain")
    assert google.buckets["b"].objects.keys() == {"taken"}


@pytest.mark.parametrize(
    ("status", "body", "kind", "text"),
    [
        (401, b"", Fatal, "the service refuses the credentials: the service answered 401"),
        (404, b"<Error><Code>NoSuchBucket</Code></Error>", NoBucket, "NoSuchBucket"),
        (429, b"{", Throttled, "the service answered 429"),
        (503, b"", Throttled, "the service answered 503"),
        (502, b"<html>", Transient, "the service answered 502"),
        (
            403,
            b"<Error><Code>AccessDenied</Code><Message>Access denied.</Message>"
            b"<Details>x lacks\n y</Details></Error>",
            Denied,
            "AccessDenied: Access denied. x lacks y",
        ),
        (
            403,
            json.dumps({"error": {"message": "m", "errors": [{"reason": "r"}]}}).encode(),
            Denied,
            "r: m",
        ),
    ],
)
def test_what_an_answer_means(status: int, body: bytes, kind: type, text: str) -> None:
    found = failure(status, body, {"retry-after": "3"})
    assert (type(found), str(found)) == (kind, text)
    assert found.after == (3.0 if found.retry else None)


def test_command_uploads_by_a_service_account(google: Google, account: Path, data: Path) -> None:
    """One run: bucket, objects, metadata, and no secret in what it says and leaves."""
    names = small_files(data, 200)
    write(data, b"bad \xff")
    options = ["--src", data, "--bucket", "b", "--provider", "google_storage", "--debug"]
    env = environment(GOOGLE_APPLICATION_CREDENTIALS=str(account))
    finished = run(*options, "--endpoint-url", google.endpoint, "--verbose", env=env)
    assert finished.code == 1  # one file's name is not UTF-8
    objects = google.buckets["b"].objects
    assert objects.keys() == set(names)
    for name, stored in objects.items():
        assert stored.content == (data / name).read_bytes()
        assert stored.metadata["size"] == str(len(stored.content))
    assert google.tokens_given <= 4, "one for each process"
    home = b"".join(path.read_bytes() for path in Path.home().rglob("*") if path.is_file())
    text = finished.stdout + finished.stderr + home.decode("latin-1")
    assert "secret-token" not in text
    assert "PRIVATE KEY" not in text
