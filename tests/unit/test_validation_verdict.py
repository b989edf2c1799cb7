"""What PASS means, judged from folders as runs leave them."""

import pytest

from harness.core import UsageError
from harness.validation import figures, judging
from harness.validation.cells import SideName
from harness.validation.deciding import EXIT, Word
from harness.validation.wanted import Figure, Required, Wanted
from tests.unit.validation_sample import Test, host, validated

BOTH = Wanted((Required("I0*", ("esxi8",)),))
GOOD = [Test("I01"), Test("I02")]


def judge(path, baseline, candidate, wanted=BOTH, **more):
    """The judgement on one pair of rounds."""
    ledger = validated(path, [baseline], [candidate], **more)
    return judging.judge(ledger, wanted, figures.read).decision


def test_what_passes_on_both_sides_is_a_pass(tmp_path):
    decision = judge(tmp_path / "v", GOOD, GOOD)
    assert (decision.word, decision.reasons) == (Word.PASS, ())


@pytest.mark.parametrize(
    ("baseline", "candidate", "word", "said"),
    [
        ("passed", "failed", Word.FAIL, "passes with the baseline and fails with the candidate"),
        ("passed", "guest", Word.FAIL, "the guest failed on the candidate's side alone"),
        ("failed", "guest", Word.FAIL, "the guest failed on the candidate's side alone"),
        ("failed", "failed", Word.FAIL, "no regression, but not met"),
        ("guest", "guest", Word.FAIL, "no regression, but not met"),
        ("skipped", "failed", Word.FAIL, "is required and fails with the candidate"),
        ("passed", "skipped", Word.INCONCLUSIVE, "was skipped (candidate)"),
        ("skipped", "passed", Word.INCONCLUSIVE, "was skipped (baseline)"),
        ("passed", "lab", Word.INCONCLUSIVE, "met lab failures only (candidate)"),
        ("passed", "error", Word.INCONCLUSIVE, "says nothing of the product (candidate)"),
        ("failed", "passed", Word.PASS, ""),
    ],
)
def test_each_end_of_a_required_check_has_its_word(tmp_path, baseline, candidate, word, said):
    decision = judge(
        tmp_path / "v", [Test("I01", baseline, reason="as seen"), Test("I02")], [Test("I01", candidate), Test("I02")]
    )
    assert decision.word is word
    assert said in (decision.reasons[0].words if decision.reasons else "")


def test_a_failure_is_told_with_check_pool_host_and_what_it_said(tmp_path):
    bad = [Test("I01", "failed", reason="no heartbeat for 60 s"), Test("I02")]
    (reason,) = judge(tmp_path / "v", GOOD, bad).reasons
    assert str(reason) == (
        "I01 services answer on esxi8 (esxi8-a): passes with the baseline and fails with the candidate: "
        "no heartbeat for 60 s"
    )


def test_a_required_check_without_a_result_on_one_side_is_inconclusive(tmp_path):
    decision = judge(tmp_path / "v", GOOD, [Test("I01")])
    assert decision.word is Word.INCONCLUSIVE
    assert "has no result (candidate)" in decision.reasons[0].words


def test_a_line_that_nothing_answers_is_inconclusive(tmp_path):
    """A mistyped number or pool must not pass for want of tests."""
    wanted = Wanted((Required("I0*", ("esxi8", "ws2019")), Required("X9*", ("esxi8",))))
    decision = judge(tmp_path / "v", GOOD, GOOD, wanted)
    assert decision.word is Word.INCONCLUSIVE
    assert [(reason.what, reason.pool) for reason in decision.reasons] == [("X9*", "esxi8"), ("I0*", "ws2019")]


def test_what_passed_and_failed_on_one_side_is_flaky(tmp_path):
    bad = [Test("I01", "failed"), Test("I02")]
    ledger = validated(tmp_path / "v", [GOOD, GOOD], [bad, GOOD])
    decision = judging.judge(ledger, BOTH, figures.read).decision
    assert decision.word is Word.INCONCLUSIVE
    assert "passed and failed: flaky (candidate)" in decision.reasons[0].words


def test_a_pool_where_nothing_but_the_lab_failed_is_a_lab_failure(tmp_path):
    lost = [Test("I01", "lab", reason="no route to host"), Test("I02", "lab")]
    decision = judge(tmp_path / "v", GOOD, lost)
    assert (decision.word, EXIT[decision.word]) == (Word.LAB, 4)
    assert decision.reasons[0].said == "no route to host"


def test_a_failure_outweighs_what_is_missing(tmp_path):
    decision = judge(tmp_path / "v", GOOD, [Test("I01", "failed")])
    assert decision.word is Word.FAIL
    assert [reason.word for reason in decision.reasons] == [Word.FAIL, Word.INCONCLUSIVE]


def test_a_regression_counts_though_nobody_required_it(tmp_path):
    """Whoever saw the candidate fail where the baseline passed cannot sign that it is as good."""
    decision = judge(tmp_path / "v", [*GOOD, Test("L01")], [*GOOD, Test("L01", "failed")])
    assert decision.word is Word.FAIL


@pytest.mark.parametrize("status", ["skipped", "lab", "error"])
def test_what_nobody_required_may_be_left_open(tmp_path, status):
    assert judge(tmp_path / "v", [*GOOD, Test("L01", status)], [*GOOD, Test("L01", status)]).word is Word.PASS


def test_what_fails_on_both_sides_and_is_not_required_is_noted(tmp_path):
    decision = judge(tmp_path / "v", [*GOOD, Test("L01", "failed")], [*GOOD, Test("L01", "failed")])
    assert decision.word is Word.PASS
    assert decision.notes == ("L01 it boots on esxi8: fails on both sides; not required",)


@pytest.mark.parametrize(("changes", "what"), [({"twin": True}, "a twin"), ({"accel": "tcg"}, "emulation")])
def test_a_twin_or_emulation_is_inconclusive_unless_allowed(tmp_path, changes, what):
    """Allowed, it is a rehearsal."""
    hosts = {
        SideName.BASELINE: [host(**changes)],
        SideName.CANDIDATE: [host(services={"open-vm-tools": "12.3.5"}, **changes)],
    }
    strict = judge(tmp_path / "strict", GOOD, GOOD, hosts=hosts)
    assert strict.word is Word.INCONCLUSIVE
    assert {reason.words for reason in strict.reasons} == {f"is required and ran on {what}"}
    lenient = judge(tmp_path / "lenient", GOOD, GOOD, hosts=hosts, allow_twins=True)
    assert (lenient.word, lenient.rehearsal) == (Word.PASS, True)


def test_allowing_twins_makes_no_rehearsal_of_real_hosts(tmp_path):
    assert judge(tmp_path / "v", GOOD, GOOD, allow_twins=True).rehearsal is False


def test_a_candidate_that_did_not_change_is_refused(tmp_path):
    """A mislabelled one would pass every comparison with itself."""
    same = {side: [host()] for side in SideName}
    wanted = Wanted(BOTH.required, must_change=("package open-vm-tools",))
    with pytest.raises(
        UsageError, match=r"package open-vm-tools is 12\.2\.0 with the baseline and with the candidate alike"
    ):
        judge(tmp_path / "v", GOOD, GOOD, wanted, hosts=same)
    assert judge(tmp_path / "w", GOOD, GOOD, wanted).word is Word.PASS


def test_a_round_of_the_other_side_is_refused(tmp_path):
    hosts = {side: [host(release={"side": "baseline"})] for side in SideName}
    with pytest.raises(UsageError, match="round 2 is one of the candidate, and esxi8-a had the baseline"):
        judge(tmp_path / "v", GOOD, GOOD, hosts=hosts)


def test_a_version_that_was_not_seen_leaves_it_open(tmp_path):
    decision = judge(tmp_path / "v", GOOD, GOOD, Wanted(BOTH.required, must_change=("module hv_vmbus",)))
    assert [reason.what for reason in decision.reasons] == ["module hv_vmbus"]
    assert decision.word is Word.INCONCLUSIVE


def test_a_host_that_was_updated_meanwhile_leaves_it_open(tmp_path):
    hosts = {SideName.BASELINE: [host()], SideName.CANDIDATE: [host(accel="kvm")]}
    decision = judge(tmp_path / "v", GOOD, GOOD, hosts=hosts)
    assert decision.word is Word.INCONCLUSIVE
    assert "accel on esxi8-a: changed while the validation ran: vmware, kvm" in str(decision.reasons[0]).replace(
        "esxi8-a (esxi8)", "esxi8-a"
    )


SLOW = Wanted((Required("C07", ("esxi8",)),), (Figure("C07", "elapsed", 0.01),))


def measured(values, host="esxi8-a"):
    """A round for each value."""
    return [[Test("C07", host=host, figures={"elapsed": value})] for value in values]


def test_a_figure_that_got_worse_is_a_fail(tmp_path):
    base = [10 + 0.01 * (n % 7) for n in range(40)]
    ledger = validated(tmp_path / "v", measured(base), measured([value * 1.1 for value in base]))
    decision = judging.judge(ledger, SLOW, figures.read).decision
    assert decision.word is Word.FAIL
    assert decision.reasons[0].what == "C07 elapsed"
    assert "worse by 1" in decision.reasons[0].words


def test_a_figure_that_stayed_the_same_is_a_pass(tmp_path):
    base = [10 + 0.01 * (n % 7) for n in range(40)]
    again = [10 + 0.01 * (n % 5) for n in range(40)]
    ledger = validated(tmp_path / "v", measured(base), measured(again))
    assert judging.judge(ledger, SLOW, figures.read).decision.word is Word.PASS


def test_too_few_pairs_are_inconclusive_and_say_how_many_more(tmp_path):
    ledger = validated(tmp_path / "v", measured([10, 11]), measured([11, 10]))
    judged = judging.judge(ledger, SLOW, figures.read)
    assert judged.decision.word is Word.INCONCLUSIVE
    assert figures.more(judged.findings, 2, 40) > 0


def test_a_figure_that_nobody_took_is_inconclusive(tmp_path):
    decision = judge(tmp_path / "v", [Test("C07")], [Test("C07")], SLOW)
    assert [(reason.what, reason.word) for reason in decision.reasons] == [("C07 elapsed", Word.INCONCLUSIVE)]


def test_sides_of_a_pair_that_ran_on_different_hosts_are_no_pair(tmp_path):
    """Members of a pool are interchangeable for a check, and not for a stopwatch."""
    hosts = {side: [host(), host("esxi8-b")] for side in SideName}
    ledger = validated(tmp_path / "v", measured([10] * 9), measured([10] * 9, "esxi8-b"), hosts=hosts)
    paired = judging.pairs_of(ledger, SLOW, figures.read)
    assert paired.series[0].pairs == 0
    assert sum(paired.lost.values()) == 18
