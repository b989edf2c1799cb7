"""The folder that each process of a run keeps its machines in, below ours: made with the first, gone with the last.

vSphere deletes a folder together with what is in it, so one is deleted only when it was seen empty, and only by the
process whose it is, which knows whether it is making a machine there just now; or by whoever reaps after that process.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from harness.backends.vsphere import collector, tasks
from harness.backends.vsphere.errors import Gone, NameTaken
from harness.backends.vsphere.refs import Ref
from harness.backends.vsphere.session import Session
from harness.core import Deadline, InteropError

_CHILDREN = "childEntity"


@dataclass(slots=True)
class Folders:
    """The folders of runs that this process uses."""

    _lock: threading.RLock = field(default_factory=threading.RLock)
    _known: dict[str, Ref] = field(default_factory=dict)
    _busy: Counter[Ref] = field(default_factory=Counter)

    @contextlib.contextmanager
    def making(self, session: Session, above: Ref, run: str, deadline: Deadline) -> Iterator[Ref]:
        """The run's folder, which stays as long as the block runs."""
        with self._lock:
            folder = self._take(session, above, run, deadline)
            self._busy[folder] += 1
        try:
            yield folder
        except Gone:  # somebody deleted it; the next machine gets a new one
            self._known = {run: ref for run, ref in self._known.items() if ref != folder}
            raise
        finally:
            with self._lock:
                self._busy[folder] -= 1

    def leave(self, session: Session, above: Ref, folder: Ref | None, deadline: Deadline) -> None:
        """A machine left this folder: delete it if it is a run's (one right below ``above``) and empty."""
        if folder is None or folder in (above, session.root):
            return
        with self._lock:
            if self._busy[folder]:
                return
            # Whatever stands in the way, an empty folder more is no reason to fail: the reaper comes by here again.
            with contextlib.suppress(InteropError):
                values = collector.read_one(session, folder, "parent", _CHILDREN, deadline=deadline)
                if values.get("parent") == above and not values.get(_CHILDREN):
                    tasks.run(session, "delete folder", folder, "Destroy_Task", deadline)
                    self._known = {run: ref for run, ref in self._known.items() if ref != folder}

    def _take(self, session: Session, above: Ref, run: str, deadline: Deadline) -> Ref:
        name = f"{run}-{os.getpid():x}"
        if name not in self._known:
            try:
                made: Ref = session.call("create", above, "CreateFolder", deadline, name)
            except NameTaken as error:  # an earlier connection of this process left it
                if error.other is None:
                    raise
                made = Ref("Folder", error.other)
            self._known[name] = made
        return self._known[name]
