"""The whole table of emulated cmdlets: importing it fills it."""

from __future__ import annotations

from harness.twins.hyperv.emulated import checkpoints, cim, drives, hosts, nics, parts, vhds, vms
from harness.twins.hyperv.emulated.calls import TABLE, run

MODULES = (checkpoints, cim, drives, hosts, nics, parts, vhds, vms)
"""Where the cmdlets are."""

__all__ = ["MODULES", "TABLE", "run"]
