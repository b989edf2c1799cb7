from collections.abc import Callable, Iterator

import pytest
from interop_fixtures import Capability, Expectations, Guest

from harness.backends.protocol import Machine, NmiInjector, Pausable, Savable, WrongState
from harness.backends.verbs import able
from harness.core import Deadline, Pending, wait_for
from harness.guest.cpu_interrupts import INTERRUPTS, Interrupts, stop_watchdog

Verb = Callable[[Deadline], object]


@pytest.mark.check("C16")
@pytest.mark.needs(Capability.NMI)
@pytest.mark.changes_guest
def test_an_nmi_arrives(guest: Guest, expect: Expectations) -> None:
    """A guest that hears nothing else hears the host's NMI: once, on the CPUs that such a host interrupts."""
    machine, boot = able(guest.machine, NmiInjector), guest.boot_id
    stop_watchdog(guest)
    before = guest.read(INTERRUPTS)
    hears = {"first": {min(before.cpus)}, "all": set(before.cpus)}[expect.word("C16.cpus")]
    wanted = {cpu: int(cpu in hears) for cpu in sorted(before.cpus)}

    with guest.kernel.undisturbed(expect.noise):
        machine.nmi(expect.deadline("host.verb"))
        wait_for("the NMI to be counted", lambda: _counted(guest, before), expect.deadline("C16.seen"), fault=_missed)
        seen = guest.read(INTERRUPTS).since(before, "NMI")
        assert seen == wanted, f"one NMI was asked of the host; by CPU, expected {wanted}, counted by the guest {seen}"

        for state, enter, leave in _asleep(guest.machine):
            guest.disconnect()
            enter(expect.deadline("host.state"))
            with pytest.raises(WrongState):
                machine.nmi(expect.deadline("host.verb"))
            leave(expect.deadline("host.state"))
            guest.wait_ready(expect.deadline("guest.back"))
            seen = guest.read(INTERRUPTS).since(before, "NMI")
            assert seen == wanted, f"a guest that was {state} got an NMI: by CPU, before {wanted}, then {seen}"
    assert guest.boot_id == boot, "the guest booted anew"

    guest.disconnect()
    guest.machine.stop(expect.deadline("host.verb"))
    with pytest.raises(WrongState):
        machine.nmi(expect.deadline("host.verb"))


def _counted(guest: Guest, before: Interrupts) -> bool | Pending:
    seen = guest.read(INTERRUPTS).since(before, "NMI")
    return True if any(seen.values()) else Pending(f"NMIs by CPU since it was asked for: {seen}")


def _missed(text: str) -> AssertionError:
    return AssertionError(f"one NMI was asked of the host: {text}")


def _asleep(machine: Machine) -> Iterator[tuple[str, Verb, Verb]]:
    """States in which nobody hears an NMI, each with the verbs that lead there and back."""
    if isinstance(machine, Pausable):
        yield "paused", machine.pause, machine.resume
    if isinstance(machine, Savable):
        yield "saved", machine.save, machine.restore
