"""The driver's path to a host, whole: pywinrm, the twin's WS-Man server, the shipped agent in the real PowerShell."""

import pytest

from harness import agent
from harness.backends.hyperv.steps import Step
from harness.core import LabError
from harness.twins.hyperv.programs import powershell
from tests.twins.hyperv_driver import GET_VM, WAYS, connected, shells, shown, windows
from tests.twins.hyperv_host import USER, client_certificate, twin_host
from tests.unit.powershell import modules, soon

MORE = ["credssp", "credssp+tls", "certificate+tls"]


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
