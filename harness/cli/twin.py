"""``interop twin``: twins that outlive runs, for runs to use and for any other client of their protocol."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.core import LabError, UsageError
from harness.core.config import nearest
from harness.core.streams import bare
from harness.image.store import Store
from harness.lab import twins
from harness.lab.liveness import Liveness
from harness.lab.load import DEFAULT, load_lab
from harness.lab.models import Lab
from harness.lab.store import open_store
from harness.lab.twin_process import Probe, hosts_of, let_go, start, stop, sweep
from harness.lab.twins import Twin

_LAB = click.option("--lab", default=DEFAULT, show_default=True, metavar="NAME|FILE", help="The lab that names it.")
_HOST = click.argument("host", required=False, metavar="[HOST]")

# What other programs read to find a server of this kind; filled with what the twin said when it came up.
_OF_OTHERS = {
    "vsphere": {
        "GOVC_URL": "https://{endpoint}/sdk",
        "GOVC_USERNAME": "{user}",
        "GOVC_PASSWORD": "{password}",
        "GOVC_TLS_CA_CERTS": "{ca}",
    },
}

_IDENTIFY = (
    '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Header/><s:Body>'
    '<i:Identify xmlns:i="http://schemas.dmtf.org/wbem/wsman/identity/1/wsmanidentity.xsd"/></s:Body></s:Envelope>'
)
"""WS-Management (DSP0226), 11: what a host says of itself."""
_LOGIN = (
    'import os, winrm; e = os.environ.get; p = "INTEROP_TWIN_"; s = winrm.Session(e(p + "ENDPOINT"), transport="ntlm", '
    'auth=(e(p + "USER"), e(p + "PASSWORD")), ca_trust_path=e(p + "CA"), proxy=None); '
)
_ASKED = {
    "pwsh": _LOGIN + 'r = s.run_ps("Get-VMHost | ConvertTo-Json; Get-VMSwitch | ConvertTo-Json"); '
    "print((r.std_out or r.std_err).decode())",
    # No script but the agent's is understood there; but a host that one can log in to says what it is.
    "emulated": _LOGIN + f"print(s.protocol.send_message({_IDENTIFY!r}).decode())",
}
"""What Python asks a twin of Hyper-V, by what runs its PowerShell."""
_FETCHED = (
    '$c = [Net.WebClient]::new(); $c.Headers.Add("WSMANIDENTIFY", "unauthenticated"); '
    '$c.Headers.Add("Content-Type", "application/soap+xml;charset=UTF-8"); $c.UploadString("{endpoint}", "{text}")'
)
"""What Test-WSMan does, which is Windows's alone; and PowerShell elsewhere has no other client of WS-Management."""


@click.group("twin")
def command() -> None:
    """Start and end twins, and say how to reach them.

    A twin stands in for a host that is not here: the real wire protocol in front, real Linux guests behind. HOST is a
    section of the lab file that says `twin: true`; it can be left out where the lab has just one. Runs start and end
    twins by themselves; one that was started here is used by all runs, and stays until `interop twin down`.
    """


@command.command("up")
@_HOST
@_LAB
def up(host: str | None, lab: str) -> None:
    """Start a twin that outlives runs; say where it is and who may log in."""
    found = load_lab(lab)
    section = _section(found, host)
    twin = twins.find(found.path, section)
    if twin is None:
        sweep(open_store(), Liveness())
        twin, process = start(found, section, stay=True, probe=_probe(), tell=lambda text: click.echo(text, err=True))
        let_go(process)
    said = twin.said or {}
    for name in ("endpoint", "ca", "user"):
        if name in said:
            click.echo(f"{name:9} {said[name]}")
    click.echo(f"password  `interop twin env{_words(section, lab)}` prints it")
    click.echo(f"log       {twin.log}")
    for name, line in tries(said, _words(section, lab)).items():
        click.echo(f"{name:9} {line}")


@command.command("down")
@_HOST
@_LAB
def down(host: str | None, lab: str) -> None:
    """End a twin that outlives runs, with its guests and all that is on it."""
    found = load_lab(lab)
    section = _section(found, host)
    twin = twins.find(found.path, section)
    if twin is None:
        click.echo(f"no twin of {section} is up")
        return
    stop(twin)
    click.echo(f"the twin of {section} is gone, and all that was on it")


@command.command("list")
def list_() -> None:
    """Show the twins that are up on this controller, those of runs among them."""
    console = Console() if sys.stdout.isatty() else Console(width=200)
    up = [twin for twin in twins.known() if twin.said is not None and twin.alive]
    if not up:
        console.print("no twin is up")
        return
    table = Table("host", "lab", "endpoint", "process", "ends with", box=None)
    for twin in up:
        ends = f"run {twin.run}" if twin.run else "`interop twin down`"
        where = str((twin.said or {}).get("endpoint", ""))
        table.add_row(twin.section, escape(Path(twin.lab).stem), where, str(twin.pid), ends)
    console.print(table)


@command.command("env")
@_HOST
@_LAB
def env(host: str | None, lab: str) -> None:
    """Print what other clients need to reach a twin, the password included, as lines for a shell."""
    found = load_lab(lab)
    section = _section(found, host)
    twin = twins.find(found.path, section)
    if twin is None:
        raise LabError(f"no twin of {section} is up", hint=f"`interop twin up{_words(section, lab)}`")
    for name, value in variables(hosts_of(found, section)[0].backend, twin).items():
        click.echo(f"export {name}={shlex.quote(value)}", file=bare(sys.stdout))  # a shell evaluates it


def variables(backend: str, twin: Twin) -> dict[str, str]:
    """Environment variables that tell how to reach a twin: ours, and those of its kind's usual clients."""
    said: dict[str, Any] = twin.said or {}
    keys = [key for key in ("endpoint", "ca", "user", "password") if key in said]
    ours = {f"INTEROP_TWIN_{key.upper()}": str(said[key]) for key in keys}
    return ours | {name: form.format_map(said) for name, form in _OF_OTHERS.get(backend, {}).items()}


def tries(said: dict[str, Any], words: str) -> dict[str, str]:
    """Lines to type that show that a twin answers, by what they are for; none where its clients need none.

    Args:
        said: what the twin said when it came up.
        words: how ``interop twin`` is told of it.
    """
    if said.get("kind") != "hyperv":
        return {}
    host, _, port = str(said["endpoint"]).partition("://")[2].partition("/")[0].rpartition(":")
    code = shlex.quote(_ASKED[str(said["powershell"])])
    fetched = _FETCHED.format(endpoint=said["endpoint"], text=_IDENTIFY.replace('"', "'"))
    return {
        "python": f'eval "$(interop twin env{words})"; python -c {code}',
        "pwsh": f"SSL_CERT_FILE={shlex.quote(str(said['ca']))} pwsh -NoProfile -Command {shlex.quote(fetched)}",
        "windows": f"Test-WSMan -ComputerName {host} -Port {port} -UseSSL",
    }


def _section(lab: Lab, name: str | None) -> str:
    sections = list(dict.fromkeys(host.twin for host in lab.hosts.values() if host.twin))
    if name is None and len(sections) == 1:
        return sections[0]
    if name in sections:
        return name
    if name is None and sections:
        raise UsageError(f"the lab {lab.name!r} has several twins: {', '.join(sections)}; name one")
    near = nearest(name or "", sections)
    raise UsageError(
        f"the lab {lab.name!r} has no twin{f' called {name!r}{near}' if name else ''}",
        hint="a host has one where its section of the lab file says `twin: true`; --lab names another lab",
    )


def _words(section: str, lab: str) -> str:
    return f" {section}" + (f" --lab {shlex.quote(lab)}" if lab != DEFAULT else "")


def _probe() -> Probe | None:
    """The kernel of an image that is in the store; where none is, guests are emulated."""
    images = [entry.image for entry in Store().entries()]
    return next(((image.kernel, image.initrd) for image in images if image.kernel and image.initrd), None)
