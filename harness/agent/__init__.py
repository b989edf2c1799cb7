"""The PowerShell that Hyper-V hosts run, as data, and its digest: read by driver and twin alike.

``agent.ps1`` calls cmdlets that it is told to call; its header is the description of what goes over its standard input
and output, and of how it is started. It includes ``values.ps1`` (what arguments and answers are made of) and functions
for what no cmdlet does: ``files.ps1``, ``console.ps1``. Hosts get all of it as one script. ``bootstrap.ps1`` is the
constant text that takes it in from standard input, because a command line holds 8191 characters and an agent is longer.
Both texts use ``$input``: to such alone does PowerShell's console host hand its standard input.
"""

from __future__ import annotations

import base64
import hashlib
import re
import textwrap
from pathlib import Path

MARK = "@HV1"
"""What every line of an answer begins with; a number and JSON follow. All other lines are noise of cmdlets."""

PROGRAM = "powershell.exe"

_OPTIONS = ("-NoProfile", "-NonInteractive", "-InputFormat", "Text", "-OutputFormat", "Text", "-ExecutionPolicy")
_FOLDER = Path(__file__).parent
_INCLUDE = re.compile(r"^( *)#include (\w+\.ps1)\n", re.MULTILINE)


def source() -> bytes:
    """The agent's script: ``agent.ps1`` with what it includes in its place."""
    return _INCLUDE.sub(_included, _text("agent.ps1")).encode("ascii")


def bootstrap() -> str:
    """The script that the command line carries."""
    return _text("bootstrap.ps1").strip()


def digest() -> str:
    """SHA-256 of bootstrap and agent together: which agent answered, in results and in drift."""
    return hashlib.sha256(bootstrap().encode() + b"\n" + source()).hexdigest()


def script_digest() -> str:
    """SHA-256 of the script alone: what an installed agent says of itself, signed or not."""
    return hashlib.sha256(source().rstrip() + b"\n").hexdigest()


def inline() -> tuple[str, ...]:
    """The arguments of :data:`PROGRAM` that start an agent which gets its own source as the first line of its input."""
    encoded = base64.b64encode(bootstrap().encode("utf-16-le")).decode("ascii")
    return *_OPTIONS, "Bypass", "-EncodedCommand", encoded


def installed(path: str) -> tuple[str, ...]:
    """The arguments of :data:`PROGRAM` that start an agent whose signed script lies on the host's disk.

    Args:
        path: the script on the host.

    Raises:
        ValueError: the path holds a quotation mark, which no Windows path can.
    """
    if '"' in path:
        raise ValueError(f"no path on a Windows host holds a quotation mark: {path}")
    return *_OPTIONS, "AllSigned", "-File", f'"{path}"'


def first_line() -> bytes:
    """What an inline agent reads first."""
    return base64.b64encode(source()) + b"\n"


def _included(line: re.Match[str]) -> str:
    return textwrap.indent(_text(line[2]), line[1]) + "\n"


def _text(name: str) -> str:
    return _FOLDER.joinpath(name).read_text(encoding="ascii")
