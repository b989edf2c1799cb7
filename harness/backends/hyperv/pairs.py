"""Key-value pairs as CIM's XML has them, and the requests that change what a host tells its guest by them."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.backends.hyperv.power import NAMESPACE
from harness.backends.hyperv.steps import Ref, Row, Step, Value

ADD, MODIFY, REMOVE = "AddKvpItems", "ModifyKvpItems", "RemoveKvpItems"
"""Methods of ``Msvm_VirtualSystemManagementService``: to add a key that is there is refused, as are the others for one
that is not. At most 128 pairs go in one call."""
_PROPERTY = re.compile(r'<PROPERTY NAME="(Name|Data)"[^>]*>\s*<VALUE>(.*?)</VALUE>', re.DOTALL)
_LONGEST = 16 << 10
"""Characters: 512 bytes of UTF-16 and 2048 (include/uapi/linux/hyperv.h), each letter perhaps spelt as ``&quot;``."""
_COMPLETED, _JOB = 0, 4096
_FINE = (7, 32768)  # JobState of CIM_ConcreteJob: completed, and completed with warnings
_OVER = (7, 8, 9, 10, 32768)  # and terminated, killed, ended by an exception
_JOB_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Change:
    """One call of a method.

    Args:
        method: :data:`ADD`, :data:`MODIFY` or :data:`REMOVE`.
        pairs: values by key; what is removed needs none.
    """

    method: str
    pairs: Mapping[str, str]


def change(question: str) -> Change | None:
    """What ``{"AddKvpItems": {"key": "value"}}`` asks for; None for anything else."""
    try:
        asked = json.loads(question)
    except ValueError:
        return None
    if not isinstance(asked, dict) or len(asked) != 1:
        return None
    ((method, pairs),) = asked.items()
    known = method in (ADD, MODIFY, REMOVE) and isinstance(pairs, dict)
    if not known or not all(isinstance(value, str) for value in pairs.values()):
        return None
    return Change(method, pairs)


def steps(machine: str, changes: Sequence[Change]) -> list[Step]:
    """Make changes in turn, each when the one before is over: hosts may answer with a job that goes on.

    Args:
        machine: its GUID, in upper case.
        changes: what is done; what the host said of the last one is for :func:`code`.
    """
    system: dict[str, Value] = {
        "Namespace": NAMESPACE,
        "ClassName": "Msvm_ComputerSystem",
        "Filter": f"Name='{machine}'",
    }
    manager: dict[str, Value] = {"Namespace": NAMESPACE, "ClassName": "Msvm_VirtualSystemManagementService"}
    made = [
        Step("Get-CimInstance", system, name="system"),
        Step("Get-CimInstance", manager, name="manager"),
    ]
    over = "|".join(str(state) for state in _OVER)
    for number, each in enumerate(changes):
        arguments: dict[str, Value] = {
            "TargetSystem": Ref("system"),
            "DataItems": [item(key, value) for key, value in each.pairs.items()],
        }
        args: dict[str, Value] = {"InputObject": Ref("manager"), "MethodName": each.method, "Arguments": arguments}
        said, job = f"said{number}", f"job{number}"
        made += [
            Step("Invoke-CimMethod", args, name=said, get=("ReturnValue",)),
            Step("Write-Output", {"InputObject": Ref(said)}, name=job, where=(("ReturnValue", f"^{_JOB}$"),)),
            Step(
                "Get-CimInstance",
                {"InputObject": Ref(job, "Job")},
                get=("JobState", "ErrorCode"),
                where=(("JobState", f"^({over})$"),),
                within=_JOB_SECONDS,
                when=job,
            ),
        ]
    return made


def code(answers: Sequence[Sequence[Row]]) -> int | None:
    """What the last of some changes came to: 0, the host's code, or None while its job still runs."""
    said, _, job = answers[-3:]
    if not said:
        return None
    told = int(said[0]["ReturnValue"])
    if told != _JOB:
        return told
    if not job:
        return None
    state = int(job[0]["JobState"])
    return _COMPLETED if state in _FINE else int(job[0]["ErrorCode"] or 0) or state


def pair(text: str) -> tuple[str, str]:
    """Name and data of one ``Msvm_KvpExchangeDataItem`` in CIM's XML."""
    found = {name: html.unescape(value) for name, value in _PROPERTY.findall(text[:_LONGEST])}
    return found.get("Name", ""), found.get("Data", "")


def item(key: str, value: str) -> str:
    """The same in the other direction. Source 0 is the host (pool 0 in the guest)."""
    fields = [("Name", "string", key), ("Data", "string", value), ("Source", "uint16", "0")]
    inner = "".join(
        f'<PROPERTY NAME="{name}" TYPE="{kind}"><VALUE>{html.escape(text, quote=False)}</VALUE></PROPERTY>'
        for name, kind, text in fields
    )
    return f'<INSTANCE CLASSNAME="Msvm_KvpExchangeDataItem">{inner}</INSTANCE>'
