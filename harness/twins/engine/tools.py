"""A model of a guest's tools, over the image's agent.

QEMU has no channel that open-vm-tools or the Hyper-V daemons would talk over. What they would tell their host, the
agent tells instead, and only while the guest's real service is installed and enabled: a guest without it is silent.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from harness.core import Deadline
from harness.core.waiting import Pending, wait_for
from harness.twins.engine.guest_agent import Agent, AgentRefused
from harness.twins.engine.personality import Personality
from harness.twins.engine.values import GuestSilent, ToolsView

_UNITS = "/etc/systemd/system"
_RUNTIME = "/run/systemd/system"
_PIECE = 32 << 10  # bytes: QEMU's agent takes 48 KiB of a file in one message, encoded more
_UNPACK = 'mkdir -p -- "${1%/*}" && gzip -dc >"$1.part" && mv -f -- "$1.part" "$1"'
_WRONG = 250_000_000  # nanoseconds: less is the serial port's own time
_THAW_SECONDS = 60.0
_SAID, _ADDRESS = 400, 64  # characters


@dataclass(frozen=True, slots=True)
class Constant:
    """What does not change while a guest runs."""

    version: str
    os_id: str
    os_name: str
    kernel: str


class Tools:
    """The tools of one boot of one guest."""

    def __init__(self, agent: Agent, personality: Personality) -> None:
        self._agent = agent
        self._personality = personality
        self._constant: Constant | None = None

    def forget(self) -> None:
        """The guest has booted anew."""
        self._constant = None

    def view(self, deadline: Deadline) -> ToolsView:
        """What they tell now."""
        try:
            with _sense():
                return self._view(deadline)
        except GuestSilent as error:
            return ToolsView(False, error.message)

    def _view(self, deadline: Deadline) -> ToolsView:
        silence = self._silence(self._personality.tools, deadline)
        if silence:
            return ToolsView(False, silence)
        constant = self._constant = self._constant or self._facts(deadline)
        questions: list[tuple[str, dict[str, Any]]] = [
            ("guest-get-host-name", {}),
            ("guest-network-get-interfaces", {}),
        ]
        name, nics = self._agent.ask_all(questions, deadline)
        hostname = "" if isinstance(name, AgentRefused) else str(name.get("host-name", ""))[:255]
        addresses = {} if isinstance(nics, AgentRefused) else _by_mac(nics)
        return ToolsView(
            True,
            version=constant.version,
            hostname=hostname,
            addresses=addresses,
            os_id=constant.os_id,
            os_name=constant.os_name,
            kernel=constant.kernel,
            guestinfo=_published(hostname, addresses, constant),
        )

    def power(self, mode: str, deadline: Deadline) -> None:
        """``powerdown`` or ``reboot``.

        Raises:
            GuestSilent: there are no tools to ask.
        """
        with _sense():
            silence = self._silence(self._personality.tools, deadline)
        if silence:
            raise GuestSilent(silence, operation=mode)
        self._agent.tell("guest-shutdown", deadline, mode=mode)

    def set_clock(self, deadline: Deadline, *, back: bool = False) -> None:
        """Set the guest's clock to this machine's if it is behind, and with ``back`` if it is ahead as well.

        Raises:
            GuestSilent: no tools run there.
            AgentRefused: the guest's clock cannot be set.
        """
        with _sense():
            silence = self._silence(self._personality.tools, deadline)
            if silence:
                raise GuestSilent(silence, operation="clock")
            ahead = int(self._agent.ask("guest-get-time", deadline)) - time.time_ns()
            if ahead < -_WRONG or (back and ahead > _WRONG):
                self._agent.ask("guest-set-time", deadline, time=time.time_ns())

    @contextlib.contextmanager
    def frozen(self, deadline: Deadline) -> Iterator[None]:
        """Around what must find the guest's file systems frozen; they thaw whatever happens meanwhile.

        Raises:
            GuestSilent: no service that freezes them runs there, it froze none, or did not thaw them.
        """
        with self._agent.alone():  # one that has frozen them answers little else
            with _sense():
                silence = self._silence(self._personality.quiesce or self._personality.tools, deadline)
            if silence:
                raise GuestSilent(silence, operation="freeze")
            try:
                if not self._ask_count("guest-fsfreeze-freeze", deadline):
                    raise GuestSilent("the guest froze no file system", operation="freeze")
                yield
            finally:
                self._ask_count("guest-fsfreeze-thaw", Deadline.after(_THAW_SECONDS))

    def _ask_count(self, command: str, deadline: Deadline) -> int:
        """How many file systems the agent froze or thawed."""
        with _sense():
            try:
                return int(self._agent.ask(command, deadline))
            except AgentRefused as error:
                raise GuestSilent(error.message, operation=command) from error

    def copy(self, source: Path, target: str, deadline: Deadline, *, folders: bool, overwrite: bool) -> None:
        """Write a file of this machine's into the guest.

        Raises:
            GuestSilent: no service takes files there.
            AgentRefused: the guest does not take this one: it is there already, or there is no room for it.
        """
        unit = self._personality.file_copy
        with _sense():
            silence = self._silence(unit, deadline) if unit else "no service of this guest takes files"
            if silence:
                raise GuestSilent(silence, operation="file copy")
            if not overwrite and self._agent.read(target, deadline) is not None:
                raise AgentRefused(f"{target} is there already", operation="file copy")
            with source.open("rb") as file:
                self._write(target, file, deadline, folders=folders)

    def keep(self, target: str, content: bytes, deadline: Deadline) -> None:
        """Have the tools keep in a file of theirs what the host told them.

        Raises:
            GuestSilent: no tools run there.
            AgentRefused: there is no room for it.
        """
        with _sense():
            silence = self._silence(self._personality.tools, deadline)
            if silence:
                raise GuestSilent(silence, operation="tools")
            # Much of one kind, as pools are, mostly NULs: packed it is one message, and there at once, or as it was.
            packed = base64.b64encode(gzip.compress(content)).decode("ascii")
            ended = self._run("/bin/sh", ["-c", _UNPACK, "-", target], deadline, input_data=packed)
            if ended.get("exitcode"):
                raise AgentRefused(f"{target} cannot be written", operation="tools")

    def _write(self, target: str, content: BinaryIO, deadline: Deadline, *, folders: bool) -> None:
        if folders:
            self._output("/usr/bin/mkdir", ["-p", str(PurePosixPath(target).parent)], deadline)
        handle = self._agent.ask("guest-file-open", deadline, path=target, mode="w")
        try:
            while piece := content.read(_PIECE):
                text = base64.b64encode(piece).decode("ascii")
                self._agent.ask("guest-file-write", deadline, handle=handle, buf_b64=text)
        finally:
            self._agent.ask("guest-file-close", deadline, handle=handle)

    def _silence(self, unit: str, deadline: Deadline) -> str:
        """Why a service in the state of this guest's would say nothing; empty when it would.

        Read from systemd's folders (systemd.unit(5)): a program for it would be work for the guest at every look.
        """
        for folder in (_UNITS, _RUNTIME):
            # Masked: a link to /dev/null. An empty file means the same.
            if self._agent.read(f"{folder}/{unit}", deadline) == b"":
                return f"{unit} is masked in the guest"
        if not self._agent.read(f"{self._personality.tools_wanted}/{unit}", deadline):
            return f"{unit} is not enabled in the guest"
        return ""

    def _facts(self, deadline: Deadline) -> Constant:
        told = self._agent.ask_all([("guest-get-osinfo", {})], deadline)[0]
        system: dict[str, Any] = told if isinstance(told, dict) else {}
        return Constant(
            version=self._version(deadline),
            os_id=str(system.get("id", ""))[:64],
            os_name=str(system.get("pretty-name", ""))[:128],
            kernel=str(system.get("kernel-release", ""))[:128],
        )

    def _version(self, deadline: Deadline) -> str:
        for program, *arguments in self._personality.tools_version:
            with contextlib.suppress(AgentRefused):
                found = re.search(r"\d+(\.\d+)+", self._output(program, arguments, deadline))
                if found:
                    return found[0][:32]
        return ""

    def _output(self, program: str, arguments: list[str], deadline: Deadline) -> str:
        status = self._run(program, arguments, deadline)
        return base64.b64decode(str(status.get("out-data", ""))).decode("utf-8", "replace")

    def _run(self, program: str, arguments: list[str], deadline: Deadline, **more: str) -> dict[str, Any]:
        started = self._agent.ask("guest-exec", deadline, path=program, arg=arguments, capture_output=True, **more)

        def ended() -> dict[str, Any] | Pending:
            status: dict[str, Any] = self._agent.ask("guest-exec-status", deadline, pid=started["pid"])
            return status if status.get("exited") else Pending("it runs")

        return wait_for(program, ended, deadline, fault=GuestSilent)


@contextlib.contextmanager
def _sense() -> Iterator[None]:
    """Whoever answers on the line may say anything."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        said = f"what answers on the second serial port is no agent: {error!r}"[:_SAID]
        raise GuestSilent(said, operation="agent") from error


def _by_mac(nics: list[dict[str, Any]]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for nic in nics[:64]:
        mac = str(nic.get("hardware-address", "")).lower()
        addresses = [str(entry["ip-address"])[:_ADDRESS] for entry in nic.get("ip-addresses", ())[:64]]
        if mac not in {"", "00:00:00:00:00:00"}:
            found[mac] = (*found.get(mac, ()), *addresses)
    return found


def _published(hostname: str, addresses: dict[str, tuple[str, ...]], constant: Constant) -> dict[str, str]:
    """As the real tools would name it (open-vm-tools, ``guestInfoServer.c``)."""
    every = [address for found in addresses.values() for address in found if ":" not in address]
    told = {
        "guestinfo.hostname": hostname,
        "guestinfo.ip": every[0] if every else "",
        "guestinfo.os": constant.os_name,
        "guestinfo.kernel": constant.kernel,
        "guestinfo.tools.version": constant.version,
    }
    return {key: value for key, value in told.items() if value}
