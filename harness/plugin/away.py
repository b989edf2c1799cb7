"""Hosts that went away in the middle of a run: found once, known to every process of it, and asked no more."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from harness.core import LabError


class Away(LabError):
    """The host is not available, as an earlier test or another worker found."""

    def __init__(self, host: str, since: datetime, reason: str) -> None:
        super().__init__(f"not available since {since:%H:%M} UTC: {reason}", host=host)
        self.since = since


class Notes:
    """Which hosts are away.

    Args:
        folder: of the run: its processes find each other's notes there. None: this process alone knows.
        unsaid: takes secrets out of what is noted: a host's error may quote its login.
        now: the wall clock, UTC.
    """

    def __init__(
        self,
        folder: Path | None = None,
        unsaid: Callable[[str], str] = str,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._folder = folder
        self._unsaid = unsaid
        self._now = now
        self._known: dict[str, Away] = {}

    def of(self, host: str) -> Away | None:
        """What is known against a host; None: nothing."""
        if host not in self._known and self._folder is not None:
            try:
                said = json.loads((self._folder / f"{host}.json").read_bytes())
            except OSError:  # there is none, as ever but once; or the disk cannot be read: then each finds out itself
                return None
            self._known[host] = Away(host, datetime.fromisoformat(said["since"]), said["reason"])
        return self._known.get(host)

    def put(self, host: str, error: LabError) -> bool:
        """Note that a host is away.

        Args:
            host: the lab's name of it.
            error: what it was found by.

        Returns:
            Whether nobody had found so before.
        """
        if self.of(host) is not None:
            return False
        reason = error.message.splitlines()[0] if error.message else type(error).__name__
        away = Away(host, self._now(), self._unsaid(reason))
        said = {"since": away.since.isoformat(), "reason": away.message.partition(" UTC: ")[2]}
        first = self._folder is None or _publish(self._folder / f"{host}.json", json.dumps(said).encode())
        if first:
            self._known[host] = away
        return first


def _publish(path: Path, data: bytes) -> bool:
    """Write a file whole, if nobody else has; whether it is ours."""
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(data)
        os.link(part, path)
    except FileExistsError:
        return False
    except OSError:  # a full disk: this process knows, others find out themselves
        return True
    finally:
        part.unlink(missing_ok=True)
    return True
