"""``interop guest``: look after guests that were kept when their test failed."""

from __future__ import annotations

import os
import select
import shlex
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.backends.protocol import Console as SerialPort
from harness.backends.protocol import Hypervisor
from harness.backends.views import ResourceKind
from harness.core import Deadline, InteropError, LabError, UsageError
from harness.core.fields import duration, show_duration
from harness.core.process import need
from harness.lab import Run, connect, load_lab
from harness.lab.connect import scratch
from harness.lab.journal import entries, strike
from harness.lab.keep import Kept, KeptGuest
from harness.lab.models import Host
from harness.lab.sharing import open_shared
from harness.lab.store import open_store
from harness.lab.warm import SHELF, Shelf

_HOST = timedelta(minutes=2)
_CHUNK = 1 << 16
_HISTORY = 1 << 20
_SHORT = 64  # reads that gave less than was asked for
_LEAVE = b"\x1d"  # ^], as telnet and virsh have it


@click.group("guest")
def command() -> None:
    """List, enter, extend and release kept guests.

    `pytest --keep failed` keeps the guests of failed tests for a day; ID may be the beginning of one.
    """


@command.command("list")
def list_() -> None:
    """Show the guests that are kept, and until when."""
    guests = Kept(open_store()).all()
    console = Console() if sys.stdout.isatty() else Console(width=200)
    if not guests:
        console.print("no guests are kept")
        return
    table = Table("id", "host", "ssh", "kept for", "why", box=None)
    now = datetime.now(UTC)
    for guest in guests:
        left = (
            "over; reap"
            if guest.until <= now
            else show_duration(timedelta(minutes=(guest.until - now) // timedelta(minutes=1)))
        )
        table.add_row(guest.id, escape(guest.host), f"{guest.account}@{guest.endpoint}", left, escape(guest.why))
    console.print(table)


@command.command("ssh", context_settings={"ignore_unknown_options": True})
@click.argument("guest_id", metavar="ID")
@click.argument("words", metavar="[COMMAND]...", nargs=-1, type=click.UNPROCESSED)
def ssh(guest_id: str, words: tuple[str, ...]) -> None:
    """Log in to a kept guest, or run COMMAND in it. Its host key is verified."""
    guest = Kept(open_store()).find(guest_id)
    argv = ssh_command(guest, _jump(guest), words)
    os.execv(need("ssh", "openssh-client"), argv)  # noqa: S606 - becoming ssh is what this command is for


@command.command("console")
@click.argument("guest_id", metavar="ID")
@click.option("--lines", default=40, show_default=True, help="How much of what it has printed is shown first.")
def console(guest_id: str, lines: int) -> None:
    """Show a kept guest's serial console, and type into it; ^] leaves. Works without network."""
    guest = Kept(open_store()).find(guest_id)
    host = _host(guest)
    with Run.begin(load_lab(guest.lab)) as run:
        hypervisor = connect(host, run)
        try:
            try:
                machine = hypervisor.open(guest.machine, Deadline.after(_HOST))
            except InteropError as error:
                raise UsageError(
                    f"{guest.id} cannot be opened: {error.message}",
                    hint="a run that uses the same embedded host has it open: wait for its end, or use ssh",
                ) from error
            _talk(machine.console(), lines)
        finally:
            hypervisor.close()


@command.command("extend")
@click.argument("guest_id", metavar="ID")
@click.argument("span", metavar="[SPAN]", default="24h")
def extend(guest_id: str, span: str) -> None:
    """Keep a guest until SPAN from now (24h, 90m, 3d)."""
    kept = Kept(open_store())
    guest = kept.find(guest_id)
    try:
        length = duration(span)
    except ValueError as error:
        raise UsageError(str(error)) from error
    with _everywhere(guest) as kept:
        until = kept.extend(guest, length)
    click.echo(f"{guest.id} is kept until {until:%Y-%m-%d %H:%M} UTC")


@command.command("release")
@click.argument("guest_id", metavar="ID")
def release(guest_id: str) -> None:
    """Give a kept guest up: its machine is removed, its addresses and capacity are free again."""
    kept = Kept(open_store())
    guest = kept.find(guest_id)
    try:
        host = _host(guest)
        with Run.begin(load_lab(guest.lab)) as run:
            hypervisor = connect(host, run)
            try:
                _remove(hypervisor, guest.machine)
            finally:
                hypervisor.close()
    except InteropError as error:
        with _everywhere(guest) as kept:
            kept.release(guest)
        raise LabError(
            f"{guest.id} is released, but its machine could not be removed: {error.message}",
            host=guest.host,
            hint="`interop reap` removes it, once no run has its host open",
        ) from error
    with _everywhere(guest) as kept:
        kept.release(guest)
    Shelf(scratch(host) / SHELF).drop(guest.id)
    for entry in entries(open_store(), lab=str(guest.lab)):
        if (entry.kind, entry.name) == (ResourceKind.SEED, guest.id):
            strike(open_store(), entry)
    click.echo(f"{guest.id} is gone")


@contextmanager
def _everywhere(guest: KeptGuest) -> Iterator[Kept]:
    """The table of kept guests, with what the controllers of this guest's lab share."""
    try:
        shared = open_shared(load_lab(guest.lab))
    except UsageError:  # it went away, and with it the word for the database: leases there end with the guest's time
        shared = None
    try:
        yield Kept(open_store(), shared=shared)
    finally:
        if shared is not None:
            shared.close()


def _remove(hypervisor: Hypervisor, machine: str) -> None:
    """Wherever on the host it is, also in a part of the host that an earlier process had open."""
    found = [thing for thing in hypervisor.owned(Deadline.after(_HOST)) if thing.handle == machine]
    if not found:
        raise LabError("the host does not have it any more")
    hypervisor.remove(found[0], Deadline.after(_HOST))


def ssh_command(guest: KeptGuest, jump: list[str], words: tuple[str, ...] = ()) -> list[str]:
    """The ssh client's command line for a kept guest.

    Args:
        guest: which one.
        jump: the command that connects stdin to its port through another host; empty where it is reached directly.
        words: the command to run in it; none: a login shell.
    """
    pinned = guest.known_hosts.is_file() and guest.known_hosts.stat().st_size > 0
    options = {
        "UserKnownHostsFile": str(guest.known_hosts),
        "GlobalKnownHostsFile": "/dev/null",
        # An image that brings its own host key could not be pinned: then the first one is kept in the guest's own file.
        "StrictHostKeyChecking": "yes" if pinned else "accept-new",
        "IdentitiesOnly": "yes",
    }
    if jump:
        options["ProxyCommand"] = shlex.join(jump)
    argv = ["ssh", "-F", "none", "-i", str(guest.identity), "-p", str(guest.endpoint.port)]
    for name, value in options.items():
        argv += ["-o", f"{name}={value}"]
    # ssh joins the words with blanks for the guest's shell, so they are quoted for it.
    return [*argv, f"{guest.account}@{guest.endpoint.address}", *([shlex.join(words)] if words else [])]


def _jump(guest: KeptGuest) -> list[str]:
    host = _host(guest)
    jump = host.networks[host.management].jump
    if jump is None:
        return []
    key = ["-i", str(jump.identity)] if jump.identity else []
    verified = ["-o", f"UserKnownHostsFile={jump.known_hosts.expanduser()}", "-o", "StrictHostKeyChecking=yes"]
    return ["ssh", *key, *verified, "-p", str(jump.port), "-W", "%h:%p", f"{jump.user}@{jump.address}"]


def _host(guest: KeptGuest) -> Host:
    hosts = load_lab(guest.lab).hosts
    if guest.host not in hosts:
        raise UsageError(f"{guest.lab} has no host {guest.host!r} any more", hint="put it back to reach its guests")
    return hosts[guest.host]


def _talk(port: SerialPort, lines: int) -> None:
    """Copy between the terminal and the port until ^] or end of input."""
    history, offset = _history(port)
    sys.stdout.buffer.write(b"\n".join(history.split(b"\n")[-lines:]))
    with _raw():
        while True:
            data = port.read(offset, _CHUNK)
            offset += len(data)
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
            # Keys are looked for whatever it prints: nobody shall be shut in with a guest that never stops.
            if select.select([sys.stdin], [], [], 0 if data else 0.1)[0]:
                typed = os.read(sys.stdin.fileno(), _CHUNK)
                if not typed or _LEAVE in typed:
                    return
                port.write(typed)


def _history(port: SerialPort) -> tuple[bytes, int]:
    """The end of what was printed so far, and how much that was; a guest that prints without end is never read up."""
    kept, offset, short = b"", 0, 0
    while short < _SHORT and (data := port.read(offset, _CHUNK)):
        kept = (kept + data)[-_HISTORY:]
        offset += len(data)
        short += len(data) < _CHUNK
    return kept, offset


@contextmanager
def _raw() -> Iterator[None]:
    """The terminal passes every key on, ^C included; restored afterwards. Nothing to do where stdin is no terminal."""
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setraw(sys.stdin)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
        click.echo()
