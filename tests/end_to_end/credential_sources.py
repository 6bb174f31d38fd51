"""Where AWS's own tools look for credentials, set up for a run of the command."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

from tests.servers.issuer import (
    ACCOUNT,
    CONTAINER_TOKEN,
    IDENTITY_TOKEN,
    ROLE_ARN,
    SOURCE_KEY,
    SSO_TOKEN,
    Issuer,
)

SOURCE_SECRET = "secret-of-the-source"
SOURCE_KEYS = f"aws_access_key_id = {SOURCE_KEY}\naws_secret_access_key = {SOURCE_SECRET}\n"


def write_aws(name: str, text: str) -> str:
    """A file in the test's own ~/.aws; returns its path."""
    path = Path(os.environ["HOME"], ".aws", name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def instance(issuer: Issuer) -> dict[str, str]:
    return {
        "AWS_EC2_METADATA_DISABLED": "false",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"{issuer.endpoint}/",
    }


def container(issuer: Issuer) -> dict[str, str]:
    return {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{issuer.endpoint}/container",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": CONTAINER_TOKEN,
    }


def role(issuer: Issuer) -> dict[str, str]:
    write_aws("credentials", f"[source]\n{SOURCE_KEYS}")
    write_aws("config", f"[profile role]\nrole_arn = {ROLE_ARN}\nsource_profile = source\n")
    return {"AWS_PROFILE": "role", "AWS_ENDPOINT_URL_STS": issuer.endpoint}


def web_identity(issuer: Issuer) -> dict[str, str]:
    return {
        "AWS_ROLE_ARN": ROLE_ARN,
        "AWS_WEB_IDENTITY_TOKEN_FILE": write_aws("identity", IDENTITY_TOKEN),
        "AWS_ENDPOINT_URL_STS": issuer.endpoint,
    }


def sso(issuer: Issuer) -> dict[str, str]:
    """As ``aws sso login`` leaves it."""
    start_url = "https://company.awsapps.example/start"
    write_aws(
        "config",
        f"[default]\nsso_session = company\nsso_account_id = {ACCOUNT}\nsso_role_name = tester\n"
        f"[sso-session company]\nsso_region = eu-west-1\nsso_start_url = {start_url}\n",
    )
    token = {
        "startUrl": start_url,
        "region": "eu-west-1",
        "accessToken": SSO_TOKEN,
        "expiresAt": "2100-01-01T00:00:00Z",
    }
    cache = Path(write_aws("config2", "")).parent / "sso" / "cache"
    cache.mkdir(parents=True)
    (cache / f"{hashlib.sha1(b'company').hexdigest()}.json").write_text(json.dumps(token))
    return {"AWS_ENDPOINT_URL_SSO": issuer.endpoint}


def program(issuer: Issuer) -> dict[str, str]:
    code = (
        "import json, sys, urllib.request as r\n"
        f"request = r.Request('{issuer.endpoint}/container')\n"
        f"request.add_header('Authorization', '{CONTAINER_TOKEN}')\n"
        "found = json.load(r.build_opener(r.ProxyHandler({})).open(request))\n"
        "found['SessionToken'] = found.pop('Token')\n"
        "print(json.dumps({'Version': 1, **found}))\n"
    )
    command = shlex.join([sys.executable, "-S", write_aws("program.py", code)])
    write_aws("config", f"[default]\ncredential_process = {command}\n")
    return {}


Prepare = Callable[[Issuer], dict[str, str]]
"""Writes what belongs in the home directory; returns what belongs in the environment."""
SOURCES: list[Prepare] = [instance, container, role, web_identity, sso, program]
