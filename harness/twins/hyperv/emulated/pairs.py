"""Key-value pairs of a host: what it tells its guest, what the guest told it, and the methods that change the first."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Mapping
from typing import Any, Final
from xml.sax.saxutils import escape

from lxml import etree

from harness.twins.engine import EngineError
from harness.twins.hyperv.emulated.configuration import KVP
from harness.twins.hyperv.emulated.machines import Vm
from harness.twins.hyperv.emulated.objects import Thing

JOBS: Final = "cim/job/"
"""How the keys of jobs begin."""
_POOL: Final = "/var/lib/hyperv/.kvp_pool_0"
_KEY_BYTES: Final = 512
_VALUE_BYTES: Final = 2048  # both with a NUL, in UTF-16 on the bus and in UTF-8 in the guest's files
_MOST_PAIRS: Final = 128
_JOB: Final = 4096
_NOT_READY: Final = 32768
_WRONG: Final = 32773  # invalid parameter
_COMPLETED, _EXCEPTION = 7, 10  # JobState of CIM_ConcreteJob


def shown(vm: Vm) -> dict[str, Any]:
    """What ``Msvm_KvpExchangeComponent`` says that both sides told."""
    tools = vm.machine.tools() if vm.machine is not None and vm.state == "Running" else None
    said: dict[str, str] = {}
    if tools is not None and tools.running:
        addresses = [one for found in tools.addresses.values() for one in found]
        said = {
            "FullyQualifiedDomainName": tools.hostname,
            "OSName": tools.os_name,
            "OSVersion": tools.kernel,
            "IntegrationServicesVersion": "3.1",
            "NetworkAddressIPv4": ";".join(one for one in addresses if ":" not in one),
            "NetworkAddressIPv6": ";".join(one for one in addresses if ":" in one),
        }
    own = dict(tools.guestinfo) if tools is not None else {}
    return {
        "GuestIntrinsicExchangeItems": [_item(key, value, 2) for key, value in said.items()],
        "GuestExchangeItems": [_item(key, value, 1) for key, value in own.items()],
        "HostExchangeItems": [_item(key, value, 0) for key, value in vm.config.kvp.items()],
    }


def _item(name: str, data: str, source: int) -> str:
    parts = "".join(
        f'<PROPERTY NAME="{key}" TYPE="{kind}"><VALUE>{escape(str(value))}</VALUE></PROPERTY>'
        for key, kind, value in (("Data", "string", data), ("Name", "string", name), ("Source", "uint16", source))
    )
    return f'<INSTANCE CLASSNAME="Msvm_KvpExchangeDataItem">{parts}</INSTANCE>'


def change(vm: Vm, arguments: Mapping[str, Any], how: str) -> dict[str, Any]:
    """Add, modify or remove pairs: all of them or none, by a job that has ended when it is asked about.

    Args:
        vm: whose.
        arguments: of the method.
        how: ``add``, ``modify`` or ``remove``.
    """
    items = arguments.get("DataItems") or []
    pairs: dict[str, str] = {}
    for item in items if isinstance(items, list) else [items]:
        root = etree.fromstring(str(item).encode(), etree.XMLParser(resolve_entities=False, no_network=True))
        values = {str(node.get("NAME")): node.findtext(".//VALUE") or "" for node in root.iter("PROPERTY")}
        pairs[values.get("Name", "")] = values.get("Data", "")
    if not vm.config.services[KVP]:
        return {"ReturnValue": _NOT_READY, "Job": None}
    fits = all(_units(key) < _KEY_BYTES and _units(value) < _VALUE_BYTES for key, value in pairs.items())
    there = [name in vm.config.kvp for name in pairs]
    wrong = not fits or "" in pairs or not 0 < len(pairs) <= _MOST_PAIRS
    if wrong or (any(there) if how == "add" else not all(there)):
        return _ended(_WRONG)
    if how == "remove":
        for name in pairs:
            del vm.config.kvp[name]
    else:
        vm.config.kvp.update(pairs)
    _tell(vm)
    return _ended(0)


def _units(text: str) -> int:
    """How many bytes a text has on the bus, without its NUL."""
    return len(text.encode("utf-16-le"))


def _ended(error: int) -> dict[str, Any]:
    """What a method answers whose work is a job's."""
    return {"ReturnValue": _JOB, "Job": job(f"{JOBS}{error}/{uuid.uuid4()}")}


def job(key: str) -> Thing:
    """A job of this key, which says how it ended."""
    error = int(key.removeprefix(JOBS).partition("/")[0])
    state = _EXCEPTION if error else _COMPLETED
    return Thing("CimInstance:Msvm_ConcreteJob", key, {"InstanceID": key, "JobState": state, "ErrorCode": error})


def _tell(vm: Vm) -> None:
    """As ``hv_kvp_daemon`` keeps what a host sets: records of fixed size in the file of pool 0 (tools/hv in Linux)."""
    if vm.machine is None or vm.state != "Running":
        return
    records = [
        key.encode()[: _KEY_BYTES - 1].ljust(_KEY_BYTES, b"\0")
        + value.encode()[: _VALUE_BYTES - 1].ljust(_VALUE_BYTES, b"\0")
        for key, value in vm.config.kvp.items()
    ]
    with contextlib.suppress(EngineError):  # a guest without the daemon is told nothing, and its host does not mind
        vm.machine.guest_keep(_POOL, b"".join(records))
