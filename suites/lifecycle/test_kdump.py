import re
import secrets
from functools import partial

import pytest
from interop_fixtures import Expectations, Guest

from harness.backends.model import PowerState
from harness.core import Pending, wait_for
from harness.guest.kdump import SAID, Kdump


@pytest.mark.check("L12")
@pytest.mark.shape(memory="2 GiB")
@pytest.mark.slow
@pytest.mark.changes_guest
def test_a_crashed_kernel_leaves_its_memory(guest: Guest, expect: Expectations) -> None:
    """Who must find out why a guest crashed finds its memory, whole, whichever CPU it crashed on."""
    kdump, wanted = Kdump(guest), expect.size("L12.reserved")
    if not kdump.can_reserve():
        pytest.skip("the image's boot loader takes no kernel arguments from the harness: build an image with a recipe")
    kdump.reserve(wanted, expect.deadline("guest.boot"))
    assert kdump.reserved() == wanted, f"{wanted} were to be kept for the crash kernel, {kdump.reserved()} are"
    cpus = sorted(guest.cpus.online())
    for cpu in (cpus[-1], cpus[0], secrets.choice(cpus))[: expect.count("L12.crashes")]:
        token, memory, release, boot = secrets.token_hex(16), kdump.memory(), guest.kernel.version(), guest.boot_id
        guest.files.write("/run/interop-token", token.encode())
        kdump.load()
        assert kdump.loaded(), "the kernel took a crash kernel, and has none"
        began = guest.console.end
        kdump.crash(cpu)
        wait_for(
            f"the crash kernel to keep what crashed on CPU {cpu}",
            partial(_kept, guest, began, expect),
            expect.deadline("L12.kept"),
            fault=AssertionError,
        )
        guest.mark_console()  # it has panicked, as it was told to
        guest.reboot_seen(boot, expect.deadline("guest.boot"))
        core = kdump.vmcore()
        assert core.length == kdump.length(), f"the dump has {kdump.length()} bytes; by its head it had {core.length}"
        assert not core.missing(memory), f"of the memory {memory} the dump lacks {core.missing(memory)}"
        assert core.about.get("OSRELEASE") == release, f"{release} crashed, the dump is of {core.about}"
        ran = dict(enumerate(core.pids))
        assert len(ran) == len(cpus), f"{len(cpus)} CPUs ran, the dump tells of {ran}"
        assert ran[cpu] == kdump.crashed_in(), f"CPU {cpu} crashed in process {kdump.crashed_in()}; by the dump: {ran}"
        assert kdump.holds(token), "what was in the guest's memory when it crashed is not in the dump"


def _kept(guest: Guest, since: int, expect: Expectations) -> bool | Pending:
    if said := re.search(SAID, guest.console.since(since)):
        assert said[1].startswith("kept "), f"the crash kernel kept nothing: {guest.console.tail()}"
        return True
    state = guest.machine.view(expect.deadline("host.verb")).state
    assert state is PowerState.RUNNING, f"no crash kernel took over: the machine is {state}"
    return Pending(guest.console.tail(3))
