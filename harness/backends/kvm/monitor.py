"""QEMU's own monitor, through libvirt: for the few things libvirt has no call for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import libvirt_qemu

_HMP = libvirt_qemu.VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP


def qmp(domain: Any, command: str, arguments: Mapping[str, Any]) -> Any:
    """Run a QMP command and return what it returns; libvirt raises what it refuses."""
    answer = libvirt_qemu.qemuMonitorCommand(domain, json.dumps({"execute": command, "arguments": dict(arguments)}), 0)
    reply = json.loads(answer)
    if "error" in reply:
        raise MonitorError(command, str(reply["error"].get("desc", reply["error"])))
    return reply["return"]


def hmp(domain: Any, line: str) -> str:
    """Run a line of the human monitor and return what it prints; it says nothing when it is content."""
    printed: str = libvirt_qemu.qemuMonitorCommand(domain, line, _HMP)
    return printed.strip()


class MonitorError(Exception):
    """QEMU refused a monitor command."""

    def __init__(self, command: str, reason: str) -> None:
        super().__init__(f"{command}: {reason}")
        self.reason = reason
