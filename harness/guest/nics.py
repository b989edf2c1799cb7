"""The guest's NICs, by MAC: the only name that guest and host share."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv4Interface, IPv6Address, IPv6Interface, ip_interface
from typing import TYPE_CHECKING, Any

from harness.core import Deadline, GuestError, LabError, Pending, wait_for
from harness.guest import pings
from harness.guest.probe import Probe, read_json

if TYPE_CHECKING:
    from harness.backends.model import NicSpec
    from harness.guest.guest import Guest


@dataclass(frozen=True, slots=True)
class Traffic:
    """One direction of a NIC's counters since boot (kernel, Documentation/networking/statistics.rst)."""

    packets: int
    bytes: int
    errors: int
    dropped: int


@dataclass(frozen=True, slots=True)
class Nic:
    """A NIC with hardware (or a hypervisor) behind it.

    Args:
        name: the interface's name.
        mac: in lower case with colons.
        driver: the kernel driver bound to its device; None when the device has none.
        up: whether the interface was switched on by the guest.
        carrier: whether there is a link; a NIC that is not up has none to show.
        mtu: MTU in bytes.
        largest_mtu: the largest that its driver, or its host through it, lets the guest set; None where iproute2 is too
            old to say.
        addresses: its addresses with prefix lengths.
        received: what came in.
        sent: what went out.
    """

    name: str
    mac: str
    driver: str | None
    up: bool
    carrier: bool
    mtu: int
    largest_mtu: int | None
    addresses: tuple[IPv4Interface | IPv6Interface, ...]
    received: Traffic
    sent: Traffic

    @property
    def link_local(self) -> IPv6Address | None:
        """Its IPv6 link-local address, if it has one."""
        for address in self.addresses:
            if isinstance(address, IPv6Interface) and address.is_link_local:
                return address.ip
        return None


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An entry of the neighbour table: ``ip neigh``.

    Args:
        mac: what answered; None while nothing has.
        states: ``REACHABLE``, ``STALE``, ``FAILED`` ...
    """

    mac: str | None
    states: frozenset[str]


def address_of(nic: NicSpec) -> str:
    """The address that the seed gives to a NIC, without its prefix length.

    Raises:
        LabError: the lab gives it none, but leaves it to DHCP.
    """
    if nic.address is None:
        raise LabError(
            f"the lab gives {nic.mac} no address",
            hint=f"guests meet in {nic.network.name}: give it `subnet:` in the lab file",
        )
    return str(ip_interface(nic.address).ip)


def parse_links(data: bytes) -> list[dict[str, Any]]:
    """``ip -j -d -s addr``: a list of objects, each with its name."""
    links = read_json(data or b"[]")
    if not isinstance(links, list) or not all(isinstance(link, dict) and "ifname" in link for link in links):
        raise ValueError("not the list of interfaces that iproute2 prints")
    return links


def parse_drivers(data: bytes) -> dict[str, str | None]:
    """One line a NIC that has a device: its name and, where a driver is bound, the driver's."""
    drivers: dict[str, str | None] = {}
    for line in data.decode("utf-8", "surrogateescape").splitlines():
        name, *driver = line.split()
        drivers[name] = driver[0] if driver else None
    return drivers


def parse_neighbours(data: bytes) -> dict[str, Neighbour]:
    """``ip -j neigh``, by address."""
    return {
        entry["dst"]: Neighbour(entry["lladdr"].lower() if "lladdr" in entry else None, frozenset(entry["state"]))
        for entry in read_json(data or b"[]")
    }


def nics(links: list[dict[str, Any]], drivers: Mapping[str, str | None]) -> dict[str, Nic]:
    """Join the two views into NICs by MAC; interfaces without a device (loopback, bridges) are left out."""
    return {link["address"].lower(): _nic(link, drivers[link["ifname"]]) for link in links if link["ifname"] in drivers}


def _nic(link: dict[str, Any], driver: str | None) -> Nic:
    flags = set(link["flags"])
    stats = link.get("stats64") or link["stats"]
    return Nic(
        name=link["ifname"],
        mac=link["address"].lower(),
        driver=driver,
        up="UP" in flags,
        carrier="LOWER_UP" in flags,
        mtu=link["mtu"],
        largest_mtu=link.get("max_mtu"),
        addresses=tuple(ip_interface(f"{entry['local']}/{entry['prefixlen']}") for entry in link["addr_info"]),
        received=_traffic(stats["rx"]),
        sent=_traffic(stats["tx"]),
    )


def _traffic(stats: dict[str, int]) -> Traffic:
    return Traffic(stats["packets"], stats["bytes"], stats["errors"], stats["dropped"])


# The driver's own name is the last part of the link's target; `ip` does not show it.
_LIST_DRIVERS = """
for nic in /sys/class/net/*; do
    [ -e "$nic/device" ] || continue
    driver=$(readlink "$nic/device/driver")
    echo "${nic##*/} ${driver##*/}"
done
"""

LINKS = Probe("network interfaces", ("ip", "-j", "-d", "-s", "addr"), parse_links)
DRIVERS = Probe("NIC drivers", ("sh", "-c", _LIST_DRIVERS), parse_drivers)
NEIGHBOURS = Probe("neighbour table", ("ip", "-j", "neigh"), parse_neighbours)


class Nics:
    """The NICs of a guest, by MAC. Every call reads afresh."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    def all(self) -> dict[str, Nic]:
        """All NICs with a device behind them: ``ip -s addr`` (netlink) and ``/sys/class/net/*/device/driver``."""
        links, drivers = self._guest.read_all(LINKS, DRIVERS)
        return nics(links, drivers)

    def by_mac(self, mac: str) -> Nic:
        """The NIC with this MAC.

        Raises:
            GuestError: there is none; names those that are there.
        """
        found = self.all()
        if mac.lower() not in found:
            raise GuestError(f"{self._guest.name}: no NIC has the MAC {mac}; there are {', '.join(found) or 'none'}")
        return found[mac.lower()]

    def set_up(self, mac: str, up: bool) -> None:
        """Switch an interface on or off: ``ip link set``."""
        self._guest.run(["ip", "link", "set", "dev", self.by_mac(mac).name, "up" if up else "down"])

    def set_address(self, mac: str, address: IPv4Interface | IPv6Interface) -> None:
        """Switch an interface on and give it an address until the next boot: ``ip addr replace``."""
        name = self.by_mac(mac).name
        self._guest.run(["ip", "link", "set", "dev", name, "up"])
        self._guest.run(["ip", "addr", "replace", str(address), "dev", name])

    def add_vlan(self, mac: str, vlan: int, address: IPv4Interface | IPv6Interface) -> None:
        """Make a VLAN device above a NIC, with an address: ``ip link add type vlan`` (ip-link(8)).

        What goes by it has the tag of its id, and what comes with that tag is its own. It goes with its NIC.

        Raises:
            CommandFailed: it is there already, or the kernel has no ``8021q``.
        """
        below, name = self.by_mac(mac).name, self._device(mac, vlan)
        self._guest.run(["ip", "link", "add", "link", below, "name", name, "type", "vlan", "id", str(vlan)])
        self._guest.run(["ip", "link", "set", "dev", name, "up"])
        self._guest.run(["ip", "addr", "replace", str(address), "dev", name])

    def neighbours(self) -> dict[str, Neighbour]:
        """Who answered on which link-layer address, by network address: ``ip neigh``."""
        return self._guest.read(NEIGHBOURS)

    def forget_neighbours(self, mac: str) -> None:
        """Empty the neighbour table of one NIC: ``ip neigh flush``."""
        self._guest.run(["ip", "neigh", "flush", "dev", self.by_mac(mac).name])

    def answer_alone(self) -> None:
        """From now on each NIC answers for its own addresses alone: ``arp_ignore`` (kernel, ip-sysctl.rst).

        Otherwise a neighbour may be told the MAC of another NIC in the same network, and never notices.
        """
        self._guest.run(["sysctl", "--quiet", "--write", "net.ipv4.conf.all.arp_ignore=1"])

    def set_mtu(self, mac: str, mtu: int) -> None:
        """Set the largest payload of a frame in bytes: ``ip link set mtu``.

        Raises:
            CommandFailed: the driver refuses it.
        """
        self._guest.run(["ip", "link", "set", "dev", self.by_mac(mac).name, "mtu", str(mtu)])

    def ping(
        self,
        target: str,
        *,
        by: str,
        count: int = 1,
        every: timedelta = timedelta(milliseconds=50),
        whole: int | None = None,
        vlan: int | None = None,
    ) -> pings.Pings:
        """Echo requests from the NIC with the MAC ``by`` to ``target``, and the replies that came (iputils).

        Args:
            target: an address.
            by: the MAC of the NIC.
            count: how many.
            every: how long between two.
            whole: so many bytes of data in each, which nobody on the way may divide; None: a few.
            vlan: by the VLAN device of this id above that NIC; None: by the NIC itself.
        """
        return pings.ping(self._guest, target, self._device(by, vlan), count=count, every=every, whole=whole)

    def wait_carrier(self, mac: str, up: bool, deadline: Deadline) -> None:
        """Wait until the NIC shows a link, or none.

        Raises:
            AssertionError: the deadline passed.
        """

        def shown() -> bool | Pending:
            nic = self.by_mac(mac)
            return True if nic.carrier is up else Pending(f"{nic.name} has {'a' if nic.carrier else 'no'} carrier")

        wait_for(f"{'a' if up else 'no'} carrier on {mac} in {self._guest.name}", shown, deadline, fault=AssertionError)

    def wait_reply(self, target: str, by: str, deadline: Deadline, *, vlan: int | None = None) -> None:
        """Wait until ``target`` answers a ping from the NIC ``by``, or from its VLAN device of the id ``vlan``.

        Raises:
            AssertionError: the deadline passed.
        """

        def answered() -> bool | Pending:
            return True if self.ping(target, by=by, vlan=vlan).received else Pending("no reply")

        wait_for(f"{target} to answer {self._guest.name}", answered, deadline, fault=AssertionError)

    def wait_macs(self, wanted: AbstractSet[str], deadline: Deadline) -> None:
        """Wait until the guest's NICs are just those with these MACs.

        Raises:
            AssertionError: the deadline passed.
        """

        def there() -> bool | Pending:
            seen = set(self.all())
            return True if seen == wanted else Pending(f"there are {', '.join(sorted(seen)) or 'none'}")

        what = f"{', '.join(sorted(wanted)) or 'none'} to be the NICs of {self._guest.name}"
        wait_for(what, there, deadline, fault=AssertionError)

    def _device(self, mac: str, vlan: int | None) -> str:
        """The name of a NIC, or of its VLAN device."""
        name = self.by_mac(mac).name
        return name if vlan is None else f"{name}.{vlan}"
