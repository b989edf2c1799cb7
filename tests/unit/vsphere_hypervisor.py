"""An ESXi of the real vcsim, opened as a run opens it: for tests of images, of what is ours, and of checks.

A module of tests takes the fixtures it needs by assignment, with those that they need: ``host`` needs ``place``.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from harness.backends.model import MachineSpec, NetworkKind, NetworkSpec, NicSpec, Ownership, Shape
from harness.backends.registry import Context
from harness.backends.views import Owned, ResourceKind
from harness.backends.vsphere import collector, connect
from harness.core import MiB, Size
from tests.unit import vsphere_host
from tests.unit.fake_ledger import NoLedger
from tests.unit.vsphere_host import certificate, settings, within

OWNER = Ownership("run1", "token1", datetime.now(UTC) + timedelta(hours=1))
NETWORK = NetworkSpec("management", NetworkKind.NETWORK, "VM Network")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A vcsim with two datastores, a front, and a folder."""
    folder = tmp_path_factory.mktemp("vsphere")
    with (
        vsphere_host.vcsim("-vm", "1", "-ds", "2") as upstream,
        vsphere_host.front(upstream, certificate(folder / "tls", "127.0.0.1")) as front,
    ):
        yield front, folder


@pytest.fixture(scope="module")
def front(place):
    return place[0]


def opened(place, owner=OWNER, **changes):
    """A connection of its own."""
    return connect(settings(*place, **changes), Context("vc", owner, NoLedger(), place[1]))


@pytest.fixture(scope="module")
def host(place):
    """An ESXi, opened as a run opens it."""
    made = opened(place)
    yield made
    made.close()


@pytest.fixture(scope="module")
def disk(place):
    """A small one, in both formats."""
    return vsphere_host.small_disk(place[1])


@pytest.fixture
def image(disk, request):
    """With a digest of the test's own."""
    return replace(disk, digest=hashlib.sha256(request.node.name.encode()).hexdigest())


def bases(host):
    """The base machines that are there, by name."""
    found = collector.children(
        host.session, host.session.root, "VirtualMachine", ["name", "config.annotation"], within()
    )
    return {values["name"]: ref for ref, values in found.items() if values["name"].startswith("interop-base-")}


def drop(host, published):
    host.remove(Owned(ResourceKind.IMAGE, published.handle, None), within())


def order(published, name="machine1", owner=OWNER):
    nic = NicSpec("00:50:56:00:00:01", NETWORK)
    return MachineSpec(name, published, Shape(memory=Size(256 * MiB)), (nic,), None, owner)


def remarks(host, *networks):
    return {remark.subject: remark for remark in host.examine(networks, within())}
