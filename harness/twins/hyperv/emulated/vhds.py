"""Virtual disks as files. What Windows keeps in VHDX is qcow2 here, under the name that was asked for: QEMU writes no
VHDX with a parent. ``qemu-img info --backing-chain`` says the same as ``Get-VHD``.
"""

from __future__ import annotations

from pathlib import Path

from harness.twins.hyperv.emulated import power, sectors
from harness.twins.hyperv.emulated.calls import Answer, Call, cmdlet, guid
from harness.twins.hyperv.emulated.objects import Choice, Thing
from harness.twins.hyperv.emulated.refusals import Refusal, in_use, no_file
from harness.twins.hyperv.emulated.world import World, img


@cmdlet("Get-VHD")
def get_vhd(call: Call) -> Answer:
    """What a disk is."""
    if "VMId" in call:
        ids = {guid(each) for each in call.many("VMId")}
        paths = [
            each.path
            for vm in call.world.all()
            if vm.id in ids
            for each in vm.config.drives
            if each.path and not each.dvd
        ]
    else:
        paths = [str(path) for path in call.many("Path")]
    return [thing(call.world, path) for path in paths]


@cmdlet("New-VHD")
def new_vhd(call: Call) -> Answer:
    """Make one: dynamic, fixed, or on top of a parent."""
    size = int(call.get("SizeBytes")) if "SizeBytes" in call else None
    sector, physical = int(call.get("LogicalSectorSizeBytes", sectors.USUAL)), call.get("PhysicalSectorSizeBytes")
    if sector > int(physical or 4096):
        raise Refusal("InvalidParameter", f"Logical sectors of {sector} bytes are larger than physical ones.")
    for path in call.many("Path"):
        create(call.world, str(path), size=size, parent=call.get("ParentPath"), fixed=call.on("Fixed"), sector=sector)
    return [thing(call.world, str(path)) for path in call.many("Path")]


@cmdlet("Resize-VHD")
def resize_vhd(call: Call) -> Answer:
    """Make it larger."""
    paths = [str(path) for path in call.many("Path")]
    for path in paths:
        size = int(call.get("SizeBytes"))
        now = int(call.world.image(path)["virtual-size"])
        if size < now:
            raise Refusal("InvalidParameter", f"'{path}' cannot be shrunk below what is in it. (0xC03A0010)")
        if size % sectors.of(call.world.file(path)):
            raise Refusal("InvalidParameter", f"{size} is no size of '{path}': no whole sectors. (0x80070057)")
        vm = call.world.user_of(path)
        img(["resize", "-q", str(call.world.file(path)), str(size)] if vm is None else _force(call.world, path, size))
        if vm is not None:
            power.settle(call.world, vm)
    return call.passed(thing(call.world, path) for path in paths)


@cmdlet("Test-VHD")
def test_vhd(call: Call) -> Answer:
    """Whether it, and what it stands on, is there and sound."""
    good = True
    for path in call.many("Path"):
        try:
            chain = call.world.image(str(path))
            parent = chain.get("full-backing-filename")
            good = good and (parent is None or Path(parent).is_file())
        except Refusal:
            good = False
    return [good]


@cmdlet("Set-VHD")
def set_vhd(call: Call) -> Answer:
    """Another parent of the same content."""
    path = str(call.get("Path"))
    if "ParentPath" in call:
        parent = call.world.file(str(call.get("ParentPath")))
        kind = str(call.world.image(str(call.get("ParentPath")))["format"])
        img(["rebase", "-u", "-F", kind, "-b", str(parent), str(call.world.file(path))])
    return call.passed([thing(call.world, path)])


def create(
    world: World,
    path: str,
    *,
    size: int | None = None,
    parent: str | None = None,
    fixed: bool = False,
    sector: int = sectors.USUAL,
) -> None:
    """Make a disk. One on top of a parent has the parent's sectors.

    Raises:
        Refusal: there is one, or no parent, or the size makes no sense.
    """
    place = world.file(path)
    if place.suffix.lower() not in {".vhdx", ".vhd"}:
        raise Refusal("InvalidParameter", f"'{path}' is neither .vhd nor .vhdx.")
    if place.exists():
        raise Refusal("InvalidParameter", f"The file '{path}' exists. (0x80070050)")
    if not place.parent.is_dir():
        raise Refusal("InvalidParameter", f"The folder of '{path}' does not exist. (0x80070003)")
    if parent is not None:
        below = world.file(parent)
        if not below.is_file():
            raise no_file(parent)
        kind = str(world.image(parent)["format"])
        world.begin_disk(place)
        img(["create", "-q", "-f", "qcow2", "-F", kind, "-b", str(below), str(place), *([str(size)] if size else [])])
        if (inherited := sectors.of(below)) != sectors.USUAL:
            img(["rebase", "-u", "-b", "", str(place)])  # its name is in the way of a longer header
            sectors.keep(place, inherited)
            img(["rebase", "-u", "-F", kind, "-b", str(below), str(place)])
        return
    if size is None or size % sector or size < 3 << 20:
        raise Refusal("InvalidParameter", f"{size} is no size of a disk. (0x80070057)")
    if sector != sectors.USUAL and place.suffix.lower() == ".vhd":
        raise Refusal("InvalidParameter", f"'{path}' is a .vhd, which has sectors of 512 bytes. (0x80070057)")
    world.begin_disk(place)
    img(["create", "-q", "-f", "qcow2", *(["-o", "preallocation=metadata"] if fixed else []), str(place), str(size)])
    if sector != sectors.USUAL:
        sectors.keep(place, sector)


def thing(world: World, path: str) -> Thing:
    """A disk as ``Get-VHD`` shows it."""
    said = world.image(path)
    place = world.file(path)
    parent = said.get("full-backing-filename") or ""
    return Thing(
        "VirtualHardDisk",
        "",
        {
            "Path": path,
            "VhdFormat": Choice("VhdFormat", "VHD" if place.suffix.lower() == ".vhd" else "VHDX"),
            "VhdType": Choice("VhdType", "Differencing" if parent else "Dynamic"),
            "FileSize": place.stat().st_blocks * 512,
            "Size": int(said["virtual-size"]),
            "MinimumSize": int(said["virtual-size"]),
            "LogicalSectorSize": sectors.of(place),
            "PhysicalSectorSize": 4096,
            "BlockSize": int(said.get("cluster-size", 65536)),
            "ParentPath": parent,
            "Attached": world.user_of(path) is not None,
            "DiskNumber": None,
            "DiskIdentifier": str(power.identifier(place)).upper(),
        },
    )


def _force(world: World, path: str, size: int) -> list[str]:
    """The file itself is not what QEMU writes to: the engine has a layer of its own above it."""
    said = world.image(path)
    if said["format"] != "qcow2":
        raise in_use(path)
    place = str(world.file(path)).replace(",", ",,")
    return [
        "resize",
        "-q",
        "--image-opts",
        f"driver=qcow2,file.driver=file,file.locking=off,file.filename={place}",
        str(size),
    ]
