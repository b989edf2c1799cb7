"""What a spec becomes for libvirt, and what comes back from its metadata."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness.backends.kvm import devices, xml
from harness.backends.kvm.domain import SPARE_PORTS, HostKind, build
from harness.backends.kvm.places import Parts
from harness.backends.model import (
    DeviceKind,
    DiskSpec,
    Endpoint,
    Firmware,
    MachineSpec,
    NetworkKind,
    NetworkSpec,
    NicSpec,
    Ownership,
    PublishedImage,
    Shape,
    Topology,
    Trunk,
)
from harness.backends.protocol import Refused
from harness.core import GiB, MiB, Size

UUID = "6f1e4f5e-0000-4000-8000-000000000001"
OWNER = Ownership("run1", "token", datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC))
USER = NicSpec(
    "52:54:00:00:00:01",
    NetworkSpec("management", NetworkKind.USER),
    address="10.0.2.15/24",
    forward=Endpoint("127.77.0.1", 22),
)
PEER = NicSpec("52:54:00:00:00:02", NetworkSpec("peers", NetworkKind.SWITCH, vlan=7), kind=DeviceKind.EMULATED)
SPEC = MachineSpec(
    name="<one> & only",
    image=PublishedImage("d" * 64, "/base.qcow2"),
    shape=Shape(data_disks=(Size(64 * MiB),), nics=2),
    nics=(USER, PEER),
    seed=Path("/seed.iso"),
    owner=OWNER,
    disks=(DiskSpec("data0", Size(64 * MiB)),),
    annotations={"guest": "ünï"},
)
PARTS = Parts(
    "/m/system.qcow2", "/m/seed.iso", ("/m/disk-data0.qcow2",), "/s/con", "/s/qga", "/m/console.log", "/m/v.fd"
)
EMBEDDED = HostKind(
    kvm=False,
    emulator="/bin/qemu",
    firmware=("/code.fd", "/vars.fd"),
    switch=("127.1.2.3", 20000),
    cache="unsafe",
    embedded=True,
    clock=True,
)
DAEMON = replace(
    EMBEDDED, emulator=None, firmware=None, switch=None, cache=None, embedded=False, automatic_firmware=True
)


def described(spec=SPEC, host=EMBEDDED, **shape):
    """The domain after a round through text, as libvirt would read it."""
    changed = replace(spec, shape=replace(spec.shape, **shape))
    return xml.parse(xml.text(build(changed, UUID, PARTS, host)))


def test_the_spec_comes_back_from_the_metadata_as_it_was():
    domain = described()
    assert xml.spec_of(domain) == SPEC
    trunk = Trunk(frozenset({47, 43}), native=42)
    behind = replace(SPEC, nics=(replace(PEER, network=replace(PEER.network, vlan=None, trunk=trunk)),))
    assert xml.spec_of(described(behind)) == behind
    assert xml.owner_of(domain) == OWNER


def test_a_domain_without_our_mark_is_not_ours():
    domain = xml.parse("<domain><name>x</name><metadata><o xmlns='urn:other'/></metadata></domain>")
    assert (xml.owner_of(domain), xml.spec_of(domain)) == (None, None)


def test_names_are_data_and_not_markup():
    assert described().findtext("name") == "<one> & only"


def test_entities_from_a_host_are_not_resolved():
    text = "<!DOCTYPE d [<!ENTITY e SYSTEM 'file:///etc/hostname'>]><domain><name>&e;</name></domain>"
    assert not xml.parse(text).findtext("name")


def test_a_panic_stays_visible():
    domain = described()
    assert domain.findtext("on_crash") == "preserve"
    assert domain.find("devices/panic") is not None


def test_room_for_vcpus_and_memory_is_kept():
    domain = described(max_vcpus=8, max_memory=Size(4 * GiB))
    assert (domain.findtext("vcpu"), domain.find("vcpu").get("current")) == ("8", "2")
    assert domain.findtext("maxMemory") == str(4 << 20)
    assert domain.find("cpu/numa/cell").get("cpus") == "0-7"


def test_nodes_share_out_vcpus_and_memory():
    cells = described(vcpus=4, memory=GiB, numa_nodes=2).findall("cpu/numa/cell")
    assert [(cell.get("cpus"), cell.get("memory")) for cell in cells] == [("0-1", "524288"), ("2-3", "524288")]
    assert described(vcpus=4).find("cpu/numa") is None


def test_a_topology_is_written_factor_by_factor():
    found = described(vcpus=4, topology=Topology(2, 1, 2)).find("cpu/topology")
    assert dict(found.attrib) == {"sockets": "2", "cores": "1", "threads": "2"}


def test_uefi_by_files_where_they_are_known():
    system = described(firmware=Firmware.UEFI).find("os")
    assert system.findtext("loader") == "/code.fd"
    assert system.findtext("nvram") == "/m/v.fd"


def test_uefi_by_libvirts_choice_where_they_are_not():
    system = described(replace(SPEC, nics=()), DAEMON, firmware=Firmware.UEFI).find("os")
    assert system.get("firmware") == "efi"
    assert system.find("loader") is None


def test_a_nic_on_the_switch_has_the_same_port_for_ever():
    first, second = (described().find("devices/interface[@type='udp']/source/local") for _ in range(2))
    assert dict(first.attrib) == dict(second.attrib)
    assert first.get("address").startswith("127.")
    assert devices.port(UUID, PEER.mac) != devices.port(UUID, USER.mac)


def test_an_emulated_nic_is_no_virtio():
    assert described().find("devices/interface[@type='udp']/model").get("type") == devices.EMULATED_NIC


@pytest.mark.parametrize("nic", [USER, PEER])
def test_user_networks_and_the_switch_need_an_embedded_host(nic):
    with pytest.raises(Refused, match="embedded hosts only"):
        described(replace(SPEC, nics=(nic,)), DAEMON)


def test_a_tagged_bridge_is_one_of_open_vswitch():
    nic = replace(USER, network=NetworkSpec("lan", NetworkKind.BRIDGE, "br0", vlan=9), forward=None)
    found = described(replace(SPEC, nics=(nic,)), DAEMON).find("devices/interface")
    assert (found.get("type"), found.find("virtualport").get("type")) == ("bridge", "openvswitch")
    assert found.find("vlan/tag").get("id") == "9"


def test_a_trunk_names_all_its_vlans_and_which_is_untagged():
    trunk = Trunk(frozenset({47, 43}), native=42)
    for kind in (NetworkKind.BRIDGE, NetworkKind.NETWORK):
        nic = replace(USER, network=NetworkSpec("lan", kind, "br0", trunk=trunk), forward=None)
        found = described(replace(SPEC, nics=(nic,)), DAEMON).find("devices/interface/vlan")
        assert found.get("trunk") == "yes"
        assert [(tag.get("id"), tag.get("nativeMode")) for tag in found.iterfind("tag")] == [
            ("42", "untagged"),
            ("43", None),
            ("47", None),
        ]


@pytest.mark.parametrize(("allowed", "native"), [({7}, 7), ({7}, 0), ({4095}, 7), (set(), 4095)])
def test_a_trunk_that_no_switch_has_is_a_mistake(allowed, native):
    with pytest.raises(ValueError, match="VLAN"):
        Trunk(frozenset(allowed), native)


def test_a_port_is_of_one_vlan_or_a_trunk():
    with pytest.raises(ValueError, match="never both"):
        replace(USER.network, vlan=7, trunk=Trunk(frozenset({8}), native=9))


def test_jumbo_frames_are_asked_of_a_bridge():
    nic = replace(USER, network=NetworkSpec("lan", NetworkKind.NETWORK, "default", mtu=9000), forward=None)
    assert described(replace(SPEC, nics=(nic,)), DAEMON).find("devices/interface/mtu").get("size") == "9000"


@pytest.mark.parametrize(("vcpus", "kind", "queues"), [(4, "bridge", "4"), (16, "bridge", "8"), (1, "bridge", None)])
def test_a_nic_on_a_tap_has_a_queue_for_each_vcpu(vcpus, kind, queues):
    nic = replace(USER, network=NetworkSpec("lan", NetworkKind(kind), "br0"), forward=None)
    found = described(replace(SPEC, nics=(nic,)), DAEMON, vcpus=vcpus).find("devices/interface/driver")
    assert (None if found is None else found.get("queues")) == queues


@pytest.mark.parametrize("nics", [(), (USER,), (USER, PEER)])
def test_what_a_machine_has_from_the_start_takes_none_of_the_ports_for_what_comes(nics):
    domain = described(replace(SPEC, nics=nics))
    ports = domain.findall("devices/controller[@model='pcie-root-port']")
    on_ports = domain.findall("devices/disk[@device='disk']") + domain.findall("devices/interface")
    on_ports += [domain.find(f"devices/{kind}") for kind in ("channel", "memballoon", "rng")]
    assert None not in on_ports
    assert len(ports) - len(on_ports) == SPARE_PORTS


def test_a_nic_that_can_have_one_queue_alone_is_asked_for_no_more():
    imitated = replace(USER, network=NetworkSpec("lan", NetworkKind.BRIDGE, "br0"), kind=DeviceKind.EMULATED)
    assert described(replace(SPEC, nics=(imitated,)), DAEMON, vcpus=4).find("devices/interface/driver") is None
    assert described(vcpus=4).find("devices/interface/driver") is None


def test_a_disk_has_the_sectors_that_were_asked_for():
    """Where the usual ones were, libvirt is told of none; QEMU then takes 512 bytes."""
    large = described(replace(SPEC, disks=(DiskSpec("data0", Size(64 * MiB), 4096),)))
    for domain, sector in ((described(), 512), (large, 4096)):
        assert [devices.sector_of(disk) for disk in devices.data_disks(domain)] == [sector]
    assert [dict(found.attrib) for found in large.iterfind("devices/disk/blockio")] == [
        {"logical_block_size": "4096", "physical_block_size": "4096"}
    ]
    assert described().find("devices/disk/blockio") is None


def test_disks_are_told_apart_by_serial():
    domain = described()
    assert [disk.findtext("serial") for disk in devices.data_disks(domain)] == ["data0"]
    assert devices.find_disk(domain, "other") is None
    assert devices.free_target(domain) == "vdc"
