"""The OVF of a machine with one disk. Source: DSP0243, Open Virtualization Format 1.1."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from harness.core import Size

_OVF = "http://schemas.dmtf.org/ovf/envelope/1"
_RASD = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"
_VSSD = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData"
_STREAM = "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"


def descriptor(name: str, hardware: str, file: tuple[str, int], capacity: Size) -> str:
    """The OVF that describes the machine: one vCPU, one paravirtual SCSI controller, one disk.

    Args:
        name: of the machine.
        hardware: the virtual hardware's version, as ``vmx-20``.
        file: name and size of the streamOptimized disk.
        capacity: the disk's size as a guest sees it.
    """
    envelope = ET.Element(f"{{{_OVF}}}Envelope")
    references = ET.SubElement(envelope, f"{{{_OVF}}}References")
    _ovf(references, "File", id="file1", href=file[0], size=str(file[1]))
    section = ET.SubElement(envelope, f"{{{_OVF}}}DiskSection")
    _text(section, _OVF, "Info", "The disk")
    disk = {"capacity": str(int(capacity)), "capacityAllocationUnits": "byte", "format": _STREAM}
    _ovf(section, "Disk", diskId="disk1", fileRef="file1", **disk)
    system = _ovf(envelope, "VirtualSystem", id="machine")
    _text(system, _OVF, "Info", "A base for linked clones")
    _text(system, _OVF, "Name", name)
    operating = _ovf(system, "OperatingSystemSection", id="101")  # CIM: Linux, 64 bits
    _text(operating, _OVF, "Info", "The guest")
    parts = _ovf(system, "VirtualHardwareSection")
    _text(parts, _OVF, "Info", "The hardware")
    about = ET.SubElement(parts, f"{{{_OVF}}}System")
    for key, value in (
        ("ElementName", "Virtual Hardware Family"),
        ("InstanceID", "0"),
        ("VirtualSystemIdentifier", name),
        ("VirtualSystemType", hardware),
    ):
        _text(about, _VSSD, key, value)
    # CIM resource types: processor, memory, other SCSI controller, disk; items want their children sorted by name
    _item(parts, {"ElementName": "CPU", "InstanceID": "1", "ResourceType": "3", "VirtualQuantity": "1"})
    memory = {"AllocationUnits": "byte * 2^20", "ElementName": "memory", "InstanceID": "2"}
    _item(parts, {**memory, "ResourceType": "4", "VirtualQuantity": "256"})
    controller = {"Address": "0", "ElementName": "SCSI", "InstanceID": "3", "ResourceSubType": "VirtualSCSI"}
    _item(parts, {**controller, "ResourceType": "6"})
    place = {"AddressOnParent": "0", "ElementName": "disk", "HostResource": "ovf:/disk/disk1", "InstanceID": "4"}
    _item(parts, {**place, "Parent": "3", "ResourceType": "17"})
    return ET.tostring(envelope, encoding="unicode")


def _ovf(parent: ET.Element, name: str, **attributes: str) -> ET.Element:
    return ET.SubElement(parent, f"{{{_OVF}}}{name}", {f"{{{_OVF}}}{key}": value for key, value in attributes.items()})


def _text(parent: ET.Element, namespace: str, name: str, text: str) -> None:
    ET.SubElement(parent, f"{{{namespace}}}{name}").text = text


def _item(hardware: ET.Element, values: dict[str, str]) -> None:
    item = ET.SubElement(hardware, f"{{{_OVF}}}Item")
    for name, value in values.items():
        _text(item, _RASD, name, value)
