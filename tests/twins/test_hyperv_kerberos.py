"""Domain accounts: the driver, a KDC of MIT's on loopback, and the twin as a service of its realm."""

from __future__ import annotations

import base64
import logging
import re
import shutil
import subprocess
import traceback

import pytest

from harness.core import Deadline, LabError, Pending, wait_for
from tests.twins import kdc
from tests.twins.hyperv_driver import GET_VM, connected, shells, windows
from tests.unit.planted_secrets import leaks, secret
from tests.unit.powershell import soon

pytest.importorskip("gssapi", reason="the extra `kerberos` is not installed")

pytestmark = pytest.mark.skipif(bool(kdc.missing()), reason=f"no {', '.join(kdc.missing())} on PATH")

WAYS = ["kerberos", "kerberos+tls"]


@pytest.fixture(scope="module")
def realm(tmp_path_factory):
    """A realm whose KDC answers, except where a test takes it away."""
    realm = kdc.make(tmp_path_factory.mktemp("realm"))
    with realm.serving():
        yield realm


@pytest.fixture(autouse=True)
def _of_the_realm(request, monkeypatch, tmp_path):
    """This process has the realm's configuration, and no ticket of its own."""
    realm = request.getfixturevalue("realm")
    monkeypatch.setenv("KRB5_CONFIG", realm.environment["KRB5_CONFIG"])
    monkeypatch.setenv("KRB5CCNAME", f"FILE:{tmp_path / 'none'}")


@pytest.fixture(scope="module")
def keytab(realm):
    """The account's keys."""
    return realm.keytab(kdc.USER)


@pytest.fixture(scope="module")
def joined(realm, tmp_path_factory):
    """A host that joined the domain, and takes no NTLM."""
    keys = realm.keytab(kdc.SERVICE)
    with windows(tmp_path_factory.mktemp("joined"), schemes=("kerberos",), keytab=keys) as host:
        yield host


def account(**changes):
    """The lab file's account of the domain."""
    return {"user": kdc.USER, "spn": kdc.SERVICE, "secret": None, **changes}


@pytest.mark.parametrize("how", WAYS)
def test_a_keytab_is_enough(joined, keytab, how):
    """Sealed, or bound to the channel of TLS; messages of any size."""
    with connected(joined, how, **account(keytab=keytab)) as agent:
        assert agent.run("list", [GET_VM], soon()) == [[]]
        assert {shell.owner for shell in shells(joined)} == {kdc.USER.casefold()}
    assert shells(joined) == []


def test_a_password_is_enough(joined):
    with connected(joined, "kerberos", **account(secret=kdc.PASSWORD)) as agent:
        assert agent.run("list", [GET_VM], soon()) == [[]]


@pytest.mark.parametrize("how", WAYS)
def test_neither_a_password_nor_a_key_reaches_a_log_or_an_error(joined, keytab, how, caplog, capfd):
    """With all that pywinrm, its HTTP and Kerberos tell at DEBUG."""
    planted = {"right": kdc.PASSWORD, "wrong": secret("guess")}
    caplog.set_level(logging.DEBUG)
    for changes in ({"keytab": keytab}, {"secret": kdc.PASSWORD}):
        with connected(joined, how, **account(**changes)) as agent:
            agent.run("list", [GET_VM], soon())
    with connected(joined, how, **account(secret=planted["wrong"])) as agent, pytest.raises(LabError) as caught:
        agent.run("list", [GET_VM], soon())
    shown = "".join(traceback.format_exception(caught.value)) + caplog.text + "".join(capfd.readouterr())
    assert "urllib3" in caplog.text
    assert leaks(shown.encode(), planted) == set()
    listed = subprocess.run(["klist", "-k", "-K", keytab], capture_output=True, text=True, check=True).stdout
    keys = [bytes.fromhex(key) for key in re.findall(r"\(0x([0-9a-f]+)\)", listed)]
    assert keys
    for key in keys:
        forms = (key.hex(), key.hex().upper(), base64.b64encode(key[:15]).decode(), repr(key)[2:-1])
        assert not [form for form in forms if form in shown]


def test_each_host_has_a_cache_of_its_own(joined, realm, tmp_path):
    """Named by its file; what the environment says is nobody's."""
    ticket = realm.cache("ticket")
    with connected(joined, "kerberos", **account(cache=str(ticket))) as agent:
        assert agent.run("list", [GET_VM], soon()) == [[]]
    with (
        connected(joined, "kerberos", **account(cache=str(tmp_path / "nothing"))) as agent,
        pytest.raises(LabError) as caught,
    ):
        agent.run("list", [GET_VM], soon())
    assert "kinit" in caught.value.hint


def test_the_users_own_ticket_is_taken_where_the_lab_file_names_none(joined, realm, monkeypatch):
    monkeypatch.setenv("KRB5CCNAME", f"FILE:{realm.cache('own')}")
    with connected(joined, "kerberos", **account()) as agent:
        assert agent.run("list", [GET_VM], soon()) == [[]]


def test_the_endpoints_name_makes_the_service_name(joined, keytab):
    """Where the lab file has no ``spn``."""
    port = joined.https.split(":")[2].partition("/")[0]
    changes = account(keytab=keytab, spn=None, endpoint=f"localhost:{port}")
    with connected(joined, "kerberos+tls", **changes) as agent:
        assert agent.run("list", [GET_VM], soon()) == [[]]


class TestANight:
    """Tickets end while a run goes on."""

    @pytest.fixture
    def brief(self, realm):
        """Tickets of the user hold for some seconds."""
        realm.admin("modprinc", "-maxlife", '"6 seconds"', kdc.USER)
        yield
        realm.admin("modprinc", "-maxlife", '"10 hours"', kdc.USER)

    @pytest.mark.usefixtures("brief")
    def test_a_keytab_makes_new_tickets(self, joined, keytab, monkeypatch):
        """The agent stays; only the connection's login is another."""
        monkeypatch.setattr("harness.backends.hyperv.kerberos.MARGIN_SECONDS", 2.0)
        with connected(joined, "kerberos", **account(keytab=keytab)) as agent:
            agent.run("list", [GET_VM], soon())
            [shell] = shells(joined)
            login = agent._pipe._wire._transport._login
            await_end(login)
            assert agent.run("list", [GET_VM], soon()) == [[]]
            renewed = agent._pipe._wire._transport._login
            assert renewed is not login
            assert renewed.seconds > 2
            assert shells(joined) == [shell]

    def test_a_renewable_ticket_of_a_cache_is_renewed(self, joined, realm, monkeypatch):
        """By ``kinit -R``, before it ends."""
        monkeypatch.setenv("PATH", realm.environment["PATH"])
        monkeypatch.setattr("harness.backends.hyperv.kerberos.MARGIN_SECONDS", 4.0)
        monkeypatch.setattr("harness.backends.hyperv.tickets.MARGIN_SECONDS", 4.0)
        ticket = realm.cache("renewable", "-l", "8s", "-r", "1h")
        with connected(joined, "kerberos", **account(cache=str(ticket))) as agent:
            agent.run("list", [GET_VM], soon())
            login = agent._pipe._wire._transport._login
            wait_for("the margin", lambda: login.seconds < 4 or Pending(login.seconds), soon())
            assert agent.run("list", [GET_VM], soon()) == [[]]
            assert agent._pipe._wire._transport._login.seconds > 4

    def test_a_ticket_that_has_expired_is_said_to_have(self, joined, realm):
        """With the one thing to do."""
        ticket = realm.cache("short", "-l", "1s")
        expired = lambda: realm.run("klist", "-s", "-c", str(ticket), check=False).returncode != 0  # noqa: E731
        wait_for("the ticket's end", lambda: expired() or Pending("it holds"), soon())
        assert "expired" in refusal(joined, cache=str(ticket)).message
        assert "kinit" in refusal(joined, cache=str(ticket)).hint


def await_end(login):
    """Until a login has ended."""
    wait_for("the login's end", lambda: login.seconds == 0 or Pending(login.seconds), Deadline.after(60))


def refusal(host, how="kerberos", **changes):
    """What the driver says when it cannot log in."""
    with connected(host, how, **account(**changes)) as agent, pytest.raises(LabError) as caught:
        agent.run("list", [GET_VM], soon())
    assert not shells(host)
    return caught.value


class TestRefusals:
    """Each says what is wrong, and the one thing to do."""

    def test_a_service_that_the_kdc_does_not_know(self, joined, keytab):
        error = refusal(joined, keytab=keytab, spn="HTTP/elsewhere")
        assert "HTTP/elsewhere" in error.message
        assert "spn" in error.hint

    def test_a_service_that_is_not_this_host(self, joined, realm, keytab):
        """The KDC knows it, so there is a ticket; the host has not its key."""
        realm.admin("addprinc", "-randkey", "HTTP/other.example")
        error = refusal(joined, keytab=keytab, spn="HTTP/other.example")
        assert "it takes no ticket for this service" in error.message
        assert "spn" in error.hint

    def test_an_account_that_the_kdc_does_not_know(self, joined):
        error = refusal(joined, user=f"nobody@{kdc.REALM}", secret="anything")
        assert "user" in error.hint

    def test_a_wrong_password(self, joined):
        assert "password" in refusal(joined, secret="wrong").hint

    def test_a_keytab_without_the_account(self, joined, realm):
        assert "keytab" in refusal(joined, keytab=realm.keytab(kdc.SERVICE)).hint

    def test_a_host_that_offers_no_kerberos(self, tmp_path, keytab):
        """It is said, and its other ways are not tried."""
        with windows(tmp_path, schemes=("basic",), unencrypted=True) as host:
            assert "does not offer kerberos" in refusal(host, keytab=keytab).message

    def test_ntlm_where_it_is_forbidden(self, joined):
        with connected(joined, "ntlm") as agent, pytest.raises(LabError) as caught:
            agent.run("list", [GET_VM], soon())
        assert "does not offer ntlm" in caught.value.message

    def test_a_clock_that_is_far_off(self, joined, realm, keytab, monkeypatch):
        """Of the domain controller, or ours: Kerberos takes five minutes."""
        if shutil.which("faketime") is None:
            pytest.skip("no faketime on PATH")
        other = kdc.Realm(realm.folder, kdc.elsewhere(realm))
        monkeypatch.setenv("KRB5_CONFIG", other.environment["KRB5_CONFIG"])
        with other.serving("faketime", "-f", "+1h"):
            error = refusal(joined, keytab=keytab)
        assert "clock" in error.hint.lower()

    def test_no_kdc(self, joined, realm, keytab, monkeypatch):
        monkeypatch.setenv("KRB5_CONFIG", kdc.elsewhere(realm)["KRB5_CONFIG"])
        assert "KDC" in refusal(joined, keytab=keytab).hint
