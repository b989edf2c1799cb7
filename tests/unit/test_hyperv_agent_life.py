"""The life of agents: how many there are, and what becomes of one, or of an answer, that is late, lost or too long."""

import json
import threading
from contextlib import closing

import pytest

from harness import agent
from harness.backends.hyperv.errors import Lost
from harness.backends.hyperv.session import Agent, Agents
from harness.backends.hyperv.steps import Step
from harness.core import LabError
from tests.unit import powershell
from tests.unit.powershell import LocalPipe, modules, soon

host = powershell.host


def test_an_answer_is_bounded(host):
    """A cmdlet that says more than the 8 MiB that one may fails its request, and the agent goes on."""
    with pytest.raises(LabError, match="8 MiB"):
        host.run("flood", [Step("Write-Output", {"InputObject": "x" * 9_000_000}, get=(".",))], soon())
    assert host.run("on", [Step("Write-Output", {"InputObject": 1}, get=(".",))], soon()) == [[{".": 1}]]


def test_a_request_asked_again_is_answered_and_not_done_again(tmp_path):
    """So an answer that got lost on the way does no harm."""
    with closing(LocalPipe(modules()["all"])) as pipe:
        pipe.write(agent.first_line(), soon())
        target = tmp_path / "made"
        line = json.dumps(
            {
                "id": 5,
                "steps": [{"call": "New-Item", "args": {"Path": f"={target}", "Value": "=once"}, "get": ["Name"]}],
            }
        ).encode()
        pipe.write(line + b"\n" + b"\n" + line[:30] + b"\n" + line + b"\n", soon())
        said = b""
        while said.count(b"@HV1 5") < 2:
            said += pipe.read(soon())
    answers = [text for text in said.splitlines() if text.startswith(b"@HV1 5")]
    assert answers[0] == answers[1]
    assert b'"ok":true' in answers[0]


def test_an_agent_that_is_killed_is_started_again_for_what_may_be_repeated(tmp_path):
    """What may not is reported, with what is known."""
    pipes = []

    def start(deadline):
        pipes.append(LocalPipe(modules()["all"]))
        return pipes[-1]

    ping = Step("Write-Output", {"InputObject": 1}, get=(".",))
    end = Step("Start-Sleep", {"Seconds": 60})
    with closing(Agent(start, "win1")) as mine:
        mine.run("ping", [ping], soon())
        pipes[-1].process.kill()
        pipes[-1].process.wait()
        assert mine.run("ping", [ping], soon(), repeatable=True) == [[{".": 1}]]
        assert len(pipes) == 2
        threading.Timer(0.5, pipes[-1].process.kill).start()
        with pytest.raises(Lost, match="not known whether this was done: Start-Sleep"):
            mine.run("sleep", [end], soon())
        assert mine.run("ping", [ping], soon()) == [[{".": 1}]]


def test_an_agent_that_is_late_is_ended():
    """A deadline is a deadline; the next request has an agent of its own."""
    with closing(Agent(lambda deadline: LocalPipe(modules()["all"]), "win1")) as mine:
        mine.run("ping", [Step("Get-Date")], soon())
        with pytest.raises(LabError, match="did not answer in time"):
            mine.run("sleep", [Step("Start-Sleep", {"Seconds": 60})], soon(1))
        mine.run("ping", [Step("Get-Date")], soon())


def test_a_host_without_the_module_is_said_to_be_one(tmp_path):
    """With the one command that cures it."""
    modules()
    with (
        closing(Agent(lambda deadline: LocalPipe(tmp_path), "win1")) as mine,
        pytest.raises(LabError, match="Hyper-V") as caught,
    ):
        mine.run("ping", [Step("Get-Date")], soon())
    assert "Install-WindowsFeature" in caught.value.hint


def test_there_are_as_many_agents_as_requests_at_once():
    """And no more, whatever threads come and go."""
    pipes = []
    documented = modules()["all"]

    def start(deadline):
        pipes.append(LocalPipe(documented))
        return pipes[-1]

    nap = Step("Start-Sleep", {"Seconds": 1})
    with closing(Agents(start, "win1", most=2)) as agents:
        for _ in range(3):
            thread = threading.Thread(target=agents.run, args=("ping", [Step("Get-VM")], soon()))
            thread.start()
            thread.join()
        assert len(pipes) == 1
        threads = [threading.Thread(target=agents.run, args=("nap", [nap], soon())) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(pipes) == 2
        assert agents.trips == 7
        assert agents.engine
    assert all(one.process.poll() is not None for one in pipes)
