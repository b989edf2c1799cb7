"""A client of vSphere that is not our driver: pyVmomi as its users write it, attributes and all."""

from __future__ import annotations

import hashlib
import ssl
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests
from pyVmomi import SoapStubAdapter, VmomiSupport, vim

from harness.core import Deadline, Pending, wait_for

MIB = 1 << 20


class Failed(AssertionError):
    """A task that failed, with its fault."""

    def __init__(self, fault: Any) -> None:
        super().__init__(f"{type(fault).__name__}: {getattr(fault, 'msg', '')} {getattr(fault, 'faultMessage', '')}")
        self.fault = fault


class Client:
    """A session with a twin."""

    def __init__(self, record: Mapping[str, Any]) -> None:
        self.record = record
        host, port = record["endpoint"].split(":")
        trust = ssl.create_default_context(cafile=record["ca"])
        # Not SmartConnect: it leaves connections to the garbage collector.
        newest = f"vim.version.{VmomiSupport.newestVersions.GetName('vim').rpartition('.')[2]}"
        self.stub = SoapStubAdapter(host=host, port=int(port), version=newest, sslContext=trust)
        self.session = vim.ServiceInstance("ServiceInstance", self.stub)
        self.content = self.session.RetrieveContent()
        self.content.sessionManager.Login(record["user"], record["password"], None)
        self.datacenter = self.all(vim.Datacenter)[0]
        self.host = self.all(vim.HostSystem)[0]
        self.pool = self.host.parent.resourcePool
        self.folder = self.datacenter.vmFolder
        self.store = record["datastore"]
        self.web = requests.Session()
        self.web.verify = record["ca"]
        self.web.trust_env = False  # whatever the environment trusts, this is the CA
        self.web.auth = (record["user"], record["password"])

    def close(self) -> None:
        """Log out."""
        self.web.close()
        self.content.sessionManager.Logout()
        self.stub.DropConnections()

    def all(self, kind: Any) -> list[Any]:
        """Everything of a kind in the inventory."""
        view = self.content.viewManager.CreateContainerView(self.content.rootFolder, [kind], True)
        try:
            return list(view.view)
        finally:
            view.Destroy()

    def named(self, name: str) -> Any | None:
        """The machine of this name, if there is one."""
        return next((machine for machine in self.all(vim.VirtualMachine) if machine.name == name), None)

    def done(self, task: Any, seconds: float = 120) -> Any:
        """A task's result; :class:`Failed` if it has none."""

        def ended() -> bool | Pending:
            state = task.info.state
            return True if state in ("success", "error") else Pending(state)

        wait_for("a task to end", ended, Deadline.after(seconds), every=0.02)
        if task.info.state == "error":
            raise Failed(task.info.error)
        return task.info.result

    def create(self, name: str, *, disks: tuple[int, ...] = (), nics: tuple[str, ...] = (), **more: Any) -> Any:
        """A machine that is off: disks by their sizes in MiB, NICs by their port groups."""
        more = {"numCPUs": 1, "memoryMB": 128, "guestId": "otherLinux64Guest", **more}
        devices = more.pop("devices", [])
        files = vim.vm.FileInfo(vmPathName=f"[{self.store}] {name}/{name}.vmx")
        changes = [added(scsi()), *(added(disk(unit, size), create=True) for unit, size in enumerate(disks))]
        changes += [added(nic(network, number)) for number, network in enumerate(nics)]
        spec = vim.vm.ConfigSpec(name=name, files=files, deviceChange=[*changes, *map(added, devices)], **more)
        return self.done(self.folder.CreateVM_Task(spec, self.pool, self.host))

    def reconfigure(self, machine: Any, *changes: Any, **more: Any) -> None:
        """Change a machine."""
        self.done(machine.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=list(changes), **more)))

    def file(self, path: str) -> str:
        """A file's address on the datastore."""
        return f"https://{self.record['endpoint']}/folder/{path}?dcPath={self.datacenter.name}&dsName={self.store}"

    def lease(self, name: str, capacity: int) -> Any:
        """An import of one disk, ready for its upload."""
        files = vim.vm.FileInfo(vmPathName=f"[{self.store}]")
        config = vim.vm.ConfigSpec(
            name=name,
            files=files,
            numCPUs=1,
            memoryMB=128,
            guestId="otherLinux64Guest",
            deviceChange=[added(scsi()), added(disk(0, capacity), create=True)],
        )
        lease = self.pool.ImportVApp(vim.vm.VmImportSpec(configSpec=config), self.folder, self.host)

        def ready() -> bool | Pending:
            return True if lease.state in ("ready", "error") else Pending(lease.state)

        wait_for("the lease", ready, Deadline.after(30), every=0.02)
        return lease

    def upload(self, lease: Any, image: Path) -> requests.Response:
        """The lease's one disk."""
        (url,) = [each.url for each in lease.info.deviceUrl if each.disk]
        with image.open("rb") as body:
            kind = {"Content-Type": "application/x-vnd.vmware-streamVmdk"}
            return self.web.post(url.replace("*", self.record["endpoint"].split(":")[0]), data=body, headers=kind)

    def upload_refused(self, lease: Any, image: Path) -> bool:
        """Whether an upload ends in an error or a closed connection."""
        try:
            return not self.upload(lease, image).ok
        except requests.ConnectionError:
            return True

    def lease_ends(self, lease: Any) -> None:
        """Wait until a lease is in its error state."""

        def ended() -> bool | Pending:
            return True if lease.state == "error" else Pending(lease.state)

        wait_for("the lease to end", ended, Deadline.after(30))

    def folders(self) -> list[str]:
        """The datastore's folders and files at its top."""
        (store,) = self.datacenter.datastore
        found = self.done(store.browser.SearchDatastore_Task(f"[{self.store}]", vim.host.DatastoreBrowser.SearchSpec()))
        return [each.path for each in found.file]

    def imported(self, name: str, image: Path, capacity: int) -> Any:
        """A machine with this image as its disk."""
        lease = self.lease(name, capacity)
        machine = lease.info.entity
        self.upload(lease, image).raise_for_status()
        lease.HttpNfcLeaseProgress(100)
        (entry,) = lease.HttpNfcLeaseGetManifest()
        assert entry.sha1 == hashlib.sha1(image.read_bytes(), usedforsecurity=False).hexdigest()
        lease.HttpNfcLeaseComplete()
        return machine

    def clone(self, source: Any, snapshot: Any, name: str, *changes: Any, **config: Any) -> Any:
        """A linked clone."""
        spec = vim.vm.CloneSpec(
            location=vim.vm.RelocateSpec(diskMoveType="createNewChildDiskBacking", pool=self.pool, host=self.host),
            snapshot=snapshot,
            powerOn=False,
            template=False,
            config=vim.vm.ConfigSpec(deviceChange=list(changes), **config),
        )
        return self.done(source.CloneVM_Task(self.folder, name, spec))


def added(device: Any, *, create: bool = False) -> Any:
    """A device to add."""
    change = vim.vm.device.VirtualDeviceSpec(operation="add", device=device)
    if create:
        change.fileOperation = "create"
    return change


def edited(device: Any) -> Any:
    """A device to change."""
    return vim.vm.device.VirtualDeviceSpec(operation="edit", device=device)


def removed(device: Any, *, destroy: bool = False) -> Any:
    """A device to take away."""
    change = vim.vm.device.VirtualDeviceSpec(operation="remove", device=device)
    if destroy:
        change.fileOperation = "destroy"
    return change


def scsi(key: int = -1000) -> Any:
    """A pvscsi controller."""
    return vim.vm.device.ParaVirtualSCSIController(key=key, busNumber=0, sharedBus="noSharing")


def disk(unit: int, mebibytes: int, controller: int = -1000) -> Any:
    """An empty disk."""
    backing = vim.vm.device.VirtualDisk.FlatVer2BackingInfo(diskMode="persistent", thinProvisioned=True)
    return vim.vm.device.VirtualDisk(
        key=-2000 - unit,
        controllerKey=controller,
        unitNumber=unit,
        capacityInKB=mebibytes * 1024,
        capacityInBytes=mebibytes * MIB,
        backing=backing,
    )


def nic(network: str, number: int = 0) -> Any:
    """A vmxnet3 NIC with a static address."""
    backing = vim.vm.device.VirtualEthernetCard.NetworkBackingInfo(deviceName=network)
    cable = vim.vm.device.VirtualDevice.ConnectInfo(startConnected=True, connected=True, allowGuestControl=True)
    return vim.vm.device.VirtualVmxnet3(
        key=-3000 - number,
        backing=backing,
        addressType="manual",
        macAddress=f"00:50:56:00:10:{number:02x}",
        connectable=cable,
    )


def cd(iso: str) -> Any:
    """A drive with an ISO in it."""
    backing = vim.vm.device.VirtualCdrom.IsoBackingInfo(fileName=iso)
    cable = vim.vm.device.VirtualDevice.ConnectInfo(startConnected=True, connected=True, allowGuestControl=True)
    return vim.vm.device.VirtualCdrom(key=-4000, controllerKey=200, unitNumber=0, backing=backing, connectable=cable)


def serial(file: str) -> Any:
    """A serial port that writes to a file of the datastore."""
    backing = vim.vm.device.VirtualSerialPort.FileBackingInfo(fileName=file)
    return vim.vm.device.VirtualSerialPort(key=-5000, backing=backing, yieldOnPoll=True)


def of(machine: Any, kind: Any) -> list[Any]:
    """A machine's devices of a kind."""
    return [device for device in machine.config.hardware.device if isinstance(device, kind)]


def streamed(work: Path, mebibytes: int = 8) -> Path:
    """A small streamOptimized VMDK with some data in it."""
    work.mkdir(parents=True, exist_ok=True)
    raw, image = work / "disk.raw", work / "disk.vmdk"
    with raw.open("wb") as file:
        file.truncate(mebibytes * MIB)
        file.seek(3 * MIB)
        file.write(b"payload" * 1000)
    words = ["qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized"]
    subprocess.run([*words, str(raw), str(image)], check=True, capture_output=True)
    return image
