"""How busy a Windows host's processors are, and how much of that is by machines of ours.

The hypervisor's own performance counters, by CIM: what Windows itself says of its processors leaves its guests out. The
formatted classes are read, whose unit is documented (percent of one processor); Windows averages since it was last
asked, so the first answer of all may be 0.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

from harness.backends.hyperv import marks
from harness.backends.hyperv.access import HostAccess
from harness.backends.hyperv.steps import Row, Step
from harness.backends.views import ProcessorUse
from harness.core import Deadline, LabError

_LOGICAL = "Win32_PerfFormattedData_HvStats_HyperVHypervisorLogicalProcessor"
_VIRTUAL = "Win32_PerfFormattedData_HvStats_HyperVHypervisorVirtualProcessor"
_BUSY = "PercentTotalRunTime"
_TOTAL = "_Total"
_VP = ":Hv VP "  # "NAME:Hv VP 0"
_SPAN = 5.0
"""Seconds between two questions: each costs the host some work of its own."""


class Meter:
    """Reads counters; remembers which machines are ours, and asks again only where a name is new.

    Args:
        host: where.
    """

    def __init__(self, host: HostAccess) -> None:
        self._host = host
        self._lock = threading.Lock()
        self._known: dict[str, bool] = {}

    def read(self, deadline: Deadline) -> ProcessorUse:
        """One request; one more where a machine is new.

        Raises:
            LabError: the host has no such counters.
        """
        asked = [Step("Get-CimInstance", {"ClassName": name}, get=("Name", _BUSY)) for name in (_LOGICAL, _VIRTUAL)]
        processors, machines = self._host.agents.run("load", asked, deadline, repeatable=True)
        each = [_percent(row) for row in processors if row["Name"] != _TOTAL]
        if not each:
            raise LabError(
                "the host does not tell how busy its processors are",
                host=self._host.name,
                operation="load",
                hint="`lodctr /R` on the host rebuilds performance counters that are lost",
            )
        used: dict[str, float] = {}
        for row in machines:
            name, virtual, _ = str(row["Name"]).rpartition(_VP)
            if virtual:
                used[name] = used.get(name, 0.0) + _percent(row)
        with self._lock:
            if used.keys() - self._known.keys():
                self._known = self._marked(used, deadline)
            ours = sum(value for name, value in used.items() if self._known[name])
        return ProcessorUse(len(each), sum(each), ours, _SPAN)

    def _marked(self, used: Mapping[str, float], deadline: Deadline) -> dict[str, bool]:
        ask = Step("Get-VM", self._host.everywhere, get=("Name", "Notes"))
        rows = self._host.agents.run("load", [ask], deadline, repeatable=True)[0]
        ours = {str(row["Name"]) for row in rows if marks.read(str(row["Notes"] or ""), self._host.ours) is not None}
        return {name: name in ours for name in used}


def _percent(row: Row) -> float:
    return float(row[_BUSY] or 0) / 100
