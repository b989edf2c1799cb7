"""Everything a statement rests on, gathered for the bundle; names, addresses and accounts taken out where asked."""

from __future__ import annotations

import getpass
import json
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core.secrets import heard_by
from harness.lab import confidential, whereabouts
from harness.lab.models import Lab
from harness.lab.whereabouts import Kind
from harness.report import Redactor, attachments
from harness.validation.hiding import ACCOUNT, FOLDER, HOST, Pseudonyms, text_of
from harness.validation.judging import Judgement
from harness.validation.ledger import Ledger
from harness.validation.rounds import OUTPUT

# Of a host's details those that name it, and not its product.
_NAMING = ("host name", "uri", "node", "endpoint")


@dataclass(frozen=True, slots=True)
class Gathered:
    """Files for a bundle.

    Args:
        files: by name in the bundle.
        dropped: names of those that were left out, because they cannot be looked into.
    """

    files: Mapping[str, Path | bytes]
    dropped: tuple[str, ...] = ()


def gather(ledger: Ledger, redactor: Redactor) -> dict[str, Path | bytes]:
    """The files of every round that ended, with what says how they came about; by name in the bundle.

    Args:
        ledger: the validation.
        redactor: knows the lab's secrets. Results hold none; what pytest printed is a user's own terminal until now.
    """
    found: dict[str, Path | bytes] = {"validation.json": ledger.path / "validation.json"}
    if (ledger.path / "release.yaml").is_file():
        found["release.yaml"] = ledger.path / "release.yaml"
    for each in ledger.rounds:
        place = f"rounds/{each.folder}"
        output = ledger.folder(each) / OUTPUT
        if output.is_file():
            found[f"{place}/{OUTPUT}"] = attachments.text(redactor.data(output.read_bytes())).encode()
        results = ledger.results(each)
        for path in sorted(results.rglob("*")) if results else ():
            inside = path.relative_to(results) if results else path
            if path.is_file() and not path.is_symlink() and not any(part.startswith(".") for part in inside.parts):
                found[f"{place}/results/{inside.as_posix()}"] = path
    return found


def secrets_of(lab: Lab) -> Redactor:
    """Masks every secret that the lab file refers to, and that can be had here; what cannot was not used."""
    redactor = Redactor()
    with heard_by(redactor.register):
        confidential.fetch(lab, asking=True)
    return redactor


def pseudonyms(lab: Lab, judged: Judgement, files: Mapping[str, Path | bytes]) -> Pseudonyms:
    """Everything that is to be taken out: what the lab says, what hosts said, what stands in the files.

    Args:
        lab: whose hosts.
        judged: knows which hosts took part.
        files: looked through for addresses and accounts.
    """
    known = Pseudonyms()
    for name, kind in _named(lab, judged):
        known.name(name, kind)
    for name, content in files.items():
        known.learn(name)
        text = text_of(_bytes(content))
        if text is not None:
            known.learn(text)
    return known


def redact(files: Mapping[str, Path | bytes], known: Pseudonyms) -> Gathered:
    """The files with everything known taken out of them, and of their names."""
    kept: dict[str, Path | bytes] = {}
    dropped = []
    for name, content in files.items():
        text = text_of(_bytes(content))
        shown = known.hide(name)
        if text is None:
            dropped.append(shown)
        else:
            kept[shown] = known.hide(text).encode()
    return Gathered(kept, tuple(dropped))


def hidden(told: Any, known: Pseudonyms) -> Any:
    """Plain data with everything known taken out of its texts; keys of its own are none of anybody's names."""
    if isinstance(told, str):
        return known.hide(told)
    if isinstance(told, Mapping):
        return {key: hidden(value, known) for key, value in told.items()}
    if isinstance(told, (list, tuple)):
        return [hidden(value, known) for value in told]
    return told


def as_json(told: Mapping[str, Any]) -> bytes:
    """Data as a file of the bundle."""
    return (json.dumps(told, indent=2, ensure_ascii=False, sort_keys=True) + "\n").encode()


def _bytes(content: Path | bytes) -> bytes:
    return content if isinstance(content, bytes) else content.read_bytes()


def _named(lab: Lab, judged: Judgement) -> Iterator[tuple[str, str]]:
    yield platform.node(), HOST
    yield platform.node().partition(".")[0], HOST
    yield getpass.getuser(), ACCOUNT
    yield str(Path.home()), FOLDER
    yield str(lab.path.parent), FOLDER
    for kind, name in whereabouts.of_lab(lab):
        yield name, ACCOUNT if kind is Kind.ACCOUNT else HOST
    for ran in judged.runs:
        yield ran.host, HOST
        yield ran.cell.pool, HOST
    for _, told in judged.seen:
        for host in told.hosts:
            yield str(host["name"]), HOST
            yield str(host.get("pool", "")), HOST
            details = dict(host.get("details") or {})
            for key in _NAMING:
                if details.get(key):
                    yield str(details[key]), HOST
