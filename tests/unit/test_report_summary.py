"""The summary fits a screen and says what matters."""

from io import StringIO

import pytest
from rich.console import Console

from harness.report.summary import Outcome, Verdict, show, text


def outcomes(suites=5, pools=3, bad=20):
    made = [
        Outcome(
            f"suite{suite}", f"C{check:02d}", "It does what it says", f"pool{pool}", f"pool{pool}-1", duration=check
        )
        for suite in range(suites)
        for pool in range(pools)
        for check in range(9)
    ]
    made += [
        Outcome("suite1", "C09", "It waits", "pool1", status=Verdict.SKIPPED, reason=f"needs thing {n % 6}")
        for n in range(12)
    ]
    made += [
        Outcome("suite0", f"L{n:02d}", "It fails", "pool0", status=Verdict.FAILED, reason="x" * 300, repeat="pytest x")
        for n in range(bad)
    ]
    return made


def test_each_cell_counts_its_suite_and_pool():
    shown = text(
        [
            Outcome("vcpu", "C01", "One", "kvm"),
            Outcome("vcpu", "C02", "Two", "kvm", status=Verdict.FAILED),
            Outcome("clock", "T01", "Three", "ws2019", status=Verdict.SKIPPED, reason="needs NMI"),
        ]
    )
    vcpu = next(line for line in shown.splitlines() if line.strip().startswith("vcpu"))
    assert vcpu.split() == ["vcpu", "1", "pass", "1", "fail", "0", "pass"]
    assert "all" in shown


@pytest.mark.parametrize("width", [60, 100])
def test_a_column_says_that_it_is_a_twins(width):
    shown = text([Outcome("vcpu", "C01", "One", "kvm"), Outcome("vcpu", "C01", "One", "esx", twin=True)], width=width)
    assert "esx (twin)" in shown
    assert "kvm (twin)" not in shown


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_no_line_but_a_command_is_wider_than_the_terminal(width):
    assert all(len(line) <= width for line in text(outcomes(), width=width).splitlines())


@pytest.mark.parametrize("height", [24, 40])
def test_it_fits_the_screen(height):
    buffer = StringIO()
    show(
        outcomes(),
        Console(file=buffer, width=120, height=height, force_terminal=True),
        report="page",
        spread="2:00 min",
    )
    assert len(buffer.getvalue().splitlines()) <= height


def test_a_command_to_copy_is_never_cut():
    long = "pytest " + "x" * 300
    shown = text([Outcome("vcpu", "C01", "One", "kvm", status=Verdict.LAB, repeat=long)], width=80)
    assert long in shown


def test_without_colour_there_is_no_escape():
    assert "\x1b" not in text(outcomes())


def test_the_same_lack_on_two_hosts_is_one_reason():
    skips = [
        Outcome("vcpu", "C09", "Hot add", pool, f"{pool}-1", Verdict.SKIPPED, reason=f"{pool}-1: needs CPU_HOT_ADD")
        for pool in ("kvm", "ws2019")
    ]
    assert "2 x  needs CPU_HOT_ADD" in text(skips)


def test_the_slowest_come_first_and_quick_ones_are_not_named():
    shown = text(
        [Outcome("vcpu", "C01", "Slow", "kvm", duration=83), Outcome("vcpu", "C02", "Quick", "kvm", duration=0.2)]
    )
    assert "1:23 min  C01 Slow" in shown
    assert "C02" not in shown


def test_markup_in_a_reason_is_text():
    assert "[bold]x[/nope]" in text([Outcome("v", "C01", "T", "kvm", status=Verdict.FAILED, reason="[bold]x[/nope]")])


def test_a_run_without_tests_shows_where_the_report_is_and_nothing_else():
    assert text([], report="reports/out/1").split() == ["report", "reports/out/1"]


LATE = "L02.boot is 140 s, not at most 120 s (own choice; not calibrated yet)"


def test_a_limit_that_only_warns_is_seen_in_its_cell_and_below_and_the_test_has_passed():
    shown = text(
        [
            Outcome("lifecycle", "L02", "It boots", "kvm", "kvm-1", warnings=(LATE,)),
            Outcome("lifecycle", "L03", "It reboots", "kvm", "kvm-1"),
        ],
        width=160,
    )
    row = next(line for line in shown.splitlines() if line.strip().startswith("lifecycle"))
    assert row.split() == ["lifecycle", "2", "pass", "(1", "warn)"]
    assert f"warn  {LATE}  L02 It boots on kvm-1" in shown
    assert "interop calibrate" in shown


def test_how_a_run_was_spread_stands_in_the_summary_of_one_that_was():
    buffer = StringIO()
    show(outcomes(), Console(file=buffer, width=120), spread="2:00 min on 2 workers")
    assert "spread  2:00 min on 2 workers" in buffer.getvalue()
    assert "spread" not in text(outcomes())


def test_warnings_of_a_test_that_failed_are_not_told_apart_from_its_failure():
    failed = Outcome("lifecycle", "L02", "It boots", "kvm", status=Verdict.FAILED, reason="no", warnings=(LATE,))
    assert "warn" not in text([failed], width=160)


ISSUES = [("known", f"C{number:02} on kvm: https://bugs.test/{number}") for number in range(9)]


def test_issues_that_ask_for_something_stand_first():
    buffer = StringIO()
    issues = [*ISSUES, ("again", "C77 on kvm passes again: https://bugs.test/77"), ("expired", "C78 on kvm")]
    show(outcomes(), Console(file=buffer, width=100), issues=issues)
    shown = [line for line in buffer.getvalue().splitlines() if "on kvm" in line]
    assert shown[0] == "again   C77 on kvm passes again: https://bugs.test/77"
    assert shown[1:3] == ["expired C78 on kvm", "known   C00 on kvm: https://bugs.test/0"]
    assert len(shown) == 11


@pytest.mark.parametrize("height", [24, 40])
def test_it_fits_the_screen_with_known_issues_as_well(height):
    buffer = StringIO()
    warned = Outcome("suite0", "C01", "One", "pool0", warnings=("late",))
    show([*outcomes(), warned], Console(file=buffer, width=120, height=height, force_terminal=True), issues=ISSUES)
    assert len(buffer.getvalue().splitlines()) <= height
    assert "more of known issues" in buffer.getvalue()


def test_a_known_failure_is_counted_by_itself_and_is_no_failure():
    shown = text([Outcome("vcpu", "C01", "One", "kvm", status=Verdict.KNOWN, reason="as ever", repeat="pytest x")])
    assert "0 pass  1 known" in shown
    assert "pytest x" not in shown


@pytest.mark.parametrize(("height", "said"), [(24, "9 x  beyond a limit"), (40, "and 5 more")])
def test_it_fits_the_screen_with_warnings_as_well(height, said):
    warned = [Outcome("suite0", f"N{n:02d}", "It is late", "pool0", warnings=(LATE,)) for n in range(9)]
    buffer = StringIO()
    show(
        [*outcomes(), *warned],
        Console(file=buffer, width=120, height=height, force_terminal=True),
        report="page",
        spread="2:00 min",
    )
    shown = buffer.getvalue()
    assert said in shown
    assert len(shown.splitlines()) <= height
