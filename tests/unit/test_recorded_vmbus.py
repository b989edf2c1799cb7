"""Checks of VMBus and of key-value pairs on recorded guests: no host here has a VMBus, so their bodies run on trees."""

import pytest

from harness.guest import ProbeFailed
from suites.integration import test_exchange, test_pairs, test_vmbus
from suites.vcpu import test_online
from tests.recorded.defects import RECORDED, RecordedDefect
from tests.recorded.guest import Tree
from tests.recorded.hyperv import DISK_DEVICE, beats, device, expectations, recorded

BODIES = {
    "I06": test_vmbus.test_every_device_of_the_vmbus_is_there_and_driven,
    "I07": test_vmbus.test_channels_spread_over_the_cpus,
    "I10": test_vmbus.test_the_heartbeat_is_switched_off_and_on,
    "I14": test_pairs.test_the_daemon_of_key_value_pairs_is_healthy,
    "I17": test_pairs.test_mistakes_with_key_value_pairs_change_nothing,
    "I18": test_exchange.test_exchange_outlives_being_switched_off_and_on,
}
PATIENT = dict.fromkeys(("I07.beat", "I08.heartbeat", "I10.off", "I10.on", "I16.seen", "I18.off", "I18.on"), 5)


@pytest.mark.parametrize("check", BODIES)
def test_a_sound_guest_passes(check, tmp_path):
    """The very body that runs on real guests."""
    guest, _ = recorded(tmp_path)
    BODIES[check](guest, expectations(**PATIENT))


@pytest.mark.parametrize("defect", RECORDED, ids=lambda defect: f"{defect.check} {defect.words}")
def test_a_guest_with_a_defect_fails(defect: RecordedDefect, tmp_path):
    """And the check's words name what is wrong."""
    guest, host = recorded(tmp_path, defect.host, defect.goes_on)
    defect.change(host.tree)
    with pytest.raises(AssertionError, match=rf"(?s){defect.says}"):
        BODIES[defect.check](guest, expectations())


READERS = frozenset({"I06", "I07", "I14"})
"""Those that change nothing, and are looked at together."""


@pytest.mark.parametrize(
    "defect", [each for each in RECORDED if each.check in READERS], ids=lambda defect: f"{defect.check} {defect.words}"
)
def test_no_check_fails_but_those_that_share_its_cause(defect: RecordedDefect, tmp_path):
    guest, host = recorded(tmp_path, defect.host, defect.goes_on)
    defect.change(host.tree)
    failed = set()
    for check in READERS:
        try:
            BODIES[check](guest, expectations())
        except AssertionError:
            failed.add(check)
    assert failed == defect.shared


def test_every_body_has_a_defect_that_it_catches():
    assert {defect.check for defect in RECORDED} == set(BODIES)


def test_what_older_kernels_do_not_tell_is_none(tmp_path):
    """Before Linux 4.14 channels are not counted, and before the channel is open there are no rings."""
    guest, host = recorded(tmp_path)
    for path in [*host.tree.root.rglob("interrupts"), *host.tree.root.rglob("events"), *host.tree.root.rglob("in_*")]:
        path.unlink()
    (disk,) = [found for found in guest.vmbus.devices() if found.name == DISK_DEVICE]
    assert [(channel.relid, channel.cpu, channel.events) for channel in disk.channels] == [(9, 3, None), (11, 0, None)]
    assert disk.inbound is None
    assert disk.outbound is not None


def heeds(tree: Tree) -> None:
    """What a kernel since Linux 5.8 makes of the CPU that a channel's file names."""
    beats(tree)
    for told in tree.root.rglob("channels/*/cpu"):
        mapping = told.parents[2] / "channel_vp_mapping"
        pairs = dict(line.split(":") for line in mapping.read_text().splitlines())
        mapping.write_text(
            "".join(f"{relid}:{cpu}\n" for relid, cpu in {**pairs, told.parent.name: told.read_text().strip()}.items())
        )


def test_a_cpu_that_is_to_go_is_left_by_every_channel(tmp_path):
    """And no other channel moves; an older kernel moves none, which is told."""
    guest, host = recorded(tmp_path, goes_on=heeds)
    before = {device.name: device.cpus for device in guest.vmbus.devices()}
    assert before[DISK_DEVICE] == (3, 0)
    assert guest.vmbus.vacate(3) == ()
    after = {device.name: device.cpus for device in guest.vmbus.devices()}
    assert after == {name: tuple(0 if cpu == 3 else cpu for cpu in cpus) for name, cpus in before.items()}

    for moved in host.tree.root.rglob("channels/*/cpu"):
        moved.unlink()
    old, _ = recorded(tmp_path / "old")
    assert DISK_DEVICE in {device.name for device in old.vmbus.vacate(3)}


def test_a_cpu_whose_channels_stay_is_not_taken_out(tmp_path):
    """The kernel would refuse, and that is no finding: C08 says what it takes."""
    guest, _ = recorded(tmp_path)
    with pytest.raises(pytest.skip.Exception, match=r"(?s)CPU 3 .*Linux 5\.8 and VMBus 4\.1.*" + DISK_DEVICE):
        test_online.take_out(guest, 3)


def test_a_guest_without_a_vmbus_has_no_devices(tmp_path):
    guest, host = recorded(tmp_path)
    host.tree.at("/sys/bus/vmbus").rename(tmp_path / "gone")
    assert guest.vmbus.devices() == ()


def test_paths_of_the_guest_lie_below_the_root_and_no_others(tmp_path):
    tree = Tree("hyperv", tmp_path)
    assert tree.inside("cat /proc/$$/cmdline '/proc/1/comm' </dev/null >/dev/vmbus/hv_kvp") == (
        f"cat /proc/$$/cmdline '{tmp_path}/proc/1/comm' </dev/null >{tmp_path}/dev/vmbus/hv_kvp"
    )


@pytest.mark.parametrize(
    ("path", "content"),
    [
        (device("kvp", "class_id"), "{a9a0f4e7}"),
        (device("kvp", "channel_vp_mapping"), "3"),
        (device("kvp", "in_read_bytes_avail"), "none"),
    ],
)
def test_a_bus_that_does_not_read_as_the_kernels_is_refused_by_name(path, content, tmp_path):
    guest, host = recorded(tmp_path)
    host.tree.write(path, content)
    with pytest.raises(ProbeFailed, match="VMBus devices"):
        guest.vmbus.devices()


def test_half_a_pool_is_refused_and_no_pools_are_none(tmp_path):
    guest, host = recorded(tmp_path)
    host.tree.write("/var/lib/hyperv/.kvp_pool_2", b"half")
    with pytest.raises(ProbeFailed, match="kvp_pool_2"):
        guest.kvp.pools()
    host.tree.at("/var/lib/hyperv").rename(tmp_path / "gone")
    assert guest.kvp.pools() == {}
