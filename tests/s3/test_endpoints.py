"""Where a bucket is asked for: as AWS's own tools would, whatever the user has told them."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from botocore.awsrequest import AWSResponse
from botocore.loaders import create_loader
from botocore.session import Session

from _uploader.config import Settings, from_environment
from providers.errors import Fatal
from providers.s3 import endpoints
from providers.s3.cloud import S3Cloud
from providers.s3.credentials import resolve
from providers.s3.endpoints import AwsEndpoint, Variant, endpoint_of

KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret"}
LOCAL = "http://127.0.0.1:9"
OTHER = "http://127.0.0.1:10"


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)


def write_config(text: str) -> None:
    path = Path("~/.aws/config").expanduser()
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


class Place(NamedTuple):
    """Where a request goes, and what its signature is for."""

    scheme: str
    authority: str
    path: str
    region: str


def ours(bucket: str, region: str | None, endpoint_url: str | None) -> Place:
    given = {"bucket": bucket, "region": region, "endpoint_url": endpoint_url}
    typed = {name: value for name, value in given.items() if value}
    settings = Settings.of({**from_environment(os.environ), **typed})
    service = S3Cloud(settings.cloud())._service
    endpoint, path = service.address(bucket)
    scheme = "https" if endpoint.secure else "http"
    return Place(scheme, endpoint.authority, path, service.region)


LOADER = create_loader()
"""Reads what botocore knows of S3 once, not for each session."""


def botocores(bucket: str, region: str | None, endpoint_url: str | None) -> Place:
    """Where botocore sends a PutObject."""
    session = Session()
    session.register_component("data_loader", LOADER)
    client = session.create_client("s3", region_name=region, endpoint_url=endpoint_url)
    sent: list[Any] = []

    def answer(request: Any, **_: Any) -> AWSResponse:
        sent.append(request)
        return AWSResponse(request.url, 200, {}, SimpleNamespace(stream=lambda: iter(())))

    client.meta.events.register("before-send.s3.PutObject", answer)
    client.put_object(Bucket=bucket, Key="key", Body=b"")
    parts = urlsplit(sent[0].url)
    signed_for = re.search(r"/([^/]+)/s3/aws4_request", sent[0].headers["Authorization"].decode())
    assert signed_for
    return Place(parts.scheme, parts.netloc, parts.path.removesuffix("key"), signed_for[1])


CASES: dict[str, tuple[dict[str, str], str]] = {
    "nothing said": ({}, ""),
    "AWS_DEFAULT_REGION": ({"AWS_DEFAULT_REGION": "eu-west-1"}, ""),
    "region of the profile": ({}, "region = eu-west-2"),
    "region of both": ({"AWS_DEFAULT_REGION": "eu-west-1"}, "region = eu-west-2"),
    "region that no table has": ({"AWS_DEFAULT_REGION": "xx-newest-7"}, ""),
    "region of China": ({"AWS_DEFAULT_REGION": "cn-north-1"}, ""),
    "AWS_ENDPOINT_URL": ({"AWS_ENDPOINT_URL": LOCAL}, ""),
    "AWS_ENDPOINT_URL_S3": ({"AWS_ENDPOINT_URL_S3": LOCAL, "AWS_ENDPOINT_URL": OTHER}, ""),
    "endpoint of the profile": ({}, f"endpoint_url = {LOCAL}"),
    "endpoint of the environment first": ({"AWS_ENDPOINT_URL": OTHER}, f"endpoint_url = {LOCAL}"),
    "endpoint of S3 in the profile": (
        {},
        f"endpoint_url = {OTHER}\nservices = own\n[services own]\ns3 =\n  endpoint_url = {LOCAL}",
    ),
    "endpoints ignored by the environment": (
        {"AWS_ENDPOINT_URL": LOCAL, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"},
        "",
    ),
    "all endpoints ignored by the environment": (
        {"AWS_ENDPOINT_URL_S3": LOCAL, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"},
        f"endpoint_url = {OTHER}",
    ),
    "endpoints ignored by the profile": (
        {"AWS_ENDPOINT_URL": LOCAL},
        f"endpoint_url = {OTHER}\nignore_configured_endpoint_urls = true",
    ),
    "endpoints not ignored": (
        {"AWS_ENDPOINT_URL": LOCAL, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "false"},
        "",
    ),
    "path style": ({}, "s3 =\n  addressing_style = path"),
    "virtual hosts": ({}, "s3 =\n  addressing_style = virtual"),
    "either style": ({}, "s3 =\n  addressing_style = auto"),
    "virtual hosts of another service": (
        {"AWS_ENDPOINT_URL": "http://s3.example"},
        "s3 =\n  addressing_style = virtual",
    ),
    "dual-stack by the environment": ({"AWS_USE_DUALSTACK_ENDPOINT": "true"}, ""),
    "dual-stack by the profile": ({}, "use_dualstack_endpoint = true"),
    "dual-stack by S3's section": ({}, "s3 =\n  use_dualstack_endpoint = true"),
    "dual-stack by one of two": (
        {},
        "use_dualstack_endpoint = true\ns3 =\n  use_dualstack_endpoint = false",
    ),
    "dual-stack and another endpoint": (
        {"AWS_USE_DUALSTACK_ENDPOINT": "true", "AWS_ENDPOINT_URL": LOCAL},
        "",
    ),
    "FIPS by the environment": ({"AWS_USE_FIPS_ENDPOINT": "true"}, ""),
    "FIPS by the profile": ({}, "use_fips_endpoint = true"),
    "FIPS and dual-stack": (
        {"AWS_USE_FIPS_ENDPOINT": "true", "AWS_USE_DUALSTACK_ENDPOINT": "true"},
        "",
    ),
    "FIPS and another endpoint": (
        {"AWS_USE_FIPS_ENDPOINT": "true", "AWS_ENDPOINT_URL": LOCAL},
        "",
    ),
    "accelerated": ({}, "s3 =\n  use_accelerate_endpoint = true"),
    "not accelerated": ({}, "s3 =\n  use_accelerate_endpoint = false"),
    "accelerated, dual-stack": (
        {},
        "s3 =\n  use_accelerate_endpoint = true\n  use_dualstack_endpoint = true",
    ),
    "accelerated by its URL": ({"AWS_ENDPOINT_URL": "https://s3-accelerate.amazonaws.com"}, ""),
}
"""What the environment says, and what the default profile says."""


HOSTS_ONLY = {"virtual hosts", "virtual hosts of another service"} | {
    name for name in CASES if name.startswith("accelerated")
}
"""No certificate covers a name with dots there: botocore falls back or refuses."""


@pytest.mark.parametrize(
    ("name", "bucket"),
    [
        *[(name, "bucket") for name in CASES],
        *[(name, "with.dots") for name in CASES if name not in HOSTS_ONLY],
    ],
)
def test_a_bucket_is_where_botocore_looks_for_it(
    monkeypatch: pytest.MonkeyPatch, name: str, bucket: str
) -> None:
    variables, profile = CASES[name]
    # For the oldest region botocore has an older address, the global one, by default.
    monkeypatch.setenv("AWS_S3_US_EAST_1_REGIONAL_ENDPOINT", "regional")
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    if profile:
        write_config(f"[default]\n{profile}\n")
    region = None
    if "region" not in f"{profile}{variables}".lower():
        region = "us-west-2"
    assert ours(bucket, region, None) == botocores(bucket, region, None)


@pytest.mark.parametrize("bucket", ["bucket", "with.dots"])
def test_what_is_typed_goes_before_all_else(monkeypatch: pytest.MonkeyPatch, bucket: str) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", OTHER)
    monkeypatch.setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")
    write_config(f"[default]\nregion = eu-west-2\nendpoint_url = {OTHER}\n")
    found = ours(bucket, "eu-west-3", LOCAL)
    assert found == botocores(bucket, "eu-west-3", LOCAL)
    assert found == Place("http", "127.0.0.1:9", f"/{bucket}/", "eu-west-3")


def test_aws_region_goes_before_aws_default_region(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for version 2 of the AWS CLI; botocore knows the other name only."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_REGION", "eu-west-3")
    assert ours("bucket", None, None).region == "eu-west-3"


def test_the_profiles_certificates_are_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    write_config("[default]\nca_bundle = /no/such/file\n")
    settings = Settings(bucket="bucket").cloud()
    assert resolve(settings).ca_bundle == "/no/such/file"
    assert resolve(settings._replace(ca_bundle="/typed")).ca_bundle == "/typed"


def test_the_command_lines_addressing_goes_before_the_profiles() -> None:
    write_config("[default]\ns3 =\n  addressing_style = virtual\n")
    settings = Settings.of({"bucket": "bucket", "addressing": "path"})
    endpoint, path = S3Cloud(settings.cloud())._service.address("bucket")
    assert (endpoint.host, path) == ("s3.us-east-1.amazonaws.com", "/bucket/")


class TestEndpointOfARegion:
    """By botocore's endpoint rules for S3."""

    @pytest.mark.parametrize(
        ("region", "variant", "url", "partition"),
        [
            ("us-east-1", Variant(), "https://s3.us-east-1.amazonaws.com", "aws"),
            ("us-gov-west-1", Variant(), "https://s3.us-gov-west-1.amazonaws.com", "aws-us-gov"),
            ("cn-north-1", Variant(), "https://s3.cn-north-1.amazonaws.com.cn", "aws-cn"),
            ("us-iso-east-1", Variant(), "https://s3.us-iso-east-1.c2s.ic.gov", "aws-iso"),
            ("us-isob-east-1", Variant(), "https://s3.us-isob-east-1.sc2s.sgov.gov", "aws-iso-b"),
            ("eusc-de-east-1", Variant(), "https://s3.eusc-de-east-1.amazonaws.eu", "aws-eusc"),
            ("xx-newest-7", Variant(), "https://s3.xx-newest-7.amazonaws.com", "aws"),
            ("us-east-2", Variant(fips=True), "https://s3-fips.us-east-2.amazonaws.com", "aws"),
            (
                "eu-west-1",
                Variant(dualstack=True),
                "https://s3.dualstack.eu-west-1.amazonaws.com",
                "aws",
            ),
            (
                "us-gov-east-1",
                Variant(fips=True, dualstack=True),
                "https://s3-fips.dualstack.us-gov-east-1.amazonaws.com",
                "aws-us-gov",
            ),
            ("eu-west-1", Variant(accelerate=True), "https://s3-accelerate.amazonaws.com", "aws"),
        ],
    )
    def test_a_region_has_its_endpoint(
        self, region: str, variant: Variant, url: str, partition: str
    ) -> None:
        assert endpoint_of(region, variant) == AwsEndpoint(url, region, partition)

    def test_a_pseudo_region_signs_for_a_real_one(self) -> None:
        found = endpoint_of("aws-global", Variant())
        assert (found.url, found.region) == ("https://s3.amazonaws.com", "us-east-1")

    @pytest.mark.parametrize(
        ("region", "variant"),
        [
            ("cn-north-1", Variant(fips=True)),
            ("cn-north-1", Variant(accelerate=True)),
            ("eu-west-1", Variant(fips=True, accelerate=True)),
            ("a b", Variant()),
            ("a/b", Variant()),
            ("evil.example", Variant()),
            ("", Variant()),
        ],
    )
    def test_an_endpoint_that_there_is_not_is_fatal(self, region: str, variant: Variant) -> None:
        with pytest.raises(Fatal, match=f"no such endpoint in region {region!r}"):
            endpoint_of(region, variant)

    def test_the_usual_region_needs_no_botocore(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "botocore.endpoint_provider", None)
        endpoints.endpoint_of("eu-central-1", Variant())
