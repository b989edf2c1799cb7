"""Whether a vSphere host is fit for a lab: what lacks is named, by the check and by every run."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

pytest.importorskip("pyVmomi")

from pyVmomi import vim

from harness.backends.model import NetworkKind, NetworkSpec
from harness.backends.vsphere import placement, tasks
from harness.backends.vsphere.session import Session
from harness.cli import interop
from harness.core import GiB, Size
from tests.unit import vsphere_host, vsphere_hypervisor
from tests.unit.vsphere_host import within
from tests.unit.vsphere_hypervisor import NETWORK, drop, opened, order, remarks

place, front, host = vsphere_hypervisor.place, vsphere_hypervisor.front, vsphere_hypervisor.host
disk, image = vsphere_hypervisor.disk, vsphere_hypervisor.image


def test_a_fit_host_has_nothing_to_complain_of(host):
    found = remarks(host, NETWORK)
    assert all(remark.fine for remark in found.values()), found
    assert "logged in" in found["account"].text


@pytest.fixture
def deny(monkeypatch):
    """From now on, accounts lack these privileges."""
    real = Session.call

    def denied(*names):
        def call(session, operation, ref, method, deadline, *arguments):
            answer = real(session, operation, ref, method, deadline, *arguments)
            for entity in answer if method == "HasPrivilegeOnEntities" else ():
                for one in entity.privAvailability:
                    one.isGranted = one.privId not in names
            return answer

        monkeypatch.setattr(Session, "call", call)

    return denied


def test_each_missing_privilege_is_named(host, deny):
    deny("VirtualMachine.Interact.Reset", "Host.Config.DateTime")
    found = remarks(host)
    assert found["rights on the folder"].text == "missing: VirtualMachine.Interact.Reset"
    assert found["rights on the folder"].fine is False
    assert found["rights on the ESXi"].fine is None
    assert found["rights on the datastore LocalDS_0"].fine


def in_cluster(place):
    """A connection to a member of the cluster, which has DRS on."""
    return contextlib.closing(opened(place, cluster="DC0_C0", esxi="DC0_C0_H0"))


def test_a_cluster_that_may_be_changed_is_told_of_and_is_no_news_of_a_run(place):
    with in_cluster(place) as member:
        found = remarks(member)
        assert found["rights on the cluster"].fine is True
        assert (found["cluster"].text, found["cluster"].fine) == ("DRS is on", None)
        assert placement.NOTE not in member.facts(within()).details


def test_the_rule_that_a_cluster_wants_is_told_by_the_check_and_by_every_run(place, deny):
    """In the words of the page, by the missing right's name; such a host is fit all the same."""
    deny("Host.Inventory.EditCluster")
    with in_cluster(place) as member:
        rights = remarks(member)["rights on the cluster"]
        assert (rights.text, rights.fine) == ("missing: Host.Inventory.EditCluster", None)
        assert rights.hint == f"without it {placement.RULE}"
        told = member.facts(within()).details[placement.NOTE]
        assert told.startswith("DRS may move or reset guests")
        assert told.endswith(f"without Host.Inventory.EditCluster {placement.RULE}")


def test_a_cluster_whose_owner_has_set_the_rule_is_fit(place, host, deny):
    deny("Host.Inventory.EditCluster")
    with in_cluster(place) as member:
        cluster, off = member._found.place.cluster, vim.cluster.DrsConfigInfo(defaultVmBehavior="partiallyAutomated")
        spec, undo = (
            vim.cluster.ConfigSpecEx(drsConfig=one)
            for one in (off, vim.cluster.DrsConfigInfo(defaultVmBehavior="fullyAutomated"))
        )
        tasks.run(host.session, "rule", cluster, "ReconfigureComputeResource_Task", within(), spec, True)
        found = remarks(member)
        assert found["cluster"].fine is True
        assert "rights on the cluster" not in found
        with in_cluster(place) as again:
            assert placement.NOTE not in again.facts(within()).details
        tasks.run(host.session, "rule", cluster, "ReconfigureComputeResource_Task", within(), undo, True)


def test_what_came_up_while_machines_were_made_is_among_the_facts(place, front, image):
    """As on a cluster that can be seen to allow it, and then does not."""
    with in_cluster(place) as member:
        front.refusing["ReconfigureComputeResource_Task"] = 1
        base = member.publish(image, within())
        member.create(order(base), within()).destroy(within())
        assert "may move or reset guests" in member.facts(within()).details[placement.NOTE]
        drop(member, base)


def test_a_network_that_is_not_there_gets_the_nearest(host):
    wrong = NetworkSpec("peers", NetworkKind.NETWORK, "VM Netwrok")
    bridge = NetworkSpec("br", NetworkKind.BRIDGE, "br0")
    found = remarks(host, wrong, bridge)
    assert found["network peers"].fine is False
    assert "did you mean 'VM Network'?" in found["network peers"].text
    assert found["network br"].fine is False


def test_too_little_room_is_told(host, monkeypatch):
    monkeypatch.setattr(host, "_found", replace(host._found, free=Size(GiB)))
    assert remarks(host)["space"].fine is False


def checked(place, tmp_path, source, password=vsphere_host.PASSWORD):
    """What `interop lab check --connect` says of a lab with this host."""
    front, _ = place
    (tmp_path / "password").write_text(password)
    host = {"backend": "vsphere", "endpoint": front.endpoint, "user": vsphere_host.USER}
    host |= {"password": f"file:{tmp_path / 'password'}", "ca": str(front.certificate.ca), "esxi": "DC0_H0"}
    networks = {"management": {"kind": "network", "source": source, "subnet": "192.0.2.0/24"}}
    lab = tmp_path / "lab.yaml"
    lab.write_text(json.dumps({"hosts": {"vc": host}, "networks": networks}))
    return CliRunner().invoke(interop, ["lab", "check", "--connect", str(lab)])


def test_lab_check_tells_of_a_fit_host_and_of_one_that_lacks_something(place, tmp_path, monkeypatch):
    monkeypatch.setenv("INTEROP_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("INTEROP_CACHE", str(tmp_path / "cache"))
    fit = checked(place, tmp_path, "VM Network")
    assert fit.exit_code == 0, fit.output
    assert "rights on the folder" in fit.output
    unfit = checked(place, tmp_path, "VM Netwrok")
    assert unfit.exit_code == 1
    assert "did you mean 'VM Network'?" in unfit.output


def test_lab_check_says_that_the_account_is_refused_without_its_password(place, tmp_path, monkeypatch):
    monkeypatch.setenv("INTEROP_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("INTEROP_CACHE", str(tmp_path / "cache"))
    refused = checked(place, tmp_path, "VM Network", password="hunter2")
    assert refused.exit_code == 1
    said = " ".join(refused.output.split())
    assert f"vc: log in: the account {vsphere_host.USER} is refused at {place[0].endpoint}" in said
    assert "check `user`" in said
    assert "hunter2" not in said
    assert "Traceback" not in said
