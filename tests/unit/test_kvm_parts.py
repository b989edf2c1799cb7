"""Smaller parts of the kvm backend: settings, errors, names, pictures, logs."""

import os
import time
import zlib
from dataclasses import replace
from datetime import UTC, datetime

import libvirt
import pytest
from pydantic import ValidationError

from harness.backends.capabilities import Capability
from harness.backends.kvm import devices, picture, qcow2
from harness.backends.kvm.abilities import abilities
from harness.backends.kvm.checkpoints import query_snapshots
from harness.backends.kvm.distant_clock import DistantClock
from harness.backends.kvm.errors import translated
from harness.backends.kvm.evidence import qemu_log
from harness.backends.kvm.settings import Settings
from harness.backends.kvm.volumes import Name
from harness.backends.kvm.xml import parse
from harness.backends.model import Firmware, Ownership, Shape, Topology
from harness.backends.protocol import GuestIgnored, Refused, WrongState
from harness.core import Deadline, GiB, LabError, Size
from tests.unit.test_kvm_description import DAEMON, EMBEDDED


@pytest.mark.parametrize(
    ("uri", "embedded", "local"),
    [
        ("qemu:///embed", True, True),
        ("qemu:///embed?root=/r", True, True),
        ("qemu:///system", False, True),
        ("qemu+ssh://root@host.example/system", False, False),
        ("qemu+tls://host.example/system", False, False),
    ],
)
def test_a_uri_tells_where_guests_run(uri, embedded, local):
    settings = Settings(uri=uri)
    assert (settings.embedded, settings.local) == (embedded, local)


@pytest.mark.parametrize("uri", ["xen:///system", "esx://host", "nonsense"])
def test_another_hypervisors_uri_is_refused(uri):
    with pytest.raises(ValidationError, match="not a URI of libvirt's QEMU driver"):
        Settings(uri=uri)


def libvirt_error(code, message="said so"):
    error = libvirt.libvirtError("call failed")
    error.err = (code, 0, message, 0, None, None, None, 0, 0)
    return error


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (libvirt.VIR_ERR_OPERATION_INVALID, WrongState),
        (libvirt.VIR_ERR_AGENT_UNRESPONSIVE, GuestIgnored),
        (libvirt.VIR_ERR_AGENT_UNSYNCED, GuestIgnored),
        (libvirt.VIR_ERR_CONFIG_UNSUPPORTED, Refused),
        (libvirt.VIR_ERR_NO_DOMAIN, LabError),
        (libvirt.VIR_ERR_INTERNAL_ERROR, LabError),
        (libvirt.VIR_ERR_RPC, LabError),
    ],
)
def test_libvirts_errors_keep_their_words_and_get_our_class(code, kind):
    found = translated(libvirt_error(code), "here", "start")
    assert type(found) is kind
    assert "said so" in found.message
    assert (found.host, found.operation) == ("here", "start")


def test_a_lost_connection_is_told_as_such():
    found = translated(libvirt_error(libvirt.VIR_ERR_INTERNAL_ERROR, "client socket is closed"), "here", "start")
    assert "connection to libvirt is lost" in found.message


def test_a_volumes_name_carries_its_mark():
    name = Name(Ownership("run1", "t0k", datetime(2030, 1, 1, tzinfo=UTC)), "uuid-1", "disk-a.b.qcow2")
    assert Name.parse(str(name)) == name


@pytest.mark.parametrize("name", ["debian.qcow2", "interop.notes.txt", "interop.a.b.soon.c.d"])
def test_other_peoples_volumes_are_not_ours(name):
    assert Name.parse(name) is None


def test_a_ppm_becomes_the_same_picture_as_png():
    pixels = bytes(range(12))
    png = picture.png(b"P6\n# by hand\n2 2\n255\n" + pixels)
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    length = int.from_bytes(png[33:37], "big")
    assert zlib.decompress(png[41 : 41 + length]) == b"\0" + pixels[:6] + b"\0" + pixels[6:]
    assert picture.png(png) is png


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"P6 9 9 255\nshort"])
def test_what_is_no_picture_is_a_lab_error(data):
    with pytest.raises(LabError, match="screenshot"):
        picture.png(data)


def test_qemus_log_is_told_without_its_command_line(tmp_path):
    log = tmp_path / "vm.log"
    log.write_text(
        "2030-01-01 10:00:00.500+0000: starting up\nLC_ALL=C \\\nPATH=/bin \\\n/usr/bin/qemu \\\n-name x \\\n-m 1\n"
        "qemu: something odd\n2030-01-01 10:00:02.000+0000: shutting down, reason=crashed\n"
    )
    events = qemu_log(log)
    assert [event.message for event in events] == [
        "starting up",
        "qemu: something odd",
        "shutting down, reason=crashed",
    ]
    assert events[0].at == events[1].at == datetime(2030, 1, 1, 10, 0, 0, 500000, tzinfo=UTC)


def test_a_missing_log_is_no_event(tmp_path):
    assert qemu_log(tmp_path / "none") == []


def test_growth_needs_room_in_the_shape():
    assert Capability.CPU_HOT_ADD not in abilities(Shape(), EMBEDDED)
    roomy = abilities(Shape(max_vcpus=4, max_memory=Size(2 * GiB)), replace(EMBEDDED, kvm=True))
    assert {Capability.CPU_HOT_ADD, Capability.CPU_HOT_REMOVE, Capability.MEMORY_HOT_ADD} <= roomy


def test_emulation_never_learns_that_a_cpu_is_gone():
    roomy = abilities(Shape(max_vcpus=4), EMBEDDED)
    assert Capability.CPU_HOT_ADD in roomy
    assert Capability.CPU_HOT_REMOVE not in roomy


@pytest.mark.parametrize("kvm", [True, False])
def test_behind_a_daemon_no_emulated_machine_gets_vcpus(kvm):
    """Nothing there can have them share a thread, without which an added one may reset the guest."""
    host = replace(EMBEDDED, kvm=kvm, embedded=False)
    assert (Capability.CPU_HOT_ADD in abilities(Shape(max_vcpus=4), host)) == kvm


@pytest.mark.parametrize(("threads", "kvm", "able"), [(1, False, True), (2, False, False), (2, True, True)])
def test_emulated_cpus_show_no_threads(threads, kvm, able):
    shape = Shape(vcpus=2 * threads, topology=Topology(1, 2, threads))
    assert (Capability.TOPOLOGY in abilities(shape, replace(EMBEDDED, kvm=kvm))) == able


def test_emulation_shows_neither_steal_nor_queues():
    assert not abilities(Shape(), EMBEDDED) & {
        Capability.STEAL,
        Capability.PTP,
        Capability.MULTIQUEUE,
        Capability.OFFLOAD,
    }


def test_uefi_behind_a_daemon_has_no_checkpoints():
    assert Capability.CHECKPOINT in abilities(Shape(), DAEMON)
    assert Capability.CHECKPOINT not in abilities(Shape(firmware=Firmware.UEFI), DAEMON)


@pytest.fixture
def ssh(tmp_path, monkeypatch):
    """Puts a script in ssh's place."""

    def install(script):
        (tmp_path / "ssh").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "ssh").chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    return install


def test_a_distant_clock_is_read_with_its_uncertainty(ssh):
    ssh('for word; do last=$word; done; exec sh -c "$last"')
    before = time.time()
    reading = DistantClock("root@far.example", "far").read(Deadline.after(20))
    assert before - reading.uncertainty <= reading.at <= time.time() + reading.uncertainty
    assert reading.uncertainty > 0


def test_a_distant_clock_that_is_fast_is_seen_so(ssh):
    ssh("while read _; do echo 4102444800.5; done")
    reading = DistantClock("root@far.example:2222", "far").read(Deadline.after(20))
    assert abs(reading.at - 4102444800.5) < 5


@pytest.mark.parametrize("script", ["echo 'Permission denied' >&2; exit 255", "echo noon; cat", "exec sleep 60"])
def test_without_an_answer_there_is_no_clock(ssh, script):
    ssh(script)
    with pytest.raises(LabError) as caught:
        DistantClock("root@far.example", "far").read(Deadline.after(1))
    assert (caught.value.host, caught.value.operation) == ("far", "clock")


def test_snapshots_are_found_inside_disks_whether_qemu_has_them_open_or_not(tmp_path):
    """Each disk's, also one whose snapshot no other has: nobody can go back to that, and it takes space."""
    disk = tmp_path / "disk.qcow2"
    qcow2.create(disk, Size(1 << 20), "host", Deadline.after(20))
    assert qcow2.snapshots(disk, "host", Deadline.after(20)) == []
    qcow2.snapshot(disk, "one", "host", Deadline.after(20))
    assert qcow2.snapshots(disk, "host", Deadline.after(20)) == ["one"]
    # Of what QEMU 7.2 answers to query-block, two disks, shortened.
    media = [
        {"drv": "qcow2", "image": {"filename": "/m/system.qcow2", "snapshots": [{"id": "1", "name": "one"}]}},
        {"drv": "qcow2", "image": {"filename": "/m/disk-data0.qcow2", "format": "qcow2"}},
    ]
    assert query_snapshots(media) == ["/m/system.qcow2: one"]


def test_the_bus_of_the_system_disk_is_told_from_those_of_others():
    domain = """<domain><devices>
        <disk device='cdrom'><target dev='sda' bus='sata'/></disk>
        <disk device='disk'><target dev='hda' bus='ide'/></disk>
        <disk device='disk'><serial>data0</serial><target dev='vda' bus='virtio'/></disk>
    </devices></domain>"""
    assert devices.system_bus(parse(domain)) == "ide"
