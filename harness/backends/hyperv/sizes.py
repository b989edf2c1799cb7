"""vCPUs and memory. Hyper-V adds no vCPU to a running machine, but memory to one with static memory (since 2016)."""

from __future__ import annotations

from harness.backends.hyperv.base import OFF, RUNNING, VM, MachineBase, state_is
from harness.backends.hyperv.steps import Step
from harness.core import Deadline, Size

_ABLE = "able"


class Sizes(MachineBase):
    """The verb :meth:`Machine.resize`."""

    def resize(self, deadline: Deadline, *, vcpus: int | None = None, memory: Size | None = None) -> None:
        """Off: both. Running: memory alone."""
        with self._lock:
            most = self.spec.shape.max_memory
            states = (OFF, RUNNING) if vcpus is None and most is not None else (OFF,)
            if most is not None and memory is not None and memory > most:
                raise self._refused(f"{memory}; the machine was made for at most {most}", "resize")
            steps = []
            if vcpus is not None:
                steps.append(Step("Set-VMProcessor", {"VM": VM, "Count": vcpus}))
            if memory is not None:
                steps.append(Step("Set-VMMemory", {"VM": VM, "StartupBytes": int(memory)}))
            able = [state_is(_ABLE, *states), *(step.only(_ABLE) for step in steps)]
            seen, _ = self._act("resize", deadline, (OFF, RUNNING), *able, repeatable=True)
            if seen not in states:
                what = "memory, and the shape keeps no room for it" if vcpus is None else "vCPUs"
                raise self._refused(f"Hyper-V does not change a running machine's {what}", "resize")
