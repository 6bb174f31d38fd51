"""Which of AWS's endpoints serves S3 in a region.

https://docs.aws.amazon.com/sdkref/latest/guide/feature-endpoints.html
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from ..errors import Fatal, one_line

DEFAULT_REGION = "us-east-1"
_COMMERCIAL = re.compile(r"(us|eu|ap|sa|ca|me|af|il|mx)-[a-z]+-\d+")
"""The regions of the partition "aws", as botocore's data has it."""
_REGION = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
"""A region is a step of a host name."""


class Variant(NamedTuple):
    """Which of a region's endpoints."""

    fips: bool = False
    dualstack: bool = False
    accelerate: bool = False
    """https://docs.aws.amazon.com/AmazonS3/latest/userguide/transfer-acceleration.html"""

    @classmethod
    def of_environment(cls) -> Variant:
        """What AWS_USE_FIPS_ENDPOINT and AWS_USE_DUALSTACK_ENDPOINT say."""
        return cls(is_true("AWS_USE_FIPS_ENDPOINT"), is_true("AWS_USE_DUALSTACK_ENDPOINT"))


class AwsEndpoint(NamedTuple):
    """Where S3 listens in a region."""

    url: str
    region: str
    """The region that signatures are for."""
    partition: str
    """The part of AWS in which a bucket's name is unique, such as ``aws`` or ``aws-cn``."""


def endpoint_of(region: str, variant: Variant) -> AwsEndpoint:
    """The endpoint of S3 in a region, be it newer than any table.

    By botocore's endpoint rules, which take 0.4 s to load: the usual case goes without.  Raises
    ``Fatal`` when there is no such endpoint.
    """
    if _COMMERCIAL.fullmatch(region) and not any(variant):
        return AwsEndpoint(f"https://s3.{region}.amazonaws.com", region, "aws")
    from botocore.endpoint_provider import EndpointProvider, RuleSetStandardLibrary
    from botocore.exceptions import BotoCoreError
    from botocore.loaders import create_loader

    wrong = f"S3 has no such endpoint in region {region!r}"
    if not _REGION.fullmatch(region):
        raise Fatal(f"{wrong}: no region has such a name")
    loader = create_loader()
    partitions = loader.load_data("partitions")
    provider = EndpointProvider(loader.load_service_model("s3", "endpoint-rule-set-1"), partitions)
    # The rules know the endpoint of an acceleration for one bucket only, and before its host.
    bucket = {"Bucket": "bucket", "Accelerate": True} if variant.accelerate else {}
    try:
        found = provider.resolve_endpoint(
            Region=region, UseFIPS=variant.fips, UseDualStack=variant.dualstack, **bucket
        )
    except BotoCoreError as error:
        raise Fatal(f"{wrong}: {one_line(error)}") from None
    schemes = found.properties.get("authSchemes", ())
    signing = [scheme["signingRegion"] for scheme in schemes if "signingRegion" in scheme]
    partition = RuleSetStandardLibrary(partitions).aws_partition(region)["name"]
    url = found.url.replace("//bucket.", "//") if bucket else found.url
    return AwsEndpoint(url, signing[0] if signing else region, partition)


def is_true(variable: str) -> bool:
    """Whether an environment variable of AWS's says yes."""
    return os.environ.get(variable, "").lower() == "true"
