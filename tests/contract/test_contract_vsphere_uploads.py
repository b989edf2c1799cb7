"""An image on its way to a vSphere host: import, clone and power-on, and a lease of which nothing is heard."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import secrets
import subprocess
from urllib.parse import urlsplit

import pytest

from harness.backends.model import PowerState
from harness.backends.views import Owned, ResourceKind
from harness.core import LabError, MiB, Pending, Size, wait_for
from harness.image.model import Format, Image
from tests.contract import vsphere
from tests.contract.vsphere import Watch, done, every, name_of, vim_fault

STALLED_FOR = 420.0
"""Others saw a lease end after 300 s without news."""
TWIN_LEASE = 3

service = vsphere.service


@pytest.fixture
def small_image(tmp_path):
    """An image nobody has: 8 MiB that do not compress."""
    disk, vmdk = tmp_path / "disk.raw", tmp_path / "disk.vmdk"
    disk.write_bytes(secrets.token_bytes(8 * MiB))
    argv = ["qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", disk, vmdk]
    subprocess.run(argv, check=True, timeout=60)
    return Image("small", hashlib.sha256(disk.read_bytes()).hexdigest(), {Format.VMDK: vmdk}, Size(8 * MiB))


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
