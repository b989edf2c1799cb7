"""What the guest agent says and does, by QEMU's guest agent protocol (``qga/qapi-schema.json``)."""

from __future__ import annotations

import base64
import json
import math
from pathlib import Path
from typing import Any

import libvirt
import libvirt_qemu

from harness.backends.kvm.base import MachineBase
from harness.backends.kvm.errors import UNANSWERED
from harness.backends.model import PowerState
from harness.backends.protocol import GuestIgnored, Refused, WrongState
from harness.backends.views import ServiceView
from harness.core import Deadline, LabError

CHANNEL = "org.qemu.guest_agent.0"
_SAID = 400  # characters of what it says why it refused
_VERSION = 100
_CHUNK = 48 << 10  # base64 of it, in one JSON line, passes virtio-serial in pieces of 4 KiB; long lines arrived damaged


class Agent(MachineBase):
    """The verbs of :class:`Exchange`, :class:`Services` and :class:`FileCopy`."""

    def exchange(self, question: str, deadline: Deadline) -> str:
        """A command by name (``guest-get-osinfo``) or as a JSON object; returns its ``return`` value as JSON."""
        if question.lstrip().startswith("{"):
            try:
                request = json.loads(question)
            except ValueError as error:
                raise self._refused(f"the question is no JSON: {error}", "exchange") from error
        else:
            request = {"execute": question}
        return json.dumps(self._agent(request, deadline))

    def services(self, deadline: Deadline) -> tuple[ServiceView, ...]:
        """The agent's heartbeat (an answered ping), and the agent itself with its version."""
        if self._state(deadline) is not PowerState.RUNNING:
            return (ServiceView("heartbeat", True, False, detail="the machine is not running"),)
        if not self._agent_connected(deadline):
            return (ServiceView("heartbeat", True, False, detail="no agent has opened the channel"),)
        try:
            self._agent({"execute": "guest-ping"}, deadline.sooner(10))
            info = self._agent({"execute": "guest-info"}, deadline.sooner(10))
        except (GuestIgnored, Refused) as error:
            return (ServiceView("heartbeat", True, False, detail=error.message),)
        try:
            version, commands = str(info["version"])[:_VERSION], len(info["supported_commands"])
        except (LookupError, TypeError) as error:
            return (ServiceView("heartbeat", True, False, detail=f"no agent answers so: {error!r}"),)
        agent = ServiceView("qemu-guest-agent", True, True, version, f"{commands} commands")
        return (ServiceView("heartbeat", True, True, version), agent)

    def copy_file(self, source: Path, target: str, deadline: Deadline, *, overwrite: bool = False) -> None:
        """By ``guest-file-open`` and its kin."""
        with self._lock:
            self._host.ledger.check()
            if not overwrite and self._has_file(target, deadline):
                raise self._refused(f"{target} exists in the guest", "copy_file")
            handle = self._command("guest-file-open", deadline, path=target, mode="wb")
            try:
                with source.open("rb") as file:
                    while chunk := file.read(_CHUNK):
                        data = base64.b64encode(chunk).decode("ascii")
                        self._command("guest-file-write", deadline, handle=handle, **{"buf-b64": data})
            except OSError as error:
                raise LabError(f"{source} cannot be read: {error}", operation="copy_file") from error
            finally:
                self._command("guest-file-close", deadline, handle=handle)

    def _has_file(self, path: str, deadline: Deadline) -> bool:
        try:
            handle = self._command("guest-file-open", deadline, path=path, mode="r")
        except Refused:
            return False
        self._command("guest-file-close", deadline, handle=handle)
        return True

    def _command(self, name: str, deadline: Deadline, **arguments: Any) -> Any:
        return self._agent({"execute": name, "arguments": arguments}, deadline)

    def _agent(self, request: dict[str, Any], deadline: Deadline) -> Any:
        """Raises :class:`GuestIgnored` when no agent answers, :class:`Refused` when it says no."""
        self._require("exchange", deadline, PowerState.RUNNING)
        seconds = max(1, math.ceil(deadline.seconds) - 1)
        verb = str(request.get("execute", "exchange"))

        def work(domain: Any) -> Any:
            try:
                answer = libvirt_qemu.qemuAgentCommand(domain, json.dumps(request), seconds, 0)
            except libvirt.libvirtError as error:
                raise _agent_fault(error, self._host.name, verb) from error
            return returned(answer, self._host.name, verb)

        return self._ask(verb, work, deadline)

    def _agent_connected(self, deadline: Deadline) -> bool:
        """Whether something in the guest has opened the agent's channel."""
        channel = self._xml(deadline).find(f"devices/channel/target[@name='{CHANNEL}']")
        return channel is not None and channel.get("state") == "connected"


def returned(answer: str, host: str, verb: str) -> Any:
    """What an agent returned. libvirt has taken away what answers other questions (``guest-sync``), and bounds an
    answer (10 MiB); what is in it is the guest's.

    Raises:
        GuestIgnored: it is no answer.
    """
    try:
        return json.loads(answer)["return"]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        said = f"what answers is no agent: {type(error).__name__}: {answer[:_SAID]!r}"
        raise GuestIgnored(said, host=host, operation=verb) from error


def _agent_fault(error: libvirt.libvirtError, host: str, verb: str) -> Exception:
    code, text = error.get_error_code(), str(error.get_error_message())[:_SAID]
    if code in UNANSWERED:
        return GuestIgnored(text, host=host, operation=verb)
    if code == libvirt.VIR_ERR_INTERNAL_ERROR and "agent command" in text.lower():
        return Refused(text, host=host, operation=verb)
    if code == libvirt.VIR_ERR_OPERATION_INVALID:
        return WrongState(text, host=host, operation=verb)
    fault: Exception = error
    return fault
