"""OpenStack Swift and what speaks its API, by libcloud's driver.

The variables are those of OpenStack's own tools, from an ``openrc`` file:
https://docs.openstack.org/python-openstackclient/latest/cli/man/openstack.html
or, for the old authentication without Keystone, those of the ``swift`` command:
https://docs.openstack.org/python-swiftclient/latest/cli/index.html
"""

from __future__ import annotations

import os
import re
from functools import partial
from typing import Any

from libcloud.common.types import LibcloudError

from .base import Facts
from .errors import Fatal, Rejected
from .libcloud import DriverSession, LibcloudCloud, mapped

_VERSION = re.compile("/v[0-9.]+/?$")
"""libcloud appends it by itself."""
_PUBLIC = {".r:*": "everybody", "*:*": "every user of the service"}
"""Whom an element of X-Container-Read or X-Container-Write lets in.
https://docs.openstack.org/swift/latest/overview_acl.html#container-acls
"""


class SwiftCloud(LibcloudCloud):
    """Address, account and region come from the identity service, the keys from OS_* or ST_*."""

    @classmethod
    def facts(cls, provider: str) -> Facts:
        """Three ways to be known to the identity service."""
        return Facts(
            "`OS_*` of an openrc file: password or application credential; or `ST_AUTH`, "
            "`ST_USER`, `ST_KEY`",
            "MD5",
            "read and write ACL",
            "Ceph RGW 16.2 by `ST_*`; a scripted Keystone",
        )

    def arguments(self) -> dict[str, Any]:
        """What libcloud's driver is made with; raises ``Fatal`` that names what is missing."""
        if self.settings.endpoint_url:
            raise Fatal(
                "--endpoint-url: openstack_swift learns its address from the identity service, "
                "whose own is in OS_AUTH_URL (or ST_AUTH)"
            )
        if _variable("ST_AUTH") and not _variable("OS_AUTH_URL"):
            return _old()
        arguments = _keystone()
        if region := self.settings.region or _variable("OS_REGION_NAME"):
            arguments["ex_force_service_region"] = region
        return arguments

    def open(self) -> DriverSession:
        """A session; it asks the identity service with its first request."""
        session = super().open()
        connection = session.driver.connection
        # libcloud looks for a service that is called swift, which a catalog need not have, and
        # after an authentication of version 1 for one that it has not put there.
        connection.get_endpoint = partial(_storage, connection, self.made_with)
        return session

    def account(self) -> tuple[str, ...]:
        """The identity service and all that it is told but the secret: user, project, domains,
        region."""
        told = sorted(self.made_with.items())
        return tuple(f"{name}={value}" for name, value in told if name != "secret")

    def privacy(self, session: DriverSession) -> str:
        """Asks for the container's own grants."""
        bucket = self.settings.bucket
        try:
            answer = mapped(lambda: session.driver.connection.request(f"/{bucket}", method="HEAD"))
        except Rejected as failure:
            return (
                f"whether the bucket is public is not known: its ACL could not be read ({failure})"
            )
        for kind in ("read", "write"):
            acl = answer.headers.get(f"x-container-{kind}") or ""
            for element in map(str.strip, acl.split(",")):
                if element in _PUBLIC:
                    raise Fatal(
                        f"bucket {bucket} is public by its {kind} ACL, which lets "
                        f"{_PUBLIC[element]} in: take {element} out of it, or give --allow-public "
                        "if it is meant to be"
                    )
        return ""


def _old() -> dict[str, Any]:
    """Authentication version 1: user and key in two headers."""
    return {
        "key": _needed("ST_USER", "UPLOADER_KEY"),
        "secret": _needed("ST_KEY", "UPLOADER_SECRET"),
        "ex_force_auth_url": _VERSION.sub("", _needed("ST_AUTH")),
        "ex_force_auth_version": "1.0",
    }


def _keystone() -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "ex_force_auth_url": _VERSION.sub("", _needed("OS_AUTH_URL")),
    }
    if _variable("OS_APPLICATION_CREDENTIAL_ID"):
        return {
            **arguments,
            "key": _needed("OS_APPLICATION_CREDENTIAL_ID"),
            "secret": _needed("OS_APPLICATION_CREDENTIAL_SECRET"),
            "ex_force_auth_version": "3.x_appcred",
        }
    return {
        **arguments,
        "key": _needed("OS_USERNAME", "UPLOADER_KEY"),
        "secret": _needed("OS_PASSWORD", "UPLOADER_SECRET"),
        "ex_tenant_name": _needed("OS_PROJECT_NAME", "OS_TENANT_NAME"),
        "ex_domain_name": _variable("OS_USER_DOMAIN_NAME") or "Default",
        "ex_tenant_domain_id": _variable("OS_PROJECT_DOMAIN_ID") or "default",
        "ex_force_auth_version": "3.x_password",
    }


def _storage(connection: Any, made_with: dict[str, Any]) -> str:
    """The address of the storage, by what the identity service has answered."""
    if made_with["ex_force_auth_version"] == "1.0":
        [found] = connection.get_auth_class().urls["cloudFiles"]
        return str(found["publicURL"])
    region = made_with.get("ex_force_service_region")
    try:
        found = connection.service_catalog.get_endpoint(service_type="object-store", region=region)
    except LibcloudError:
        where = f" in region {region}" if region else ""
        raise Fatal(f"the identity service knows no object storage{where}") from None
    except ValueError:
        raise Fatal(
            "the identity service knows object storage in several regions: give --region or "
            "OS_REGION_NAME"
        ) from None
    return str(found.url)


def _variable(*names: str) -> str:
    """The first of the environment variables that is set; empty when none is."""
    return next(filter(None, map(os.environ.get, names)), None) or ""


def _needed(*names: str) -> str:
    value = _variable(*names)
    if not value:
        raise Fatal(f"openstack_swift needs {' or '.join(names)} in the environment")
    return value


CLOUD = SwiftCloud
