"""``interop image``: build, list, show, convert, verify, check and prune guest images."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import timedelta

import click
from rich.console import Console
from rich.table import Table

from harness.core import Deadline, UsageError
from harness.image import recipe as recipes
from harness.image.manifest import Entry, as_tree
from harness.image.model import Format
from harness.image.requirements import Finding, Kind, commands, judge
from harness.image.resolving import named, resolve
from harness.image.store import Store
from harness.image.terminal import Bars

_CHECK_TIME = timedelta(minutes=15)


@click.group("image")
def command() -> None:
    """Build, list, show, convert, verify, check and prune guest images.

    An image is named by what is on its disk: the sha256 of the disk as a guest reads it, the same for every format.
    Images live in ~/.cache/interop/images (INTEROP_CACHE moves it). They are cache: whatever is removed is built again.

    \b
    interop image build                  build the shipped image that runs take (debian12)
    interop image build debian13         build another
    interop image build my.yaml          build or import one of your own
    interop image convert debian12 vhdx  make the file Hyper-V wants
    interop image verify debian12        prove that all its files hold the same disk
    """  # noqa: D301 (click reads the character \b)


@command.command()
@click.argument("recipe", default="debian12", metavar="[NAME|FILE]")
@click.option("--refresh", is_flag=True, help="Install today's packages, even where the image is at hand.")
def build(recipe: str, refresh: bool) -> None:
    """Build an image, unless it is at hand.

    NAME is a shipped recipe. FILE is a recipe of yours (.yaml), or a disk file (.qcow2, .vhdx, .vmdk, .raw), which is
    taken as a cloud image that reads a NoCloud seed. Packages come from the mirror that this machine's own apt uses;
    without one, from Debian's. Building takes a minute or two and needs 5 GiB of space for that time.

    \b
    A recipe for an image that is built like another one:
      summary: ours
      like: debian13           # or a file
      debian: {packages: [lldpd]}
    \b
    A recipe for an image that already exists:
      summary: our golden image
      source: {path: golden.qcow2, sha256: 0123...}   # or url:
      access: ready            # or cloud-init
      network: dhcp            # or seed, preset
      user: test
      private_key: golden.key
    """  # noqa: D301 (click reads the character \b)
    entry = Store().build(named(recipe), progress=Bars(), refresh=refresh)
    _describe(entry)


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def list_images(as_json: bool) -> None:
    """List the images on this machine, and the recipes that can be built."""
    entries = Store().entries()
    if as_json:
        click.echo(json.dumps([as_tree(entry) for entry in entries], indent=2))
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("name", "digest", "formats", "disk", "takes", "built", "what"):
        table.add_column(heading)
    for entry in entries:
        image = entry.image
        table.add_row(
            image.name,
            image.digest[:12],
            " ".join(form.value for form in image.files),
            str(image.virtual_size),
            str(entry.size),
            f"{entry.created.astimezone():%Y-%m-%d %H:%M}",
            ", ".join(image.labels.values()),
        )
    there = {entry.image.name for entry in entries}
    for name in recipes.known():
        if name not in there:
            table.add_row(name, "-", "-", "-", "-", "not built", recipes.load(name).recipe.summary)
    _console().print(table)


@command.command()
@click.argument("image", default="debian12", metavar="[NAME|DIGEST]")
@click.option("--json", "as_json", is_flag=True, help="For programs; with the versions of all packages inside.")
def show(image: str, as_json: bool) -> None:
    """Show everything known about an image: digest, files, kernel, how to log in."""
    entry = Store().find(image)
    if as_json:
        click.echo(json.dumps(as_tree(entry), indent=2))
    else:
        _describe(entry)


@command.command()
@click.argument("image", metavar="NAME|DIGEST")
@click.argument("formats", nargs=-1, required=True, type=click.Choice([form.value for form in Format]))
def convert(image: str, formats: Sequence[str]) -> None:
    """Make further files of an image: vhdx (dynamic, for Hyper-V), vmdk (streamOptimized, for vSphere).

    They are kept beside the qcow2. A host that wants one makes it itself when it is first needed.
    """
    store = Store()
    found = store.find(image).image
    for word in formats:
        found = store.convert(found, Format(word), progress=Bars())
        click.echo(found.files[Format(word)])


@command.command()
@click.argument("image", default="debian12", metavar="[NAME|DIGEST]")
def verify(image: str) -> None:
    """Prove that an image is what its digest says, and that all its files hold the same disk.

    The disk is unpacked and hashed, and `qemu-img compare` reads every other format against it. You can check by hand:

    \b
      qemu-img convert -O raw disk.vhdx disk.raw && sha256sum disk.raw
    """  # noqa: D301 (click reads the character \b)
    store = Store()
    for sentence in store.verify(store.find(image).image, progress=Bars()):
        click.echo(sentence)


@command.command()
@click.option("--all", "everything", is_flag=True, help="Remove every image, and the installed trees they came from.")
def prune(everything: bool) -> None:
    """Remove what is no longer needed: all but the newest image of each name, variants, leavings of killed builds.

    Don't, while tests run: the disks of their guests are overlays over these files.
    """
    removed = Store().prune(everything=everything)
    for path in removed:
        click.echo(f"removed {path}")
    if not removed:
        click.echo("nothing to remove")


@command.command()
@click.argument("image", default="debian12", metavar="[NAME|FILE|DIGEST]")
@click.option("--lab", default="local", show_default=True, help="The lab whose host boots it.")
@click.option("--host", "host_name", help="Which host of the lab; default: its first.")
def check(image: str, lab: str, host_name: str | None) -> None:
    """Boot an image once, and name the drivers, daemons and rights it lacks, for each hypervisor.

    The exit status is 1 when something essential is lacking: without it the harness cannot use the image there. What
    else is lacking makes checks fail, or skip.
    """
    # Labs and backends load only for this one: the other subcommands need neither libvirt nor ssh.
    from harness.backends.model import Shape  # noqa: PLC0415
    from harness.lab.connect import connect  # noqa: PLC0415
    from harness.lab.load import load_lab  # noqa: PLC0415
    from harness.lab.run import Run  # noqa: PLC0415
    from harness.lab.slots import Slots  # noqa: PLC0415

    found = resolve(image, progress=Bars())
    loaded = load_lab(lab)
    host = loaded.hosts.get(host_name) if host_name else next(iter(loaded.hosts.values()))
    if host is None:
        raise UsageError(f"lab {loaded.name} has no host {host_name!r}; it has {', '.join(loaded.hosts)}")
    deadline = Deadline.after(_CHECK_TIME)
    with Run.begin(loaded) as run:
        hypervisor = connect(host, run, found)
        slots = Slots(run, host, hypervisor, found)
        try:
            with Bars().step(f"booting {found.name} on {host.name}"):
                guest = slots.cold(Shape(), deadline)
            with Bars().step("asking the guest") as advance:
                release = guest.run(["uname", "-r"]).text.strip()
                asked = commands(release)
                answers = {}
                for index, argv in enumerate(asked):
                    result = guest.run(argv, timeout=timedelta(minutes=2), check=False)
                    answers[argv] = (result.status, result.text)
                    advance((index + 1) / len(asked))
            slots.release(guest)
        finally:
            slots.close()
            hypervisor.close()
    findings = judge(answers, release)
    _report(findings)
    if any(finding.requirement.essential and not finding.met for finding in findings):
        sys.exit(1)


def _report(findings: list[Finding]) -> None:
    lacking = [finding.requirement for finding in findings if not finding.met]
    table = Table(box=None, pad_edge=False)
    for heading in ("for", "lacks", "", "so"):
        table.add_column(heading)
    for one in lacking:
        what = f"{one.name} in the initramfs" if one.kind is Kind.INITRAMFS else one.name
        table.add_row(one.hypervisor, f"{one.kind.value} {what}", "[red]essential[/]" if one.essential else "", one.why)
    if lacking:
        _console().print(table)
    click.echo(f"{len(findings) - len(lacking)} of {len(findings)} requirements are met")


def _describe(entry: Entry) -> None:
    image = entry.image
    table = Table(box=None, pad_edge=False, show_header=False)
    rows = {
        "name": image.name,
        "digest": f"sha256:{image.digest}",
        "disk": str(image.virtual_size),
        "build id": image.build_id or "-",
        **({"file systems": ", ".join(image.file_systems)} if image.file_systems else {}),
        "access": f"{image.access.value}, as {image.user}, address by {image.network.value}",
        **image.labels,
        **{form.value: str(path) for form, path in image.files.items()},
        "kernel file": str(image.kernel or "-"),
        "initrd file": str(image.initrd or "-"),
        "built": f"{entry.created.astimezone():%Y-%m-%d %H:%M}, takes {entry.size}",
    }
    for key, value in rows.items():
        table.add_row(key, value, style=None)
    _console().print(table, soft_wrap=True)


def _console() -> Console:
    """The terminal's width, or, into a file or pipe, room for the longest line."""
    return Console() if sys.stdout.isatty() else Console(width=200)
