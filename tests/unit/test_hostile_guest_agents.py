"""A guest's agent that lies: what it says is an answer, or a finding about the guest, and never more than evidence."""

from __future__ import annotations

import json
from types import SimpleNamespace

import libvirt
import libvirt_qemu
import pytest

from harness.backends.hyperv import pairs
from harness.backends.kvm.machine import KvmMachine
from harness.backends.model import Endpoint
from harness.backends.protocol import GuestIgnored
from harness.backends.vsphere.tools import _version
from harness.core import Deadline, GuestError
from harness.guest.mailbox import AgentFiles, parse_guestinfo, parse_pool
from harness.guest.probe import Probe, ProbeFailed
from harness.guest.result import Result
from tests.unit.fake_machine import NIC, FakeMachine

DESCRIPTION = """
<domain type='kvm'><devices>
  <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0' state='connected'/></channel>
</devices></domain>
"""
OTHERS = {"eth0": {"hwaddr": NIC.mac, "addrs": [{"addr": "192.0.2.1"}]}}


class Domain:
    """A running domain, as libvirt shows one."""

    def state(self):
        return [libvirt.VIR_DOMAIN_RUNNING, 1]

    def hasManagedSaveImage(self):  # noqa: N802  libvirt's own name
        return False

    def XMLDesc(self, flags):  # noqa: N802
        return DESCRIPTION

    def interfaceAddresses(self, source, flags):  # noqa: N802
        return OTHERS if source == libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT else {}


class Connection:
    def call(self, operation, work, deadline):
        return work(SimpleNamespace(lookupByUUIDString=lambda uuid: Domain()))


@pytest.fixture
def machine():
    host = SimpleNamespace(
        name="kvm", connection=Connection(), ledger=SimpleNamespace(check=lambda: None), switch=None, root=None
    )
    return KvmMachine(host, "0" * 32, FakeMachine(None).spec)


@pytest.fixture
def says(monkeypatch):
    """Has the guest's agent answer everything so."""

    def say(answer: str | Exception) -> None:
        def answered(domain, question, seconds, flags):
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr(libvirt_qemu, "qemuAgentCommand", answered)

    return say


def soon() -> Deadline:
    return Deadline.after(10)


NO_ANSWERS = [
    "",
    "{",
    "[]",
    "null",
    "7",
    '{"id": 3}',
    "[" * 100_000,
    '{"return":' * 100_000,
    '{"return": ' + "9" * 5000,
]


@pytest.mark.parametrize("answer", NO_ANSWERS, ids=lambda answer: answer[:12] or "nothing")
def test_what_is_no_answer_is_a_finding_about_the_guest(machine, says, answer):
    """And its message is short, however long the answer was."""
    says(answer)
    with pytest.raises(GuestIgnored, match="no agent") as caught:
        machine.exchange("guest-get-osinfo", soon())
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "returned", [None, 7, [], "yes", {}, {"version": "7"}, {"version": 7, "supported_commands": 3}]
)
def test_an_agent_of_wrong_types_has_no_heart(machine, says, returned):
    says(json.dumps({"return": returned}))
    (heart,) = machine.services(soon())
    assert (heart.name, heart.healthy) == ("heartbeat", False)


def test_a_version_without_end_is_shown_in_short(machine, says):
    says(json.dumps({"return": {"version": "1." * 100_000, "supported_commands": [1]}}))
    assert all(len(service.version) <= 100 for service in machine.services(soon()))


@pytest.mark.parametrize("frozen", [None, "2", True, 2.5, -1, 0, [], {}])
def test_who_does_not_say_how_many_file_systems_are_frozen_froze_none(machine, says, frozen):
    """A number, and no other word that Python takes for one."""
    says(json.dumps({"return": frozen}))
    with pytest.raises(GuestIgnored, match="froze no file system"):
        machine._freeze(soon())


def test_an_agent_that_says_it_synced_and_did_not_is_not_believed(machine, says):
    """It is libvirt that compares ids; its complaint is a finding about the guest."""
    error = libvirt.libvirtError("out of step")
    error.err = (libvirt.VIR_ERR_AGENT_UNSYNCED, 0, "guest agent replied with another id\x1b[2J" + "x" * 9999)
    says(error)
    with pytest.raises(GuestIgnored, match="replied with another id") as caught:
        machine.exchange("guest-ping", soon())
    assert len(str(caught.value)) < 1000


def test_another_machines_address_is_evidence_and_no_way_in(machine):
    """Whatever the agent claims, the controller goes where the lab reserved."""
    claimed = [(view.source, view.address) for view in machine.addresses(soon())]
    assert ("agent", "192.0.2.1") in claimed
    assert machine.endpoint(soon()) == Endpoint("10.0.2.15")


@pytest.mark.parametrize("answer", [{}, {"buf-b64": "é"}, {"buf-b64": 7}, {"buf-b64": "/w=="}, [], None, 7])
def test_a_file_that_the_agent_reads_wrongly_is_no_value(answer):
    """Not base64, not text, nothing at all."""

    class Liar(FakeMachine):
        def exchange(self, question, deadline):
            return json.dumps(1000 if "open" in question else answer if "read" in question else {})

    guest = SimpleNamespace(name="guest", machine=Liar(None), run=lambda argv: None)
    with pytest.raises(GuestError, match="its agent read key as"):
        AgentFiles(guest, "/run/x").host_reads("key", soon())


@pytest.mark.parametrize("told", ["²", "9" * 5000, "<script>", 7.5, "\u0661"])
def test_a_version_of_tools_that_is_none_is_shown_as_said(told):
    assert _version(told) == str(told)[:100]


@pytest.mark.parametrize(
    "data", [b"[" * 100_000, b"[]", b'{"a": 1}', b'{"a": null}', b"\xff", b'{"guestinfo.x": {"guestinfo.x": "y"}}']
)
def test_guestinfo_of_another_form_is_a_fact_that_cannot_be_read(data):
    with pytest.raises(ProbeFailed):
        Probe("guestinfo", ("cat",), parse_guestinfo).value(Result(("cat",), 0, data, b""), "guest")


def test_values_of_a_pool_are_texts_whatever_bytes_they_are():
    """A record without a NUL, with bytes that are no UTF-8, with the same key twice: the last one counts."""
    record = b"k" * 512 + b"\xff" * 2048
    assert parse_pool(record + record) == {"k" * 512: "\\xff" * 2048}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<INSTANCE>",
        '<PROPERTY NAME="Name"><VALUE>' * 5000,
        '<PROPERTY NAME="Data" TYPE="string">' + " " * 100_000,
        '<!DOCTYPE x [<!ENTITY a "aaaa">]><PROPERTY NAME="Data"><VALUE>&a;</VALUE></PROPERTY>',
    ],
    ids=["nothing", "no pair", "never closed", "blanks", "an entity of its own"],
)
def test_a_pair_of_a_lying_daemon_is_read_without_a_parser_that_obeys_it(text):
    """No entity is expanded, and no pattern runs for ever."""
    key, value = pairs.pair(text)
    assert key == ""
    assert value in ("", "&a;")
