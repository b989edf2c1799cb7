"""Registered secrets are masked, however they are spelt."""

import base64
import json
from urllib.parse import quote
from xml.sax.saxutils import escape

import pytest

from harness.report.redact import MASK, Redactor

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
