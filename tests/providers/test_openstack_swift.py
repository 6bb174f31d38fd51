"""OpenStack Swift: what the environment has to say, and what goes to the identity service."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import providers
from providers.base import CloudSettings
from providers.errors import Fatal
from providers.openstack_swift import SwiftCloud
from tests.command import Running, environment, run, small_files
from tests.servers.ceph import CephRGW
from tests.servers.scripted import Answer, Request, ScriptedServer, reply

BUCKET = "bucket"
KEYSTONE = {
    "OS_AUTH_URL": "https://auth.example/identity/v3",
    "OS_USERNAME": "user",
    "OS_PASSWORD": "hunter2",
    "OS_PROJECT_NAME": "project",
}
OLD = {"ST_AUTH": "https://auth.example/auth/v1.0", "ST_USER": "user", "ST_KEY": "hunter2"}
APPLICATION = {
    "OS_AUTH_URL": "https://auth.example",
    "OS_APPLICATION_CREDENTIAL_ID": "id",
    "OS_APPLICATION_CREDENTIAL_SECRET": "hunter2",
}


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes the cloud with these variables and no others."""

    def make(variables: Mapping[str, str], **settings: Any) -> SwiftCloud:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        made = providers.load(CloudSettings("openstack_swift", BUCKET, timeout=5, **settings))
        assert isinstance(made, SwiftCloud)
        return made

    return make


@pytest.mark.parametrize("variables", [KEYSTONE, OLD, APPLICATION])
def test_a_missing_variable_is_named(
    cloud: Any, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for missing in variables:
        if missing in ("ST_AUTH", "OS_APPLICATION_CREDENTIAL_ID"):
            continue  # they say which of the three ways is meant
        with monkeypatch.context():
            rest = {name: value for name, value in variables.items() if name != missing}
            monkeypatch.delenv(missing, raising=False)
            with pytest.raises(Fatal, match=f"^openstack_swift needs {missing}") as caught:
                cloud(rest)
            assert "\n" not in str(caught.value)


def test_our_own_variables_stand_in_for_user_and_password(cloud: Any) -> None:
    rest = {"OS_AUTH_URL": "https://a", "OS_PROJECT_NAME": "p"}
    made = cloud({**rest, "UPLOADER_KEY": "user", "UPLOADER_SECRET": "secret"})
    assert (made.made_with["key"], made.made_with["secret"]) == ("user", "secret")


def test_an_endpoint_is_refused_with_the_variable_that_stands_for_it(cloud: Any) -> None:
    with pytest.raises(Fatal, match="^--endpoint-url: .*OS_AUTH_URL"):
        cloud(KEYSTONE, endpoint_url="http://127.0.0.1:1")


def test_the_destination_tells_projects_apart_and_no_secret(cloud: Any) -> None:
    first = cloud(KEYSTONE).destination()
    assert "hunter2" not in first
    assert cloud({**KEYSTONE, "OS_PASSWORD": "another"}).destination() == first
    for name in ("PROJECT_NAME", "PROJECT_DOMAIN_ID", "USER_DOMAIN_NAME", "REGION_NAME"):
        assert cloud({**KEYSTONE, f"OS_{name}": "another"}).destination() != first
    assert cloud({**KEYSTONE, "OS_AUTH_URL": "https://another"}).destination() != first


def catalog(*endpoints: tuple[str, str], name: str = "ceph") -> bytes:
    """Keystone's answer; (region, URL) of each object storage."""
    rows = [{"region": r, "url": u, "interface": "public", "id": "1"} for r, u in endpoints]
    token = {
        "expires_at": "2099-01-01T00:00:00.000000Z",
        "user": {"id": "u"},
        "roles": [],
        "catalog": [{"type": "object-store", "name": name, "endpoints": rows}],
    }
    body = json.dumps({"token": token}).encode()
    return reply(201, body, x_subject_token="the-token", content_type="application/json")


def container(request: Request) -> bytes:
    return reply(204, x_container_object_count="0", x_container_bytes_used="0")


def prepared(cloud: Any, variables: Mapping[str, str], *answers: Answer, **settings: Any) -> Any:
    """Prepares a container; returns the outcome and the requests."""
    with ScriptedServer(*answers) as server:
        made = cloud({**variables, "OS_AUTH_URL": f"{server.endpoint}/v3"}, **settings)
        return made.prepare(False), server.requests


def test_keystone_is_asked_with_user_project_and_domain(cloud: Any) -> None:
    with ScriptedServer(container, container) as storage:
        answer = catalog(("r1", f"{storage.endpoint}/v1/AUTH_p"))
        outcome, [request] = prepared(cloud, KEYSTONE, answer)
    assert not outcome.created and outcome.note == ""
    assert (request.method, request.target) == ("POST", "/v3/auth/tokens")
    auth = json.loads(request.body)["auth"]
    assert auth["identity"]["password"]["user"]["name"] == "user"
    assert auth["scope"]["project"]["name"] == "project"
    assert storage.requests[0].target.startswith(f"/v1/AUTH_p/{BUCKET}")
    assert storage.requests[0].headers["x-auth-token"] == "the-token"


def test_the_region_chooses_among_several(cloud: Any) -> None:
    with ScriptedServer(container, container) as storage:
        answer = catalog(("r1", "http://127.0.0.1:1/wrong"), ("r2", f"{storage.endpoint}/right"))
        prepared(cloud, {**KEYSTONE, "OS_REGION_NAME": "r2"}, answer)
    assert storage.requests[0].target.startswith(f"/right/{BUCKET}")


@pytest.mark.parametrize(
    ("region", "line"),
    [("r3", "knows no object storage in region r3"), (None, "in several regions: give --region")],
)
def test_a_region_that_is_not_there_or_not_said_is_fatal(
    cloud: Any, region: str | None, line: str
) -> None:
    answer = catalog(("r1", "http://127.0.0.1:1"), ("r2", "http://127.0.0.1:1"))
    with pytest.raises(Fatal, match=line):
        prepared(cloud, KEYSTONE, answer, region=region)


def test_a_refused_password_is_fatal(cloud: Any) -> None:
    with pytest.raises(Fatal, match="refuses the credentials"):
        prepared(cloud, KEYSTONE, reply(401))


def with_acls(**acls: str) -> bytes:
    return reply(204, x_container_object_count="0", x_container_bytes_used="0", **acls)


@pytest.mark.parametrize(
    ("acl", "line"),
    [
        ({"x_container_read": ".r:*,.rlistings"}, "by its read ACL, which lets everybody in"),
        ({"x_container_read": "p:u, *:*"}, "by its read ACL, which lets every user of the service"),
        ({"x_container_write": "*:*"}, "by its write ACL, which lets every user of the service in"),
    ],
)
def test_a_public_container_is_fatal_unless_it_is_allowed(
    cloud: Any, acl: dict[str, str], line: str
) -> None:
    public = with_acls(**acl)
    with ScriptedServer(public, public, public) as storage:
        answer = catalog(("r1", f"{storage.endpoint}/v1"))
        with pytest.raises(Fatal, match=f"^bucket bucket is public {line}.*--allow-public"):
            prepared(cloud, KEYSTONE, answer)
        outcome, _ = prepared(cloud, KEYSTONE, answer, allow_public=True)
        assert outcome.note == ""


def test_a_container_for_some_is_not_public(cloud: Any) -> None:
    for_some = with_acls(x_container_read=".r:.example.com,*:user,p:*", x_container_write="p:*")
    with ScriptedServer(for_some, for_some) as storage:
        outcome, _ = prepared(cloud, KEYSTONE, catalog(("r1", f"{storage.endpoint}/v1")))
    assert outcome.note == ""


def test_ceph_tells_of_a_public_container(ceph: CephRGW, cloud: Any) -> None:
    variables = {
        "ST_AUTH": f"{ceph.endpoint}/auth/v1.0",
        "ST_USER": ceph.swift_user,
        "ST_KEY": ceph.secret_key,
    }
    made = cloud(variables)
    assert made.prepare(True).created
    assert made.prepare(False).note == ""
    with closing(made.open()) as session:
        session.driver.connection.request(
            f"/{BUCKET}", method="POST", headers={"X-Container-Read": ".r:*"}
        )
    with pytest.raises(Fatal, match="is public"):
        made.prepare(False)
    ceph.boto3().delete_bucket(Bucket=BUCKET)


def test_command_goes_on_by_swift_after_a_kill(ceph: CephRGW, data: Path) -> None:
    names = small_files(data, 1000)
    env = environment(
        ST_AUTH=f"{ceph.endpoint}/auth/v1.0", ST_USER=ceph.swift_user, ST_KEY=ceph.secret_key
    )
    options = ["--src", data, "--bucket", "swift-run", "--provider", "openstack_swift", "--json"]
    with Running(*options, "--verbose", env=env) as running:
        running.wait_for("uploaded")
        running.signal(signal.SIGKILL)
    finished = run(*options, env=env)
    assert finished.code == 0
    counts = finished.summary["uploaded"], finished.summary["skipped"]
    assert sum(counts) == len(names)
    assert 0 < counts[1] < len(names)
    stored = ceph.boto3().head_object(Bucket="swift-run", Key=min(names))["Metadata"]
    assert {"size", "mtime", "mode"} <= stored.keys()
