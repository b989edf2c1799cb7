"""Registered secrets are masked, however they are spelt."""

import base64
import json
from urllib.parse import quote
from xml.sax.saxutils import escape

import pytest

from harness.report.redact import MASK, Redactor
from tests.unit.planted_secrets import leaks

SECRET = 'p&ss "wörd"/7'


@pytest.mark.parametrize(
    "spelling",
    [
        SECRET,
        repr(SECRET),
        json.dumps({"password": SECRET}),
        escape(SECRET),
        quote(SECRET, safe=""),
        base64.b64encode(SECRET.encode()).decode(),
        base64.b64encode(SECRET.encode("utf-16-le")).decode(),
    ],
)
def test_a_secret_is_masked_in_text_and_bytes(spelling):
    redactor = Redactor([SECRET])
    for shown in (redactor.text(f"a {spelling} b"), redactor.data(f"a {spelling} b".encode()).decode()):
        assert MASK in shown
        assert "rd" not in shown.replace("password", "")


def test_a_short_secret_is_masked_where_it_stands_alone():
    assert Redactor(["pw"]).text("pw=pw, but pwd is not") == f"{MASK}={MASK}, but pwd is not"


def test_a_secret_inside_a_longer_one_leaves_no_rest():
    assert Redactor(["hunter2", "hunter2-long"]).text("hunter2-long") == MASK


def test_lines_of_a_key_are_secrets_of_their_own():
    key = "-----BEGIN-----\nMIIEvQIBADANBgkqhkiG9w0BAQE\n-----END-----"
    assert "MIIE" not in Redactor([key]).text("line 2 is MIIEvQIBADANBgkqhkiG9w0BAQE")


def test_nothing_registered_changes_nothing():
    assert Redactor(["", "  "]).text("  plain") == "  plain"


def test_a_redactor_does_not_show_what_it_knows():
    assert SECRET not in repr(Redactor([SECRET]))


@pytest.mark.parametrize(
    "spelling",
    [
        repr([repr([SECRET])]),
        json.dumps({"said": json.dumps({"said": repr([SECRET, "it's"])})}),
        f"Authorization: Basic {base64.b64encode(f'root:{SECRET}'.encode()).decode()}",
        base64.b64encode(f"$p = '{SECRET}'; run".encode("utf-16-le")).decode(),
        SECRET.encode().hex(),
        SECRET.encode("utf-16-le").hex().upper(),
        quote(SECRET, safe="").replace("%C3%B6", "%c3%b6").replace("%2F", "%2f"),
        repr(SECRET.encode()),
    ],
)
def test_nor_does_it_show_where_it_was_spelt_twice_or_inside_of_something(spelling):
    """The search reads back what it can, and so knows nothing of how masking is done."""
    assert leaks(spelling.encode(), {"one": SECRET}) == {"one"}, "the search finds it"
    shown = Redactor([SECRET]).text(spelling)
    assert MASK in shown
    assert leaks(shown.encode(), {"one": SECRET}) == set()


@pytest.mark.parametrize(
    "cut", ["{0}...", "{0}\n[... 3 MiB of 4 MiB left out here ...]\n\n{1}", "...{1}", "a{0}...{1}b"]
)
def test_of_a_secret_that_was_cut_neither_half_is_shown(cut):
    """Pytest shortens long values in the middle; long logs are shortened likewise."""
    secret = "correct-horse-battery"
    shown = Redactor([secret]).text(cut.format(secret[:9], secret[9:]))
    assert "corr" not in shown
    assert "tery" not in shown
    assert Redactor([secret]).text("it is corrupt... batteries") == "it is corrupt... batteries"


def test_a_password_in_an_address_is_masked_though_nobody_registered_it():
    said = "no answer from https://root:hunter2@far:8443/sdk or postgresql://lab@db/lab or ssh://[::1]:22/a@b"
    assert Redactor().text(said) == said.replace("hunter2", MASK)


def test_colours_inside_of_a_secret_do_not_hide_it():
    """Pytest colours what it compares; lines without a secret keep theirs."""
    said = "\x1b[33mcorrect\x1b[39;49;00m-\x1b[94mhorse\x1b[0m\n\x1b[32mgreen\x1b[0m"
    assert Redactor(["correct-horse"]).text(said) == f"{MASK}\n\x1b[32mgreen\x1b[0m"


def test_what_is_no_text_stays_as_it_is_around_a_secret():
    assert Redactor(["hunter2"]).data(b"\xff\x00hunter2\xfe") == b"\xff\x00" + MASK.encode() + b"\xfe"
