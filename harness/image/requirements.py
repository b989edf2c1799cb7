"""What a guest image must hold to be of use on each hypervisor, as data that ``interop image check`` goes through."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

ALL = "all"
RELEASE = "{release}"
"""Stands in a question for the running kernel's release."""


class Kind(StrEnum):
    """What is lacking when the answer is no."""

    RIGHT = "right"
    DRIVER = "driver"
    INITRAMFS = "initramfs"
    DAEMON = "daemon"
    TOOL = "tool"


@dataclass(frozen=True, slots=True)
class Question:
    """A command put to the guest, without a shell. Yes is status 0, and ``wanted`` in its output."""

    argv: tuple[str, ...]
    wanted: str = ""

    def asks(self, release: str) -> tuple[str, ...]:
        """The command for a guest that runs this kernel release."""
        return tuple(word.replace(RELEASE, release) for word in self.argv)

    def answered(self, status: int, output: str) -> bool:
        """Whether the command's outcome means yes."""
        return status == 0 and self.wanted in output


@dataclass(frozen=True, slots=True)
class Requirement:
    """One thing an image should have.

    Args:
        hypervisor: ``kvm``, ``hyperv``, ``vsphere``, or :data:`ALL`.
        kind: what sort of thing.
        name: the thing.
        why: what does not work without it.
        questions: it is there when one of them is answered by yes: distributions differ.
        essential: without it the harness cannot use the image there; else checks will fail or be skipped.
    """

    hypervisor: str
    kind: Kind
    name: str
    why: str
    questions: tuple[Question, ...]
    essential: bool = False


def _driver(hypervisor: str, module: str, why: str, *, essential: bool = False) -> Requirement:
    return Requirement(hypervisor, Kind.DRIVER, module, why, (Question(("modinfo", "-n", module)),), essential)


def _initramfs(hypervisor: str, module: str) -> Requirement:
    questions = (
        Question(("modinfo", "-n", module), "(builtin)"),
        Question(("lsinitramfs", f"/boot/initrd.img-{RELEASE}"), f"/{module}.ko"),  # Debian, Ubuntu
        Question(("lsinitrd", f"/boot/initramfs-{RELEASE}.img"), f"/{module}.ko"),  # Fedora, RHEL
        Question(("lsinitrd", f"/boot/initrd-{RELEASE}"), f"/{module}.ko"),  # SUSE
    )
    return Requirement(hypervisor, Kind.INITRAMFS, module, "the root disk is not found", questions, essential=True)


def _daemon(hypervisor: str, name: str, why: str, *programs: str) -> Requirement:
    return Requirement(hypervisor, Kind.DAEMON, name, why, _installed(*programs))


def _installed(*programs: str) -> tuple[Question, ...]:
    folders = ("/usr/sbin", "/usr/bin", "/sbin", "/bin")
    return tuple(Question(("test", "-x", f"{folder}/{program}")) for program in programs for folder in folders)


def _tool(name: str, why: str) -> Requirement:
    return Requirement(ALL, Kind.TOOL, name, why, _installed(name))


REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement(
        ALL,
        Kind.RIGHT,
        "root",
        "no check can read or change what is root's",
        (Question(("test", "-O", "/proc/1")),),
        essential=True,
    ),
    Requirement(
        ALL,
        Kind.RIGHT,
        "serial console",
        "a guest whose network is dead cannot be asked what happened",
        (Question(("grep", "-w", "ttyS0", "/sys/class/tty/console/active")),),
    ),
    _driver("kvm", "virtio_blk", "the root disk is not found", essential=True),
    _driver("kvm", "virtio_net", "the guest cannot be reached", essential=True),
    _driver("kvm", "virtio_scsi", "disks on a virtio SCSI controller are not found"),
    _driver("kvm", "virtio_console", "the guest agent has no channel"),
    _driver("kvm", "virtio_balloon", "memory cannot be taken back"),
    _driver("kvm", "ahci", "the seed on a SATA CD is not found"),
    _initramfs("kvm", "virtio_blk"),
    _daemon("kvm", "qemu-guest-agent", "no agent shutdown, freeze or exchange", "qemu-ga"),
    _driver("hyperv", "hv_vmbus", "no synthetic device is found", essential=True),
    _driver("hyperv", "hv_storvsc", "the root disk is not found", essential=True),
    _driver("hyperv", "hv_netvsc", "the guest cannot be reached", essential=True),
    _driver("hyperv", "hv_utils", "no heartbeat, time, shutdown, exchange"),
    _driver("hyperv", "hv_balloon", "no dynamic memory"),
    _driver("hyperv", "ata_piix", "the seed of a generation-1 machine is not found"),
    _initramfs("hyperv", "hv_vmbus"),
    _initramfs("hyperv", "hv_storvsc"),
    _daemon("hyperv", "hv_kvp_daemon", "no exchange of values", "hv_kvp_daemon", "hypervkvpd"),
    _daemon("hyperv", "hv_vss_daemon", "no quiesced checkpoint", "hv_vss_daemon", "hypervvssd"),
    _daemon("hyperv", "hv_fcopy_daemon", "no file copy", "hv_fcopy_daemon", "hv_fcopy_uio_daemon", "hypervfcopyd"),
    _driver("vsphere", "vmw_pvscsi", "the root disk is not found", essential=True),
    _driver("vsphere", "vmxnet3", "the guest cannot be reached", essential=True),
    _driver("vsphere", "vmw_balloon", "memory cannot be taken back"),
    _driver("vsphere", "vmw_vmci", "no channel to the host"),
    _initramfs("vsphere", "vmw_pvscsi"),
    _daemon("vsphere", "vmtoolsd", "no tools status, shutdown or guest info", "vmtoolsd"),
    _tool("ethtool", "network checks"),
    _tool("chronyd", "clock checks with a time service"),
    _tool("stress-ng", "checks under load"),
    _tool("iperf3", "network measurements"),
    _tool("fio", "disk load"),
    _tool("cyclictest", "timer measurements"),
    _tool("python3", "clock and counter probes"),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """A requirement, and whether the guest meets it."""

    requirement: Requirement
    met: bool


def judge(answers: dict[tuple[str, ...], tuple[int, str]], release: str) -> list[Finding]:
    """Which requirements are met, from the outcome (status, output) of every question's command."""

    def met(requirement: Requirement) -> bool:
        return any(question.answered(*answers[question.asks(release)]) for question in requirement.questions)

    return [Finding(requirement, met(requirement)) for requirement in REQUIREMENTS]


def commands(release: str, requirements: Iterable[Requirement] = REQUIREMENTS) -> list[tuple[str, ...]]:
    """Every command that has to be put to the guest, each once."""
    return list(dict.fromkeys(question.asks(release) for one in requirements for question in one.questions))
