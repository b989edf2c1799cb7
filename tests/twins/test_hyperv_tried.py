"""`interop twin up hyperv`, as somebody types it who then tries the lines that it prints."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli.twin import tries

LAB = """\
hosts:
  hyperv: {backend: hyperv, twin: true}
networks:
  management: {kind: network, source: Its LAN, subnet: 10.80.0.0/16, nat: 127.79.0.0/16}
"""
HAS_PWSH = shutil.which("pwsh") is not None


@pytest.fixture
def shell(tmp_path):
    """Runs a line in a shell of its own, as after a login; ends the twin of the lab."""
    (tmp_path / "bin").mkdir()
    for name, code in (("interop", f'{sys.executable} -m harness.cli "$@"'), ("python", f'{sys.executable} "$@"')):
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\nexec {code}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "lab.yaml").write_text(LAB)
    places = {"INTEROP_STATE": str(tmp_path / "state"), "INTEROP_CACHE": str(tmp_path / "cache")}

    def run(line: str, path: str = os.environ["PATH"]) -> str:
        environment = os.environ | places | {"PATH": f"{tmp_path / 'bin'}:{path}"}
        done = subprocess.run(
            ["/bin/sh", "-c", line], env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    yield run
    assert "is gone" in run(f"interop twin down hyperv --lab {tmp_path / 'lab.yaml'}")


def lines(shown: str) -> dict[str, str]:
    """What was printed, by the word that each line begins with."""
    return {name: rest.strip() for name, _, rest in (line.partition(" ") for line in shown.splitlines())}


@pytest.mark.skipif(not HAS_PWSH, reason="pwsh is not on PATH")
def test_the_lines_that_it_prints_work(shell, tmp_path):
    """Python logs in and hears of the host and its switches; PowerShell hears what kind of host it is."""
    shown = shell(f"interop twin up hyperv --lab {tmp_path / 'lab.yaml'}")
    said = lines(shown)
    told = shell(said["python"])
    assert '"LogicalProcessorCount"' in told
    assert '"Its LAN"' in told
    assert "Microsoft Corporation" in shell(said["pwsh"])
    assert said["windows"].startswith("Test-WSMan -ComputerName 127.0.0.1 -Port ")
    password = shell(f"interop twin env hyperv --lab {tmp_path / 'lab.yaml'}").rpartition("PASSWORD=")[2].split()[0]
    assert password not in shown


def test_the_line_for_python_works_without_powershell_as_well(shell, tmp_path):
    """The twin understands no script then, and says what it is."""
    few = tmp_path / "few"
    few.mkdir()
    for folder in os.environ["PATH"].split(":"):
        for program in Path(folder).glob("*"):
            if program.name != "pwsh" and not (few / program.name).exists():
                (few / program.name).symlink_to(program)
    said = lines(shell(f"interop twin up hyperv --lab {tmp_path / 'lab.yaml'}", str(few)))
    told = shell(said["python"], str(few))
    assert "IdentifyResponse" in told
    assert "Microsoft Corporation" in told


def test_a_twin_of_another_kind_has_clients_of_its_own():
    """Its variables are for them."""
    assert tries({"kind": "vsphere", "endpoint": "127.0.0.1:4"}, "") == {}
