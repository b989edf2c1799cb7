"""The driver's path to a host, whole: pywinrm, the twin's WS-Man server, the shipped agent in the real PowerShell."""

import contextlib
import statistics
import threading
import time
import warnings

import pytest

from harness import agent
from harness.backends.hyperv import shell, transport
from harness.backends.hyperv.door import Door
from harness.backends.hyperv.errors import Lost, NoRight
from harness.backends.hyperv.session import Agent, Agents
from harness.backends.hyperv.settings import Settings
from harness.backends.hyperv.shell import Shell
from harness.backends.hyperv.steps import Ref, Step
from harness.core import LabError, Pending, wait_for
from harness.twins.hyperv import auth, server
from harness.twins.hyperv.config import TwinConfig
from harness.twins.hyperv.programs import powershell
from harness.twins.hyperv.twin import Twin
from tests.twins.hyperv_agent import MODES
from tests.twins.hyperv_host import PASSWORD, USER, client_certificate, twin_host
from tests.unit.powershell import modules, soon

WAYS = ["ntlm", "ntlm+tls", "basic+tls"]
MORE = ["credssp", "credssp+tls", "certificate+tls"]
LARGE = 100 << 20
GET_VM = Step("Get-VM", get=("Id", "State"))


@contextlib.contextmanager
def windows(folder, *plan, **settings):
    """A twin whose PowerShell has the documented Hyper-V module."""
    programs = {"powershell": powershell(modules()["all"])}
    with twin_host(folder, *plan, programs=programs, **{"unencrypted": False, **settings}) as host:
        yield host


def lab_settings(host, how="ntlm", **changes):
    """What a lab file would say of it."""
    auth, _, tls = how.partition("+")
    record = {"endpoint": host.https, "http": host.http, "ca": str(host.identity.authority), "user": USER}
    found = Settings(twin=True, auth=auth, tls=bool(tls)).at_twin(record | {"password": PASSWORD})
    secret = changes.pop("secret", PASSWORD)
    found = found.model_copy(update=changes)
    found._password = secret
    return found


@contextlib.contextmanager
def connected(host, how="ntlm", **changes):
    """An agent there."""
    door = Door(lab_settings(host, how, **changes), "win1")
    with contextlib.closing(Agent(lambda deadline: Shell(door, deadline), "win1")) as started:
        yield started


def shells(host):
    return host.shells.present()


@contextlib.contextmanager
def reboot(host, *, back=True):
    """Let the host go down while it works, and come up again."""

    def work():
        wait_for("a request", lambda: any(shell.busy for shell in shells(host)) or Pending("all is quiet"), soon())
        host.go_down()
        if back:
            host.come_up()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def shown(certificate, key):
    """The lab file's account, where it is a certificate."""
    return {"certificate": certificate, "certificate_key": key, "secret": None, "user": None}


@pytest.mark.parametrize("how", WAYS + MORE)
def test_cmdlets_are_called_through_every_way_of_logging_in(tmp_path, how):
    """And what is said is said in whatever characters; nothing is left on the host afterwards."""
    papers = client_certificate(tmp_path, "interop")
    proof = shown(*papers) if how.startswith("certificate") else {}
    schemes = ("negotiate", "credssp", "basic")
    with windows(tmp_path, schemes=schemes, clients={papers[0]: USER}) as host:
        with connected(host, how, **proof) as agent:
            assert agent.run("list", [GET_VM], soon()) == [[]]
            assert {shell.owner for shell in shells(host)} == {USER.casefold()}
            words = "ä 世界 🐧 $(1) `\"';\n"
            echo = Step("Write-Output", {"InputObject": words}, get=(".",))
            assert agent.run("echo", [echo], soon()) == [[{".": words}]]
            long = Step("Write-Output", {"InputObject": "x" * 2_000_000}, get=("Length",))
            assert agent.run("long", [long], soon()) == [[{"Length": 2_000_000}]]
            back = Step("Write-Output", {"InputObject": "x" * 1_000_000}, get=(".",))
            assert len(agent.run("back", [back], soon())[0][0]["."]) == 1_000_000
        assert shells(host) == []


def test_an_agent_that_lies_on_the_host_is_started_without_an_encoded_command(tmp_path):
    """As ``agent:`` in the lab file says; with a signature behind it or not, it is known by its digest."""
    script = tmp_path / "interop agent.ps1"
    script.write_bytes(agent.source().replace(b"\n", b"\r\n") + b"\r\n# SIG # Begin signature block\r\n# MII\r\n")
    real, asked = powershell(modules()["all"]), []

    def recorded(arguments):
        asked.append(list(arguments))
        return real(arguments)

    with twin_host(tmp_path, programs={"powershell": recorded}, unencrypted=False) as host:
        with connected(host, agent=str(script)) as there:
            assert there.run("list", [GET_VM], soon()) == [[]]
        [line] = asked
        assert line[-2:] == ["-File", str(script)]
        assert line[line.index("-ExecutionPolicy") + 1] == "AllSigned"
        script.write_bytes(script.read_bytes().replace(b"decides nothing", b"decides all"))
        with connected(host, agent=str(script)) as there, pytest.raises(LabError) as caught:
            there.run("list", [GET_VM], soon())
        assert "another than this harness's" in caught.value.message
        assert agent.script_digest() in caught.value.hint
        with connected(host, agent=str(tmp_path / "none.ps1")) as there, pytest.raises(LabError) as caught:
            there.run("list", [GET_VM], soon())
        assert "the agent did not start" in caught.value.message
        assert shells(host) == []


def test_one_operation_is_one_send_and_one_receive(tmp_path):
    """However many cmdlets it takes."""
    with windows(tmp_path) as host, connected(host, "basic+tls") as agent:
        agent.run("warm", [GET_VM], soon())
        seen = []
        protocol = agent._pipe._wire._protocol
        send = protocol.send_message
        protocol.send_message = lambda message: seen.append(message) or send(message)
        agent.run("three", [GET_VM, Step("Get-VMHost"), Step("Get-VMSwitch")], soon())
        actions = [message.partition("/windows/shell/")[2] for message in seen]
        assert len(seen) == 2, actions
        assert "/shell/Send<" in seen[0]
        assert "/shell/Receive<" in seen[1]


@pytest.mark.parametrize("how", WAYS)
def test_an_operation_costs_a_hundredth_of_a_powershell(tmp_path, how, record_property):
    """The promise of a resident agent: against pywinrm's own run_ps of the same cmdlet, on the same twin."""
    import winrm

    with windows(tmp_path) as host:
        with connected(host, how) as agent:
            for _ in range(5):
                agent.run("warm", [GET_VM], soon())
            spent = []
            for _ in range(100):
                began = time.perf_counter()
                agent.run("list", [GET_VM], soon())
                spent.append(time.perf_counter() - began)
        settings = lab_settings(host, how)
        session = winrm.Session(
            settings.url,
            auth=(USER, PASSWORD),
            transport=settings.auth,
            ca_trust_path=str(host.identity.authority),
            proxy=None,
        )
        scripts = []
        for _ in range(3):
            began = time.perf_counter()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                done = session.run_ps("Import-Module Hyper-V; Get-VM")
            scripts.append(time.perf_counter() - began)
            assert done.status_code == 0, done.std_err
    ours, theirs = statistics.median(spent), statistics.median(scripts)
    record_property("milliseconds", round(ours * 1000, 2))
    record_property("ratio", round(ours / theirs, 5))
    assert ours / theirs <= 0.01


class TestFaults:
    """What a host does to a client, and what becomes of it."""

    def _survives(self, folder, *plan, how="ntlm", **settings):
        with windows(folder, **settings) as host, connected(host, how) as agent:
            agent.run("warm", [GET_VM], soon())
            host.plan.replace(_planned(plan))
            target = folder / "made"
            once = Step("New-Item", {"Path": str(target)}, get=("Name",))
            assert agent.run("make", [once], soon()) == [[{"Name": "made"}]]
            assert agent.run("list", [GET_VM], soon(), repeatable=True) == [[]]
        assert shells(host) == []

    @pytest.mark.parametrize(
        "plan",
        [
            [{"do": "cut", "on": "Receive"}],
            [{"do": "cut", "on": "Send"}],
            [{"do": "cut", "on": "Send", "taken": True}],
            [{"do": "cut", "on": "Receive", "taken": True}],
            [{"do": "fault", "on": "Send", "fault": "timeout", "taken": True}],
            [{"do": "fault", "on": "Receive", "fault": "timeout"}],
            [{"do": "split", "on": "Receive", "size": 7, "times": None}],
            [{"do": "status", "on": "Receive", "status": 400}],
            [{"do": "expire", "on": "Send"}],
        ],
        ids=lambda plan: " ".join(str(value) for value in plan[0].values()),
    )
    @pytest.mark.parametrize("how", ["ntlm", "basic+tls"])
    def test_what_can_be_healed_is_healed_and_nothing_is_done_twice(self, tmp_path, plan, how):
        """New-Item would refuse to make the same file again."""
        self._survives(tmp_path, *plan, how=how)

    def test_a_sealed_connection_that_idled_is_replaced_before_it_is_used(self, tmp_path, monkeypatch):
        """Sealed NTLM belongs to one TCP connection: http.sys closes it after two minutes."""
        monkeypatch.setattr(transport, "_IDLE_SECONDS", 0.5)
        answered = statuses(monkeypatch)
        with windows(tmp_path, quotas={"connection_idle_seconds": 1.0}) as host, connected(host) as agent:
            agent.run("warm", [GET_VM], soon())
            pause = threading.Event()
            for _ in range(2):
                pause.wait(1.5)
                assert agent.run("list", [GET_VM], soon()) == [[]]
        assert answered.count(401) > 2, "no connection was replaced"
        assert 400 not in answered

    def test_a_busy_host_is_asked_again(self, tmp_path, monkeypatch):
        """Fault 170, three times at most."""
        monkeypatch.setattr(transport, "_BUSY_SECONDS", 0.1)
        self._survives(tmp_path, {"do": "fault", "on": "Send", "fault": "busy", "times": 2})
        with windows(tmp_path / "still") as host, connected(host) as agent:
            agent.run("warm", [GET_VM], soon())
            host.plan.replace(_planned([{"do": "fault", "on": "Send", "fault": "busy", "times": None}]))
            with pytest.raises(LabError, match="busy"):
                agent.run("list", [GET_VM], soon())

    def test_an_agent_that_dies_while_it_works_is_reported_where_it_may_not_be_repeated(self, tmp_path):
        """With the cmdlets of which nobody knows."""
        with windows(tmp_path) as host, connected(host) as agent:
            agent.run("warm", [GET_VM], soon())
            host.plan.replace(_planned([{"do": "kill", "on": "Receive"}]))
            with pytest.raises(Lost, match="not known whether this was done: Start-Sleep"):
                agent.run("sleep", [Step("Start-Sleep", {"Seconds": 30})], soon())
            agent.run("warm", [GET_VM], soon())
            host.plan.replace(_planned([{"do": "kill", "on": "Send"}]))
            with pytest.raises(Lost, match="Get-VM"):
                agent.run("list", [GET_VM], soon())
            assert agent.run("list", [GET_VM], soon(), repeatable=True) == [[]]

    def test_a_host_that_reboots_is_found_again(self, tmp_path):
        """Its shells are gone; what may be repeated is."""
        with windows(tmp_path) as host, connected(host) as agent:
            agent.run("warm", [GET_VM], soon())
            host.go_down()
            with pytest.raises(LabError, match="no connection"):
                agent.run("list", [GET_VM], soon(20), repeatable=True)
            host.come_up()
            assert agent.run("list", [GET_VM], soon()) == [[]]

    def test_a_host_that_reboots_under_a_request_leaves_its_end_unknown(self, tmp_path):
        """Unless doing it again is as good: then it is, when the host is back."""
        nap = Step("Start-Sleep", {"Seconds": 3})
        with windows(tmp_path) as host, connected(host) as agent:
            agent.run("warm", [GET_VM], soon())
            with reboot(host), pytest.raises(Lost, match="not known whether this was done: Start-Sleep"):
                agent.run("sleep", [nap], soon())
            agent.run("warm", [GET_VM], soon())
            with reboot(host):
                assert agent.run("sleep", [nap], soon(), repeatable=True) == [[]]
            with reboot(host, back=False), pytest.raises(Lost, match=r"no connection .* Start-Sleep"):
                agent.run("sleep", [nap], soon(5))
            with pytest.raises(LabError, match="no connection") as caught:
                agent.run("list", [GET_VM], soon())
            assert not isinstance(caught.value, Lost), "nothing was sent"
            host.come_up()
            assert agent.run("list", [GET_VM], soon()) == [[]]

    def test_a_full_host_is_said_to_be_full(self, tmp_path):
        """Shells are what is scarce."""
        with windows(tmp_path, quotas={"shells_per_user": 1}) as host, connected(host) as first:
            first.run("warm", [GET_VM], soon())
            with connected(host) as second, pytest.raises(LabError, match="MaxShellsPerUser"):
                second.run("list", [GET_VM], soon())

    @pytest.mark.parametrize("on", ["Send", "Receive"])
    @pytest.mark.parametrize("taken", [False, True])
    def test_a_host_that_says_nothing_is_asked_again_by_another_connection(self, tmp_path, monkeypatch, on, taken):
        """A read must not wait for ever; the agent does nothing twice."""
        monkeypatch.setattr(transport, "_OPERATION_SECONDS", 1)
        monkeypatch.setattr(transport, "_GRACE", 1.0)
        self._survives(tmp_path, {"do": "silent", "on": on, "seconds": 90, "taken": taken})

    def test_a_shell_that_takes_too_long_is_said_to_stay_for_a_while(self, tmp_path, monkeypatch):
        """Nobody heard its name, so nobody can end it."""
        with windows(tmp_path, {"do": "slow", "on": "Create", "seconds": 2}) as host, connected(host) as agent:
            with monkeypatch.context() as hasty:
                hasty.setattr(shell, "_BEGIN_SECONDS", 1)
                with pytest.raises(LabError, match="did not open a shell in time") as caught:
                    agent.run("list", [GET_VM], soon())
            assert "two hours" in caught.value.hint
            [left] = wait_for("the shell", lambda: shells(host) or Pending("none"), soon())
            assert left.idle_seconds == 7200
            assert agent.run("list", [GET_VM], soon()) == [[]]
            assert len(shells(host)) == 2
        assert shells(host) == []

    def test_a_shell_without_operations_is_left_for_another(self, tmp_path):
        """They are given back by no command, only by a new shell."""
        with windows(tmp_path) as host, connected(host) as agent:
            agent.run("warm", [GET_VM], soon())
            [before] = shells(host)
            host.plan.replace(_planned([{"do": "fault", "on": "Send", "fault": "operations"}]))
            made = Step("New-Item", {"Path": str(tmp_path / "made")}, get=("Name",))
            assert agent.run("make", [made], soon()) == [[{"Name": "made"}]]
            [after] = shells(host)
            assert after.shell_id != before.shell_id

    @pytest.mark.parametrize(
        ("quotas", "name"),
        [
            ({"commands_per_shell": 0}, "MaxProcessesPerShell"),
            ({"users": 0}, "MaxConcurrentUsers"),
            ({"shells_per_user": 0}, "MaxShellsPerUser"),
        ],
        ids=["commands", "users", "shells"],
    )
    def test_a_quota_that_is_used_up_is_named_with_what_to_set(self, tmp_path, quotas, name):
        """And what was begun is ended."""
        with windows(tmp_path, quotas=quotas) as host, connected(host) as agent:
            with pytest.raises(LabError, match=name) as caught:
                agent.run("list", [GET_VM], soon())
            assert f"Set-Item WSMan:\\localhost\\Shell\\{name}" in caught.value.hint
            assert shells(host) == []

    def test_an_envelope_that_is_too_large_is_said_to_be_and_no_more(self, tmp_path):
        """A host that was set to less than it takes by default; the agent is as it was."""
        with windows(tmp_path, quotas={"envelope_kb": 200}) as host, connected(host) as agent:
            assert agent.run("list", [GET_VM], soon()) == [[]]
            before = {each.shell_id for each in shells(host)}
            long = Step("Write-Output", {"InputObject": "x" * 1_000_000}, get=("Length",))
            with pytest.raises(LabError, match="MaxEnvelopeSizekb") as caught:
                agent.run("long", [long], soon())
            assert "Set-Item WSMan:\\localhost\\MaxEnvelopeSizekb 500" in caught.value.hint
            assert agent.run("list", [GET_VM], soon()) == [[]]
            assert {each.shell_id for each in shells(host)} == before

    @pytest.mark.parametrize("fault", ["aborted", "cancelled", "disconnected", "stream"])
    def test_a_shell_that_ends_under_a_request_is_replaced(self, tmp_path, fault):
        """As a host ends them: what may be done twice is, of the rest nobody knows."""
        with windows(tmp_path) as host, connected(host) as agent:
            agent.run("warm", [GET_VM], soon())
            [before] = shells(host)
            host.plan.replace(_planned([{"do": "fault", "on": "Receive", "fault": fault}]))
            with pytest.raises(Lost, match="not known whether this was done: New-Item"):
                agent.run("make", [Step("New-Item", {"Path": str(tmp_path / "made")})], soon())
            assert shells(host) == []
            host.plan.replace(_planned([{"do": "fault", "on": "Receive", "fault": fault, "skip": 1}]))
            for _ in range(2):
                assert agent.run("list", [GET_VM], soon(), repeatable=True) == [[]]
            [after] = shells(host)
            assert after.shell_id != before.shell_id

    def test_a_shell_that_has_lived_for_eight_hours_is_replaced(self, tmp_path):
        """Between two requests nobody notices; in the middle of one it is as when an agent dies."""
        hours = 8 * 3600.0
        with windows(tmp_path, quotas={"lifetime_seconds": hours}) as host, connected(host) as agent:
            agent.run("warm", [GET_VM], soon())
            [first] = shells(host)
            first.born -= hours
            assert agent.run("list", [GET_VM], soon()) == [[]]
            [second] = shells(host)
            assert second is not first

            def grow_old():
                wait_for("a request", lambda: second.busy or Pending("all is quiet"), soon())
                second.born -= hours

            thread = threading.Thread(target=grow_old)
            thread.start()
            with pytest.raises(Lost, match="not known whether this was done: Start-Sleep"):
                agent.run("sleep", [Step("Start-Sleep", {"Seconds": 30})], soon())
            thread.join()
            assert agent.run("list", [GET_VM], soon()) == [[]]

    def test_threads_that_ask_at_the_same_time_each_get_their_own_answer(self, tmp_path):
        """Sealed NTLM is one connection's: who shares it spoils it."""
        answered = {}
        with windows(tmp_path) as host:
            door = Door(lab_settings(host), "win1")
            with contextlib.closing(Agents(lambda deadline: Shell(door, deadline), "win1", most=4)) as agents:
                together = threading.Barrier(6)

                def work(number):
                    together.wait(30)
                    for turn in range(15):
                        echo = Step("Write-Output", {"InputObject": f"{number}.{turn}"}, get=(".",))
                        answered[number, turn] = agents.run("echo", [echo], soon())[0][0]["."]

                threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                assert len(shells(host)) == 4
            assert shells(host) == []
        assert answered == {(number, turn): f"{number}.{turn}" for number in range(6) for turn in range(15)}

    @pytest.mark.parametrize("mode", MODES)
    def test_where_signed_files_alone_are_trusted_only_an_installed_agent_runs(self, tmp_path, mode):
        """Constrained language: cmdlets, and none of what an agent is made of."""
        accounts = {USER: PASSWORD}
        config = TwinConfig(folder=tmp_path, accounts=accounts, powershell=mode, guests=False, language="constrained")
        with Twin(config) as twin:
            with connected(twin.host) as there, pytest.raises(LabError) as caught:
                there.run("list", [GET_VM], soon())
            assert "agent: installed" in caught.value.hint
            script = twin.store / "agent.ps1"
            script.write_bytes(agent.source())
            with (
                connected(twin.host, agent=str(script)) as there,
                pytest.raises(LabError, match="not digitally signed"),
            ):
                there.run("list", [GET_VM], soon())
            script.write_bytes(agent.source() + b"# SIG # Begin signature block\n")
            with connected(twin.host, agent=str(script)) as there:
                assert there.run("list", [GET_VM], soon()) == [[]]


class TestFloods:
    """A cmdlet that says a hundred megabytes: some of it is an answer, the rest is noise."""

    @pytest.mark.parametrize("mode", MODES)
    def test_an_answer_of_100_megabytes_is_refused_on_the_host(self, tmp_path, mode):
        """It never goes over the wire, and the agent goes on."""
        text = tmp_path / "text"
        text.write_bytes(b"0123456789abcde\n" * (LARGE // 16))
        read = Step("Read-InteropConsole", {"Path": str(text), "Offset": 0, "Limit": LARGE}, get=(".",))
        whole = Step("Get-Content", {"LiteralPath": str(text), "Raw": True}, get=(".",))
        config = TwinConfig(folder=tmp_path / "twin", accounts={USER: PASSWORD}, powershell=mode, guests=False)
        with Twin(config) as twin, connected(twin.host) as there:
            there.run("warm", [GET_VM], soon())
            before = {each.shell_id for each in shells(twin.host)}
            came, _ = watched(there)
            for step in [read, whole] if mode == "pwsh" else [read]:  # Get-Content is the engine's own
                with pytest.raises(LabError, match="8 MiB") as caught:
                    there.run("flood", [step], soon())
                assert step.call in caught.value.message
                assert "fewer" in caught.value.hint
                assert there.run("list", [GET_VM], soon()) == [[]]
            assert 0 < sum(came) < 10_000
            assert {each.shell_id for each in shells(twin.host)} == before

    def test_noise_of_100_megabytes_is_read_and_forgotten(self, tmp_path):
        """What is answered after it is heard; and what has no end ends the agent."""
        lines, line = tmp_path / "lines", tmp_path / "line"
        lines.write_bytes((b"0123456789abcdef" * 256 + b"\n") * (LARGE // 4096))
        line.write_bytes(b"0123456789abcdef" * (LARGE // 16))

        def shout(file):
            text = Step("Get-Content", {"LiteralPath": str(file), "Raw": True}, name="text")
            return [text, Step("Write-Host", {"Object": Ref("text")}), GET_VM]

        with windows(tmp_path) as host, connected(host, "basic+tls") as there:
            there.run("warm", [GET_VM], soon())
            came, held = watched(there)
            assert there.run("shout", shout(lines), soon(300)) == [[], [], []]
            assert sum(came) > LARGE
            assert max(held) + len(there._noise) < 1 << 20
            with pytest.raises(Lost, match=r"speaks without end.*Write-Host"):
                there.run("shout", shout(line), soon(300))
            assert LARGE // 2 < max(held) < LARGE
            assert there.run("list", [GET_VM], soon()) == [[]]
        assert shells(host) == []


def watched(agent):
    """How many bytes come at a time from now on, and how many were kept when they came."""
    read, came, held = agent._pipe.read, [], []

    def counted(deadline):
        held.append(len(agent._rest))
        data = read(deadline)
        came.append(len(data))
        return data

    agent._pipe.read = counted
    return came, held


def _planned(plan):
    from harness.twins.hyperv.plan import Planned

    return [Planned.parse(entry) for entry in plan]


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


def statuses(monkeypatch):
    """What HTTP status the twin answers with from now on."""
    reply, seen = server.Handler._reply, []

    def noted(handler, status, *rest, **more):
        seen.append(status)
        return reply(handler, status, *rest, **more)

    monkeypatch.setattr(server.Handler, "_reply", noted)
    return seen


def _fingerprint(host):
    import hashlib
    import ssl

    port = int(host.https.rsplit(":", 1)[1].partition("/")[0])
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", port)))).hexdigest()
