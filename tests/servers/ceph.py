"""Ceph RGW: a real S3 server in C++ that verifies SigV4, ACLs and part sizes.

One monitor, one OSD in memory, one gateway, no manager: up in one to two seconds.
"""

from __future__ import annotations

import contextlib
import uuid
from functools import cached_property
from pathlib import Path

import trustme

from bench.process import Daemon, free_port, run
from tests.servers.s3_server import S3Server

# auth: with "none" instead of cephx, radosgw hangs for five minutes at its start.
# paxos: each new pool costs a few rounds of the monitor; by default each waits a second.
# watch timeout: a gateway killed with -9 stays registered for cache messages, and a bucket made
# through its successor waits until the dead one is forgotten (by default 30 s). The gateway
# renews its own registration at each objecter tick, so that must come more often.
CONFIG = """\
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{mon},v1:127.0.0.1:{mon_v1}]
mon initial members = a
public addr = 127.0.0.1
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
keyring = {directory}/keyring
run dir = {directory}
admin socket =
log file =
log to stderr = true
err to stderr = true
mon cluster log file = {directory}/cluster.log
mon data = {directory}/mon
mon data avail crit = 0
mon allow pool size one = true
mon max pg per osd = 1000
paxos propose interval = 0.05
paxos min wait = 0.01
osd data = {directory}/osd
osd objectstore = memstore
osd client watch timeout = 3
rgw mp lock max time = 3
objecter tick interval = 0.5
memstore device bytes = 4294967296
osd crush chooseleaf type = 0
osd pool default size = 1
osd pool default pg autoscale mode = off
rgw data = {directory}
rgw frontends = beast endpoint=127.0.0.1:{rgw} ssl_endpoint=127.0.0.1:{rgw_tls} \
ssl_certificate={directory}/server.pem
"""


class CephRGW(S3Server):
    """A Ceph cluster in a temporary directory with one gateway and one user."""

    programs = (
        *("ceph", "ceph-authtool", "ceph-mon", "ceph-osd"),
        *("monmaptool", "radosgw", "radosgw-admin"),
    )
    packages = "ceph-mon ceph-osd ceph-common radosgw"

    def _start(self, directory: Path, cleanup: contextlib.ExitStack) -> None:
        self._port, tls, mon, mon_v1 = free_port(), free_port(), free_port(), free_port()
        self.endpoint = f"http://127.0.0.1:{self._port}"
        self.https = f"https://127.0.0.1:{tls}"
        """The same gateway over TLS, by a certificate that ``ca_file`` vouches for."""
        self.ca_file = str(directory / "ca.pem")
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.ca_file)
        certificate = authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem
        certificate.write_to_path(directory / "server.pem")
        fsid, osd = str(uuid.uuid4()), str(uuid.uuid4())
        self.config = config = str(directory / "ceph.conf")
        ports = {"mon": mon, "mon_v1": mon_v1, "rgw": self._port, "rgw_tls": tls}
        Path(config).write_text(CONFIG.format(directory=directory, fsid=fsid, **ports))
        (directory / "osd").mkdir()

        def call(program: str, *arguments: str) -> None:
            run([program, "-c", config, *arguments])

        def daemon(program: str, *arguments: str) -> Daemon:
            argv = [program, "-c", config, *arguments, "-f"]
            started = Daemon(argv, directory / f"{program}.log")
            cleanup.callback(started.kill)
            return started

        monmap, keyring = str(directory / "monmap"), str(directory / "keyring")
        make_keyring(keyring)
        addresses = f"[v2:127.0.0.1:{mon},v1:127.0.0.1:{mon_v1}]"
        run(["monmaptool", "--create", "--fsid", fsid, "--addv", "a", addresses, monmap])
        call("ceph-mon", "-i", "a", "--mkfs", "--monmap", monmap, "--keyring", keyring)
        daemon("ceph-mon", "-i", "a").wait_until_listening(mon)
        call("ceph", "osd", "new", osd, "0")
        # Without the uuid the OSD never boots.
        call("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        daemon("ceph-osd", "-i", "0")
        self._gateway = daemon("radosgw", "-n", "client.admin")
        self._gateway.wait_until_listening(self._port)
        user = ["--uid", "tester", "--display-name", "tester"]
        keys = ["--access-key", self.access_key, "--secret", self.secret_key]
        self._administer("user", "create", *user, *keys)

    def _administer(self, *arguments: str) -> None:
        run(["radosgw-admin", "-c", self.config, "-n", "client.admin", *arguments])

    @cached_property
    def google_key(self) -> str:
        """Another access key of the same user, with the same secret key, as Google names them."""
        name = "GOOGTESTACCESSKEY"
        keys = ["--access-key", name, "--secret", self.secret_key]
        self._administer("key", "create", "--uid", "tester", "--key-type", "s3", *keys)
        return name

    @cached_property
    def swift_user(self) -> str:
        """The same user for Swift's API, with the same secret key.  Its authentication is version
        1, at /auth/v1.0."""
        name = "tester:swift"
        user = ["--uid", "tester", "--subuser", name, "--access", "full"]
        self._administer(
            "subuser", "create", *user, "--key-type", "swift", "--secret", self.secret_key
        )
        return name

    def restart_gateway(self) -> None:
        """Kill the gateway with -9 and return when a new one answers on the same port."""
        self._gateway.kill()
        self._gateway.start()
        self._gateway.wait_until_listening(self._port)


def make_keyring(path: str) -> None:
    """Write one keyring that the monitor, the OSD and all clients share."""
    allow = ["--cap", "mon", "allow *", "--cap", "osd", "allow *"]
    run(["ceph-authtool", "--create-keyring", path])
    for name in ("mon.", "client.admin", "osd.0"):
        run(["ceph-authtool", path, "--gen-key", "-n", name, *allow])
