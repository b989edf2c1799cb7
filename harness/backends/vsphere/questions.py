"""Questions that a machine asks and waits for an answer to (``runtime.question``): answered, or failed at once."""

from __future__ import annotations

import re
from typing import Any

from harness.core import LabError

_KNOWN: tuple[tuple[str, str | None], ...] = (
    (r"msg\.serial\.file\.open", r"^replace"),  # every power-on has a console of its own
    (r"msg\.uuid\.(altered|moved)", r"copied|create"),  # our machines are clones, never moved ones
    (r"msg\.cdromdisconnect\.locked|msg\.cdrom.*lock", r"^yes"),
    (r"outofspace|nospace|disk.*full", None),  # the usual answer is to try again, for ever
)
"""By a pattern of a question's id or text: the label of the answer, or None to give up."""


def answer(question: Any, host: str, operation: str) -> str:
    """The key of the answer to choose.

    Args:
        question: a ``vim.vm.QuestionInfo``.
        host: the lab's name of the host.
        operation: what raised it.

    Raises:
        LabError: it has no answer that would help, or none by default.
    """
    ids = [str(one.id or "") for one in question.message or ()]
    told = " ".join([*ids, str(question.text)])
    choices: dict[str, str] = {
        str(choice.key): str(choice.label or choice.summary or "") for choice in question.choice.choiceInfo
    }
    for pattern, label in _KNOWN:
        if not re.search(pattern, told, re.IGNORECASE):
            continue
        if label is None:
            break
        for key, words in choices.items():
            if re.search(label, words, re.IGNORECASE):
                return key
    else:
        default = question.choice.defaultIndex
        if default is not None and 0 <= default < len(choices):
            return list(choices)[int(default)]
    raise LabError(
        f"the machine asks {question.text!r} ({', '.join(choices.values())}), and no answer would help",
        host=host,
        operation=operation,
        hint="see to what it asks about in the vSphere client, then run again",
    )
