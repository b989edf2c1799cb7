"""``interop lab``: check lab files, print their JSON Schema, look at their hosts, prove one."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from datetime import timedelta

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.backends.capabilities import Capability
from harness.backends.check import Examined, Remark
from harness.backends.model import Shape
from harness.backends.protocol import Hypervisor
from harness.core import Deadline, InteropError, Size
from harness.core.secrets import Secret
from harness.lab import confidential
from harness.lab.attend import attended
from harness.lab.calibration import load_calibration
from harness.lab.connect import connect
from harness.lab.cordons import Cordons
from harness.lab.known_issues import load_known_issues
from harness.lab.load import DEFAULT, lab_schema, load_lab
from harness.lab.models import Host, Lab
from harness.lab.reference import reference
from harness.lab.run import Run
from harness.lab.sharing import open_shared

_LOOK = timedelta(minutes=2)
_ACCEPT = "harness.cli.accept"


class _Group(click.Group):
    """``accept`` needs the contract of backends and lives in a module of its own."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *(["accept"] if importlib.util.find_spec(_ACCEPT) else [])]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == "accept" and importlib.util.find_spec(_ACCEPT):
            command: click.Command = importlib.import_module(_ACCEPT).command
            return command
        return super().get_command(ctx, cmd_name)


@click.group("lab", cls=_Group)
def command() -> None:
    """Check lab files, print their schema, prove a host."""


@command.command()
@click.argument("lab", default=DEFAULT, metavar="[NAME|FILE]")
@click.option("--connect", "look", is_flag=True, help="Open every host, and tell what it is and can do.")
def check(lab: str, look: bool) -> None:
    """Check a lab file, and show what it says.

    Every mistake is one line with file, line, column and the nearest valid word; the exit status is then 1. With
    --connect the exit status is also 1 when a host cannot be opened, or lacks what runs need of it.
    """
    found = load_lab(lab)
    console = _console()
    console.print(f"[bold]{escape(found.name)}[/] ({escape(str(found.path))})")
    console.print(_hosts(found))
    console.print(_networks(found))
    if found.key is not None:
        console.print(f"the lab needs {escape(f'its key, the secret {found.key} ({_state(found.key)})')}")
    for host in found.hosts.values():
        for need in needs(host):
            console.print(f"{host.name} needs {escape(need)}")
    if found.calibration is not None:
        own = load_calibration(found.calibration, found)
        places = ", ".join(own.said.hosts) or "nobody yet"
        console.print(f"the lab has limits of its own for {escape(places)}: {escape(str(found.calibration))}")
    if found.known_issues is not None:
        known = load_known_issues(found.known_issues)
        console.print(f"the lab has {len(known.issues)} known issues: {escape(str(found.known_issues))}")
    if found.database is not None:
        console.print(f"its controllers share {escape(str(found.database))}")
    if look and not (_database_answers(found, console) and _look(found, console)):
        sys.exit(1)


@command.command()
def schema() -> None:
    """Print the JSON Schema of lab files, with the settings of every installed backend.

    Editors complete and check a lab file that begins with `# yaml-language-server: $schema=FILE`.
    """
    click.echo(json.dumps(lab_schema(), indent=2))


@command.command("reference", hidden=True)
def print_reference() -> None:
    """Print docs/lab-file.md."""
    click.echo(reference(), nl=False)


def needs(host: Host) -> list[str]:
    """What must be there before this host can be used, in words. A twin brings what it needs."""
    if host.twin is not None:
        return []
    found = [f"the secret {secret} ({_state(secret)})" for secret in confidential.of_host(host)]
    for name in dict.fromkeys(filter(None, (host.management, host.peers))):
        network = host.networks[name]
        if network.jump:
            found.append(f"ssh to {network.jump.user}@{network.jump.address}:{network.jump.port} (network {name})")
        if network.source:
            found.append(f"the {network.kind.value} {network.source} (network {name})")
    if host.proxy:
        found.append(f"the proxy {host.proxy}")
    return found


def _state(secret: Secret) -> str:
    try:
        secret.reveal()
    except InteropError as error:
        return f"missing: {error.message}"
    return "there"


def _console() -> Console:
    """The terminal's width, or, into a file or pipe, room for a table's longest line."""
    return Console() if sys.stdout.isatty() else Console(width=160)


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _hosts(lab: Lab) -> Table:
    table = _table("host", "backend", "pool", "shares", "vCPUs", "memory", "guests", "networks")
    for host in lab.hosts.values():
        vcpus, memory, guests = host.limits
        networks = host.management if host.peers is None else f"{host.management}, {host.peers}"
        table.add_row(
            *(host.name, host.backend + (" (twin)" if host.twin else ""), host.pool, host.domain),
            *("no limit" if limit is None else str(limit) for limit in (vcpus, memory and Size(memory), guests)),
            networks,
        )
    return table


def _networks(lab: Lab) -> Table:
    table = _table("network", "kind", "source", "addresses", "MTU", "way out", "reached")
    for name, network in lab.networks.items():
        addresses = "by DHCP" if network.lendable is None else f"{network.lendable} of {network.network}"
        way_out = str(network.gateway or ("by DHCP" if network.dhcp else "none"))
        kind = network.kind.value + (f" VLAN {network.vlan}" if network.vlan else "")
        reached = network.reached_by + (f" {network.jump.address}" if network.jump else "")
        reached += f" in {network.nat}, port {network.ssh_port}" if network.nat else ""
        table.add_row(name, kind, network.source, addresses, str(network.mtu), way_out, reached)
    return table


def _database_answers(lab: Lab, console: Console) -> bool:
    """True when the lab names none, or its tables are there, or could be made."""
    try:
        shared = open_shared(lab)
    except InteropError as error:
        console.print(f"[red]{escape(str(error))}[/]")
        return False
    if shared is not None:
        closed = Cordons(shared, lab).all()
        for host, cordon in closed.items():
            console.print(f"[yellow]{escape(f'{host} is {cordon}')}[/]")
        shared.close()
    return True


def _look(lab: Lab, console: Console) -> bool:
    """Open every host; True when all could be, and nothing is missing there."""
    fine = True
    with attended(lab, lab.hosts.values(), tell=console.print), Run.begin(lab) as run:
        for host in lab.hosts.values():
            try:
                with console.status(f"opening {host.name}"):
                    seen, fit = _seen(host, run)
                console.print(seen)
                fine = fine and fit
            except InteropError as error:
                fine = False
                console.print(f"[red]{escape(str(error))}[/]")
    return fine


def _seen(host: Host, run: Run) -> tuple[Table, bool]:
    table = _table(host.name, "")
    hypervisor = connect(host, run)
    try:
        facts = hypervisor.facts(Deadline.after(_LOOK))
        able = hypervisor.capabilities(Shape())
        remarks = _examined(host, hypervisor)
    finally:
        hypervisor.close()
    twin = " (twin)" if facts.twin else ""
    table.add_row("product", escape(f"{facts.product} {facts.version}{twin}, build {facts.build}"))
    table.add_row("runs vCPUs by", facts.accelerated)
    table.add_row("size", f"{facts.cpus} processors, {facts.memory}; {facts.max_vcpus} vCPUs a guest at most")
    for key, value in facts.details.items():
        table.add_row(escape(key), escape(value))
    table.add_row("can", ", ".join(sorted(one.name for one in able)))
    table.add_row("cannot", ", ".join(sorted(one.name for one in set(Capability) - set(able))))
    for remark in remarks:
        text = escape(f"{remark.text} ({remark.hint})" if remark.hint and not remark.fine else remark.text)
        table.add_row(escape(remark.subject), text, style={True: "", None: "yellow", False: "red"}[remark.fine])
    return table, all(remark.fine is not False for remark in remarks)


def _examined(host: Host, hypervisor: Hypervisor) -> tuple[Remark, ...]:
    """What a host that can look at itself says: rights, space, the networks that guests are plugged into."""
    if not isinstance(hypervisor, Examined):
        return ()
    names = dict.fromkeys(filter(None, (host.management, host.peers)))
    return hypervisor.examine([host.networks[name].spec(name) for name in names], Deadline.after(_LOOK))
