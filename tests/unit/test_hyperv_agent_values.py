"""Values on their way to the agent's PowerShell and back: equal to what they were, and never executed."""

import base64
import contextlib
import subprocess

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from harness.backends.hyperv.steps import Ref, Step, Typed
from harness.core import InteropError, UsageError
from tests.unit import powershell
from tests.unit.powershell import modules, soon

host = powershell.host


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


def test_bytes_and_typed_values_arrive_as_what_they_are(host):
    """CIM converts nothing: a uint16 has to be one."""
    step = Step("Write-Output", {"InputObject": Typed("uint16", 5)}, name="number")
    kind = Step("Write-Output", {"InputObject": Ref("number")}, get=(".",))
    packed = Step("Compress-InteropData", {"Data": Typed("byte[]", [1, 2, 3])}, get=(".",))
    answer = host.run("typed", [step, kind, packed], soon())
    import zlib

    assert zlib.decompress(base64.b64decode(answer[2][0]["."]), -15) == b"\1\2\3"
