"""What a cmdlet says without measure: how much of it goes over the wire, and how much is kept."""

import pytest

from harness.backends.hyperv.errors import Lost
from harness.backends.hyperv.steps import Ref, Step
from harness.core import LabError
from harness.twins.hyperv.config import TwinConfig
from harness.twins.hyperv.twin import Twin
from tests.twins.hyperv_agent import MODES
from tests.twins.hyperv_driver import GET_VM, connected, shells, windows
from tests.twins.hyperv_host import PASSWORD, USER
from tests.unit.powershell import soon

LARGE = 100 << 20


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
