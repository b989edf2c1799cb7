"""Where the controller reaches a guest: what the lab reserved for it, whatever the guest or its services say."""

from __future__ import annotations

from ipaddress import ip_interface

from harness.backends.model import Endpoint, MachineSpec
from harness.core import LabError


def reserved(spec: MachineSpec, host: str) -> Endpoint:
    """The forward or the static address of the first NIC that has one.

    Args:
        spec: the machine's.
        host: the lab's name of its host, for the error.

    Raises:
        LabError: no NIC has an address known beforehand.
    """
    for nic in spec.nics:
        if nic.forward:
            return nic.forward
        if nic.address:
            return Endpoint(str(ip_interface(nic.address).ip))
    raise LabError(
        f"{spec.name} has no NIC with an address known beforehand",
        host=host,
        operation="endpoint",
        hint="use its console",
    )
