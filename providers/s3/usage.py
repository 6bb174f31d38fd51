"""Settings that are wrong whatever the service would answer.  Pure.

The module imports nothing that takes time: the command line reads it.
"""

from __future__ import annotations

from ..base import CloudSettings
from ..errors import Fatal
from ..http.endpoint import chosen_endpoint
from .addressing import checked, locate
from .names import NAMES, Named
from .options import S3Options


def check(settings: CloudSettings) -> None:
    """Raises ``Fatal`` that names the option and what to give in its place."""
    options: S3Options = settings.options or S3Options()
    named = NAMES.get(settings.provider)
    if named:
        _check_named(settings, options, named)
    checked(settings.bucket)
    if settings.endpoint_url is not None:
        endpoint = chosen_endpoint(settings.endpoint_url)
        locate(endpoint, settings.bucket, options.addressing or "auto", is_aws=False)


def _check_named(settings: CloudSettings, options: S3Options, named: Named) -> None:
    """What goes with ``s3``, but not with this name."""
    name = settings.provider
    if named.is_aws and settings.region not in (None, named.region):
        raise Fatal(
            f"--region {settings.region}: {name} is {named.region}; use --provider s3 for any "
            "region"
        )
    if options.profile and not named.is_aws:
        raise Fatal(f"--profile: the profiles in ~/.aws are AWS's, not those of {name}")
    if options.if_none_match and not named.creates_only:
        raise Fatal(f"--if-none-match: {name} does not know it, and objects would be replaced")
