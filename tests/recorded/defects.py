"""Defects that checks must catch where no host here can run them: in the tree of a recorded guest, or its host's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.recorded.guest import Tree
from tests.recorded.hyperv import DISK_DEVICE, NIC_DEVICE, POOL, Host, beats, device


@dataclass(frozen=True)
class RecordedDefect:
    """One thing that is wrong with a recorded guest or its host.

    Args:
        check: the number of the check that must fail.
        words: what is wrong, for the table in the documentation.
        says: a regular expression that the check's words fit.
        change: makes the tree wrong before the check begins.
        host: what the guest's host is like.
        goes_on: what the guest does by itself meanwhile.
        also: the numbers of other checks that share its cause.
    """

    check: str
    words: str
    says: str
    change: Callable[[Tree], None] = lambda tree: None
    host: type[Host] = Host
    goes_on: Callable[[Tree], None] = beats
    also: frozenset[str] = frozenset()

    @property
    def shared(self) -> frozenset[str]:
        """Every check that must fail."""
        return self.also | {self.check}


def without(path: str) -> Callable[[Tree], None]:
    """A file is not there."""
    return lambda tree: tree.at(path).unlink()


def holds(path: str, content: str | bytes, mode: int = 0o644) -> Callable[[Tree], None]:
    """A file holds something else."""
    return lambda tree: tree.write(path, content, mode=mode)


def instead(path: str, old: str, new: str) -> Callable[[Tree], None]:
    """A file says something else in one place."""

    def change(tree: Tree) -> None:
        text = tree.at(path).read_text()
        assert old in text, f"{path} does not say {old!r}"
        tree.write(path, text.replace(old, new))

    return change


def unoffered(tree: Tree) -> None:
    """The heartbeat's device is not there."""
    for path in sorted(tree.at(device("heartbeat", "")).rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


def linked(path: str, target: str) -> Callable[[Tree], None]:
    """A link is there, or points elsewhere."""
    return lambda tree: tree.link(path, target)


class Keeps(Host):
    """Switches nothing off in its guest."""

    def rescind(self, service: str) -> None:
        self.offered = True

    def offer(self, service: str) -> None:
        self.offered = True


class Forgets(Host):
    """Never gives back what it took."""

    def offer(self, service: str) -> None:
        self.offered = False


class Undriven(Host):
    """Its guest has lost the driver when it gets the device again for the third time, or for the first heartbeat."""

    times = 0

    def offer(self, service: str) -> None:
        super().offer(service)
        self.times += 1
        if service == "heartbeat" or self.times == 3:
            self.tree.write(device(service, "uevent"), "MODALIAS=vmbus:0\n")


class Hears(Host):
    """Hears a heartbeat that it switched off."""

    def answers(self, service: str) -> bool:
        return True


class Off(Host):
    """Has a service switched off that is on by default."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.enabled["shutdown"] = False


class Overwrites(Host):
    """Adds what is there already."""

    def change(self, method: str, pairs: dict[str, str]) -> None:
        known = {key: value for key, value in pairs.items() if method == "AddKvpItems" and key in self.pairs}
        self.pairs.update(known)
        super().change(method, {key: value for key, value in pairs.items() if key not in known})


class Half(Host):
    """Takes those of too many pairs that have room, and refuses the call."""

    def change(self, method: str, pairs: dict[str, str]) -> None:
        if len(pairs) > 128:
            self.pairs.update(list(pairs.items())[:1])
        super().change(method, pairs)


class Unbounded(Host):
    """Takes as many pairs as one likes."""

    def change(self, method: str, pairs: dict[str, str]) -> None:
        some = dict(list(pairs.items())[:128])
        super().change(method, some)
        if len(pairs) > len(some):
            super().change(method, {key: value for key, value in pairs.items() if key not in some})


class Latin(Host):
    """Tells what is no ASCII in another encoding."""

    def tell(self) -> None:
        super().tell()
        content = self.tree.at(POOL).read_bytes()
        self.tree.write(POOL, content.replace("ö".encode(), b"\xf6\0"))


class Short(Host):
    """Tells long values without their end."""

    def tell(self) -> None:
        super().tell()
        content = self.tree.at(POOL).read_bytes()
        self.tree.write(POOL, content.replace(("é" * 1023).encode(), ("é" * 512).encode().ljust(2046, b"\0")))


class Deaf(Host):
    """Its guest hears nothing any more once the service was switched."""

    switched = False

    def rescind(self, service: str) -> None:
        super().rescind(service)
        self.switched = True

    def tell(self) -> None:
        if not self.switched:
            super().tell()


def complains(tree: Tree) -> None:
    """The kernel complains as soon as a device went away."""
    beats(tree)
    log = tree.at("/dev/kmsg").read_text()
    if not tree.at(device("kvp", "class_id")).exists() and "BUG" not in log:
        tree.write("/dev/kmsg", f"{log}3,900,99000000,-;BUG: kernel NULL pointer dereference, address: 0\n")


def ended(tree: Tree) -> None:
    """The daemon has failed."""
    unit = "systemctl hv-kvp-daemon.service"
    text = tree.commands[unit].replace("ActiveState=active", "ActiveState=failed")
    tree.commands = {**tree.commands, unit: text.replace("SubState=running", "SubState=failed")}


_NIC_MAP, _DISK_MAP = device(NIC_DEVICE, "channel_vp_mapping"), device(DISK_DEVICE, "channel_vp_mapping")
_VERSION = "hv_vmbus: Vmbus version:5.3"
RECORDED = (
    RecordedDefect(
        "I06",
        "the heartbeat's device is not offered",
        r"heartbeat .*the guest has only",
        unoffered,
        also=frozenset({"I07"}),
    ),
    RecordedDefect(
        "I06",
        "no driver has the device of key-value pairs",
        r"kvp: not driven by hv_utils",
        instead(device("kvp", "uevent"), "DRIVER=hv_utils\n", ""),
    ),
    RecordedDefect(
        "I06",
        "another driver has the NIC",
        r"nic: not driven by hv_netvsc",
        instead(device(NIC_DEVICE, "uevent"), "hv_netvsc", "uio_hv_generic"),
    ),
    RecordedDefect(
        "I06",
        "host and guest connected twice",
        r"\['5.3', '4.0'\], not one",
        instead("/dev/kmsg", _VERSION, f"{_VERSION}\n6,310,500000,-;hv_vmbus: Vmbus version:4.0"),
    ),
    RecordedDefect(
        "I06",
        "host and guest speak a version of long ago",
        r"VMBus 3.0, not at least 4",
        instead("/dev/kmsg", _VERSION, "hv_vmbus: Hyper-V Host Build:9600-6.3-17-0.17039; Vmbus version:3.0"),
    ),
    RecordedDefect("I06", "a service that is on by default is off", r"shutdown: on by default.*off", host=Off),
    RecordedDefect(
        "I06",
        "the guest has a NIC that nobody asked for",
        r"synthetic NICs: asked of the host 1, seen by the host 1, seen by the guest 2",
        lambda tree: [
            tree.write(f"/sys/bus/vmbus/devices/extra/{file}", tree.at(device(NIC_DEVICE, file)).read_text())
            for file in ("class_id", "uevent")
        ],
        also=frozenset({"I07"}),
    ),
    RecordedDefect("I07", "the NIC has one channel", r"1 channels, not \[8\]", holds(_NIC_MAP, "8:1\n")),
    RecordedDefect(
        "I07", "two channels of the NIC share a CPU", r"hv_netvsc\): CPUs \(1, 2, 2,", instead(_NIC_MAP, "13:3", "13:2")
    ),
    RecordedDefect(
        "I07", "the disks have one channel", r"hv_storvsc\): 1 channels, not \[2\]", holds(_DISK_MAP, "9:3\n")
    ),
    RecordedDefect(
        "I07", "the disks' channels share a CPU", r"hv_storvsc\): CPUs \(3, 3\)", holds(_DISK_MAP, "9:3\n11:3\n")
    ),
    RecordedDefect(
        "I07",
        "the heartbeat's channel stands still",
        r"heartbeat's channel to carry messages",
        goes_on=lambda tree: None,
    ),
    RecordedDefect(
        "I07",
        "a message of the heartbeat's waits for ever",
        r"heartbeat's channel to carry messages.*waiting=48",
        holds(device("heartbeat", "in_read_bytes_avail"), "48\n"),
    ),
    RecordedDefect(
        "I07",
        "a CPU is out of service",
        r"vCPUs: asked of the host 8, seen by the host 8, seen by the guest 7",
        holds("/sys/devices/system/cpu/online", "0-6\n"),
    ),
    RecordedDefect("I14", "no daemon runs", r"one daemon .*there are \[\]", without("/proc/417/comm")),
    RecordedDefect(
        "I14", "a second daemon runs", r"there are \[417, 430\]", holds("/proc/430/comm", "hv_kvp_daemon\n")
    ),
    RecordedDefect("I14", "the daemon has lost its host", r"is open in \[\]", without("/proc/417/fd/3")),
    RecordedDefect(
        "I14",
        "somebody else has the daemon's device as well",
        r"is open in \[417, 702\]",
        linked("/proc/702/fd/9", "/dev/vmbus/hv_kvp"),
    ),
    RecordedDefect("I14", "a pool is missing", r"pools 0 to 4 are to be there", without("/var/lib/hyperv/.kvp_pool_4")),
    RecordedDefect(
        "I14",
        "a pool is for its owner alone",
        r"mode 644; others: \{1: '600'\}",
        holds("/var/lib/hyperv/.kvp_pool_1", b"", 0o600),
    ),
    RecordedDefect(
        "I14",
        "the host has told nothing by itself",
        r"the host tells 0 pairs by itself, not at least 11",
        holds("/var/lib/hyperv/.kvp_pool_3", b""),
    ),
    RecordedDefect("I10", "a service that is off keeps its device", r"heartbeat off; seen by", host=Keeps),
    RecordedDefect("I10", "the device does not come back", r"heartbeat on; seen by .*by the guest \(\)", host=Forgets),
    RecordedDefect("I10", "the device comes back without a driver", r"heartbeat on;.*driver=None", host=Undriven),
    RecordedDefect("I10", "the host hears a heartbeat that is off", r"heartbeat off;.*healthy=True", host=Hears),
    RecordedDefect(
        "I17", "a key that is there is added again", r"adding a key that is there: the host took", host=Overwrites
    ),
    RecordedDefect("I17", "a refused call is done in part", r"just what it was told.*different: \['interop", host=Half),
    RecordedDefect("I17", "more pairs are taken than may be", r"a pair too many: the host took", host=Unbounded),
    RecordedDefect("I17", "what is no ASCII comes in another encoding", r"just what it was told", host=Latin),
    RecordedDefect("I17", "long values lose their end", r"just what it was told.*different: \['ä", host=Short),
    RecordedDefect("I18", "the third time, no driver has the device", r"kvp on;.*driver=None", host=Undriven),
    RecordedDefect("I18", "the daemon ends for good", r"the daemon to run after 20 rounds", ended),
    RecordedDefect("I18", "nothing reaches the guest any more", r"to reach the guest", host=Deaf),
    RecordedDefect(
        "I18", "the kernel complains of a device that went", r"kernel of recorded complained", goes_on=complains
    ),
)
