"""What `interop lab check --connect` finds on a Hyper-V host that is ready, and on hosts where something is missing."""

import contextlib
import re
import shutil
import socket
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from harness.backends import hyperv
from harness.backends.check import Examined
from harness.backends.hyperv import check
from harness.backends.hyperv.errors import Failure, NoRight, StepFailed
from harness.backends.model import NetworkKind, NetworkSpec, Ownership
from harness.backends.registry import Context
from harness.cli import interop
from harness.core import Deadline, GiB, LabError, MiB
from harness.twins.hyperv.config import TwinConfig
from harness.twins.hyperv.twin import Twin
from tests.twins.hyperv_agent import MODES
from tests.unit.fake_ledger import NoLedger

OWNER = Ownership("run-1a", "t0k3n", datetime.now(UTC) + timedelta(days=1))
LAN = NetworkSpec("hv-lan", NetworkKind.NETWORK, "LAN")
PEERS = NetworkSpec("hv-peers", NetworkKind.NETWORK, "peers")


@pytest.fixture(params=MODES)
def mode(request):
    """With PowerShell behind the wire, and without."""
    return request.param


@contextlib.contextmanager
def opened(folder, mode, *, store=None, pull="127.0.0.1", password=None, **config):
    """A host that lacks what ``config`` says, and the driver on it."""
    config = {"networks": {"LAN": {"kind": "switch"}, "peers": {"kind": "switch"}}, "free": 100 * GiB} | config
    with Twin(TwinConfig(folder=folder / "twin", guests=False, powershell=mode, **config)) as twin:
        settings = hyperv.Settings(twin=True).at_twin(twin.said() | ({"store": str(store)} if store else {}))
        settings = settings.model_copy(update={"pull": pull})
        settings._password = password or settings._password
        host = hyperv.connect(settings, Context("win1", OWNER, NoLedger(), folder / "scratch"))
        with contextlib.closing(host):
            yield host


def seen(host, *networks):
    """What was seen, by subject; what is made for that is gone again."""
    assert isinstance(host, Examined)
    remarks = {remark.subject: remark for remark in host.examine(networks or (LAN, PEERS), Deadline.after(60))}
    assert list(host.owned(Deadline.after(60))) == []
    return remarks


def test_a_host_that_is_ready_is_fine_in_everything(tmp_path, mode):
    """Few requests, and nothing is left in the folder."""
    with opened(tmp_path, mode) as host:
        before = host.agents.trips
        remarks = seen(host)
        assert host.agents.trips - before - 1 <= 4
        assert {name: remark.fine for name, remark in remarks.items()} == dict.fromkeys(
            ("account", "network hv-lan", "network hv-peers", "folder", "space", "clock", "events", "pull"), True
        )
        assert list((tmp_path / "twin" / "store").rglob("*")) == []


def refuse(*_, step=0, **__):
    """What the host does to an account that has not the right."""
    text = "Attempted to perform an unauthorized operation"
    cause = StepFailed(Failure(step, "UnauthorizedAccess", "PermissionDenied", 0x80070005, text))
    raise NoRight(text, host="win1", operation="check") from cause


def test_logs_that_the_account_may_not_read_are_named_with_the_group_that_may():
    """Runs go on without: what is missing is evidence."""
    settings = hyperv.Settings(endpoint="win1", user="HV\\interop", password="env:NONE", ca=None, store="C:\\interop")
    remark = check.events(SimpleNamespace(agents=SimpleNamespace(run=refuse), settings=settings), Deadline.after(1))
    assert remark.fine is None
    assert "unauthorized operation" in remark.text
    assert remark.hint == "Add-LocalGroupMember -SID S-1-5-32-573 -Member 'HV\\interop'"


def test_an_account_that_only_the_host_knows_is_in_no_command(tmp_path):
    """Which one a certificate is mapped to; none is called None."""
    papers = {"certificate": tmp_path / "a.pem", "certificate_key": tmp_path / "a.key"}
    settings = hyperv.Settings(endpoint="win1", auth="certificate", store="C:\\interop", **papers)
    host = SimpleNamespace(agents=SimpleNamespace(run=refuse), settings=settings)
    remarks = [check.events(host, Deadline.after(1)), check._folder(host, there=True, drive=True, writable=False)]
    with pytest.raises(NoRight) as caught:
        refuse()
    hints = [check.cure(caught.value, settings), *(remark.hint for remark in remarks)]
    for hint in hints:
        assert "the account that the certificate is mapped to" in hint
        assert not re.search(r"None|-Member|icacls", hint)
    assert "None" not in remarks[1].text


def test_a_switch_that_is_not_there_is_named_with_the_line_that_makes_it(tmp_path, mode):
    """An external one where the controller must reach guests, a private one where they meet each other."""
    with opened(tmp_path, mode, networks={"Peer's": {"kind": "switch"}}) as host:
        remarks = seen(host, LAN, NetworkSpec("hv-peers", NetworkKind.NETWORK, "Peers'"))
    assert remarks["network hv-lan"].fine is False
    assert "no virtual switch 'LAN'" in remarks["network hv-lan"].text
    assert remarks["network hv-lan"].hint.startswith("New-VMSwitch -Name 'LAN' -NetAdapterName")
    assert remarks["network hv-peers"].hint == "New-VMSwitch -Name 'Peers''' -SwitchType Private"
    assert "Peer's" in remarks["network hv-peers"].text, "the nearest one"


def test_a_network_that_hyper_v_does_not_have_is_said(tmp_path):
    """It has virtual switches, and they have names."""
    with opened(tmp_path, "emulated") as host:
        remarks = seen(host, NetworkSpec("slirp", NetworkKind.USER, ""), NetworkSpec("any", NetworkKind.SWITCH, ""))
    assert [remarks[f"network {name}"].fine for name in ("slirp", "any")] == [False, False]


def test_a_folder_that_is_not_there_is_made_by_a_run_if_its_drive_is(tmp_path, mode):
    """A check makes none."""
    store = tmp_path / "no'ne"
    with opened(tmp_path, mode, store=store) as host:
        remarks = seen(host)
    assert (remarks["folder"].fine, remarks["folder"].hint) == (
        None,
        f"New-Item -ItemType Directory -Path '{str(store).replace(chr(39), 2 * chr(39))}'",
    )
    assert remarks["pull"].fine is None
    assert not store.exists()


def test_a_drive_that_the_host_has_not_is_said(tmp_path, mode):
    """Nobody makes one."""
    with opened(tmp_path, mode, store="Q:\\interop") as host:
        folder = seen(host)["folder"]
    assert (folder.fine, folder.text) == (False, "the host has no Q:\\")


def test_a_folder_that_the_account_cannot_write_is_said_with_who_may_be_let_in(tmp_path, mode):
    """A volume that takes nothing."""
    store = tmp_path / "store"
    store.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "ro,size=1M", "tmpfs", str(store)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small volume takes root")
    try:
        with opened(tmp_path, mode, store=store) as host:
            remarks = seen(host)
    finally:
        subprocess.run(["umount", str(store)], check=True)
    assert remarks["folder"].fine is False
    assert remarks["folder"].hint == f"icacls '{store}' /grant 'Administrator:(OI)(CI)M'"
    assert remarks["pull"].fine is None
    assert remarks["space"].fine is True, "the rest is looked at all the same"


def closed(offered, tokens):
    """An offer at a port where nobody listens."""

    @contextlib.contextmanager
    def elsewhere(*given):
        with offered(*given) as offer, socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            tokens.append(offer.token)
            yield replace(offer, url=f"http://127.0.0.1:{nobody.getsockname()[1]}/")

    return elsewhere


@pytest.mark.parametrize("there", [None, [], ["a.vhdx"]], ids=["no folder", "an empty one", "one in use"])
def test_a_check_leaves_the_folder_of_images_as_it_was(tmp_path, mode, there, monkeypatch):
    """Made by the first run, and not by a look; also where nothing could be fetched."""
    images = tmp_path / "twin/store/images"
    with opened(tmp_path, mode) as host:
        if there is not None:
            images.mkdir()
            for name in there:
                (images / name).touch()
        assert seen(host)["pull"].fine
        with monkeypatch.context() as patch:
            patch.setattr(check, "offered", closed(check.offered, []))
            assert seen(host)["pull"].fine is False
    assert (sorted(path.name for path in images.iterdir()) if images.exists() else None) == there


def test_too_little_space_is_said_with_how_much_runs_want(tmp_path, mode):
    """As the host shows it."""
    with opened(tmp_path, mode, free=300 * MiB) as host:
        space = seen(host)["space"]
    assert space.fine is False
    assert re.match(r"300 MiB of .* free on the volume of .*; runs want 20 GiB", space.text)
    assert "interop reap" in space.hint


def test_an_address_that_is_not_ours_is_found_out(tmp_path):
    """Nothing can listen there."""
    with opened(tmp_path, "emulated", pull="192.0.2.1") as host:
        remark = seen(host)["pull"]
    assert remark.fine is False
    assert "cannot listen on 192.0.2.1" in remark.text
    assert "`pull:`" in remark.hint


def test_a_host_that_does_not_reach_us_is_found_out(tmp_path, mode, monkeypatch):
    """Here nobody listens where it tries, as behind a firewall that says so; the token stays a secret."""
    tokens = []
    monkeypatch.setattr(check, "offered", closed(check.offered, tokens))
    with opened(tmp_path, mode) as host:
        remark = seen(host)["pull"]
    assert remark.fine is False
    assert "the host fetches nothing from 127.0.0.1" in remark.text
    assert "open the port" in remark.hint
    assert tokens[0] not in remark.text


class Failing:
    """The host's agents, but for requests with certain cmdlets."""

    def __init__(self, agents, **faults):
        self.agents, self.faults = agents, {name.replace("_", "-"): fault for name, fault in faults.items()}

    def run(self, operation, steps, deadline, **options):
        for step in steps:
            if step.call in self.faults:
                self.faults[step.call]()
        return self.agents.run(operation, steps, deadline, **options)


def cut(*_, **__):
    """What becomes of a request whose connection breaks."""
    raise LabError("no connection to the host", host="win1", operation="connect")


class Kept(NoLedger):
    """What it was told is gone."""

    def __init__(self):
        self.dropped = []

    def gone(self, kind, handle):
        self.dropped.append(handle)


@pytest.mark.parametrize("call", ["Get_WinEvent", "Get_Volume", "Receive_InteropFile"])
def test_a_connection_that_breaks_is_not_taken_for_a_right_that_is_missing(tmp_path, call):
    """Nor is a deadline that passes; and what was made is gone all the same."""
    with opened(tmp_path, "emulated") as host:
        access = replace(host.access, agents=Failing(host.agents, **{call: cut}))
        with pytest.raises(LabError, match="no connection"):
            tuple(check.examine(access, (LAN,), Deadline.after(60)))
        assert list(host.owned(Deadline.after(60))) == []


def test_a_small_file_that_cannot_be_removed_costs_no_remark(tmp_path):
    """Nor hides it why nothing was fetched. It stays in the journal, for the reaper."""
    with opened(tmp_path, "emulated") as host:
        agents, ledger = Failing(host.agents, Receive_InteropFile=lambda: lose() or refuse()), Kept()
        lose = lambda: agents.faults.update({"Remove-Item": cut})  # noqa: E731 - from then on
        access = replace(host.access, agents=agents, ledger=ledger)
        remarks = {one.subject: one for one in check.examine(access, (LAN,), Deadline.after(60))}
        assert "unauthorized operation" in remarks["pull"].text
        assert "events" in remarks
        assert ledger.dropped == []
        agents.faults.clear()
        assert [one.fine for one in check.examine(access, (LAN,), Deadline.after(60))] == [True] * len(remarks)
        assert len(ledger.dropped) == 1


def test_a_small_file_that_somebody_holds_is_no_firewall_in_between(tmp_path):
    """A virus scanner, say: it was fetched."""
    with opened(tmp_path, "emulated") as host:
        agents = Failing(host.agents, Receive_InteropFile=lambda: refuse(step=2))
        access = replace(host.access, agents=agents)
        remarks = {one.subject: one for one in check.examine(access, (LAN,), Deadline.after(60))}
    assert remarks["pull"].fine is False
    assert "does not let go of the file" in remarks["pull"].text
    assert "firewall" not in remarks["pull"].hint


def test_what_a_proxy_in_between_makes_of_a_file_is_noticed(tmp_path, mode, monkeypatch):
    """It answers, and not with what was offered."""

    @contextlib.contextmanager
    def another(path, *others):
        (path.with_suffix(".html")).write_text("<h1>Please log in</h1>")
        with offered(path.with_suffix(".html"), *others) as offer:
            yield offer

    offered = check.offered
    monkeypatch.setattr(check, "offered", another)
    with opened(tmp_path, mode) as host:
        assert "not what was sent" in seen(host)["pull"].text


def test_without_pull_nothing_is_asked_to_reach_us(tmp_path):
    """Images go through WinRM then."""
    with opened(tmp_path, "emulated", pull=None) as host:
        assert "pull" not in seen(host)


@pytest.mark.parametrize(("ahead", "fine"), [(0.3, True), (-4.0, True), (90.0, None), (-90.0, None)])
def test_a_clock_that_is_wrong_is_a_remark(ahead, fine):
    """Kerberos stands five minutes; checks of clocks read it for what it is."""
    remark = check.clock(ahead)
    assert remark.fine is fine
    assert ("ahead" if ahead > 0 else "behind") in remark.text


@pytest.mark.parametrize(
    ("config", "cured"),
    [
        ({"module": False}, "Install-WindowsFeature -Name Hyper-V -IncludeManagementTools -Restart"),
        ({"feature": False}, "Install-WindowsFeature -Name Hyper-V -IncludeManagementTools -Restart"),
        ({"operators": ()}, "Add-LocalGroupMember -SID S-1-5-32-578 -Member 'Administrator'"),
    ],
)
def test_a_host_that_is_no_hyper_v_host_is_refused_with_what_to_type_there(tmp_path, mode, config, cured):
    """The module, the feature behind it, the account's group."""
    with pytest.raises(LabError) as caught, opened(tmp_path, mode, **config):
        pass
    assert cured in str(caught.value.hint)


@pytest.mark.parametrize(
    ("lacks", "words"),
    [
        ({"password": "wrong"}, "it was tried once"),
        ({"plan": ({"do": "fault", "on": "Create", "fault": "denied"},)}, "group Remote Management Users"),
    ],
)
def test_an_account_that_may_not_come_in_is_not_sent_to_the_group_of_hyper_v(tmp_path, lacks, words):
    """A wrong password, no right to a shell: what Hyper-V allows was never asked."""
    with pytest.raises(NoRight) as caught, opened(tmp_path, "emulated", **lacks):
        pass
    assert words in caught.value.hint
    assert "Add-LocalGroupMember" not in caught.value.hint


def test_the_command_shows_it_and_fails_where_something_is_missing(tmp_path, monkeypatch):
    """A whole lab file, a twin of its own; there are 20 GiB to want, which this machine may not have."""
    if shutil.which("qemu-system-x86_64") is None:
        pytest.skip("qemu-system-x86_64 is not on PATH")
    monkeypatch.setenv("INTEROP_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("INTEROP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(check, "ROOM", MiB)
    lab = tmp_path / "lab.yaml"
    lab.write_text(
        "hosts:\n  win1: {backend: hyperv, twin: true}\n"
        "networks:\n  management: {kind: network, source: LAN, subnet: 10.80.0.0/16, nat: 127.79.0.0/16}\n"
    )
    done = CliRunner().invoke(interop, ["lab", "check", str(lab), "--connect"])
    assert done.exit_code == 0, done.output
    for line in ("the virtual switch LAN", "can be written", "the host fetches from 127.0.0.1"):
        assert line in done.output
    monkeypatch.setattr(check, "ROOM", 1 << 60)
    done = CliRunner().invoke(interop, ["lab", "check", str(lab), "--connect"])
    assert done.exit_code == 1, done.output
    assert "runs want" in done.output
