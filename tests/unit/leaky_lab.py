"""A lab whose every input holds a secret, a driver and tests that show all of them wherever anything can be shown."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.unit.planted_secrets import secret
from tests.unit.terminal import OnTerminal
from tests.unit.tiny_lab import furnish

BACKEND = """\
import logging
from pathlib import Path
from typing import ClassVar
import requests
from pydantic import PrivateAttr
from harness.backends.views import HostFacts
from harness.backends.registry import HostSettings
from harness.core import GiB, LabError
from harness.core.secrets import Secret
from harness.lab import expectations
expectations.shipped = lambda: Path(__file__).parent

class Settings(HostSettings):
    twin_module: ClassVar = "leaky_twin"
    twin: bool = False
    password: Secret | None = None
    token: Secret | None = None
    ring: Secret | None = None
    certificate_key: Path | None = None
    refuses: bool = False
    _own: str = PrivateAttr("")
    def at_twin(self, record):
        found = self.model_copy()
        found._own = record["password"]
        return found
    def reveal(self):
        return [self._own] if self.twin else [self.password.reveal(), self.token.reveal(), self.ring.reveal()]

class Host:
    def __init__(self, settings, name):
        self.settings, self.name = settings, name
    def facts(self, deadline):
        words = self.settings.reveal()
        logging.getLogger("tiny").debug("logging in with %s", words)
        return HostFacts("tiny", "1", "1", "none", 2, GiB, 8, twin=self.settings.twin, details={"motd": words[0]})
    def capabilities(self, shape):
        return frozenset()
    def owned(self, deadline, run=None):
        return []
    def call(self):
        words = self.settings.reveal()
        try:
            raise requests.exceptions.ConnectionError(f"HTTPSConnectionPool: url https://root:{words[0]}@far/sdk")
        except OSError as error:
            raise LabError(f"no answer to Login({words!r}): {error}", host=self.name, operation="log in") from error
    def close(self):
        pass

def connect(settings, context):
    if settings.refuses:
        raise LabError(f"{settings.reveal()} was refused", host=context.host, operation="log in")
    return Host(settings, context.host)
"""
TWIN = """\
import json, os, signal, sys
json.loads(sys.stdin.readline())
print(json.dumps({"kind": "tiny", "endpoint": "127.0.0.1:4", "password": os.environ["PLANTED_TWIN"]}), flush=True)
if "--stay" in sys.argv:
    signal.pause()
sys.stdin.read()
"""
LAB = """\
key: "file:planted-key"
signing_key: planted-signing
hosts:
  far: {{backend: tiny, password: "env:LAB_PASSWORD_OF_FAR", token: "file:{place}/planted-token",
        ring: "keyring:lab/root", certificate_key: planted-certificate}}
  shut: {{backend: tiny, refuses: true, password: "env:LAB_PASSWORD_OF_FAR", token: "file:{place}/planted-token",
         ring: "keyring:lab/root"}}
  near: {{backend: tiny, twin: true}}
networks:
  management: {{kind: network, source: x, subnet: 10.78.0.0/16, nat: 127.78.0.0/16}}
  behind: {{kind: bridge, source: y, subnet: 10.79.0.0/16,
            jump: {{address: jump.example, user: lab, identity: planted-jump}}}}
"""
KEYRING = """\
import os
from keyring.backend import KeyringBackend
class Keyring(KeyringBackend):
    priority = 9
    def get_password(self, service, username):
        return os.environ["PLANTED_RING"] if (service, username) == ("lab", "root") else None
    def set_password(self, service, username, password):
        raise NotImplementedError
    def delete_password(self, service, username):
        raise NotImplementedError
"""
# Every Python that the run starts, at any depth, notes what it starts: command lines are everybody's to read.
SITE = """\
import json, os, sys
def note(event, args):
    if event in ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn"):
        with open(os.environ["SPAWNED"], "a") as file:
            file.write(json.dumps([str(one) for one in args[:2]]) + "\\n")
sys.addaudithook(note)
"""
EXPORTER = """\
import os
from harness.core import LabError
def export(results, target):
    raise LabError(f"the store refused {os.environ['EXPORT_TOKEN']}")
"""
CONFTEST = """\
import os, pytest

def pytest_runtest_logfinish(nodeid):
    if os.environ.get("LEAK") == "hook" and "PYTEST_XDIST_WORKER" not in os.environ:
        words = [os.environ["LAB_PASSWORD_OF_FAR"]]
        raise RuntimeError(f"a hook failed: {words}")

@pytest.fixture
def broken(host):
    shown = {"padding": "x" * 100, "token": open("planted-token").read()}
    yield shown
    raise ValueError(f"its teardown: {shown}")
"""
TESTS = r"""
import base64, html, json, logging, os, signal, subprocess, sys, threading, urllib.parse, warnings
from pathlib import Path
import allure, pytest
from harness.core import GuestError, LabError

PASSWORD, TOKEN = os.environ["LAB_PASSWORD_OF_FAR"], Path("planted-token").read_text()
KEY = Path("planted-key").read_text()
# Before its driver asks the keyring, and before a twin is up, nobody knows theirs: a test cannot, either.
ALL = [PASSWORD, TOKEN, KEY, os.environ["EXPORT_TOKEN"]]
if os.environ.get("LEAK") == "collecting":
    raise RuntimeError(f"cannot be imported: {ALL}")

@pytest.fixture
def words(host):
    return [*ALL, os.environ["PLANTED_TWIN" if host.name == "near" else "PLANTED_RING"]]

@pytest.mark.check("ACME-001")
@pytest.mark.parametrize("size", [1])
def test_a_driver_shows_what_it_logs_in_with(host, size):
    host.hypervisor.call() if hasattr(host.hypervisor, "call") else None

@pytest.mark.check("ACME-002")
def test_locals_and_arguments_hold_it(host, words):
    cut = {"padding": "x" * 100, "password": PASSWORD, "more": "y" * 150}
    deep = [{"token": one} for one in words]
    raw, environment = [one.encode() for one in words], dict(os.environ)
    def inner(first, second):
        assert first == [second], "they differ"
    inner(PASSWORD, TOKEN)

@pytest.mark.check("ACME-003")
def test_it_is_printed(host, words):
    for one in words:
        print("plainly", one)
        print(json.dumps({"said": json.dumps(one)}), repr(one), html.escape(one), urllib.parse.quote(one))
        print("Authorization: Basic", base64.b64encode(f"root:{one}".encode()).decode())
        print("-EncodedCommand", base64.b64encode(f"$p = {one}; run".encode("utf-16-le")).decode())
        print("hex", one.encode().hex(), one.encode("utf-16-le").hex())
        print("cut", one[:12] + "...", "..." + one[-12:])
        sys.stderr.write(one + "\n")
        os.write(2, one.encode() + b"\n")
        subprocess.run(["cat"], input=one.encode(), check=True)
        logging.getLogger("winrm").debug("login %s", one)
        try:
            raise OSError(one)
        except OSError:
            logging.getLogger("urllib3").exception("with a traceback")
    assert False, "as shown"

@pytest.mark.check("ACME-004")
def test_it_is_attached_and_measured(host, words, measure, record_property, tmp_path):
    (tmp_path / "log").write_text("\n".join(words))
    allure.attach.file(tmp_path / "log", "a file")
    (tmp_path / "log").unlink()
    allure.attach("\n".join(words), "a text")
    allure.dynamic.parameter("password", PASSWORD)
    allure.dynamic.description(f"with {TOKEN}")
    allure.dynamic.link(f"https://root:{KEY}@far")
    with allure.step(f"log in with {words[-1]}"):
        record_property("token", TOKEN)
    measure("rate", 42, unit="MiB/s", samples=[41, 43])
    raise GuestError(f"its console said {words}", host=host.name)

@pytest.mark.check("ACME-005")
def test_it_is_warned_of(host, words):
    warnings.warn(f"deprecated: {words}")
    class Late:
        def __del__(self):
            raise RuntimeError(f"unraisable {words}")
    Late()
    thread = threading.Thread(target=lambda: int(PASSWORD))
    thread.start()
    thread.join()

@pytest.mark.check("ACME-006")
def test_a_fixture_breaks(broken):
    raise LabError(f"once more: {PASSWORD}")

@pytest.mark.check("ACME-007")
def test_is_skipped(host):
    pytest.skip(f"wants {TOKEN}")

@pytest.mark.check("ACME-008")
def test_a_worker_dies(host):
    os.write(2, PASSWORD.encode())
    if "PYTEST_XDIST_WORKER" in os.environ and host.name == "far":
        os.kill(os.getpid(), signal.SIGABRT)

def test_a_stranger_fails():
    assert {"password": PASSWORD} == {"token": TOKEN}

def test_somebody_ends_it():
    if os.environ.get("LEAK") == "exit":
        pytest.exit(f"no more of {ALL}")
"""
PYTEST = ("-m", "pytest", "--report-dir=out", "--lab=lab.yaml", "--image=tiny.qcow2", "-v")


@dataclass
class LeakyLab:
    """It, in an empty folder, with all that is made and said."""

    place: Path
    secrets: dict[str, str] = field(default_factory=dict)
    said: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        names = ("password", "token", "key", "ring", "twin", "exporter", "certificate", "signing", "jump")
        self.secrets = {name: secret(name) for name in names}
        lab = LAB.format(place=self.place)
        files = {"lab.yaml": lab, "leaky_twin.py": TWIN, "planted_ring.py": KEYRING, "sitecustomize.py": SITE}
        files |= {"kernel-messages.yaml": "known: []\n"}
        files |= {"conftest.py": CONFTEST, "test_inner.py": TESTS, "leaky_exporter.py": EXPORTER}
        files |= {f"planted-{name}": self.secrets[name] for name in ("token", "key", "certificate", "signing", "jump")}
        self.env = furnish(self.place, BACKEND, files)
        announced = self.place / "interop_tiny-1.dist-info" / "entry_points.txt"
        announced.write_text(f"{announced.read_text()}\n[interop.exporters]\nleaky = leaky_exporter:export\n")
        self.env |= {
            "LAB_PASSWORD_OF_FAR": self.secrets["password"],
            "PLANTED_RING": self.secrets["ring"],
            "PLANTED_TWIN": self.secrets["twin"],
            "EXPORT_TOKEN": self.secrets["exporter"],
            "PYTHON_KEYRING_BACKEND": "planted_ring.Keyring",
            "SPAWNED": str(self.place / "spawned"),
            "TMPDIR": str(self.place / "tmp"),
            "HOME": str(self.place / "home"),
        }
        for folder in ("tmp", "home"):
            (self.place / folder).mkdir()
        key = self.place / "planted-own"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        self.secrets["own"] = key.read_text().splitlines()[4][6:46]  # before and after it the public half is told

    def pytest(self, *options: str, leak: str = "") -> bytes:
        """An inner run: what it said, which is kept."""
        return self.call(*PYTEST, *options, LEAK=leak)

    def on_terminal(self, *options: str) -> bytes:
        """An inner run on a terminal, with colours and live progress: what that showed, without what it obeyed."""
        run = OnTerminal([sys.executable, *PYTEST, "--progress=live", *options], self.place, self.env)
        run.wait()
        self.said.append(re.sub(r"\x1b\[[?]?[\d;]*[A-Za-z]", "", run.written).encode())
        return self.said[-1]

    def interop(self, *words: str) -> bytes:
        """A command: what it said."""
        return self.call("-m", "harness.cli", *words)

    def call(self, *words: str, **more: str) -> bytes:
        """Python with these words."""
        done = subprocess.run(
            [sys.executable, *words],
            cwd=self.place,
            env=self.env | more,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=300,
            check=False,
        )
        self.said.append(done.stdout)
        return done.stdout
