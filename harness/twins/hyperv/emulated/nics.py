"""Network adapters, their VLANs, and switches."""

from __future__ import annotations

import re
import uuid
from functools import partial
from typing import Any

from harness.twins.hyperv.emulated import power
from harness.twins.hyperv.emulated.calls import Answer, Call, cmdlet, like
from harness.twins.hyperv.emulated.configuration import Nic
from harness.twins.hyperv.emulated.machines import Vm
from harness.twins.hyperv.emulated.refusals import Refusal, wrong_state
from harness.twins.hyperv.emulated.world import Switch, World
from harness.twins.hyperv.plan import Effect


@cmdlet("Get-VMNetworkAdapter")
def get_network_adapter(call: Call) -> Answer:
    """Those of machines; ``-All`` is of all machines."""
    return [vm.nic_thing(nic) for vm, nic in _chosen(call)]


@cmdlet("Add-VMNetworkAdapter")
def add_network_adapter(call: Call) -> Answer:
    """One more: while it runs in generation 2 alone, and never a legacy one."""
    things = []
    switch = call.world.switch(call.get("SwitchName")).name if call.get("SwitchName") else None
    legacy = bool(call.get("IsLegacy", False))
    for vm in call.machines():
        if legacy and vm.generation == 2:
            raise Refusal("NotSupported", f"'{vm.name}' is of generation 2, which has no legacy adapters.")
        with vm.lock:
            if vm.state != "Off" and (vm.generation == 1 or vm.state != "Running"):
                raise wrong_state("Adding a network adapter to", vm.name, vm.id)
            mac = _mac(call.get("StaticMacAddress")) if "StaticMacAddress" in call else None
            dynamic = mac is None
            if mac is None:
                mac = call.world.next_mac() if vm.on else "000000000000"
            nic = Nic(
                str(uuid.uuid4()).upper(), str(call.get("Name") or "Network Adapter"), mac, dynamic, switch, legacy
            )
            _change(call.world, vm, lambda vm=vm, nic=nic: vm.config.nics.append(nic))
            things.append(vm.nic_thing(nic))
    return call.passed(things)


@cmdlet("Remove-VMNetworkAdapter")
def remove_network_adapter(call: Call) -> Answer:
    """Take them out: while it runs in generation 2 alone."""
    found = _chosen(call)
    for vm, nic in found:
        with vm.lock:
            if vm.state != "Off" and (vm.generation == 1 or vm.state != "Running"):
                raise wrong_state("Removing a network adapter from", vm.name, vm.id)
            _change(call.world, vm, lambda vm=vm, nic=nic: vm.config.nics.remove(nic))
    return call.passed(vm.nic_thing(nic) for vm, nic in found)


@cmdlet("Set-VMNetworkAdapter")
def set_network_adapter(call: Call) -> Answer:
    """Its address (while the machine is off), and whether it may take another."""
    found = _chosen(call)
    for vm, nic in found:
        with vm.lock:
            if "StaticMacAddress" in call or call.on("DynamicMacAddress"):
                if vm.state != "Off":
                    raise wrong_state("Modifying a network adapter of", vm.name, vm.id)
                nic.dynamic = "StaticMacAddress" not in call
                nic.mac = "000000000000" if nic.dynamic else _mac(call.get("StaticMacAddress"))
            if "MacAddressSpoofing" in call:
                nic.spoofing = str(call.get("MacAddressSpoofing")).lower() == "on"
    return call.passed(vm.nic_thing(nic) for vm, nic in found)


@cmdlet("Rename-VMNetworkAdapter")
def rename_network_adapter(call: Call) -> Answer:
    """Another name."""
    found = _chosen(call)
    for _, nic in found:
        nic.name = str(call.get("NewName"))
    return call.passed(vm.nic_thing(nic) for vm, nic in found)


@cmdlet("Connect-VMNetworkAdapter")
def connect_network_adapter(call: Call) -> Answer:
    """Plug them into a switch."""
    if call.many("VMSwitch"):
        switch = call.many("VMSwitch")[0].get("Name")
    else:
        switch = call.world.switch(str(call.get("SwitchName"))).name
    return _plug(call, str(switch))


@cmdlet("Disconnect-VMNetworkAdapter")
def disconnect_network_adapter(call: Call) -> Answer:
    """Pull their cables."""
    return _plug(call, None)


@cmdlet("Get-VMNetworkAdapterVlan")
def get_vlan(call: Call) -> Answer:
    """Their VLANs."""
    return [vm.vlan_thing(nic) for vm, nic in _chosen(call)]


@cmdlet("Set-VMNetworkAdapterVlan")
def set_vlan(call: Call) -> Answer:
    """Other VLANs."""
    found = _chosen(call)
    wanted = _tagging(call)
    for vm, nic in found:
        if wanted is not None:
            with vm.lock:
                _change(call.world, vm, partial(setattr, nic, "vlan", wanted))
    return call.passed(vm.vlan_thing(nic) for vm, nic in _chosen(call))


def _tagging(call: Call) -> dict[str, Any] | None:
    """What the call makes of VLANs; None: nothing."""
    if call.on("Access"):
        number = int(call.get("VlanId", 0))
        if not 1 <= number <= 4094:
            raise Refusal("InvalidParameter", f"{number} is no VLAN.")
        return {"mode": "Access", "access": number, "native": 0, "allowed": []}
    if call.on("Trunk"):
        allowed, native = _ids(str(call.get("AllowedVlanIdList"))), int(call.get("NativeVlanId", 0))
        passing = range(1, 4095) if Effect.OPEN in call.planned else allowed
        return {"mode": "Trunk", "access": 0, "native": native, "allowed": allowed, "passing": list(passing)}
    if call.on("Untagged"):
        return {"mode": "Untagged", "access": 0, "native": 0, "allowed": []}
    return None


@cmdlet("Get-VMSwitch")
def get_switch(call: Call) -> Answer:
    """All switches, or those of a name or id."""
    switches = list(call.world.switches)
    if "Id" in call:
        ids = {str(each).lower() for each in call.many("Id")}
        switches = [each for each in switches if str(each.id) in ids]
    names = [str(name) for name in call.many("Name")]
    for name in names:
        if not any(char in name for char in "*?["):
            call.world.switch(name)
    kinds = {str(kind) for kind in call.many("SwitchType")}
    return [
        each.thing()
        for each in switches
        if (not names or any(like(each.name, name) for name in names)) and (not kinds or each.kind in kinds)
    ]


@cmdlet("New-VMSwitch")
def new_switch(call: Call) -> Answer:
    """One more, which leads nowhere: the engine knows the networks that it was given."""
    kind = str(call.get("SwitchType") or ("External" if call.get("NetAdapterName") else "Private"))
    switch = Switch(uuid.uuid4(), str(call.get("Name")), kind)
    call.world.switches.append(switch)
    return [switch.thing()]


@cmdlet("Remove-VMSwitch")
def remove_switch(call: Call) -> Answer:
    """Remove them, unless a machine that runs is plugged in."""
    names = [str(each.get("Name")) for each in call.many("VMSwitch")] or [str(name) for name in call.many("Name")]
    for name in names:
        switch = call.world.switch(name)
        users = [
            vm.name for vm in call.world.all() if vm.on and any(nic.switch == switch.name for nic in vm.config.nics)
        ]
        if users:
            raise Refusal("ObjectInUse", f"The switch '{name}' is used by {', '.join(users)}.")
        call.world.switches.remove(switch)
    return []


def _plug(call: Call, switch: str | None) -> Answer:
    found = _chosen(call)
    for vm, nic in found:
        with vm.lock:
            _change(call.world, vm, lambda nic=nic: nic.plug(switch))
    return call.passed(vm.nic_thing(nic) for vm, nic in found)


def _chosen(call: Call) -> list[tuple[Vm, Nic]]:
    if "VMNetworkAdapter" in call:
        return [call.world.nic(thing.key) for thing in call.many("VMNetworkAdapter")]
    named = call.get("VMNetworkAdapterName") or (call.get("Name") if "VMName" in call or "VM" in call else None)
    patterns = named if isinstance(named, list | tuple) else [named or "*"]
    arguments = {key: value for key, value in call.arguments.items() if key not in {"Name", "VMNetworkAdapterName"}}
    machines = Call(call.world, call.name, arguments).machines()
    return [
        (vm, nic) for vm in machines for nic in vm.config.nics if any(like(nic.name, str(each)) for each in patterns)
    ]


def _change(world: World, vm: Vm, change: Any) -> None:
    """Change the adapters, here and in the engine, or in neither."""
    before = vm.snapshot_config().nics
    change()
    try:
        if vm.on:
            power.settle(world, vm)
    except Refusal:
        vm.config.nics = before
        raise


def _mac(value: Any) -> str:
    digits = re.sub(r"[:-]", "", str(value)).upper()
    if not re.fullmatch(r"[0-9A-F]{12}", digits) or int(digits[1], 16) & 1:
        raise Refusal("InvalidParameter", f"'{value}' is not a valid MAC address.")
    return digits


def _ids(text: str) -> list[int]:
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if not first.isdecimal() or not (last or first).isdecimal():
            raise Refusal("InvalidParameter", f"'{text}' is no list of VLANs.")
        found += range(int(first), int(last or first) + 1)
    return found
