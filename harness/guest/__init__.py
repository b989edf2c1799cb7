"""Everything that is said to the Linux inside a machine: commands, facts, files, its clock, its serial console."""

from harness.guest.clock import Offset, Sample
from harness.guest.console import ConsoleSilent, SerialConsole
from harness.guest.guest import Guest
from harness.guest.identity import Identity
from harness.guest.probe import Probe, ProbeFailed
from harness.guest.ready import GuestHung, GuestPanic, NetworkDead, NotReady
from harness.guest.result import CommandFailed, Result
from harness.guest.ssh import CommandTimeout, ConnectionLost, HostKeyMismatch, Jump, Login, Unreachable

__all__ = [
    "CommandFailed",
    "CommandTimeout",
    "ConnectionLost",
    "ConsoleSilent",
    "Guest",
    "GuestHung",
    "GuestPanic",
    "HostKeyMismatch",
    "Identity",
    "Jump",
    "Login",
    "NetworkDead",
    "NotReady",
    "Offset",
    "Probe",
    "ProbeFailed",
    "Result",
    "Sample",
    "SerialConsole",
    "Unreachable",
]
