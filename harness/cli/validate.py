"""``interop validate``: may this release ship? Both sides on every host, a verdict, a statement, the evidence."""

from __future__ import annotations

import hashlib
import random
import re
import sys
import traceback
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from harness.core import InteropError, UsageError
from harness.core.config import read_text
from harness.core.streams import going_on_unread
from harness.lab.load import DEFAULT, load_lab
from harness.lab.models import Lab
from harness.lab.releases import Release
from harness.validation import child, deciding, figures, judging, noise, signing, wanted
from harness.validation.concluding import Concluded, conclude
from harness.validation.deciding import BISECT_SKIP, EXIT, Word
from harness.validation.figures import Paired
from harness.validation.ledger import Ledger, Round, Terms
from harness.validation.rounds import Campaign, Pytest
from harness.validation.wanted import Wanted

_OUT = Path("reports") / "validations"
_ROUNDS, _PAIRS = 1, 40
_SHOWN = 20
_UNITS = {"m": 60, "h": 3600, "d": 86400}
_USAGE = 2


class Budget(click.ParamType[tuple[int, float]]):
    """Pairs, or how long they may take."""

    name = "budget"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, float]:
        """``(pairs, 0)``, or ``(0, seconds)``."""
        if isinstance(value, tuple):
            return value
        found = re.fullmatch(r"([1-9]\d*)([mhd]?)", str(value))
        if found is None:
            self.fail(f"{value!r} is neither pairs (40) nor a time (90m, 8h, 2d)", param, ctx)
        return (0, float(found[1]) * _UNITS[found[2]]) if found[2] else (int(found[1]), 0.0)


@click.command("validate", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("release", required=False, metavar="[RELEASE]")
@click.argument("arguments", nargs=-1, metavar="[-- PYTEST...]")
@click.option("--lab", default=DEFAULT, show_default=True, metavar="NAME|FILE", help="Where to run it.")
@click.option("--host", default="", metavar="NAME", help="On this host of the lab alone; other pools are missing then.")
@click.option("--image", default="", metavar="NAME|DIGEST|FILE", help="The guest image [default: pytest's].")
@click.option("--rounds", default=_ROUNDS, show_default=True, type=click.IntRange(1), help="Full rounds of each side.")
@click.option(
    "--budget",
    default=(_PAIRS, 0.0),
    show_default=str(_PAIRS),
    type=Budget(),
    help="Pairs of measuring rounds at most, or how long they may take: 90m, 8h.",
)
@click.option("--seed", type=click.IntRange(0), help="Draws which side runs first [default: drawn, and recorded].")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="The folder; one that was begun goes on.")
@click.option(
    "--key",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The lab's own ssh key, to sign the evidence with [default: the lab file's `signing_key`].",
)
@click.option("--redact", is_flag=True, help="Take host names, addresses and accounts out of statement and evidence.")
@click.option("--allow-twins", is_flag=True, help="Twins and emulation count; the statement is a rehearsal.")
@click.option("--bisect", is_flag=True, help="For `git bisect run`: exit with 125 where nothing could be told.")
@click.option("--self", "itself", is_flag=True, help="Hold the lab against itself: no release, its own noise.")
@click.option("--check", "checks", multiple=True, metavar="NUMBER", help="With --self: measure by these checks.")
@click.option(
    "--from",
    "earlier",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Judge the folder of an earlier validation again, and run nothing.",
)
@going_on_unread()
def command(  # noqa: PLR0917  click calls it by name
    release: str | None,
    arguments: tuple[str, ...],
    lab: str,
    host: str,
    image: str,
    rounds: int,
    budget: tuple[int, float],
    seed: int | None,
    out: Path | None,
    key: Path | None,
    redact: bool,
    allow_twins: bool,
    bisect: bool,
    itself: bool,
    checks: tuple[str, ...],
    earlier: Path | None,
) -> None:
    """Say whether a release may ship: a verdict, a statement, and the evidence in one signed file.

    RELEASE is a file like those below configs/releases, or its name. Its checks run with the baseline and with the
    candidate, in turn; what only the candidate fails is repeated before it is believed; figures are compared in pairs
    until they are decided or the budget is spent. What was run is kept: the same command with the same --out goes on.

    \b
    interop validate NEW --lab mylab --key ~/.ssh/lab_signing
    interop validate NEW --from reports/validations/NEW-...      judge again
    interop validate --self --lab mylab --check 'C0*'            what this lab can see
    git bisect run interop validate NEW --bisect

    \b
    Exit status: 0 PASS, 1 FAIL, 2 bad input (also: the candidate is no other than the baseline), 3 INCONCLUSIVE,
    4 lab failure. With --bisect 3 and 4 are 125. What PASS means: docs/validate.md.
    """  # noqa: D301  click reads the escaped letter
    console = Console(stderr=True, highlight=False)
    status = None
    try:
        with child.interruptible():
            status = _answer(
                console,
                load_lab(lab),
                Terms("", "", lab, image, seed or 0, rounds, *budget, arguments, allow_twins, itself, host),
                release=release,
                checks=checks,
                out=out,
                earlier=earlier,
                key=key,
                redact=redact,
                drawn=seed is None,
            )
    except InteropError as error:
        click.echo(f"interop: {error}", err=True)
        status = _USAGE if isinstance(error, UsageError) else EXIT[Word.LAB]
    except child.Interrupted as interrupted:
        click.echo(f"interop: interrupted ({interrupted})", err=True)
        status = interrupted.status
    finally:
        if status is None:  # a defect of ours: Python would end with 1, which here means that the candidate failed
            traceback.print_exc()
            sys.exit(BISECT_SKIP if bisect else EXIT[Word.LAB])
    if bisect and status in (EXIT[Word.INCONCLUSIVE], EXIT[Word.LAB]):
        status = BISECT_SKIP
    sys.exit(status)


def _answer(
    console: Console,
    lab: Lab,
    terms: Terms,
    *,
    release: str | None,
    checks: Sequence[str],
    out: Path | None,
    earlier: Path | None,
    key: Path | None,
    redact: bool,
    drawn: bool,
) -> int:
    """What was asked for; the exit status."""
    signer = key or lab.signing_key
    if signer is not None:
        signing.fingerprint(signer.expanduser())  # hours of rounds would be in vain
    if terms.itself:
        if release is not None or earlier is not None:
            raise UsageError("--self needs no release and no --from: it runs A against A")
        _hold_against_itself(console, lab, terms, checks, out=out, drawn=drawn)
        return 0
    if release is None:
        raise UsageError("name a release: `interop validate configs/releases/NEW.yaml`, or hold the lab --self")
    if checks:
        raise UsageError("--check is for --self: the release file says what is required")
    concluded = _validate(
        console, lab, Release.load(release), terms, out=out, earlier=earlier, key=signer, redact=redact, drawn=drawn
    )
    return EXIT[concluded.judged.decision.word]


def _validate(
    console: Console,
    lab: Lab,
    release: Release,
    terms: Terms,
    *,
    out: Path | None,
    earlier: Path | None,
    key: Path | None,
    redact: bool,
    drawn: bool,
) -> Concluded:
    demands = wanted.of_release(release, lab)
    if not demands.required:
        hint = "without `required:` nothing could fail, so nothing can pass"
        raise UsageError(f"{release.path}: names no check that must pass", hint=hint)
    if earlier is not None:
        ledger = Ledger.open(earlier)
        ledger.terms = replace(ledger.terms, allow_twins=ledger.terms.allow_twins or terms.allow_twins)
        _same_release(ledger, release)
    else:
        text = read_text(release.path)
        ledger = _begun(terms, release.name, text, out, drawn=drawn)
        with ledger.alone():
            _run(console, lab, ledger, demands, release=str(release.path), backends=release.hosts)
    concluded = conclude(ledger, demands, lab, release, key.expanduser() if key else None, redact=redact)
    _tell(concluded)
    return concluded


def _begun(terms: Terms, name: str, text: str, out: Path | None, *, drawn: bool) -> Ledger:
    stamp = datetime.now(tz=UTC).strftime("%Y%m%d-%H%M%S")
    seed = random.SystemRandom().randrange(1 << 32) if drawn else terms.seed
    digest = hashlib.sha256(text.encode()).hexdigest() if text else ""
    fixed = replace(terms, release=name, digest=digest, seed=seed)
    return Ledger.begin(out or _OUT / f"{name or 'self'}-{stamp}", fixed, text, drawn=drawn)


def _same_release(ledger: Ledger, release: Release) -> None:
    digest = hashlib.sha256(read_text(release.path).encode()).hexdigest()
    if ledger.terms.digest != digest:
        raise UsageError(
            f"{ledger.path} was run with another release file: its sha256 was {ledger.terms.digest[:12]}..., that of "
            f"{release.path} is {digest[:12]}...",
            hint=f"judge it by the file that it was run with: {ledger.path / 'release.yaml'}",
        )


def _run(
    console: Console, lab: Lab, ledger: Ledger, demands: Wanted, *, release: str = "", backends: Sequence[str] = ()
) -> None:
    """Run what is left to run, with a line for each round that begins."""
    console.print(escape(f"in {ledger.path}: {len(ledger.rounds)} rounds ended so far; --out goes on with it"))
    pools = [members for pool, members in lab.pools().items() if pool in demands.pools]
    several = not ledger.terms.host and any(len(members) > 1 for members in pools)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        most = 2 * max(ledger.terms.rounds, ledger.terms.budget)
        bar = bars.add_task("rounds", total=most, completed=len(ledger.rounds))

        def tell(round_: Round) -> None:
            bars.update(bar, completed=round_.number - 1, description=f"{round_.kind} round with the {round_.side}")
            if not console.is_terminal:
                console.print(f"round {round_.number}: {round_.kind}, {round_.side}")

        def pairs() -> Paired:
            return judging.pairs_of(ledger, None if ledger.terms.itself else demands, figures.read)

        def more() -> int:
            had = 1 + max((each.pair for each in ledger.rounds), default=-1)
            if ledger.terms.itself:
                return ledger.terms.budget - had
            return figures.more(figures.findings(pairs(), ledger.terms.budget), had, ledger.terms.budget)

        def say(words: str) -> None:
            console.print(escape(words))

        campaign = Campaign(
            ledger,
            Pytest(ledger, release=release, backends=tuple(backends), tell=say),
            demands.checks,
            measuring=lambda: sorted({one.check for one in pairs().series}),
            suspicious=lambda: deciding.suspicious(judging.results_of(ledger)),
            more=more,
            # Pairs are of one host; of a pool with several, the first is as good as any.
            hosts=[members[0].name for members in pools] if several else (),
            tell=tell,
        )
        try:
            campaign.carry_out()
        except KeyboardInterrupt:
            ended = f"kept in {ledger.path}: the rounds that ended, {len(ledger.rounds)}"
            say(f"{ended}; the same command with --out {ledger.path} goes on with the one that was interrupted")
            raise


def _hold_against_itself(
    console: Console, lab: Lab, terms: Terms, checks: Sequence[str], *, out: Path | None, drawn: bool
) -> None:
    demands = Wanted(wanted.everywhere(checks or ("*",), lab.pools()), pools=tuple(lab.pools()))
    ledger = _begun(terms, "", "", out, drawn=drawn)
    with ledger.alone():
        _run(console, lab, ledger, demands)
    paired = judging.pairs_of(ledger, None, figures.read)
    if not paired.series:
        raise UsageError("nothing was measured", hint="which checks measure? name them by --check")
    enough = tuple(one for one in paired.series if one.pairs >= noise.FEWEST)
    for one in paired.series:
        if one not in enough:
            click.echo(f"{one}: left out, {one.pairs} pairs say nothing of its noise")
    found = noise.noise(replace(paired, series=enough), ledger.terms.budget)
    for pool in found:
        click.echo(f"{pool.pool}: {pool}")
        for name, loss in pool.smallest.items():
            click.echo(f"  {name}: {'no loss can be shown' if loss is None else f'a loss of {loss:.1%}'}")
    click.echo(f"kept for statements of this lab: {noise.keep(lab.name, found)}")


def _tell(concluded: Concluded) -> None:
    decision = concluded.judged.decision
    console = Console(highlight=False, soft_wrap=True)
    style = {Word.PASS: "bold green", Word.FAIL: "bold red"}.get(decision.word, "bold yellow")
    word = f"{decision.word.value} (REHEARSAL)" if decision.rehearsal else decision.word.value
    console.print(f"[{style}]{word}[/]")
    for reason in decision.reasons[:_SHOWN]:
        console.print(escape(f"  {reason.word.value}: {reason}"))
    if len(decision.reasons) > _SHOWN:
        console.print(f"  and {len(decision.reasons) - _SHOWN} more, in the statement")
    told = {(reason.what, reason.pool) for reason in decision.reasons}
    for finding in concluded.judged.findings:
        if (f"{finding.series.check} {finding.series.name}", finding.series.pool) in told:
            continue
        console.print(escape(f"  {finding.series}: {finding.words}"))
    console.print(escape(f"statement  {concluded.markdown}, {concluded.page}"))
    signed = (
        f"signed by {concluded.signed}" if concluded.signed else "not signed: no --key, no `signing_key` in the lab"
    )
    console.print(escape(f"evidence   {concluded.bundle} ({signed})"))
