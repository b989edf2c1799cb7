"""What the shell's operations are told, and the Bodies of what they answer."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from lxml import etree

from harness.twins.hyperv import durations, names
from harness.twins.hyperv.faults import fault
from harness.twins.hyperv.messages import Element, Fill, Request, child, q
from harness.twins.hyperv.processes import Output
from harness.twins.hyperv.shells import Shell


@dataclass(frozen=True, slots=True)
class ShellRequest:
    """What Create asks for.

    Args:
        idle_seconds: how long it may be unused; None: the host's default.
        environment: variables for its programs.
        inputs: names of its input streams.
        outputs: names of its output streams.
    """

    idle_seconds: float | None
    environment: Mapping[str, str]
    inputs: str
    outputs: str

    @classmethod
    def read(cls, request: Request) -> ShellRequest:
        """From the Body of Create.

        Raises:
            WsmanError: it asks for what makes no sense.
        """
        wanted = request.wanted("Shell")
        idle = wanted.findtext(q(names.SHELL, "IdleTimeOut"))
        try:
            idle_seconds = durations.seconds(idle) if idle else None
        except ValueError as error:
            raise fault("parameter", str(error)) from None
        return cls(
            idle_seconds,
            {
                str(node.get("Name") or ""): node.text or ""
                for node in wanted.iter(q(names.SHELL, "Variable"))
                if node.get("Name")
            },
            wanted.findtext(q(names.SHELL, "InputStreams")) or "",
            wanted.findtext(q(names.SHELL, "OutputStreams")) or "",
        )


def created(new: Shell, asked: ShellRequest) -> Fill:
    """Create's answer."""

    def fill(body: Element) -> None:
        resource = child(body, names.TRANSFER, "ResourceCreated")
        child(resource, names.ADDRESSING, "Address", "http://127.0.0.1/wsman")
        reference = child(resource, names.ADDRESSING, "ReferenceParameters")
        child(reference, names.WSMAN, "ResourceURI", names.CMD)
        child(child(reference, names.WSMAN, "SelectorSet"), names.WSMAN, "Selector", new.shell_id, Name="ShellId")
        _describe(body, new, (asked.inputs, asked.outputs), (0.0, 0.0))

    return fill


def shell(present: Shell, age: float, idle: float) -> Fill:
    """Get's answer."""
    return lambda body: _describe(body, present, ("stdin", "stdout stderr"), (age, idle))


def started(command_id: str) -> Fill:
    """Command's answer."""

    def fill(body: Element) -> None:
        child(child(body, names.SHELL, "CommandResponse"), names.SHELL, "CommandId", command_id)

    return fill


def sent(body: Element) -> None:
    """Send's answer."""
    child(body, names.SHELL, "SendResponse")


def signalled(body: Element) -> None:
    """Signal's answer."""
    child(body, names.SHELL, "SignalResponse")


def nothing(_body: Element) -> None:
    """Delete's answer."""


def received(command_id: str, wanted: frozenset[str], output: Output) -> Fill:
    """Receive's answer."""

    def fill(body: Element) -> None:
        response = child(body, names.SHELL, "ReceiveResponse")
        for name, data in output.streams.items():
            child(response, names.SHELL, "Stream", base64.b64encode(data).decode(), Name=name, CommandId=command_id)
        over = output.exit_code is not None
        if over:
            for name in sorted(wanted, reverse=True):
                child(response, names.SHELL, "Stream", Name=name, CommandId=command_id, End="true")
        state = child(
            response,
            names.SHELL,
            "CommandState",
            CommandId=command_id,
            State=names.DONE if over else names.RUNNING,
        )
        if over:
            child(state, names.SHELL, "ExitCode", str(output.exit_code))

    return fill


def _describe(body: Element, present: Shell, streams: tuple[str, str], ages: tuple[float, float]) -> None:
    node = etree.SubElement(body, q(names.SHELL, "Shell"), nsmap=cast("Any", {"rsp": names.SHELL}))
    for name, text in (
        ("ShellId", present.shell_id),
        ("ResourceUri", names.CMD),
        ("Owner", present.owner),
        ("ClientIP", present.client),
        ("IdleTimeOut", durations.timeout(present.idle_seconds)),
        ("InputStreams", streams[0]),
        ("OutputStreams", streams[1]),
        ("ShellRunTime", durations.elapsed(ages[0])),
        ("ShellInactivity", durations.elapsed(ages[1])),
    ):
        child(node, names.SHELL, name, text)
