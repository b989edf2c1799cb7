"""The WS-Man service itself: what each operation does, whoever asks and by whatever transport."""

from __future__ import annotations

import base64
import binascii
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from harness.core import LabError
from harness.core.waiting import pause
from harness.twins.hyperv import answers, commandline, messages, names
from harness.twins.hyperv.faults import WsmanError, fault
from harness.twins.hyperv.messages import Request
from harness.twins.hyperv.plan import Effect, FaultPlan, Planned
from harness.twins.hyperv.processes import Command, Ended
from harness.twins.hyperv.programs import Resolve
from harness.twins.hyperv.quotas import Quotas
from harness.twins.hyperv.shells import Shell, Shells

_OVERHEAD: Final = 3072
"""Bytes of an answer to Receive beside the output."""
_SHORTEST_WAIT: Final = 0.5
"""MS-WSMV: a smaller OperationTimeout is no time at all."""
_WINDOWS_OPTIONS: Final = frozenset(
    {
        "WINRS_NOPROFILE",
        "WINRS_CODEPAGE",
        "WINRS_CONSOLEMODE_STDIN",
        "WINRS_SKIP_CMD_SHELL",
        "WSMAN_CMDSHELL_OPTION_KEEPALIVE",
        "protocolversion",
    }
)


@dataclass(frozen=True, slots=True)
class Peer:
    """Who sends a request: the account, and from which address."""

    user: str
    address: str


@dataclass(frozen=True, slots=True)
class Service:
    """A host's WS-Man service.

    Args:
        resolve: what a command line runs.
        folder: where programs start.
        quotas: how much one may use.
        plan: what goes wrong.
        machine: the host's name.
        product: what Identify says.
    """

    resolve: Resolve
    folder: Path
    shells: Shells
    quotas: Quotas = field(default_factory=Quotas)
    plan: FaultPlan = field(default_factory=FaultPlan)
    machine: str = "TWIN"
    product: str = "OS: 10.0.20348 SP: 0.0 Stack: 3.0"

    def perform(self, request: Request, peer: Peer, planned: dict[Effect, Planned]) -> bytes:
        """Do what a request asks.

        Args:
            request: what is asked.
            peer: by whom.
            planned: what goes wrong meanwhile.

        Returns:
            The answer.

        Raises:
            WsmanError: it is refused.
        """
        if Effect.FAULT in planned and not planned[Effect.FAULT].taken:
            raise fault(planned[Effect.FAULT].fault)
        if Effect.EXPIRE in planned:
            self.shells.delete(request.selectors.get("ShellId", ""))
        slow = planned.get(Effect.SLOW)
        if slow is not None:
            answer = self._slowly(lambda: self._operate(request, peer, planned), slow.seconds, self._patience(request))
        else:
            answer = self._operate(request, peer, planned)
        if Effect.FAULT in planned:
            raise fault(planned[Effect.FAULT].fault)
        return answer

    def refuse(self, error: WsmanError, relates_to: str) -> bytes:
        """The fault that tells of an error."""
        return messages.refusal(error, relates_to, self.machine)

    def _operate(self, request: Request, peer: Peer, planned: dict[Effect, Planned]) -> bytes:
        if request.operation == "Identify":
            return messages.identified(self.product)
        if request.resource not in {names.CMD, names.SHELL} or (
            request.resource == names.SHELL and request.operation != "Get"
        ):
            raise fault("resource", f"There is no resource {request.resource} here.")
        if request.operation == "Create":
            return self._create(request, peer)
        shell_id = request.selectors.get("ShellId")
        if shell_id is None:
            raise fault("selectors", "The request names no ShellId.")
        with self.shells.use(shell_id, peer.user) as shell:
            work: dict[str, Callable[[], bytes]] = {
                "Get": lambda: self._get(request, shell),
                "Command": lambda: self._command(request, shell),
                "Send": lambda: self._send(request, shell, planned),
                "Receive": lambda: self._receive(request, shell, planned),
                "Signal": lambda: self._signal(request, shell),
                "Delete": lambda: self._delete(request, shell),
            }
            return work[request.operation]()

    def _create(self, request: Request, peer: Peer) -> bytes:
        asked = answers.ShellRequest.read(request)
        shell = self.shells.create(peer.user, peer.address, asked.idle_seconds, asked.environment, self.folder)
        return messages.answer(request, answers.created(shell, asked))

    def _get(self, request: Request, shell: Shell) -> bytes:
        return messages.answer(request, answers.shell(shell, *self.shells.age(shell)))

    def _command(self, request: Request, shell: Shell) -> bytes:
        line = request.wanted("CommandLine")
        command = line.findtext(messages.q(names.SHELL, "Command")) or ""
        arguments = [node.text or "" for node in line.iter(messages.q(names.SHELL, "Arguments"))]
        what = self.resolve(commandline.join(command, arguments))
        # With the console mode (the default) stdin never reaches a program on Server 2012 and later.
        piped = request.options.get("WINRS_CONSOLEMODE_STDIN", "TRUE").upper() == "FALSE"
        try:
            environment = {**shell.environment, "USERNAME": shell.owner}
            command_id = self.shells.add(shell, lambda: Command(what, environment, shell.folder, piped=piped))
        except LabError as error:
            raise fault("internal", str(error)) from error
        return messages.answer(request, answers.started(command_id))

    def _send(self, request: Request, shell: Shell, planned: dict[Effect, Planned]) -> bytes:
        taken = True
        for stream in request.wanted("Send").iter(messages.q(names.SHELL, "Stream")):
            command = self._planned_kill(self.shells.command(shell, stream.get("CommandId") or ""), planned)
            try:
                data = base64.b64decode("".join((stream.text or "").split()), validate=True)
            except binascii.Error:
                raise fault("parameter", "A stream is not base64.") from None
            end = (stream.get("End") or "").lower() in {"true", "1"}
            taken = command.send(data, end=end, seconds=self._patience(request)) and taken
        if not taken:
            raise fault("timeout")
        return messages.answer(request, answers.sent)

    def _receive(self, request: Request, shell: Shell, planned: dict[Effect, Planned]) -> bytes:
        desired = request.wanted("Receive").find(messages.q(names.SHELL, "DesiredStream"))
        if desired is None or not desired.get("CommandId"):
            raise fault("syntax", "Receive names no command.")
        wanted = frozenset((desired.text or "").split())
        if not wanted or not wanted <= {"stdout", "stderr"}:
            raise fault("parameter", f"There are no such streams: {desired.text!r}.")
        command_id = desired.get("CommandId") or ""
        command = self._planned_kill(self.shells.command(shell, command_id), planned)
        size = planned[Effect.SPLIT].size if Effect.SPLIT in planned else (request.max_envelope - _OVERHEAD) * 3 // 4
        try:
            output = command.receive(wanted, max(1, size), self._patience(request))
        except Ended:
            raise fault("aborted") from None
        if output is None:
            raise fault("timeout")
        return messages.answer(request, answers.received(command_id, wanted, output))

    def _signal(self, request: Request, shell: Shell) -> bytes:
        signal = request.wanted("Signal")
        code = (signal.findtext(messages.q(names.SHELL, "Code")) or "").strip()
        command_id = signal.get("CommandId") or ""
        if code in names.TERMINATE:
            self.shells.end(shell, command_id)
        elif code in names.INTERRUPT:
            self.shells.command(shell, command_id).interrupt()
        else:
            raise fault("parameter", f"There is no signal {code!r}.")
        return messages.answer(request, answers.signalled)

    def _delete(self, request: Request, shell: Shell) -> bytes:
        self.shells.delete(shell.shell_id)
        return messages.answer(request, answers.nothing)

    def _patience(self, request: Request) -> float:
        asked = self.quotas.operation_seconds if request.operation_timeout is None else request.operation_timeout
        return max(_SHORTEST_WAIT, min(asked, self.quotas.operation_seconds))

    def _slowly(self, work: Callable[[], bytes], seconds: float, patience: float) -> bytes:
        if seconds <= patience:
            pause(seconds)
            return work()

        def later() -> None:
            pause(seconds - patience)
            work()

        # It is done all the same, and nobody hears of it: that is how shells leak.
        pause(patience)
        threading.Thread(target=later, daemon=True).start()
        raise fault("timeout")

    def _planned_kill(self, command: Command, planned: dict[Effect, Planned]) -> Command:
        if Effect.KILL in planned:
            command.kill()
        return command
