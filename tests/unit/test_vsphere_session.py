"""Logging in to vSphere: whose certificate is taken, which account, and what happens when the host forgets us."""

from __future__ import annotations

import logging
import traceback

import pytest

pytest.importorskip("pyVmomi")

from pyVmomi import vim

from harness.backends.vsphere import collector
from harness.backends.vsphere.errors import LoggedOut, Unavailable, Unreachable
from harness.backends.vsphere.refs import Ref
from harness.backends.vsphere.session import INSTANCE, Session, newest_common
from harness.backends.vsphere.transfer import Request, Transfer
from harness.core import LabError, Pending, wait_for
from harness.core.secrets import Secret
from tests.unit import vsphere_host
from tests.unit.planted_secrets import leaks, secret
from tests.unit.vsphere_host import certificate, fault, settings, within


@pytest.fixture(scope="module")
def upstream():
    """A vcsim of this module."""
    with vsphere_host.vcsim("-vm", "1") as address:
        yield address


@pytest.fixture
def front(upstream, tmp_path):
    """With a certificate that is in order."""
    with vsphere_host.front(upstream, certificate(tmp_path / "tls", "127.0.0.1")) as made:
        yield made


@pytest.fixture
def session(front, tmp_path):
    """Logged in."""
    made = Session(settings(front, tmp_path), "vc", within())
    yield made
    made.close()


def refusal(front, folder, **changes):
    """How logging in fails."""
    with pytest.raises(LabError) as caught:
        Session(settings(front, folder, **changes), "vc", within())
    return caught.value


# Certificates.


def test_an_expired_certificate_is_not_taken(upstream, tmp_path):
    with vsphere_host.front(upstream, certificate(tmp_path / "tls", "127.0.0.1", days=-1)) as front:
        error = refusal(front, tmp_path)
    assert "certificate has expired" in error.message
    assert "renew it" in error.hint
    assert not front.calls


def test_a_certificate_for_another_host_is_not_taken(upstream, tmp_path):
    with vsphere_host.front(upstream, certificate(tmp_path / "tls", "other.example")) as front:
        error = refusal(front, tmp_path)
    assert "IP address mismatch" in error.message
    assert "as the certificate has it" in error.hint
    assert not front.calls


def test_a_certificate_by_an_unknown_ca_is_not_taken(front, tmp_path):
    error = refusal(front, tmp_path, ca=None)
    assert "is not trusted" in error.message
    assert "`ca:`" in error.hint
    assert not front.calls


def test_localhost_is_checked_like_any_other_name(upstream, tmp_path):
    """The library left to itself switches the check off for this name."""
    with vsphere_host.front(upstream, certificate(tmp_path / "tls", "other.example")) as front:
        error = refusal(front, tmp_path, endpoint=front.endpoint.replace("127.0.0.1", "localhost"))
    assert "Hostname mismatch" in error.message


def test_a_pinned_certificate_is_taken_whoever_signed_it_and_whatever_its_name(upstream, tmp_path):
    shown = certificate(tmp_path / "tls", "other.example", days=-1)
    with vsphere_host.front(upstream, shown) as front:
        session = Session(settings(front, tmp_path, ca=None, thumbprint=shown.thumbprint), "vc", within())
        session.close()
    assert front.calls["Login"] == 1


def test_another_certificate_than_the_pinned_one_is_not_taken_on_any_connection(front, tmp_path):
    """Not on the second either: the library's own pinning looks at the first only."""
    error = refusal(front, tmp_path, ca=None, thumbprint="ab" * 32)
    assert "is not the pinned one" in error.message
    assert "AB:AB:" in error.message
    assert not front.calls
    pinned = settings(front, tmp_path, ca=None, thumbprint=front.certificate.thumbprint)
    session = Session(pinned, "vc", within())
    session.context.thumbprint = "cd" * 32  # from now on the host would show another
    session._wire.hang_up()
    with pytest.raises(LabError, match="not the pinned one"):
        session.call("look", INSTANCE, "CurrentTime", within())
    session.close()


def test_a_ca_file_that_is_none_is_said(front, tmp_path):
    (tmp_path / "rubbish").write_text("no certificate")
    assert "is of no use" in refusal(front, tmp_path, ca=tmp_path / "rubbish").message
    assert "is of no use" in refusal(front, tmp_path, ca=tmp_path / "absent").message


def test_the_environments_proxies_and_cas_do_not_matter(upstream, front, tmp_path, monkeypatch):
    """What goes to the host goes straight, to whom the lab file trusts, whatever this machine uses elsewhere."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    other = certificate(tmp_path / "other", "127.0.0.1")
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, str(other.ca))
    session = Session(settings(front, tmp_path), "vc", within())
    transfer = Transfer("vc", session.settings.address, session.context, 5)
    assert transfer.ask(Request("HEAD", "/folder/nothing", {}), 100, within()).status == 404
    transfer.close()
    session.close()
    assert front.calls["Logout"] == front.calls["HEAD"] == 1
    with vsphere_host.front(upstream, other) as stranger:
        assert "is not trusted" in refusal(stranger, tmp_path, ca=front.certificate.ca).message


def test_something_that_speaks_no_tls_is_told(upstream, front, tmp_path):
    assert "no TLS with" in refusal(front, tmp_path, endpoint=upstream).message


# Accounts and availability.


def test_a_wrong_password_is_said_without_saying_it(front, tmp_path):
    (tmp_path / "wrong").write_text("hunter2")
    error = refusal(front, tmp_path, password=vsphere_host.Secret(f"file:{tmp_path / 'wrong'}"))
    assert "the account interop is refused" in error.message
    assert "hunter2" not in str(error)
    assert "check `user`" in error.hint
    assert front.calls["Login"] == 2  # once more, for vSphere 8 refuses right ones now and then


def test_neither_a_right_nor_a_wrong_password_reaches_a_log_or_an_error(tmp_path, caplog, capfd):
    """With all that pyVmomi, its HTTP and we tell at DEBUG; the login itself went over the wire."""
    planted = {"right": secret("vsphere"), "wrong": secret("guess")}
    caplog.set_level(logging.DEBUG)
    for name, value in planted.items():
        (tmp_path / name).write_text(value)
    chosen = {"password": Secret(f"file:{tmp_path / 'right'}")}
    with (
        vsphere_host.vcsim("-vm", "1", "-password", planted["right"]) as upstream,
        vsphere_host.front(upstream, certificate(tmp_path / "tls", "127.0.0.1")) as front,
    ):
        Session(settings(front, tmp_path, **chosen), "vc", within()).close()
        sent = front.bodies["Login"]
        error = refusal(front, tmp_path, password=Secret(f"file:{tmp_path / 'wrong'}"))
    assert leaks(sent, planted) == {"right"}, "it was sent, and the search finds it"
    shown = "".join(traceback.format_exception(error)) + repr(error) + caplog.text + "".join(capfd.readouterr())
    assert "is refused" in shown
    assert leaks(shown.encode(), planted) == set()


def test_a_right_password_that_is_refused_once_gets_in(front, tmp_path):
    front.faults["Login"] = fault("InvalidLogin", "Cannot complete login due to an incorrect user name or password.")
    Session(settings(front, tmp_path), "vc", within()).close()
    assert front.calls["Login"] == 2


def test_nobody_listening_is_a_lab_error(front, tmp_path):
    error = refusal(front, tmp_path, endpoint="127.0.0.1:1")
    assert isinstance(error, Unreachable)
    assert "127.0.0.1:1" in error.message


def test_a_vcenter_that_is_starting_is_asked_again_and_then_told_of(front, tmp_path):
    front.refusing["RetrieveServiceContent"] = 1
    Session(settings(front, tmp_path), "vc", within()).close()
    front.refusing["POST"] = 100
    error = refusal(front, tmp_path)
    assert isinstance(error, Unavailable)
    assert "503" in error.message
    assert "just started" in error.hint


def test_a_change_is_not_asked_twice_when_its_answer_was_lost(front, session):
    """It may have been done."""
    front.cutting["CreateFolder"] = 1
    root = session.root
    with pytest.raises(Unreachable):
        session.call("make folder", root, "CreateFolder", within(), "mine")
    assert front.calls["CreateFolder"] == 1


def test_a_read_is_asked_again_when_its_connection_broke(front, session):
    front.cutting["RetrievePropertiesEx"] = 1
    assert collector.read_one(session, session.root, "name", deadline=within()) == {"name": "Datacenters"}


def test_an_answer_that_does_not_come_ends_with_the_deadline(front, session, monkeypatch):
    monkeypatch.setattr("harness.backends.vsphere.wire._SLACK", 0.1)
    front.gate.clear()
    front.stalled = {"CurrentTime"}
    with pytest.raises(Unreachable, match="did not answer in time"):
        session.call("look", INSTANCE, "CurrentTime", within(0.2))
    front.gate.set()


def test_a_missing_privilege_is_named(front, session):
    front.faults["CreateFolder"] = fault(
        "NoPermission",
        "Permission to perform this operation was denied.",
        '<object type="Folder">group-d1</object><privilegeId>Folder.Create</privilegeId>',
    )
    with pytest.raises(LabError, match=r"vc: make folder: NoPermission.*Folder\.Create") as caught:
        session.call("make folder", session.root, "CreateFolder", within(), "mine")
    assert "docs/vsphere-host.md" in caught.value.hint


# A session that ends.


def kill(session, other):
    """What an administrator does to a session."""
    other.call("terminate", session.manager("sessionManager"), "TerminateSession", within(), [session.key])


@pytest.fixture
def other(front, tmp_path):
    """Somebody else."""
    made = Session(settings(front, tmp_path), "other", within())
    yield made
    made.close()


def test_a_session_that_was_killed_is_logged_in_anew_once(front, session, other):
    kill(session, other)
    before = front.calls["Login"]
    assert collector.children(session, session.root, "Datacenter", ["name"], within())
    assert front.calls["Login"] == before + 1
    assert session.renewing(lambda: 1, within()) == 1


def test_a_session_that_was_idle_for_too_long_is_logged_in_anew(front, other, tmp_path):
    """A vCenter's half hour, cut to a second: the host ends it by itself, for nothing keeps it alive meanwhile."""

    def limit(span):
        option = vim.option.OptionValue(key="config.vmacore.soap.sessionTimeout", value=span)
        other.call("limit", other.manager("setting"), "UpdateOptions", within(), [option])

    def ended():
        manager = other.manager("sessionManager")
        listed = collector.read_one(other, manager, "sessionList", deadline=within())["sessionList"]
        return idle not in {one.key for one in listed} or Pending("it is listed")

    limit("1s")
    session = Session(settings(front, tmp_path), "vc", within())
    limit("30m")  # of sessions that begin later
    idle, before = session.key, front.calls["Login"]
    wait_for("the session to end", ended, within())
    assert collector.children(session, session.root, "Datacenter", ["name"], within())
    assert (front.calls["Login"], session.key != idle) == (before + 1, True)
    session.close()


def test_a_wait_outlives_its_session(front, session, other):
    """Whatever filters and views it had are made anew."""
    machines = collector.children(session, session.root, "VirtualMachine", ["name"], within())
    machine = next(iter(machines))
    collector.wait_one(session, "its name", machine, ["name"], lambda values: values["name"], deadline=within())
    kill(session, other)
    seen = collector.wait_one(session, "its name", machine, ["name"], lambda values: values["name"], deadline=within())
    assert seen == machines[machine]["name"]


def test_an_account_that_was_closed_meanwhile_ends_in_a_lab_error(front, session, other, tmp_path):
    kill(session, other)
    (tmp_path / "password").write_text("changed")
    with pytest.raises(LabError, match="is refused"):
        collector.children(session, session.root, "Datacenter", ["name"], within())
    (tmp_path / "password").write_text(vsphere_host.PASSWORD)


def test_a_host_that_never_lets_in_is_not_asked_for_ever(front, session):
    def work():
        raise LoggedOut("again")

    before = front.calls["Login"]
    with pytest.raises(LoggedOut):
        session.renewing(work, within())
    assert front.calls["Login"] == before + 1


def test_closing_logs_out_and_leaves_no_session(front, session, other):
    mine = Session(session.settings, "third", within())
    key = mine.key
    mine.close()
    mine.close()
    manager = other.manager("sessionManager")
    listed = collector.read_one(other, manager, "sessionList", deadline=within())["sessionList"]
    assert key not in {one.key for one in listed}


def test_the_session_is_kept_alive(front, tmp_path, monkeypatch):
    monkeypatch.setattr("harness.backends.vsphere.session._KEEP_ALIVE", 0.05)
    session = Session(settings(front, tmp_path), "vc", within())

    def seen():
        return True if front.calls["CurrentTime"] > 1 else Pending("not yet")

    assert wait_for("two signs of life", seen, within())
    session.close()


def test_the_newest_version_that_both_speak_is_spoken():
    assert newest_common("6.5") == "vim.version.version11"
    assert newest_common("8.0.2.0") == newest_common("8.0.2.99")
    assert newest_common("99.0") == newest_common("99.1")


def test_a_reference_says_what_it_is():
    assert str(Ref("VirtualMachine", "vm-1")) == "VirtualMachine:vm-1"
