"""``interop doctor``: what this machine has and lacks, per purpose, and what to do about it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum

import click
from rich.console import Console
from rich.text import Text

from harness.cli import checkup
from harness.cli.checkup import Finding, State


class Purpose(StrEnum):
    """What one may want of this machine; each has its own findings."""

    CONTROLLER = "controller"
    KVM = "kvm"
    TWINS = "twins"
    IMAGE = "image"
    REPORT = "report"
    TESTS = "tests"


@dataclass(frozen=True, slots=True)
class Ward:
    """One purpose: what for, whether `make run` needs it, and who looks."""

    purpose: Purpose
    what_for: str
    essential: bool
    look: Callable[[], Iterable[Finding]]


WARDS = (
    Ward(Purpose.CONTROLLER, "to run the harness", True, checkup.controller),
    Ward(Purpose.KVM, "to run guests on this machine by libvirt", True, checkup.kvm),
    Ward(Purpose.TWINS, "to stand in for hosts that are not here", False, checkup.twins),
    Ward(Purpose.IMAGE, "to build guest images", True, checkup.image),
    Ward(Purpose.REPORT, "to render the report", False, checkup.report),
    Ward(Purpose.TESTS, "to run the harness's own tests", False, checkup.tests),
)
_MARKS = {State.OK: ("ok", "green"), State.NOTE: ("note", "yellow"), State.MISSING: ("missing", "red")}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("purposes", nargs=-1, type=click.Choice([ward.purpose.value for ward in WARDS]))
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def command(purposes: tuple[str, ...], as_json: bool) -> None:
    """Look at this machine and say what is missing, and what to do about it.

    PURPOSES narrows the look: without any, all are looked at. The exit status is 1 when something is missing that a
    run on this machine needs (controller, kvm, image), or that a purpose named on the command line needs.
    """
    wards = [ward for ward in WARDS if not purposes or ward.purpose in purposes]
    findings = [(ward, finding) for ward in wards for finding in ward.look()]
    if as_json:
        click.echo(json.dumps([{"purpose": ward.purpose, **asdict(finding)} for ward, finding in findings], indent=2))
    else:
        _show(findings)
    sick = [ward for ward, finding in findings if finding.state is State.MISSING]
    sys.exit(1 if any(ward.essential or ward.purpose in purposes for ward in sick) else 0)


def _show(findings: list[tuple[Ward, Finding]]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    width = max((len(finding.name) for _, finding in findings), default=0)
    previous = None
    for ward, finding in findings:
        if ward is not previous:
            console.print(Text(f"{ward.purpose}: {ward.what_for}", style="bold"))
            previous = ward
        word, colour = _MARKS[finding.state]
        console.print(Text("  ").append(f"{word:8}", style=colour).append(f"{finding.name:{width}}  {finding.seen}"))
        if finding.remedy:
            console.print(Text(f"  {'':8}{'':{width}}  -> {finding.remedy}"))
    missing = [finding.name for _, finding in findings if finding.state is State.MISSING]
    console.print(f"missing: {', '.join(missing)}" if missing else "nothing is missing")
