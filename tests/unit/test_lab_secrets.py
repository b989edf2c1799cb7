"""Secrets are named in files, and never shown."""

import json

import pytest
from pydantic import TypeAdapter, ValidationError

from harness.core import LabError
from harness.core.secrets import Secret


def test_the_environment_gives_a_secret(monkeypatch):
    monkeypatch.setenv("LAB_PASSWORD", "hunter2")
    assert Secret("env:LAB_PASSWORD").reveal() == "hunter2"


def test_a_file_gives_a_secret_without_its_line_break(tmp_path):
    (tmp_path / "password").write_text("hunter2\n")
    assert Secret(f"file:{tmp_path}/password").reveal() == "hunter2"


def test_a_keyring_gives_a_secret(monkeypatch):
    keyring = pytest.importorskip("keyring")
    monkeypatch.setattr(
        keyring, "get_password", lambda service, user: {("lab", "root"): "hunter2"}.get((service, user))
    )
    assert Secret("keyring:lab/root").reveal() == "hunter2"
    with pytest.raises(LabError, match="nothing under lab/admin"):
        Secret("keyring:lab/admin").reveal()


def test_neither_text_nor_json_shows_the_value(monkeypatch):
    monkeypatch.setenv("LAB_PASSWORD", "hunter2")
    secret = Secret("env:LAB_PASSWORD")
    shown = f"{secret} {secret!r} {TypeAdapter(Secret).dump_json(secret)!r}"
    assert "hunter2" not in shown
    assert "env:LAB_PASSWORD" in shown


@pytest.mark.parametrize("text", ["hunter2", "env:", "env:A B", "keyring:only", "http://hunter2", "", "env:A\nhunter2"])
def test_plain_text_is_refused_without_being_repeated(text):
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(Secret).validate_json(json.dumps(text))
    problem = caught.value.errors(include_input=False)[0]["msg"]
    assert "env:NAME, file:PATH or keyring:SERVICE/USER" in problem
    assert "hunter2" not in problem


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("env:THERE_IS_NO_SUCH_VARIABLE", "THERE_IS_NO_SUCH_VARIABLE is not set"),
        ("file:/there/is/no/such/file", "cannot be read: No such file"),
    ],
)
def test_a_missing_secret_is_a_lab_error_that_names_the_place(reference, message):
    with pytest.raises(LabError, match=message):
        Secret(reference).reveal()
