"""Questions that a machine asks and waits for an answer to (``runtime.question``): answered, or failed at once."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from harness.backends.vsphere.refs import Ref
from harness.backends.vsphere.session import Session
from harness.core import Deadline, LabError

QUESTION = "runtime.question"

_KNOWN: tuple[tuple[str, str | None], ...] = (
    (r"msg\.serial\.file\.open", r"^replace"),  # every power-on has a console of its own
    (r"msg\.uuid\.(altered|moved)", r"copied|create"),  # our machines are clones, never moved ones
    (r"msg\.cdromdisconnect\.locked|msg\.cdrom.*lock", r"^yes"),
    (r"outofspace|nospace|disk.*full", None),  # the usual answer is to try again, for ever
)
"""By a pattern of a question's id or text: the answer in the words of people or by its name, or None to give up."""
_GIVING_UP = r"^(cancel|abort|power.?off)"


def answering(
    session: Session, machine: Ref, operation: str, deadline: Deadline, *, ending: bool = False
) -> Callable[[Any], None]:
    """What answers a machine's questions while a task of it runs, as :func:`~harness.backends.vsphere.tasks.run` asks.

    What it makes raises :class:`LabError` of a question that no answer helps, or that the account may not answer; with
    ``ending``, as of :func:`answer`.
    """

    def answered(question: Any) -> None:
        chosen = answer(question, session.host, operation, ending=ending)
        session.call(f"{operation}: answer", machine, "AnswerVM", deadline, question.id, chosen)

    return answered


def told(question: Any) -> str:
    """A question with its answers, as a sentence says it."""
    shown = (words[0] for words in _choices(question).values())
    return f"the machine asks {question.text!r} ({', '.join(shown)})"


def answer(question: Any, host: str, operation: str, *, ending: bool = False) -> str:
    """The key of the answer to choose.

    Args:
        question: a ``vim.vm.QuestionInfo``.
        host: the lab's name of the host.
        operation: what raised it.
        ending: whether the machine is to stop anyway: then an answer that gives up helps as well.

    Raises:
        LabError: it has no answer that would help, or none by default.
    """
    ids = [str(one.id or "") for one in question.message or ()]
    said = " ".join([*ids, str(question.text)])
    choices = _choices(question)
    for pattern, label in _KNOWN:
        if not re.search(pattern, said, re.IGNORECASE):
            continue
        if label is None:
            break
        for key, words in choices.items():
            if _any(label, words):
                return key
    else:
        default = question.choice.defaultIndex
        if default is not None and 0 <= default < len(choices):
            return list(choices)[int(default)]
    for key, words in choices.items():
        if ending and _any(_GIVING_UP, words):
            return key
    raise LabError(
        f"{told(question)}, and no answer would help",
        host=host,
        operation=operation,
        hint="see to what it asks about in the vSphere client, then run again",
    )


def _choices(question: Any) -> dict[str, tuple[str, ...]]:
    """By key, what each answer is called: as people read it, and the last word of its name (``button.abort``)."""
    found: dict[str, tuple[str, ...]] = {}
    for choice in question.choice.choiceInfo:
        label, summary = str(choice.label or ""), str(choice.summary or "")
        # An underscore stands before the letter that chooses it in a dialogue.
        found[str(choice.key)] = ((summary or label).replace("_", ""), label.rpartition(".")[2].replace("_", ""))
    return found


def _any(pattern: str, words: tuple[str, ...]) -> bool:
    return any(re.search(pattern, word, re.IGNORECASE) for word in words)
