"""The ``interop`` command. Each room's commands live in a module of their own and load when they are called."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

import click

from harness import __version__
from harness.core import InteropError
from harness.core.secrets import heard_by, of_environment
from harness.core.streams import masked_output

if TYPE_CHECKING:
    from harness.report.redact import Redactor

# command -> (module below harness.cli, one line of help); the line stands here so that `interop --help` imports little.
COMMANDS = {
    "doctor": ("doctor", "Look at this machine and say what is missing for which backend."),
    "image": ("image", "Build, list, show, convert, verify, check and prune guest images."),
    "lab": ("lab", "Check lab files, print their schema, prove a host."),
    "release": ("release", "Check, list, show, pin and fetch releases of integration services to validate."),
    "checks": ("checks", "List the checks: what would run on each host, what would be skipped, and why."),
    "twin": ("twin", "Start and end stand-ins for hosts that are not here, and say how to reach them."),
    "guest": ("guest", "List, enter, extend and release kept guests."),
    "host": ("host", "Cordon hosts off, so that nothing is started on them, and let them be used again."),
    "night": ("night", "Plan, start, watch and cancel the nights of a lab that several controllers share."),
    "worker": ("worker", "Work on the nights of a lab, beside any number of others."),
    "reap": ("reap", "Remove what dead runs left behind on the lab's hosts."),
    "calibrate": ("calibrate", "Propose limits of a lab's own, from what its nights came to."),
    "validate": ("validate", "Say whether a release may ship: both sides run, a verdict, a signed statement."),
    "verify-bundle": ("verify_bundle", "Check the evidence of a validation: every file, and who signed it."),
    "report": ("report", "Render the results of a run as pages."),
    "status": ("status", "Show which runs live, what they run now, and what is left."),
    "export": ("export", "Bring the results of a run to where exporters take them."),
    "rerun": ("rerun", "Run a check of an earlier run once more, exactly as it ran; the result joins that run."),
    "compare": ("compare", "Tell what changed from one run to another."),
    "known": ("known", "Check and list known issues: failures that do not fail a run until their day."),
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"harness.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="interop")
def interop() -> None:
    """One Linux image, every hypervisor, one verdict.

    Tests run with `pytest`; this command looks after what surrounds them.
    """


def main(argv: list[str] | None = None) -> Any:
    """Entry point: turns :class:`~harness.core.InteropError` into one clear message and exit status 1.

    Whatever a command prints, an error of somebody's library included, shows no secret that it fetched meanwhile.
    """
    unsaid = _Unsaid()
    for value in of_environment():
        unsaid.hear(value)
    with heard_by(unsaid.hear), masked_output(unsaid.text):
        try:
            return interop.main(args=argv, prog_name="interop", standalone_mode=True)
        except InteropError as error:
            from harness.report.visible import bounded, visible  # noqa: PLC0415  only where something went wrong

            # A guest may have worded it; and half a secret would not be known as one.
            click.echo(visible(bounded(unsaid.text(f"interop: {error}"))), err=True)
            sys.exit(1)


class _Unsaid:
    """The secrets that a command fetched; most fetch none, and don't pay for what masks them."""

    def __init__(self) -> None:
        self._redactor: Redactor | None = None

    def hear(self, secret: str) -> None:
        if self._redactor is None:
            from harness.report.redact import Redactor  # noqa: PLC0415

            self._redactor = Redactor()
        self._redactor.register(secret)

    def text(self, text: str) -> str:
        if self._redactor is None and "://" in text and "@" in text:
            self.hear("")  # an address may hold a password
        return self._redactor.text(text) if self._redactor is not None else text
