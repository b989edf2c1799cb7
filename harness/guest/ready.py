"""Is the guest there? Waiting for it to boot, and finding out what became of one that went silent."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from harness.backends.model import PowerState
from harness.backends.protocol import Refused, Services
from harness.core import Deadline, GuestError, InteropError, Pending, wait_for
from harness.guest.console import ConsoleSilent
from harness.guest.panic import Death
from harness.guest.ssh import HostKeyMismatch, Unreachable

if TYPE_CHECKING:
    from harness.guest.guest import Guest

# One handshake of an emulated guest that is still booting takes seconds; a guest that dies in it must not cost minutes.
_HANDSHAKE = 30.0
# A connection that broke while guest and network live is back within this.
_COMES_BACK = 20.0
# Where a server answers, the network lives: a login may only be slow, on a machine that has too much to do.
_LOGS_IN = 90.0
_CONSOLE_ANSWERS = 20.0
_SHOWN = 8000  # characters of what the guest says of its network, in a message

# cloud-init's stages are units, so that systemd has not finished starting while one of them runs; asking
# `cloud-init status` costs seconds of Python on an emulated CPU.
_SETTLED = r"""
state=$(systemctl is-system-running 2>/dev/null)
case $state in starting|initializing) echo "systemd: $state"; exit;; esac
read -r _ u n s i w _ </proc/stat; busy=$((u+n+s)); all=$((busy+i+w))
sleep 1
read -r _ u n s i w _ </proc/stat; busy=$((u+n+s-busy)); all=$((u+n+s+i+w-all))
[ $((busy*100)) -le $((all*$1)) ] || { echo "CPUs busy: $busy of $all ticks"; exit; }
echo settled
"""
# The first line that a kernel prints (``linux_banner`` in init/version.c), however consoles stamp it.
_BANNER = re.compile(r"^(\[ *0\.0+\] )?Linux version \d", re.MULTILINE)


class GuestPanic(GuestError):
    """The guest's console shows that it is lost: a panic, an emergency shell, a boot loader's prompt."""

    def __init__(self, name: str, death: Death) -> None:
        super().__init__(f"{name}: {death.description} on the serial console:\n{death.text}")
        self.death = death


class GuestHung(GuestError):
    """The machine runs, but its guest answers neither by network nor on its console."""


class NotReady(GuestError):
    """The guest did not come up by the deadline."""


class NetworkDead(AssertionError):
    """The guest lives, as its console or its integration services prove, and its network does not: the finding of the
    check in hand.
    """


def wait_ready(guest: Guest, deadline: Deadline, *, not_boot: str | None = None, was_up: bool = False) -> str:
    """Wait until the guest answers by ssh as itself; the console is watched meanwhile.

    Args:
        guest: the guest; its machine must have been started.
        deadline: when to give up.
        not_boot: a boot id that does not count: the one from before a reboot.
        was_up: whether it has answered before: one that no longer does is then looked into, as :func:`diagnose` does.

    Returns:
        The boot id.

    Raises:
        GuestPanic: the console showed that it will never come.
        NotReady: it did not answer by the deadline, or its machine went off.
        GuestHung: with ``was_up``, it does not answer on its console either.
        NetworkDead: with ``was_up``, it lives, and its network does not.
    """
    seen = ""

    def look() -> str | Pending:
        nonlocal seen
        guest.check_console()
        state = guest.machine.view(deadline.sooner(_HANDSHAKE)).state
        if state in (PowerState.OFF, PowerState.SAVED, PowerState.CRASHED):
            raise NotReady(f"{guest.name}: its machine is {state.value}{_last_lines(guest)}", operation="wait_ready")
        try:
            if guest.identity.nics:
                guest.ssh.connect(deadline.sooner(_HANDSHAKE), retry=False)
            boot = guest.read_boot_id(deadline.sooner(_HANDSHAKE))
        except (GuestError, HostKeyMismatch) as error:
            # A try that the deadline cut short saw less than the one before it.
            seen = seen if seen and deadline.expired else error.message
        else:
            if boot != not_boot:
                return boot
            # A connection into the old boot would only keep it from being seen to end.
            seen = f"still in boot {boot}"
        guest.disconnect()
        return Pending(seen)

    def never(message: str) -> GuestError | NetworkDead:
        error = NotReady(f"{guest.name}: {message}{_last_lines(guest)}", operation="wait_ready")
        return diagnose(guest, error) if was_up and guest.identity.nics else error

    boot = wait_for("the guest to answer by ssh", look, deadline, every=0.3, fault=never)
    guest.mark_console()
    return boot


def settle(guest: Guest, deadline: Deadline, *, busy: int = 15) -> None:
    """Wait until the guest has finished booting and is idle: all units have started or failed, and the CPUs rest.

    Whether units failed is for checks to say; here it only matters that they have ended.

    Args:
        guest: a guest that is ready.
        deadline: when to give up.
        busy: the share of CPU time, in per cent over one second, that still counts as idle.

    Raises:
        NotReady: it did not settle; names what still ran.
    """

    def look() -> bool | Pending:
        said = guest.run(["sh", "-c", _SETTLED, "-", str(busy)]).text.strip()
        return True if said.endswith("settled") else Pending(said)

    wait_for(f"{guest.name} to finish booting and be idle", look, deadline, every=0.5, fault=NotReady)


def diagnose(guest: Guest, cause: GuestError) -> GuestError | NetworkDead:
    """What became of a guest whose ssh was lost; the serial console is asked.

    Returns:
        What to raise: :class:`GuestPanic`, :class:`GuestHung`, :class:`NetworkDead`, or ``cause`` itself when the guest
        answers again, so that only the connection was lost.
    """
    guest.disconnect()
    try:
        guest.check_console()
        state = guest.machine.view(Deadline.after(_HANDSHAKE)).state
        if state is not PowerState.RUNNING:
            return GuestError(f"{cause.message}; its machine is {state.value}", operation=cause.operation)
        why = _out_of_reach(guest)
        if why is None:
            return cause
        guest.check_console()
        if guest.death:
            return GuestPanic(guest.name, guest.death)
        return _ask_console(guest, why)
    except (GuestPanic, GuestHung) as lost:
        return lost
    except InteropError as error:
        return GuestError(f"{cause.message}; and the host could not say more: {error.message}", host=error.host)


def _out_of_reach(guest: Guest) -> str | None:
    """Why its network cannot be used; None when it answers again.

    Raises:
        GuestHung: its network lives, and yet nobody can log in.
    """
    try:
        guest.ssh.connect(Deadline.after(_COMES_BACK))
    except HostKeyMismatch as error:
        return error.message
    except Unreachable as error:
        if not error.answered:
            return error.message
    else:
        return None
    try:
        guest.ssh.connect(Deadline.after(_LOGS_IN))
    except Unreachable as error:
        raise GuestHung(f"its ssh server answers and lets nobody in: {error.message}") from error
    return None


def _ask_console(guest: Guest, why: str) -> GuestError | NetworkDead:
    try:
        guest.console.login(Deadline.after(_CONSOLE_ANSWERS))
    except ConsoleSilent as error:
        guest.check_console()
        return GuestHung(f"{why}; {error.message}{_booted_again(guest)}")
    except Refused as error:  # a port that only tells: the guest's own services are the last to vouch for it
        if _heart_beats(guest):
            return NetworkDead(f"{guest.name} lives, as its integration services answer its host, but {why}")
        mute = f"{why}; {error.message}; and no integration services answer its host"
        return GuestHung(f"{mute}{_booted_again(guest)}{_last_lines(guest)}")
    try:
        asked = ["sh", "-c", "ip -br link; ip -br address; ip neighbour"]
        network = guest.console.run(asked, check=False).text[:_SHOWN]
    except GuestError as error:
        network = f"(not shown: {error.message})"
    return NetworkDead(
        f"{guest.name} lives, as its serial console answers, but {why}; it sees its network as\n{network}"
    )


def _heart_beats(guest: Guest) -> bool:
    machine = guest.machine
    if not isinstance(machine, Services):
        return False
    return any(one.name == "heartbeat" and one.healthy for one in machine.services(Deadline.after(_HANDSHAKE)))


def _booted_again(guest: Guest) -> str:
    """A guest that its processor or its host reset says nothing of that, and begins anew."""
    return "; it booted again since it last answered" if _BANNER.search(guest.console.news()) else ""


def _last_lines(guest: Guest) -> str:
    try:
        lines = guest.console.tail()
    except InteropError as error:
        return f"; its console cannot be read: {error.message}"
    return f"; last lines of its console:\n{lines}" if lines.strip() else "; its console is empty"
