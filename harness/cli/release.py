"""``interop release``: check, list and show release files, pin their hashes, fetch what they name."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.core import Deadline, InteropError
from harness.core.config import complaint
from harness.image.terminal import Bars
from harness.lab.releases import Release, Side, Which, release_schema, releases
from harness.lab.releases.pinning import write_pins
from harness.lab.releases.preparing import FETCH, pins
from harness.lab.releases.reference import reference
from harness.lab.releases.seen import must_change


@click.group("release")
def command() -> None:
    """Check, list, show, pin and fetch releases of integration services to validate."""


@command.command("list")
def list_() -> None:
    """List the releases that can be named: those of ./configs/releases and those that ship."""
    table = Table()
    table.add_column("release", no_wrap=True)
    for title in ("hosts", "baseline", "candidate", ""):
        table.add_column(title)
    for name, path in sorted(releases().items()):
        try:
            release = Release.load(path)
        except InteropError as error:
            table.add_row(escape(name), "", "", "", escape(str(error).splitlines()[0]))
            continue
        sides = (escape(", ".join(_words(side))) for side in (release.baseline, release.candidate))
        table.add_row(escape(release.name), ", ".join(release.hosts), *sides, escape(release.said.summary))
    _console().print(table)


@command.command()
@click.argument("release", metavar="NAME|FILE")
def check(release: str) -> None:
    """Check a release file: its words, and that every hash is pinned and right.

    What it names is fetched for that. Every mistake is one line with file, line, column and what is right; the exit
    status is then 1.
    """
    found = Release.load(release)
    with Bars().step(f"reading what {found.name} names"):
        wrong = [pin.problem for pin in pins(found, Deadline.after(FETCH), Bars()) if pin.problem]
    if wrong:
        raise complaint(str(found.path), wrong)
    _console().print(f"[bold]{escape(found.name)}[/] is as its file says ({escape(str(found.path))})")


@command.command()
@click.argument("release", metavar="NAME|FILE")
def show(release: str) -> None:
    """Show what a release file says: both sides, what must change, what a sign-off asks for."""
    found = Release.load(release)
    console = _console()
    console.print(f"[bold]{escape(found.name)}[/] ({escape(str(found.path))}) {escape(found.said.summary)}")
    console.print(f"for guests of: {', '.join(found.hosts)}")
    for which in Which:
        side = found.side(which)
        console.print(f"{which}: {escape(', '.join(_words(side)))}")
        console.print(f"  --release {escape(found.word(which))}, digest {found.digest(which)[:16]}")
    console.print(f"must run: {escape(', '.join(found.services)) or 'nothing is named'}")
    console.print(f"must change: {escape(', '.join(must_change(found))) or 'the image'}")
    for need in found.required:
        console.print(f"must pass: {escape(', '.join(need.checks))} in {escape(', '.join(need.pools))}")
    for name, share in found.measure.items():
        console.print(f"may lose: {escape(name)} {share:.3g} of its value")


@command.command()
@click.argument("release", metavar="NAME|FILE")
def fetch(release: str) -> None:
    """Fetch what a release file names into the cache, so that a run needs no archive; verified as ever."""
    found = Release.load(release)
    wanted = pins(found, Deadline.after(FETCH), Bars())
    wrong = [pin.problem for pin in wanted if pin.problem]
    if wrong:
        raise complaint(str(found.path), wrong)
    table = Table("side", "sha256", "file")
    for pin in wanted:
        file = pin.payload.name if pin.payload else "the image"
        table.add_row(str(pin.at[0]), pin.right, escape(file))
    _console().print(table)


@command.command()
@click.argument("release", metavar="NAME|FILE", type=str)
@click.option("--replace", is_flag=True, help="Also replace pins that are wrong: what is there is what you mean.")
def pin(release: str, replace: bool) -> None:
    """Write the hashes that a release file lacks into it, of what its archive, files and images hold now."""
    found = Release.load(release)
    written = write_pins(found, pins(found, Deadline.after(FETCH), Bars()), replace=replace)
    for line in written or ["every hash is pinned"]:
        click.echo(line)


@command.command()
def schema() -> None:
    """Print the JSON Schema of release files.

    Editors complete and check a release file that begins with `# yaml-language-server: $schema=FILE`.
    """
    click.echo(json.dumps(release_schema(), indent=2))


@command.command("reference", hidden=True)
def print_reference() -> None:
    """Print docs/release-file.md."""
    click.echo(reference(), nl=False)


def _words(side: Side) -> list[str]:
    words = [f"{package.name} {package.version}" for package in side.packages]
    words += [Path(file.path).name for file in side.files]
    words += [side.tarball.path.name] if side.tarball else []
    words += [f"image {side.image.name}"] if side.image else []
    return words + ([f"kernel {side.kernel}"] if side.kernel else [])


def _console() -> Console:
    return Console(soft_wrap=not sys.stdout.isatty(), highlight=False)
