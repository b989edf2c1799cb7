"""No secret that any input holds stands in any output: files, terminals, command lines, however spelt or packed."""

import json
import stat
from urllib.parse import quote

import pytest

from tests.unit.leaky_lab import LeakyLab
from tests.unit.planted_secrets import leaks, search, secret

ALLOWED = {
    "planted-*": "what was planted",
    "state/twins/*.json": "the record of a twin: how its clients log in",
    "cache/twins/*/answer": "what a twin said when it came up",
}
"""Files that may hold one, each with its reason; nobody but their owner may read them."""
SHOWING = ("--showlocals", "--tb=long", "-rA", "--log-cli-level=DEBUG", "--log-file-level=DEBUG")
SELF = "--self --check ACME-004 --budget 1"
COMMANDS = (
    "lab check lab.yaml",
    "lab check lab.yaml --connect",
    "checks --lab lab.yaml test_inner.py",
    "reap --lab lab.yaml --dry-run",
    "reap --lab lab.yaml",
    "status",
    "status --json",
    "twin list",
    "guest list",
    "rerun out/latest ACME-002@far",
    "export out/latest --to leaky",
    "calibrate out --lab lab.yaml",
    "compare out/latest out/latest",
    "doctor controller",
    f"validate {SELF} --lab lab.yaml --host far --image tiny.qcow2 --key planted-own --out v",
)

ACCEPT = "lab accept lab.yaml --image tiny.qcow2 --output accepted"
CONTRACT = """\
from tests.contract.backends import BACKENDS, Column
BACKENDS["tiny"] = Column(lab="lab.yaml", host="far", service="x", question="x", answered=lambda *_: False)
"""


@pytest.fixture
def lab(tmp_path):
    """The lab after runs of every kind and after all commands, with a twin that is still up."""
    lab = LeakyLab(tmp_path)
    for leak in ("hook", "exit", "collecting"):
        lab.pytest(*SHOWING, "-k", "measured or somebody", f"--junitxml={leak}.xml", leak=leak)
    lab.on_terminal(*SHOWING, "-k", "near and (printed or locals or warned) or stranger")
    for name, options in (("workers", ("-n", "1")), ("one", ())):
        files = [
            f"--debug={name}.trace",
            f"--log-file={name}.log",
            f"--junitxml={name}.xml",
            f"--summary-file={name}.txt",
        ]
        lab.pytest(*SHOWING, *files, f"--alluredir=allure-{name}", "--export=leaky", *options)
    lab.interop("twin", "up", "near", "--lab", "lab.yaml")
    for words in COMMANDS:
        lab.interop(*words.split())
    yield lab
    lab.interop("twin", "down", "near", "--lab", "lab.yaml")


def test_no_output_of_any_run_or_command_shows_a_secret(lab):
    """One test, for the runs are what takes time: other processes would do them again."""
    assert_there_was_something_to_hide(lab)
    assert [leaks(said, lab.secrets) for said in lab.said] == [set()] * len(lab.said)
    assert_no_file_shows_one(lab)
    assert_no_command_line_shows_one(lab)
    assert_what_may_hold_one_is_its_owners_alone(lab)
    # Only what somebody asks for by name is shown, also in a shell that was told of it before.
    lab.env |= {"INTEROP_TWIN_PASSWORD": lab.secrets["twin"]}
    assert leaks(lab.interop("twin", "env", "near", "--lab", "lab.yaml"), lab.secrets) == {"twin"}


def test_accepting_a_host_shows_no_secret(tmp_path):
    """Neither pytest's own words, as long as they get, nor the file that is passed on."""
    lab = LeakyLab(tmp_path)
    (lab.place / "planted_contract.py").write_text(CONTRACT)
    assert lab.interop(*ACCEPT.split(), "far").count(b"the contract knows nothing of the backend 'tiny'") == 1
    lab.env["PYTEST_ADDOPTS"] = " ".join(("-p planted_contract --log-file=accept.log", *SHOWING))
    said = {host: lab.interop(*ACCEPT.split(), host).decode() for host in ("far", "shut", "near")}
    assert "'********'] was refused" in said["shut"]
    for host in ("far", "near"):
        assert "********" in said[host]
        assert "surprise: a new run" not in said[host]
    kept = [path.read_text() for path in lab.place.glob("accepted/*.json")]
    assert len(kept) == 2
    assert all('"motd": "********"' in text for text in kept)
    assert "logging in with" in (lab.place / "accept.log").read_text()
    assert [leaks(one, lab.secrets) for one in lab.said] == [set()] * 4
    assert search(lab.place, lab.secrets, ALLOWED) == {}
    assert leaks((lab.place / "spawned").read_bytes(), lab.secrets) == set()


def assert_there_was_something_to_hide(lab):
    """Else nothing would be proven: whatever was masked had been there."""
    shown = [said.decode("utf-8", "replace") for said in lab.said]
    hook, ended, collecting, live, workers, one, up, *commands = shown
    for said in (one, workers, live):
        assert "test_a_stranger_fails" in said
        assert said.count("********") > 50
    for said in (one, workers):
        assert "the store refused ********" in said
    assert "crashed while running" in workers
    assert "INTERNALERROR> RuntimeError: a hook failed: ['********']" in hook
    assert "Exit: no more of ['********', '********'" in ended
    assert "cannot be imported: ['********'" in collecting
    assert "interop twin env" in up
    said = dict(zip(COMMANDS, commands, strict=True))
    assert "'********'] was refused" in said["lab check lab.yaml --connect"]
    assert "the store refused ********" in said["export out/latest --to leaky"]
    assert "1 failed" in said["rerun out/latest ACME-002@far"]
    assert "no measurement has 6 pairs" in said[COMMANDS[-1]]
    rounds = [path.read_text() for path in lab.place.glob("v/rounds/*/output.txt")]
    assert len(rounds) == 2
    assert all("********" in text for text in rounds)


def assert_no_file_shows_one(lab):
    """Results, attachments, measurements, JUnit, logs, journal, leases, caches, temporary files; and their names."""
    kinds = {path.suffix for path in lab.place.rglob("*") if path.is_file()}
    assert {".json", ".jsonl", ".xml", ".log", ".txt", ".trace", ".sqlite3", ".attach"} <= kinds
    assert search(lab.place, lab.secrets, ALLOWED) == {}


def assert_no_command_line_shows_one(lab):
    """Everybody on the machine may read them."""
    started = [json.loads(line) for line in (lab.place / "spawned").read_text().splitlines()]
    assert any("leaky_twin" in words for _, words in started)
    assert any("harness.cli" in words for _, words in started)
    assert leaks((lab.place / "spawned").read_bytes(), lab.secrets) == set()


def assert_what_may_hold_one_is_its_owners_alone(lab):
    """Themselves, or a folder above them."""
    twins = [*lab.place.glob("state/twins/*.json"), *lab.place.glob("cache/twins/*/answer")]
    assert len(twins) == 2
    assert all(leaks(path.read_bytes(), lab.secrets) == {"twin"} for path in twins)
    for path in [*twins, lab.place / "state" / "interop.sqlite3"]:
        modes = [stat.S_IMODE(each.stat().st_mode) for each in (path, path.parent)]
        assert any(mode & 0o077 == 0 for mode in modes), path


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("lab.yaml", "hosts: {{a: {{backend: kvm, uri: 'qemu+ssh://root:{2}@far/system'}}}}"),
        ("lab.yaml", "hosts: {{a: {{backend: kvm, proxy: 'http://root:{2}@far:3128'}}}}"),
        ("lab.yaml", "hosts: {{a: {{backend: hyperv, endpoint: far, user: root, password: '{0}'}}}}"),
        ("lab.yaml", "hosts: {{a: {{backend: hyperv, endpoint: 'root:{2}@far', user: root, password: 'env:A'}}}}"),
        ("lab.yaml", "hosts: {{a: {{backend: vsphere, endpoint: far, user: root, pasword: '{0}'}}}}"),
        ("lab.yaml", "hosts: {{a: {{backend: vsphere, endpoint: far, user: root, password: ['{0}']}}}}"),
        ("lab.yaml", "key: '{0}'\nhosts: {{a: {{backend: kvm}}}}"),
        ("lab.yaml", "database: 'postgresql://root:{2}@far/lab'\nhosts: {{a: {{backend: kvm}}}}"),
        ("lab.yaml", "database: '{0}'\nhosts: {{a: {{backend: kvm}}}}"),
        ("lab.yaml", "hosts: {{a: {{backend: kvm}}}}\nkey: '{0}'\nkey: '{0}'"),
        ("lab.yaml", "hosts: {{a: {{backend: kvm, {0}: [}}}}"),
        ("night.yaml", "lab: local\nimages: [debian12]\nresults: 's3://root:{2}@bucket/nights'"),
        ("night.yaml", "lab: local\nimages: [debian12]\nresults: 'https://store/nights?sig={0}'"),
        ("image.yaml", "summary: x\nsource: {{url: 'https://root:{2}@far/disk.qcow2', sha256: '{1}'}}"),
    ],
)
def test_what_is_written_where_it_must_not_stand_is_refused_unrepeated(tmp_path, capsys, file, text):
    """Files name where a secret is; an address holds none."""
    from harness.cli import main

    value = secret("misplaced").replace("'", "''").replace("\\", "")
    (tmp_path / file).write_text(text.format(value, "0" * 64, quote(value, safe="")))
    words = {"lab.yaml": "lab check", "night.yaml": "night plan --offline", "image.yaml": "image build"}[file]
    with pytest.raises(SystemExit) as ended:
        main([*words.split(), str(tmp_path / file)])
    said = "".join(capsys.readouterr())
    assert ended.value.code == 1
    assert file in said
    assert leaks(said.encode(), {"misplaced": secret("misplaced").replace("\\", "")}) == set()
