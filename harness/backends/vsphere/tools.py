"""What the guest's tools (open-vm-tools) tell the host: heartbeat, versions, and keys of ``guestinfo``."""

from __future__ import annotations

import re

from pyVmomi import vim

from harness.backends.model import PowerState
from harness.backends.protocol import GuestIgnored
from harness.backends.views import ServiceView
from harness.backends.vsphere import notes
from harness.backends.vsphere.base import STATE, MachineBase
from harness.backends.vsphere.collector import Values
from harness.core import Deadline

_RUNNING, _HEART = "guest.toolsRunningStatus", "guestHeartbeatStatus"
_FACTS = {
    "hostname": "guest.hostName",
    "ip": "guest.ipAddress",
    "os": "guest.guestFullName",
    "family": "guest.guestFamily",
    "state": "guest.guestState",
    "toolsversion": "guest.toolsVersion",
}
"""What tools say of themselves without being configured to, by the key that stands for it."""
_TIMESYNC = "config.tools.syncTimeWithHost"
_PATHS = (*STATE, _RUNNING, _HEART, _TIMESYNC, "guest.toolsVersionStatus2", "guest.toolsInstallType", *_FACTS.values())
_VERSION = 100  # characters
_KEY = re.compile(r"guestinfo\.[A-Za-z0-9_.-]{1,128}")


class Tools(MachineBase):
    """The verbs of :class:`Services`, :class:`ServiceSwitch` and :class:`Exchange`.

    On a twin all of it is a model: the guest's agent is asked over its second serial port, and answers only while the
    guest's own unit of the tools is enabled.
    """

    def services(self, deadline: Deadline) -> tuple[ServiceView, ...]:
        """The heartbeat as vSphere colours it, the tools with their version, whether they keep the guest's clock."""
        values = self._read("services", deadline, *_PATHS)
        state = self._known(values, "services")
        timesync = ServiceView("timesync", bool(values.get(_TIMESYNC)), None, detail="no host tells how it goes")
        if state is not PowerState.RUNNING:
            return ServiceView("heartbeat", True, False, detail=f"the machine is {state.value}"), timesync
        running = values.get(_RUNNING) == "guestToolsRunning"
        colour = str(values.get(_HEART, "gray"))
        model = "; the twin's model" if self._host.twin else ""
        heartbeat = ServiceView(
            "heartbeat", True, running and colour == "green", detail=f"{colour}, {values.get(_RUNNING)}{model}"
        )
        told = [str(values[path]) for path in ("guest.toolsVersionStatus2", "guest.toolsInstallType") if path in values]
        version = _version(values.get("guest.toolsVersion"))
        tools = ServiceView("open-vm-tools", True, running, version, ", ".join(told) + model)
        return heartbeat, tools, timesync

    def toggle(self, service: str, on: bool, deadline: Deadline) -> None:
        """Have the tools keep the guest's clock with the host's, or leave it alone (``syncTimeWithHost``).

        That alone can be switched: tools set a clock once after their machine was suspended or reverted, whatever this
        says.
        """
        if service != "timesync":
            raise self._refused(f"there is no switch for {service!r}", "service", hint="timesync has one")
        with self._lock:
            config = vim.vm.ToolsConfigInfo(syncTimeWithHost=on)
            self._reconfigure("service", deadline, tools=config)

    def exchange(self, question: str, deadline: Deadline) -> str:
        """The value of ``guestinfo.<key>``, of what the guest has set or tools tell by themselves.

        ``guestinfo.<key>=<value>`` sets a key for the guest to read (``vmtoolsd --cmd 'info-get guestinfo.<key>'``).
        """
        with self._lock:
            paths = (_RUNNING, *_FACTS.values(), notes.EXTRA)
            _, values = self._look("exchange", deadline, (PowerState.RUNNING,), *paths)
            key, given, value = question.partition("=")
            if not _KEY.fullmatch(key):
                raise self._refused(
                    f"{key!r} is no key of guestinfo", "exchange", hint="ask for example guestinfo.hostname"
                )
            if given:
                self._reconfigure("exchange", deadline, extraConfig=[notes.option(key, value)])
                return value
            if values.get(_RUNNING) != "guestToolsRunning":
                raise GuestIgnored("the guest's tools do not run", host=self._host.name, operation="exchange")
            found = _answer(key, values)
            if found is None:
                raise self._refused(f"the guest has told nothing as {key}", "exchange")
            return found


def _answer(key: str, values: Values) -> str | None:
    """A key that was set wins over what the tools tell by themselves."""
    noted = {name.lower(): value for name, value in notes.noted(values.get(notes.EXTRA)).items()}
    if key.lower() in noted:
        return noted[key.lower()]
    path = _FACTS.get(key.lower().removeprefix("guestinfo."))
    value = values.get(path) if path else None
    return None if value is None else str(value)


def _version(told: object) -> str | None:
    """As people write it: the host packs three numbers into one (12352 is 12.2.0); 0 is none."""
    text = str(told or "")[:_VERSION]
    if not re.fullmatch(r"[0-9]{1,10}", text):
        return text or None
    number = int(text)
    return f"{number >> 10}.{number >> 5 & 31}.{number & 31}" if number else None
