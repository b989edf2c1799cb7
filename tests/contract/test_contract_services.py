"""Integration services: what passes between host and guest without a network."""

from __future__ import annotations

import hashlib
import secrets

import pytest

from harness.backends.capabilities import Capability
from harness.backends.model import PowerState
from harness.backends.protocol import Refused
from harness.core import Pending, wait_for


def heartbeat(site, machine):
    """Whether the host sees the guest's services answer."""
    (found,) = [service for service in machine.services(site.deadline()) if service.name == "heartbeat"]
    return found.healthy


def await_heartbeat(site, guest, healthy):
    """Wait until the host sees it so."""
    wait_for(
        f"a heartbeat that is {healthy}",
        lambda: heartbeat(site, guest.machine) is healthy or Pending(f"{guest.machine.services(site.deadline())}"),
        site.deadline(90),
        fault=AssertionError,
    )


@pytest.fixture
def served(site, guest):
    """A guest whose integration services answer."""
    guest.run(["systemctl", "start", site.service])
    await_heartbeat(site, guest, healthy=True)
    return guest


@pytest.mark.proves(Capability.HEARTBEAT)
def test_the_heartbeat_follows_the_guests_service(site, served):
    """It stops when the service stops, and comes back with it."""
    served.run(["systemctl", "stop", site.service])
    try:
        await_heartbeat(site, served, healthy=False)
    finally:
        served.run(["systemctl", "start", site.service])
    await_heartbeat(site, served, healthy=True)


@pytest.mark.proves(Capability.HEARTBEAT)
def test_a_machine_that_is_off_has_no_heartbeat(site, machine):
    """And that is no error: it is what the host sees."""
    assert heartbeat(site, machine) is False


@pytest.mark.proves(Capability.EXCHANGE)
def test_the_guests_services_answer_the_host(site, served):
    """With what only this guest can say."""
    answer = served.machine.exchange(site.column.question, site.deadline(60))
    assert site.column.answered(answer, served), answer


@pytest.mark.proves(Capability.EXCHANGE)
def test_a_question_nobody_understands_is_refused(site, served):
    """And the next one is answered."""
    with pytest.raises(Refused):
        served.machine.exchange("interop-no-such-question", site.deadline(60))
    assert site.column.answered(served.machine.exchange(site.column.question, site.deadline(60)), served)


@pytest.mark.proves(Capability.SERVICE_TOGGLE)
def test_time_synchronisation_is_switched_off_and_on(site, machine):
    """The host tells of it as it was last switched, and switching twice is no error."""

    def enabled():
        (found,) = [service for service in machine.services(site.deadline()) if service.name == "timesync"]
        return found.enabled

    for on in (False, False, True, True, False):
        machine.toggle("timesync", on, site.deadline())
        assert enabled() is on


@pytest.mark.proves(Capability.SERVICE_TOGGLE)
def test_a_service_that_no_host_has_is_refused(site, machine):
    """And none is switched in its place."""
    before = machine.services(site.deadline())
    with pytest.raises(Refused):
        machine.toggle("no-such-service", False, site.deadline())
    assert machine.services(site.deadline()) == before


@pytest.mark.proves(Capability.FILE_COPY)
def test_a_file_reaches_the_guest_whole(site, served, tmp_path):
    """Larger than any one message, and the same to the last byte."""
    source = tmp_path / "file"
    source.write_bytes(secrets.token_bytes(1_500_001))
    target = "/var/tmp/contract-copied"
    served.machine.copy_file(source, target, site.deadline(300))
    assert served.files.sha256(target) == hashlib.sha256(source.read_bytes()).hexdigest()
    served.files.remove(target)


@pytest.mark.proves(Capability.FILE_COPY)
def test_a_file_that_is_there_is_replaced_only_when_asked(site, served, tmp_path):
    """Refused, nothing is changed."""
    (tmp_path / "old").write_bytes(b"old, and longer")
    (tmp_path / "new").write_bytes(b"new")
    target = "/var/tmp/contract-copied"
    served.machine.copy_file(tmp_path / "old", target, site.deadline(120))
    with pytest.raises(Refused):
        served.machine.copy_file(tmp_path / "new", target, site.deadline(120))
    assert served.files.read(target) == b"old, and longer"
    served.machine.copy_file(tmp_path / "new", target, site.deadline(120), overwrite=True)
    assert served.files.read(target) == b"new"
    served.files.remove(target)


@pytest.mark.proves(Capability.NMI)
def test_an_nmi_reaches_the_guest(site, spoilt):
    """Its kernel counts it."""
    before = nmis(spoilt)
    spoilt.machine.nmi(site.deadline())
    wait_for(
        "an NMI to be counted",
        lambda: nmis(spoilt) > before or Pending(f"{nmis(spoilt)}"),
        site.deadline(60),
        fault=AssertionError,
    )
    assert site.view(spoilt.machine).state is PowerState.RUNNING


def nmis(guest):
    """All NMIs since boot, of all CPUs."""
    (line,) = [line for line in guest.files.read("/proc/interrupts").splitlines() if line.split()[0] == b"NMI:"]
    return sum(int(word) for word in line.split()[1:] if word.isdigit())
