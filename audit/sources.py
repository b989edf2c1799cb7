"""What the ecosystems' own programs know of what is locked: newer versions, and defects that were made public."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SECONDS = 600
_SHOWN = 160


@dataclass(frozen=True, slots=True)
class Answer:
    """What one program said.

    Args:
        about: what it was asked about.
        told: by name, newer versions or defects; empty: there are none.
        unknown: why it could not tell, in a line; empty where it could.
    """

    about: str
    told: dict[str, str]
    unknown: str = ""


def newer_python() -> Answer:
    """Of what is installed in this environment, by pip, which says nothing of packages whose index does not answer."""
    found, words = _json([sys.executable, "-m", "pip", "list", "--outdated", "--format=json"], Path())
    if words:
        return Answer("newer Python packages", {}, words)
    told = {re.sub(r"[-_.]+", "-", one["name"]).lower(): one["latest_version"] for one in found or ()}
    return Answer("newer Python packages", told)


def newer_npm(root: Path) -> Answer:
    """By npm; also what is as new as can be is among it where it is not installed."""
    found, words = _json(["npm", "outdated", "--all", "--json"], root)
    if not isinstance(found, dict) or "error" in found:
        return Answer("newer npm packages", {}, words or _said(found))
    first = {name: one[0] if isinstance(one, list) else one for name, one in found.items()}
    return Answer("newer npm packages", {name: str(one["latest"]) for name, one in first.items() if "latest" in one})


def wrong_python(lock: Path, program: str) -> Answer:
    """By pip-audit. A package that it skipped was not looked at, whatever its last line says.

    Args:
        lock: with hashes.
        program: where pip-audit is.
    """
    about = f"vulnerabilities of {lock.name}"
    words = ["--disable-pip", "--require-hashes", "--progress-spinner=off", "--format=json", "-r", str(lock)]
    found, why = _json([program, *words], lock.parent)
    if not isinstance(found, dict) or "dependencies" not in found:
        return Answer(about, {}, why or "it said nothing")
    known = {one["name"]: one for one in found["dependencies"]}
    skipped = {name: one["skip_reason"] for name, one in known.items() if "skip_reason" in one}
    bad = {name: ", ".join(each["id"] for each in one.get("vulns", ())) for name, one in known.items()}
    told = {name: said for name, said in bad.items() if said}
    if not skipped:
        return Answer(about, told)
    return Answer(about, told, f"{len(skipped)} of {len(known)} were not looked at: {next(iter(skipped.values()))}")


def wrong_npm(root: Path) -> Answer:
    """By npm, from the lock alone."""
    about = "vulnerabilities of package-lock.json"
    found, why = _json(["npm", "audit", "--package-lock-only", "--json"], root)
    if not isinstance(found, dict) or "vulnerabilities" not in found:
        return Answer(about, {}, _said(found) or why)
    return Answer(about, {name: str(one.get("severity", "?")) for name, one in found["vulnerabilities"].items()})


def wrong_go(module: Path) -> Answer:
    """By govulncheck, which looks whether defective functions are called at all."""
    about = f"vulnerabilities of {module.parent.name}/{module.name}"
    done, why = _run(["govulncheck", "-format", "json", "./..."], module.parent)
    if done is None or done.returncode:
        return Answer(about, {}, why)
    told: dict[str, str] = {}
    decoder, text, at = json.JSONDecoder(), done.stdout.strip(), 0
    while at < len(text):  # one object after another
        one, at = decoder.raw_decode(text, at)
        at += len(text[at:]) - len(text[at:].lstrip())
        if finding := one.get("finding"):
            told[finding["trace"][0]["module"]] = finding["osv"]
    return Answer(about, told)


def _json(words: Sequence[str], place: Path) -> tuple[Any, str]:
    """What a program printed, and why it is not to be trusted: auditors fail both by what they find and by trouble."""
    done, why = _run(words, place)
    if done is None:
        return None, why
    try:
        found = json.loads(done.stdout) if done.stdout.strip() else None
    except ValueError:
        found = None
    return found, why if done.returncode or done.stderr.strip() else ""


def _run(words: Sequence[str], place: Path) -> tuple[subprocess.CompletedProcess[str] | None, str]:
    """A program's end, and the last line of what it complained of."""
    program = shutil.which(words[0])
    if program is None:
        return None, f"{Path(words[0]).name} is not installed"
    env = os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "NO_COLOR": "1"}
    try:
        done = subprocess.run(
            [program, *words[1:]], cwd=place, env=env, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return None, f"{Path(words[0]).name} did not answer within {_SECONDS} s"
    return done, _last(done.stderr) or f"{Path(words[0]).name} ended with {done.returncode}"


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:_SHOWN] if lines else ""


def _said(found: Any) -> str:
    """Npm's error as JSON has it."""
    said = found.get("message") or (found.get("error") or {}).get("summary") if isinstance(found, dict) else ""
    return _last(str(said or ""))
