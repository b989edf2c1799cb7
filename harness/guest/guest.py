"""A guest: the Linux inside a machine, as a test sees it."""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, TypeVar

from harness.backends.model import Shape
from harness.backends.protocol import Hypervisor, Machine
from harness.core import Deadline
from harness.guest import probe as probes_
from harness.guest.cpus import Cpus
from harness.guest.disks import Disks
from harness.guest.identity import Identity
from harness.guest.kernel import Kernel
from harness.guest.memory import Memory
from harness.guest.nics import Nics
from harness.guest.probe import Probe
from harness.guest.result import Result
from harness.guest.services import Services
from harness.guest.ssh import OUTPUT_LIMIT, Ssh
from harness.guest.system import System
from harness.image.model import Image

T = TypeVar("T")

MINUTE = timedelta(minutes=1)


class Guest:
    """The Linux inside a machine.

    Every command runs as root: directly, or by ``sudo -n`` where the image's account is another.

    Args:
        machine: the machine it runs in.
        hypervisor: the host of that machine.
        image: what it was booted from.
        identity: what its seed gave it.
    """

    def __init__(self, machine: Machine, hypervisor: Hypervisor, image: Image, identity: Identity) -> None:
        self.machine = machine
        self.hypervisor = hypervisor
        self.image = image
        self.identity = identity
        self.ssh = Ssh(identity.name, machine.endpoint, identity.login)
        # One small object per concern. They hold no facts, only this guest.
        self.cpus = Cpus(self)
        self.memory = Memory(self)
        self.nics = Nics(self)
        self.disks = Disks(self)
        self.kernel = Kernel(self)
        self.services = Services(self)
        self.system = System(self)

    def __repr__(self) -> str:
        return f"<Guest {self.name} on {self.hypervisor.name}>"

    @property
    def name(self) -> str:
        """The guest's name."""
        return self.identity.name

    @property
    def shape(self) -> Shape:
        """What was asked of the hypervisor."""
        return self.machine.spec.shape

    # Commands.

    def run(
        self, argv: Sequence[str], *, timeout: timedelta = MINUTE, stdin: bytes = b"", check: bool = True
    ) -> Result:
        """Run a command as root and wait for its end.

        Args:
            argv: the command and its arguments; no shell reads them.
            timeout: how long it may take.
            stdin: what it reads before end of file.
            check: whether a status other than 0 is an error.

        Raises:
            CommandFailed: with ``check``, the status is not 0.
            CommandTimeout: it did not end in time.
            GuestError: the guest panicked, hung, or was lost.
            NetworkDead: the guest lives, by its console, but its network does not.
        """
        return self._run(argv, Deadline.after(timeout), stdin, OUTPUT_LIMIT, check=check)

    def shell(self, script: str, *, timeout: timedelta = MINUTE, stdin: bytes = b"", check: bool = True) -> Result:
        """Run a script by the guest's ``sh`` as root; otherwise as :meth:`run`. Never paste data into the script:
        hand it in by ``stdin``, or use :meth:`run`.
        """
        return self.run(["sh", "-c", script], timeout=timeout, stdin=stdin, check=check)

    def _run(self, argv: Sequence[str], deadline: Deadline, stdin: bytes, limit: int, *, check: bool) -> Result:
        outcome = self.ssh.run(self._line(argv), deadline, stdin=stdin, limit=limit)
        result = Result(tuple(argv), outcome.status, outcome.stdout, outcome.stderr, outcome.cut)
        return result.checked(self.name) if check else result

    def _line(self, argv: Sequence[str]) -> str:
        """The one string that ssh can carry (RFC 4254, 6.5), quoted for the login shell that will read it.

        Raises:
            ValueError: there is no command, or a NUL, which no argument can hold.
        """
        if not argv or any("\0" in word for word in argv):
            raise ValueError(f"not a command line: {list(argv)!r}")
        # Output is parsed, so its language is fixed; sudo resets the environment, hence `env` behind it.
        if self.identity.login.user != "root":
            return shlex.join(["exec", "sudo", "-n", "--", "env", "LC_ALL=C.UTF-8", *argv])
        return f"export LC_ALL=C.UTF-8; exec {shlex.join(argv)}"

    # Facts.

    def read(self, probe: Probe[T], *, timeout: timedelta = MINUTE) -> T:
        """Read one fact now. Raises :class:`ProbeFailed` when it cannot be read or parsed."""
        return probe.value(self.run(probe.argv, timeout=timeout, check=False), self.name)

    def read_all(self, *probes: Probe[Any], timeout: timedelta = MINUTE) -> tuple[Any, ...]:
        """Read many facts now, with one remote command; in the order asked.

        Raises:
            ProbeFailed: one of them cannot be read or parsed; names it.
        """
        token = secrets.token_hex(16)
        done = self.run(["sh", "-s"], stdin=probes_.script(probes, token), timeout=timeout, check=False)
        parts = probes_.results(probes, token, done.stdout, done.stderr, self.name)
        return tuple(probe.value(part, self.name) for probe, part in zip(probes, parts, strict=True))

    # Connection.

    def disconnect(self) -> None:
        """Let go of the ssh connection; the next command makes a new one."""
        self.ssh.disconnect()
