"""CIM: the few classes of the host and of ``root/virtualization/v2`` that cmdlets do not reach."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from harness.twins.engine import EngineError
from harness.twins.hyperv.emulated import pairs, performance, power
from harness.twins.hyperv.emulated.calls import Answer, Call, cmdlet
from harness.twins.hyperv.emulated.configuration import KVP, STATES
from harness.twins.hyperv.emulated.machines import Vm
from harness.twins.hyperv.emulated.objects import Thing
from harness.twins.hyperv.emulated.pictures import dimensions, rgb565
from harness.twins.hyperv.emulated.refusals import Refusal

_BUSY: Final = 32775  # "invalid state", of RequestStateChange and InitiateShutdown
_NOT_READY: Final = 32768
_PICTURE: Final = (1024, 768)
_WHERE: Final = re.compile(r"(\w+)\s*=\s*(?:'([^']*)'|\"([^\"]*)\"|(\S+))", re.IGNORECASE)


_QUERY: Final = re.compile(r"\s*select\s+.+?\s+from\s+(\w+)(?:\s+where\s+(.*))?", re.IGNORECASE | re.DOTALL)


@cmdlet("Get-CimInstance")
def get_cim_instance(call: Call) -> Answer:
    """Instances of a class."""
    if call.many("InputObject"):
        thing = call.many("InputObject")[0]
        if thing.key.startswith(pairs.JOBS):
            return [pairs.job(thing.key)]
        return [one for one in _instances(call, thing.kind.partition(":")[2]) if one.key == thing.key]
    name, where = str(call.get("ClassName") or ""), str(call.get("Filter") or "")
    if "Query" in call:
        match = _QUERY.fullmatch(str(call.get("Query")))
        if match is None:
            raise Refusal("HRESULT 0x80041017", "The query is not valid.", "InvalidArgument", -2147217385)
        name, where = match[1], match[2] or ""
    wanted = {key.lower(): a or b or c for key, a, b, c in _WHERE.findall(where)}
    return [
        one
        for one in _instances(call, name)
        if all(str(one.get(key)).lower() == value.lower() for key, value in wanted.items())
    ]


@cmdlet("Get-CimAssociatedInstance")
def get_cim_associated_instance(call: Call) -> Answer:
    """What belongs to a machine."""
    thing = call.many("InputObject")[0]
    wanted = str(call.get("ResultClassName") or "")
    vm = call.world.vm(thing.key)
    return _of(vm, wanted)


@cmdlet("New-CimInstance")
def new_cim_instance(call: Call) -> Answer:
    """An instance that is only here, as an argument of methods."""
    if not call.on("ClientOnly"):
        raise Refusal("HRESULT 0x80041024", "The provider cannot do that.", "NotImplemented", -2147217372)
    return [_thing(str(call.get("ClassName")), "", dict(call.get("Property") or {}))]


@cmdlet("Invoke-CimMethod")
def invoke_cim_method(call: Call) -> Answer:
    """A method of an instance."""
    name = str(call.get("MethodName"))
    thing = call.many("InputObject")[0] if call.many("InputObject") else _thing(str(call.get("ClassName")), "", {})
    method = _METHODS.get((thing.kind.partition(":")[2].lower(), name.lower()))
    if method is None:
        raise Refusal("HRESULT 0x8004102f", f"There is no method {name}.", "InvalidType", -2147217361)
    return [Thing("CimMethodResult", "", method(call, thing, dict(call.get("Arguments") or {})))]


def _instances(call: Call, name: str) -> list[Thing]:
    settings = call.world.settings
    build = settings.build
    fixed: dict[str, dict[str, Any]] = {
        "win32_operatingsystem": {
            "Caption": f"Microsoft Windows Server {settings.year} Standard",
            "Version": f"10.0.{build}",
            "BuildNumber": str(build),
            "LastBootUpTime": _BORN,
            "LocalDateTime": dt.datetime.now(dt.UTC),
            "FreePhysicalMemory": settings.memory // 1024,
            "TotalVisibleMemorySize": settings.memory // 1024,
            "CSName": settings.name,
            "ProductType": 3,
        },
        "win32_computersystem": {
            "Name": settings.name,
            "HypervisorPresent": True,
            "NumberOfLogicalProcessors": settings.cpus,
            "TotalPhysicalMemory": settings.memory,
            "PartOfDomain": False,
            "Manufacturer": "interop",
            "Model": "twin",
        },
        "win32_processor": {"Name": "twin", "NumberOfCores": settings.cpus, "NumberOfLogicalProcessors": settings.cpus},
        "msvm_virtualsystemmanagementservice": {"Name": "vmms", "ElementName": "Hyper-V Virtual Machine Management"},
    }
    lowered = name.lower()
    if lowered in fixed:
        return [_thing(name, "host", fixed[lowered])]
    if lowered == "msvm_computersystem":
        return [_thing(name, "host", {"Name": settings.name, "ElementName": settings.name, "EnabledState": 2})] + [
            _system(vm) for vm in call.world.all()
        ]
    if lowered in {performance.LOGICAL, performance.VIRTUAL}:
        counters = call.world.performance
        rows = counters.logical() if lowered == performance.LOGICAL else counters.virtual(call.world.all())
        return [_thing(name, f"counter/{row['Name']}", row) for row in rows]
    if lowered.startswith("msvm_"):
        return [one for vm in call.world.all() for one in _of(vm, lowered)]
    raise Refusal("HRESULT 0x80041010", f"Invalid class {name}", "MetadataError", -2147217392)


_COMPONENTS: Final = {
    "msvm_shutdowncomponent": ("Msvm_ShutdownComponent", "9F8233AC-BE49-4C79-8EE3-E7E1985B2077"),
    "msvm_heartbeatcomponent": ("Msvm_HeartbeatComponent", "84EAAE65-2F2E-45F5-9BB5-0E857DC8EB47"),
    "msvm_kvpexchangecomponent": ("Msvm_KvpExchangeComponent", KVP),
}


def _of(vm: Vm, wanted: str) -> list[Thing]:
    """What belongs to a machine: of one class, or, for an empty name, all."""
    found: list[Thing] = []
    lowered = wanted.lower()
    if lowered in {"", "msvm_computersystem"}:
        found.append(_system(vm))
    if lowered in {"", "msvm_virtualsystemsettingdata"}:  # of what it is now; those of its checkpoints are not shown
        realised = {"VirtualSystemIdentifier": _id(vm), "VirtualSystemType": "Microsoft:Hyper-V:System:Realized"}
        found.append(_thing("Msvm_VirtualSystemSettingData", vm.key, realised))
    if lowered in {"", "msvm_videohead"} and vm.on:
        width, height = _screen(vm)
        size = {"CurrentHorizontalResolution": width, "CurrentVerticalResolution": height}
        found.append(_thing("Msvm_VideoHead", vm.key, size))
    for key, (name, suffix) in _COMPONENTS.items():
        if lowered in {"", key} and vm.config.services[suffix]:
            status = [2] if vm.heartbeat() == "OkApplicationsUnknown" else [12]
            more = pairs.shown(vm) if suffix == KVP else {}
            shown = {"SystemName": _id(vm), "EnabledState": 2, "OperationalStatus": status, **more}
            found.append(_thing(name, vm.key, shown))
    return found


def _system(vm: Vm) -> Thing:
    return _thing(
        "Msvm_ComputerSystem",
        vm.key,
        {
            "Name": _id(vm),
            "ElementName": vm.name,
            "Caption": "Virtual Machine",
            "EnabledState": {"Off": 3, "Saved": 6, "Paused": 9}.get(vm.state, 2 if vm.state == "Running" else 10),
            "OnTimeInMilliseconds": int(vm.uptime() * 1000),
            "ProcessID": vm.machine.pid if vm.machine is not None else None,
        },
    )


def _shutdown(call: Call, thing: Thing, _arguments: Mapping[str, Any], *, reboot: bool = False) -> dict[str, Any]:
    try:
        power.ask_to_shut_down(call.world.vm(thing.key), call.planned, reboot=reboot)
    except Refusal:
        return {"ReturnValue": _NOT_READY}
    return {"ReturnValue": 0}


def _change_state(call: Call, thing: Thing, arguments: Mapping[str, Any]) -> dict[str, Any]:
    vm = call.world.vm(thing.key)
    wanted = int(arguments.get("RequestedState", 0))
    verbs = {2: power.start, 3: power.turn_off, 6: power.save, 9: power.suspend, 11: power.reset}
    if wanted not in verbs or STATES.get(vm.state) == wanted:
        return {"ReturnValue": _BUSY}
    with vm.lock:
        try:
            verbs[wanted](call.world, vm)
        except Refusal:
            return {"ReturnValue": _BUSY}
    return {"ReturnValue": 0}


def _thumbnail(call: Call, _thing: Thing, arguments: Mapping[str, Any]) -> dict[str, Any]:
    vm = _target(call, arguments)
    width, height = int(arguments.get("WidthPixels", 160)), int(arguments.get("HeightPixels", 120))
    if vm.state not in {"Running", "Paused"}:
        return {"ReturnValue": _BUSY, "ImageData": None}
    if vm.machine is None:
        return {"ReturnValue": 0, "ImageData": bytes(2 * width * height)}
    try:
        return {"ReturnValue": 0, "ImageData": rgb565(vm.machine.screenshot(), width, height)}
    except EngineError:
        return {"ReturnValue": _NOT_READY, "ImageData": None}


def _screen(vm: Vm) -> tuple[int, int]:
    """Width and height of what a monitor would show; of a machine without a guest, what Windows begins with."""
    if vm.machine is None:
        return _PICTURE
    with power.engine():
        return dimensions(vm.machine.screenshot())


def _nmi(call: Call, thing: Thing, _arguments: Mapping[str, Any]) -> dict[str, Any]:
    vm = call.world.vm(thing.key)
    if vm.state != "Running":
        return {"ReturnValue": _BUSY}
    if vm.machine is not None:
        vm.machine.nmi()
    return {"ReturnValue": 0}


_METHODS: Final[Mapping[tuple[str, str], Callable[..., dict[str, Any]]]] = {
    ("msvm_shutdowncomponent", "initiateshutdown"): _shutdown,
    ("msvm_shutdowncomponent", "initiatereboot"): partial(_shutdown, reboot=True),
    ("msvm_computersystem", "requeststatechange"): _change_state,
    ("msvm_computersystem", "injectnonmaskableinterrupt"): _nmi,
    ("msvm_virtualsystemmanagementservice", "getvirtualsystemthumbnailimage"): _thumbnail,
    **{
        ("msvm_virtualsystemmanagementservice", f"{change}kvpitems"): (
            lambda call, _, said, change=change: pairs.change(_target(call, said), said, change)
        )
        for change in ("add", "modify", "remove")
    },
}


def _target(call: Call, arguments: Mapping[str, Any]) -> Vm:
    target = arguments.get("TargetSystem")
    if not isinstance(target, Thing):
        raise Refusal("InvalidParameter", "TargetSystem is no machine.")
    return call.world.vm(target.key)


def _thing(name: str, key: str, properties: dict[str, Any]) -> Thing:
    return Thing(f"CimInstance:{name}", key or f"cim/{uuid.uuid4()}", properties)


def _id(vm: Vm) -> str:
    return str(vm.id).upper()


_BORN: Final = dt.datetime.now(dt.UTC)
