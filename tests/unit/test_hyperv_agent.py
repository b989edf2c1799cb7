"""The agent in a real PowerShell engine: what goes in comes out, what is refused is said, and nothing is executed."""

import base64
import contextlib
import hashlib
import http.server
import json
import os
import shutil
import socket
import subprocess
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from harness import agent
from harness.backends.hyperv.errors import Gone, Lost
from harness.backends.hyperv.session import Agent, Agents
from harness.backends.hyperv.steps import Ref, Step, Typed, exactly
from harness.backends.protocol import Refused, WrongState
from harness.core import InteropError, LabError, Pending, UsageError, wait_for
from tests.unit.powershell import LocalPipe, modules, soon


@pytest.fixture(scope="module")
def host():
    """An agent in a PowerShell of this machine, with the documented module of all years."""
    with closing(Agent(lambda deadline: LocalPipe(modules()["all"]), "win1")) as started:
        yield started


@pytest.fixture
def echo(host):
    """What an argument is when it has been to PowerShell and back."""

    def there_and_back(value):
        step = Step("Write-Output", {"InputObject": value, "NoEnumerate": True}, get=(".",))
        return host.run("echo", [step], soon())[0][0]["."]

    return there_and_back


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.sampled_from(
        ["$(1)", "`", '"', "'", ";", "a\nb\r\n", "\0", "$env:PATH", "世界", "🐧", "@(1)", "2024-01-01T00:00:00Z"]
    )
    | st.sampled_from(["/Date(0)/", "\\/Date(0)\\/", "-Name", "*", "=", "", " ", "\u2028", "\x7f", "\ufeff", "é"]),
    st.lists,
    max_leaves=12,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=VALUES)
def test_what_goes_into_powershell_comes_out_equal(echo, value):
    """No value is executed, unwrapped, trimmed or taken for a date on the way."""
    assert echo(value) == value


@pytest.fixture(scope="module")
def canary(tmp_path_factory):
    """A file, and PowerShell that makes it: what shows that a value was executed."""
    path = tmp_path_factory.mktemp("canary") / "dead"
    script = f"New-Item -Path '{path}'"  # without a dot: paths of properties are split there
    encoded = base64.b64encode(f"$(;{script})".encode("utf-16-le")).decode()
    modules()
    subprocess.run(["pwsh", "-NoProfile", "-NonInteractive", "-EncodedCommand", encoded], check=True)
    path.unlink()  # it does what it says, where it is executed
    return path, script


_BREAKING = st.text(st.sampled_from("'\"`$(){};\n\r\0|&@#<>,=[]\u2018\u2019\u201c\u201d "), max_size=8)
"""What might end a text for PowerShell, which takes typographic quotes for quotes, too."""


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=_BREAKING, after=_BREAKING)
@example("$(", ")")
@example("';", ";'")
@example('";', ';"')
@example("\n", "\n")
@example("}};", ";{{")
@example("`", "`")
def test_no_value_is_executed_whatever_stands_around_it(echo, canary, before, after):
    """Nor in a list, nor as the key of a hashtable."""
    path, script = canary
    value = before + script + after
    assert echo([value, {value: value}]) == [value, {value: value}]
    assert not path.exists()


@pytest.mark.parametrize("wrap", ["{}", "$({})", "';{};'", "x; {}", "x\n{}\n", "{{{}}}", "& {{{}}}"])
def test_nothing_else_of_a_step_is_executed_either(host, canary, wrap):
    """Its name, its properties and its rules are words like its arguments."""
    path, script = canary
    text = wrap.format(script)
    plain = {"InputObject": "x"}
    for step in (
        Step(text),
        Step("Write-Output", {text: 1}),
        Step("Write-Output", plain, get=(text,)),
        Step("Write-Output", plain, get=(f"{text}?",)),
        Step("Write-Output", plain, name=text),
        Step("Write-Output", plain, where=((text, "x"),)),
        Step("Write-Output", plain, where=((".", text),)),
        Step("Write-Output", {"InputObject": Ref(text)}),
        Step("Write-Output", {"InputObject": Typed(text, 1)}),
        Step("Write-Output", plain, when=text),
        Step("Get-Item", {"LiteralPath": "/nope"}, allow=(text,)),
    ):
        with contextlib.suppress(InteropError):
            host.run("look", [step], soon())
    assert not path.exists()


@pytest.mark.parametrize(
    "value",
    ["x" * 2_000_000, '"' * 500_000, "世" * 200_000, [[]], [[[]]], ["one"], [["one"]], [], list(range(1000))],
    ids=["2 MB", "quotes", "CJK", "empty in list", "deep", "one", "one in one", "empty", "many"],
)
def test_large_and_awkward_values_come_out_equal(echo, value):
    """Lists of one stay lists, and size is no limit up to that of an answer."""
    assert echo(value) == value


def test_integers_beyond_64_bits_and_floats_keep_every_digit(echo):
    """JSON readers make doubles and decimals of them; the agent is told the type instead."""
    assert int(echo(2**90)) == 2**90
    assert echo(2**64 - 1) == 2**64 - 1
    assert [echo(number) for number in (0.1, 1e300, -2.5, 5e-324)] == [0.1, 1e300, -2.5, 5e-324]


def test_hashtables_hold_what_the_driver_put_into_them(echo):
    """CIM methods take their arguments so."""
    assert echo({"a": 1, "list": ["x"], "nested": {"b": None}}) == {"a": 1, "list": ["x"], "nested": {"b": None}}


def test_half_a_surrogate_pair_is_refused_before_it_is_sent(echo):
    """It is no text, and JSON readers differ about it."""
    with pytest.raises(UsageError, match="surrogate"):
        echo("\ud800")


def test_steps_share_named_objects_and_tell_asked_properties_alone(host):
    """One request, several cmdlets, one answer."""
    steps = [
        Step("Get-ChildItem", {"Path": "/proc/self", "File": True}, name="all"),
        Step("Get-ChildItem", {"Path": "/proc/self"}, name="one", where=(("Name", exactly("status")),)),
        Step("Get-Item", {"LiteralPath": Ref("one", "FullName")}, get=("Name", "Attributes", "NoSuch?")),
    ]
    answer = host.run("look", steps, soon())
    assert answer[:2] == [[], []]
    assert answer[2][0]["Name"] == "status"
    assert answer[2][0]["NoSuch?"] is None
    assert isinstance(answer[2][0]["Attributes"], str), "enums are words"


def test_a_step_that_needs_what_is_not_there_is_skipped_or_fails_as_asked(host):
    """`when` skips; a reference to nothing is an error."""
    nothing = Step("Get-Item", {"LiteralPath": "/nope"}, name="it", allow=("PathNotFound",))
    skipped = Step("Write-Output", {"InputObject": 1}, get=(".",), when="it")
    assert host.run("look", [nothing, skipped], soon()) == [[], []]
    chain = [nothing, replace(skipped, name="next"), replace(skipped, when="next")]
    assert host.run("look", chain, soon()) == [[], [], []]
    with pytest.raises(Gone, match="there is no it"):
        host.run("look", [nothing, Step("Write-Output", {"InputObject": Ref("it")})], soon())


def test_a_step_is_left_out_where_another_returned_something(host):
    """`unless` is `when` the other way round, and both may stand in one step."""
    there = Step("Write-Output", {"InputObject": 1}, name="there")
    nothing = Step("Get-Item", {"LiteralPath": "/nope"}, name="nothing", allow=("PathNotFound",))
    told = Step("Write-Output", {"InputObject": 2}, get=(".",))
    steps = [
        there,
        nothing,
        replace(told, unless="there"),
        replace(told, unless="nothing"),
        replace(told, when="there", unless="nothing"),
        replace(told, when="there", unless="there"),
        replace(told, when="nothing", unless="nothing"),
    ]
    assert host.run("look", steps, soon())[2:] == [[], [{".": 2}], [{".": 2}], [], []]


def test_objects_that_are_less_than_a_number_are_kept(host):
    """As numbers: 9 is less than 10."""
    steps = [Step("Write-Output", {"InputObject": [9, 10, 11, 1 << 40]}, get=(".",), where=((".", 11),))]
    assert host.run("look", steps, soon())[0] == [{".": 9}, {".": 10}]


def test_a_step_waits_until_something_fits(host, tmp_path):
    """And no longer; what is allowed to fail is asked again as well."""
    late = Step("Get-Item", {"LiteralPath": str(tmp_path / "late")}, get=("Name",), allow=("PathNotFound",), within=30)
    timer = threading.Timer(0.5, (tmp_path / "late").touch)
    timer.start()
    assert host.run("look", [late], soon())[0] == [{"Name": "late"}]
    never = replace(late, args={"LiteralPath": str(tmp_path / "never")}, within=1)
    assert host.run("look", [never], soon())[0] == []


def test_names_of_one_request_mean_nothing_to_the_next(host):
    """Else a retry could act on another machine."""
    host.run("look", [Step("Write-Output", {"InputObject": 1}, name="kept")], soon())
    with pytest.raises(Gone):
        host.run("look", [Step("Write-Output", {"InputObject": Ref("kept")})], soon())


@pytest.mark.parametrize(
    ("step", "kind", "words"),
    [
        (Step("Start-VM", {"Foo": 1}), LabError, "NamedParameterNotFound"),
        (Step("Start-VM", {"VM": ["a"], "Name": ["b"]}), LabError, "AmbiguousParameterSet"),
        (Step("Set-VM", {"Name": ["a"], "CheckpointType": "Never"}), LabError, "ParameterArgumentValidationError"),
        (Step("Set-VMComPort", {"VMName": ["a"]}), LabError, "AmbiguousParameterSet|MissingMandatoryParameter"),
        (Step("No-Such"), LabError, "CommandNotFoundException"),
        (Step("ls"), LabError, "CommandNotFoundException"),
        (Step("/bin/ls"), LabError, "CommandNotFoundException"),
        (Step("Get-Item", {"LiteralPath": "/nope"}), Gone, "PathNotFound"),
        (Step("Get-Item", {"LiteralPath": "/"}, get=("Nope",)), LabError, "PropertyNotFoundStrict"),
    ],
    ids=lambda value: value.call if isinstance(value, Step) else None,
)
def test_a_step_that_fails_is_named_with_its_arguments(host, step, kind, words):
    """The real binder says no before any cmdlet runs; programs and aliases are nothing it calls."""
    with pytest.raises(kind, match=words) as caught:
        host.run("try", [Step("Write-Output", {"InputObject": 1}), step], soon())
    assert caught.value.host == "win1"
    assert str(step) in str(caught.value)


def test_errors_of_hyper_v_become_errors_of_ours(host):
    """By id, HRESULT and category; never by words, which are in the host's language."""

    def failing(words, error_id, category):
        step = Step("Write-Error", {"Message": words, "ErrorId": error_id, "Category": category})
        with pytest.raises(Exception, match="Write-Error") as caught:
            host.run("try", [step], soon())
        return caught.value

    assert isinstance(failing("Zustand", "InvalidState", "InvalidOperation"), WrongState)
    assert isinstance(failing("nein", "InvalidParameter", "InvalidArgument"), Refused)
    full = failing("voll (0x80070070)", "OperationFailed", "NotSpecified")
    assert "0x80070070" in str(full)
    assert "store" in full.hint


def test_an_answer_is_bounded(host):
    """A cmdlet that says more than the 8 MiB that one may fails its request, and the agent goes on."""
    with pytest.raises(LabError, match="8 MiB"):
        host.run("flood", [Step("Write-Output", {"InputObject": "x" * 9_000_000}, get=(".",))], soon())
    assert host.run("on", [Step("Write-Output", {"InputObject": 1}, get=(".",))], soon()) == [[{".": 1}]]


def test_bytes_and_typed_values_arrive_as_what_they_are(host):
    """CIM converts nothing: a uint16 has to be one."""
    step = Step("Write-Output", {"InputObject": Typed("uint16", 5)}, name="number")
    kind = Step("Write-Output", {"InputObject": Ref("number")}, get=(".",))
    packed = Step("Compress-InteropData", {"Data": Typed("byte[]", [1, 2, 3])}, get=(".",))
    answer = host.run("typed", [step, kind, packed], soon())
    import zlib

    assert zlib.decompress(base64.b64decode(answer[2][0]["."]), -15) == b"\1\2\3"


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


class TestConsole:
    """The pump, on the Unix socket that .NET takes for a named pipe."""

    @pytest.fixture
    def pipe(self, tmp_path):
        """A machine's serial port: its name, and the socket that a machine would write to."""
        name = f"interop-{os.getpid()}-{tmp_path.name[-8:]}"
        path = Path(f"/tmp/CoreFxPipe_{name}")
        with socket.socket(socket.AF_UNIX) as server:
            server.settimeout(10)
            server.bind(str(path))
            server.listen()
            yield name, server
        path.unlink()

    def _read(self, host, log, offset=0, wanted=1):
        def look():
            step = Step("Read-InteropConsole", {"Path": str(log), "Offset": offset, "Limit": 65536}, get=(".",))
            rows = host.run("console", [step], soon())[0]
            data = base64.b64decode(rows[0]["."]) if rows else b""
            return data if len(data) >= wanted else Pending(f"{len(data)} bytes")

        return wait_for("output", look, soon(10))

    def test_output_is_kept_by_offset_and_typing_reaches_the_machine(self, host, pipe, tmp_path):
        """Reading consumes nothing; a pump that is asked for twice is one."""
        name, server = pipe
        log = tmp_path / "console.log"
        for _ in range(2):
            host.run("start", [Step("Start-InteropConsole", {"Pipe": name, "Path": str(log)})], soon())
        machine, _ = server.accept()
        machine.settimeout(10)
        machine.sendall(bytes(range(256)) * 100)
        assert self._read(host, log, wanted=25600) == bytes(range(256)) * 100
        assert self._read(host, log, 25590) == bytes(range(246, 256))
        typing = Step("Write-InteropConsole", {"Path": str(log), "Data": b"root\n"})
        host.run("type", [typing], soon())
        assert machine.recv(100) == b"root\n"
        machine.close()
        machine, _ = server.accept()  # a reset: the machine's end was away for a moment
        machine.sendall(b"again")
        assert self._read(host, log, 25600, 5) == b"again"
        host.run("stop", [Step("Stop-InteropConsole", {"Path": str(log)})], soon())
        assert [one.name for one in tmp_path.iterdir()] == ["console.log"]
        machine.close()

    def test_a_fresh_console_begins_at_nothing(self, host, pipe, tmp_path):
        """Offsets count from power-on."""
        name, server = pipe
        log = tmp_path / "console.log"
        lines = []
        for text in (b"first boot", b"second"):
            start = Step("Start-InteropConsole", {"Pipe": name, "Path": str(log), "Fresh": True})
            host.run("start", [start], soon())
            lines.append(server.accept()[0])
            lines[-1].sendall(text)
            assert self._read(host, log, wanted=len(text)) == text
        host.run("stop", [Step("Stop-InteropConsole", {"Path": str(log)})], soon())
        for line in lines:
            line.close()

    def test_another_agent_takes_over_from_one_that_died(self, host, pipe, tmp_path):
        """And finds what the first had kept."""
        name, server = pipe
        log = tmp_path / "console.log"
        start = Step("Start-InteropConsole", {"Pipe": name, "Path": str(log)})
        with closing(Agent(lambda deadline: LocalPipe(modules()["all"]), "win1")) as first:
            first.run("start", [start], soon())
            machine, _ = server.accept()
            machine.sendall(b"one ")
            assert self._read(host, log, wanted=4) == b"one "
        machine.close()
        host.run("start", [start], soon())
        machine, _ = server.accept()
        machine.sendall(b"two")
        assert self._read(host, log, wanted=7) == b"one two"
        host.run("stop", [Step("Stop-InteropConsole", {"Path": str(log)})], soon())
        machine.close()

    def test_an_agent_that_was_ended_pumps_on_when_it_is_started_again(self, pipe, tmp_path):
        """So what a deadline costs one machine does not cost the consoles of the others."""
        name, server = pipe
        log = tmp_path / "console.log"
        pipes = []

        def start(deadline):
            pipes.append(LocalPipe(modules()["all"]))
            return pipes[-1]

        with closing(Agent(start, "win1")) as mine:
            mine.run("start", [Step("Start-InteropConsole", {"Pipe": name, "Path": str(log)})], soon())
            machine, _ = server.accept()
            machine.close()
            pipes[-1].process.kill()
            pipes[-1].process.wait()
            mine.run("ping", [Step("Write-Output", {"InputObject": 1})], soon(), repeatable=True)
            machine, _ = server.accept()
            machine.sendall(b"on")
            assert self._read(mine, log, wanted=2) == b"on"
            machine.close()


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


class TestFiles:
    """Images on their way to a host."""

    def test_a_host_fetches_a_file_and_tells_its_hash(self, host, tmp_path):
        """By a token, in constant memory."""
        content, seen = os.urandom(5_000_000), []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                seen.append(self.headers["Authorization"])
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args):
                pass

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever).start()
            target = tmp_path / "image.part"
            args = {
                "Uri": f"http://127.0.0.1:{server.server_port}/x",
                "Token": "t0",
                "Path": str(target),
                "Seconds": 30,
            }
            try:
                rows = host.run("pull", [Step("Receive-InteropFile", args, get=("Length", "Sha256"))], soon())[0]
            finally:
                server.shutdown()
        assert rows == [{"Length": len(content), "Sha256": hashlib.sha256(content).hexdigest()}]
        assert target.read_bytes() == content
        assert seen == ["Bearer t0"]

    def test_chunks_land_where_they_belong_even_twice(self, host, tmp_path):
        """A gap is refused; writing again is harmless."""
        target = tmp_path / "image.part"

        def send(offset, data):
            args = {"Path": str(target), "Offset": offset, "Data": data}
            return host.run("upload", [Step("Add-InteropChunk", args, get=("Length",))], soon())[0][0]["Length"]

        assert [send(0, b"abc"), send(3, b"def"), send(3, b"def")] == [3, 6, 6]
        with pytest.raises(Refused, match="byte 7 came before byte 6"):
            send(7, b"x")
        assert target.read_bytes() == b"abcdef"


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
