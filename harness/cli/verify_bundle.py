"""``interop verify-bundle``: is this evidence what was signed?"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from harness.core import InteropError, Size, UsageError
from harness.core.streams import going_on_unread
from harness.validation import bundle

_BROKEN, _USAGE, _NOBODY = 1, 2, 3


@click.command("verify-bundle", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--allowed-signers",
    "allowed",
    type=click.Path(path_type=Path),
    help="Whose signatures count: a file as in ssh-keygen(1), ALLOWED SIGNERS.",
)
@click.option(
    "--largest", default=str(bundle.LARGEST), show_default=True, help="Refuse what unpacks to more than this."
)
@click.option("--statement", is_flag=True, help="Print the statement that is in it.")
@going_on_unread()
def command(*, file: Path, allowed: Path | None, largest: str, statement: bool) -> None:
    """Check an evidence bundle: the signature of its manifest, and every file against it. Nothing is unpacked.

    Refused are files that changed, are missing or too many, links, and names that lead out of a folder.

    \b
    interop verify-bundle evidence.tar.zst --allowed-signers labs.allowed

    \b
    Exit status: 0 it is whole, and signed by a key that is allowed to; 1 it is not what it says; 2 bad input;
    3 it is whole, but who made it is not known: it is unsigned, or no --allowed-signers says whose key it is.
    """  # noqa: D301  click reads the escaped letter
    try:
        try:
            limit = Size.parse(largest)
        except ValueError as error:
            raise UsageError(f"--largest {largest}: {error}") from error
        found = bundle.verify(file, allowed, largest=limit)
    except InteropError as error:
        click.echo(f"interop: {file}: {error}" if not isinstance(error, UsageError) else f"interop: {error}", err=True)
        sys.exit(_USAGE if isinstance(error, UsageError) else _BROKEN)
    click.echo(f"{file}: {found.files} files, {found.size}, all as the manifest has them")
    if statement:
        click.echo(found.statement)
    if found.signer is None:
        click.echo("not signed: nobody stands behind it")
    elif not found.signer.principal:
        click.echo(f"signed by {found.signer.key}; whose key that is, --allowed-signers would say")
    else:
        click.echo(f"signed by {found.signer.principal}, {found.signer.key}")
    sys.exit(0 if found.signer and found.signer.principal else _NOBODY)
