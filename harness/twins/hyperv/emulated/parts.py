"""Processors, memory, firmware, COM ports, integration services: what one sets machine by machine."""

from __future__ import annotations

from harness.twins.hyperv.emulated import timesync
from harness.twins.hyperv.emulated.calls import Answer, Call, cmdlet, like
from harness.twins.hyperv.emulated.configuration import SERVICES
from harness.twins.hyperv.emulated.machines import Vm
from harness.twins.hyperv.emulated.objects import Choice, Thing
from harness.twins.hyperv.emulated.refusals import Refusal, wrong_state
from harness.twins.hyperv.emulated.vms import processors, resize


@cmdlet("Get-VMProcessor")
def get_processor(call: Call) -> Answer:
    """How many, and how."""
    return [_processor(vm) for vm in call.machines()]


_COLD = {"Count", "MaximumCountPerNumaNode", "ExposeVirtualizationExtensions"}


@cmdlet("Set-VMProcessor")
def set_processor(call: Call) -> Answer:
    """Other processors, while the machine is off: there is no hot add."""
    machines = _owners(call, "VMProcessor")
    for vm in machines:
        with vm.lock:
            if vm.state != "Off" and _COLD & call.arguments.keys():
                raise wrong_state("Modifying the processor of", vm.name, vm.id)
            if "Count" in call:
                vm.config.vcpus = processors(call, int(call.get("Count")))
            if "MaximumCountPerNumaNode" in call:
                vm.config.vcpus_per_node = processors(call, int(call.get("MaximumCountPerNumaNode")))
            if "ExposeVirtualizationExtensions" in call:
                vm.config.nested = bool(call.get("ExposeVirtualizationExtensions"))
    return call.passed(_processor(vm) for vm in machines)


@cmdlet("Get-VMMemory")
def get_memory(call: Call) -> Answer:
    """How much, and how."""
    return [_memory(vm) for vm in call.machines()]


@cmdlet("Set-VMMemory")
def set_memory(call: Call) -> Answer:
    """Other memory: more of it at once, where it is static."""
    machines = _owners(call, "VMMemory")
    for vm in machines:
        with vm.lock:
            if vm.state != "Off" and ("DynamicMemoryEnabled" in call or vm.config.dynamic):
                raise wrong_state("Modifying the memory of", vm.name, vm.id)
            if "DynamicMemoryEnabled" in call:
                vm.config.dynamic = bool(call.get("DynamicMemoryEnabled"))
            if "MinimumBytes" in call:
                vm.config.memory_minimum = int(call.get("MinimumBytes"))
            if "MaximumBytes" in call:
                vm.config.memory_maximum = int(call.get("MaximumBytes"))
            if "StartupBytes" in call:
                resize(call, vm, int(call.get("StartupBytes")))
    return call.passed(_memory(vm) for vm in machines)


@cmdlet("Get-VMFirmware")
def get_firmware(call: Call) -> Answer:
    """UEFI of generation 2."""
    return [_firmware(_second(vm)) for vm in call.machines()]


@cmdlet("Set-VMFirmware")
def set_firmware(call: Call) -> Answer:
    """Secure boot (while the machine is off) and the order of boot."""
    machines = _owners(call, "VMFirmware")
    for vm in machines:
        _second(vm)
        with vm.lock:
            if "EnableSecureBoot" in call:
                if vm.state != "Off":
                    raise wrong_state("Modifying the firmware of", vm.name, vm.id)
                vm.config.secure_boot = str(call.get("EnableSecureBoot")).lower() == "on"
            if "SecureBootTemplate" in call:
                vm.config.secure_boot_template = str(call.get("SecureBootTemplate"))
            if "ConsoleMode" in call:
                vm.config.console_mode = str(call.get("ConsoleMode"))
            order = [thing.key.rpartition("/")[2] for thing in (*call.many("FirstBootDevice"), *call.many("BootOrder"))]
            if "BootOrder" in call:
                vm.config.boot_order = order
            elif order:
                vm.config.boot_order = order + [each for each in vm.config.boot_order if each not in order]
    return call.passed(_firmware(vm) for vm in machines)


@cmdlet("Get-VMBios")
def get_bios(call: Call) -> Answer:
    """BIOS of generation 1."""
    return [_bios(_first(vm)) for vm in call.machines()]


@cmdlet("Set-VMBios")
def set_bios(call: Call) -> Answer:
    """The order of boot: by kind of device, of which the twin boots the hard disk."""
    machines = _owners(call, "VMBios")
    for vm in machines:
        _first(vm)
    return call.passed(_bios(vm) for vm in machines)


@cmdlet("Get-VMComPort")
def get_com_port(call: Call) -> Answer:
    """The COM ports."""
    wanted = call.get("Number")
    return [vm.com_thing(at) for vm in call.machines() for at in (1, 2) if wanted is None or at == int(wanted)]


@cmdlet("Set-VMComPort")
def set_com_port(call: Call) -> Answer:
    """The named pipe that a COM port is."""
    ports: list[tuple[Vm, int]]
    if "VMComPort" in call:
        ports = [(call.world.vm(each.key), int(each.key.rpartition("/")[2])) for each in call.many("VMComPort")]
    else:
        ports = [(vm, int(call.get("Number"))) for vm in call.machines()]
    for vm, number in ports:
        if number not in {1, 2}:
            raise Refusal("InvalidParameter", f"'{vm.name}' has no COM port {number}.")
        path = str(call.get("Path") or "")
        if path and not path.startswith("\\\\"):
            raise Refusal("InvalidParameter", f"'{path}' is no path of a named pipe.")
        with vm.lock:
            if vm.state == "Saved":
                raise wrong_state("Modifying a COM port of", vm.name, vm.id)
            vm.config.com[number] = path
            call.world.pipes.changed(vm)
    return call.passed(vm.com_thing(number) for vm, number in ports)


@cmdlet("Get-VMIntegrationService")
def get_integration_service(call: Call) -> Answer:
    """The integration services."""
    patterns = [str(name) for name in call.many("Name")] or ["*"]
    machines = Call(call.world, call.name, {k: v for k, v in call.arguments.items() if k != "Name"}).machines()
    return [
        vm.service_thing(suffix)
        for vm in machines
        for suffix, name in SERVICES.items()
        if any(like(name, pattern) for pattern in patterns)
    ]


@cmdlet("Enable-VMIntegrationService")
def enable_integration_service(call: Call) -> Answer:
    """Let the guest have them."""
    return _switch(call, on=True)


@cmdlet("Disable-VMIntegrationService")
def disable_integration_service(call: Call) -> Answer:
    """Keep them from the guest."""
    return _switch(call, on=False)


def _switch(call: Call, *, on: bool) -> Answer:
    if "VMIntegrationService" in call:
        found = [(call.world.vm(each.key), each.key.rpartition("/")[2]) for each in call.many("VMIntegrationService")]
    else:
        patterns = [str(name) for name in call.many("Name")]
        machines = Call(call.world, call.name, {k: v for k, v in call.arguments.items() if k != "Name"}).machines()
        found = [
            (vm, suffix)
            for vm in machines
            for suffix, name in SERVICES.items()
            if any(like(name, pattern) for pattern in patterns)
        ]
        if not found:
            raise Refusal("ObjectNotFound", f"There is no integration service {', '.join(patterns)}.")
    for vm, suffix in found:
        was, vm.config.services[suffix] = vm.config.services[suffix], on
        if on and not was and suffix == timesync.TIMESYNC and vm.state == "Running":
            timesync.demand(vm)
    return call.passed(vm.service_thing(suffix) for vm, suffix in found)


def _owners(call: Call, own: str) -> list[Vm]:
    return [call.world.vm(each.key) for each in call.many(own)] if own in call else call.machines()


def _second(vm: Vm) -> Vm:
    if vm.generation != 2:
        raise Refusal("NotSupported", f"'{vm.name}' is of generation 1, which has no UEFI.")
    return vm


def _first(vm: Vm) -> Vm:
    if vm.generation != 1:
        raise Refusal("NotSupported", f"'{vm.name}' is of generation 2, which has no BIOS.")
    return vm


def _onoff(value: object) -> Choice:
    return Choice("OnOffState", "On" if value else "Off")


def _processor(vm: Vm) -> Thing:
    return Thing(
        "VMProcessor",
        f"{vm.key}/processor/0",
        {
            **vm.owned(),
            "Count": vm.config.vcpus,
            "MaximumCountPerNumaNode": vm.config.vcpus_per_node or vm.config.vcpus,
            "Maximum": 100,
            "Reserve": 0,
            "RelativeWeight": 100,
            "ExposeVirtualizationExtensions": vm.config.nested,
            "HwThreadCountPerCore": 0,
        },
    )


def _memory(vm: Vm) -> Thing:
    return Thing(
        "VMMemory",
        f"{vm.key}/memory/0",
        {
            **vm.owned(),
            "Startup": vm.config.memory,
            "DynamicMemoryEnabled": vm.config.dynamic,
            "Minimum": vm.config.memory_minimum,
            "Maximum": vm.config.memory_maximum,
            "Buffer": 20,
            "Priority": 50,
        },
    )


def _firmware(vm: Vm) -> Thing:
    devices = [vm.drive_thing(each) for each in vm.config.drives] + [vm.nic_thing(each) for each in vm.config.nics]
    order = {key: at for at, key in enumerate(vm.config.boot_order)}
    devices.sort(key=lambda each: order.get(each.key.rpartition("/")[2], len(order)))
    return Thing(
        "VMFirmware",
        f"{vm.key}/firmware/0",
        {
            **vm.owned(),
            "SecureBoot": _onoff(vm.config.secure_boot),
            "SecureBootTemplate": vm.config.secure_boot_template,
            "PreferredNetworkBootProtocol": Choice("IPProtocolPreference", "IPv4"),
            "ConsoleMode": Choice("ConsoleModeType", vm.config.console_mode),
            "PauseAfterBootFailure": _onoff(value=False),
            "BootOrder": devices,
        },
    )


def _bios(vm: Vm) -> Thing:
    order = ["CD", "IDE", "LegacyNetworkAdapter", "Floppy"]
    return Thing(
        "VMBios",
        f"{vm.key}/bios/0",
        {**vm.owned(), "NumLockEnabled": False, "StartupOrder": [Choice("BootDevice", each) for each in order]},
    )
