"""Whether checks tell spoilt guests from sound ones: an inner run with the planter, and a journal of what was shown."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest

from harness.image import Image
from tests.end_to_end.defects import Defect
from tests.end_to_end.night import PLANTED, PRODUCT, Night
from tests.end_to_end.planting import PARAMETER, SOUND, SPOILT

SUITES = Path(__file__).resolve().parents[2] / "suites"
CALIBRATED = Path(__file__).with_name("calibrated.yaml")
SEED = os.environ.get("INTEROP_SEED", "4")
"""Which of the defects are drawn; whoever sets another number in the environment draws others."""
EVERY = os.environ.get("INTEROP_DEFECTS") == "all"
_BATCH = 8
T = TypeVar("T")
_UNSTEADY = {"C07", "T03", "T07"}
"""Checks that skip themselves where a loaded machine lets them tell nothing: their reason says so."""


def batches(defects: Sequence[Defect], drawn: int) -> list[tuple[Defect, ...]]:
    """By night all of them, in batches that a journal keeps; else one of a few, drawn by the seed.

    One batch is one run, and so of guests with one firmware.
    """
    if not EVERY:
        few = draw(defects, drawn, lambda defect: f"{defect.check} {defect.test} {defect.words}")
        return list(_by_firmware(few).values())
    return [
        alike[begin : begin + _BATCH]
        for alike in _by_firmware(defects).values()
        for begin in range(0, len(alike), _BATCH)
    ]


def _by_firmware(defects: Sequence[Defect]) -> dict[str, tuple[Defect, ...]]:
    kinds = dict.fromkeys(defect.firmware for defect in defects)
    return {kind: tuple(defect for defect in defects if defect.firmware == kind) for kind in kinds}


def draw(things: Sequence[T], most: int, known_as: Callable[[T], str]) -> list[T]:
    """A few, by the seed and what each is called: one more to draw from changes at most one of them."""

    def lot(thing: T) -> bytes:
        return hashlib.sha256(f"{SEED} {known_as(thing)}".encode()).digest()

    return sorted(things, key=lot)[:most]


def in_words(batch: Sequence[Defect]) -> str:
    """A batch, in the name of its test."""
    return (
        f"{len(batch)} of {batch[0].host} with seed {SEED}" if not EVERY else f"{batch[0].host} from {batch[0].check}"
    )


def name_of(defect: Defect) -> str:
    """How results of the check that must catch it begin."""
    return f"{defect.check} {defect.test.removeprefix('test_').replace('_', ' ')}"


def statuses(result: Any, defect: Defect, planted: str) -> set[str]:
    """What a defect's check came to in a run with the planter: on guests that are ``spoilt``, or ``sound``."""
    of_these = {"name": PARAMETER, "value": planted}
    return {
        one["status"]
        for one in result.results
        if one["name"].split(" (")[0] == name_of(defect)
        and any(of_these.items() <= parameter.items() for parameter in one["parameters"])
    }


def tell_apart(run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, image: Image, batch: Sequence[Defect]) -> None:
    """Assert that each check fails on a guest with its defect, and passes on one without any."""
    monkeypatch.setenv("PYTHONPATH", str(SUITES.parent))
    night = Night.of(*PRODUCT, *PLANTED, about=image.digest)
    known = {defect: f"planted {defect.host} {name_of(defect)}: {defect.words}" for defect in batch}
    todo = tuple(defect for defect in batch if not (EVERY and night.all_of(known[defect])))
    if not todo:
        pytest.skip(f"shown before, by the same code and image: {night.file}")
    words = " or ".join(sorted({f"({defect.test})" for defect in todo}))
    where = [str(SUITES), "--rootdir", str(SUITES.parent), "--calibration", str(CALIBRATED)]
    where += ["--firmware", todo[0].firmware]
    done = run(*where, "-k", words, "-p", "tests.end_to_end.planting", host=todo[0].host, timeout=7200)
    spoilt = {defect: statuses(done, defect, SPOILT) for defect in todo}
    sound = {defect: statuses(done, defect, SOUND) for defect in todo}
    for defect in todo:
        if EVERY and spoilt[defect] == {"failed"} and sound[defect] == {"passed"}:
            night.note(known[defect])
    unseen = {name_of(defect): found for defect, found in spoilt.items() if not _as_wanted(defect, found, "failed")}
    assert not unseen, f"not caught: {unseen}\n{done.output}"
    wrong = {name_of(defect): found for defect, found in sound.items() if not _as_wanted(defect, found, "passed")}
    assert not wrong, f"not passed on sound guests: {wrong}\n{done.output}"


def _as_wanted(defect: Defect, found: set[str], wanted: str) -> bool:
    # By day tests run beside each other. By night a defect that nothing was said about was not caught.
    excused = defect.check in _UNSTEADY and not (EVERY and wanted == "failed")
    # What a host cannot show, as threads of an emulated core, is skipped either way.
    return found - {"skipped"} == {wanted} or (excused and found == {"skipped"})
