"""CPUs and memory of a vSphere machine: what grows while it runs, and what only while it is off."""

from __future__ import annotations

import pytest

pytest.importorskip("pyVmomi")

from harness.backends.model import Shape, Topology
from harness.backends.protocol import Refused
from harness.core import MiB, Size
from tests.unit import vsphere_access
from tests.unit.vsphere_access import view, within

host, machine, running = vsphere_access.host, vsphere_access.machine, vsphere_access.running


def test_sizes_grow_while_running_up_to_what_the_shape_keeps_room_for(running):
    running.resize(within(), vcpus=3, memory=Size(768 * MiB))
    assert (view(running).vcpus, view(running).memory) == (3, 768 * MiB)
    for change in ({"vcpus": 5}, {"vcpus": 1}, {"memory": Size(2048 * MiB)}, {"memory": Size(256 * MiB)}):
        with pytest.raises(Refused):
            running.resize(within(), **change)
    assert (view(running).vcpus, view(running).memory) == (3, 768 * MiB)


def test_it_is_the_host_that_refuses_vcpus_where_hot_add_is_off(host):
    """Plain vcsim has no such rule and adds them; twin and real hosts have it."""
    made = host.create(Shape(vcpus=1, memory=Size(256 * MiB)))
    assert host.raw(made, "config.cpuHotAddEnabled").get("config.cpuHotAddEnabled") is not True
    made.start(within())
    made.resize(within(), vcpus=2)
    assert view(made).vcpus == 2
    made.destroy(within())


def test_a_machine_that_is_off_takes_any_size(host):
    made = host.create(Shape(vcpus=2, memory=Size(256 * MiB), topology=Topology(1, 2)))
    made.resize(within(), vcpus=3, memory=Size(384 * MiB))
    assert (view(made).vcpus, view(made).memory, view(made).topology) == (3, 384 * MiB, Topology(3, 1))
    with pytest.raises(Refused):
        made.resize(within(), memory=Size(383 * MiB))
    with pytest.raises(Refused):
        made.resize(within(), vcpus=0)
    made.destroy(within())
