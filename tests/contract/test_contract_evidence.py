"""What explains a failure: console, screen, addresses, events, the host's description."""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime

import pytest

from harness.backends.capabilities import Capability
from harness.backends.model import PowerState
from harness.backends.protocol import Console
from harness.core import Pending, wait_for
from harness.guest.screen import Screen
from harness.measure.picture import read_png
from tests.contract.test_contract_power import KERNEL_BANNER, await_console

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def test_reading_the_console_does_not_consume_it(guest):
    """Twice the same, from any offset, and never more than was asked for."""
    console = guest.machine.console()
    assert isinstance(console, Console)
    guest.run(["tee", "/dev/ttyS0"], stdin=b"0123456789abcdef\n" * 20)
    start = console.read(0, 300)
    assert len(start) == 300
    assert console.read(0, 300) == start
    assert console.read(100, 96) == start[100:196]


def test_beyond_its_end_the_console_is_empty(guest):
    """An offset that is not reached yet gives no bytes, and no error."""
    assert guest.machine.console().read(1 << 40, 4096) == b""


def test_the_console_shows_what_the_guest_prints(site, guest):
    """As it prints it, to the byte."""
    word = secrets.token_hex(8)
    end = guest.console.end
    guest.run(["tee", "/dev/ttyS0"], stdin=f"{word}\n".encode())
    await_console(guest.machine, word, since=end)


def test_the_console_is_kept_from_power_on(site, machine):
    """The kernel's first words are there, though nobody listened; another handle of the machine reads the same."""
    machine.start(site.deadline())
    await_console(machine, KERNEL_BANNER)
    again = site.hypervisor.open(machine.id, site.deadline())
    text = again.console().read(0, 1 << 20)
    assert re.search(KERNEL_BANNER.encode(), text)


@pytest.mark.proves(Capability.CONSOLE_INPUT)
def test_what_is_typed_reaches_the_guest(site, guest):
    """A shell on its console carries it out."""
    word = secrets.token_hex(8)
    guest.console.login(site.deadline(60))
    guest.machine.console().write(f"echo {word} >/run/typed\n".encode())

    def arrived():
        found = guest.run(["cat", "/run/typed"], check=False).text
        return True if word in found else Pending(repr(found))

    wait_for("what was typed", arrived, site.deadline(60), fault=AssertionError)
    guest.files.remove("/run/typed")


@pytest.mark.proves(Capability.SCREENSHOT)
def test_a_screenshot_shows_what_the_guest_draws(site, guest):
    """Three bars of colour, drawn into its frame buffer, in their order."""
    mode = Screen(guest).paint(3, [RED, GREEN, BLUE])

    def shown():
        picture = read_png(guest.machine.screenshot(site.deadline()))
        seen = [max(range(3), key=colour.__getitem__) for colour in picture.cells(3, 1)]
        bright = all(max(colour) > 150 for colour in picture.cells(3, 1))
        return picture if bright and seen == [0, 1, 2] else Pending(f"{picture.cells(3, 1)}")

    picture = wait_for("three bars on the screen", shown, site.deadline(60), fault=AssertionError)
    assert (picture.width, picture.height) == (mode.width, mode.height)


@pytest.mark.proves(Capability.SCREENSHOT)
def test_a_machine_that_boots_has_a_screen_already(site, machine):
    """A picture of the firmware is evidence, too."""
    machine.start(site.deadline())
    picture = read_png(machine.screenshot(site.deadline()))
    assert picture.width >= 320
    assert picture.height >= 200


def test_the_hosts_view_of_addresses_names_its_sources(site, guest):
    """Every line says who told it; what it tells is true where the guest has such an address."""
    views = guest.machine.addresses(site.deadline())
    assert all(view.source and view.mac and view.address for view in views)
    assert {view.mac for view in views} <= {nic.mac for nic in guest.nics.all().values()}
    mine = {(nic.mac, str(address.ip)) for nic in guest.nics.all().values() for address in nic.addresses}
    first = next(nic.mac for nic in guest.machine.spec.nics)
    told = {view.address.split("/")[0].split("%")[0] for view in views if view.mac == first}
    assert told & {address for mac, address in mine if mac == first}


def test_the_hosts_description_is_complete(site, guest):
    """It is what a report attaches: it names the machine, and every NIC."""
    view = site.view(guest.machine)
    assert guest.machine.spec.name in view.raw
    for nic in guest.machine.spec.nics:
        assert nic.mac in view.raw.lower()
    assert view.state is PowerState.RUNNING


@pytest.mark.proves(Capability.HOST_EVENTS)
def test_the_host_remembers_what_happened_to_a_machine(site, machine):
    """Oldest first, with the host's time; what is done now comes at the end."""
    began = datetime.now(UTC)
    machine.start(site.deadline())
    before = len(machine.events(site.deadline()))
    machine.stop(site.deadline())

    def more():
        events = machine.events(site.deadline())
        return events if len(events) > before else Pending(f"{len(events)} events")

    events = wait_for("an event of the stop", more, site.deadline(30), fault=AssertionError)
    assert [event.at for event in events] == sorted(event.at for event in events)
    assert all(event.kind and event.message and event.at.tzinfo for event in events)
    if site.host.embedded:
        assert began.replace(microsecond=0) <= events[-1].at <= datetime.now(UTC)


def test_binary_rubbish_on_the_console_is_passed_on_as_it_is(site, guest):
    """No decoding, no loss. The guest's own kernel and shell may print into the middle: then it is said once more."""
    data = bytes(range(128, 256))
    end = guest.console.end

    def arrived():
        guest.run(["tee", "/dev/ttyS0"], stdin=data)
        output = guest.machine.console().read(end, 1 << 20)
        return True if data in output else Pending(f"{len(output)} bytes: {output[-600:]!r}")

    wait_for("the bytes on the console", arrived, site.deadline(60), every=1, fault=AssertionError)
