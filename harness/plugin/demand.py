"""What a test asks for, read from its markers: its check number, shape, capabilities and manners."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any

import pytest

from harness.backends.capabilities import Capability
from harness.backends.model import SECTORS, Firmware, Shape
from harness.core import Size, UsageError
from harness.core.config import nearest
from harness.core.fields import duration

MARKERS = {
    "check(number, part='')": "the check's number: C01, or a lab's own such as ACME-001; part tells tests apart that "
    "share one",
    "shape(**fields)": "the guest this test needs: vcpus, memory, firmware, max_vcpus, nics, data_disks ...",
    "needs(*capabilities)": "Capability members the host must have; where one is absent the test is skipped, saying so",
    "expects(*keys)": "expectations that the host's file must fill; where it says none the test is skipped, naming it",
    "quiet": "the test measures: it holds its host's capacity domain alone",
    "changes_guest": "the test leaves its guest changed: it gets a clean one, and so does the next test",
    "untouched_clock": "the test looks at the clock: it gets a guest whose clock the harness never set",
    "deadline(span)": "how long the test may take, set-up included: 30m, 4h (default: limits.test of the lab file)",
    "smoke": "part of the short selection that `make run` runs",
    "slow": "takes minutes; meant for the night",
}

# A letter and two digits are ours; a lab's own checks carry its name in front (CONTRIBUTING.md).
NUMBER = re.compile(r"[A-Z]\d{2}|[A-Z][A-Z0-9]+-\d{3,}")


@dataclass(frozen=True, slots=True)
class Demand:
    """Everything the plugin must know before it can run a test."""

    check: str | None
    part: str
    shape: Shape
    needs: tuple[Capability, ...]
    quiet: bool
    changes_guest: bool
    untouched_clock: bool
    expects: tuple[str, ...] = ()
    deadline: timedelta | None = None
    """How long it may take; None: as long as the lab lets any test."""


def of(item: pytest.Item, firmware: Firmware = Firmware.BIOS) -> Demand:
    """Read an item's markers.

    Args:
        item: the test.
        firmware: its guests' where it asks for none; what a host must be able to boot then counts as needed.

    Raises:
        UsageError: a marker's arguments are not understood; names the test.
    """
    marker = item.get_closest_marker("check")
    number = str(marker.args[0]) if marker and marker.args else None
    if marker and not (number and NUMBER.fullmatch(number)):
        raise UsageError(f"{item.nodeid}: check({number!r}) is not a check's number", hint="write C01 or ACME-001")
    asked: dict[str, Any] = {}
    for mark in reversed(list(item.iter_markers("shape"))):
        asked |= mark.kwargs
    given = "firmware" in asked
    asked.setdefault("firmware", firmware)
    needs = [need for mark in item.iter_markers("needs") for need in mark.args]
    for need in needs:
        if not isinstance(need, Capability):
            raise UsageError(f"{item.nodeid}: needs({need!r}) is not a Capability")
    needs += [Capability[firmware.name]] if not given and firmware is not Firmware.BIOS else []
    return Demand(
        check=number,
        part=str(marker.kwargs.get("part", "")) if marker else "",
        shape=shape(item.nodeid, **asked),
        needs=tuple(dict.fromkeys(needs)),
        quiet=item.get_closest_marker("quiet") is not None,
        changes_guest=item.get_closest_marker("changes_guest") is not None,
        untouched_clock=item.get_closest_marker("untouched_clock") is not None,
        expects=tuple(str(key) for mark in item.iter_markers("expects") for key in mark.args),
        deadline=_deadline(item),
    )


def _deadline(item: pytest.Item) -> timedelta | None:
    marker = item.get_closest_marker("deadline")
    if marker is None:
        return None
    try:
        return duration(str(marker.args[0]))
    except (ValueError, IndexError) as error:
        raise UsageError(f"{item.nodeid}: deadline: {error}", hint="write deadline('30m')") from error


def shape(where: str, /, **asked: Any) -> Shape:
    """A shape from a test writer's words: sizes may be text (``"2 GiB"``), firmware may be ``"uefi"``.

    Raises:
        UsageError: an unknown field, of which it suggests the nearest; or data disks that nobody makes.
    """
    known = [field.name for field in fields(Shape)]
    for name in asked:
        if name not in known:
            raise UsageError(f"{where}: a shape has no {name!r}{nearest(name, known)}")
    for name in ("memory", "max_memory"):
        if isinstance(asked.get(name), (str, int)):
            asked[name] = Size.parse(asked[name])
    if "firmware" in asked:
        asked["firmware"] = Firmware(asked["firmware"])
    if "data_disks" in asked:
        asked["data_disks"] = tuple(Size.parse(size) for size in asked["data_disks"])
    made = Shape(**asked)
    if made.data_sectors not in SECTORS:
        known_sizes = " or ".join(map(str, SECTORS))
        raise UsageError(f"{where}: no disk has sectors of {made.data_sectors!r} bytes", hint=f"ask for {known_sizes}")
    if any(size % made.data_sectors for size in made.data_disks):
        sizes = ", ".join(str(int(size)) for size in made.data_disks)
        raise UsageError(f"{where}: data disks of {sizes} bytes are no whole sectors of {made.data_sectors}")
    return made
