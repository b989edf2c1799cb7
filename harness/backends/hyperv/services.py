"""Integration services: heartbeat, key-value pairs, files into the guest. Known by GUID: names are translated."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from harness.backends.hyperv import pairs, upload
from harness.backends.hyperv.access import NO_FILE, QUIET
from harness.backends.hyperv.base import BEFORE, RUNNING, VM, MachineBase, answered
from harness.backends.hyperv.errors import Failed, failed_step
from harness.backends.hyperv.power import NAMESPACE
from harness.backends.hyperv.steps import Ref, Step, Value
from harness.backends.protocol import GuestIgnored
from harness.backends.views import ServiceView
from harness.core import Deadline, InteropError

# facts of the product: the last GUID of a service's Id
NAMES = {
    "84eaae65-2f2e-45f5-9bb5-0e857dc8eb47": "heartbeat",
    "2a34b1c2-fd73-4043-8a5b-dd2159bc743f": "kvp",
    "9f8233ac-be49-4c79-8ee3-e7e1985b2077": "shutdown",
    "2497f4de-e9fa-4204-80e4-4b75c46419c0": "timesync",
    "5ced1297-4598-4915-a5fc-ad21bb4d02a4": "vss",
    "6c09bb55-d683-4da0-8931-c9bf705f6480": "file copy",
}
_SERVICE = ("Id", "Enabled", "PrimaryOperationalStatus", "PrimaryStatusDescription?")
_KVP = ("GuestIntrinsicExchangeItems", "GuestExchangeItems")
_KEY = re.compile(r"[^\x00-\x1f<>&\"]{1,255}")  # 512 bytes of UTF-16, with a NUL (include/uapi/linux/hyperv.h)


class Services(MachineBase):
    """The verbs of :class:`Services`, :class:`ServiceSwitch`, :class:`Exchange` and :class:`FileCopy`.

    On a twin, all of it is a model.
    """

    def services(self, deadline: Deadline) -> tuple[ServiceView, ...]:
        """The host's own words, and whether the heart beats."""
        steps = [Step("Get-VMIntegrationService", {"VM": VM}, get=_SERVICE)]
        asked = [self._vm("Heartbeat"), *steps]
        answer = self._host.run("services", asked, answered(deadline), repeatable=True)
        beats = str(answer[0][0]["Heartbeat"]).startswith("Ok")
        model = "; the twin's model" if self._host.twin else ""
        found = []
        for row in answer[1]:
            name = next((name for guid, name in NAMES.items() if str(row["Id"]).lower().endswith(guid)), str(row["Id"]))
            status = str(row["PrimaryOperationalStatus"])
            healthy = beats if name == "heartbeat" else status == "Ok"
            detail = str(answer[0][0]["Heartbeat"]) if name == "heartbeat" else status
            found.append(ServiceView(name, bool(row["Enabled"]), healthy, detail=detail + model))
        return tuple(found)

    def toggle(self, service: str, on: bool, deadline: Deadline) -> None:
        """Switch an integration service on or off.

        Args:
            service: as :data:`NAMES` calls it.
            on: which.
            deadline: when to give up.
        """
        with self._lock:
            verb = "Enable" if on else "Disable"
            act = Step(f"{verb}-VMIntegrationService", {"VMIntegrationService": Ref("service")}, when="service")
            _, answer = self._act(
                "service", deadline, tuple(type(RUNNING)), self._service(service, "Enabled"), act, repeatable=True
            )
            if not answer[0]:
                raise self._refused(f"the machine has no service {service!r}", "service")

    def exchange(self, question: str, deadline: Deadline) -> str:
        """A key of the guest's: what its KVP daemon tells by itself (``OSName``), or was given to tell.

        ``key=value`` sets a key for the guest to read in pool 0 (``/var/lib/hyperv/.kvp_pool_0``), whether it is there
        or not. ``{"AddKvpItems": {"key": "value"}}``, and likewise ``ModifyKvpItems`` and ``RemoveKvpItems``, change
        many at once, and are refused as the host refuses them.
        """
        asked_for = pairs.change(question)
        key, given, value = question.partition("=")
        if asked_for is None and not _KEY.fullmatch(key):
            raise self._refused(f"{key!r} is no key of key-value pairs", "exchange", hint="ask for example OSName")
        with self._lock:
            if asked_for is not None:
                self._change(deadline, asked_for)
                return ""
            if given:
                # Adding fails where the key is there, changing where it is not: it is taken away first.
                new = {key: value}
                self._change(deadline, pairs.Change(pairs.REMOVE, new), pairs.Change(pairs.ADD, new))
                return value
            asked: dict[str, Value] = {
                "Namespace": NAMESPACE,
                "ClassName": "Msvm_KvpExchangeComponent",
                "Filter": f"SystemName='{self._id.upper()}'",
            }
            _, answer = self._act("exchange", deadline, (RUNNING,), Step("Get-CimInstance", asked, get=_KVP))
            if not answer[0]:
                raise GuestIgnored("the host shows no key-value service", host=self._host.name, operation="exchange")
            items = [text for part in _KVP for text in answer[0][0][part] or ()]
            told = dict(pairs.pair(str(text)) for text in items)
            if not told:
                raise GuestIgnored("the guest's KVP daemon tells nothing", host=self._host.name, operation="exchange")
            if key not in told:
                raise self._refused(f"the guest has told nothing as {key}", "exchange")
            return told[key]

    def copy_file(self, source: Path, target: str, deadline: Deadline, *, overwrite: bool = False) -> None:
        """To the host first, in pieces; the guest service interface is off until it is needed."""
        with self._lock:
            staged = self._file("copied")
            last = upload.but_last(self._host, source, staged, deadline)
            enable = Step("Enable-VMIntegrationService", {"VMIntegrationService": Ref("service")}, when="service")
            asked: dict[str, Value] = {
                "VM": VM,
                "SourcePath": staged,
                "DestinationPath": target,
                "FileSource": "Host",
                "CreateFullPath": True,
                "Force": overwrite,
                **QUIET,
            }
            remove = Step("Remove-Item", {"LiteralPath": staged, "Force": True}, allow=NO_FILE)
            copy = Step("Copy-VMFile", asked)
            steps = (self._service("file copy"), last, enable, copy, remove)
            try:
                self._act("copy_file", deadline, (RUNNING,), *steps)
            except InteropError as error:
                with contextlib.suppress(InteropError):  # it goes with the machine at last
                    self._host.run("copy_file", [remove], deadline, repeatable=True)
                if not isinstance(error, Failed) or failed_step(error) != BEFORE + steps.index(copy):
                    raise
                raise GuestIgnored(
                    f"the guest's file copy daemon took no file: {error.message}",
                    host=self._host.name,
                    operation="copy_file",
                ) from error

    def _change(self, deadline: Deadline, *changes: pairs.Change) -> None:
        """Several may be asked twice, because they begin by taking away; a lone one must not be."""
        steps = pairs.steps(self._id.upper(), changes)
        _, answer = self._act("exchange", deadline, (RUNNING,), *steps, repeatable=len(changes) > 1)
        code = pairs.code(answer)
        if code is None:
            raise GuestIgnored("the host does not end what it began", host=self._host.name, operation="exchange")
        if code:
            last = changes[-1]
            shown = ", ".join(repr(key[:40]) for key in [*last.pairs][:3])
            words = f"the host did not do {last.method} of {len(last.pairs)} pairs ({shown}...): {code}"
            raise self._refused(words, "exchange")

    def _service(self, name: str, *get: str) -> Step:
        guid = next((guid for guid, known in NAMES.items() if known == name), None)
        if guid is None:
            raise self._refused(f"there is no integration service {name!r}", "service", f"one of {[*NAMES.values()]}")
        return Step("Get-VMIntegrationService", {"VM": VM}, name="service", get=get, where=(("Id", f"{guid}$"),))
