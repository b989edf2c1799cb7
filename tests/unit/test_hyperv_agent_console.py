"""A machine's console by the agent: what it prints is kept, what is typed reaches it, whichever agent pumps."""

import base64
import os
import socket
from contextlib import closing
from pathlib import Path

import pytest

from harness.backends.hyperv.session import Agent
from harness.backends.hyperv.steps import Step
from harness.core import Pending, wait_for
from tests.unit import powershell
from tests.unit.powershell import LocalPipe, modules, soon

host = powershell.host


class TestConsole:
    """The pump, on the Unix socket that .NET takes for a named pipe."""

    @pytest.fixture
    def pipe(self, tmp_path):
        """A machine's serial port: its name, and the socket that a machine would write to."""
        name = f"interop-{os.getpid()}-{tmp_path.name[-8:]}"
        path = Path(f"/tmp/CoreFxPipe_{name}")
        with socket.socket(socket.AF_UNIX) as server:
            server.settimeout(10)
            server.bind(str(path))
            server.listen()
            yield name, server
        path.unlink()

    def _read(self, host, log, offset=0, wanted=1):
        def look():
            step = Step("Read-InteropConsole", {"Path": str(log), "Offset": offset, "Limit": 65536}, get=(".",))
            rows = host.run("console", [step], soon())[0]
            data = base64.b64decode(rows[0]["."]) if rows else b""
            return data if len(data) >= wanted else Pending(f"{len(data)} bytes")

        return wait_for("output", look, soon(10))

    def test_output_is_kept_by_offset_and_typing_reaches_the_machine(self, host, pipe, tmp_path):
        """Reading consumes nothing; a pump that is asked for twice is one."""
        name, server = pipe
        log = tmp_path / "console.log"
        for _ in range(2):
            host.run("start", [Step("Start-InteropConsole", {"Pipe": name, "Path": str(log)})], soon())
        machine, _ = server.accept()
        machine.settimeout(10)
        machine.sendall(bytes(range(256)) * 100)
        assert self._read(host, log, wanted=25600) == bytes(range(256)) * 100
        assert self._read(host, log, 25590) == bytes(range(246, 256))
        typing = Step("Write-InteropConsole", {"Path": str(log), "Data": b"root\n"})
        host.run("type", [typing], soon())
        assert machine.recv(100) == b"root\n"
        machine.close()
        machine, _ = server.accept()  # a reset: the machine's end was away for a moment
        machine.sendall(b"again")
        assert self._read(host, log, 25600, 5) == b"again"
        host.run("stop", [Step("Stop-InteropConsole", {"Path": str(log)})], soon())
        assert [one.name for one in tmp_path.iterdir()] == ["console.log"]
        machine.close()

    def test_a_fresh_console_begins_at_nothing(self, host, pipe, tmp_path):
        """Offsets count from power-on."""
        name, server = pipe
        log = tmp_path / "console.log"
        lines = []
        for text in (b"first boot", b"second"):
            start = Step("Start-InteropConsole", {"Pipe": name, "Path": str(log), "Fresh": True})
            host.run("start", [start], soon())
            lines.append(server.accept()[0])
            lines[-1].sendall(text)
            assert self._read(host, log, wanted=len(text)) == text
        host.run("stop", [Step("Stop-InteropConsole", {"Path": str(log)})], soon())
        for line in lines:
            line.close()

    def test_a_guest_that_never_falls_silent_does_not_fill_the_hosts_disk(self, host, pipe, tmp_path):
        """What comes later is read, and thrown away: typing goes on."""
        name, server = pipe
        log = tmp_path / "console.log"
        host.run("start", [Step("Start-InteropConsole", {"Pipe": name, "Path": str(log), "Most": 1000})], soon())
        machine, _ = server.accept()
        machine.settimeout(10)
        machine.sendall(b"x" * 999)
        assert self._read(host, log, wanted=999) == b"x" * 999
        machine.sendall(b"end of it" * 100_000)
        host.run("type", [Step("Write-InteropConsole", {"Path": str(log), "Data": b"root\n"})], soon())
        assert machine.recv(100) == b"root\n"
        host.run("stop", [Step("Stop-InteropConsole", {"Path": str(log)})], soon())
        assert log.read_bytes() == b"x" * 999 + b"e"
        machine.close()

    def test_another_agent_takes_over_from_one_that_died(self, host, pipe, tmp_path):
        """And finds what the first had kept."""
        name, server = pipe
        log = tmp_path / "console.log"
        start = Step("Start-InteropConsole", {"Pipe": name, "Path": str(log)})
        with closing(Agent(lambda deadline: LocalPipe(modules()["all"]), "win1")) as first:
            first.run("start", [start], soon())
            machine, _ = server.accept()
            machine.sendall(b"one ")
            assert self._read(host, log, wanted=4) == b"one "
        machine.close()
        host.run("start", [start], soon())
        machine, _ = server.accept()
        machine.sendall(b"two")
        assert self._read(host, log, wanted=7) == b"one two"
        host.run("stop", [Step("Stop-InteropConsole", {"Path": str(log)})], soon())
        machine.close()

    def test_an_agent_that_was_ended_pumps_on_when_it_is_started_again(self, pipe, tmp_path):
        """So what a deadline costs one machine does not cost the consoles of the others."""
        name, server = pipe
        log = tmp_path / "console.log"
        pipes = []

        def start(deadline):
            pipes.append(LocalPipe(modules()["all"]))
            return pipes[-1]

        with closing(Agent(start, "win1")) as mine:
            mine.run("start", [Step("Start-InteropConsole", {"Pipe": name, "Path": str(log)})], soon())
            machine, _ = server.accept()
            machine.close()
            pipes[-1].process.kill()
            pipes[-1].process.wait()
            mine.run("ping", [Step("Write-Output", {"InputObject": 1})], soon(), repeatable=True)
            machine, _ = server.accept()
            machine.sendall(b"on")
            assert self._read(mine, log, wanted=2) == b"on"
            machine.close()
