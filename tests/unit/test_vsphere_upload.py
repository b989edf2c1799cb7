"""An image that goes to an ESXi directly, as a vCenter's lease says: whose certificate is taken, and what it is told.

The ESXi is a second TLS front with a certificate of its own, by a CA of its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

pytest.importorskip("pyVmomi")

from harness.backends.model import Ownership
from harness.backends.registry import Context
from harness.backends.views import Owned, ResourceKind
from harness.backends.vsphere import collector, connect
from harness.core import LabError
from tests.unit import vsphere_host
from tests.unit.fake_ledger import NoLedger
from tests.unit.vsphere_host import certificate, settings, within

OWNER = Ownership("run1", "token1", datetime.now(UTC) + timedelta(hours=1))
ESXI = "127.0.0.2"


@pytest.fixture(scope="module")
def upstream():
    """A vcsim of this module."""
    with vsphere_host.vcsim() as address:
        yield address


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    return vsphere_host.small_disk(tmp_path_factory.mktemp("disk"))


@pytest.fixture
def image(disk, request):
    """With a digest of the test's own."""
    return replace(disk, digest=hashlib.sha256(request.node.name.encode()).hexdigest())


@pytest.fixture
def front(upstream, tmp_path):
    """The vCenter."""
    with vsphere_host.front(upstream, certificate(tmp_path / "vcenter", "127.0.0.1")) as made:
        yield made


@pytest.fixture
def esxi(upstream, tmp_path):
    """The ESXi, whose certificate has its address in it."""
    with vsphere_host.front(upstream, certificate(tmp_path / "esxi", ESXI), ESXI) as made:
        yield made


def lease(front, host, told=""):
    """From now on, leases send uploads there, and tell this thumbprint of it."""
    thumbprint = b"<sslThumbprint>" + told.encode() + b"</sslThumbprint>"

    def rewrite(body):
        body = re.sub(rb"https://[^/<]+/nfc/", f"https://{host}/nfc/".encode(), body)
        return re.sub(rb"<sslThumbprint>[^<]*</sslThumbprint>", b"", body).replace(b"</url>", b"</url>" + thumbprint)

    front.rewrite = rewrite


@pytest.fixture(params=["ca", "thumbprint", "system"])
def trust(request, front, monkeypatch):
    """What the lab file says of the vCenter's certificate: every way there is."""
    if request.param == "system":
        monkeypatch.setenv("SSL_CERT_FILE", str(front.certificate.ca))
    return {
        "ca": front.certificate.ca if request.param == "ca" else None,
        "thumbprint": front.certificate.thumbprint if request.param == "thumbprint" else None,
    }


@pytest.fixture
def vouching(front, tmp_path, trust, monkeypatch):
    """Has the CA of another certificate trusted as well, in the same way."""

    def vouch(other):
        both = tmp_path / "both.pem"
        both.write_bytes(front.certificate.ca.read_bytes() + other.ca.read_bytes())
        monkeypatch.setenv("SSL_CERT_FILE", str(both))
        return {**trust, "ca": trust["ca"] and both}

    return vouch


@contextlib.contextmanager
def opened(front, folder, **trust):
    host = connect(settings(front, folder, **trust), Context("vc", OWNER, NoLedger(), folder))
    try:
        yield host
    finally:
        host.close()


def published(host, image):
    """Imported, and taken away again."""
    handle = host.publish(image, within()).handle
    host.remove(Owned(ResourceKind.IMAGE, handle, None), within())


def refused(host, image):
    """How publishing fails; nothing is left of it."""
    with pytest.raises(LabError) as caught:
        host.publish(image, within())
    there = collector.children(host.session, host.session.root, "VirtualMachine", ["name"], within())
    assert not there
    return caught.value


def sha1(shown):
    """As leases tell it."""
    whole = vsphere_host.x509.load_pem_x509_certificate(shown.chain.read_bytes())
    return whole.fingerprint(vsphere_host.hashes.SHA1()).hex(":").upper()


def test_a_star_is_the_host_that_was_asked(front, esxi, tmp_path, image, trust):
    """As an ESXi says it that does not know by which name it is called."""
    lease(front, "*")
    with opened(front, tmp_path, **trust) as host:
        published(host, image)
    assert front.calls["/nfc"] == 1
    assert "/nfc" in front.sessions


def test_an_esxi_shows_the_certificate_whose_thumbprint_its_vcenter_tells(front, esxi, tmp_path, image, trust):
    """Whoever signed it; and the vCenter's session is not told there."""
    lease(front, esxi.endpoint, sha1(esxi.certificate))
    with opened(front, tmp_path, **trust) as host:
        published(host, image)
    assert (front.calls["/nfc"], esxi.calls["/nfc"]) == (0, 1)
    assert esxi.sessions == set()


def test_an_esxi_with_another_certificate_than_told_gets_nothing(front, esxi, tmp_path, image, trust):
    """Not even where it is the vCenter's own."""
    lease(front, esxi.endpoint, sha1(front.certificate))
    with opened(front, tmp_path, **trust) as host:
        error = refused(host, image)
    assert f"the certificate of {esxi.endpoint} is not the pinned one" in error.message
    assert "reconnect it in the vSphere client" in error.hint
    assert not esxi.calls


def test_without_a_told_thumbprint_the_cas_must_vouch_for_the_esxi(front, esxi, tmp_path, image, trust):
    """A pinned vCenter's thumbprint is the vCenter's alone, and lets nobody else in or out."""
    lease(front, esxi.endpoint)
    with opened(front, tmp_path, **trust) as host:
        error = refused(host, image)
    assert f"the certificate of {esxi.endpoint} is not trusted" in error.message
    assert not esxi.calls


def test_an_esxi_that_the_cas_vouch_for_needs_no_thumbprint(front, esxi, tmp_path, image, vouching):
    lease(front, esxi.endpoint)
    with opened(front, tmp_path, **vouching(esxi.certificate)) as host:
        published(host, image)
    assert esxi.calls["/nfc"] == 1
    assert esxi.sessions == set()


def test_the_cas_vouch_for_the_name_in_the_lease_alone(front, upstream, tmp_path, image, vouching):
    shown = certificate(tmp_path / "other", "esx2.example")
    with vsphere_host.front(upstream, shown, ESXI) as other:
        lease(front, other.endpoint)
        with opened(front, tmp_path, **vouching(shown)) as host:
            error = refused(host, image)
        assert "IP address mismatch" in error.message
        assert not other.calls


def test_a_thumbprint_that_is_none_is_said(front, esxi, tmp_path, image, trust):
    lease(front, esxi.endpoint, "AB:CD")
    with opened(front, tmp_path, **trust) as host:
        error = refused(host, image)
    assert "'AB:CD'" in error.message
    assert not esxi.calls
