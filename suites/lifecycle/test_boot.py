import time
from secrets import token_bytes

import pytest
from interop_fixtures import Capability, Expectations, Guest, Guests, HostUnderTest, Measure

from harness.backends.model import Firmware
from harness.image.store import Store
from harness.measure.views import Views


@pytest.fixture(scope="session")
def proofs() -> dict[str, list[str]]:
    """What was proven about an image, by its digest: once a run, however many hypervisors boot it."""
    return {}


@pytest.mark.check("L01")
@pytest.mark.smoke
def test_the_guest_runs_the_very_image(guest: Guest, proofs: dict[str, list[str]]) -> None:
    """What was tested is what was built: the image is what its name says in every format, and the guest booted it."""
    marks = {guest.image.build_id} if guest.image.build_id else set(guest.image.file_systems)
    assert marks, f"nothing tells the image {guest.image.name} from others: no build id, no file system that we know"
    if guest.image.digest not in proofs:
        proofs[guest.image.digest] = Store().verify(guest.image)
    assert proofs[guest.image.digest], "nothing was proven about the image"
    seen = guest.system.build_id() if guest.image.build_id else guest.disks.root_uuid()
    assert seen in marks, f"the image's own mark is {' or '.join(sorted(marks))}, the guest says {seen}"


@pytest.mark.check("L02")
@pytest.mark.quiet
@pytest.mark.smoke
def test_it_boots(guests: Guests, expect: Expectations, measure: Measure) -> None:
    """From power-on to a shell in reasonable time, and no unit failed on the way."""
    guest = guests.create()
    began = time.monotonic()
    guest.machine.start(expect.deadline("host.verb"))
    guest.wait_ready(expect.deadline("guest.boot"))
    took, limit = time.monotonic() - began, expect.limit("L02.boot")
    measure("boot", took, unit="s", better="lower")
    for phase, span in guest.system.boot_times(expect.deadline("guest.boot")).items():
        measure(f"boot_{phase}", span.total_seconds(), unit="s", better="lower")
    failed = set(guest.services.failed()) - set(expect.words("may_fail"))
    assert not failed, f"units that failed while booting: {sorted(failed)}"
    problems = guest.kernel.problems(ignore=expect.noise)
    assert not problems, f"the kernel complained while booting: {problems}"
    assert limit.allows(took), f"the first shell answered after {took:.0f} s, not {limit}"
    guests.hand_on(guest)


@pytest.mark.check("L04")
@pytest.mark.changes_guest
def test_synced_data_outlive_a_reset_and_a_power_cut(guest: Guest, expect: Expectations) -> None:
    """What a program synced is there after the worst that can happen, and the guest boots again by itself."""
    machine = guest.machine
    for action in ("reset", "power cut"):
        before, path = guest.boot_id, f"/var/tmp/interop {action}"
        guest.files.write(path, token_bytes(expect.size("L04.size")))
        guest.run(["sync", "--", path])
        written = guest.files.sha256(path)
        if action == "reset":
            machine.reset(expect.deadline("host.verb"))
        else:
            machine.stop(expect.deadline("host.verb"))
            machine.start(expect.deadline("host.verb"))
        guest.reboot_seen(before, expect.deadline("L04.boot"))
        assert guest.boot_id != before, f"after a {action} the same boot goes on"
        assert guest.files.exists(path), f"after a {action} the synced file is gone"
        assert guest.files.sha256(path) == written, f"after a {action} the synced file is another"
        problems = guest.kernel.problems(ignore=expect.noise)
        assert not problems, f"after a {action} the kernel complains: {problems}"
        damaged = {device: count for device, count in guest.disks.errors().items() if count}
        assert not damaged, f"after a {action} file systems remember errors: {damaged}"
        writable = guest.run(["touch", path], check=False)
        assert writable.ok, (
            f"after a {action} the file system takes no writes: {writable.stderr.decode(errors='replace')}"
        )


@pytest.mark.check("L13")
@pytest.mark.parametrize(
    "firmware",
    [
        pytest.param(
            Firmware.BIOS,
            id="bios",
            marks=[pytest.mark.smoke, pytest.mark.shape(firmware="bios"), pytest.mark.needs(Capability.BIOS)],
        ),
        pytest.param(
            Firmware.UEFI, id="uefi", marks=[pytest.mark.shape(firmware="uefi"), pytest.mark.needs(Capability.UEFI)]
        ),
    ],
)
def test_firmware_is_as_asked(guest: Guest, expect: Expectations, firmware: Firmware) -> None:
    """A machine asked for with UEFI starts by UEFI, and one with BIOS by BIOS: the guest can tell."""
    host = guest.machine.view(expect.deadline("host.verb"))
    views = Views("firmware", asked=firmware, host=host.firmware, guest=guest.system.firmware())
    assert views.agree, views


@pytest.mark.check("L10")
@pytest.mark.needs(Capability.LINKED_CLONE)
def test_clones_do_not_meet(guests: Guests, host: HostUnderTest, expect: Expectations) -> None:
    """Two guests of one image share no identity and no data, and leave the image as it was."""
    one, other = guests.start(), guests.start()
    for what, ours, theirs in (
        ("machine id", {one.system.machine_id()}, {other.system.machine_id()}),
        ("host keys", one.system.host_keys(), other.system.host_keys()),
        ("MACs", set(one.nics.all()), set(other.nics.all())),
        ("boot id", {one.boot_id}, {other.boot_id}),
    ):
        assert not ours & theirs, f"two clones share their {what}: {ours & theirs}"
    assert one.system.build_id() == other.system.build_id(), "two clones of one image were built differently"

    one.files.write("/var/tmp/interop-only-here", b"mine")
    one.run(["sync"])
    other.shell("echo 3 >/proc/sys/vm/drop_caches")
    assert not other.files.exists("/var/tmp/interop-only-here"), "what one clone wrote, the other reads"
    base = host.hypervisor.publish(one.image, expect.deadline("host.publish"))
    assert base.digest == one.image.digest
    assert Store().verify(one.image), "nothing was proven about the image after its clones wrote"


@pytest.mark.check("L03")
@pytest.mark.slow
@pytest.mark.changes_guest
def test_it_reboots_time_and_again(guest: Guest, expect: Expectations) -> None:
    """A guest that is rebooted again and again comes back each time, in a new boot, with all that ran before."""
    rounds, boots = expect.count("L03.rounds"), [guest.boot_id]
    guest.system.boot_times(expect.deadline("guest.boot"))
    wanted = (*expect.words("L03.services"), *expect.words("daemons"))
    services = [guest.services.first(names.split()).name for names in wanted]
    down = [name for name in services if not guest.services.active(name)]
    assert not down, f"services that do not run before the first reboot: {down}"
    for number in range(1, rounds + 1):
        guest.run(["systemctl", "--no-block", "reboot"])
        guest.reboot_seen(boots[-1], expect.deadline("L03.boot"))
        boots.append(guest.boot_id)
        guest.system.boot_times(expect.deadline("guest.boot"))
        down = [name for name in services if not guest.services.active(name)]
        assert not down, f"services that did not come back in reboot {number} of {rounds}: {down}"
        failed = set(guest.services.failed()) - set(expect.words("may_fail"))
        assert not failed, f"units that failed in reboot {number} of {rounds}: {sorted(failed)}"
        problems = guest.kernel.problems(ignore=expect.noise)
        assert not problems, f"the kernel complained in reboot {number} of {rounds}: {problems}"
    assert len(set(boots)) == rounds + 1, f"{rounds} reboots came to {len(set(boots)) - 1} new boots: {boots}"
