"""What the contract must know of Hyper-V and its twin, and of nothing else; by pywinrm itself, not by our driver."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import agent
from harness.lab.twins import settings_of

if TYPE_CHECKING:
    from tests.contract.site import Site


@contextlib.contextmanager
def foreign(site: Site) -> Iterator[str]:
    """A machine that somebody made by hand: off, without our notes, in the host's own folder."""
    with talk(site) as ask:
        made = {"Name": text(site.name("foreign")), "MemoryStartupBytes": 64 << 20, "Generation": 1, "NoVHD": True}
        (vm,) = ask({"call": "New-VM", "args": made, "as": "vm", "get": ["Id"]})[0]
        identity = str(vm["Id"])
    try:
        yield identity
    finally:
        with talk(site) as ask:
            find = {"call": "Get-VM", "args": {"Id": text(identity)}, "as": "vm", "get": []}
            ask(find, {"call": "Remove-VM", "args": {"VM": {"$ref": "vm"}, "Force": True}, "get": []})


def present(site: Site, machine: str) -> bool:
    """Whether the host still has the machine."""
    return machine.lower() in known(site)


def processes(site: Site, machine: str) -> list[int]:
    """The twin's QEMU processes of this machine, by its UUID on their command lines."""
    twin = site.record()
    assert twin is not None, "only a twin's machines run here"
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):  # not a process, or gone meanwhile
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if b"qemu-system" in words[0] and machine.lower().encode() in words:
                found.append(int(folder.name))
    return found


def known(site: Site) -> set[str]:
    """The ids of all machines of the host."""
    with talk(site) as ask:
        return {str(row["Id"]).lower() for row in ask({"call": "Get-VM", "args": {}, "get": ["Id"]})[0]}


def text(value: str) -> str:
    """A text among the arguments of a step: what begins otherwise is a reference or a type."""
    return f"={value}"


def client_of(site: Site, **changes: Any) -> Any:
    """Pywinrm's own client of the host, as the account that the lab file names."""
    from winrm.protocol import Protocol

    settings: Any = settings_of(site.host, site.lab.path, site.run.id)
    options: dict[str, Any] = {
        "transport": "ntlm",
        "username": settings.user,
        "password": settings.reveal(),
        "ca_trust_path": None if settings.ca is None else str(settings.ca),
        "server_cert_validation": "validate",
        "message_encryption": "auto" if settings.tls else "always",
        "operation_timeout_sec": 60,
        "read_timeout_sec": 90,
        "proxy": None,
    }
    return Protocol(settings.url, **options | changes)


@contextlib.contextmanager
def talk(site: Site) -> Iterator[Any]:
    """A shell of our own, and in it the cmdlets: what is asked is a list of steps, as the agent's header describes."""
    client = client_of(site)
    shell = client.open_shell(codepage=65001, noprofile=True)
    try:
        program = client.run_command(
            shell, agent.PROGRAM, agent.inline(), console_mode_stdin=False, skip_cmd_shell=True
        )
        client.send_command_input(shell, program, agent.first_line())
        lines = _lines(client, shell, program)
        _answer(lines, 0)

        def ask(*steps: dict[str, Any]) -> list[list[dict[str, Any]]]:
            client.send_command_input(shell, program, json.dumps({"id": 1, "steps": steps}).encode() + b"\n")
            said = _answer(lines, 1)
            assert said["ok"], said
            results: list[list[dict[str, Any]]] = said["results"]
            return results

        yield ask
    finally:
        client.close_shell(shell)


def _answer(lines: Iterator[bytes], number: int) -> dict[str, Any]:
    mark = f"{agent.MARK} {number} ".encode()
    said: dict[str, Any] = json.loads(next(line for line in lines if line.startswith(mark))[len(mark) :])
    return said


def _lines(client: Any, shell: str, program: str) -> Iterator[bytes]:
    held = b""
    while True:
        out, err, code, done = client.get_command_output_raw(shell, program)
        assert not done, (out, err, code)
        *whole, held = (held + out).split(b"\n")
        yield from whole
