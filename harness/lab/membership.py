"""A process of a run, as the server that controllers share knows it: heard of now and then, or taken for dead."""

from __future__ import annotations

import contextlib
import os
import secrets
from dataclasses import replace
from pathlib import Path

from harness.backends.protocol import LeaseLost
from harness.core import LabError
from harness.lab.booking import leave
from harness.lab.liveness import Liveness
from harness.lab.models import Lab
from harness.lab.store import Store


class Membership:
    """This process among those that share a store. Its leases fall to others when it was silent for too long.

    Args:
        store: what is shared.
        liveness: tells which other members are dead; see :func:`seen_from_afar`.
        lab: the run's lab.
        run: the run's id.
        member: this process of it.
        began: whether it began the run: with it the run ends.
    """

    def __init__(self, store: Store, liveness: Liveness, lab: Lab, *, run: str, member: str, began: bool) -> None:
        self.store = store
        self.liveness = liveness
        self._run = run
        self._member = member
        self._began = began
        now, silence = liveness.now(), lab.limits.silence.total_seconds()
        with store.write() as rows:
            rows.run(
                # Neither token nor lab file: who may read leases need not be able to make marks.
                "INSERT INTO runs (id, token, lab, lab_name, controller, started, heartbeat, expiry)"
                " VALUES (?, '', ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
                *(run, str(lab.path), lab.name, liveness.here, now, now, now + silence),
            )
            rows.run(
                "INSERT INTO members (id, run, pid, started, heard, silence) VALUES (?, ?, ?, ?, ?, ?)",
                *(member, run, os.getpid(), now, now, silence),
            )

    def beat(self) -> None:
        """Say that this process lives. Who was taken for dead stays so: others may have acted on it."""
        now = self.liveness.now()
        with self.store.write() as rows:
            rows.run("UPDATE members SET heard = ? WHERE id = ? AND ended IS NULL", now, self._member)
            rows.run("UPDATE runs SET heartbeat = ?, expiry = ? WHERE id = ?", now, now, self._run)

    def check(self) -> None:
        """Verify that nobody may take this process for dead; where it was silent for long, it says first that it lives.

        Raises:
            LeaseLost: somebody did.
        """
        asked = "SELECT heard, silence, ended FROM members WHERE id = ?"
        rows = self.store.rows(asked, self._member)
        if rows and rows[0]["ended"] is None and rows[0]["heard"] + rows[0]["silence"] < self.liveness.now():
            self.beat()
            rows = self.store.rows(asked, self._member)
        if not rows or rows[0]["ended"] is not None:
            raise LeaseLost(
                f"run {self._run} was not heard of for too long, and others were given what it held",
                operation="lease",
                hint="limits.silence in the lab file says how long that is",
            )

    def leave(self) -> None:
        """This process holds nothing any more; with the one that began it the run is over."""
        now = self.liveness.now()
        with self.store.write() as rows:
            leave(rows, self._member)
            rows.run("UPDATE members SET ended = ? WHERE id = ?", now, self._member)
            if self._began:
                rows.run("UPDATE runs SET ended = ? WHERE id = ? AND ended IS NULL", now, self._run)


def seen_from_afar(liveness: Liveness, store: Store) -> Liveness:
    """The same answers where several controllers ask.

    A held lock proves life to those alone who see its folder: containers of one image share name and machine id, and
    accounts of one machine have folders of their own. So a controller is called after the folder too. And the clock
    is the server's.
    """
    return replace(liveness, here=f"{liveness.here}:{_word(liveness.folder)}", now=store.now)


def _word(folder: Path) -> str:
    """A folder's own random word, made when it is first asked for; two who make one get the same."""
    path = folder / "controller"
    try:
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f".controller.{secrets.token_hex(4)}")
            try:
                part.write_text(secrets.token_hex(6))
                with contextlib.suppress(FileExistsError):
                    path.hardlink_to(part)
            finally:
                part.unlink(missing_ok=True)
        return path.read_text().strip()
    except OSError as error:
        raise LabError(
            f"{path} cannot be kept: {error.strerror}", operation="lease", hint="INTEROP_STATE names a local folder"
        ) from error
