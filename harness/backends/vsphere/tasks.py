"""Tasks: asked for, waited for, cancelled when time is up, and their faults told."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from harness.backends.vsphere import collector
from harness.backends.vsphere.errors import Busy, Gone, translated
from harness.backends.vsphere.refs import Ref
from harness.backends.vsphere.session import Session
from harness.core import Deadline, InteropError, LabError, Pending, wait_for

_CANCEL_SECONDS = 10.0
_STATE, _RESULT, _ERROR, _PROGRESS = "info.state", "info.result", "info.error", "info.progress"
_PATHS = (_STATE, _RESULT, _ERROR, _PROGRESS)


def run(
    session: Session,
    operation: str,
    ref: Ref,
    method: str,
    deadline: Deadline,
    *arguments: Any,
    machine: Ref | None = None,
    question: Callable[[Any], None] | None = None,
    patient: bool = False,
) -> Any:
    """Start a task and wait for its end.

    Args:
        session: where.
        operation: what it is for, in messages (``power on``).
        ref: whose method.
        method: its name in the API, ending in ``_Task``.
        deadline: when to cancel it and give up.
        arguments: of the method.
        machine: whose ``runtime.question`` is looked at as well; with ``question``. It may leave before the task ends.
        question: called with each question (``VirtualMachineQuestionInfo``) that is raised meanwhile; it answers, or
            raises, which cancels the task. Without an answer a task that raised a question never ends.
        patient: whether to ask again until the deadline while another task holds the object.

    Returns:
        The task's result; objects as :class:`Ref`.

    Raises:
        InteropError: of the kinds that :mod:`~harness.backends.vsphere.errors` names.
    """

    def attempt() -> Any:
        task = session.call(operation, ref, method, deadline, *arguments)
        return finish(session, operation, task, deadline, machine=machine, question=question)

    if not patient:
        return attempt()

    def until_free() -> Any | Pending:
        try:
            return (attempt(),)
        except Busy as error:
            return Pending(error.message)

    return wait_for(f"{ref} to be free", until_free, deadline, every=0.5, fault=_of(session, operation))[0]


def finish(
    session: Session,
    operation: str,
    task: Ref,
    deadline: Deadline,
    *,
    machine: Ref | None = None,
    question: Callable[[Any], None] | None = None,
) -> Any:
    """Wait for a task that runs already; arguments as of :func:`run`."""
    accept = _accepting(task, machine, question)
    watched: dict[Ref, tuple[str, ...]] = {task: _PATHS}
    if machine and question:
        watched[machine] = ("runtime.question",)
    try:
        (info,) = collector.wait(
            session, f"the task to {operation}", watched, accept, deadline, operation=operation, fault=_TimeUp
        )
    except _TimeUp as error:
        info = _cancelled(session, operation, task)
        if info.get(_STATE) != "success":
            text = f"{error}; the task was cancelled"
            raise LabError(text, host=session.host, operation=operation, hint="the host may be overloaded") from error
    except Gone:
        if machine is None:
            raise
        return finish(session, operation, task, deadline)  # the machine left, as it does by its removal: the task tells
    except InteropError:
        if machine:  # an answer to a question failed
            _cancelled(session, operation, task)
        raise
    return _result(session, operation, info)


def _accepting(
    task: Ref, machine: Ref | None, question: Callable[[Any], None] | None
) -> Callable[[Mapping[Ref, collector.Values]], tuple[collector.Values] | Pending]:
    """Whether the task has ended; each question is passed on once meanwhile."""
    answered: set[str] = set()

    def accept(values: Mapping[Ref, collector.Values]) -> tuple[collector.Values] | Pending:
        info = values[task]
        if info.get(_STATE) in ("success", "error"):
            return (info,)
        asked = values.get(machine, {}).get("runtime.question") if machine else None
        if asked is not None and question and asked.id not in answered:
            answered.add(asked.id)
            question(asked)
        if asked is not None:
            return Pending(f"the question {asked.text!r}")
        return Pending(f"{info.get(_STATE)}, {info.get(_PROGRESS) or 0} % done")

    return accept


class _TimeUp(LabError):
    pass


def _result(session: Session, operation: str, info: collector.Values) -> Any:
    if info[_STATE] == "success":
        return info.get(_RESULT)
    fault = info.get(_ERROR)
    if isinstance(fault, BaseException):
        raise translated(fault, session.host, operation)
    raise LabError("the task failed and the host does not say why", host=session.host, operation=operation)


def _cancelled(session: Session, operation: str, task: Ref) -> collector.Values:
    """How the task ended once it was cancelled, if it did: it may also have come through in the last moment."""
    deadline = Deadline.after(_CANCEL_SECONDS)
    with contextlib.suppress(InteropError):
        session.call(operation, task, "CancelTask", deadline)
    with contextlib.suppress(InteropError):
        return collector.wait_one(
            session,
            "the cancelled task to end",
            task,
            _PATHS,
            lambda info: info if info.get(_STATE) in ("success", "error") else Pending(str(info.get(_STATE))),
            deadline=deadline,
        )
    return {}


def _of(session: Session, operation: str) -> Callable[[str], LabError]:
    return lambda text: LabError(text, host=session.host, operation=operation)
