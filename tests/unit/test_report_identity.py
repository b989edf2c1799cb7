"""A result's identity is its check, its named parameters and its pool."""

from dataclasses import replace

import execnet
import pytest
from allure_commons import model2
from allure_commons.model2 import Label, Parameter, Status, StatusDetails

from harness.backends.model import Firmware
from harness.backends.protocol import Moved, NotQuiet
from harness.core import GuestError, LabError, UsageError
from harness.report.identity import Fault, Identity, Stamper, clashes, fault_of, text_of

ONLINE = Identity("C01", "Every vCPU comes online", "vcpu", "kvm", parameters=(("vcpus", "4"),), test="test_online")


def result(**values):
    """What allure-pytest hands over just before it writes."""
    made = model2.TestResult(
        name="test_online[kvm-4]", fullName="suites.vcpu.test_smp#test_online", status=Status.PASSED
    )
    made.parameters = [Parameter(name="host", value="'kvm'"), Parameter(name="vcpus", value="4")]
    made.labels = [Label(name="suite", value="test_smp"), Label(name="tag", value="smoke")]
    for name, value in values.items():
        setattr(made, name, value)
    return made


def stamped(identity=ONLINE, error=None, **values):
    """A result after the hook."""
    stamper = Stamper()
    stamper.begin(identity)
    if error is not None:
        stamper.blame(error)
    made = result(**values)
    stamper.report_result(made)
    return made


def labels(made, name):
    return [label.value for label in made.labels if label.name == name]


def test_a_renamed_and_moved_test_keeps_its_history():
    moved = replace(ONLINE, test="test_other", suite="smp", title="All vCPUs are up", thread="gw3", host="kvm-7")
    assert (moved.history_id, moved.test_case_id) == (ONLINE.history_id, ONLINE.test_case_id)


def test_pools_share_the_test_case_and_not_the_history():
    other = replace(ONLINE, pool="ws2019")
    assert other.test_case_id == ONLINE.test_case_id
    assert other.history_id != ONLINE.history_id


@pytest.mark.parametrize(
    "other",
    [
        replace(ONLINE, check="C02"),
        replace(ONLINE, part="again"),
        replace(ONLINE, parameters=(("vcpus", "8"),)),
        replace(ONLINE, parameters=(("cpus", "4"),)),
        replace(ONLINE, parameters=()),
    ],
)
def test_another_check_part_or_parameter_is_another_test_case(other):
    assert other.test_case_id != ONLINE.test_case_id


def test_the_order_of_parameters_does_not_matter():
    one = replace(ONLINE, parameters=(("a", "1"), ("b", "2")))
    assert one.test_case_id == replace(one, parameters=(("b", "2"), ("a", "1"))).test_case_id


def test_values_that_run_together_are_told_apart():
    assert replace(ONLINE, parameters=(("a", "1b"),)).test_case_id != replace(ONLINE, check="C01a").test_case_id


def test_a_labs_own_number_and_a_test_without_number_have_names():
    assert replace(ONLINE, check="ACME-001").full_name == "ACME-001"
    assert replace(ONLINE, check=None).full_name == "test_online"
    assert replace(ONLINE, check="I11", part="reboot").full_name == "I11 reboot"


def test_the_stamp_replaces_everything_that_came_from_the_path():
    made = stamped()
    assert made.fullName == "C01"
    assert made.name == "C01 Every vCPU comes online (vcpus=4)"
    assert made.testCaseId == ONLINE.test_case_id
    assert labels(made, "suite") == ["vcpu"]
    assert labels(made, "pool") == ["kvm"]
    assert labels(made, "tag") == ["smoke"]


def test_the_pool_stays_a_parameter_that_counts():
    parameters = {parameter.name: parameter for parameter in stamped().parameters}
    assert list(parameters) == ["vcpus", "pool"]
    assert not parameters["pool"].excluded


def test_a_parameter_added_while_the_test_runs_is_shown_and_does_not_count():
    made = stamped(parameters=[Parameter(name="seed", value="<Seed at 0x7f01>")])
    seed = next(parameter for parameter in made.parameters if parameter.name == "seed")
    assert (seed.excluded, seed.value) == (True, "<Seed>")


def test_a_twin_is_always_labelled():
    assert "twin" in labels(stamped(replace(ONLINE, twin=True)), "tag")
    assert "twin" not in labels(stamped(), "tag")


def test_a_strangers_result_is_left_alone():
    assert stamped(identity=None).fullName == "suites.vcpu.test_smp#test_online"


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (LabError("refused"), Fault.LAB),
        (UsageError("no such lab"), Fault.LAB),
        (Moved("to another host"), Fault.MOVED),
        (NotQuiet("others used 40 %"), Fault.NOT_QUIET),
        (GuestError("panicked"), Fault.GUEST),
        (AssertionError("7 == 8"), Fault.PRODUCT),
        (KeyError("x"), Fault.HARNESS),
        (ExceptionGroup("tear-down", [GuestError("gone"), LabError("gone")]), Fault.GUEST),
    ],
)
def test_each_family_of_errors_has_its_own_fault(error, fault):
    assert fault_of(error) is fault


@pytest.mark.parametrize(("error", "word"), [(Moved("elsewhere"), "moved"), (NotQuiet("others"), "not quiet")])
def test_of_a_machine_that_was_moved_or_disturbed_nothing_is_known(error, word):
    made = stamped(error=error, status=Status.BROKEN)
    assert (made.status, labels(made, "fault")) == (Status.UNKNOWN, [word])


def test_pytest_fail_speaks_of_the_product():
    with pytest.raises(BaseException) as caught:
        pytest.fail("7 of 8")
    assert fault_of(caught.value) is Fault.PRODUCT


def test_the_first_failure_of_a_test_counts():
    stamper = Stamper()
    stamper.begin(ONLINE)
    stamper.blame(AssertionError())
    stamper.blame(LabError("while cleaning up"))
    made = result(status=Status.FAILED)
    stamper.report_result(made)
    assert labels(made, "fault") == ["product"]


def test_knowing_the_host_late_forgets_no_blame_and_the_next_test_starts_clean():
    stamper = Stamper()
    stamper.begin(ONLINE)
    stamper.blame(GuestError("panicked"))
    stamper.begin(ONLINE.on("kvm-2"))
    made, following = result(status=Status.BROKEN), result()
    stamper.report_result(made)
    stamper.begin(replace(ONLINE, check="C02"))
    stamper.report_result(following)
    assert (labels(made, "fault"), labels(made, "host")) == (["guest"], ["kvm-2"])
    assert labels(following, "fault") == []


def test_a_strict_xpass_says_what_happened():
    assert "XPASS" in stamped(status=Status.FAILED).statusDetails.message


def test_messages_begin_with_the_errors_class_not_its_module():
    details = StatusDetails(message="harness.core.errors.LabError: kvm-1: connect: refused")
    made = stamped(error=LabError("refused"), status=Status.BROKEN, statusDetails=details)
    assert made.statusDetails.message == "LabError: kvm-1: connect: refused"


def test_a_docstring_is_not_repeated_below_its_own_first_line():
    assert (
        stamped(description="Every vCPU comes online.\n\n    Also after a reboot.").description
        == "Also after a reboot."
    )
    assert stamped(description="Every vCPU comes online").description is None


def test_two_tests_with_one_identity_are_noticed():
    assert clashes([ONLINE, replace(ONLINE, pool="ws2019")]) == []
    assert clashes([ONLINE, replace(ONLINE, test="test_twice")]) == ["C01 Every vCPU comes online (vcpus=4) on kvm"]


def test_tests_of_one_number_without_a_part_clash_whatever_they_are_called():
    """History knows numbers and parts, not titles: one would stand as a retry of the other."""
    other = replace(ONLINE, test="test_other", title="No vCPU goes")
    assert clashes([ONLINE, other]) == ["C01 Every vCPU comes online (vcpus=4) and C01 No vCPU goes (vcpus=4) on kvm"]
    assert clashes([ONLINE, replace(other, part="gone")]) == []


def test_a_parameters_text_holds_no_memory_address():
    assert text_of(object()) == "<object object>"
    assert (text_of("uefi"), text_of(4)) == ("uefi", "4")


def test_a_word_of_an_enumeration_is_sent_from_process_to_process():
    """Execnet takes no subclasses of str: a worker that met one ended the whole run."""
    assert execnet.loads(execnet.dumps(text_of(Firmware.UEFI))) == "uefi"


def test_a_result_beyond_a_limit_that_only_warns_says_so_and_has_passed():
    stamper = Stamper()
    stamper.begin(ONLINE)
    stamper.warn(["L02.boot is 140 s, not at most 120 s"])
    made = result(description="Every vCPU comes online. And more.")
    stamper.report_result(made)
    assert made.status == Status.PASSED
    assert "beyond a limit" in labels(made, "tag")
    assert made.description == "**Warning**: L02.boot is 140 s, not at most 120 s\n\nAnd more."


def test_the_next_test_does_not_inherit_a_warning():
    stamper = Stamper()
    stamper.begin(ONLINE)
    stamper.warn(["late"])
    stamper.begin(replace(ONLINE, check="C02"))
    made = result()
    stamper.report_result(made)
    assert "beyond a limit" not in labels(made, "tag")
