"""A guest: the Linux inside a machine, as a test sees it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, TypeVar

from harness.backends.model import Shape
from harness.backends.protocol import Hypervisor, Machine
from harness.core import Deadline, GuestError, InteropError
from harness.guest import panic, ready
from harness.guest.batch import Batch
from harness.guest.chrony import Chrony
from harness.guest.clock import Clock
from harness.guest.console import SerialConsole
from harness.guest.cpus import Cpus
from harness.guest.disks import Disks
from harness.guest.files import Files
from harness.guest.identity import Identity
from harness.guest.kernel import Kernel
from harness.guest.kvp import Kvp
from harness.guest.memory import Memory
from harness.guest.nics import Nics
from harness.guest.other_clocks import Ptp
from harness.guest.panic import Death
from harness.guest.probe import Probe
from harness.guest.ready import GuestPanic, NetworkDead
from harness.guest.result import Result
from harness.guest.services import Services
from harness.guest.ssh import CommandTimeout, ConnectionLost, Ssh, Stamp, Unreachable
from harness.guest.system import System
from harness.guest.vmbus import Vmbus
from harness.image.model import Image

T = TypeVar("T")

MINUTE = timedelta(minutes=1)

# How long a connection may take when the guest was up before: it is looked into sooner than a command would time out.
_CONNECT = timedelta(seconds=20)
_TRIVIAL = timedelta(seconds=10)
_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_SAID = 1000  # bytes of what should be one


class Guest:
    """The Linux inside a machine.

    Every command runs as root: directly, or by ``sudo -n`` where the image's account is another. A guest without a NIC
    is spoken to over its serial console; facts and commands work there as well, only slower.

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
        self.console = SerialConsole(identity.name, machine.console)
        self.death: Death | None = None  # what the console last showed of this boot's end
        self.files = Files(self)
        self.clock = Clock(self)
        # One small object per concern. They hold no facts, only this guest.
        self.cpus = Cpus(self)
        self.memory = Memory(self)
        self.nics = Nics(self)
        self.disks = Disks(self)
        self.kernel = Kernel(self)
        self.services = Services(self)
        self.system = System(self)
        self.ptp = Ptp(self)
        self.chrony = Chrony(self)
        self.vmbus = Vmbus(self)
        self.kvp = Kvp(self)

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
        return self._run(argv, Deadline.after(timeout), stdin, check=check)

    def shell(self, script: str, *, timeout: timedelta = MINUTE, stdin: bytes = b"", check: bool = True) -> Result:
        """Run a script by the guest's ``sh`` as root; otherwise as :meth:`run`. Never paste data into the script:
        hand it in by ``stdin``, or use :meth:`run`.
        """
        return self.run(["sh", "-c", script], timeout=timeout, stdin=stdin, check=check)

    def _run(self, argv: Sequence[str], deadline: Deadline, stdin: bytes, *, check: bool) -> Result:
        line = self._line(argv)
        if not self.identity.nics:
            left = timedelta(seconds=deadline.seconds)
            return self.console.run(argv, timeout=left, stdin=stdin, check=check)
        try:
            self.ssh.connect(deadline.sooner(_CONNECT))
            outcome = self.ssh.run(line, deadline, stdin=stdin, watch=self.check_console)
        except (ConnectionLost, Unreachable) as error:
            raise self.diagnose(error) from error
        except CommandTimeout as error:
            if self._answers():
                raise
            raise self.diagnose(error) from error
        result = Result(tuple(argv), outcome.status, outcome.stdout, outcome.stderr, outcome.cut)
        return result.checked(self.name) if check else result

    def converse(self, argv: Sequence[str], questions: int, deadline: Deadline) -> tuple[Stamp, ...]:
        """Start a command, write one empty line to it at a time and read one line back, with stamps around each.

        Raises:
            GuestError: as :meth:`run`, also when the command ends early.
            NetworkDead: as :meth:`run`.
        """
        try:
            self.ssh.connect(deadline.sooner(_CONNECT))
            return self.ssh.converse(self._line(argv), questions, deadline)
        except (ConnectionLost, Unreachable) as error:
            raise self.diagnose(error) from error

    def _answers(self) -> bool:
        """Whether a connection is good for a trivial command."""
        try:
            return self.ssh.run("true", Deadline.after(_TRIVIAL)).status == 0
        except GuestError:
            return False

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
        batch = Batch(probes)
        done = self.run(batch.argv, stdin=batch.script, timeout=timeout, check=False)
        parts = batch.results(done.stdout, done.stderr, self.name)
        return tuple(probe.value(part, self.name) for probe, part in zip(probes, parts, strict=True))

    # Connection.

    @property
    def boot_id(self) -> str:
        """The kernel's id of this boot, read now: a changed one proves a reboot, nothing else does."""
        return self._boot_id(self.run(["cat", _BOOT_ID]).stdout)

    def read_boot_id(self, deadline: Deadline) -> str:
        """As :attr:`boot_id`, but a lost connection is told as such and not looked into."""
        if not self.identity.nics:
            return self._boot_id(
                self.console.run(["cat", _BOOT_ID], timeout=timedelta(seconds=deadline.seconds)).stdout
            )
        return self._boot_id(self.ssh.run(f"cat {_BOOT_ID}", deadline, limit=_SAID).stdout)

    def _boot_id(self, said: bytes) -> str:
        """What a guest said, if it is an id: any other words would look like another boot each time."""
        text = said[:_SAID].decode("ascii", "backslashreplace").strip()
        if not re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text):
            raise GuestError(f"{self.name}: {text[:80]!r} is no boot id", operation="boot id")
        return text

    def wait_ready(self, deadline: Deadline) -> str:
        """Wait until the guest answers by ssh as itself, with an eye on its console; returns its boot id.

        Raises:
            GuestPanic: the console showed that it will never come.
            NotReady: it did not answer by the deadline, or its machine went off.
        """
        return ready.wait_ready(self, deadline)

    def wait_back(self, deadline: Deadline) -> str:
        """As :meth:`wait_ready`, for a guest that answered before its machine stood still, slept, or went back: one
        whose network did not outlive that is a finding.

        Raises:
            GuestPanic: the console showed that it will never come.
            GuestHung: it answers neither by network nor on its console.
            NetworkDead: it lives, and its network does not.
            NotReady: it answers, but did not by the deadline; or its machine went off.
        """
        return ready.wait_ready(self, deadline, was_up=True)

    def reboot_seen(self, old_boot_id: str, deadline: Deadline) -> str:
        """Wait until the guest is ready in another boot than ``old_boot_id``; returns the new boot id.

        Raises:
            GuestPanic: the console showed that it will never come.
            NotReady: it still was in the old boot at the deadline; otherwise as :meth:`wait_back`.
        """
        self.disconnect()
        return ready.wait_ready(self, deadline, not_boot=old_boot_id, was_up=True)

    def settle(self, deadline: Deadline) -> None:
        """Wait until the guest has finished booting and is idle. Raises :class:`NotReady`."""
        ready.settle(self, deadline)

    def diagnose(self, cause: GuestError) -> GuestError | NetworkDead:
        """Find out by the console what became of a guest whose ssh was lost.

        Returns:
            What to raise: :class:`GuestPanic`, :class:`GuestHung`, :class:`NetworkDead`, or ``cause`` itself when the
            guest answers again.
        """
        return ready.diagnose(self, cause)

    def check_console(self) -> None:
        """Raise :class:`GuestPanic` when the console has newly shown that the guest is lost.

        A host that cannot show the console now is no reason to fail: the console is evidence, not the way in.
        """
        try:
            output = self.console.news()
            death = panic.find(output)
            if death:
                self.console.mark()
        except InteropError:
            return
        if death:
            self.death = death
            raise GuestPanic(self.name, death)

    def mark_console(self) -> None:
        """The guest is well: what its console has shown so far is history."""
        self.death = None
        with suppress(InteropError):
            self.console.mark()

    def disconnect(self) -> None:
        """Let go of the ssh connection; the next command makes a new one."""
        self.ssh.disconnect()
