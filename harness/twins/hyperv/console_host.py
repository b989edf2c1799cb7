"""What ``powershell.exe`` does with its standard input and with unsigned scripts; engines elsewhere do otherwise.

Windows PowerShell's console host hands its input to the pipeline of a command or script, line by line, *only* where
that text uses ``$input`` outside of nested script blocks; elsewhere the pipeline gets nothing
(``DoRunspaceInitialization`` in PowerShell's ConsoleHost.cs, ``IsUsingDollarInput``). Execution policies are enforced
on Windows alone (about_Execution_Policies).
"""

from __future__ import annotations

import base64
import binascii
import itertools
import re
from collections.abc import Sequence
from pathlib import Path

_INPUT = re.compile(r"\$input\b", re.IGNORECASE)
_COMMENT = re.compile(r"(^|\s)#.*$", re.MULTILINE)
_SIGNED = b"# SIG # Begin signature block"
_UNSIGNED = (
    "File {0} cannot be loaded. The file {0} is not digitally signed. "
    "You cannot run this script on the current system. For more information about running scripts and setting "
    "execution policy, see about_Execution_Policies at https://go.microsoft.com/fwlink/?LinkID=135170.\r\n"
    "    + CategoryInfo          : SecurityError: (:) [], ParentContainsErrorRecordException\r\n"
    "    + FullyQualifiedErrorId : UnauthorizedAccess\r\n"
)
_CONSTRAINED = "$ExecutionContext.SessionState.LanguageMode='ConstrainedLanguage'"
_FEED = (
    "begin{{$file={{& '{}'}}.GetSteppablePipeline();$file.Begin($true)}}"
    "process{{$file.Process($_)}}"
    "end{{$file.End();$null=$input}}"
)


def reads_input(arguments: Sequence[str]) -> bool:
    """Whether the console host hands its standard input to what these arguments run.

    Args:
        arguments: of ``powershell.exe``.
    """
    kind, text = _script(arguments)
    if kind == "file":
        try:
            text = Path(text).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return False
    return _INPUT.search(_COMMENT.sub("", text)) is not None


def unsigned(arguments: Sequence[str]) -> str | None:
    """What is said instead of running a file without a signature under the policy AllSigned; None: it may run.

    That there is a signature is all that is looked at: not whose it is, nor whether it fits the file.

    Args:
        arguments: of ``powershell.exe``.
    """
    kind, path = _script(arguments)
    if kind != "file" or not _all_signed(arguments):
        return None
    try:
        signed = _SIGNED in Path(path).read_bytes()
    except OSError:
        return None  # the engine says that itself
    return None if signed else _UNSIGNED.format(path)


def feed(arguments: Sequence[str]) -> tuple[str, ...]:
    """The same arguments, for an engine that hands its input to commands alone and never to ``-File``.

    Args:
        arguments: of ``powershell.exe``.
    """
    kind, path = _script(arguments)
    if kind != "file":
        return tuple(arguments)
    command = _FEED.format(path.replace("'", "''"))
    before = arguments[: len(arguments) - 2]
    return *before, "-EncodedCommand", _encoded(command)


def constrain(arguments: Sequence[str]) -> tuple[str, ...]:
    """The same arguments on a host whose policy trusts no text, only signed files: text runs in constrained language.

    Args:
        arguments: of ``powershell.exe``.
    """
    kind, text = _script(arguments)
    if kind != "encodedcommand":
        return tuple(arguments)
    # Each block gets back the language that it was called with: it is set where it counts.
    text = text.replace("process{", f"process{{{_CONSTRAINED};", 1) if "process{" in text else f"{_CONSTRAINED};{text}"
    return *arguments[:-1], _encoded(text)


def _all_signed(arguments: Sequence[str]) -> bool:
    for word, value in itertools.pairwise(arguments):
        name = word[1:].lower()
        policy = name == "ep" or (name.startswith("ex") and "executionpolicy".startswith(name))
        if word.startswith(("-", "/")) and policy:
            return value.lower() == "allsigned"
    return False


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode("utf-16-le")).decode("ascii")


def _script(arguments: Sequence[str]) -> tuple[str, str]:
    """What is run: its kind (``encodedcommand``, ``command``, ``file``), and its text or path."""
    for index, word in enumerate(arguments[:-1]):
        name = word[1:].lower()
        if not word.startswith(("-", "/")) or not name:
            continue
        if name == "ec" or (name[0] == "e" and "encodedcommand".startswith(name)):
            try:
                return "encodedcommand", base64.b64decode(arguments[index + 1]).decode("utf-16-le")
            except (binascii.Error, UnicodeDecodeError):
                return "encodedcommand", ""
        if "command".startswith(name):
            return "command", " ".join(arguments[index + 1 :])
        if "file".startswith(name):
            return "file", arguments[index + 1]
    return "command", ""
