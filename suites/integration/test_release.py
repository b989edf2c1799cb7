import pytest
from interop_fixtures import Expectations, Guest, Guests, ReleaseUnderTest

from harness.core import Pending, wait_for
from harness.lab.releases import Seen, Traces, Which, left_behind, unchanged
from harness.lab.releases.installing import reboot
from harness.lab.releases.traces import told


def absent(guest: Guest, release: ReleaseUnderTest) -> None:
    """Take away what the image carries of it, so that it is installed where there is none; no kernel: one must run."""
    if not release.side.kernel:
        release.remove(guest)


def works(guest: Guest, release: ReleaseUnderTest, expect: Expectations, seen: Seen) -> None:
    """Its services are back, and the guest can be reached anew."""
    for names in release.services:

        def up(names: str = names) -> bool | Pending:
            unit = guest.services.first(names.split())
            return True if (unit.active, unit.sub) == ("active", "running") else Pending(f"{unit}; {seen}")

        wait_for(f"{names} to run once it is installed", up, expect.deadline("I22.back"), fault=AssertionError)
    reached(guest)


def reached(guest: Guest) -> None:
    """A new connection, for the old one proves nothing of a network that was set up anew."""
    guest.disconnect()
    assert guest.run(["echo", "here"]).text == "here"


@pytest.mark.check("I31", part="installed")
@pytest.mark.slow
def test_a_release_installs_and_its_services_run_from_the_next_boot_on(
    guests: Guests, release: ReleaseUnderTest, expect: Expectations
) -> None:
    """Services that are installed where there were none start by themselves, at the latest when the guest boots again.

    Many start at once. Debian's invoke-rc.d leaves those alone that a device or another unit is to start
    (deb-systemd-invoke(1p): "a disabled or a static unit, not starting it"), among them the agent of QEMU.
    """
    guest = guests.bare()
    absent(guest, release)
    failed = set(guest.services.failed())
    with guest.kernel.undisturbed(expect.noise):
        seen = release.install(guest)
        reboot(guest, None, release.deadline())
    works(guest, release, expect, seen)
    assert not set(guest.services.failed()) - failed, f"units fail now: {guest.services.failed()}"


@pytest.mark.check("I31", part="upgraded")
@pytest.mark.slow
def test_a_release_is_upgraded_from_its_baseline(
    guests: Guests, release: ReleaseUnderTest, expect: Expectations
) -> None:
    """Who has the baseline gets the candidate: it runs, and nothing of the baseline runs any more."""
    changes_over(guests, release, expect, Which.BASELINE, Which.CANDIDATE)


@pytest.mark.check("I31", part="downgraded")
@pytest.mark.slow
def test_a_release_is_downgraded_to_its_baseline(
    guests: Guests, release: ReleaseUnderTest, expect: Expectations
) -> None:
    """Who regrets the candidate gets the baseline back: it runs, and nothing of the candidate runs any more."""
    changes_over(guests, release, expect, Which.CANDIDATE, Which.BASELINE)


def changes_over(guests: Guests, release: ReleaseUnderTest, expect: Expectations, first: Which, then: Which) -> None:
    """Install one side over the other."""
    if release.which is Which.BASELINE:
        pytest.skip(f"the run is of the baseline alone: give --release {release.release.name}")
    guest = guests.bare()
    old = release.install(guest, first)
    replaced = Traces.of(guest).replaced()
    failed = set(guest.services.failed())
    with guest.kernel.undisturbed(expect.noise):
        new = release.install(guest, then)
    works(guest, release, expect, new)
    same = unchanged(release.release, old, release.seen(guest))
    assert not same, f"the {then} is installed over the {first}, and {'; '.join(same)}"
    running = sorted(set(Traces.of(guest).replaced()) - set(replaced))
    assert not running, f"programs of the {first} run on: {told(running)}"
    assert not set(guest.services.failed()) - failed, f"units fail now: {guest.services.failed()}"


@pytest.mark.check("I31", part="removed")
@pytest.mark.slow
def test_a_release_that_is_removed_leaves_nothing_behind(
    guests: Guests, release: ReleaseUnderTest, expect: Expectations
) -> None:
    """Packages, processes, files and modules are as they were before, and the guest can still be reached."""
    if release.side.tarball and not release.side.tarball.remove:
        pytest.skip(f"the release {release.release.name} says nothing of how it is removed: write `remove` for it")
    guest = guests.bare()
    absent(guest, release)
    kernel, before = guest.kernel.version(), Traces.of(guest)
    release.install(guest)
    assert Traces.of(guest).beyond(before), "it is installed, and the guest has nothing that it had not before"
    with guest.kernel.undisturbed(expect.noise):
        release.remove(guest, kernel=kernel)
    left = left_behind(guest, before, expect.deadline("I22.back"))
    assert not left, f"left behind: {told(left)}"
    reached(guest)
