"""What benchmarks count round trips of."""

from __future__ import annotations

import contextlib
from unittest.mock import MagicMock

import pytest

from benchmarks import verbs
from harness.backends import protocol
from harness.backends.capabilities import Capability
from harness.backends.model import NetworkKind, NetworkSpec, NicSpec

OPTIONAL = {
    protocol.Pausable: None,
    protocol.Savable: None,
    protocol.Checkpointed: None,
    protocol.DiskPlug: None,
    protocol.LinkSwitch: None,
    protocol.Services: None,
    protocol.HostEvents: None,
    protocol.Screenshot: None,
    protocol.DiskNames: None,
    protocol.DiskResize: Capability.DISK_RESIZE,
    protocol.NicPlug: Capability.NIC_HOT_ADD,
    protocol.Exchange: Capability.EXCHANGE,
    protocol.NmiInjector: Capability.NMI,
    protocol.ShutdownRequest: Capability.SHUTDOWN,
    protocol.HostClock: Capability.HOST_CLOCK,
    protocol.ServiceSwitch: Capability.SERVICE_TOGGLE,
}
"""The verbs beyond those of every machine, and what a host must declare for each to be counted."""

LEFT_OUT = {
    protocol.FileCopy: "takes as many round trips as the file has pieces",
    protocol.FullDisk: "needs a small disk of the host that its lab made for it",
    protocol.HostLoad: "is asked beside tests that measure, and never by one",
    protocol.Quiescing: "takes as long as its guest needs to write what it holds",
    protocol.Ballooning: "is over when the guest was told, and its guest's work begins then",
}


def counted(able: set[Capability]) -> tuple[list[str], list[str]]:
    """The verbs that are counted on a host that can do this, and what was called of machine and host."""
    names: list[str] = []

    @contextlib.contextmanager
    def count(verb: str):
        names.append(verb)
        yield

    host, guest = MagicMock(), MagicMock()
    host.capabilities.return_value = able
    guest.identity.nics = (NicSpec("00:50:56:00:00:01", NetworkSpec("m", NetworkKind.NETWORK, "lan")),)
    verbs.run(host, guest, "who?", count)
    return names, [call[0] for call in (*guest.machine.method_calls, *host.method_calls)]


def of(kind: type) -> set[str]:
    """The verbs of a protocol."""
    return {name for name in vars(kind) if not name.startswith("_")}


def test_every_optional_verb_is_counted_once_and_called() -> None:
    names, called = counted(set(Capability))
    assert len(names) == len(set(names))
    known = {name for name, kind in vars(protocol).items() if getattr(kind, "_is_protocol", False)}
    core = {"Protocol", "Creation", "Ledger", "Console", "Machine", "Hypervisor"}
    assert {kind.__name__ for kind in (*OPTIONAL, *LEFT_OUT)} == known - core
    for kind in OPTIONAL:
        assert of(kind) <= set(names) & set(called)


@pytest.mark.parametrize("kind", [kind for kind, needed in OPTIONAL.items() if needed])
def test_what_a_host_does_not_declare_is_not_asked(kind: type) -> None:
    """A machine's class may have the verb all the same."""
    names, called = counted(set(Capability) - {OPTIONAL[kind]})
    assert not of(kind) & {*names, *called}
    assert {"start", "stop", "reset"} <= set(names)
