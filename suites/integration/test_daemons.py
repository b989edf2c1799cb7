import pytest
from interop_fixtures import Capability, Expectations, Guest

from harness.backends.protocol import Services
from harness.backends.verbs import able
from harness.core import Deadline, Pending, wait_for
from harness.guest.services import Unit, same_release, upstream


def daemons(guest: Guest, expect: Expectations) -> list[Unit]:
    """The units of the integration services, whatever this distribution calls them."""
    return [guest.services.first(names.split()) for names in expect.words("daemons")]


@pytest.mark.check("I22", part="stay")
@pytest.mark.smoke
def test_the_daemons_run_and_stay(guest: Guest, expect: Expectations) -> None:
    """Integration services start by themselves with every boot, and run on without help."""
    watch, units = expect.duration("I22.watch"), daemons(guest, expect)
    assert units, "no daemon is expected here, and so none was looked at"
    for before in units:
        assert before.started_by, f"nothing starts {before.name} when the guest boots: {before}"
        assert (before.active, before.sub) == ("active", "running"), f"{before.name} does not run: {before}"

        def stayed(before: Unit = before) -> Unit | Pending:
            now = guest.services.unit(before.name)
            if guest.services.age(before.name) >= watch or now.pid != before.pid or now.restarts:
                return now
            return Pending(f"it is active for {guest.services.age(before.name)}")

        patience = Deadline.after(watch.total_seconds() + expect.deadline("host.verb").seconds)
        after = wait_for(f"{before.name} to be {watch} old", stayed, patience, every=1, fault=AssertionError)
        assert (after.active, after.restarts, after.pid) == ("active", 0, before.pid), (
            f"{before.name} did not last {watch}: {before}, then {after}"
        )


@pytest.mark.check("I22", part="killed")
@pytest.mark.changes_guest
def test_a_daemon_that_crashes_comes_back(guest: Guest, expect: Expectations) -> None:
    """One crash of a daemon does not cost the host its view of the guest: somebody starts it again."""
    units = daemons(guest, expect)
    assert units, "no daemon is expected here, and so none was looked at"
    for before in units:
        assert before.pid, f"{before.name} does not run: {before}"
        guest.services.kill(before.name)

        def back(before: Unit = before) -> bool | Pending:
            now = guest.services.unit(before.name)
            up = (now.active, now.sub) == ("active", "running") and now.pid not in (0, before.pid)
            return True if up else Pending(f"{now}")

        wait_for(f"{before.name} to run again after SIGKILL", back, expect.deadline("I22.back"), fault=AssertionError)


@pytest.mark.check("I21")
@pytest.mark.needs(Capability.HEARTBEAT)
def test_host_and_guest_agree_on_the_services_versions(guest: Guest, expect: Expectations) -> None:
    """Who reads on the host which services a guest runs reads what is installed there, and what runs is that."""
    services, told_here = able(guest.machine, Services), expect.words("service_versions")
    assert told_here, "no version is expected to be told here, and so none was looked at"
    for words in told_here:
        service, package, *program = words.split()
        installed = guest.services.version(package)
        assert installed, f"the package {package} is not installed"

        def told(service: str = service) -> str | Pending:
            seen = {one.name: one for one in services.services(expect.deadline("host.verb"))}
            version = seen[service].version if service in seen else None
            return version or Pending(f"the host sees {sorted(seen.values(), key=str)}")

        what = f"the host to know the version of {service}"
        by_host = wait_for(what, told, expect.deadline("I21.told"), fault=AssertionError)
        by_guest = {f"the package {package}": upstream(installed)}
        if program:  # more exact: a distribution may update it without a new number for its package
            by_guest[" ".join(program)] = guest.services.told_version(program)
        for source, version in by_guest.items():
            assert same_release(by_host, version), (
                f"{service}: the host says {by_host}, {source} of the guest says {version}; installed is {installed}"
            )
