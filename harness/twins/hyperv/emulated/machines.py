"""A virtual machine as its host keeps it: configuration, state, checkpoints, and what cmdlets show of it."""

from __future__ import annotations

import copy
import datetime as dt
import threading
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

from harness.twins.engine import EngineMachine
from harness.twins.hyperv.emulated.configuration import KVP, SERVICES, Checkpoint, Config, Drive, Nic, colons
from harness.twins.hyperv.emulated.objects import Choice, Lazy, Thing

_HEARD_SECONDS = 2.0
"""For how long a heart is believed to beat, or not: six services are told by it, and each silence costs seconds."""


class Vm:
    """A virtual machine."""

    def __init__(self, config: Config, generation: int, path: str) -> None:
        self.id = uuid.uuid4()
        self.generation = generation
        self.path = path
        self.config = config
        self.created = dt.datetime.now(dt.UTC)
        self.checkpoints: list[Checkpoint] = []
        self.parent: uuid.UUID | None = None
        self.lock = threading.RLock()
        self.machine: EngineMachine | None = None
        self.parked = False
        """Saved, as a checkpoint left it: its process is paused."""
        self.unheard = True
        """Nobody has read its console since it was switched on."""
        self.merging_until = 0.0
        self.deltas: dict[str, list[Path]] = {}
        """By drive, the AVHDX files beside its disk: one for each checkpoint, the last of them written to."""
        self.gone = False
        self.node = ""
        """Another node of the cluster that has it."""
        self._state = "Off"
        self._since = time.monotonic()
        self._heard: tuple[float, int | None, bool] = (0.0, None, False)

    @property
    def name(self) -> str:
        """What it is called; not unique."""
        return self.config.name

    @property
    def state(self) -> str:
        """One of :data:`STATES`."""
        return self._state

    @state.setter
    def state(self, state: str) -> None:
        if state == "Running" and self._state not in {"Paused", "Resuming"}:
            self._since = time.monotonic()
        self._state = state

    @property
    def key(self) -> str:
        """How objects name it."""
        return f"vm/{self.id}"

    @property
    def on(self) -> bool:
        """Whether a guest runs in it, or stands still."""
        return self.state in {"Running", "Paused", "Starting", "Stopping", "Saving", "Pausing", "Resuming"}

    def snapshot_config(self) -> Config:
        """The configuration as it is now, for ever."""
        return copy.deepcopy(self.config)

    def drive(self, key: str) -> Drive | None:
        """The drive of this key."""
        return next((each for each in self.config.drives if each.key == key), None)

    def nic(self, key: str) -> Nic | None:
        """The network adapter of this key."""
        return next((each for each in self.config.nics if each.key == key), None)

    def uptime(self) -> float:
        """Seconds since it was started; 0 when it does not run."""
        return time.monotonic() - self._since if self.on else 0.0

    def free_location(self, controller_type: str, controller: int) -> int | None:
        """The first place on a controller that nothing is at; None when it is full."""
        taken = {
            each.location
            for each in self.config.drives
            if (each.controller_type, each.controller) == (controller_type, controller)
        }
        return next((at for at in range(2 if controller_type == "IDE" else 64) if at not in taken), None)

    def merging(self) -> bool:
        """Whether the disks of a removed checkpoint are still being merged; ends it when its time is over."""
        if self.merging_until and time.monotonic() >= self.merging_until:
            self.merging_until = 0.0
            self.merge()
        return bool(self.merging_until)

    def merge(self) -> None:
        """Keep an AVHDX file for each checkpoint that a drive is in; one that is in none is written to itself."""
        held = Counter(drive.key for each in self.checkpoints for drive in each.config.drives)
        for key, files in self.deltas.items():
            while len(files) > held[key]:
                files.pop(0).unlink(missing_ok=True)
        for drive in self.config.drives:
            if not held[drive.key]:
                drive.merged = None

    def thing(self) -> Thing:
        """The machine as ``Get-VM`` shows it."""
        merging = self.merging()
        config = self.config
        return Thing(
            "VirtualMachine",
            self.key,
            {
                "Name": config.name,
                "VMName": config.name,
                "Id": self.id,
                "VMId": self.id,
                "State": Choice("VMState", self.state),
                "Status": "Merging disks" if merging else "Operating normally",
                "PrimaryOperationalStatus": Choice("VMOperationalStatus", "Ok"),
                "SecondaryOperationalStatus": Choice("VMOperationalStatus", "MergingDisks") if merging else None,
                "Generation": self.generation,
                "Version": "10.0",
                "Path": self.path,
                "ConfigurationLocation": self.path,
                "SnapshotFileLocation": self.path,
                "Notes": config.notes,
                "ProcessorCount": config.vcpus,
                "MemoryStartup": config.memory,
                "MemoryAssigned": config.memory if self.on else 0,
                "MemoryDemand": config.memory // 2 if self.on else 0,
                "MemoryMinimum": config.memory_minimum,
                "MemoryMaximum": config.memory_maximum,
                "DynamicMemoryEnabled": config.dynamic,
                "Uptime": dt.timedelta(seconds=int(self.uptime())),
                "CPUUsage": 1 if self.state == "Running" else 0,
                "Heartbeat": Lazy(lambda: Choice("VMHeartbeatStatus", self.heartbeat()) if self.on else None),
                "CreationTime": self.created,
                "ParentSnapshotId": self.parent,
                "ParentCheckpointId": self.parent,
                "CheckpointType": Choice("CheckpointType", config.checkpoint_type),
                "AutomaticCheckpointsEnabled": config.automatic_checkpoints,
                "AutomaticStartAction": Choice("StartAction", config.start_action),
                "AutomaticStartDelay": config.start_delay,
                "AutomaticStopAction": Choice("StopAction", config.stop_action),
                "IsClustered": False,
                "ComputerName": "TWIN",
                "NetworkAdapters": Lazy(lambda: [self.nic_thing(each) for each in config.nics]),
                "HardDrives": Lazy(lambda: [self.drive_thing(each) for each in config.drives if not each.dvd]),
                "DVDDrives": Lazy(lambda: [self.drive_thing(each) for each in config.drives if each.dvd]),
                "ComPort1": Lazy(lambda: self.com_thing(1)),
                "ComPort2": Lazy(lambda: self.com_thing(2)),
            },
        )

    def heartbeat(self) -> str:
        """What the heartbeat says: a Linux guest says nothing of its applications."""
        if not self.config.services["84EAAE65-2F2E-45F5-9BB5-0E857DC8EB47"]:
            return "Disabled"
        if self.state != "Running":
            return "LostCommunication"
        if self.machine is None:
            return "NoContact"
        until, process, beats = self._heard
        if time.monotonic() >= until or process != self.machine.pid:
            process, beats = self.machine.pid, self.machine.tools().running
            self._heard = time.monotonic() + _HEARD_SECONDS, process, beats
        return "OkApplicationsUnknown" if beats else "NoContact"

    def owned(self) -> dict[str, Any]:
        """What everything that belongs to it says of it."""
        return {"VMName": self.name, "VMId": self.id, "ComputerName": "TWIN"}

    def drive_thing(self, drive: Drive) -> Thing:
        """A drive as cmdlets show it."""
        return Thing(
            "DvdDrive" if drive.dvd else "HardDiskDrive",
            f"{self.key}/drive/{drive.key}",
            {
                **self.owned(),
                "Name": f"{'DVD Drive' if drive.dvd else 'Hard Drive'} on {drive.controller_type} controller number "
                f"{drive.controller} at location {drive.location}",
                "Id": f"Microsoft:{self.id}\\{drive.key}",
                "Path": drive.merged or drive.path,
                "ControllerType": Choice("ControllerType", drive.controller_type),
                "ControllerNumber": drive.controller,
                "ControllerLocation": drive.location,
                "PoolName": "Primordial",
                "DiskNumber": None,
            },
        )

    def nic_thing(self, nic: Nic) -> Thing:
        """A network adapter as cmdlets show it."""
        return Thing(
            "VMNetworkAdapter",
            f"{self.key}/nic/{nic.key}",
            {
                **self.owned(),
                "Name": nic.name,
                "Id": f"Microsoft:{self.id}\\{nic.key}",
                "AdapterId": nic.key,
                "MacAddress": nic.mac,
                "DynamicMacAddressEnabled": nic.dynamic,
                "SwitchName": nic.switch,
                "Connected": nic.switch is not None,
                "IsLegacy": nic.legacy,
                "IsManagementOs": False,
                "MacAddressSpoofing": Choice("OnOffState", "On" if nic.spoofing else "Off"),
                "IPAddresses": Lazy(lambda: self.addresses(nic)),
                "Status": ["Ok"] if self.on else [],
                "VlanSetting": Lazy(lambda: self.vlan_thing(nic)),
            },
        )

    def addresses(self, nic: Nic) -> list[str]:
        """What key-value pairs say of a network adapter's addresses: nothing where that service is off."""
        if self.state != "Running" or self.machine is None or not self.config.services[KVP]:
            return []
        return list(self.machine.tools().addresses.get(colons(nic.mac), ()))

    def vlan_thing(self, nic: Nic) -> Thing:
        """The VLAN of a network adapter."""
        return Thing(
            "VMNetworkAdapterVlanSetting",
            f"{self.key}/nic/{nic.key}",
            {
                "OperationMode": Choice("VMNetworkAdapterVlanMode", nic.vlan["mode"]),
                "AccessVlanId": nic.vlan["access"],
                "NativeVlanId": nic.vlan["native"],
                "AllowedVlanIdList": nic.vlan["allowed"],
                "VMName": self.name,
            },
        )

    def com_thing(self, number: int) -> Thing:
        """A COM port."""
        path = self.config.com[number]
        return Thing("VMComPort", f"{self.key}/com/{number}", {**self.owned(), "Name": f"COM {number}", "Path": path})

    def service_thing(self, suffix: str) -> Thing:
        """An integration service."""
        enabled = self.config.services[suffix]

        def heard() -> bool:
            return enabled and self.heartbeat() == "OkApplicationsUnknown"

        kind = "VMIntegrationComponentOperationalStatus"
        return Thing(
            "VMIntegrationComponent",
            f"{self.key}/service/{suffix}",
            {
                **self.owned(),
                "Name": SERVICES[suffix],
                "Id": f"Microsoft:{str(self.id).upper()}\\{suffix}",
                "Enabled": enabled,
                "PrimaryStatusDescription": Lazy(
                    lambda: "" if not enabled or self.state != "Running" else "OK" if heard() else "No Contact"
                ),
                "PrimaryOperationalStatus": Lazy(lambda: Choice(kind, "Ok" if heard() else "NoContact")),
            },
        )

    def checkpoint_thing(self, checkpoint: Checkpoint) -> Thing:
        """A checkpoint as cmdlets show it."""
        parent = next((each for each in self.checkpoints if each.id == checkpoint.parent), None)
        return Thing(
            "VMSnapshot",
            f"{self.key}/checkpoint/{checkpoint.id}",
            {
                **self.owned(),
                "Name": checkpoint.name,
                "Id": checkpoint.id,
                "SnapshotType": Choice("SnapshotType", "Standard"),
                "State": Choice("VMState", "Saved" if checkpoint.memory else "Off"),
                "CreationTime": checkpoint.created,
                "ParentSnapshotId": checkpoint.parent,
                "ParentSnapshotName": parent.name if parent else None,
                "ParentCheckpointId": checkpoint.parent,
                "ParentCheckpointName": parent.name if parent else None,
                "IsAutomaticCheckpoint": checkpoint.automatic,
                "Notes": checkpoint.config.notes,
            },
        )
