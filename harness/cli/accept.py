"""``interop lab accept``: run the contract of backends on a host, and write what was seen of it."""

from __future__ import annotations

import platform
import re
import sys
from pathlib import Path

import click

from harness.core import UsageError
from harness.core.config import nearest
from harness.core.secrets import heard_by
from harness.lab import accept as contract
from harness.lab import confidential, whereabouts
from harness.lab.acceptance import Acceptance, masked
from harness.lab.load import load_lab
from harness.lab.models import Host, Lab
from harness.report import Redactor
from harness.report.visible import line

# Four numbers may be a product's build as well as an address, so they are masked in prose alone.
_ADDRESS = re.compile(r"\b(?!127\.)\d{1,3}(?:\.\d{1,3}){3}\b")


@click.command("accept")
@click.argument("lab", metavar="LAB")
@click.argument("host", required=False, metavar="[HOST]")
@click.option("--image", default="debian12", show_default=True, help="The guest image to prove it with.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("accepted"),
    show_default=True,
    help="The folder that gets one file a host.",
)
@click.option("-k", "expression", metavar="EXPRESSION", help="Only these tests, as pytest's -k; no file is written.")
def command(lab: str, host: str | None, image: str, output: Path, expression: str | None) -> None:
    """Prove a host by the contract tests, and write what was seen.

    What only reads comes first; a host that cannot be read is not touched. Then machines and guests are made on it,
    named `contract-...`; none is left behind. The file names product, build, verbs with their times and outcomes, and
    surprises; secrets, names and addresses are masked. Without HOST: every host of the lab, one after the other.

    Exit status 1 when something was not as the contract wants it.
    """
    found = load_lab(lab)
    surprised = False
    for each in _chosen(found, host):
        click.echo(f"{each.name}: the contract of backends, with {image}")
        arguments = ["-k", expression] if expression else []
        seen = contract.accept(found, each, image, arguments, tell=click.echo)
        surprised |= bool(seen.surprises)
        _summary(each, seen)
        if not expression:
            click.echo(f"{each.name}: written to {_write(found, each, seen, output)}")
    if surprised:
        sys.exit(1)


def _chosen(lab: Lab, name: str | None) -> list[Host]:
    if name is None:
        return list(lab.hosts.values())
    if name not in lab.hosts:
        raise UsageError(f"the lab {lab.name!r} has no host {name!r}{nearest(name, lab.hosts)}")
    return [lab.hosts[name]]


def _summary(host: Host, seen: Acceptance) -> None:
    counts = ", ".join(f"{count} {outcome}" for outcome, count in seen.tests.items())
    click.echo(f"{host.name}: {seen.build}: {counts}; {len(seen.capabilities)} capabilities, {len(seen.verbs)} verbs")
    for surprise in seen.surprises:
        click.echo(f"{host.name}: surprise: {line(surprise)}")


def _write(lab: Lab, host: Host, seen: Acceptance, folder: Path) -> Path:
    redactor = redactor_of(lab, host, seen)
    hidden = {"uri", "host name"}
    details = {key: value for key, value in seen.host.get("details", {}).items() if key not in hidden}
    values = {name: getattr(seen, name) for name in seen.__dataclass_fields__}
    values["host"] = masked(seen.host | {"details": details}, redactor.text)
    for prose in ("skipped", "surprises", "notes"):
        values[prose] = masked(values[prose], lambda text: _ADDRESS.sub("(address)", redactor.text(text)))
    shown = Acceptance(**values)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / shown.file_name
    path.write_text(shown.text(), encoding="utf-8")
    return path


def redactor_of(lab: Lab, host: Host, seen: Acceptance) -> Redactor:
    """Masks what the lab file and the host say about who and where: secrets, host names, accounts, folders."""
    redactor = Redactor([platform.node(), str(Path.home()), str(lab.path.parent)])
    with heard_by(redactor.register):
        confidential.fetch(lab, asking=True)
    for _, part in whereabouts.of_host(host):
        redactor.register(part)
    told = seen.host.get("details", {}).get("host name")
    if told:
        redactor.register(str(told))
    return redactor
