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

from harness.backends.model import Ownership
from harness.backends.vsphere import collector, marks, tasks
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
    def making(self, session: Session, above: Ref, owner: Ownership, deadline: Deadline) -> Iterator[Ref]:
        """The run's folder, which stays as long as the block runs."""
        with self._lock:
            folder = self._take(session, above, owner, deadline)
            self._busy[folder] += 1
        try:
            yield folder
        except Gone:  # somebody deleted it; the next machine gets a new one
            self._known = {known: ref for known, ref in self._known.items() if ref != folder}
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
                values = collector.read_one(session, folder, "name", "parent", _CHILDREN, deadline=deadline)
                ours = values.get("parent") == above and marks.run_folder_mark(str(values.get("name")))
                if ours and not values.get(_CHILDREN):  # a machine may have been moved to somebody's own folder
                    tasks.run(session, "delete folder", folder, "Destroy_Task", deadline)
                    self._known = {known: ref for known, ref in self._known.items() if ref != folder}

    def _take(self, session: Session, above: Ref, owner: Ownership, deadline: Deadline) -> Ref:
        known = f"{owner.run}~{owner.token}"
        if known not in self._known:
            name = marks.run_folder(owner, os.getpid())
            try:
                made: Ref = session.call("create", above, "CreateFolder", deadline, name)
            except NameTaken as error:  # an earlier connection of this process left it
                if error.other is None:
                    raise
                made = Ref("Folder", error.other)
            self._known[known] = made
        return self._known[known]
