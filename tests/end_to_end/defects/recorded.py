"""Defects in what guests wrote, of checks that no host here can run."""

from __future__ import annotations

from collections.abc import Mapping

from tests.end_to_end.defects.model import RecordedDefect

RECORDED = (
    RecordedDefect(
        "T04",
        "the guest's only PTP clock is its NIC's",
        {"names": ("52:54:00:12:34:56",)},
        r"expected a PTP clock called KVM virtual PTP; the guest has '52:54:00:12:34:56' \(/dev/ptp0\)",
        also=frozenset({"T05"}),
    ),
    RecordedDefect("T04", "the PTP clock's device cannot be read", {"refused": "No such device"}, "cannot be read"),
    RecordedDefect(
        "T04",
        "the PTP clock is 20 ms behind the host's clock",
        {"ptp": -0.02},
        r"minus the host's clock is -20\.000 ms ± 0\.\d+ ms, not at most 0\.01 s",
    ),
    RecordedDefect(
        "T04",
        "the PTP clock is an hour ahead of the host's clock, and the guest's with it",
        {"ptp": 3600.0, "own": 3600.0},
        r"minus the host's clock is \+3600000\.000 ms",
    ),
    RecordedDefect("T18", "the tools find no host to ask", {"tools": None}, "do not tell the host's time: status 1"),
    RecordedDefect("T18", "the tools tell what time it is in four seconds", {"tools": 4.0}, "not at most 2 s"),
    RecordedDefect("T18", "the tools tell what time it was four seconds ago", {"tools": -4.0}, "not at most 2 s"),
    RecordedDefect(
        "T05",
        "the PTP clock answers chrony only at times",
        {"sources": "#,*,PHC0,0,3,125,14,-0.000000213,-0.000000260,0.000001234\n"},
        r"last seen: #\* PHC0 reach 125",
    ),
    RecordedDefect(
        "T05",
        "chrony takes the PTP clock for wrong",
        {"sources": "#,x,PHC0,0,3,377,6,-36.998213000,-36.998213000,0.000001234\n"},
        r"last seen: #x PHC0 reach 377",
    ),
    RecordedDefect(
        "T05",
        "chrony follows a server of the network besides",
        {
            "sources": "#,*,PHC0,0,3,377,6,-0.000000213,-0.000000260,0.000001234\n"
            "^,-,203.0.113.5,2,6,377,12,0.000400000,0.000400000,0.020000000\n"
        },
        r"sources by network: \['\^- 203\.0\.113\.5",
    ),
    RecordedDefect(
        "T05",
        "chrony has chosen the PTP clock and does not set the guest's by it",
        {"tracking": f"00000000,,0,{'0.000,' * 7}1.000000000,1.000000000,0.0,Not synchronised\n"},
        "and says .*Not synchronised",
    ),
)
"""What the checks must find that run nowhere here: on what guests wrote, by ``tests/unit``."""
# Of C15, recorded: no host here tells its guests of steal. By what is wrong, what is counted otherwise for a busy CPU
# that another guest's has half the time of; ``tests/unit/test_recorded_steal.py`` has the rest.
STOLEN: Mapping[str, Mapping[str, int]] = {
    "a guest that is kept waiting counts all of that as its own time": {"user": 997, "steal": 0},
    "a guest that is kept waiting is told of the least part of it": {"user": 917, "steal": 80},
}

# Of C10, recorded: no emulated CPU ever goes. By what is wrong, what the kernel shows when two of four were taken away.
UNPLUGGED: Mapping[str, Mapping[str, bytes]] = {
    "a CPU that was taken away stays plugged in": {"present": b"0-2\n"},
    "CPUs that were taken away run on": {"present": b"0-3\n", "online": b"0-3\n"},
    "one CPU more than was taken away is out of service": {"online": b"0\n"},
}
