"""How busy a libvirt host's processors are, and how much of that is by domains of ours: counters, by libvirt alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import libvirt

from harness.backends.kvm.xml import owner_of, parse
from harness.backends.model import Ownership
from harness.backends.views import ProcessorTimes

_NANO = 1e9
_IDLE = ("idle", "iowait")


class Meter:
    """Reads counters; remembers which domains are ours, so that a reading costs two calls and no XML.

    Args:
        ours: whether a mark is one of the lab's.
    """

    def __init__(self, ours: Callable[[Ownership], bool]) -> None:
        self._ours = ours
        self._known: dict[str, bool] = {}

    def read(self, connection: Any) -> ProcessorTimes:
        """One reading of this connection's host (virNodeGetCPUStats, virConnectGetAllDomainStats).

        A domain's time is that of its whole QEMU, threads for I/O included. Work that the kernel does for it on its own
        account (interrupts, vhost without control groups) is nobody's, and counts as foreign.
        """
        told = connection.getCPUStats(libvirt.VIR_NODE_CPU_STATS_ALL_CPUS, 0)
        at = time.monotonic()
        domains = connection.getAllDomainStats(
            libvirt.VIR_DOMAIN_STATS_CPU_TOTAL, libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_RUNNING
        )
        ours = {
            f"{domain.UUIDString()}/{domain.ID()}": int(values["cpu.time"]) / _NANO  # a new start has a new id
            for domain, values in domains
            if "cpu.time" in values and self._is_ours(domain)
        }
        # "utilization" is there instead of times on hosts that keep none: those never run QEMU.
        busy = sum(value for key, value in told.items() if key not in (*_IDLE, "utilization")) / _NANO
        return ProcessorTimes(at, connection.getInfo()[2], busy, ours)

    def _is_ours(self, domain: Any) -> bool:
        uuid = domain.UUIDString()
        if uuid not in self._known:
            try:
                owner = owner_of(parse(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)))
            except libvirt.libvirtError as error:
                if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:  # it went between the two calls
                    return False
                raise
            self._known[uuid] = owner is not None and self._ours(owner)
        return self._known[uuid]
