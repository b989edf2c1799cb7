import re

import pytest
from interop_fixtures import Capability, Expectations, Guest, Guests, HostUnderTest, Topology

from harness.backends.model import Firmware
from harness.core import Pending, Size, wait_for
from harness.guest.disks import Disk, DiskData
from harness.guest.load import moving_data
from harness.guest.nics import address_of
from harness.guest.streams import End
from harness.measure.views import Views

# What the kernel writes of a CPU that did not come (arch/x86/kernel/smpboot.c, kernel/cpu.c).
STUCK = re.compile(
    r"CPU\s?#?\d+:? (failed|Stuck|Not responding)|do_boot_cpu failed|failed to report alive|Failed to bring up CPU"
)


def stuck(guest: Guest) -> list[str]:
    """What the kernel says of CPUs that did not come when it booted."""
    return [str(message) for message in guest.kernel.log() if STUCK.search(message.text)]


@pytest.mark.check("C01")
@pytest.mark.parametrize(
    "vcpus",
    [
        pytest.param(1, marks=pytest.mark.shape(vcpus=1)),
        pytest.param(2, marks=[pytest.mark.shape(vcpus=2), pytest.mark.smoke]),
        pytest.param(4, marks=pytest.mark.shape(vcpus=4)),
        pytest.param(8, marks=pytest.mark.shape(vcpus=8)),
    ],
)
def test_every_vcpu_comes_online(guest: Guest, expect: Expectations, vcpus: int) -> None:
    """Who asks for N vCPUs gets N that run, and the kernel waited for none of them in vain."""
    host = guest.machine.view(expect.deadline("host.verb"))
    views = Views("vCPUs online", asked=vcpus, host=host.vcpus, guest=len(guest.cpus.online()))
    assert views.agree, views
    assert not stuck(guest), f"CPUs that did not respond at boot: {stuck(guest)}"


@pytest.mark.check("C02")
@pytest.mark.slow
@pytest.mark.parametrize(
    "firmware",
    [
        pytest.param(
            Firmware.BIOS, id="bios", marks=[pytest.mark.shape(firmware="bios"), pytest.mark.needs(Capability.BIOS)]
        ),
        pytest.param(
            Firmware.UEFI, id="uefi", marks=[pytest.mark.shape(firmware="uefi"), pytest.mark.needs(Capability.UEFI)]
        ),
    ],
)
def test_the_largest_machine_boots(
    guests: Guests, host: HostUnderTest, expect: Expectations, firmware: Firmware
) -> None:
    """Who needs the largest machine that there is gets it: it boots, and all of its vCPUs run."""
    most, lent = expect.count("C02.vcpus"), host.settings.limits[0]
    vcpus = min(most, host.facts.max_vcpus, lent or most)
    guest = guests.cold(vcpus=vcpus, memory=expect.size("C02.memory"))
    seen = guest.machine.view(expect.deadline("host.verb"))
    of = f"vCPUs online, of at most {most} expected, {host.facts.max_vcpus} of the host, {lent} lent by the lab"
    views = Views(of, asked=vcpus, host=seen.vcpus, guest=len(guest.cpus.online()))
    assert views.agree, str(views)
    assert seen.firmware is firmware, f"{firmware} was asked for, the host says {seen.firmware}"
    assert not stuck(guest), f"CPUs that did not respond at boot: {stuck(guest)}"


@pytest.mark.check("C03")
@pytest.mark.parametrize(
    "topology",
    [
        pytest.param(Topology(2, 2, 1), id="2x2x1", marks=pytest.mark.shape(vcpus=4, topology=Topology(2, 2, 1))),
        pytest.param(Topology(1, 2, 2), id="1x2x2", marks=pytest.mark.shape(vcpus=4, topology=Topology(1, 2, 2))),
    ],
)
@pytest.mark.needs(Capability.TOPOLOGY)
def test_topology_is_as_asked(guest: Guest, expect: Expectations, topology: Topology) -> None:
    """Licences and schedulers count sockets, cores and threads: each factor is the one that was asked for."""
    host = guest.machine.view(expect.deadline("host.verb")).topology
    seen = guest.cpus.topology()
    assert not seen.contradictions(), f"the kernel's maps contradict each other: {seen.contradictions()}"
    for factor, asked, by_host, by_guest in (
        ("sockets", topology.sockets, host and host.sockets, {seen.sockets}),
        ("cores in each socket", topology.cores, host and host.cores, seen.cores_per_socket),
        ("threads on each core", topology.threads, host and host.threads, seen.threads_per_core),
    ):
        views = Views(factor, asked={asked}, host={by_host}, guest=by_guest)
        assert views.agree, views


@pytest.mark.check("C06")
@pytest.mark.smoke
@pytest.mark.quiet
def test_every_vcpu_does_work(guest: Guest, expect: Expectations) -> None:
    """A vCPU that is online also computes: a program pinned to it gets nearly all of its time.

    Alone on the processors: whoever else works there takes of the time that is measured.
    """
    limit = expect.limit("C06.busy")
    done = guest.cpus.work(expect.duration("C06.span"))
    assert len(done) == guest.shape.vcpus, f"asked for {guest.shape.vcpus} vCPUs, {len(done)} could be pinned to"
    for cpu, work in done.items():
        assert work.ran_on == {cpu}, f"pinned to CPU {cpu}, the program ran on {sorted(work.ran_on)}"
        share = work.user / work.span
        assert limit.allows(share), (
            f"CPU {cpu}: user time is {share:.2f} of {work.span.total_seconds():.2f} s, not {limit}"
        )


def take_out(guest: Guest, cpu: int) -> None:
    """Take a CPU out of service, and see that just this one went."""
    before = guest.cpus.online()
    if bound := guest.vmbus.vacate(cpu):
        pytest.skip(f"channels on CPU {cpu} do not move, which takes Linux 5.8 and VMBus 4.1: {bound}")
    guest.cpus.set_online(cpu, online=False)
    left = guest.cpus.online()
    assert left == before - {cpu}, f"CPU {cpu} was taken offline; online: {sorted(left)}"


def put_back(guest: Guest, cpu: int) -> None:
    """Put a CPU back into service, and see that just this one came."""
    before = guest.cpus.online()
    guest.cpus.set_online(cpu, online=True)
    back = guest.cpus.online()
    assert back == before | {cpu}, f"CPU {cpu} was put back; online: {sorted(back)}"


@pytest.mark.check("C08")
@pytest.mark.smoke
@pytest.mark.changes_guest
def test_a_cpu_goes_offline_and_comes_back(guest: Guest, expect: Expectations) -> None:
    """An administrator can take any CPU but the first out of service, and nothing else changes."""
    all_of_them = guest.cpus.online()
    assert len(all_of_them) == guest.shape.vcpus >= 2, f"asked for {guest.shape.vcpus}, online: {sorted(all_of_them)}"
    with guest.kernel.undisturbed(expect.noise):
        for cpu in sorted(all_of_them - {0}):
            take_out(guest, cpu)
            put_back(guest, cpu)
            assert guest.cpus.work(expect.duration("C08.span"))[cpu].rounds > 0, f"CPU {cpu} came back and does no work"


@pytest.mark.check("C08", part="under load")
@pytest.mark.needs(Capability.PEER_NETWORK)
@pytest.mark.shape(nics=2, data_disks=["1 GiB"])
@pytest.mark.slow
@pytest.mark.changes_guest
def test_cpus_go_and_come_back_under_load(guest: Guest, peer: Guest, expect: Expectations) -> None:
    """CPUs go out of service while programs work: no byte on its way to a disk or over the network is lost."""
    all_of_them, asked = guest.cpus.online(), guest.machine.spec.disks[0].serial
    assert len(all_of_them) == guest.shape.vcpus >= 2, f"asked for {guest.shape.vcpus}, online: {sorted(all_of_them)}"
    disk = guest.disks.by_serial(asked)
    assert disk, f"asked for a disk {asked}; the guest has {guest.disks.all()}"
    source, target = (End(each, address_of(each.identity.nics[1])) for each in (peer, guest))
    size, enough, mac = expect.size("C08.written"), expect.size("C08.moved"), guest.identity.nics[1].mac
    errors, nic = guest.disks.scsi_errors(), guest.nics.by_mac(mac)

    def busy(when: str) -> None:
        """See that disk and NIC are at work, and no longer with what began before."""
        first = _moved(guest, disk, mac)

        def moved() -> bool | Pending:
            more = [now - then for now, then in zip(_moved(guest, disk, mac), first, strict=True)]
            return True if min(more) >= enough else Pending(f"{more[0]} bytes by {disk.name}, {more[1]} by {mac}")

        wait_for(f"data to move {when}", moved, expect.deadline("C08.busy"), fault=AssertionError)

    with guest.kernel.undisturbed(expect.noise):
        with moving_data(disk, size, source, target, expect.count("C08.streams")) as seen:
            busy("before any CPU goes")
            for cpu in sorted(all_of_them - {0}):
                take_out(guest, cpu)
                busy(f"without CPU {cpu}")
                put_back(guest, cpu)
                busy(f"once CPU {cpu} is back")
        harmed = [pair for pair in seen.written if not _whole(pair, size)]
        assert seen.written, "nothing was written meanwhile"
        assert not harmed, f"of {len(seen.written)} times that {size} were written and read, these went wrong: {harmed}"
        torn = [flow for flow in seen.flows if not flow.whole]
        assert not torn, f"of {len(seen.flows)} streams from {source} to {target} these came to harm: {torn}"
        failed = guest.disks.scsi_errors()
        assert failed == errors, f"commands of disks failed: {errors} before, {failed} now"
        now = guest.nics.by_mac(mac)
        assert (now.received.errors, now.sent.errors) == (nic.received.errors, nic.sent.errors), f"{nic}, then {now}"


def _moved(guest: Guest, disk: Disk, mac: str) -> tuple[int, int]:
    io, nic = guest.disks.io()[disk.name], guest.nics.by_mac(mac)
    return io.read + io.written, nic.received.bytes


def _whole(pair: tuple[DiskData, DiskData], size: Size) -> bool:
    written, read = pair
    return (written.size, read.size, written.error, read.error) == (
        size,
        size,
        "",
        "",
    ) and written.sha256 == read.sha256
