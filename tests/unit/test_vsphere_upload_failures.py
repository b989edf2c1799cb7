"""Uploads that fail: nothing half-made stays, and it is said why."""

from __future__ import annotations

import threading

import pytest

pytest.importorskip("pyVmomi")

from harness.backends.views import ResourceKind
from harness.backends.vsphere import nfc, publish
from harness.backends.vsphere.errors import Cancelled
from harness.backends.vsphere.refs import Ref
from harness.core import LabError, Pending, wait_for
from tests.unit import vsphere_hypervisor
from tests.unit.vsphere_host import fault, within
from tests.unit.vsphere_hypervisor import bases

place, front, host = vsphere_hypervisor.place, vsphere_hypervisor.front, vsphere_hypervisor.host
disk, image = vsphere_hypervisor.disk, vsphere_hypervisor.image


def nothing_left(host):
    assert bases(host) == {}
    assert [thing for thing in host.owned(within()) if thing.kind is ResourceKind.IMAGE] == []


def test_a_full_datastore_is_told_and_leaves_nothing(host, front, image):
    front.refusing["/nfc"] = 1
    front.status["/nfc"] = 507
    with pytest.raises(LabError, match="507") as caught:
        host.publish(image, within())
    assert "free space on the datastore" in caught.value.hint
    assert front.calls["HttpNfcLeaseAbort"] == 1
    nothing_left(host)


def test_a_full_datastore_that_the_lease_tells_of_is_the_same(host, front, image):
    front.faults["ImportVApp"] = fault("NoDiskSpace", "Insufficient disk space.", "<file/><datastore>ds</datastore>")
    with pytest.raises(LabError, match="NoDiskSpace") as caught:
        host.publish(image, within())
    assert "free space on the datastore" in caught.value.hint
    nothing_left(host)


def test_a_connection_that_breaks_while_uploading_leaves_nothing(host, front, image):
    front.cutting["/nfc"] = 1
    with pytest.raises(LabError, match="broke"):
        host.publish(image, within())
    nothing_left(host)


def test_a_lease_that_ends_while_uploading_is_told(host, front, image, monkeypatch):
    """Somebody cancels the import in the vSphere client: the upload is broken off, not fed for ever."""
    monkeypatch.setattr(nfc, "_PROGRESS_SECONDS", 0.1)
    front.gate.clear()
    errors = []

    def work():
        try:
            host.publish(image, within())
        except LabError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    body = wait_for("progress", lambda: front.bodies.get("HttpNfcLeaseProgress") or Pending("none"), within())
    lease = body.partition(b'type="HttpNfcLease">')[2].partition(b"<")[0].decode()
    host.session.call("abort", Ref("HttpNfcLease", lease), "HttpNfcLeaseAbort", within(), None)
    thread.join(30)
    front.gate.set()
    assert not thread.is_alive()
    assert isinstance(errors[0], Cancelled), errors
    assert "% sent" in errors[0].message
    nothing_left(host)


def test_an_upload_that_overruns_its_deadline_leaves_nothing(host, front, image):
    front.gate.clear()
    with pytest.raises(LabError):
        host.publish(image, within(1))
    front.gate.set()
    nothing_left(host)


def test_what_arrives_changed_is_not_taken(host, image, monkeypatch):
    monkeypatch.setattr("harness.backends.vsphere.transfer.Stream.sha1", "0" * 40)
    with pytest.raises(LabError, match="another disk than was sent"):
        host.publish(image, within())
    nothing_left(host)


def test_an_upload_that_nobody_finished_is_found_with_its_owner(host, image, monkeypatch):
    """As after a kill: the base has no final name, and says whose it was to be."""
    monkeypatch.setattr(publish, "SNAPSHOT", None)
    with pytest.raises(Exception):  # noqa: B017 - whatever comes of it
        host.publish(image, within())
    (thing,) = [thing for thing in host.owned(within()) if thing.kind is ResourceKind.IMAGE]
    assert (thing.owner.run, thing.owner.token) == ("run1", "token1")
    host.remove(thing, within())
    host.remove(thing, within())
    nothing_left(host)
