"""Questions that a vSphere machine asks: those with an answer that helps get it, all others are told."""

from __future__ import annotations

import pytest

pytest.importorskip("pyVmomi")

from pyVmomi import vim

from harness.backends.vsphere import questions
from harness.core import LabError


def question(identity, text, *choices, default=None):
    """What a machine asks; a choice is its label, or its label and its summary, which is what people read."""
    pairs = [(choice, "") if isinstance(choice, str) else choice for choice in choices]
    options = [
        vim.ElementDescription(key=str(number), label=label, summary=summary)
        for number, (label, summary) in enumerate(pairs)
    ]
    return vim.vm.QuestionInfo(
        id="7",
        text=text,
        choice=vim.option.ChoiceOption(choiceInfo=options, defaultIndex=default),
        message=[vim.vm.Message(id=identity, text=text)],
    )


@pytest.mark.parametrize(
    ("asked", "chosen"),
    [
        (question("msg.serial.file.open", "The file exists.", "Append", "Replace", "Cancel", default=0), "1"),
        (question("msg.uuid.altered", "Moved or copied?", "Cancel", "I _Moved It", "I _Copied It"), "2"),
        (question("msg.something.else", "Really?", "No", "Yes", default=1), "1"),
        (
            question("msg.uuid.altered", "?", ("button.cancel", "Cancel"), ("button.uuid.copiedTheVM", "I _Copied It")),
            "1",
        ),
        (question("msg.serial.file.open", "?", ("button.append", "_Append"), ("button.replace", "_Replace")), "1"),
        (question("msg.cdromdisconnect.locked", "Override?", ("button.no", ""), ("button.yes", "")), "1"),
    ],
    ids=["serial", "copied", "default", "summary", "underscore", "name"],
)
def test_a_question_is_answered(asked, chosen):
    assert questions.answer(asked, "esx1", "start") == chosen


@pytest.mark.parametrize(
    "asked",
    [
        question("msg.hbacommon.outofspace", "There is no more space.", "Retry", "Cancel", default=0),
        question("msg.something.else", "Which?", "This", "That"),
    ],
    ids=["space", "no-default"],
)
def test_a_question_that_no_answer_helps_fails_with_its_words(asked):
    with pytest.raises(LabError, match=r"asks .*(space|Which)") as caught:
        questions.answer(asked, "esx1", "start")
    assert (caught.value.host, caught.value.operation) == ("esx1", "start")


SPACE = question("msg.hbacommon.outofspace", "No space.", ("button.retry", "_Retry"), ("button.abort", "_Cancel"))


def test_a_machine_that_is_to_stop_anyway_may_give_up():
    """Of what has an answer that helps, that one is given all the same."""
    assert questions.answer(SPACE, "esx1", "stop", ending=True) == "1"
    copied = question("msg.uuid.altered", "Moved or copied?", "Cancel", "I _Copied It")
    assert questions.answer(copied, "esx1", "stop", ending=True) == "1"
    with pytest.raises(LabError, match="no answer would help"):
        questions.answer(question("msg.something.else", "Which?", "This", "That"), "esx1", "stop", ending=True)


def test_a_question_is_told_with_its_answers_as_people_read_them():
    assert questions.told(SPACE) == "the machine asks 'No space.' (Retry, Cancel)"
