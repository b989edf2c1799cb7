"""The statement: what was validated, where, by what, what differed, what was not covered; as Markdown and as HTML."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from harness import __version__
from harness.core import LabError
from harness.report import attachments
from harness.report.layout import settings
from harness.report.page import POLICY, outside_requests
from harness.report.summary import Verdict
from harness.validation.cells import SideName
from harness.validation.deciding import Came, Decision, Word
from harness.validation.judging import Judgement, hosts_of, versions
from harness.validation.ledger import Ledger

NAME = "statement"
_MARKED = re.compile(r"([\\`*_{}\[\]<>|#~])")


@dataclass(frozen=True, slots=True)
class About:
    """What the statement says besides what the results say.

    Args:
        summary: the release file's line.
        baseline: what its baseline is, in words.
        candidate: likewise.
        signed: the fingerprint of the key that signs the evidence; empty: it is not signed.
        redacted: names, addresses and accounts were taken out.
        dropped: how many files were left out for that: pictures, and what else cannot be looked into.
        noise: by pool, what ``--self`` found there, in words.
        pools: pools of the lab that the release is not for, or that no line of the list names.
    """

    summary: str = ""
    baseline: str = ""
    candidate: str = ""
    signed: str = ""
    redacted: bool = False
    dropped: int = 0
    noise: Mapping[str, str] = field(default_factory=dict)
    pools: tuple[str, ...] = ()


def facts(ledger: Ledger, judged: Judgement, about: About) -> dict[str, Any]:
    """Everything a statement says, as plain data: what the templates show, and ``verdict.json``."""
    terms, decision = ledger.terms, judged.decision
    run = _run_facts(judged)
    began = [each.began for each in ledger.rounds if each.began]
    return {
        "word": decision.word.value,
        "rehearsal": decision.rehearsal,
        "release": terms.release,
        "summary": about.summary,
        "digest": terms.digest,
        "sides": {"baseline": about.baseline, "candidate": about.candidate},
        "lab": terms.lab,
        "image": run,
        "harness": run.get("harness") or __version__,
        "seed": terms.seed,
        "rounds": [
            {"number": one.number, "pair": one.pair, "side": one.side.value, "kind": one.kind, "seconds": one.seconds}
            for one in ledger.rounds
        ],
        "budget": terms.budget,
        "began": min(began, default=""),
        "ended": max(began, default=""),
        "hosts": _hosts(judged),
        "reasons": [
            {"word": one.word.value, "what": one.what, "pool": one.pool, "hosts": list(one.hosts), "words": one.words}
            | {"said": one.said}
            for one in decision.reasons
        ],
        "notes": list(decision.notes),
        "measurements": [_measurement(finding) for finding in judged.findings],
        "differs": _differing(judged),
        "counts": _counts(decision),
        "uncovered": _uncovered(judged, about),
        "noise": dict(about.noise),
        "signed": about.signed,
        "redacted": about.redacted,
        "dropped": about.dropped,
    }


def markdown(told: Mapping[str, Any]) -> str:
    """The statement for a review, a mail, a ticket."""
    return re.sub(r"\n{3,}", "\n\n", _render(f"{NAME}.md.j2", told, escape=False)).strip() + "\n"


def page(told: Mapping[str, Any]) -> str:
    """The statement as a page of its own, which asks nobody for anything.

    Raises:
        LabError: something in it would.
    """
    shown = _render(f"{NAME}.html.j2", told, escape=True)
    if asks := outside_requests(shown):
        raise LabError(f"the statement would make requests, so it was not written: {asks[0]}", operation="validate")
    return shown


def _render(template: str, told: Mapping[str, Any], *, escape: bool) -> str:
    # Markdown is no HTML: its filter `md` escapes what Markdown would take for markup.
    environment = Environment(
        loader=FileSystemLoader(settings()),
        autoescape=escape,  # noqa: S701
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"md": _markdown_safe, "share": _share, "plain": lambda text: attachments.text(str(text))}
    return environment.get_template(template).render(told, policy=POLICY)


def _markdown_safe(text: object) -> str:
    """Text of anybody's on one line, so that Markdown shows it as it is."""
    line = " ".join(attachments.text(str(text)).split())
    return _MARKED.sub(r"\\\1", html.escape(line, quote=False).replace("&lt;", "<").replace("&gt;", ">"))


def _share(part: float | None) -> str:
    return "not known" if part is None else f"{part:+.1%}"


def _run_facts(judged: Judgement) -> dict[str, str]:
    facts: dict[str, str] = {}
    for _, told in judged.seen:
        facts |= {key: told.facts[key] for key in ("image", "digest", "build", "harness") if told.facts.get(key)}
    return facts


def _hosts(judged: Judgement) -> list[dict[str, Any]]:
    rows = []
    for name, sides in hosts_of(judged.seen).items():
        one = sides.get(SideName.CANDIDATE) or sides[SideName.BASELINE]
        had = {side: versions(told) for side, told in sides.items()}
        names = dict.fromkeys(key for each in had.values() for key in each)
        rows.append(
            {
                "name": name,
                **{key: str(one.get(key, "")) for key in ("pool", "backend", "product", "version", "accel")},
                "twin": bool(one.get("twin")),
                "versions": [
                    {"name": key, **{side.value: had.get(side, {}).get(key, "") for side in SideName}} for key in names
                ],
            }
        )
    return rows


def _measurement(finding: Any) -> dict[str, Any]:
    low, high = finding.interval
    return {
        "check": finding.series.check,
        "name": finding.series.name,
        "pool": finding.series.pool,
        "unit": finding.series.unit,
        "verdict": finding.verdict.value,
        "change": finding.change if math.isfinite(finding.change) else None,
        "interval": [low if math.isfinite(low) else None, high if math.isfinite(high) else None],
        "pairs": finding.pairs,
        "practical": finding.series.practical,
        "words": finding.words,
        "baseline": list(finding.series.baseline),
        "candidate": list(finding.series.candidate),
    }


def _differing(judged: Judgement) -> list[dict[str, str]]:
    return [
        {"what": row.cell.shown, "pool": row.cell.pool, "baseline": row.baseline, "candidate": row.candidate}
        for row in judged.decision.rows
        if row.differs
    ]


def _counts(decision: Decision) -> list[dict[str, Any]]:
    """By pool: how many tests there were, were required, and passed on each side."""
    pools: dict[str, dict[str, Any]] = {}
    for row in decision.rows:
        one = pools.setdefault(
            row.cell.pool, {"pool": row.cell.pool, "tests": 0, "required": 0, "baseline": 0, "candidate": 0}
        )
        one["tests"] += 1
        one["required"] += row.required
        one["baseline"] += row.baseline is Came.PASSED
        one["candidate"] += row.candidate is Came.PASSED
    return [pools[pool] for pool in sorted(pools)]


def _uncovered(judged: Judgement, about: About) -> list[str]:
    lines = [
        f"{reason.what} on {reason.pool}: {reason.words}" + (f": {reason.said}" if reason.said else "")
        for reason in judged.decision.reasons
        if reason.word in (Word.INCONCLUSIVE, Word.LAB)
    ]
    required = {row.cell.key for row in judged.decision.rows if row.required}  # told above, as a reason
    skipped: dict[str, str] = {
        f"{ran.cell.shown} on {ran.cell.pool}": ran.reason
        for ran in judged.runs
        if ran.status is Verdict.SKIPPED and ran.cell.key not in required
    }
    lines += [f"{what}: skipped: {reason}" for what, reason in sorted(skipped.items())]
    lines += [
        f"{which.check} {which.name} on {which.pool}: {count} rounds have no counterpart on the same host"
        for which, count in sorted(judged.paired.lost.items())
    ]
    lines += [
        f"{which.check} {which.name} on {which.pool}: measured {words}"
        for which, words in sorted(judged.paired.loud.items())
    ]
    lines += [f"the pool {pool}: not part of this release's list" for pool in about.pools]
    return lines
