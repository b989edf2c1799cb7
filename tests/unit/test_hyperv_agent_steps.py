"""Steps of a request to the agent: what they share, leave out and wait for, and what their errors become."""

import threading
from dataclasses import replace

import pytest

from harness.backends.hyperv.errors import Gone
from harness.backends.hyperv.steps import Ref, Step, exactly
from harness.backends.protocol import Refused, WrongState
from harness.core import LabError
from tests.unit import powershell
from tests.unit.powershell import soon

host = powershell.host


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
