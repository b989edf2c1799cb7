import hashlib
import json
import re
import secrets
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import pytest
from interop_fixtures import Capability, Expectations, Guest

from harness.backends.protocol import Exchange, FileCopy, GuestIgnored, Refused
from harness.backends.verbs import able
from harness.core import Pending, wait_for
from harness.guest.mailbox import Mailbox, mailbox
from harness.guest.probe import ProbeFailed
from harness.guest.switching import device_class, switch

Facts = dict[str, set[str]]
ADDRESSES = ("ipv4", "ipv6", "addresses")


def addresses_in(text: str) -> set[IPv4Address | IPv6Address]:
    """Every address that stands in a text of any form, but those that lead to the guest itself."""
    found = set()
    for word in re.findall(r"[0-9A-Fa-f.:]+", text):
        with suppress(ValueError):  # a number, a MAC
            found.add(ip_address(word))
    return {address for address in found if not address.is_loopback}


def told(answer: str, path: list[str]) -> str:
    """What stands in an answer under a name; the answer itself where it is plain text."""
    for name in path:
        answer = str(json.loads(answer)[name])
    return answer


def truth(guest: Guest) -> Facts:
    """What the guest says of itself, by the names that expectations have for it.

    There, ``some_ipv4`` stands for a host that is told one address or more of those that there are.
    """
    system, names = guest.system.os_release(), guest.system.names()
    addresses = {str(face.ip) for nic in guest.nics.all().values() for face in nic.addresses}
    return {
        "os_name": {system.name},
        "os_pretty_name": {system.pretty_name},
        "os_version": {system.version_id},
        "kernel": {names.kernel},
        "kernel_number": {names.kernel.partition("-")[0]},
        "architecture": {names.architecture},
        "host_name": {names.host},
        "fqdn": {names.fqdn},
        "ipv4": {address for address in addresses if ":" not in address},
        "ipv6": {address for address in addresses if ":" in address},
        "addresses": addresses,
    }


@pytest.mark.check("I15")
@pytest.mark.needs(Capability.EXCHANGE)
@pytest.mark.smoke
def test_what_the_host_reads_of_a_guest_is_true(guest: Guest, expect: Expectations) -> None:
    """An inventory made on the host is right: system, kernel, names and addresses are those that the guest has.

    As far as hosts are told: a real vSphere is asked for the name and some of the addresses alone.
    """
    services = able(guest.machine, Exchange)
    told_here = expect.words("guest_facts")
    assert told_here, "no fact is expected to be told here, and so none was looked at"
    for words in told_here:
        fact, question, *path = words.split()

        def agrees(fact: str = fact, question: str = question, path: list[str] = path) -> bool | Pending:
            try:
                seen = told(services.exchange(question, expect.deadline("host.verb")), path)
            except (Refused, GuestIgnored) as error:  # services tell it some time after they started
                return Pending(f"the host was told nothing: {error.message}")
            real = truth(guest)[fact.removeprefix("some_")]
            known = {str(one) for one in addresses_in(seen)} if fact.endswith(ADDRESSES) else {seen}
            same = known and known <= real if fact.startswith("some_") else known == real
            return True if same else Pending(f"seen by the host {sorted(known)}, by the guest {sorted(real)}")

        wait_for(
            f"{question} on the host to be the guest's {fact}",
            agrees,
            expect.deadline("I15.told"),
            fault=AssertionError,
        )


def changes() -> list[str | None]:
    """A value that comes, is changed, and is taken away; nobody can have known the words before."""
    return [f"first {secrets.token_hex(8)}", f"then längere 値 {secrets.token_hex(40)}", None]


def leave(box: Mailbox, key: str, value: str | None, expect: Expectations) -> None:
    """Have the host leave a value, as soon as the guest's services listen."""

    def left() -> bool | Pending:
        try:
            box.host_tells(key, value, expect.deadline("host.verb"))
        except GuestIgnored as error:
            return Pending(error.message)
        return True

    wait_for(f"the host to leave {key} for the guest", left, expect.deadline("host.verb"), fault=AssertionError)


def reaches_guest(box: Mailbox, key: str, value: str | None, expect: Expectations) -> None:
    """Wait until the guest finds what its host left."""

    def came() -> bool | Pending:
        try:
            seen = box.guest_reads(key)
        except ProbeFailed as error:  # daemons write where others read: this is half of it
            return Pending(error.message)
        return True if seen == value else Pending(f"told by the host {value!r}, seen by the guest {seen!r}")

    wait_for(f"{key} to reach the guest", came, expect.deadline("I16.seen"), fault=AssertionError)


@pytest.mark.check("I16", part="to guest")
@pytest.mark.needs(Capability.EXCHANGE)
@pytest.mark.changes_guest
def test_a_guest_reads_what_its_host_left_for_it(guest: Guest, expect: Expectations) -> None:
    """A host configures its guests by values that need no network: each comes, changes and goes as it was told."""
    reads(guest, expect)


def reads(guest: Guest, expect: Expectations) -> None:
    """Assert that a guest reads what its host leaves, changes and takes away."""
    box, key = mailbox(guest, expect.word("mailbox")), f"interop.{secrets.token_hex(4)}"
    assert box.guest_reads(key) is None, f"{key} was never told, and the guest reads {box.guest_reads(key)!r}"
    for value in changes():
        leave(box, key, value, expect)
        reaches_guest(box, key, value, expect)


@pytest.mark.check("I16", part="to host")
@pytest.mark.needs(Capability.EXCHANGE)
@pytest.mark.changes_guest
def test_a_host_reads_what_its_guest_left_for_it(guest: Guest, expect: Expectations) -> None:
    """A guest reports to its host by values that need no network: each comes, changes and goes as it was told."""
    if reasons := expect.words("mailbox_one_way"):
        pytest.skip("; ".join(reasons))
    box, key = mailbox(guest, expect.word("mailbox")), f"interop.{secrets.token_hex(4)}"
    for value in changes():
        box.guest_tells(key, value)

        def came(value: str | None = value) -> bool | Pending:
            try:
                seen = box.host_reads(key, expect.deadline("host.verb"))
            except GuestIgnored as error:  # services have hardly begun to listen
                return Pending(error.message)
            return True if seen == value else Pending(f"told by the guest {value!r}, seen by the host {seen!r}")

        wait_for(f"{key} to reach the host", came, expect.deadline("I16.seen"), fault=AssertionError)


@pytest.mark.check("I18")
@pytest.mark.needs(Capability.EXCHANGE, Capability.SERVICE_TOGGLE)
@pytest.mark.changes_guest
@pytest.mark.slow
def test_exchange_outlives_being_switched_off_and_on(guest: Guest, expect: Expectations) -> None:
    """However often a host takes the exchange of values away and gives it back, it then works as before."""
    device, rounds = device_class(expect.words("vmbus_devices"), "kvp"), expect.count("I18.rounds")
    with guest.kernel.undisturbed(expect.noise):
        switch(guest, "kvp", True, device, expect.deadline("I18.on"))
        for _ in range(rounds):
            switch(guest, "kvp", False, device, expect.deadline("I18.off"))
            switch(guest, "kvp", True, device, expect.deadline("I18.on"))

        def runs() -> bool | Pending:
            now = guest.services.first(expect.word("exchange_daemon").split())
            return True if (now.active, now.sub) == ("active", "running") else Pending(str(now))

        wait_for(f"the daemon to run after {rounds} rounds", runs, expect.deadline("I22.back"), fault=AssertionError)
        reads(guest, expect)


@pytest.mark.check("I19")
@pytest.mark.needs(Capability.FILE_COPY)
@pytest.mark.changes_guest
def test_files_reach_a_guest_without_a_network(guest: Guest, expect: Expectations, tmp_path: Path) -> None:
    """A file that the host copies into a guest is there to the last byte, or the host is told that it is not.

    One size alone: a second, of 1 GB, would take hours by a host that copies in pieces of some KiB. Of a full disk the
    host may hear that nobody took the file, for not every service says why.
    """
    door, source, target = able(guest.machine, FileCopy), tmp_path / "file", "/var/tmp/interop-größe-檔案"
    data = secrets.token_bytes(expect.size("I19.size"))

    def arrived(content: bytes, path: str = target) -> None:
        wanted = hashlib.sha256(content).hexdigest()
        assert guest.files.exists(path), f"the host says that {path} was copied, and the guest has no such file"
        seen = guest.files.sha256(path)
        assert seen == wanted, f"{path}: {len(content)} bytes arrived different: sent {wanted}, there is {seen}"

    source.write_bytes(data)
    door.copy_file(source, target, expect.deadline("I19.copied"))
    arrived(data)

    source.write_bytes(b"another")
    with pytest.raises(Refused):
        door.copy_file(source, target, expect.deadline("I19.copied"))
    arrived(data)
    door.copy_file(source, target, expect.deadline("I19.copied"), overwrite=True)
    arrived(b"another")

    source.write_bytes(data)
    guest.shell("mkdir -p /run/interop-full && mount -t tmpfs -o size=64k none /run/interop-full")
    with pytest.raises((Refused, GuestIgnored)):
        door.copy_file(source, "/run/interop-full/file", expect.deadline("I19.copied"))
    daemon = guest.services.first(expect.word("file_copy_daemon").split()).name
    guest.services.stop(daemon)
    try:
        with pytest.raises((Refused, GuestIgnored)):
            door.copy_file(source, "/var/tmp/interop-nobody", expect.deadline("I19.refused"))
    finally:
        guest.services.start(daemon)
    assert not guest.files.exists("/var/tmp/interop-nobody"), f"a file came in while {daemon} was stopped"

    def works_again() -> bool | Pending:
        try:
            door.copy_file(source, target, expect.deadline("I19.copied"), overwrite=True)
        except (Refused, GuestIgnored) as error:  # the daemon has hardly begun to listen
            return Pending(error.message)
        return True

    wait_for("a copy after those that failed", works_again, expect.deadline("I19.copied"), fault=AssertionError)
    arrived(data)
