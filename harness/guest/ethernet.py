"""What a guest's NIC can do by itself, and how it is set up: features, rings and channels, by ethtool(8)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from harness.guest.probe import Probe
from harness.guest.result import Result

if TYPE_CHECKING:
    from harness.guest.guest import Guest

T = TypeVar("T")

# ethtool(8) shows groups of offloads by long names, and old releases take short ones alone.
_SHORT = {
    "rx-checksumming": "rx",
    "tx-checksumming": "tx",
    "scatter-gather": "sg",
    "tcp-segmentation-offload": "tso",
    "generic-segmentation-offload": "gso",
    "generic-receive-offload": "gro",
    "large-receive-offload": "lro",
}


@dataclass(frozen=True, slots=True)
class Feature:
    """An offload: whether it is on, and whether the driver lets nobody change that (``[fixed]``)."""

    on: bool
    fixed: bool


@dataclass(frozen=True, slots=True)
class Tuned:
    """Numbers of one kind, such as ``RX`` and ``TX`` of rings; what the driver has not got is left out.

    Args:
        most: the largest that the driver allows, by name.
        now: as they are set, by name.
    """

    most: Mapping[str, int]
    now: Mapping[str, int]


def parse_features(data: bytes) -> dict[str, Feature]:
    """``ethtool -k``: one feature a line; those of a group are set further in."""
    features = {}
    for line in data.decode("ascii").splitlines()[1:]:
        found = re.fullmatch(r"\s*([\w-]+): (on|off)( \[fixed\])?(?: \[requested (?:on|off)\])?", line)
        if not found:
            raise ValueError(f"{line!r} is no feature")
        features[found[1]] = Feature(found[2] == "on", bool(found[3]))
    if not features:
        raise ValueError("no features")
    return features


def parse_tuned(data: bytes) -> Tuned:
    """``ethtool -g`` and ``ethtool -l``: maximums first, then what is set; words that are no numbers are left out.

    Old releases print 0 where new ones say ``n/a``: a kind whose largest number is 0 is not there.
    """
    parts: dict[str, dict[str, int]] = {}
    part: dict[str, int] | None = None
    for line in data.decode("ascii").splitlines()[1:]:
        name, colon, value = line.partition(":")
        if colon and not value.strip():
            part = parts.setdefault(name.strip(), {})
        elif part is not None and value.strip().isdigit():
            part[name.strip()] = int(value)
    most = {name: number for name, number in parts["Pre-set maximums"].items() if number}
    now = parts["Current hardware settings"]
    if not most or not set(most) <= set(now):
        raise ValueError("maximums and settings do not go together")
    return Tuned(most, {name: now[name] for name in most})


class Ethernet:
    """One NIC of a guest as ethtool sees it. Every call reads afresh.

    Args:
        guest: whose it is.
        mac: which one.
    """

    def __init__(self, guest: Guest, mac: str) -> None:
        self._guest = guest
        self._mac = mac

    def features(self) -> dict[str, Feature]:
        """Its offloads by their long names: ``ethtool --show-features``."""
        return self._guest.read(self._probe("features", "--show-features", parse_features))

    def rings(self) -> Tuned:
        """How many packets may wait in its rings: ``ethtool --show-ring``."""
        return self._guest.read(self._probe("rings", "--show-ring", parse_tuned))

    def channels(self) -> Tuned:
        """How many queues it has: ``ethtool --show-channels``."""
        return self._guest.read(self._probe("channels", "--show-channels", parse_tuned))

    def set_feature(self, name: str, on: bool) -> None:
        """Switch an offload by the name that :meth:`features` has for it: ``ethtool --features``.

        Raises:
            CommandFailed: the driver refuses.
        """
        self._set("--features", _SHORT.get(name, name), "on" if on else "off").checked(self._guest.name)

    def set_rings(self, **sizes: int) -> Result:
        """Ask for other sizes (``rx=64``): ``ethtool --set-ring``; a status other than 0 is the driver's refusal."""
        return self._set("--set-ring", *_words(sizes))

    def set_channels(self, **counts: int) -> Result:
        """Ask for so many queues (``combined=2``): ``ethtool --set-channels``; refused as rings are."""
        return self._set("--set-channels", *_words(counts))

    def _probe(self, what: str, option: str, parse: Callable[[bytes], T]) -> Probe[T]:
        name = self._guest.nics.by_mac(self._mac).name
        return Probe(f"{what} of {name}", ("ethtool", option, name), parse)

    def _set(self, option: str, *words: str) -> Result:
        name = self._guest.nics.by_mac(self._mac).name
        return self._guest.run(["ethtool", option, name, *words], check=False)


def _words(settings: Mapping[str, int]) -> list[str]:
    return [word for name, number in settings.items() for word in (name, str(number))]
