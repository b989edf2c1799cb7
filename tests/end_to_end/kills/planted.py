"""Things of others that look like ours: machines, disks and folders by our names, with marks that nobody's key made."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

from harness.backends import codec
from harness.backends.hyperv import marks as hyperv_marks
from harness.backends.kvm.files import MARK, Mark
from harness.backends.kvm.xml import mark, node, parse, text
from harness.backends.model import MachineSpec, Ownership, PublishedImage, Shape
from harness.backends.vsphere import marks as vsphere_marks
from harness.lab.twins import settings_of
from tests.contract import hyperv, vsphere
from tests.end_to_end.kills.world import CHECKOUT, World

LONG_AGO = datetime(2025, 1, 1, tzinfo=UTC)


def forged(run: str = "1ngpjn04r2") -> Ownership:
    """A mark as ours are, but for its token; its time is long over."""
    return Ownership(run, secrets.token_hex(16), LONG_AGO)


def plant(world: World, run: str) -> None:
    """Put them there.

    Args:
        world: where.
        run: a run of ours, which is dead: one mark names it.
    """
    {"kvm": _kvm, "vsphere": _vsphere, "hyperv": _hyperv}[world.column](world, run)


def _spec(name: str, owner: Ownership) -> MachineSpec:
    return MachineSpec(name, PublishedImage("ab" * 32, "base"), Shape(), (), None, owner)


def _kvm(world: World, run: str) -> None:
    """Domains without metadata, with forged ones, with such that cannot be read; folders likewise."""
    (root,) = world.cache.glob("hosts/kvm-*/roots/0")
    bare = [node("memory", 64 << 10), node("vcpu", 1), node("os", None, node("type", "hvm", arch="x86_64"))]
    garbled = node("{urn:interop-harness:machine:1}machine", "{", run=run)
    marks = {"plain": None, "forged": mark(_spec("g", forged())), "mine": mark(_spec("g", forged(run))), "odd": garbled}
    texts = []
    for name, said in marks.items():
        metadata = None if said is None else node("metadata", None, said)
        domain = node("domain", None, node("name", f"victim-planted-{name}"), metadata, *bare, type="qemu")
        texts.append(text(domain))
        bare = [parse(one) for one in map(text, bare)]
    subprocess.run(
        [sys.executable, "-m", "tests.end_to_end.kills.planted", str(root), json.dumps(texts)],
        cwd=CHECKOUT,
        env=world.env(),
        check=True,
        timeout=60,
        stderr=subprocess.DEVNULL,
    )
    for name, owner in (("forged", forged()), ("mine", forged(run)), ("unmarked", None)):
        folder = root / "machines" / f"planted-{name}"
        folder.mkdir()
        (folder / "system.qcow2").write_bytes(b"somebody's")
        if owner:
            (folder / MARK).write_text(codec.dumps(Mark(owner, "victim-1")))


def _vsphere(world: World, run: str) -> None:
    """Machines and a folder in our own folder, files below ours."""
    from pyVmomi import vim

    settings: Any = settings_of(world.site.host, world.lab)
    with vsphere.content(world.site) as service:
        (datacenter,) = vsphere.every(service, vim.Datacenter, settings.datacenter)
        (host,) = vsphere.every(service, vim.HostSystem, settings.esxi)
        (ours,) = vsphere.every(service, vim.Folder, settings.folder)
        store = datacenter.datastore[0]
        said = {"plain": None, "forged": forged(), "mine": forged(run)}
        for name, owner in said.items():
            annotation = owner and vsphere_marks.written(vsphere_marks.Mark(owner, _spec("g", owner), "interop/x"))
            spec = vim.vm.ConfigSpec(
                name=f"victim-planted-{name}",
                annotation=annotation,
                memoryMB=64,
                numCPUs=1,
                guestId="otherGuest",
                files=vim.vm.FileInfo(vmPathName=f"[{store.name}]"),
            )
            vsphere.done(ours.CreateVM_Task(spec, host.parent.resourcePool, host))
        for name in (f"{run}-1f", "prod-01"):
            ours.CreateFolder(name)
        manager = service.fileManager
        for owner in (forged(), forged(run)):
            path = f"[{store.name}] {settings.folder}/{vsphere_marks.folder_name('victim-planted', owner)}"
            manager.MakeDirectory(path, datacenter, True)


def _hyperv(world: World, run: str) -> None:
    """Machines by their notes and by their names, folders, half uploads."""
    (store,) = world.cache.glob("twins/hyperv-*/store")
    with hyperv.talk(world.site) as ask:
        for owner in (forged(), forged(run)):
            name = hyperv_marks.name("victim-planted", owner)
            for notes in (None, hyperv_marks.written(hyperv_marks.Mark(owner, _spec("g", owner), name, "pipe"))):
                made = {"Name": hyperv.text(name), "MemoryStartupBytes": 64 << 20, "Generation": 1, "NoVHD": True}
                noted = {"VM": {"$ref": "vm"}, "Notes": hyperv.text(notes or "")}
                ask(
                    {"call": "New-VM", "args": made, "as": "vm", "get": ["Id"]},
                    {"call": "Set-VM", "args": noted, "get": []},
                )
            (store / "machines" / name).mkdir(parents=True)
            (store / "machines" / name / "system.vhdx").write_bytes(b"somebody's")
            (store / "images").mkdir(exist_ok=True)
            (store / "images" / name).write_bytes(b"half")


def main(root: str, domains: str) -> None:
    """Define domains in a root of the embedded driver that nobody uses now."""
    import libvirt

    libvirt.virEventRegisterDefaultImpl()
    connection = libvirt.open(f"qemu:///embed?root={root}")
    for domain in json.loads(domains):
        connection.defineXML(domain)


if __name__ == "__main__":
    main(*sys.argv[1:])
