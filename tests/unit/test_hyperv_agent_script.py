"""The agent's own PowerShell: of 5.1, by whole names, and short enough for the shell that carries it."""

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from harness import agent
from tests.unit.powershell import modules


def test_our_powershell_is_5_1_without_aliases():
    """The real parser reads it, and names every command it calls: each is a cmdlet of 5.1, or our own."""
    modules()
    known = {"ConvertFrom-Json", "ConvertTo-Json", "Import-Module", "Remove-TypeData", "Set-StrictMode", "Where-Object"}
    for name in ("agent.ps1", "bootstrap.ps1"):
        path = Path(agent.__file__).with_name(name)
        done = subprocess.run(["pwsh", "-Lint", path], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
        own = {
            line.split()[1].split("(")[0]
            for line in path.read_text().splitlines()
            if line.strip().startswith("function ")
        }
        assert {line.rsplit(" ", 1)[1] for line in done.stdout.splitlines()} <= known | own


_READ_SCRIPT = """
$tree = [Management.Automation.Language.Parser]::ParseFile($env:SCRIPT, [ref]$null, [ref]$null)
foreach ($one in $tree.FindAll({ $args[0] -is [Management.Automation.Language.FunctionDefinitionAst] }, $true)) {
    $names = if ($one.Body.ParamBlock) { $one.Body.ParamBlock.Parameters } else { $one.Parameters }
    [Console]::Out.WriteLine("function $($one.Name) " + @($names | ForEach-Object { $_.Name.VariablePath.UserPath }))
}
foreach ($one in $tree.FindAll({ $args[0] -is [Management.Automation.Language.CommandAst] }, $true)) {
    $given = $one.CommandElements | Where-Object { $_ -is [Management.Automation.Language.CommandParameterAst] }
    [Console]::Out.WriteLine("call $($one.GetCommandName()) " + @($given | ForEach-Object { $_.ParameterName }))
}
"""


@pytest.fixture(scope="module")
def abbreviated():
    """What a script does not call by its whole documented name: commands and parameters, by PowerShell's own parser."""
    place = os.environ.get("INTEROP_HYPERV_DATA")
    if shutil.which("pwsh") is None:
        pytest.skip("pwsh is not on PATH")
    if not place:
        pytest.skip("INTEROP_HYPERV_DATA does not name a folder with the facts of Windows' cmdlets")
    facts = json.loads((Path(place) / "windows-core-cmdlets.json").read_text())
    common = facts["_meta"]["common"]
    documented = {name: {*params, *common} for module in facts["modules"].values() for name, params in module.items()}
    encoded = base64.b64encode(_READ_SCRIPT.encode("utf-16-le")).decode()

    def found(script):
        command = ["pwsh", "-NoProfile", "-NonInteractive", "-EncodedCommand", encoded]
        environment = {**os.environ, "SCRIPT": str(script)}
        said = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
        lines = [line.split() for line in said.splitlines()]
        known = documented | {line[1]: set(line[2:]) for line in lines if line[0] == "function"}
        calls = [line[1:] for line in lines if line[0] == "call" and line[1:]]  # `& $command` has no name
        return len(calls), [
            f"{name}: {wrong}"
            for name, *given in calls
            for wrong in ([name] if name not in known else sorted(set(given) - known[name]))
        ]

    return found


def test_our_powershell_calls_everything_by_its_whole_name(abbreviated):
    """An abbreviation is what another release of Windows may find ambiguous."""
    folder = Path(agent.__file__).parent
    calls, wrong = abbreviated(folder / "agent.ps1")
    assert calls > 30
    assert not wrong
    assert abbreviated(folder / "bootstrap.ps1") == (0, []), "it calls methods alone"


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("ConvertTo-Json -Comp 1", "ConvertTo-Json: Comp"),
        ("if (1) { 1 | % { 2 } }", "%: %"),
        ("Import-Module -Name x -Args 1", "Import-Module: Args"),
        ("Read-Property -obj 1", "Read-Property: obj"),
        ("Get-Thing -Name x", "Get-Thing: Get-Thing"),
    ],
)
def test_an_abbreviation_would_be_found(abbreviated, tmp_path, line, wrong):
    """Of a cmdlet or of a function of our own; aliases of commands and parameters are none of them."""
    script = tmp_path / "x.ps1"
    script.write_text(
        "function Read-Property($object, [string]$path) { $path }\nfunction Get-One { param([int]$At) $At }\n"
    )
    with script.open("a") as file:
        file.write(f"Read-Property -path x; Get-One -At 1  | Where-Object {{ $_ -lt 3 }}\n{line}\n")
    assert abbreviated(script)[1] == [wrong]


def test_the_command_line_fits_the_shell_that_carries_it():
    """cmd.exe takes 8191 characters."""
    assert len(" ".join([agent.PROGRAM, *agent.inline()])) < 8191
    assert len(agent.digest()) == 64
