"""A guest that never stops talking: what is kept of it is bounded, and whoever listens comes to an end."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from harness.cli import guest as guest_command
from harness.core import Deadline, GuestError, Pending, Size, wait_for
from harness.guest import Guest, Identity
from harness.guest.console import SerialConsole
from harness.guest.panic import find
from harness.guest.ssh import OUTPUT_LIMIT, CommandTimeout
from harness.image.model import Format, Image
from harness.plugin.evidence import Loan, collect, console_end
from tests.unit.fake_machine import NIC, FakeHost, FakeMachine
from tests.unit.ssh_server import SshServer

OFFERED = 1 << 30
"""Bytes of output that a guest offers."""
ALLOWED = 6 * OUTPUT_LIMIT
"""By how much the process may grow: both streams as kept and as handed out, and what is on its way."""


@dataclass
class Growth:
    """How much more memory this process had at most than when it was made."""

    def __post_init__(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")  # the high water falls to what is there now (proc(5))
        self.before = self._water()

    @property
    def most(self) -> int:
        return self._water() - self.before

    @staticmethod
    def _water() -> int:
        return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) << 10


def test_a_flood_costs_what_is_kept_and_no_more(ssh):
    """The rest is read and thrown away, and the command still ends with its own status."""
    ssh.run("true", Deadline.after(20))
    growth = Growth()
    half = f"head -c {OFFERED // 2} /dev/zero"
    done = ssh.run(f"{half}; {half} >&2; exit 7", Deadline.after(600))
    assert (done.status, done.cut) == (7, True)
    assert (len(done.stdout), len(done.stderr)) == (OUTPUT_LIMIT, OUTPUT_LIMIT)
    assert growth.most < ALLOWED, Size(growth.most)


def test_a_flood_that_never_ends_costs_its_deadline(ssh):
    """And the message shows a little of it."""
    growth = Growth()
    with pytest.raises(CommandTimeout, match="did not end") as caught:
        ssh.run("cat /dev/zero", Deadline.after(2))
    assert len(str(caught.value)) < 3000
    assert growth.most < ALLOWED


def test_a_long_line_is_no_answer(ssh):
    """Thousands of questions are asked, and each answer is kept."""
    with pytest.raises(GuestError, match=r"answered with a line of \d+ bytes"):
        ssh.converse("while read -r _; do head -c 1000000 /dev/zero; echo; done", 3, Deadline.after(20))


class Babbler:
    """A serial port with some bytes more whenever it is asked, as that of a guest which prints faster than one reads.

    Args:
        piece: how many it gives at most; a host gives what is there.
    """

    def __init__(self, piece: int) -> None:
        self.piece = piece
        self.reads = 0

    def read(self, offset: int, limit: int) -> bytes:
        self.reads += 1
        assert self.reads < 10_000, "it is listened to for ever"
        size = min(self.piece, limit)
        return (b"%015d\n" % offset * (size // 16 + 1))[:size]

    def write(self, data: bytes) -> None:
        pass


def guest_with(port: Babbler, server: SshServer) -> Guest:
    image = Image("test", "digest", {Format.QCOW2: Path("x")}, Size(0))
    return Guest(
        FakeMachine(server.endpoint, port), FakeHost(), image, Identity("guest", "0" * 32, (NIC,), server.login)
    )


def test_where_the_console_of_a_babbler_ends_is_found(server):
    """A loan begins there."""
    assert 0 < console_end(guest_with(Babbler(3), server)) < 1000


def test_the_evidence_of_a_babbler_has_the_beginning_and_the_end(server):
    """Nine MiB, of which two pieces are kept: why it failed stands at the end."""

    class Ends(Babbler):
        def read(self, offset, limit):
            return (
                super().read(offset, limit)
                if offset < 9 << 20
                else b"the last word\n"
                if offset < (9 << 20) + 1
                else b""
            )

    guest = guest_with(Ends(1 << 20), server)
    growth = Growth()
    found = {piece.name: piece.body for piece in collect(Loan(guest, 0, 0.0))}
    guest.disconnect()
    said = found["guest: serial console"]
    assert said.startswith(b"000000000000000\n")
    assert said.endswith(b"the last word\n")
    assert re.search(rb"\d+ bytes left out here", said)
    assert len(said) < 4 << 20
    assert growth.most < ALLOWED


def test_what_watches_the_console_of_a_babbler_goes_on(server):
    console = SerialConsole("guest", lambda: Babbler(7))
    assert len(console.news()) < 1 << 16
    assert len(console.news()) < 1 << 16


@pytest.mark.parametrize("end", [b"\n", b""], ids=["lines", "one line"])
def test_the_last_lines_are_few_and_not_wide(end):
    """They stand in an error message."""

    class Wide(Babbler):
        def read(self, offset, limit):
            whole = (b"x" * 500_000 + end) * 6
            return whole[offset : offset + limit]

    assert 1000 < len(SerialConsole("guest", lambda: Wide(0)).tail()) <= 16 << 10


def test_an_excerpt_of_a_panic_is_bounded_in_both_directions():
    said = (
        ("y" * 100_000 + "\n") * 30 + "Kernel panic - not syncing: " + "z" * 100_000 + "\n" + ("w" * 9999 + "\n") * 99
    )
    assert len(find(said).text) < 30_000


def test_what_a_wait_saw_last_is_bounded():
    with pytest.raises(GuestError) as caught:
        wait_for("a guest", lambda: Pending("x" * 10_000_000), Deadline.after(0), fault=GuestError)
    assert len(str(caught.value)) < 5000


def test_whoever_looks_at_the_console_of_a_babbler_can_leave(monkeypatch, capsysbinary):
    """^] is looked for whatever the guest prints."""
    read, write = os.pipe()
    os.write(write, b"\x1d")
    with os.fdopen(read) as keys:
        monkeypatch.setattr(sys, "stdin", keys)
        guest_command._talk(Babbler(5), 2)
    os.close(write)
    assert capsysbinary.readouterr().out.count(b"\n") < 200


@pytest.mark.parametrize(
    ("ends", "lines", "why"),
    [
        (b"1-%b" % (b"9" * 9), b"", "is said to have 999999999 bytes"),
        (b"1-3", b"1:AAAA;", "came torn over the console"),
        (b"1-3", b"%b:AAAA;" % (b"9" * 5000), "came torn over the console"),
        (b"1-2", b"1:A===;", "came torn over the console"),
    ],
    ids=["how much", "the checksum", "which line", "what is no base64"],
)
def test_a_console_that_lies_about_what_comes_is_refused(ends, lines, why):
    """The shell on it says how much it will send; a table of that many lines would fill the memory."""

    class Liar(Babbler):
        said = b""

        def read(self, offset, limit):
            return self.said[offset : offset + limit]

        def write(self, data):
            if b"stty -echo" in data:
                left, right = re.search(rb"(\w{8}) (\w{8});", data).groups()
                self.said += left + right + b"\n"
            elif found := re.search(rb"set -- (\w+) \$\(head", data):
                self.said += b"%b:%b\n%b-%b-%b-end\n" % (found[1], lines, found[1], ends, ends.partition(b"-")[2])
            elif found := re.search(rb"set -- (\w+) \$\?", data):
                self.said += b"%b-0-end\n" % found[1]

    liar = Liar(0)
    with pytest.raises(GuestError, match=why):
        SerialConsole("guest", lambda: liar).run(["true"], timeout=timedelta(seconds=20))
