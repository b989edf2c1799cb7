"""The agent's own PowerShell: of 5.1, by whole names, and short enough for the shell that carries it."""

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness import agent
from tests.unit.powershell import modules


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """The agent as hosts get it."""
    path = tmp_path_factory.mktemp("script") / "agent.ps1"
    path.write_bytes(agent.source())
    return path


def test_the_script_is_printed_for_labs_that_sign_it():
    """Whole: with all it includes, and nothing of it missing."""
    printed = subprocess.run([sys.executable, "-m", "harness.agent"], capture_output=True, check=True).stdout
    assert hashlib.sha256(printed).hexdigest() == agent.script_digest()
    lines = {line.strip() for line in printed.decode("ascii").splitlines()}
    assert not any(line.startswith("#include") for line in lines)
    for part in Path(agent.__file__).parent.glob("*.ps1"):
        own = {line.strip() for line in part.read_text().splitlines()}
        assert part.name == "bootstrap.ps1" or {line for line in own if not line.startswith("#include")} <= lines


def test_the_invoker_is_one_screen():
    """Whoever lets it run on a host reads what it does at a glance: 75 lines below its header."""
    text = Path(agent.__file__).with_name("agent.ps1").read_text()
    assert len(text[text.index("\nbegin {") :].splitlines()) <= 75


def test_our_powershell_is_5_1_without_aliases(script):
    """The real parser reads it, and names every command it calls: each is a cmdlet of 5.1, or our own."""
    modules()
    known = {"ConvertFrom-Json", "ConvertTo-Json", "Import-Module", "Remove-TypeData", "Set-StrictMode", "Where-Object"}
    for path in (script, Path(agent.__file__).with_name("bootstrap.ps1")):
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


def test_our_powershell_calls_everything_by_its_whole_name(abbreviated, script):
    """An abbreviation is what another release of Windows may find ambiguous."""
    calls, wrong = abbreviated(script)
    assert calls > 30
    assert not wrong
    assert abbreviated(Path(agent.__file__).with_name("bootstrap.ps1")) == (0, []), "it calls methods alone"


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
