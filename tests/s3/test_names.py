"""Services that go by a name: their addresses and keys, and what is told when one is missing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import providers
from providers.base import CloudSettings
from providers.errors import Fatal
from providers.s3.account import account_of
from providers.s3.cloud import S3Cloud
from providers.s3.driver import S3Driver
from providers.s3.names import NAMES, OWN_KEYS, Named, serves
from providers.s3.service import Service
from providers.s3.session import S3Session
from providers.s3.sigv4 import Credentials
from tests.command import MIB, arguments, environment, random_bytes, run, write
from tests.servers.ceph import CephRGW
from tests.servers.scripted import ScriptedServer, reply

OWN = {"UPLOADER_KEY": "key", "UPLOADER_SECRET": "secret"}
COMPATIBLE = sorted(name for name, named in NAMES.items() if not named.is_aws)
REGIONAL = sorted(NAMES.keys() - {*COMPATIBLE})
WHERE = {
    "backblaze_b2": "https://s3.us-west-004.backblazeb2.com",
    "cloudflare_r2": "https://0123.r2.cloudflarestorage.com",
    "digitalocean_spaces": "https://nyc3.digitaloceanspaces.com",
    "google_storage": "https://storage.googleapis.com",
    "scaleway": "https://s3.fr-par.scw.cloud",
    "wasabi": "https://s3.us-east-1.wasabisys.com",
}


def settings(
    provider: str, endpoint: str | None = None, region: str | None = None
) -> CloudSettings:
    return CloudSettings(provider, "bucket", endpoint, region)


def set_keys(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("provider", COMPATIBLE)
def test_a_named_service_is_spoken_to_by_s3(provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts, proof and resuming come with it, wherever it is."""
    set_keys(monkeypatch, UPLOADER_KEY="GOOGkey", UPLOADER_SECRET="secret")
    cloud = providers.load(settings(provider, "http://minio.example:9000", "eu-1"))
    assert isinstance(cloud, S3Cloud)
    assert "minio.example:9000" in cloud.destination()
    assert "key" not in cloud.destination()


@pytest.mark.parametrize("provider", COMPATIBLE)
def test_every_pair_of_variables_is_taken(provider: str) -> None:
    for key, secret in (*NAMES[provider].keys, OWN_KEYS):
        account = account_of(
            settings(provider, "http://h:1", "r"),
            NAMES[provider],
            environment={key: "the key", secret: "the secret"},
        )
        assert account.credentials() == Credentials("the key", "the secret")


@pytest.mark.parametrize("provider", COMPATIBLE)
def test_a_session_token_goes_with_keys_of_aws_own_variables(provider: str) -> None:
    for key, secret in (*NAMES[provider].keys, OWN_KEYS):
        account = account_of(
            settings(provider, "http://h:1", "r"),
            NAMES[provider],
            environment={key: "k", secret: "s", "AWS_SESSION_TOKEN": "token"},
        )
        own = key == "AWS_ACCESS_KEY_ID"
        assert account.credentials() == Credentials("k", "s", "token" if own else None)


def test_our_own_variables_come_first() -> None:
    env = {**OWN, "MINIO_ROOT_USER": "other", "MINIO_ROOT_PASSWORD": "other"}
    account = account_of(settings("minio", "http://h:1"), NAMES["minio"], environment=env)
    assert account.credentials() == Credentials("key", "secret")


@pytest.mark.parametrize("provider", COMPATIBLE)
def test_missing_keys_are_named(provider: str) -> None:
    with pytest.raises(Fatal) as caught:
        account_of(settings(provider, "http://h:1", "r"), NAMES[provider], environment={})
    line = str(caught.value)
    assert line.startswith(f"no credentials found for {provider}: set ") and "\n" not in line
    for pair in (*NAMES[provider].keys, OWN_KEYS):
        assert " and ".join(pair) in line


@pytest.mark.parametrize("given", ["B2_APPLICATION_KEY_ID", "B2_APPLICATION_KEY"])
def test_half_a_pair_is_named_by_its_other_half(given: str) -> None:
    [missing] = {"B2_APPLICATION_KEY_ID", "B2_APPLICATION_KEY"} - {given}
    with pytest.raises(Fatal, match=f"^backblaze_b2: set {missing}, too$"):
        account_of(settings("backblaze_b2"), NAMES["backblaze_b2"], environment={given: "x"})


@pytest.mark.parametrize(("provider", "url"), WHERE.items())
def test_the_address_follows_from_name_region_and_account(provider: str, url: str) -> None:
    region = "us-west-004" if provider == "backblaze_b2" else None
    env = {**OWN, "CLOUDFLARE_ACCOUNT_ID": "0123"}
    account = account_of(settings(provider, region=region), NAMES[provider], environment=env)
    assert account.endpoint_url == url


@pytest.mark.parametrize(
    ("region", "variables"), [("nl-ams", {}), (None, {"SCW_DEFAULT_REGION": "nl-ams"})]
)
def test_the_region_is_given_or_in_the_services_own_variable(
    region: str | None, variables: dict[str, str]
) -> None:
    named = NAMES["scaleway"]
    account = account_of(settings("scaleway", None, region), named, environment=OWN | variables)
    assert (account.region, account.endpoint_url) == ("nl-ams", "https://s3.nl-ams.scw.cloud")


@pytest.mark.parametrize(
    ("provider", "line"),
    [
        ("backblaze_b2", "backblaze_b2 needs --region, such as us-west-004"),
        ("minio", "minio has no address of its own: give --endpoint-url"),
        (
            "cloudflare_r2",
            "cloudflare_r2 needs an account: set R2_ACCOUNT_ID or CLOUDFLARE_ACCOUNT_ID, or give "
            "--endpoint-url",
        ),
    ],
)
def test_what_else_is_missing_is_named(provider: str, line: str) -> None:
    with pytest.raises(Fatal) as caught:
        account_of(settings(provider), NAMES[provider], environment=OWN)
    assert str(caught.value) == line


@pytest.mark.parametrize("provider", COMPATIBLE)
def test_a_name_has_an_address_that_can_be_filled_in(provider: str) -> None:
    named = NAMES[provider]
    assert re.fullmatch(r"|https://[a-z0-9.{}-]+", named.endpoint)
    assert {*re.findall("{(.*?)}", named.endpoint)} <= {"region", "account"}
    assert ("{account}" in named.endpoint) == bool(named.account_variables)
    assert "{region}" not in named.endpoint or named.region or named.region_example


@pytest.mark.parametrize("provider", REGIONAL)
def test_a_name_of_a_region_is_that_region_of_aws(
    provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_keys(monkeypatch, AWS_ACCESS_KEY_ID="key", AWS_SECRET_ACCESS_KEY="secret")
    region = NAMES[provider].region
    same = CloudSettings("s3", "bucket", region=region)
    assert providers.load(settings(provider)).destination() == S3Cloud(same).destination()


def test_a_name_of_a_region_takes_our_own_variables_first(monkeypatch: pytest.MonkeyPatch) -> None:
    set_keys(monkeypatch, AWS_ACCESS_KEY_ID="other", AWS_SECRET_ACCESS_KEY="other")
    account = account_of(settings("s3_eu_west"), NAMES["s3_eu_west"], environment=OWN)
    assert account.credentials() == Credentials("key", "secret")


def test_the_regions_are_libclouds() -> None:
    """By its own drivers."""
    from libcloud.storage.providers import get_driver

    for provider in REGIONAL:
        assert get_driver(provider).region_name == NAMES[provider].region


def test_only_googles_hmac_keys_speak_s3() -> None:
    assert serves("google_storage", {"GS_ACCESS_KEY_ID": "GOOG1E"})
    assert serves("google_storage", {"UPLOADER_KEY": "GOOG1E"})
    assert not serves("google_storage", {"UPLOADER_KEY": "x@y.gserviceaccount.com"})
    assert not serves("google_storage", {})
    assert not serves("azure_blobs", {})


def test_a_bucket_that_must_be_in_the_host_name_is_put_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_keys(monkeypatch, **OWN)
    cloud = S3Cloud(settings("aliyun_oss"))
    endpoint, path = cloud.open().driver.service.address("bucket")
    assert (endpoint.host, path) == ("bucket.s3.oss-cn-hangzhou.aliyuncs.com", "/")


def test_a_service_that_misreads_checksums_gets_a_content_md5(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_keys(monkeypatch, **OWN)
    assert S3Cloud(settings("backblaze_b2", region="r")).open().driver.service.wants_content_md5
    assert not S3Cloud(settings("minio", "http://h:1")).open().driver.service.wants_content_md5


def test_a_service_without_regions_is_told_no_location() -> None:
    with ScriptedServer(reply(404), reply(), reply(501)) as server:
        service = Service(server.endpoint, "auto", lambda: Credentials("k", "s"))
        session = S3Session(S3Driver(service), "bucket")
        session.prepare_bucket(create=True)
        session.close()
    assert server.requests[1].body == b""


@pytest.mark.parametrize(
    ("provider", "privacy"),
    [
        ("s3", "ACL, policy"),
        ("cloudflare_r2", "none"),
        ("backblaze_b2", "ACL"),
        ("minio", "policy"),
        ("scaleway", "ACL, policy"),
    ],
)
def test_readme_says_which_questions_about_privacy_a_service_answers(
    provider: str, privacy: str
) -> None:
    assert S3Cloud.facts(provider).privacy == privacy


def test_an_entry_says_what_it_was_tested_against() -> None:
    assert all(named.tested for named in NAMES.values())
    assert Named().tested == "nothing yet"


@pytest.mark.parametrize(
    ("provider", "pair"),
    [
        ("minio", ("MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD")),
        ("s3_rgw", ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")),
    ],
)
def test_command_uploads_to_a_named_service_with_its_own_variables(
    ceph: CephRGW, data: Path, provider: str, pair: tuple[str, str]
) -> None:
    write(data, "small"), write(data, "large", random_bytes(20 * MIB, seed=1))
    env = environment(**dict(zip(pair, (ceph.access_key, ceph.secret_key), strict=True)))
    bucket = provider.replace("_", "-")
    options = arguments(data, ceph.endpoint, bucket, "--provider", provider, "--checksum", "md5")
    assert run(*options, env=env).code == 0
    stored = ceph.boto3().head_object(Bucket=bucket, Key="large")
    assert stored["ETag"].endswith('-3"'), "it went in parts"
    assert stored["Metadata"]["mode"].startswith("0100")


def test_command_names_what_a_named_service_lacks(data: Path) -> None:
    write(data, "file")
    finished = run("--src", data, "--bucket", "b", "--provider", "backblaze_b2", env=environment())
    assert finished.code == 3
    assert finished.complaints == [
        "uploader: no credentials found for backblaze_b2: set B2_APPLICATION_KEY_ID and "
        "B2_APPLICATION_KEY, or UPLOADER_KEY and UPLOADER_SECRET"
    ]
