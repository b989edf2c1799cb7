"""With the real PowerShell engine and without, a twin gives the same answers: what is right, and what is refused."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from typing import Any

import pytest

from tests.twins.hyperv_agent import Talk, talking
from tests.twins.hyperv_tour import GB, SUBJECTS, Request

_GUID = re.compile(r"(?i)\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z")
_OF_THE_TABLE = ("Microsoft.HyperV", "CimCmdlets")
"""Whose words are the twin's own; all other words are the engine's, in its own language."""
_ITEMS = re.compile(r"(Get|New|Move|Rename|Remove|Set)-(Item|ItemProperty|ChildItem|FileHash)")
"""Cmdlets of PowerShell that small engines have stand-ins of, which refuse the same with other ids."""


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """A conversation with each."""
    if shutil.which("pwsh") is None:
        pytest.skip("pwsh is not on PATH")
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(talking(tmp_path_factory.mktemp(mode), mode, merge_seconds=0, memory=4 * GB))
            for mode in ("pwsh", "emulated")
        ]


def told(talk: Talk, request: Request) -> Any:
    """What is answered, without what differs by nature: ids, times, folders, and the words of an engine."""
    said = talk.answer(talk.send(*request))
    if not said["ok"]:
        if not any(each in said["id"] for each in _OF_THE_TABLE):
            del said["message"]
        if _ITEMS.fullmatch(request[said["step"]]["call"]):
            del said["id"], said["category"], said["hresult"]
    text = json.dumps(said, sort_keys=True).replace(str(talk.twin.store.parent), "FOLDER")
    ids: dict[str, str] = {}
    text = _GUID.sub(lambda found: ids.setdefault(found[0].lower(), f"ID{len(ids)}"), text)
    return json.loads(_TIME.sub("TIME", text))


@pytest.mark.parametrize("subject", SUBJECTS)
def test_both_ways_answer_alike(both, subject):
    """Whatever is asked, except what differs from machine to machine."""
    tours = []
    for talk in both:
        folder = talk.twin.store / subject.__name__
        folder.mkdir()
        tours.append((talk, list(subject(folder))))
    (real, requests), (emulated, others) = tours
    different = []
    for request, other in zip(requests, others, strict=True):
        wanted, seen = told(real, request), told(emulated, other)
        if wanted != seen:
            different.append(f"{json.dumps(request)}\n  engine:   {wanted}\n  emulated: {seen}")
    assert not different, "\n".join(different)
