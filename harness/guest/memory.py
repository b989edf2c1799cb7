"""The guest's memory."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.core import Size
from harness.guest.probe import Probe

if TYPE_CHECKING:
    from harness.guest.guest import Guest


@dataclass(frozen=True, slots=True)
class MemoryInfo:
    """``/proc/meminfo``, proc(5).

    Args:
        total: RAM that the kernel manages: less than the machine has by what firmware and kernel keep for themselves.
        available: what programs could get without swapping.
        free: what nobody uses, not even as cache.
    """

    total: Size
    available: Size
    free: Size


@dataclass(frozen=True, slots=True)
class MemoryBlocks:
    """Memory in the pieces that come and go (kernel, Documentation/admin-guide/mm/memory-hotplug.rst).

    Args:
        size: of each block.
        online: the numbers of those in service.
        offline: the numbers of those that are there and not in service.
    """

    size: Size
    online: frozenset[int]
    offline: frozenset[int]

    @property
    def in_service(self) -> Size:
        """What all the blocks in service hold."""
        return Size(len(self.online) * self.size)


def parse_meminfo(data: bytes) -> MemoryInfo:
    """The lines that matter of ``/proc/meminfo``."""
    values = {}
    for line in data.decode("ascii").splitlines():
        found = re.fullmatch(r"(\w+):\s+(\d+) kB", line)
        if found:
            values[found[1]] = Size(int(found[2]) << 10)
    return MemoryInfo(values["MemTotal"], values["MemAvailable"], values["MemFree"])


def parse_blocks(files: Mapping[str, bytes]) -> MemoryBlocks:
    """The size of all blocks, and the state of each."""
    size, states = Size(int(files[f"{_SYSFS}/block_size_bytes"], 16)), {}
    for path, content in files.items():
        if found := re.fullmatch(rf"{_SYSFS}/memory(\d+)/state", path):
            states[int(found[1])] = content.decode("ascii").strip()
    online = frozenset(block for block, state in states.items() if state == "online")
    # A block on its way out ("going-offline") is in service no more.
    if not size or not online or not set(states.values()) <= {"online", "offline", "going-offline"}:
        raise ValueError("blocks of no size, in unknown states, or none in service")
    return MemoryBlocks(size, online, frozenset(states) - online)


def parse_ballooned(files: Mapping[str, bytes]) -> Size | None:
    """What the driver of each hypervisor says of its balloon, in pages; the largest counts.

    None: a driver is loaded and tells nobody, or nothing counts.
    """
    texts = {path: content.decode("ascii") for path, content in files.items()}
    events = dict(line.split() for line in texts["/proc/vmstat"].splitlines())
    pages = []
    if "balloon_inflate" in events:
        pages.append(int(events["balloon_inflate"]) - int(events["balloon_deflate"]))
    for path, pattern in _BALLOONS.items():
        if path in texts:
            found = re.search(pattern, texts[path], re.MULTILINE)
            if not found:
                raise ValueError(f"{path} says nothing of its pages")
            pages.append(int(found[1]))
    if "nr_free_pages" not in events:
        raise ValueError("/proc/vmstat counts no free pages")
    if not pages or any(loaded in texts and path not in texts for path, loaded in _LOADED.items()):
        return None
    return Size(max(pages) * _PAGE)


_SYSFS = "/sys/devices/system/memory"
_AUTO_ONLINE = f"{_SYSFS}/auto_online_blocks"
_PAGE = 4096  # on all machines that these hypervisors run

# drivers/hv/hv_balloon.c (since Linux 6.0) and drivers/misc/vmw_balloon.c; neither counts in /proc/vmstat alone. KVM's
# drivers/virtio/virtio_balloon.c does.
_BALLOONS = {
    "/sys/kernel/debug/hv-balloon": r"^pages_ballooned\s*: (\d+)$",
    "/sys/kernel/debug/vmmemctl": r"^current\s*: *(\d+)(?: pages)?$",
}
# The module is there: a parameter of the one, which may be built in, and the state of the other.
_LOADED = {
    "/sys/kernel/debug/hv-balloon": "/sys/module/hv_balloon/parameters/hot_add",
    "/sys/kernel/debug/vmmemctl": "/sys/module/vmw_balloon/initstate",
}

MEMINFO = Probe.file("/proc/meminfo", parse_meminfo)
BLOCKS = Probe.files("memory blocks", parse_blocks, f"{_SYSFS}/block_size_bytes", f"{_SYSFS}/memory[0-9]*/state")
BALLOONED = Probe.files("balloon", parse_ballooned, "/proc/vmstat", *_BALLOONS, *_LOADED.values())


class Memory:
    """The memory of a guest. Every call reads afresh."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    def info(self) -> MemoryInfo:
        """Total and available: ``/proc/meminfo``."""
        return self._guest.read(MEMINFO)

    def total(self) -> Size:
        """RAM that the kernel manages: ``MemTotal`` of ``/proc/meminfo``."""
        return self.info().total

    def blocks(self) -> MemoryBlocks:
        """The blocks there are, in service or not: ``/sys/devices/system/memory/memoryN/state``."""
        return self._guest.read(BLOCKS)

    def accept_new(self) -> None:
        """Have blocks that come put in service at once, as a guest without a rule for them needs it:
        ``/sys/devices/system/memory/auto_online_blocks``.
        """
        self._guest.run(["tee", _AUTO_ONLINE], stdin=b"online\n")

    def ballooned(self) -> Size | None:
        """What the hypervisor has taken back by its balloon: ``balloon_inflate`` less ``balloon_deflate`` of
        ``/proc/vmstat``, and the drivers' own figures in ``/sys/kernel/debug/{hv-balloon,vmmemctl}``. None where the
        driver of its hypervisor is loaded and its figures cannot be read.
        """
        return self._guest.read(BALLOONED)
