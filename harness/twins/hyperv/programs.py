"""Which programs a twin has: what a command line of Windows runs here, and what cmd.exe says where there is none."""

from __future__ import annotations

import ntpath
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from harness.twins.hyperv import commandline, console_host


@dataclass(frozen=True, slots=True)
class Start:
    """A program of this machine that stands in for one of Windows.

    Args:
        argv: program and arguments.
        environment: what it finds in its environment, beyond what the shell was given.
        crlf: whether it should end lines as Windows does, and does not.
        reads: whether what it runs gets the shell's standard input.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    crlf: bool = False
    reads: bool = True


@dataclass(frozen=True, slots=True)
class Refused:
    """cmd.exe does not start it.

    Args:
        said: on standard error.
        exit_code: of the command.
    """

    said: str
    exit_code: int = 1


class Program(Protocol):
    """Makes a program of this machine from the arguments of one of Windows."""

    def __call__(self, arguments: Sequence[str], /) -> Start | Refused:
        """How to start it."""


def powershell(
    modules: Path | None = None, environment: Mapping[str, str] | None = None, *, constrained: bool = False
) -> Program | None:
    """Windows PowerShell, by the real engine where ``pwsh`` is on PATH; None where it is not.

    Args:
        modules: a folder of modules that are the twin's.
        environment: how they find the twin.
        constrained: whether commands run in constrained language, as where a policy trusts signed files alone.
    """
    engine = shutil.which("pwsh")
    if engine is None:
        return None
    path = {"PSModulePath": str(modules)} if modules is not None else {}

    def start(arguments: Sequence[str]) -> Start:
        arguments = console_host.constrain(arguments) if constrained else arguments
        return Start(
            (engine, *console_host.feed(arguments)),
            {**path, **(environment or {})},
            crlf=True,
            reads=console_host.reads_input(arguments),
        )

    return policed(start)


def policed(program: Program) -> Program:
    """PowerShell on a host that runs no file without a signature, where it is started so."""

    def start(arguments: Sequence[str]) -> Start | Refused:
        refused = console_host.unsigned(arguments)
        return program(arguments) if refused is None else Refused(refused)

    return start


def python(module: str) -> Program:
    """A module of this interpreter."""
    return lambda arguments: Start((sys.executable, "-I", "-m", module, *arguments))


def plain(*argv: str) -> Program:
    """A program of this machine as it is."""
    return lambda arguments: Start((*argv, *arguments))


def resolve(line: str, programs: Mapping[str, Program]) -> Start | Refused:
    """What a command line runs, after cmd.exe has had its say (it has, even where a client asks to skip it).

    Args:
        line: as the client sent it.
        programs: by the name without folder and ``.exe``, in lower case.
    """
    if len(line) > commandline.LONGEST:
        return Refused("The command line is too long.\r\n")
    words = commandline.split(line)
    while len(words) > 2 and _name(words[0]) == "cmd" and words[1].lower() in {"/c", "/s/c", "/s"}:
        words = words[2:]
    if not words:
        return Refused("", 0)
    program = programs.get(_name(words[0]))
    if program is None:
        return Refused(
            f"'{words[0]}' is not recognized as an internal or external command,\r\noperable program or batch file.\r\n"
        )
    return program(words[1:])


def environment(start: Start, shell: Mapping[str, str]) -> dict[str, str]:
    """What a program finds in its environment: this machine's own, the shell's, the program's."""
    return {**os.environ, **shell, **start.environment}


Resolve = Callable[[str], Start | Refused]
"""From a command line to what is done about it."""


def _name(word: str) -> str:
    return ntpath.basename(word).lower().removesuffix(".exe")
