"""Settings of S3 that are wrong whatever the service would answer."""

from __future__ import annotations

import pytest

import providers
from providers.base import CloudSettings
from providers.errors import Fatal
from providers.s3.cloud import S3Cloud
from providers.s3.names import NAMES
from providers.s3.options import S3Options

SPACES = "https://nyc3.digitaloceanspaces.com"


def settings(
    bucket: str = "mybucket",
    endpoint: str | None = None,
    provider: str = "s3",
    region: str | None = None,
    **options: object,
) -> CloudSettings:
    return CloudSettings(provider, bucket, endpoint, region, options=S3Options(**options))  # type: ignore[arg-type]


def refusal(of: CloudSettings) -> str:
    """Why it makes no sense; always one line."""
    with pytest.raises(Fatal) as caught:
        providers.check(of)
    line = str(caught.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize(
    ("endpoint", "whole"),
    [
        ("https://mybucket.nyc3.digitaloceanspaces.com", SPACES),
        ("https://mybucket.s3.amazonaws.com/", "https://s3.amazonaws.com"),
        ("http://mybucket.minio.example:9000/path", "http://minio.example:9000/path"),
        ("https://mybucket.bucket.vpce-1a2b.s3.us-east-1.vpce.amazonaws.com", "https://bucket.vpc"),
    ],
)
def test_the_buckets_own_address_is_refused(endpoint: str, whole: str) -> None:
    """Every key would begin with the bucket's name, and nobody would ask whether it is public."""
    line = refusal(settings(endpoint=endpoint))
    assert line.startswith(f"--endpoint-url: leave the bucket out: {whole}")


def test_a_service_whose_name_begins_like_the_bucket_can_be_used() -> None:
    given = settings("minio", "https://minio.example")
    assert "--addressing path" in refusal(given)
    providers.check(settings("minio", "https://minio.example", addressing="path"))


@pytest.mark.parametrize(
    ("bucket", "endpoint"),
    [
        ("mybucket", SPACES),
        ("bucket", "https://bucket.vpce-1a2b.s3.us-east-1.vpce.amazonaws.com"),
        ("127", "http://127.0.0.1:9000"),
        ("my", "https://mybucket.example"),
    ],
)
def test_other_addresses_are_taken(bucket: str, endpoint: str) -> None:
    providers.check(settings(bucket, endpoint))


def test_the_buckets_own_address_is_refused_in_aws_own_variable_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "key")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://mybucket.nyc3.digitaloceanspaces.com")
    with pytest.raises(Fatal, match=f"leave the bucket out: {SPACES} "):
        S3Cloud(settings())


def test_a_directory_bucket_is_refused() -> None:
    """It needs a session of its own, and other signatures."""
    assert "directory bucket" in refusal(settings("logs--use1-az4--x-s3"))


@pytest.mark.parametrize("provider", sorted(NAMES))
def test_create_only_is_refused_where_it_would_replace(
    provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPLOADER_KEY", "GOOG1")  # which speaks S3 at Google, too
    given = settings(provider=provider, if_none_match=True)
    if NAMES[provider].creates_only:
        providers.check(given)
    else:
        assert refusal(given).startswith(f"--if-none-match: {provider} does not know it")


def test_create_only_is_known_to_be_of_no_use_in_three_services() -> None:
    unknown = {name for name, named in NAMES.items() if not named.creates_only}
    assert unknown == {"aliyun_oss", "backblaze_b2", "google_storage"}


def test_profiles_are_those_of_aws() -> None:
    given = settings(provider="minio", profile="mine")
    assert refusal(given) == "--profile: the profiles in ~/.aws are AWS's, not those of minio"
    providers.check(settings(provider="s3_eu_west", profile="mine"))


def test_another_region_than_the_names_is_refused() -> None:
    line = refusal(settings(provider="s3_eu_west", region="us-west-2"))
    assert line.startswith("--region us-west-2: s3_eu_west is eu-west-1; use --provider s3")
    providers.check(settings(provider="s3_eu_west", region="eu-west-1"))
    providers.check(settings(region="us-west-2"))


def test_of_a_cloud_without_such_rules_nothing_is_refused() -> None:
    providers.check(CloudSettings("local", "bucket", "/no/such/directory"))
