"""The services that speak S3 and have a name of their own.

One entry is a new service: ``--provider NAME`` then means its address, its keys and its ways.  The
names are those of libcloud's ``Provider`` where it has one.  The module imports nothing that takes
time: whoever reads the options reads it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

Pair = tuple[str, str]
"""The environment variables of an access key and its secret."""

OWN_KEYS: Pair = ("UPLOADER_KEY", "UPLOADER_SECRET")
"""They work for every provider that has a name here, before all others."""
AWS_KEYS: Pair = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
"""Where a service tells its users to take AWS's own tools; a session token goes with them."""


class Named(NamedTuple):
    """What a name stands for."""

    endpoint: str = ""
    """URL, with ``{region}`` and ``{account}`` where it needs them; empty: the user has to give it.
    """
    region: str = ""
    """The region that is meant when none is given; empty: the user has to give one."""
    keys: tuple[Pair, ...] = ()
    """Variables that its users know, besides ``OWN_KEYS``."""
    is_aws: bool = False
    """A region of AWS, whose address and credentials are found as for ``s3``."""
    region_variables: tuple[str, ...] = ()
    region_example: str = ""
    """For the message when it is missing."""
    account_variables: tuple[str, ...] = ()
    virtual_hosts: bool = False
    """The bucket has to be in the host name, not in the path."""
    checksum: str = "crc64nvme"
    """The proof of content, where the user asks for no other.  ``md5`` where the service is known
    to refuse or misread x-amz-checksum headers; one that ignores them needs no word here."""
    creates_only: bool = True
    """False where If-None-Match is known not to keep an object from being replaced."""
    privacy: str = "ACL, policy"
    """Which of the questions about a bucket's privacy it answers, as far as is known."""
    equal_parts: bool = False
    """All parts but the last have to be of one size."""
    key_prefix: str = ""
    """Only access keys that begin so are S3's; with others libcloud speaks another API."""
    has_iam: bool = False
    """ACLs are Google's, and policies are IAM's, which S3's API cannot ask."""
    tested: str = "nothing yet"
    """What this name was tested against, for README."""


def _aws(region: str) -> Named:
    return Named(region=region, is_aws=True, tested="as `s3`")


_LINODE = Named(
    "https://{region}.linodeobjects.com",
    "us-east-1",
    (("LINODE_OBJ_ACCESS_KEY", "LINODE_OBJ_SECRET_KEY"), AWS_KEYS),
)

NAMES: Mapping[str, Named] = {
    # Metadata names must not have underscores; a bucket is found by its host name only.
    # https://help.aliyun.com/en/oss/developer-reference/use-aws-sdks-to-access-oss
    # To replace nothing, it has a header of its own: x-oss-forbid-overwrite.
    # https://www.alibabacloud.com/help/en/oss/developer-reference/putobject
    "aliyun_oss": Named(
        "https://s3.oss-{region}.aliyuncs.com",
        "cn-hangzhou",
        (
            ("OSS_ACCESS_KEY_ID", "OSS_ACCESS_KEY_SECRET"),
            ("ALIBABA_CLOUD_ACCESS_KEY_ID", "ALIBABA_CLOUD_ACCESS_KEY_SECRET"),
        ),
        virtual_hosts=True,
        checksum="md5",
        creates_only=False,
        privacy="ACL",
    ),
    "auroraobjects": Named("https://o.auroraobjects.eu", "us-east-1"),
    # It has no bucket policies, and refuses If-None-Match with a 501.
    # https://www.backblaze.com/docs/cloud-storage-s3-compatible-api
    "backblaze_b2": Named(
        "https://s3.{region}.backblazeb2.com",
        "",
        (("B2_APPLICATION_KEY_ID", "B2_APPLICATION_KEY"),),
        region_example="us-west-004",
        checksum="md5",
        creates_only=False,
        privacy="ACL",
    ),
    # It has neither ACLs nor policies: its own console makes buckets public.
    # https://developers.cloudflare.com/r2/api/s3/api/
    "cloudflare_r2": Named(
        "https://{account}.r2.cloudflarestorage.com",
        "auto",
        (("R2_ACCESS_KEY_ID", "R2_SECRET_ACCESS_KEY"), AWS_KEYS),
        account_variables=("R2_ACCOUNT_ID", "CLOUDFLARE_ACCOUNT_ID"),
        # https://developers.cloudflare.com/r2/objects/upload-objects/
        equal_parts=True,
        privacy="none",
    ),
    "digitalocean_spaces": Named(
        "https://{region}.digitaloceanspaces.com",
        "nyc3",
        (("SPACES_ACCESS_KEY_ID", "SPACES_SECRET_ACCESS_KEY"),),
    ),
    # If-None-Match is for reading only; x-goog-if-generation-match, its own header, may not go
    # with the x-amz ones of a signature.  It has IAM in place of policies.
    # https://cloud.google.com/storage/docs/interoperability
    # https://cloud.google.com/storage/docs/request-preconditions
    "google_storage": Named(
        "https://storage.googleapis.com",
        "auto",
        (("GS_ACCESS_KEY_ID", "GS_SECRET_ACCESS_KEY"),),
        checksum="md5",
        creates_only=False,
        privacy="ACL, default object ACL",
        key_prefix="GOOG",
        has_iam=True,
        tested="Ceph RGW 16.2 in its place",
    ),
    "idrive_e2": Named("", "us-east-1", (AWS_KEYS,)),
    "linode": _LINODE,
    "linode_object_storage": _LINODE,
    # Every bucket has the same ACL.
    # https://docs.min.io/community/minio-object-store/reference/s3-api-compatibility.html
    "minio": Named(
        "",
        "us-east-1",
        (("MINIO_ACCESS_KEY", "MINIO_SECRET_KEY"), ("MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD")),
        privacy="policy",
        tested="Ceph RGW 16.2 in its place",
    ),
    # https://help.ovhcloud.com/csm/en-public-cloud-storage-s3-location
    # https://help.ovhcloud.com/csm/en-public-cloud-storage-s3-compliancy
    "ovh": Named("https://s3.{region}.io.cloud.ovh.net", "sbg", (AWS_KEYS,), privacy="ACL"),
    "s3_rgw": Named("", "us-east-1", (AWS_KEYS,), tested="Ceph RGW 16.2"),
    "s3_rgw_outscale": Named("https://oos.{region}.outscale.com", "eu-west-2", (AWS_KEYS,)),
    "scaleway": Named(
        "https://s3.{region}.scw.cloud",
        "fr-par",
        (("SCW_ACCESS_KEY", "SCW_SECRET_KEY"),),
        region_variables=("SCW_DEFAULT_REGION",),
    ),
    "wasabi": Named(
        "https://s3.{region}.wasabisys.com",
        "us-east-1",
        (("WASABI_ACCESS_KEY_ID", "WASABI_SECRET_ACCESS_KEY"), AWS_KEYS),
    ),
    # libcloud's names for regions of AWS.  https://docs.aws.amazon.com/general/latest/gr/s3.html
    "s3_ap_northeast": _aws("ap-northeast-1"),
    "s3_ap_northeast_1": _aws("ap-northeast-1"),
    "s3_ap_northeast_2": _aws("ap-northeast-2"),
    "s3_ap_south": _aws("ap-south-1"),
    "s3_ap_southeast": _aws("ap-southeast-1"),
    "s3_ap_southeast2": _aws("ap-southeast-2"),
    "s3_ca_central": _aws("ca-central-1"),
    "s3_cn_north": _aws("cn-north-1"),
    "s3_cn_northwest": _aws("cn-northwest-1"),
    "s3_eu_central": _aws("eu-central-1"),
    "s3_eu_north_1": _aws("eu-north-1"),
    "s3_eu_west": _aws("eu-west-1"),
    "s3_eu_west_2": _aws("eu-west-2"),
    "s3_sa_east": _aws("sa-east-1"),
    "s3_us_east_2": _aws("us-east-2"),
    "s3_us_gov_west": _aws("us-gov-west-1"),
    "s3_us_west": _aws("us-west-1"),
    "s3_us_west_oregon": _aws("us-west-2"),
}


def serves(provider: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this provider is spoken to by S3's API, with the keys in the environment."""
    service = NAMES.get(provider)
    if service is None or not service.key_prefix:
        return service is not None
    keys = (environment.get(name, "") for name, _ in (OWN_KEYS, *service.keys))
    return next(filter(None, keys), "").startswith(service.key_prefix)
