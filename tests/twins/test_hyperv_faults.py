"""What a host does to the driver's agent, and what becomes of it: cuts, reboots, quotas, shells that end."""

import contextlib
import threading

import pytest

from harness import agent
from harness.backends.hyperv import shell, transport
from harness.backends.hyperv.door import Door
from harness.backends.hyperv.errors import Lost
from harness.backends.hyperv.session import Agents
from harness.backends.hyperv.shell import Shell
from harness.backends.hyperv.steps import Step
from harness.core import LabError, Pending, wait_for
from harness.twins.hyperv import server
from harness.twins.hyperv.config import TwinConfig
from harness.twins.hyperv.plan import Planned
from harness.twins.hyperv.twin import Twin
from tests.twins.hyperv_agent import MODES
from tests.twins.hyperv_driver import GET_VM, connected, lab_settings, shells, windows
from tests.twins.hyperv_host import PASSWORD, USER
from tests.unit.powershell import soon


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
            assert "path as `agent:`" in caught.value.hint
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


def statuses(monkeypatch):
    """What HTTP status the twin answers with from now on."""
    reply, seen = server.Handler._reply, []

    def noted(handler, status, *rest, **more):
        seen.append(status)
        return reply(handler, status, *rest, **more)

    monkeypatch.setattr(server.Handler, "_reply", noted)
    return seen


def _planned(plan):
    return [Planned.parse(entry) for entry in plan]
