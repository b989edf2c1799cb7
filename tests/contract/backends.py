"""Which backends the contract is run on, and the little about each that no protocol says.

A backend joins by one entry of :data:`BACKENDS`. Whatever its entry leaves out is skipped with that reason.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.backends import protocol
from tests.contract import hyperv, kvm, vsphere

if TYPE_CHECKING:
    from harness.guest import Guest
    from tests.contract.site import Site


@dataclass(frozen=True, slots=True)
class Column:
    """One backend.

    Args:
        lab: the lab that has a host of it when the command line names none.
        host: that host.
        service: the systemd unit of the integration service that answers the host.
        twin_service: the unit that answers a twin in its place.
        lacks: verbs that no machine of this backend has, by their protocol: cells of tables about them, and about the
            states that they lead to, are left out; a test holds machines to it.
        question: what EXCHANGE is asked.
        answered: whether an answer to it names this guest.
        foreign: makes a machine without our mark on the host, by other means than ours; yields its id, removes it.
        present: whether that machine still is there.
        processes: on this controller, the processes that run a machine; None where they run elsewhere.
    """

    lab: str
    host: str
    service: str
    question: str
    answered: Callable[[str, Guest], bool]
    foreign: Callable[[Site], AbstractContextManager[str]] | None = None
    present: Callable[[Site, str], bool] | None = None
    processes: Callable[[Site, str], list[int]] | None = None
    twin_service: str | None = None
    lacks: tuple[type, ...] = ()


BACKENDS = {
    "kvm": Column(
        lab="local",
        host="kvm",
        service="qemu-guest-agent.service",
        question="guest-get-host-name",
        answered=lambda answer, guest: guest.name in answer,
        foreign=kvm.foreign,
        present=kvm.present,
        processes=kvm.processes,
    ),
    "vsphere": Column(
        lab="vsphere-twin",
        host="vsphere",
        service="open-vm-tools.service",
        twin_service="qemu-guest-agent-serial.service",
        question="guestinfo.hostname",
        answered=lambda answer, guest: guest.name in answer,
        foreign=vsphere.foreign,
        present=vsphere.present,
        processes=vsphere.processes,
        lacks=(protocol.Pausable, protocol.Ballooning),
    ),
    "hyperv": Column(
        lab="hyperv-twin",
        host="hyperv",
        service="hv-kvp-daemon.service",
        twin_service="qemu-guest-agent-serial.service",
        question="FullyQualifiedDomainName",
        answered=lambda answer, guest: guest.name in answer,
        foreign=hyperv.foreign,
        present=hyperv.present,
        processes=hyperv.processes,
        lacks=(protocol.Ballooning,),
    ),
}
