"""A PostgreSQL server of the tests' own, from Debian's packages: in a folder of its own, without rights."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from harness.core import Deadline, Pending, wait_for

_QUICK = ("fsync=off", "full_page_writes=off", "max_connections=60")  # its process may die, its machine may not


def programs() -> Path:
    """The newest server that Debian's packages brought; they leave it out of PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    if not found:
        pytest.skip("no PostgreSQL server: `make test-packages` installs Debian's")
    return found[-1].parent


@dataclass
class Server:
    """One that runs, on a socket of its own."""

    folder: Path
    process: subprocess.Popen[bytes] | None = None
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def start(self) -> None:
        """Up and answering when this returns; dead with this process, however it dies."""
        argv = [programs() / "postgres", "-D", self.folder / "data", "-k", self.folder, "-c", "listen_addresses="]
        for setting in _QUICK:
            argv += ["-c", setting]
        rights = ["--reuid", _name(), "--regid", _name(), "--clear-groups"] if os.getuid() == 0 else []
        leash = ["setpriv", *rights, "--pdeathsig", "KILL"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([*leash, *map(str, argv)], stdout=log, stderr=log)
        ready = ["pg_isready", "-q", "-h", str(self.folder), "-t", "30"]

        def answers() -> bool | Pending:
            done = subprocess.run([programs() / ready[0], *ready[1:]], check=False)
            return done.returncode == 0 or Pending((self.folder / "log").read_text()[-2000:])

        wait_for("PostgreSQL", answers, Deadline.after(60), every=0.05)

    def stop(self) -> None:
        """At once, without a checkpoint: as a machine that loses its power."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(60)

    def database(self) -> str:
        """The URL of a new, empty one."""
        name = f"test{next(self.numbers)}"
        self.sql(f"CREATE DATABASE {name}")
        return f"postgresql://{_name()}@/{name}?host={self.folder}"

    def sql(self, text: str, database: str = "postgres") -> str:
        """What a statement prints."""
        argv = [programs() / "psql", "-h", self.folder, "-U", _name(), "-d", database, "-XAtqc", text]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    def dump(self) -> bytes:
        """All that its databases hold, as SQL."""
        argv = [programs() / "pg_dumpall", "-h", self.folder, "-U", _name()]
        return subprocess.run(argv, check=True, capture_output=True).stdout


@contextmanager
def server() -> Iterator[Server]:
    """A new one; gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="interop-pg-", dir="/tmp"))
    try:
        if os.getuid() == 0:
            shutil.chown(folder, _name())
        account = ["-U", _name(), "-A", "trust", "-N", "-E", "UTF8", "--locale=C"]
        subprocess.run(
            [programs() / "initdb", "-D", folder / "data", *account], check=True, capture_output=True, **_account()
        )
        one = Server(folder)
        one.start()
        try:
            yield one
        finally:
            one.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _name() -> str:
    """Who runs it: PostgreSQL refuses root."""
    return "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name


def _account() -> dict[str, object]:
    if os.getuid():
        return {}
    entry = pwd.getpwnam("postgres")
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": [], "cwd": "/"}
