"""The results folder: everything that goes into it passes here, and a crashed worker's test is not lost."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import allure_commons
import attr
from allure_commons import hookimpl
from allure_commons.logger import AllureFileLogger
from allure_commons.model2 import Attachment, Status, StatusDetails, TestResult

from harness.core.files import write_whole as write_whole  # noqa: PLC0414  known by this place, too
from harness.report import attachments
from harness.report.identity import Fault, Identity, stamp
from harness.report.redact import Redactor

# Bytes of these kinds mean nothing as text; masking inside them would only break them.
_BINARY = frozenset({"png", "jpg", "gif", "bmp", "tiff", "webm", "mp4", "ogg", "pdf", "zip", "gz", "pcap"})

# A folder, and hidden: Allure reads the files of a results folder only.
RUNNING = ".running"
"""Holds a note for each process of the run that is in a test."""
_NAMED = 20
"""How many of those things are named that could not be written."""


class ResultsWriter:
    """Writes what allure-pytest reports, secrets masked, text bounded and escaped: in place of its own file logger.

    Args:
        folder: the results folder; made if it is not there, never emptied. With xdist each worker writes files of its
            own, and emptying a folder that others write to loses their results.
        redactor: knows the run's secrets.
    """

    def __init__(self, folder: Path, redactor: Redactor) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folders = [folder]
        self._redactor = redactor
        self._displaced: list[AllureFileLogger] = []
        self._dropped: list[str] = []
        self._why = ""

    @property
    def dropped(self) -> str:
        """What could not be written, and why, in a sentence; empty: nothing."""
        if not self._dropped:
            return ""
        shown = [*dict.fromkeys(self._dropped)]
        more = f" and {len(shown) - _NAMED} more" if len(shown) > _NAMED else ""
        return f"not written, {self._why}: {', '.join(shown[:_NAMED])}{more}"

    def drop(self, what: str, error: OSError) -> None:
        """Remember what could not be written; the run goes on, and says so in the end."""
        self._dropped.append(what)
        self._why = self._why or f"{error.strerror} in {self._folders[0]}"

    def install(self) -> Callable[[], None]:
        """Take the place of allure-pytest's own writers, and write where they would have written as well.

        Returns:
            What puts everything back as it was; to be called before allure-pytest cleans up.
        """
        manager = allure_commons.plugin_manager
        self._displaced = [plugin for plugin in manager.get_plugins() if isinstance(plugin, AllureFileLogger)]
        for logger in self._displaced:
            manager.unregister(logger)
            folder = Path(logger._report_dir)  # noqa: SLF001  the only place that knows where --alluredir points
            if folder.resolve() not in [known.resolve() for known in self._folders]:
                self._folders.append(folder)
        manager.register(self)
        return self._uninstall

    def _uninstall(self) -> None:
        manager = allure_commons.plugin_manager
        if manager.is_registered(self):
            manager.unregister(self)
        for logger in self._displaced:
            manager.register(logger)
        self._displaced = []

    @hookimpl
    def report_result(self, result: Any) -> None:
        """A test's result."""
        self._write_item(result)

    @hookimpl
    def report_container(self, container: Any) -> None:
        """A fixture's set-up and tear-down, and the tests it belongs to.

        On pytest 9 allure-pytest begins finalizers that it never ends: nameless, without a status. They are left out,
        and so are the pseudo-fixtures of parameters, which belong to no test.
        """
        container.afters = [after for after in container.afters if after.status]
        if container.children:
            self._write_item(container)

    @hookimpl
    def report_globals(self, globals_item: Any) -> None:
        """What belongs to the run as a whole."""
        self._write_item(globals_item)

    @hookimpl
    def report_attached_file(self, source: str | Path, file_name: str) -> None:
        """An attachment that lies in a file; only as much of it is read as may be shown."""
        path = Path(source)
        if _is_binary(file_name):
            self._write(file_name, path.read_bytes())
        else:
            self.report_attached_data(attachments.bound_file(path), file_name)

    @hookimpl
    def report_attached_data(self, body: bytes | str, file_name: str) -> None:
        """An attachment in memory."""
        if isinstance(body, bytes) and _is_binary(file_name):
            self._write(file_name, body)
        else:
            raw = body.encode("utf-8", "backslashreplace") if isinstance(body, str) else body
            self._write(file_name, attachments.text(self._redactor.data(raw)).encode())

    def _write_item(self, item: Any) -> None:
        data = attr.asdict(item, filter=lambda _, value: bool(value) or value is False)
        name = item.file_pattern.format(prefix=uuid.uuid4())
        what = f"the result of {item.name}" if isinstance(item, TestResult) else "what belongs to results"
        self._write(name, json.dumps(masked(data, self._redactor), ensure_ascii=False).encode(), what)

    def _write(self, name: str, data: bytes, what: str = "attachments") -> None:
        for folder in self._folders:
            try:
                write_whole(folder / name, data)
            except OSError as error:  # a full disk, a share that is gone: what is there stays as it is
                self.drop(what, error)


class Running:
    """Notes on disk which test a worker is in, so that a worker that dies leaves a result for it.

    Args:
        folder: the results folder.
        worker: the worker's id (``gw0``), ``main`` without workers.
    """

    def __init__(self, folder: Path, worker: str) -> None:
        self._path = _note(folder, worker)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._began: tuple[str, int] | None = None

    def begin(self, identity: Identity) -> None:
        """A test begins, or its host is known now."""
        if self._began is None or self._began[0] != identity.history_id:
            self._began = identity.history_id, _now()
        note = {"start": self._began[1], "pid": os.getpid(), "identity": asdict(identity)}
        write_whole(self._path, json.dumps(note).encode())

    def end(self) -> None:
        """The test's result is written."""
        self._began = None
        self._path.unlink(missing_ok=True)


def write_crashed(
    folder: Path,
    identity: Identity,
    message: str,
    *,
    redactor: Redactor | None = None,
    start: int | None = None,
    fault: Fault = Fault.HARNESS,
    evidence: tuple[tuple[str, bytes | str], ...] = (),
) -> Path:
    """Write the result that a test could not write itself.

    Args:
        folder: the results folder.
        identity: the test.
        message: what is known about its end.
        redactor: masks secrets in message and evidence.
        start: when it began, in milliseconds since the epoch; None: now.
        fault: whose fault it is.
        evidence: names and texts to attach, such as the worker's last output.
    """
    redactor = redactor or Redactor()
    writer = ResultsWriter(folder, redactor)
    result = TestResult(
        uuid=str(uuid.uuid4()),
        status=Status.BROKEN,
        statusDetails=StatusDetails(message=redactor.text(message)),
        start=start or _now(),
        stop=_now(),
    )
    for name, body in evidence:
        source = f"{uuid.uuid4()}-attachment.txt"
        writer.report_attached_data(body, source)
        result.attachments.append(Attachment(name=name, source=source, type="text/plain"))
    stamp(result, identity, fault, frozenset())
    path = folder / f"{result.uuid}-result.json"
    data = attr.asdict(result, filter=lambda _, value: bool(value) or value is False)
    write_whole(path, json.dumps(masked(data, redactor), ensure_ascii=False).encode())
    return path


def write_crashed_worker(
    folder: Path, worker: str, message: str, *, redactor: Redactor | None = None
) -> Identity | None:
    """Write the result of the test that ``worker`` was in when it died; None where it was in none of ours."""
    return _settle_note(_note(folder, worker), folder, message, redactor)


def settle(folder: Path, message: str = "the run ended before this test did") -> list[Identity]:
    """Write results for tests that began and never ended because their run was killed; not for those still running."""
    notes = sorted((folder / RUNNING).glob("*.json"))
    dead = [note for note in notes if not alive(json.loads(note.read_bytes())["pid"])]
    return [identity for note in dead if (identity := _settle_note(note, folder, message, None))]


def _settle_note(note: Path, folder: Path, message: str, redactor: Redactor | None) -> Identity | None:
    try:
        found = json.loads(note.read_bytes())
    except FileNotFoundError:
        return None
    known = {field.name for field in fields(Identity)}
    values = {name: value for name, value in found["identity"].items() if name in known}
    values["parameters"] = tuple((name, value) for name, value in values["parameters"])
    identity = Identity(**values)
    write_crashed(folder, identity, message, redactor=redactor, start=found["start"])
    note.unlink(missing_ok=True)
    return identity


def alive(pid: int) -> bool:
    """Whether there is such a process on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _note(folder: Path, worker: str) -> Path:
    return folder / RUNNING / f"{worker or 'main'}.json"


def masked(value: Any, redactor: Redactor) -> Any:
    """JSON-able data with every text in it as a file may hold it: without secrets, bounded, without what is obeyed."""
    if isinstance(value, str):
        return redactor.safe(value)
    if isinstance(value, dict):
        return {masked(key, redactor): masked(item, redactor) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [masked(item, redactor) for item in value]
    return value


def _is_binary(file_name: str) -> bool:
    return file_name.rsplit(".", 1)[-1].lower() in _BINARY


def _now() -> int:
    return round(time.time() * 1000)
