"""The options that only S3 has: one entry is a new option."""

from __future__ import annotations

from dataclasses import dataclass

from ..options import one_of, option, switch


@dataclass(frozen=True)
class S3Options:
    """How a run speaks to an S3 service."""

    addressing: str = option(
        "auto",
        "where the service finds the bucket: path, virtual (in the host name), or auto: in the "
        "host name on AWS where the bucket's name allows it",
        flag="--addressing",
        env=("UPLOADER_ADDRESSING",),
        parse=one_of("auto", "path", "virtual"),
        metavar="STYLE",
    )
    profile: str | None = option(
        None,
        "profile in ~/.aws that gives credentials, region and endpoint",
        flag="--profile",
        metavar="NAME",
        shown="AWS's own order: environment, AWS_PROFILE, default",
    )
    checksum: str | None = option(
        None,
        "what proves that the content arrived: crc64nvme, crc32c, crc32 or md5",
        flag="--checksum",
        env=("UPLOADER_CHECKSUM",),
        parse=one_of("crc64nvme", "crc32c", "crc32", "md5"),
        metavar="KIND",
        shown="crc64nvme; md5 where a service is known to take nothing else",
    )
    unsigned_payload: bool = option(
        False,
        "over plain HTTP leave the content out of the signature, as is done over TLS: half the "
        "CPU for large files, where nobody on the network would change them",
        flag="--unsigned-payload",
        env=("UPLOADER_UNSIGNED_PAYLOAD",),
        parse=switch,
    )


OPTIONS = S3Options
