"""Logins and certificates that are refused, by the host or by the driver: how often, how soon, with which advice."""

import gc
import hashlib
import logging
import ssl
import traceback

import pytest

from harness.backends.hyperv.door import Door
from harness.backends.hyperv.errors import NoRight
from harness.backends.hyperv.session import Agent
from harness.backends.hyperv.shell import Shell
from harness.core import LabError
from harness.twins.hyperv import auth
from tests.twins.hyperv_driver import GET_VM, WAYS, connected, lab_settings, shells, shown, windows
from tests.twins.hyperv_host import PASSWORD, USER, client_certificate
from tests.unit.planted_secrets import leaks, secret
from tests.unit.powershell import soon

UNCLOSED = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""Of CredSSP's library: where a login fails, its connection stays open as long as the error is kept."""


class TestRefusals:
    """Whom we trust, and who trusts us."""

    def test_a_certificate_that_is_mapped_to_nobody_is_refused(self, tmp_path):
        """The host trusts its issuer, and knows no account for it."""
        known, stranger = client_certificate(tmp_path, "known"), client_certificate(tmp_path, "stranger")
        with windows(tmp_path, clients={known[0]: USER}) as host:
            host._transports["https"].tls.load_verify_locations(stranger[0])
            with connected(host, "certificate+tls", **shown(*stranger)) as agent, pytest.raises(NoRight) as caught:
                agent.run("list", [GET_VM], soon())
            assert shells(host) == []
        assert "maps the certificate to no account" in caught.value.message

    @pytest.mark.parametrize("how", [*WAYS, "credssp", "credssp+tls"])
    def test_a_wrong_password_is_tried_once(self, tmp_path, how, monkeypatch):
        """By all agents together: hosts lock accounts out."""
        tried = logins(monkeypatch)
        with windows(tmp_path, schemes=("negotiate", "credssp", "basic")) as host:
            door = Door(lab_settings(host, how, secret="wrong"), "win1")
            agents = [Agent(lambda deadline: Shell(door, deadline), "win1") for _ in range(3)]
            for agent in agents:
                with pytest.raises(NoRight, match="refused Administrator") as caught:
                    agent.run("list", [GET_VM], soon())
                assert "wrong" not in str(caught.value).split("hint:")[0].replace("password is wrong", "")
            assert agents[0].trips == 0
        assert len(tried) == 1

    @pytest.mark.parametrize("how", [*WAYS, "credssp", pytest.param("credssp+tls", marks=UNCLOSED)])
    def test_neither_a_right_nor_a_wrong_password_reaches_a_log_or_an_error(self, tmp_path, how, caplog, capfd):
        """With all that pywinrm, its HTTP and NTLM tell at DEBUG."""
        planted = {"right": PASSWORD, "wrong": secret("guess")}
        caplog.set_level(logging.DEBUG)
        with windows(tmp_path, schemes=("negotiate", "credssp", "basic")) as host:
            with connected(host, how) as agent:
                agent.run("list", [GET_VM], soon())
            with connected(host, how, secret=planted["wrong"]) as agent, pytest.raises(NoRight) as caught:
                agent.run("list", [GET_VM], soon())
        said = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
        del caught
        gc.collect()
        shown = said + caplog.text + "".join(capfd.readouterr())
        assert "urllib3" in caplog.text
        assert leaks(shown.encode(), planted) == set()

    def test_a_certificate_of_an_unknown_ca_is_refused(self, tmp_path):
        """With what to write into the lab file."""
        with (
            windows(tmp_path) as host,
            connected(host, "ntlm+tls", ca=None) as agent,
            pytest.raises(LabError, match="no TLS") as caught,
        ):
            agent.run("list", [GET_VM], soon())
        assert "`ca:`" in caught.value.hint

    @pytest.mark.parametrize(
        ("certificate", "words", "hint"),
        [("expired", "has expired", "renew it on the host"), ("other-host", "match", "write `endpoint:`")],
    )
    def test_a_certificate_that_is_old_or_anothers_is_refused(self, tmp_path, monkeypatch, certificate, words, hint):
        """Before the password goes anywhere."""
        tried = logins(monkeypatch)
        with (
            windows(tmp_path, certificate=certificate) as host,
            connected(host, "basic+tls") as agent,
            pytest.raises(LabError, match=words) as caught,
        ):
            agent.run("list", [GET_VM], soon())
        assert hint in caught.value.hint
        assert tried == []

    def test_an_account_without_the_right_to_a_shell_is_told_what_it_needs(self, tmp_path):
        """It is known, and that is all."""
        with (
            windows(tmp_path, {"do": "fault", "on": "Create", "fault": "denied"}) as host,
            connected(host) as agent,
            pytest.raises(NoRight, match="no right to a shell") as caught,
        ):
            agent.run("list", [GET_VM], soon())
        assert "Remote Management Users" in caught.value.hint

    def test_a_pinned_certificate_is_enough_and_another_is_refused(self, tmp_path):
        """Before the password goes anywhere."""
        with windows(tmp_path) as host:
            with connected(host, "basic+tls", ca=None, thumbprint=_fingerprint(host)) as agent:
                assert agent.run("list", [GET_VM], soon()) == [[]]
            with (
                connected(host, "basic+tls", ca=None, thumbprint="00" * 32) as agent,
                pytest.raises(LabError, match="Fingerprints did not match"),
            ):
                agent.run("list", [GET_VM], soon())

    def test_http_where_https_is_wanted_is_said(self, tmp_path):
        """By what to change."""
        with windows(tmp_path) as host:
            place = host.http.partition("://")[2].partition("/")[0]
            with connected(host, "ntlm+tls", endpoint=place) as agent, pytest.raises(LabError) as caught:
                agent.run("list", [GET_VM], soon())
        assert "5985" in caught.value.hint

    def test_a_host_that_is_not_there_is_said_to_be_none(self, tmp_path):
        """In seconds, not in minutes."""
        with windows(tmp_path) as host:
            host.go_down()
            with connected(host) as agent, pytest.raises(LabError, match="no connection"):
                agent.run("list", [GET_VM], soon())


def logins(monkeypatch):
    """The logins that the twin's gate sees from now on, right or wrong: what a lock-out policy counts."""
    check, seen = auth.Gate.check, []

    def counted(gate, header):
        before = gate.context
        verdict = check(gate, header)
        began = gate.context is not None and gate.context is not before
        if began or (header or "").startswith("Basic "):
            seen.append(header)
        return verdict

    monkeypatch.setattr(auth.Gate, "check", counted)
    return seen


def _fingerprint(host):
    port = int(host.https.rsplit(":", 1)[1].partition("/")[0])
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", port)))).hexdigest()
