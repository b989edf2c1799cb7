"""vCPUs and memory. Hyper-V adds no vCPU to a running machine, but memory to one with static memory (since 2016)."""

from __future__ import annotations

from harness.backends.hyperv.base import OFF, RUNNING, VM, MachineBase, state_is
from harness.backends.hyperv.errors import StepFailed
from harness.backends.hyperv.steps import Step
from harness.backends.protocol import WrongState
from harness.core import Deadline, Size

_ABLE = "able"


class Sizes(MachineBase):
    """The verb :meth:`Machine.resize`."""

    def resize(self, deadline: Deadline, *, vcpus: int | None = None, memory: Size | None = None) -> None:
        """Off: both. Running: memory alone; that it takes no vCPU then, the host says."""
        with self._lock:
            most = self.spec.shape.max_memory
            states = (OFF, RUNNING) if most is not None else (OFF,)
            if most is not None and memory is not None and memory > most:
                raise self._refused(f"{memory}; the machine was made for at most {most}", "resize")
            steps = []
            if vcpus is not None:
                steps.append(Step("Set-VMProcessor", {"VM": VM, "Count": vcpus}))
            if memory is not None:
                # Without room in the shape the host would do it nevertheless, beyond what was leased.
                steps.append(state_is(_ABLE, *states))
                steps.append(Step("Set-VMMemory", {"VM": VM, "StartupBytes": int(memory)}, when=_ABLE))
            try:
                seen, _ = self._act("resize", deadline, (OFF, RUNNING), *steps, repeatable=True)
            except WrongState as error:
                if not isinstance(error.__cause__, StepFailed):
                    raise
                raise self._refused(error.message, "resize") from error
            if memory is not None and seen not in states:
                raise self._refused("the shape keeps no room for more memory in a running machine", "resize")
