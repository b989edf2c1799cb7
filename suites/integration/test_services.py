import re
import secrets
from contextlib import suppress

import pytest
from interop_fixtures import Capability, Expectations, Guest, Guests

from harness.backends.protocol import Screenshot, Services
from harness.backends.verbs import able
from harness.core import GuestError, Pending, wait_for
from harness.guest.screen import Screen
from harness.measure.picture import Picture, read_png

COLUMNS, ROWS = 4, 3


def random_channel() -> int:
    """Full or empty: a screen of any depth can show it."""
    return secrets.choice((0, 255))


@pytest.mark.check("I08")
@pytest.mark.needs(Capability.HEARTBEAT)
@pytest.mark.smoke
def test_the_host_hears_the_guests_heartbeat(guest: Guest, expect: Expectations) -> None:
    """An operator sees on the host that the guest is alive, without logging in."""
    services = able(guest.machine, Services)

    def healthy() -> bool | Pending:
        seen = {service.name: service for service in services.services(expect.deadline("host.verb"))}
        heart = seen.get("heartbeat")
        return True if heart and heart.healthy else Pending(f"the host sees {heart or sorted(seen)}")

    wait_for("the host to hear the heartbeat", healthy, expect.deadline("I08.heartbeat"), fault=AssertionError)


@pytest.mark.check("I09")
@pytest.mark.needs(Capability.HEARTBEAT)
@pytest.mark.changes_guest
def test_the_host_misses_the_heartbeat_of_a_guest_that_crashed(guest: Guest, expect: Expectations) -> None:
    """An operator sees on the host that a guest is dead: a heartbeat that goes on after a panic would hide it."""
    services = able(guest.machine, Services)

    def heart(wanted: bool) -> bool | Pending:
        seen = {service.name: service for service in services.services(expect.deadline("host.verb"))}
        found = seen.get("heartbeat")
        return True if found and bool(found.healthy) is wanted else Pending(f"the host sees {found or sorted(seen)}")

    wait_for(
        "the host to hear the heartbeat", lambda: heart(True), expect.deadline("I08.heartbeat"), fault=AssertionError
    )
    began = guest.console.end
    with suppress(GuestError):  # nobody is left to answer
        guest.run(["tee", "/proc/sysrq-trigger"], stdin=b"c\n", timeout=expect.duration("I09.crash"))
    wait_for(
        "the host to miss the heartbeat of a guest that was told to crash",
        lambda: heart(False),
        expect.deadline("I09.lost"),
        fault=AssertionError,
    )
    guest.console.wait_for("sysrq triggered crash", expect.deadline("host.verb"), since=began)


@pytest.mark.check("I29")
@pytest.mark.smoke
@pytest.mark.needs(Capability.CONSOLE_INPUT)
def test_the_serial_console_carries_both_ways(guest: Guest, expect: Expectations) -> None:
    """The last way into a guest works: what it prints comes out, and what is typed goes in."""
    outward, inward = secrets.token_hex(8), secrets.token_hex(8)
    began = guest.console.end
    guest.run(["tee", "/dev/ttyS0"], stdin=f"{outward}\n".encode())
    guest.console.wait_for(outward, expect.deadline("I29.token"), since=began)
    guest.console.run(["cp", "/dev/null", f"/run/{inward}"])
    assert guest.files.exists(f"/run/{inward}"), f"what was typed did not arrive; last lines: {guest.console.tail(5)}"
    guest.files.remove(f"/run/{inward}")


@pytest.mark.check("I29", part="boot")
def test_the_serial_console_tells_of_the_boot(guests: Guests) -> None:
    """A boot that goes wrong can be followed on the serial console from the kernel's first line on."""
    guest = guests.cold()
    told = guest.console.since(0)
    assert re.search(r"^\[ +0\.000000\] Linux version", told, re.MULTILINE), (
        f"the kernel's first line never came out of the serial port, which began with {told[:500]!r}"
    )


@pytest.mark.check("I30")
@pytest.mark.needs(Capability.SCREENSHOT)
@pytest.mark.smoke
@pytest.mark.changes_guest
def test_a_screenshot_shows_this_guest(guest: Guest, expect: Expectations) -> None:
    """The picture that an operator gets is of this guest, whole, and of now."""
    screen, camera = Screen(guest), able(guest.machine, Screenshot)

    def shot() -> Picture:
        return read_png(camera.screenshot(expect.deadline("host.verb")))

    mode, before = screen.mode(), shot()
    assert (before.width, before.height) == (mode.width, mode.height), (
        f"the guest shows {mode.width}x{mode.height}, the host's picture has {before.width}x{before.height}"
    )
    # Only this guest can know these colours.
    colours = [(random_channel(), random_channel(), random_channel()) for _ in range(COLUMNS * ROWS)]
    screen.paint(COLUMNS, colours)

    def painted() -> bool | Pending:
        seen = shot().cells(COLUMNS, ROWS)
        return True if seen == colours else Pending(f"cells {seen}")

    wait_for(f"cells {colours} in a screenshot", painted, expect.deadline("I30.drawn"), fault=AssertionError)
