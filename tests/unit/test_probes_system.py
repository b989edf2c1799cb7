"""What the kernel's log, systemd and sysfs say of a guest as a whole."""

import re
from datetime import timedelta
from types import SimpleNamespace

import pytest

from harness.backends.model import Firmware
from harness.core import GuestError
from harness.guest import kernel, services, system
from harness.guest.result import Result

KMSG = (
    b"5,0,0,-;Linux version 6.1.0-18-amd64 (debian-kernel@lists.debian.org)\n"
    b"6,1,0,-;Command line: BOOT_IMAGE=/vmlinuz root=UUID=x ro\n"
    b"6,412,5140900,-;virtio_net virtio1 ens2: renamed from eth0\n"
    b" SUBSYSTEM=virtio\n DEVICE=+virtio:virtio1\n"
    b"30,413,7000000,c;systemd[1]: Detected virtualization \\xc3\\xa4; fine\n"
)

SHOW = b"""\
Id=qemu-guest-agent.service
LoadState=loaded
ActiveState=active
SubState=running
UnitFileState=static
NRestarts=2
MainPID=431
"""


def message(text: str, sequence: int = 7) -> kernel.Message:
    return kernel.Message(sequence, timedelta(seconds=1), 4, text)


def test_the_kernel_log_is_read_record_by_record() -> None:
    first, second, third, fourth = kernel.parse_log(KMSG)
    assert (first.sequence, first.priority, first.since_boot) == (0, 5, timedelta())
    assert second.text.startswith("Command line: BOOT_IMAGE")
    assert (third.sequence, third.since_boot) == (412, timedelta(seconds=5.1409))
    assert (fourth.priority, fourth.text) == (6, r"systemd[1]: Detected virtualization \xc3\xa4; fine")


@pytest.mark.parametrize(
    "text",
    [
        "Call Trace:",
        "BUG: kernel NULL pointer dereference, address: 0000000000000000",
        "watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [swapper/1:0]",
        "INFO: task kworker/0:1:9 blocked for more than 120 seconds.",
        "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
        "rcu_sched self-detected stall on CPU",
        "Oops: 0002 [#1] PREEMPT SMP PTI",
        "general protection fault, probably for non-canonical address",
        "Kernel panic - not syncing: sysrq triggered crash",
        "blk_update_request: I/O error, dev vda, sector 1",
        "EXT4-fs error (device vda3): ext4_find_entry:1455",
    ],
)
def test_trouble_is_recognised(text: str) -> None:
    assert kernel.troubles([message(text)])


@pytest.mark.parametrize(
    "text",
    [
        "Booting paravirtualized kernel on bare hardware",
        "Spectre V2 : Mitigation: Retpolines",
        "CPU2 has been hot-added",
        "smpboot: CPU 1 is now offline",
        "EXT4-fs (vda3): recovery complete",
        "debug: nothing",
    ],
)
def test_an_ordinary_message_is_no_trouble(text: str) -> None:
    assert kernel.troubles([message(text)]) == []


def test_a_known_message_is_overlooked_and_others_are_not() -> None:
    known = [re.compile("CPU#1 stuck")]
    log = [message("soft lockup - CPU#1 stuck for 22s!"), message("soft lockup - CPU#0 stuck for 22s!")]
    assert kernel.troubles(log, known) == [f"soft lockup: {log[1]}"]


def test_a_unit_is_what_systemctl_shows() -> None:
    unit = services.parse_unit(SHOW)
    assert unit == services.Unit("qemu-guest-agent.service", "loaded", "active", "running", "static", 2, 431)


def test_a_unit_without_processes_has_none() -> None:
    unit = services.parse_unit(
        b"Id=x.target\nLoadState=not-found\nActiveState=inactive\nSubState=dead\nUnitFileState=\n"
    )
    assert (unit.load, unit.restarts, unit.pid) == ("not-found", 0, 0)


def test_failed_units_are_named() -> None:
    text = (
        b"open-vm-tools.service loaded failed failed Service for virtual machines\nx.mount not-found failed failed x\n"
    )
    assert services.parse_failed(text) == ("open-vm-tools.service", "x.mount")
    assert services.parse_failed(b"") == ()


def test_a_service_that_nobody_installed_is_the_products_failure() -> None:
    """Whatever the distribution would call it; one that is there under its second name is found."""
    there = {"qemu-ga.service": SHOW.replace(b"qemu-guest-agent", b"qemu-ga")}
    missing = SHOW.replace(b"LoadState=loaded", b"LoadState=not-found")
    guest = SimpleNamespace(name="guest-1", read=lambda probe: services.parse_unit(there.get(probe.argv[-1], missing)))
    found = services.Services(guest)  # type: ignore[arg-type]
    assert found.first(("qemu-guest-agent.service", "qemu-ga.service")).name == "qemu-ga.service"
    with pytest.raises(AssertionError, match=r"^guest-1: there is no unit a\.service or b\.service$"):
        found.first(("a.service", "b.service"))


def test_a_package_that_is_not_installed_has_no_version() -> None:
    assert services.parse_version(b"") is None
    assert services.parse_version(b"config-files 1:7.2+dfsg-7+deb12u7\n") is None
    assert services.parse_version(b"installed 1:7.2+dfsg-7+deb12u7\n") == "1:7.2+dfsg-7+deb12u7"
    with pytest.raises(ValueError, match="neither dpkg nor rpm"):
        services.parse_version(b"package qemu-guest-agent is not installed\n")


@pytest.mark.parametrize(
    ("text", "phases"),
    [
        (
            b"Startup finished in 6.414s (kernel) + 42.126s (userspace) = 48.540s \ngraphical.target\n",
            {"kernel": 6.414, "userspace": 42.126},
        ),
        (
            b"Startup finished in 3.1s (firmware) + 812ms (loader) + 2.250s (kernel) + 1.5s (initrd) + 1min 2.030s "
            b"(userspace) = 1min 9.692s\n",
            {"firmware": 3.1, "loader": 0.812, "kernel": 2.25, "initrd": 1.5, "userspace": 62.03},
        ),
    ],
)
def test_boot_times_are_told_by_phase(text: bytes, phases: dict[str, float]) -> None:
    seen = system.parse_boot_times(text)
    assert seen is not None
    assert {name: span.total_seconds() for name, span in seen.items()} == phases


@pytest.mark.parametrize("text", [b"", b"Bootup is not yet finished (org.freedesktop.systemd1.Manager.Finish...=0).\n"])
def test_a_boot_that_goes_on_has_no_times_yet(text: bytes) -> None:
    assert system.parse_boot_times(text) is None


def test_dmi_is_empty_where_the_firmware_is_silent() -> None:
    dmi = system.parse_dmi({"/sys/class/dmi/id/sys_vendor": b"QEMU\n"})
    assert (dmi.vendor, dmi.product) == ("QEMU", "")


def test_the_clocksource_is_one_of_those_available() -> None:
    base = "/sys/devices/system/clocksource/clocksource0"
    seen = system.parse_clocksource(
        {f"{base}/current_clocksource": b"hpet\n", f"{base}/available_clocksource": b"hpet acpi_pm \n"}
    )
    assert (seen.current, seen.available) == ("hpet", ("hpet", "acpi_pm"))


def test_a_device_nobody_drives_shows_none() -> None:
    devices = system.parse_paravirtual(b"virtio virtio0 virtio_net\nvirtio virtio1 \npci 0000:03:00.0 vmxnet3\n")
    assert [(device.bus, device.driver) for device in devices] == [
        ("virtio", "virtio_net"), ("virtio", None), ("pci", "vmxnet3"),
    ]  # fmt: skip


def test_host_keys_lose_their_comments() -> None:
    keys = system.parse_host_keys({"/etc/ssh/ssh_host_ed25519_key.pub": b"ssh-ed25519 AAAAC3Nz root@guest\n"})
    assert keys == {"ssh-ed25519 AAAAC3Nz"}


def test_firmware_is_uefi_or_bios() -> None:
    assert system.parse_firmware(b"efi\n") is Firmware.UEFI
    assert system.parse_firmware(b"bios\n") is Firmware.BIOS


@pytest.mark.parametrize(
    ("probe", "output"),
    [
        (kernel.LOG, b"<6>[    0.000000] Linux version\n"),
        (kernel.VERSION, b""),
        (services.FAILED, b"Failed to connect to bus: No such file or directory\n"),
        (system.BOOT_TIMES, b"Startup finished in a while\n"),
        (system.MACHINE_ID, b"uninitialized\n"),
        (system.CLOCKSOURCE, b""),
        (system.RTC, b"/sys/class/rtc/rtc0/since_epoch\0soon\n"),
        (system.HOST_KEYS, b""),
        (system.FIRMWARE, b"maybe\n"),
    ],
)
def test_garbage_from_the_guest_is_one_error_with_probe_and_guest(probe: object, output: bytes) -> None:
    with pytest.raises(GuestError, match=r"^guest-1: .* does not read as expected"):
        probe.value(Result(probe.argv, 0, output, b""), "guest-1")  # type: ignore[attr-defined]
