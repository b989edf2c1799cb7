"""A Kerberos realm on loopback: MIT's own KDC, its database and configuration in a folder of the test's own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core import Deadline, Pending, wait_for

REALM = "INTEROP.EXAMPLE"
USER = f"interop@{REALM}"
PASSWORD = "correct horse"
SERVICE = "HTTP/localhost"
PROGRAMS = ("krb5kdc", "kdb5_util", "kadmin.local", "kinit")

_CLIENT = """
[libdefaults]
    default_realm = {realm}
    dns_lookup_kdc = false
    dns_lookup_realm = false
    dns_canonicalize_hostname = false
    rdns = false
    kdc_timesync = 0
    udp_preference_limit = 1
[realms]
    {realm} = {{
        kdc = 127.0.0.1:{port}
    }}
"""
_SERVER = """
[kdcdefaults]
    kdc_listen = ""
    kdc_tcp_listen = 127.0.0.1:{port}
[realms]
    {realm} = {{
        database_name = {folder}/principal
        key_stash_file = {folder}/stash
        acl_file = {folder}/acl
        max_life = 10h
        max_renewable_life = 7d
    }}
"""


def missing() -> list[str]:
    """What a realm needs and this machine lacks."""
    return [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


@dataclass
class Realm:
    """A realm that is up.

    Args:
        folder: everything it has.
        environment: what its programs, and its clients, need to know.
    """

    folder: Path
    environment: dict[str, str]

    def admin(self, *query: str) -> None:
        """Have the database changed."""
        self.run("kadmin.local", "-r", REALM, "-q", " ".join(query))

    def run(self, *argv: str, stdin: str = "", **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a program of Kerberos."""
        return subprocess.run(
            argv,
            input=stdin,
            env=self.environment,
            check=options.pop("check", True),
            capture_output=True,
            text=True,
            timeout=60,
            **options,
        )

    def keytab(self, principal: str) -> Path:
        """The keys of a principal, its password still good."""
        path = self.folder / f"{principal.replace('/', '-')}.keytab"
        self.admin("ktadd", "-norandkey", "-k", str(path), principal)
        return path

    def cache(self, name: str, *options: str) -> Path:
        """A cache with a ticket of the user."""
        path = self.folder / name
        self.run("kinit", "-c", f"FILE:{path}", *options, USER, stdin=f"{PASSWORD}\n")
        return path

    @contextlib.contextmanager
    def serving(self, *before: str) -> Iterator[None]:
        """The KDC answers meanwhile; ``before`` goes before its command."""
        log = (self.folder / "kdc.log").open("ab")
        with (
            log,
            subprocess.Popen(
                [*before, "krb5kdc", "-n", "-r", REALM, "-P", str(self.folder / "pid")],
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            ) as process,
        ):
            try:
                wait_for("the KDC", self._answers, Deadline.after(30))
                yield
            finally:
                os.killpg(process.pid, signal.SIGTERM)  # faketime waits for the KDC as its child

    def _answers(self) -> bool | Pending:
        port = int(self.environment["KDC_PORT"])
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0 or Pending("no listener")


def make(folder: Path) -> Realm:
    """A realm with one user, of whom the KDC wants a proof before it answers, and one service."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    values = {"realm": REALM, "port": port, "folder": folder}
    (folder / "krb5.conf").write_text(_CLIENT.format(**values))
    (folder / "kdc.conf").write_text(_SERVER.format(**values))
    realm = Realm(
        folder,
        {
            **os.environ,
            "PATH": _path(),
            "LC_ALL": "C",
            "KRB5_CONFIG": str(folder / "krb5.conf"),
            "KRB5_KDC_PROFILE": str(folder / "kdc.conf"),
            "KDC_PORT": str(port),
        },
    )
    realm.run("kdb5_util", "create", "-s", "-r", REALM, "-P", "only for this test")
    realm.admin("addprinc", "+requires_preauth", "-pw", f'"{PASSWORD}"', USER)
    realm.admin("addprinc", "-randkey", SERVICE)
    return realm


def elsewhere(realm: Realm) -> dict[str, str]:
    """The environment of the same realm with its KDC on another port, where nobody listens yet."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    environment = dict(realm.environment, KDC_PORT=port)
    for variable in ("KRB5_CONFIG", "KRB5_KDC_PROFILE"):
        old = Path(realm.environment[variable])
        new = old.with_name(f"{port}-{old.name}")
        new.write_text(old.read_text().replace(realm.environment["KDC_PORT"], port))
        environment[variable] = str(new)
    return environment
