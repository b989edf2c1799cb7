"""What documents of vSphere leave open, or what only others reported: seen on this host, and noted with its figures.

Of hosts of the backend ``vsphere`` alone, twins included. By pyVmomi as its users write it wherever our driver would
hide what the host does. A test here fails where the driver rests on what is not so; all else is a note.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import secrets
import statistics
import subprocess
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import pairwise
from urllib.parse import urlsplit

import pytest

from harness.backends.capabilities import Capability
from harness.backends.model import Owned, PowerState, ResourceKind, Shape
from harness.core import InteropError, LabError, MiB, Pending, Size, wait_for
from harness.core.waiting import pause
from harness.image.model import Format, Image
from tests.contract.vsphere import content, done, ended, every, vim_fault

ROOMY = Shape(vcpus=1, memory=Size(256 * MiB), max_vcpus=2, max_memory=Size(512 * MiB))
UNSET = (
    "snapshot",
    "resourceConfig",
    "guestHeartbeatStatus",
    "runtime.question",
    "runtime.bootTime",
    "guest.ipAddress",
)
STALLED_FOR = 420.0
"""Others saw a lease end after 300 s without news."""
TWIN_LEASE = 3
IDLE = "INTEROP_IDLE_MINUTES"
"""For how long to leave a session alone."""


class Watch:
    """Seconds since it was made."""

    def __init__(self):
        self.began = time.monotonic()

    @property
    def seconds(self):
        return round(time.monotonic() - self.began, 3)


def name_of(fault):
    """A fault's type without its packages; ``accepted`` where there was none."""
    return "accepted" if fault is None else type(fault).__name__.rpartition(".")[2]


@pytest.fixture
def service(site):
    """A login of this test's own."""
    with content(site) as logged_in:
        yield logged_in


def raw(service, machine):
    """A machine of ours, as pyVmomi has it."""
    from pyVmomi import vim

    return vim.VirtualMachine(machine.id, service.rootFolder._stub)


@pytest.fixture
def small_image(tmp_path):
    """An image nobody has: 8 MiB that do not compress."""
    disk, vmdk = tmp_path / "disk.raw", tmp_path / "disk.vmdk"
    disk.write_bytes(secrets.token_bytes(8 * MiB))
    argv = ["qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", disk, vmdk]
    subprocess.run(argv, check=True, timeout=60)
    return Image("small", hashlib.sha256(disk.read_bytes()).hexdigest(), {Format.VMDK: vmdk}, Size(8 * MiB))


# 1: import, clone, power-on; an uploader that stalls.


def test_an_image_is_imported_cloned_and_powered_on(site, seen, small_image):
    """How long each takes; the guests' own image is in the verbs."""
    took = Watch()
    published = site.hypervisor.publish(small_image, site.deadline(600))
    imported = took.seconds
    again = Watch()
    assert site.hypervisor.publish(small_image, site.deadline()) == published
    found = again.seconds
    base = Owned(ResourceKind.IMAGE, published.handle, site.run.owner)
    site.hypervisor.remove(base, site.deadline())
    assert site.published.handle
    took = Watch()
    machine = site.create()
    cloned = took.seconds
    try:
        took = Watch()
        machine.start(site.deadline())
        seen.tell(
            "import, clone, power-on",
            imported_bytes=small_image.files[Format.VMDK].stat().st_size,
            import_seconds=imported,
            imported_already_seconds=found,
            linked_clone_seconds=cloned,
            power_on_seconds=took.seconds,
        )
        assert site.view(machine).state is PowerState.RUNNING
    finally:
        site.destroy(machine)


def test_a_lease_of_which_nothing_is_heard_ends_and_takes_its_machine_along(
    site, seen, service, small_image, impatient
):
    """After how long, and in which words: its upload halts in the middle, and its connection stays. An uploader of ours
    tells its progress every other second.
    """
    from pyVmomi import vim

    lease = stalled(site, service)
    try:

        def ready():
            return lease.state if lease.state in ("ready", "error") else Pending(lease.state)

        assert wait_for("the lease", ready, site.deadline()) == "ready"
        machine, told = lease.info.entity, lease.info.leaseTimeout
        state = "ready"
        with half_sent(site, service, lease, small_image.files[Format.VMDK]) as (sent, rest):
            took = Watch()
            with contextlib.suppress(LabError):
                wait_for(
                    "the lease to end", lambda: lease.state == "error" or Pending(lease.state), impatient, every=0.5
                )
                state = "error"
            seconds = took.seconds
            afterwards = rest()
            stays = machine in every(service, vim.VirtualMachine)
        fault = getattr(lease, "error", None)
        seen.tell(
            "an uploader that stalls",
            bytes_sent=sent,
            timeout_told_seconds=told,
            ended=state == "error",
            after_seconds=seconds,
            fault=name_of(fault) if fault else "none",
            rest_of_the_upload=afterwards,
            machine_stays=stays,
            **({"a_twin_that_waits_seconds": TWIN_LEASE} if site.host.twin else {}),
        )
    finally:
        with contextlib.suppress(vim_fault()):
            lease.HttpNfcLeaseAbort(None)
        for left in every(service, vim.VirtualMachine, f"contract-{site.run.id}-stalled"):
            with contextlib.suppress(AssertionError, vim_fault()):
                done(left.Destroy_Task())
    assert not every(service, vim.VirtualMachine, f"contract-{site.run.id}-stalled")
    if site.host.twin:  # of which that much is known
        assert (state, stays, afterwards.startswith("status")) == ("error", False, False)


@pytest.fixture
def impatient(site):
    """How long to watch a lease; a twin is told to lose its patience sooner than its usual five minutes."""
    twin = site.record()
    if twin is None:
        yield site.deadline(STALLED_FOR)
        return
    from harness.twins.vsphere.control import Control, Plan

    Control(twin.said).plan(Plan(lease_seconds=TWIN_LEASE))
    yield site.deadline(10 * TWIN_LEASE)
    Control(twin.said).plan()


@contextlib.contextmanager
def half_sent(site, service, lease, vmdk):
    """The first half of a lease's upload, on a connection that stays; gives its length, and what sends the rest and
    says what came of it.
    """
    from harness.backends.vsphere import tls

    settings = site.hypervisor.session.settings
    url = next(one for one in lease.info.deviceUrl if one.disk or one.targetId)
    target = urlsplit(url.url)
    own, port = settings.address
    address = own if target.hostname in (None, "*") else target.hostname
    # An ESXi behind a vCenter is known by what the vCenter tells of it, where the lab has no CA.
    pinned = settings.thumbprint if address == own else url.sslThumbprint
    trust = tls.context(settings.ca, None if settings.ca else pinned, site.host.name)
    content, half = vmdk.read_bytes(), vmdk.stat().st_size // 2
    connection = http.client.HTTPSConnection(address, target.port or port, context=trust, timeout=60)

    def rest():
        try:
            connection.send(content[half:])
            return f"status {connection.getresponse().status}"
        except (OSError, http.client.HTTPException) as error:
            return type(error).__name__

    with contextlib.closing(connection):
        connection.putrequest("POST", f"{target.path}?{target.query}" if target.query else target.path)
        connection.putheader("Content-Type", "application/x-vnd.vmware-streamVmdk")
        connection.putheader("Content-Length", str(len(content)))
        connection.putheader("Cookie", service.rootFolder._stub.cookie.partition(";")[0])
        connection.endheaders()
        connection.send(content[:half])
        yield half, rest


def stalled(site, service):
    """A lease for one disk; nobody tells of any progress."""
    from pyVmomi import vim

    device = vim.vm.device
    backing = device.VirtualDisk.FlatVer2BackingInfo(fileName="", diskMode="persistent", thinProvisioned=True)
    disk = device.VirtualDisk(key=-2, controllerKey=-1, unitNumber=0, capacityInKB=8 << 10, backing=backing)
    controller = device.ParaVirtualSCSIController(key=-1, busNumber=0, sharedBus="noSharing")
    mine = vim.VirtualMachine(site.published.handle, service.rootFolder._stub)
    host, store = mine.runtime.host, mine.datastore[0]
    config = vim.vm.ConfigSpec(
        name=f"contract-{site.run.id}-stalled",
        memoryMB=64,
        numCPUs=1,
        guestId="otherLinux64Guest",
        files=vim.vm.FileInfo(vmPathName=f"[{store.name}]"),
        deviceChange=[
            device.VirtualDeviceSpec(operation="add", device=controller),
            device.VirtualDeviceSpec(operation="add", fileOperation="create", device=disk),
        ],
    )
    return mine.resourcePool.ImportVApp(vim.vm.VmImportSpec(configSpec=config), mine.parent, host)


# 2: what is not set.


def test_a_property_that_is_not_set_is_missing_from_the_collectors_answer(seen, service, machine):
    """Read as an attribute it is None, an error, or something else: our driver reads no attributes."""
    from pyVmomi import vim, vmodl

    mine = raw(service, machine)
    collector = vmodl.query.PropertyCollector
    spec = collector.FilterSpec(
        objectSet=[collector.ObjectSpec(obj=mine)],
        propSet=[collector.PropertySpec(type=vim.VirtualMachine, pathSet=["name", *UNSET])],
    )
    (answer,) = service.propertyCollector.RetrievePropertiesEx([spec], collector.RetrieveOptions()).objects
    values = {one.name: type(one.val).__name__ for one in answer.propSet}
    missing = {one.path: name_of(one.fault.fault) for one in answer.missingSet or ()}
    notes = {}
    for path in UNSET:
        try:
            value = mine
            for part in path.split("."):
                value = getattr(value, part)
            attribute = "None" if value is None else type(value).__name__
        except (AttributeError, TypeError, vim_fault()) as error:
            attribute = f"raises {name_of(error)}"
        notes[path] = f"attribute: {attribute}; collector: {missing.get(path) or values.get(path) or 'absent'}"
    seen.tell("properties that are not set", **notes)
    assert "name" in values
    for path in ("snapshot", "runtime.question", "runtime.bootTime", "guest.ipAddress"):
        assert path not in values, values


# 3: sessions.


def test_a_session_that_was_ended_is_not_authenticated_and_our_driver_logs_in_anew(site, seen, service):
    """Ended by force; the next call of the driver works all the same."""
    from pyVmomi import vim

    again = site.connect()
    try:
        key, by = again.session.key, "TerminateSession"
        try:
            service.sessionManager.TerminateSession([key])
        except vim.fault.NoPermission:  # it may be wanted even for one's own
            by = "Logout"
            again.session.call("log out", again.session.manager("sessionManager"), "Logout", site.deadline())
        took = Watch()
        again.owned(site.deadline(), site.run.id)
        renewed = took.seconds
        assert again.session.key != key
    finally:
        again.close()
    with content(site) as other:
        other.sessionManager.Logout()
        fault = None
        try:
            every(other, vim.VirtualMachine)
        except vim_fault() as error:
            fault = error
    seen.tell("a session that was ended", by=by, fault=name_of(fault), next_call_with_login_seconds=renewed)
    assert isinstance(fault, vim.fault.NotAuthenticated)


def test_a_session_that_is_left_alone_ends_at_last(site, seen):
    """A vCenter's after half an hour (reported), a twin's may not: waited for where the environment says how long.
    Whatever the host does, our driver's own session can be used afterwards.
    """
    from pyVmomi import vim

    minutes = float(os.environ.get(IDLE, "0"))
    if not minutes:
        pytest.skip(f"nobody waits for a session to end for being idle: {IDLE}=35 in the environment does")
    again = site.connect()
    try:
        with content(site) as alone:
            pause(timedelta(minutes=minutes))
            fault = None
            try:
                every(alone, vim.VirtualMachine)
            except vim_fault() as error:
                fault = error
        before = again.session.trips["Login"]
        again.owned(site.deadline(), site.run.id)
        renewed = again.session.trips["Login"] - before
    finally:
        again.close()
    seen.tell("a session that was left alone", minutes=minutes, fault=name_of(fault), our_driver_logged_in_anew=renewed)
    assert fault is None or isinstance(fault, vim.fault.NotAuthenticated)


def test_one_account_holds_several_sessions_at_once(site, seen):
    """As workers of a run do; one that is closed takes no other along."""
    many = 4
    barrier = threading.Barrier(many, timeout=120)

    def work(_):
        took = Watch()
        with content(site) as mine:
            seconds = took.seconds
            barrier.wait()
            key = mine.sessionManager.currentSession.key
            barrier.wait()
        return seconds, key

    with content(site) as other, ThreadPoolExecutor(many) as crowd:
        opened = list(crowd.map(work, range(many)))
        assert other.sessionManager.currentSession is not None
    seconds = [each for each, _ in opened]
    keys = {key for _, key in opened}
    seen.tell("sessions of one account", at_once=many + 1, median_login_seconds=round(statistics.median(seconds), 3))
    assert len(keys) == many


# 4: going back to a memory snapshot.


@pytest.mark.proves(Capability.CHECKPOINT_WITH_MEMORY)
def test_going_back_to_memory_takes_the_guests_clock_along_and_is_told_of(site, seen, service, spoilt):
    """How far its clock is behind then, and which events and tasks appear."""
    machine, mine = spoilt.machine, raw(service, spoilt.machine)
    before = ahead(spoilt)
    machine.checkpoint("contract-clock", site.deadline(600), memory=True)
    since = Watch()
    pause(timedelta(seconds=5))
    known = {event.key for event in events(service, mine)}
    took = Watch()
    machine.revert("contract-clock", site.deadline(600))
    reverted = took.seconds
    site.meet_again(spoilt)
    elapsed = since.seconds
    after = ahead(spoilt)
    pause(timedelta(seconds=5))
    later = ahead(spoilt)
    found = Counter(
        type(event).__name__.rpartition(".")[2] for event in events(service, mine) if event.key not in known
    )
    tasks = [task.info.descriptionId for task in mine.recentTask if not gone(task)]
    seen.tell(
        "a memory snapshot that is gone back to",
        revert_seconds=reverted,
        since_snapshot_seconds=elapsed,
        clock_behind_seconds=round(before - after, 3),
        clock_behind_after_five_more_seconds=round(before - later, 3),
        events=[f"{kind} x{count}" for kind, count in sorted(found.items())],
        tasks=sorted(set(tasks)),
    )
    assert -1 < before - after <= elapsed + 5


def ahead(guest):
    """How far the guest's clock is ahead of ours, in seconds."""
    asked = time.time()
    told = float(guest.run(["date", "+%s.%N"]).text)
    return told - (asked + time.time()) / 2


def events(service, mine):
    """What the host remembers of a machine."""
    from pyVmomi import vim

    only = vim.event.EventFilterSpec.ByEntity(entity=mine, recursion="self")
    return service.eventManager.QueryEvents(vim.event.EventFilterSpec(entity=only, maxCount=1000)) or []


def gone(task):
    """Whether the host has forgotten a task."""
    try:
        return task.info is None
    except vim_fault():
        return True


# 5: hot-plug.


def test_what_a_running_machine_refuses_is_a_fault_of_its_own(site, seen, service):
    """Each by the fault's type; our driver says Refused of what it does not ask at all."""
    from pyVmomi import vim

    spec = vim.vm.ConfigSpec
    roomy = site.can(Capability.CPU_HOT_ADD, ROOMY) and site.can(Capability.MEMORY_HOT_ADD, ROOMY)
    machine = site.create(ROOMY if roomy else Shape(vcpus=1, memory=Size(256 * MiB)))
    plain = site.create()
    asked = {
        "add a vCPU": (machine, lambda now: spec(numCPUs=2)),
        "add memory": (machine, lambda now: spec(memoryMB=384)),
        "remove a vCPU": (machine, lambda now: spec(numCPUs=1)),
        "remove memory": (machine, lambda now: spec(memoryMB=256)),
        "add 10000 vCPUs": (machine, lambda now: spec(numCPUs=10000)),
        "add memory beyond the host's": (machine, lambda now: spec(memoryMB=64 << 20)),
        "add memory by one MiB": (machine, lambda now: spec(memoryMB=385)),
        "change its firmware": (machine, lambda now: spec(firmware="efi")),
        "turn hot add off": (machine, lambda now: spec(cpuHotAddEnabled=False)),
        "add a vCPU without hot add": (plain, lambda now: spec(numCPUs=2)),
        "add memory without hot add": (plain, lambda now: spec(memoryMB=512)),
        "remove the disk it runs from": (
            plain,
            lambda now: spec(deviceChange=[removal(now, vim.vm.device.VirtualDisk)]),
        ),
        "remove its controller": (
            plain,
            lambda now: spec(deviceChange=[removal(now, vim.vm.device.VirtualSCSIController)]),
        ),
        "remove its NIC": (plain, lambda now: spec(deviceChange=[removal(now, vim.vm.device.VirtualEthernetCard)])),
    }
    notes = {}
    try:
        for one in (machine, plain):
            one.start(site.deadline())
        for what, (one, change) in asked.items():
            mine = raw(service, one)
            took = Watch()
            try:
                fault = ended(mine.ReconfigVM_Task(change(mine)))
            except vim_fault() as error:
                fault = error
            notes[what] = f"{name_of(fault)} ({took.seconds:.2f} s)"
        seen.tell("changes of a running machine", **notes)
        for one in (machine, plain):
            assert site.view(one).state is PowerState.RUNNING
    finally:
        site.destroy(machine)
        site.destroy(plain)
    for what in ("add 10000 vCPUs", "add memory beyond the host's", "add a vCPU without hot add"):
        assert not notes[what].startswith("accepted"), notes


def removal(mine, kind):
    """The removal of a machine's first device of a kind."""
    from pyVmomi import vim

    device = next(one for one in mine.config.hardware.device if isinstance(one, kind))
    return vim.vm.device.VirtualDeviceSpec(operation="remove", device=device)


@pytest.mark.proves(Capability.LINK_STATE)
def test_a_running_machines_nic_is_disconnected_and_connected(site, seen, service, guest):
    """How soon the guest sees its cable go and come; what the host shows of it then."""
    from pyVmomi import vim

    mine, mac = raw(service, guest.machine), guest.identity.nics[1].mac
    cards = [one for one in mine.config.hardware.device if isinstance(one, vim.vm.device.VirtualEthernetCard)]
    (card,) = [one for one in cards if one.macAddress.lower() == mac]
    notes = {}
    for word, up in (("out", False), ("in", True)):
        card.connectable.connected = up
        change = vim.vm.device.VirtualDeviceSpec(operation="edit", device=card)
        took = Watch()
        done(mine.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[change])))
        notes[f"cable_{word}_task_seconds"] = took.seconds
        guest.nics.wait_carrier(mac, up, site.deadline(60))
        notes[f"cable_{word}_seen_by_guest_seconds"] = took.seconds
        shown = next(one for one in mine.config.hardware.device if one.key == card.key).connectable
        notes[f"cable_{word}_shown"] = f"connected {shown.connected}, status {shown.status}"
        assert bool(shown.connected) is up
    seen.tell("a NIC's cable while running", **notes)


# 6: the serial port's file.


def test_what_a_guest_prints_is_readable_on_the_datastore_soon(site, seen, guest):
    """How soon, by reading the file of its serial port over and over."""
    took = []
    for _ in range(5):
        word = secrets.token_hex(8).encode()
        console, end = guest.machine.console(), guest.console.end
        guest.run(["tee", "/dev/ttyS0"], stdin=word + b"\n")
        since = Watch()

        def there(console=console, end=end, word=word):
            return word in console.read(end, 1 << 16) or Pending("nothing yet")

        wait_for("the word in the file", there, site.deadline(60), every=0.02, fault=AssertionError)
        took.append(since.seconds)
    seen.tell("the serial port's file", median_seconds=statistics.median(took), longest_seconds=max(took))


def test_the_serial_file_has_bytes_soon_after_power_on(site, seen, machine):
    """The first ones, and whether the file is there before."""
    before = len(machine.console().read(0, 100))
    machine.start(site.deadline())
    took = Watch()
    refusals = Counter()

    def first():
        try:
            return len(machine.console().read(0, 100)) or Pending("an empty file")
        except InteropError as error:
            refusals[type(error).__name__] += 1
            return Pending(error.message)

    wait_for("the first byte", first, site.deadline(), every=0.1, fault=AssertionError)
    seen.tell(
        "the serial port's file after power-on",
        bytes_before=before,
        first_byte_seconds=took.seconds,
        refusals=dict(refusals),
    )
    assert not refusals


# 7: clocks.


def test_the_hosts_clock_tells_time_in_steps(site, seen, service):
    """Of how much, the ESXi's own and the service's; and how well our driver knows the first all the same."""
    from pyVmomi import vim

    settings = site.hypervisor.session.settings
    (host,) = [one for one in every(service, vim.HostSystem) if settings.esxi in (None, one.name)][:1]
    clock = host.configManager.dateTimeSystem
    instance = vim.ServiceInstance("ServiceInstance", service.rootFolder._stub)
    notes = {}
    for word, ask in (("esxi", clock.QueryDateTime), ("service", instance.CurrentTime)):
        told, trips = [], []
        since = Watch()
        while since.seconds < 2.5:
            took = Watch()
            told.append(ask().timestamp())
            trips.append(took.seconds)
        steps = [after - before for before, after in pairwise(told) if after != before]
        notes[f"{word}_smallest_step_seconds"] = round(min(steps), 6) if steps else None
        notes[f"{word}_whole_seconds"] = all(one == int(one) for one in told)
        notes[f"{word}_round_trip_seconds"] = round(statistics.median(trips), 4)
        assert sorted(told) == told, "a clock goes forward"
    took = Watch()
    with questions(site.hypervisor.session, "QueryDateTime") as trips:
        # What keeps this machine busy for a moment may spoil a search; without one, no reading ever comes so near.
        reading, quickest = wait_for(
            "a reading as fine as a round trip",
            lambda: fine(site.hypervisor.clock(site.deadline()), trips),
            site.deadline(60),
            fault=AssertionError,
        )
    notes |= {"uncertainty_seconds": round(reading.uncertainty, 4), "reading_took_seconds": took.seconds}
    seen.tell("clocks of the host", **notes, quickest_question_seconds=round(quickest, 4))


def fine(reading, trips):
    """The reading and its quickest round trip, if its search ended where ours promises; both bounds are then that far
    apart at most on either side of it, besides the millisecond in which hosts tell time that tell more than seconds.
    """
    quickest = min(trips)
    trips.clear()
    if reading.uncertainty > quickest + 0.001:
        return Pending(f"{reading.uncertainty:.4f} s, and its quickest round trip took {quickest:.4f} s")
    return reading, quickest


@contextlib.contextmanager
def questions(session, method):
    """The seconds that each call of a method takes from now on."""
    trips, real = [], session.call

    def call(operation, ref, name, deadline, *arguments):
        took = time.perf_counter()
        result = real(operation, ref, name, deadline, *arguments)
        if name == method:
            trips.append(time.perf_counter() - took)
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "call", call)
        yield trips
