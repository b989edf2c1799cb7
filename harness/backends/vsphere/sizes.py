"""vCPUs and memory: set while off, added while running."""

from __future__ import annotations

from harness.backends.model import PowerState
from harness.backends.protocol import WrongState
from harness.backends.vsphere.base import MachineBase
from harness.backends.vsphere.collector import Values
from harness.core import Deadline, MiB, Size

_CPUS, _CORES = "config.hardware.numCPU", "config.hardware.numCoresPerSocket"
_MEMORY, _HOT_ADD = "config.hardware.memoryMB", "config.cpuHotAddEnabled"
_GRAIN = Size(4 * MiB)
"""A machine's memory is a multiple of it (vSphere Web Services API, ``memoryMB``)."""


class Sizes(MachineBase):
    """The verb :meth:`Machine.resize`: CPU_HOT_ADD, MEMORY_HOT_ADD.

    A machine is made with hot-add on where its shape keeps room. How much room is the shape's word alone: the host
    would go on up to its own limits.
    """

    def resize(self, deadline: Deadline, *, vcpus: int | None = None, memory: Size | None = None) -> None:
        """Both parts in one step: both are done or neither."""
        with self._lock:
            states = (PowerState.OFF, PowerState.RUNNING)
            state, values = self._look("resize", deadline, states, _CPUS, _CORES, _MEMORY, _HOT_ADD)
            if vcpus is not None and vcpus < 1:
                raise self._refused(f"{vcpus} vCPUs", "resize")
            if memory is not None and (memory < _GRAIN or memory % _GRAIN):
                raise self._refused(f"{memory}; memory is a multiple of {_GRAIN}", "resize")
            change: dict[str, int] = {}
            if vcpus is not None and vcpus != values[_CPUS]:
                change["numCPUs"] = vcpus
            if memory is not None and memory.mib != values[_MEMORY]:
                change["memoryMB"] = memory.mib
            if state is PowerState.RUNNING:
                self._refuse_too_much(change, values)
            elif vcpus is not None and vcpus % int(values.get(_CORES) or 1):
                change["numCoresPerSocket"] = 1
            self._host.ledger.check()
            if change:
                self._change(change, running=state is PowerState.RUNNING, deadline=deadline)

    def _change(self, change: dict[str, int], *, running: bool, deadline: Deadline) -> None:
        try:
            self._reconfigure("resize", deadline, **change)
        except WrongState as error:
            if not running:
                raise
            raise self._refused(error.message, "resize") from error  # the host does not do it in a running machine

    def _refuse_too_much(self, change: dict[str, int], values: Values) -> None:
        shape, vcpus, memory = self._spec.shape, int(values[_CPUS]), int(values[_MEMORY])
        most = max(shape.vcpus, shape.max_vcpus or 0)
        wanted = change.get("numCPUs", vcpus)
        if wanted > most and values.get(_HOT_ADD):  # where it is off, the host itself refuses
            raise self._refused(f"{wanted} vCPUs; the machine was made for at most {most}", "resize")
        if wanted < vcpus:
            raise self._refused("vCPUs cannot be taken from a running machine", "resize")
        room = max(shape.memory, shape.max_memory or Size(0))
        if change.get("memoryMB", memory) < memory:
            raise self._refused("memory cannot be taken from a running machine", "resize")
        if "memoryMB" in change and change["memoryMB"] > room.mib:
            raise self._refused(f"{change['memoryMB']} MiB; the machine was made for at most {room}", "resize")
