"""The end of a validation: judged once more over everything, the statement written, the evidence packed and signed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.lab.models import Lab
from harness.lab.releases import Release, Side
from harness.report.results import write_whole
from harness.validation import bundle, evidence, figures, judging, noise, signing, statement
from harness.validation.judging import Judgement
from harness.validation.ledger import Ledger
from harness.validation.statement import About
from harness.validation.wanted import Wanted

BUNDLE = "evidence.tar.zst"


@dataclass(frozen=True, slots=True)
class Concluded:
    """What a validation leaves.

    Args:
        judged: the verdict and everything behind it.
        markdown: the statement.
        page: the same as HTML.
        bundle: the evidence.
        signed: the fingerprint of the key that signed it; empty: nobody did.
    """

    judged: Judgement
    markdown: Path
    page: Path
    bundle: Path
    signed: str


def conclude(
    ledger: Ledger, wanted: Wanted, lab: Lab, release: Release, key: Path | None, *, redact: bool
) -> Concluded:
    """Judge, state, pack, sign.

    Args:
        ledger: the validation's folder; the files go there.
        wanted: what the release file demands.
        lab: where it ran.
        release: what was validated.
        key: signs the evidence; None: nobody does, and the statement says so.
        redact: take names, addresses and accounts out of statement and evidence.

    Raises:
        UsageError: the candidate is no other than the baseline; there is no such key.
        LabError: something cannot be read, written or signed.
    """
    judged = judging.judge(ledger, wanted, figures.read)
    about = About(
        summary=release.said.summary,
        baseline=in_words(release.baseline),
        candidate=in_words(release.candidate),
        signed=signing.fingerprint(key) if key else "",
        redacted=redact,
        noise={one.pool: str(one) for one in noise.recall(lab.name)},
        pools=tuple(pool for pool in lab.pools() if not any(pool in line.pools for line in wanted.required)),
    )
    files = evidence.gather(ledger, evidence.secrets_of(lab))
    told: dict[str, Any]
    packed: Mapping[str, Path | bytes]
    if redact:
        known = evidence.pseudonyms(lab, judged, files)
        gathered = evidence.redact(files, known)
        about = replace(about, dropped=len(gathered.dropped))
        told, packed = evidence.hidden(statement.facts(ledger, judged, about), known), gathered.files
    else:
        told, packed = statement.facts(ledger, judged, about), files
    shown = {
        f"{statement.NAME}.md": statement.markdown(told).encode(),
        f"{statement.NAME}.html": statement.page(told).encode(),
        "verdict.json": evidence.as_json(told),
    }
    for name, content in shown.items():
        write_whole(ledger.path / name, content)
    target = ledger.path / BUNDLE
    bundle.write(target, {**packed, **shown}, key)
    return Concluded(
        judged, ledger.path / f"{statement.NAME}.md", ledger.path / f"{statement.NAME}.html", target, about.signed
    )


def in_words(side: Side) -> str:
    """A side of a release, with what pins it."""
    words = [f"{one.name} {one.version} ({one.suite or side.suite}){_pinned(one.sha256)}" for one in side.packages]
    words += [f"{one.path.name}{_pinned(one.sha256)}" for one in side.files]
    words += [f"{one.path.name}{_pinned(one.sha256)}" for one in ([side.tarball] if side.tarball else [])]
    words += [f"the image {one.name}{_pinned(one.sha256)}" for one in ([side.image] if side.image else [])]
    words += [f"kernel {side.kernel}"] if side.kernel else []
    return ", ".join(words)


def _pinned(sha256: str | None) -> str:
    return f", sha256 {sha256}" if sha256 else ""
