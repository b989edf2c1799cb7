"""Which rounds are run, in which order, and when there are enough."""

import random
import subprocess

import pytest

from harness.core import LabError, UsageError
from harness.measure.plan import candidate_first
from harness.validation import deciding, figures, judging
from harness.validation.cells import SideName
from harness.validation.ledger import Ledger, Round
from harness.validation.rounds import Campaign, Pytest
from harness.validation.wanted import Figure, Required, Wanted
from tests.unit.validation_sample import Test, host, record, terms

WANTED = Wanted((Required("I0*", ("esxi8",)),), (Figure("C07", "elapsed", 0.05),))


class Rounds:
    """Carries out rounds by writing what they would leave; notes each."""

    def __init__(self, path, *, loss=0.0, fails=(), status=0, **changes):
        self.ledger = Ledger.begin(path, terms(**changes), "")
        self.loss, self.fails, self.status = loss, fails, status
        self.ran = []
        self.seconds = 0.0

    def __call__(self, round_, checks, folder):
        self.ran.append((round_.pair, round_.side, round_.kind, tuple(checks), round_.host))
        self.seconds += 60
        noise = random.Random(round_.number).gauss(0, 0.01)
        slow = self.loss if round_.side is SideName.CANDIDATE else 0.0
        bad = len(self.ran) in self.fails
        tests = [Test("I01", "failed" if bad else "passed")] if "C07" not in checks or len(checks) > 1 else []
        tests += [Test("C07", figures={"elapsed": 10 * (1 + noise + slow)})] if "C07" in checks else []
        record(folder / "run" / "results", tests, [host()], round_.side, round_.number)
        return self.status

    def carry_out(self, hosts=(), wanted=WANTED):
        """All that is left to run."""
        Campaign(
            self.ledger,
            self,
            wanted.checks,
            measuring=lambda: sorted({one.check for one in self.pairs(wanted).series}),
            suspicious=lambda: deciding.suspicious(judging.results_of(self.ledger)),
            more=lambda: self.more(wanted),
            hosts=hosts,
            clock=lambda: self.seconds,
        ).carry_out()

    def pairs(self, wanted):
        return judging.pairs_of(self.ledger, wanted, figures.read)

    def more(self, wanted):
        had = 1 + max(each.pair for each in self.ledger.rounds)
        budget = self.ledger.terms.budget
        return figures.more(figures.findings(self.pairs(wanted), budget), had, budget)


def test_the_order_of_each_pair_is_a_coin_of_the_recorded_seed(tmp_path):
    """The judgement's error rates rest on these coins."""
    rounds = Rounds(tmp_path / "v", budget=8, seed=11)
    rounds.carry_out()
    first = [side for _, side, *_ in rounds.ran[::2]]
    assert [side is SideName.CANDIDATE for side in first] == list(candidate_first(len(first), 11))
    assert all({rounds.ran[at][1], rounds.ran[at + 1][1]} == set(SideName) for at in range(0, len(rounds.ran), 2))


def test_full_rounds_come_first_and_then_only_what_measures(tmp_path):
    rounds = Rounds(tmp_path / "v", budget=6, rounds=2)
    rounds.carry_out()
    assert [kind for *_, kind, _, _ in rounds.ran] == ["full"] * 4 + ["measure"] * 8
    assert {checks for *_, kind, checks, _ in rounds.ran if kind == "measure"} == {("C07",)}


def test_what_is_decided_early_takes_no_further_pair(tmp_path):
    rounds = Rounds(tmp_path / "v", loss=0.3, budget=200)
    rounds.carry_out()
    assert len(rounds.ran) < 2 * 200
    assert rounds.more(WANTED) == 0


def test_without_figures_nothing_is_measured(tmp_path):
    rounds = Rounds(tmp_path / "v")
    rounds.carry_out(wanted=Wanted((Required("I0*", ("esxi8",)),)))
    assert len(rounds.ran) == 2


def test_what_looks_like_a_regression_is_repeated_once_on_both_sides(tmp_path):
    candidate_at = 1 if candidate_first(1, 7)[0] else 2
    rounds = Rounds(tmp_path / "v", fails=(candidate_at,))
    rounds.carry_out(wanted=Wanted((Required("I0*", ("esxi8",)),)))
    assert [(side, checks) for _, side, kind, checks, _ in rounds.ran if kind == "repeat"] in (
        [(SideName.BASELINE, ("I01",)), (SideName.CANDIDATE, ("I01",))],
        [(SideName.CANDIDATE, ("I01",)), (SideName.BASELINE, ("I01",))],
    )


@pytest.mark.parametrize("dies_at", [1, 2, 3, 6])
def test_whenever_it_was_killed_it_comes_to_the_same_rounds(tmp_path, dies_at):
    """The killed round is run again, its remains are kept aside."""
    whole = Rounds(tmp_path / "whole", budget=6)
    whole.carry_out()

    class Dies(Rounds):
        def __call__(self, round_, checks, folder):
            if len(self.ran) + 1 == dies_at:
                (folder / "half").write_text("")
                raise KeyboardInterrupt
            return super().__call__(round_, checks, folder)

    killed = Dies(tmp_path / "killed", budget=6)
    with pytest.raises(KeyboardInterrupt):
        killed.carry_out()
    rest = Rounds(tmp_path / "killed", budget=6)
    rest.carry_out()
    assert killed.ran + rest.ran == whole.ran
    assert len(list((tmp_path / "killed" / "rounds").glob("*.1/half"))) == 1


def test_a_time_becomes_pairs_before_anything_is_judged(tmp_path):
    """An hour has room for 30 pairs of two minutes, the first among them."""
    rounds = Rounds(tmp_path / "v", budget=0, seconds=3600.0)
    rounds.carry_out()
    assert Ledger.open(tmp_path / "v").terms.budget == 30
    assert sum(each.seconds for each in rounds.ledger.rounds) <= 3600


def test_pools_with_several_members_measure_on_one_of_them(tmp_path):
    """Both sides of a pair on the same host, or it is no pair."""
    rounds = Rounds(tmp_path / "v", budget=3)
    rounds.carry_out(hosts=("esxi8-a", "ws-1"))
    assert {bound for *_, kind, _, bound in rounds.ran if kind == "measure"} == {"esxi8-a", "ws-1"}
    assert [bound for *_, kind, _, bound in rounds.ran if kind == "full"] == ["", ""]


@pytest.mark.parametrize(
    ("status", "error"), [(4, UsageError), (5, UsageError), (2, LabError), (3, LabError), (-6, LabError)]
)
def test_a_round_that_did_not_come_to_its_end_is_not_counted(tmp_path, status, error):
    rounds = Rounds(tmp_path / "v", status=status)
    with pytest.raises(error):
        rounds.carry_out()
    assert Ledger.open(tmp_path / "v").rounds == []


def test_the_command_line_names_lab_side_host_and_checks(tmp_path):
    ledger = Ledger.begin(tmp_path / "v", terms(image="debian13", arguments=("-x",)), "")
    rounds = Rounds(tmp_path / "w")
    rounds.carry_out(wanted=Wanted((Required("I0*", ("esxi8",)),)))
    baseline = next(each for each in rounds.ledger.rounds if each.side is SideName.BASELINE)
    words = Pytest(ledger, "/x/new.yaml", ("vsphere", "kvm")).words(baseline, ["I0*"], tmp_path)[3:]
    assert words == [
        *("--lab=mylab", f"--report-dir={tmp_path}", "-pno:cacheprovider", "--image=debian13"),
        *("--release=/x/new.yaml@baseline", "-m", "vsphere or kvm", "--check=I0*", "-x"),
    ]


def test_the_checkouts_own_settings_hold_wherever_the_validation_lies(tmp_path, monkeypatch):
    """A folder or a file that is a word of its own is where pytest would look for its settings instead."""
    checkout, elsewhere = tmp_path / "checkout", tmp_path / "elsewhere"
    (checkout / "mine").mkdir(parents=True)
    elsewhere.mkdir()
    (checkout / "pytest.ini").write_text("[pytest]\ntestpaths = mine\n")
    (checkout / "mine" / "test_it.py").write_text("def test_it(): pass\n")
    (checkout / "test_other.py").write_text("def test_other(): pass\n")
    (elsewhere / "lab.yaml").write_text("hosts: {}\nnetworks: {}\n")
    ledger = Ledger.begin(tmp_path / "v", terms(lab=str(elsewhere / "lab.yaml"), arguments=("--collect-only",)), "")
    words = Pytest(ledger).words(Round(1, 0, SideName.BASELINE, "full"), [], elsewhere)
    monkeypatch.chdir(checkout)
    done = subprocess.run([*words, "-q", "-n0"], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.startswith("mine/test_it.py::test_it\n"), done.stdout + done.stderr
    assert "test_other" not in done.stdout


def test_two_do_not_go_on_with_the_same_validation(tmp_path):
    ledger = Ledger.begin(tmp_path / "v", terms(), "")
    with ledger.alone(), pytest.raises(LabError, match="another `interop validate` is at work"), ledger.alone():
        pass


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("")
    with pytest.raises(UsageError, match="holds no validation"):
        Ledger.begin(tmp_path, terms(), "")
    Ledger.begin(tmp_path / "v", terms(), "")
    with pytest.raises(UsageError, match="seed was 7 and is 8"):
        Ledger.begin(tmp_path / "v", terms(seed=8), "")
    assert Ledger.begin(tmp_path / "v", terms(seed=8), "", drawn=True).terms.seed == 7
    with pytest.raises(UsageError, match="rounds was 1 and is 3"):
        Ledger.begin(tmp_path / "v", terms(rounds=3), "")
