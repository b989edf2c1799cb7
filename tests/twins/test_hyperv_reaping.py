"""Whose a thing on a Hyper-V host is: several controllers, processes that died, and names that somebody made up."""

import contextlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from harness.backends import hyperv
from harness.backends.hyperv import create, marks
from harness.backends.hyperv.errors import Gone
from harness.backends.hyperv.marks import Mark
from harness.backends.hyperv.steps import Ref, Step
from harness.backends.model import MachineSpec, Ownership, PublishedImage, Shape
from harness.backends.protocol import Refused
from harness.backends.registry import Context, HostSettings
from harness.backends.views import Owned, ResourceKind
from harness.core import Deadline, GiB, LabError
from harness.core.secrets import Secret
from harness.lab import Host, Lab, Run
from harness.lab.judge import Fate, Wish
from harness.lab.keys import token
from harness.lab.liveness import Liveness
from harness.lab.models import Capacity, Limits
from harness.lab.reaper import Reaper
from harness.lab.store import open_store
from harness.twins.hyperv.config import TwinConfig
from harness.twins.hyperv.twin import Twin
from tests.twins.hyperv_agent import MODES

KEY = "0123456789abcdef0123456789abcdef"
LONG_AGO = datetime(2025, 1, 1, tzinfo=UTC)


def soon():
    return Deadline.after(60)


@pytest.fixture(params=MODES)
def twin(request, tmp_path):
    """A host whose machines change their state, and no more."""
    config = TwinConfig(folder=tmp_path / "twin", guests=False, powershell=request.param)
    with Twin(config) as twin:
        (twin.store / "machines").mkdir()
        (twin.store / "images").mkdir()
        yield twin


class Controller:
    """One of those that share the host: its state, its idea of the time, and the key that its lab file names."""

    def __init__(self, folder: Path, twin: Twin, key: str | None, *, ago: timedelta = timedelta(0)) -> None:
        folder.mkdir()
        (folder / "key").write_text(key or "")
        now = datetime.now(UTC).timestamp() - ago.total_seconds()
        self.store, self.liveness = open_store(folder), Liveness(folder / "runs", here=folder.name, now=lambda: now)
        self.folder = folder
        self.host = Host("win1", "hyperv", "win1", HostSettings(), Capacity(), "win1", "management", None, {})
        secret = Secret(f"file:{folder / 'key'}") if key else None
        self.lab = Lab("lab", folder / "lab.yaml", {"win1": self.host}, {}, Limits(), key=secret)
        self.settings = hyperv.Settings(twin=True).at_twin(twin.said())

    def begin(self) -> Run:
        return Run.begin(self.lab, store=self.store, liveness=self.liveness)

    def open(self, host: Host, run: Run):
        context = Context("win1", run.owner, run.ledger("win1"), self.folder / "scratch", genuine=run.genuine)
        return hyperv.connect(self.settings, context)

    @contextlib.contextmanager
    def connected(self):
        with self.begin() as run, contextlib.closing(self.open(self.host, run)) as host:
            yield run, host

    def reap(self, **wish) -> dict[str, Fate]:
        """What became of each thing, by its name's first part."""
        findings = Reaper(self.lab, self.store, self.liveness, Wish(**wish), self.open).reap(soon())
        return {str(found.thing and found.thing.name).partition("~")[0]: found.fate for found in findings}


def spec_of(name: str, owner: Ownership) -> MachineSpec:
    return MachineSpec(name, PublishedImage("ab" * 32, "C:\\base.vhdx"), Shape(), (), None, owner)


def machine_of(host, name: str, notes: str = "") -> str:
    """A machine that somebody made by hand."""
    make = Step("New-VM", {"Name": name, "NoVHD": True, "MemoryStartupBytes": GiB}, name="vm", get=("Id",))
    mark = Step("Set-VM", {"VM": Ref("vm"), "Notes": notes, "Confirm": False})
    return str(host.agents.run("make", [make, mark], soon())[0][0]["Id"]).lower()


def machines(host) -> set[str]:
    return {
        str(row["Name"]).partition("~")[0]
        for row in host.agents.run("look", [Step("Get-VM", get=("Name",))], soon())[0]
    }


def test_a_name_that_somebody_made_up_is_nobody_s_business(tmp_path, twin):
    """The right form, a run that may be, even one of ours, and no token of the lab's: neither listed nor removed."""
    controller = Controller(tmp_path / "here", twin, KEY)
    with controller.connected() as (run, host):
        theirs = (
            Ownership(run.id, "0" * 32, LONG_AGO),
            Ownership("elsewhere1", run.token, LONG_AGO),
            Ownership("elsewhere1", token(b"another key, as long", "elsewhere1"), LONG_AGO),
        )
        for at, owner in enumerate(theirs):
            name = marks.name(f"forged{at}", owner)
            (twin.store / "machines" / name).mkdir()
            (twin.store / "images" / name).write_bytes(b"half")
            named = machine_of(host, name)
            noted = machine_of(host, "plain", marks.written(Mark(owner, spec_of("g", owner), name, "pipe")))
            assert list(host.owned(soon())) == []
            for identity in (named, noted):
                with pytest.raises(Refused, match="not ours"):
                    host.remove(Owned(ResourceKind.MACHINE, identity, owner), soon())
                with pytest.raises(LabError, match="not ours"):
                    host.open(identity, soon())
            for kind in (ResourceKind.FOLDER, ResourceKind.IMAGE):
                with pytest.raises(Refused, match="not ours"):
                    host.remove(Owned(kind, name, owner), soon())
        assert controller.reap(force_expired=True) == {}
        assert machines(host) == {"plain", "forged0", "forged1", "forged2"}
        assert len(list((twin.store / "machines").iterdir())) == 3


def test_what_a_process_left_that_died_before_its_machine_was_made_is_ours_by_name_alone(tmp_path, twin):
    """Its folder was the first step; there is no note, no machine, and the journal is lost as well."""
    died = Controller(tmp_path / "died", twin, KEY, ago=timedelta(days=3))
    with died.connected() as (run, host):
        mark = Mark(run.owner, spec_of("g1", run.owner), marks.name("g1", run.owner), "interop-x")
        host.agents.run("create", [*create.claimed(host.access, mark)], soon())
        unmarked = replace(mark, folder=marks.name("g2", run.owner))
        machine_of(host, unmarked.folder)
    here = Controller(tmp_path / "here", twin, KEY)
    assert here.reap() == {"g1": Fate.UNKNOWN, "g2": Fate.UNKNOWN}
    assert here.reap(force_expired=True) == {"g1": Fate.REMOVED, "g2": Fate.REMOVED}
    with here.connected() as (_, host):
        assert machines(host) == set()
    assert list((twin.store / "machines").iterdir()) == []


def test_a_controller_with_another_key_leaves_alone_what_one_with_the_same_reaps(tmp_path, twin):
    """However long ago it expired, and whatever is forced."""
    first = Controller(tmp_path / "first", twin, KEY, ago=timedelta(days=3))
    with first.connected() as (run, host):
        folder = marks.name("g1", run.owner)
        (twin.store / "machines" / folder).mkdir()
        notes = marks.written(Mark(run.owner, spec_of("g1", run.owner), folder, "interop-x"))
        machine_of(host, folder, notes)
    for key in ("fedcba9876543210fedcba9876543210", None):
        stranger = Controller(tmp_path / f"stranger-{key}", twin, key)
        assert stranger.reap(force_expired=True) == {}
        with stranger.connected() as (_, host):
            assert machines(host) == {"g1"}
    second = Controller(tmp_path / "second", twin, KEY)
    assert second.reap(force_expired=True) == {"g1": Fate.REMOVED}
    assert list((twin.store / "machines").iterdir()) == []


def test_a_controller_reaps_its_own_without_any_key_in_the_lab_file(tmp_path, twin):
    """By the one it made for itself."""
    controller = Controller(tmp_path / "here", twin, None)
    with controller.connected() as (run, _):
        (twin.store / "machines" / marks.name("g1", run.owner)).mkdir()
    assert controller.reap() == {"g1": Fate.REMOVED}


def test_a_host_that_nobody_told_of_a_key_knows_its_own_run_alone(tmp_path, twin):
    """Whoever makes the context by hand."""
    controller = Controller(tmp_path / "here", twin, KEY)
    with controller.connected() as (before, _):
        (twin.store / "machines" / marks.name("old", before.owner)).mkdir()
    with controller.begin() as run:
        (twin.store / "machines" / marks.name("own", run.owner)).mkdir()
        context = Context("win1", run.owner, run.ledger("win1"), tmp_path / "scratch")
        with contextlib.closing(hyperv.connect(controller.settings, context)) as host:
            assert [thing.name for thing in host.owned(soon())] == ["own"]


class TestCluster:
    """Two nodes that share a volume; somebody moved a machine from one to the other."""

    @pytest.fixture(params=MODES)
    def twin(self, request, tmp_path):
        """The first node; the second is asked through it."""
        config = TwinConfig(folder=tmp_path / "twin", guests=False, powershell=request.param, nodes=("HV2",))
        with Twin(config) as twin:
            (twin.store / "machines").mkdir()
            yield twin

    @pytest.fixture
    def moved(self, tmp_path, twin):
        """A controller whose dead run left a machine, which is on the second node by now."""
        controller = Controller(tmp_path / "here", twin, KEY)
        with controller.connected() as (run, host):
            folder = marks.name("g1", run.owner)
            (twin.store / "machines" / folder).mkdir()
            machine_of(host, folder, marks.written(Mark(run.owner, spec_of("g1", run.owner), folder, "interop-x")))
        next(iter(twin.world.vms.values())).node = "HV2"
        return controller

    def test_it_is_found_by_its_id_and_removed_where_it_is(self, twin, moved):
        """With its folder, and not taken for a folder without a machine; those of others stay on both nodes."""
        moved.settings = moved.settings.model_copy(update={"nodes": ("HV2",)})
        (identity,) = map(str, twin.world.vms)
        with moved.connected() as (_, host):
            theirs = {machine_of(host, name) for name in ("a", "z", "zz")}
            twin.world.by_id(min(theirs)).node = "HV2"
            assert host.open(identity, soon()).spec.name == "g1"
            assert [(thing.kind, thing.handle) for thing in host.owned(soon())] == [(ResourceKind.MACHINE, identity)]
        assert moved.reap() == {"g1": Fate.REMOVED}
        assert set(map(str, twin.world.vms)) == theirs
        assert list((twin.store / "machines").iterdir()) == []

    @pytest.mark.parametrize("nodes", [("HV2",), ()], ids=["a node", "no nodes"])
    def test_a_verb_that_misses_it_here_says_where_it_may_be(self, twin, moved, nodes):
        """Nobody need have removed it; where the lab names no other nodes, nothing is said of them."""
        moved.settings = moved.settings.model_copy(update={"nodes": nodes})
        (vm,) = twin.world.vms.values()
        vm.node = ""
        with moved.connected() as (_, host):
            machine = host.open(str(vm.id), soon())
            vm.node = "HV2"
            for verb in (machine.start, machine.view, machine.services, lambda _: machine.console().read(0, 1)):
                with pytest.raises(Gone) as caught:
                    verb(soon())
                assert ("moved to another node: `Get-VM -ComputerName HV2`" in caught.value.hint) == bool(nodes)
                assert "somebody else removed it" in caught.value.hint

    def test_a_node_that_does_not_answer_keeps_everything(self, twin, moved):
        """What is on it is not gone."""
        moved.settings = moved.settings.model_copy(update={"nodes": ("HV2", "HV3")})
        assert moved.reap() == {"None": Fate.FAILED}
        assert len(twin.world.vms) == 1
        assert len(list((twin.store / "machines").iterdir())) == 1

    def test_what_is_made_is_made_here(self, twin, moved):
        """And a machine of the same name on another node is another one."""
        moved.settings = moved.settings.model_copy(update={"nodes": ("HV2",)})
        with moved.connected() as (_, host):
            machine_of(host, "here")
            assert machines(host) == {"here"}
