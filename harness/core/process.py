"""Running the host's tools: a list of arguments, a deadline, and an error that quotes what the tool said."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.core.errors import LabError
from harness.core.waiting import Deadline


def need(tool: str, package: str) -> str:
    """The full path of ``tool``.

    Raises:
        LabError: it is not on PATH; names the Debian package that holds it.
    """
    found = shutil.which(tool) or shutil.which(tool, path="/usr/sbin:/sbin")
    if not found:
        raise LabError(f"{tool} is not on PATH", hint=f"install the Debian package {package}, or run `make setup`")
    return found


def run(
    argv: Sequence[str | Path],
    deadline: Deadline,
    *,
    stdin: bytes | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> bytes:
    """Run a tool to its end and return its stdout.

    Raises:
        LabError: it failed or overran the deadline; with the command line and the end of its stderr.
    """
    words = [str(word) for word in argv]
    shown = shlex.join(words)
    try:
        done = subprocess.run(
            words, input=stdin, capture_output=True, timeout=deadline.seconds, cwd=cwd, env=env, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise LabError(f"`{shown}` did not finish within {error.timeout:.0f} s", operation=words[0]) from error
    except OSError as error:
        raise LabError(f"`{shown}` could not start: {error}", operation=words[0]) from error
    if done.returncode != 0:
        tail = (done.stderr or done.stdout)[-2000:].decode("utf-8", "replace").strip()
        raise LabError(f"`{shown}` ended with {done.returncode}: {tail}", operation=words[0])
    return done.stdout
