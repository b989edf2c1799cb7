"""Secrets are named in files, and never shown."""

import json
import threading

import pytest
from pydantic import TypeAdapter, ValidationError

from harness.core import LabError
from harness.core.secrets import Secret, heard_by, of_environment, tell, without_password


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


def test_whoever_listens_is_told_each_secret_that_is_fetched_and_no_longer_than_it_listens(monkeypatch):
    """In every thread of the process: drivers log in on their own."""
    monkeypatch.setenv("LAB_PASSWORD", "hunter2")
    told = []
    with heard_by(told.append):
        thread = threading.Thread(target=Secret("env:LAB_PASSWORD").reveal)
        thread.start()
        thread.join()
        tell("a twin's")
    tell("too late")
    assert told == ["hunter2", "a twin's"]


def test_variables_that_are_called_secrets_are_some(monkeypatch):
    """Credentials of exporters and of stores; a short value would be masked in ordinary words."""
    for name in ("PGPASSWORD", "AWS_SECRET_ACCESS_KEY", "CI_JOB_TOKEN", "client_secret"):
        monkeypatch.setenv(name, f"hunter-of-{name}")
    for name in ("TOKENIZER", "SECRETARY", "SSH_KEY"):
        monkeypatch.setenv(name, "plain-enough")
    monkeypatch.setenv("SHORT_TOKEN", "abc")
    found = of_environment()
    assert {"hunter-of-PGPASSWORD", "hunter-of-AWS_SECRET_ACCESS_KEY", "hunter-of-CI_JOB_TOKEN"} < {*found}
    assert "plain-enough" not in found
    assert "abc" not in found


@pytest.mark.parametrize("address", ["https://root:hunter2@far/x", "s3://key:hunter2@bucket", "a::ftp://u:hunter2@h"])
def test_an_address_that_holds_a_password_is_refused_without_being_repeated(address):
    with pytest.raises(ValueError, match="never stands in an address") as caught:
        without_password(address)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("address", ["https://far:8443/a@b", "ssh://root@far:22/x", "s3://bucket/x", "/srv/a:b@c", ""])
def test_one_that_holds_none_is_taken(address):
    assert without_password(address) == address
