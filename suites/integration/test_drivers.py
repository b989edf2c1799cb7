import pytest
from interop_fixtures import Capability, Expectations, Guest

from harness.core import Pending, wait_for
from harness.guest.modules import Modules, driven


@pytest.mark.check("I23")
@pytest.mark.needs(Capability.CONSOLE_INPUT)
@pytest.mark.changes_guest
def test_the_nics_driver_is_reloaded_again_and_again(guest: Guest, expect: Expectations) -> None:
    """An administrator updates the NIC's driver without a reboot: each time it goes, comes, and has the link again."""
    mac, rounds = guest.identity.nics[0].mac, expect.count("I23.rounds")
    before = guest.nics.by_mac(mac)
    module = driven(guest, before.name).module
    if module is None:
        pytest.skip(f"the guest's kernel has {before.driver} built in: boot one that has it as a module")
    modules = Modules(guest.name, guest.console, expect.duration("I23.console"))
    loads = unloads = 0

    def back() -> bool | Pending:
        now = guest.nics.all().get(mac)
        same = now and now.carrier and set(now.addresses) == set(before.addresses)
        return True if same else Pending(f"the guest has {now}")

    with guest.kernel.undisturbed(expect.noise):
        for number in range(1, rounds + 1):
            index = driven(guest, before.name).index
            guest.disconnect()
            gone = modules.unload(module)
            unloads += modules.get(module) is None
            assert unloads == number, f"round {number}: {module} is still {modules.get(module)}; modprobe: {gone}"
            came = modules.load(module)
            loads += modules.get(module) is not None
            assert loads == number, f"round {number}: {module} did not come back; modprobe: {came}"
            guest.wait_back(expect.deadline("guest.back"))
            what = f"{before.name} to have {before.addresses} in round {number} of {rounds}"
            wait_for(what, back, expect.deadline("I23.back"), fault=AssertionError)
            now = driven(guest, before.name).index
            assert now != index, f"round {number}: {before.name} is number {now} as before: it never went"
    assert loads == unloads == rounds, f"{rounds} rounds asked for, {unloads} times unloaded, {loads} times loaded"
