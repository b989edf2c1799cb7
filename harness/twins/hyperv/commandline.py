"""A command line as Windows sees it: one string that every program splits by itself, by the C runtime's rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

LONGEST: Final = 8191
"""Characters that cmd.exe takes; every command of a WinRS shell passes through it."""


def join(command: str, arguments: Sequence[str]) -> str:
    """The line that Windows makes of a Command and its Arguments: pywinrm puts all in one, pypsrp one in each."""
    return " ".join((command, *arguments))


def split(line: str) -> list[str]:
    r"""Split as ``CommandLineToArgvW`` and the C runtime do.

    Blanks and tabs part words, except between double quotes. Backslashes mean themselves, unless a quote follows: then
    each pair is one, and an odd one makes the quote a character. Two quotes inside quotes are one character.
    """
    words: list[str] = []
    word: list[str] = []
    quoted = begun = False
    at = 0
    while at < len(line):
        char = line[at]
        if char == "\\":
            slashes = len(line) - at - len(line[at:].lstrip("\\"))
            at += slashes
            begun = True
            if line[at : at + 1] == '"':
                word.append("\\" * (slashes // 2))
                if slashes % 2:
                    word.append('"')
                    at += 1
            else:
                word.append("\\" * slashes)
            continue
        at += 1
        if char == '"':
            begun = True
            if quoted and line[at : at + 1] == '"':
                word.append('"')
                at += 1
            else:
                quoted = not quoted
        elif char in " \t" and not quoted:
            if begun:
                words.append("".join(word))
            word, begun = [], False
        else:
            begun = True
            word.append(char)
    if begun:
        words.append("".join(word))
    return words
